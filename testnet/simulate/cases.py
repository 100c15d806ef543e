"""A failing run as one file: seed, scenario and schedule. What `apocryph sim replay FILE` runs.

TOML with the keys of `Recorded`; `scenario` and `schedule` are texts in it, in the forms that
`apocryph sim show` prints and `testnet.sim.faults` reads. Knows no run.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.errors import ConfigError, ConfigFileError, ConfigUnknownKey, UsageError
from node.toml import parse_toml
from testnet.sim import faults, scenario
from testnet.sim.faults import Fault
from testnet.sim.scenario import Scenario, ScenarioError
from testnet.simulate.sources import MARKS, as_refusal, read_text
from testnet.simulate.toml import scenario_toml

SUFFIX: Final = ".case.toml"
OPTIONAL: Final = ("failed", "commit")
_QUOTE: Final = "'''"


@dataclass(frozen=True, slots=True)
class Recorded:
    """`failed`: what the checkers said, one line. `commit`: of the code that it was found in."""

    seed: int
    scenario: Scenario
    schedule: tuple[Fault, ...]
    failed: str = ""
    commit: str = ""


def case_text(case: Recorded, heading: tuple[str, ...] = ()) -> str:
    """The file. `heading`: lines of a comment."""
    head = "".join([f"# {line}\n" for line in heading])
    pairs = {
        "seed": str(case.seed),
        "commit": json.dumps(case.commit, ensure_ascii=False),
        "failed": json.dumps(case.failed, ensure_ascii=False),
        "schedule": _block(faults.lines(case.schedule)),
        "scenario": _block(scenario_toml(case.scenario)),
    }
    comment = "# at_ms kind targets duration_ms amount\n"
    lines = [
        (comment if name == "schedule" else "") + f"{name} = {text}\n"
        for name, text in pairs.items()
    ]
    return head + "".join(lines)


def _block(text: str) -> str:
    """Several lines as one TOML value, as they are where that can be."""
    if _QUOTE in text:
        return json.dumps(text, ensure_ascii=False)
    return f"{_QUOTE}\n{text}{_QUOTE}"


def read_case(path: Path) -> Recorded:
    """The inverse of `case_text`. Raises NodeError."""
    try:
        value = parse_toml(read_text(path, "case"))
    except ValueError as error:
        hint = "a case is what `apocryph sim run … --shrink` writes, unchanged"
        raise ConfigFileError(f"{path}: {error}", hint=hint) from error
    known = (*MARKS, *OPTIONAL)
    unknown = [name for name in value if name not in known]
    if unknown:
        raise ConfigUnknownKey(f"{path}: a case has no {unknown[0]}", hint=", ".join(known))
    seed = value.get("seed")
    if type(seed) is not int or seed < 0:
        raise ConfigError(f"{path}: seed is a number from 0 on")
    try:
        judged = scenario.parse(_text(value, "scenario", path), f"{path}, scenario")
    except ScenarioError as error:
        raise as_refusal(error) from error
    try:
        schedule = faults.from_lines(_text(value, "schedule", path))
    except faults.FaultError as error:
        raise ConfigError(f"{path}: {error}") from error
    failed, commit = [_text(value, name, path) for name in OPTIONAL]
    return Recorded(seed, judged, schedule, failed, commit)


def _text(value: dict[str, Any], name: str, path: Path) -> str:
    found = value.get(name, "")
    if type(found) is not str:
        raise ConfigError(f"{path}: {name} is a text")
    return found


def check_targets(scenario_: Scenario, seed: int, schedule: tuple[Fault, ...]) -> None:
    """Refuse a schedule for more nodes than there are. Raises UsageError."""
    nodes = scenario_.size(seed) + scenario_.machines.late
    for fault in schedule:
        if any(not 0 <= node < nodes for node in fault.targets):
            raise UsageError(
                f"`{fault.as_line()}`: with seed {seed} there are {nodes} nodes, 0 to {nodes - 1}",
                hint="a schedule belongs to a scenario and a seed of its size",
            )
