"""Runs of one scenario over many seeds in worker processes; a lost worker is a failing seed.

Knows neither commands nor pictures.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from node.errors import UsageError
from testnet.sim import trial
from testnet.sim.checkers import Failure
from testnet.sim.faults import Fault
from testnet.sim.scenario import Scenario
from testnet.sim.trial import Outcome
from testnet.simulate.limits import SEED_WALL_S, SEEDS_MAX
from testnet.simulate.pool import Done, Task, work_off

PLACE: Final = "{seed}"  # in the name of a trace file
LOST: Final = {"time": "time", "worker": "worker", "raised": "crash"}  # how checkers call it


@dataclass(frozen=True, slots=True)
class Ran:
    """The outcome of a seed, and what it cost. `trace`: sha256 of the trace that was written."""

    outcome: Outcome
    cpu_s: float = 0.0
    wall_s: float = 0.0
    trace: str = ""

    @property
    def seed(self) -> int:
        return self.outcome.seed


Trial = Callable[[Scenario, int, Sequence[Fault] | None, Path | None], tuple[Outcome, str]]


def read_seeds(text: str) -> tuple[int, ...]:
    """`7`, `1..500`, `1..10,99`: each once, rising. Raises UsageError."""
    found: dict[int, None] = {}
    for part in text.split(","):
        low, dots, high = part.strip().partition("..")
        if not _number(low) or (dots and not _number(high)):
            raise UsageError(f"{text!r} are no seeds", hint="write 7, 1..500 or 1..10,99")
        first, last = int(low), int(high) if dots else int(low)
        if last < first:
            raise UsageError(f"{part!r} has no seeds", hint=f"write {last}..{first}")
        if last - first >= SEEDS_MAX or len(found) + last - first >= SEEDS_MAX:
            raise UsageError(f"more than {SEEDS_MAX:,} seeds", hint="take them in several runs")
        found.update(dict.fromkeys(range(first, last + 1)))
    return tuple(sorted(found))


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(2**64))


def seeds_text(seeds: Sequence[int]) -> str:
    """The inverse of `read_seeds`, for sorted seeds."""
    parts: list[str] = []
    start = 0
    for place in range(1, len(seeds) + 1):
        if place == len(seeds) or seeds[place] != seeds[place - 1] + 1:
            first, last = seeds[start], seeds[place - 1]
            parts.append(str(first) if first == last else f"{first}..{last}")
            start = place
    return ",".join(parts)


# ---- one seed -----------------------------------------------------------------------------------


def run_trial(
    scenario: Scenario, seed: int, schedule: Sequence[Fault] | None, trace: Path | None
) -> tuple[Outcome, str]:
    """One run in this process; the outcome, and the digest of the trace if one is written."""
    if trace is None:
        return trial.run(scenario, seed, schedule=schedule), ""
    digest = sha256()
    with trace.open("w", encoding="utf-8", newline="\n") as file:

        def write(line: str) -> None:
            file.write(line + "\n")
            digest.update(line.encode() + b"\n")

        outcome = trial.run(scenario, seed, schedule=schedule, trace=write)
    return outcome, digest.hexdigest()


def trace_path(pattern: str, seed: int) -> Path:
    """The trace file of a seed."""
    return Path(pattern.replace(PLACE, str(seed)))


# ---- many ---------------------------------------------------------------------------------------


def run_seeds(
    scenario: Scenario,
    seeds: Sequence[int],
    *,
    jobs: int,
    wall_s: float = SEED_WALL_S,
    trace: str = "",
    work: Trial = run_trial,
) -> Generator[Ran, None, None]:
    """Results as they come, in no order. `wall_s`: real time of a seed. Raises WorkersDie."""

    def tasks() -> Iterator[Task]:
        for seed in seeds:
            path = trace_path(trace, seed) if trace else None
            yield Task(seed, work, (scenario, seed, None, path))

    with closing(work_off(tasks(), jobs=jobs, wall_s=wall_s)) as results:
        for done in results:
            yield ran(scenario, done)


def ran(scenario: Scenario, done: Done) -> Ran:
    """What a worker said of the seed `done.key`, or that it said nothing."""
    if not done.lost:
        outcome, digest = done.value
        return Ran(outcome, done.cpu_s, done.wall_s, digest)
    failure = Failure(LOST[done.cause], done.lost, 0)
    nodes = scenario.size(done.key)
    outcome = Outcome(done.key, scenario.name, nodes, failures=(failure,))
    return Ran(outcome, done.cpu_s, done.wall_s)
