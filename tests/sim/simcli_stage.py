"""Tiny scenarios for the command `apocryph sim`, and a fault of the product that they find."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from apocryph.__main__ import main
from testnet.sim import host, scenario
from testnet.sim.faults import Fault
from testnet.sim.scenario import Scenario
from testnet.sim.trial import Outcome
from testnet.simulate.seeds import run_trial
from tests.sim.planted_signers import LateSigner

TINY = """
name = "tiny"
about = "a second of good weather"
nodes = [4]

[phases]
faults_s = 1
heal_s = 0
liveness_s = 20
heights = 1
"""
# Crashes at durable steps on slow links: with a sign record that is late, some seeds fail.
CRASHY = """
name = "crashy"
nodes = 4
down_max = 2

[weather]
loss = 20
jitter_ms = 300

[load]
every_ms = 300

[phases]
faults_s = 6
heal_s = 0
liveness_s = 40
heights = 1

[[faults]]
kind = "crash_at"
per_minute = 100
amount = [0, 15]
duration_ms = [20, 400]

[[faults]]
kind = "pause"
per_minute = 20
duration_ms = [20, 400]
"""
FAILING_SEED = 1  # of CRASHY with `run_planted`
FOUND_BY = ("history", "memory")  # what it said, or what it met of its own and did not know


def tiny(text: str = TINY) -> Scenario:
    return scenario.parse(text, "here")


def run_planted(
    chosen: Scenario, seed: int, schedule: Sequence[Fault] | None, trace: Path | None
) -> tuple[Outcome, str]:
    """`run_trial` of a product whose signatures leave before their record is durable."""
    usual = host.SimSigner
    host.SimSigner = LateSigner  # type: ignore[misc]
    try:
        return run_trial(chosen, seed, schedule, trace)
    finally:
        host.SimSigner = usual  # type: ignore[misc]


class Said(NamedTuple):
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> Any:
        told = json.loads(self.out)
        assert set(told) == {"schema", "ok", "data", "errors", "warnings"}
        assert self.out.count("\n") == 1 and self.err == ""
        return told

    @property
    def data(self) -> Any:
        return self.envelope["data"]

    @property
    def error(self) -> Any:
        (error,) = self.envelope["errors"]
        return error


class Sim:
    """Runs `apocryph sim …` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> Said:
        self._capsys.readouterr()
        code = main(["sim", *map(str, words)])
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err, err
        return Said(int(code), out, err)

    def json(self, *words: object) -> Said:
        return self(*words, "--json")
