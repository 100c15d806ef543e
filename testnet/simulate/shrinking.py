"""Cutting failing seeds down with worker processes; writes the least case as a file.

What is tried is `testnet.sim.shrink`; here: who tries it, for how long, and what is left behind.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from testnet.sim import faults
from testnet.sim.checkers import Failure
from testnet.sim.scenario import Scenario
from testnet.sim.shrink import SECOND_MS, TRIES_MAX, Case, Shrunk, bare, shrink
from testnet.simulate.cases import SUFFIX, Recorded, case_text
from testnet.simulate.findings import Finding, ShrunkFile, code_version, replay_command, told
from testnet.simulate.limits import (
    SHRINK_WALL_S,
    SHRUNK_MAX,
    TRY_WALL_FACTOR,
    TRY_WALL_S,
)
from testnet.simulate.pool import Pool, Task
from testnet.simulate.seeds import Ran, Trial, ran, run_trial

Said = Callable[[str], None]
LIVENESS: Final = "liveness"  # the checker of heights that do not come


def cut_down(
    scenario: Scenario,
    found: Ran,
    *,
    jobs: int,
    wall_s: float = SHRINK_WALL_S,
    tries_max: int = TRIES_MAX,
    work: Trial = run_trial,
    said: Said = lambda text: None,
) -> Shrunk:
    """The least case that fails as the seed did. Raises WorkersDie."""
    first = found.outcome.failures[0]
    case = Case(bare(scenario, found.seed), found.outcome.faults or _planned(scenario, found.seed))
    failed_ms = first.at_ms or found.outcome.simulated_ms or _span_ms(scenario)
    with Pool(jobs) as pool:
        jury = _Jury(found, pool, wall_s=wall_s, work=work, said=said)
        lively = first.checker == LIVENESS
        return shrink(case, failed_ms, jury.first_failing, tries_max=tries_max, lively=lively)


def _planned(scenario: Scenario, seed: int) -> tuple[faults.Fault, ...]:
    """What a run that never answered was to do."""
    return faults.plan(scenario, seed)


def _span_ms(scenario: Scenario) -> int:
    phases = scenario.phases
    return SECOND_MS * (phases.faults_s + phases.heal_s + phases.liveness_s + phases.quiet_s)


class _Jury:
    """Judges cases in workers; the answer does not depend on how many there are."""

    def __init__(self, found: Ran, pool: Pool, *, wall_s: float, work: Trial, said: Said) -> None:
        self._seed, self._pool, self._work, self._said = found.seed, pool, work, said
        self._failure = found.outcome.failures[0]
        self._try_s = TRY_WALL_FACTOR * found.wall_s + TRY_WALL_S
        self._deadline = time.monotonic() + wall_s
        self.tries = 0

    def first_failing(self, cases: Sequence[Case]) -> int | None:
        """The place of the first case that fails in the same way; None when time is up."""

        def tasks() -> Iterator[Task]:
            for place, case in enumerate(cases):
                if time.monotonic() < self._deadline:
                    yield Task(place, self._work, (case.scenario, self._seed, case.schedule, None))

        failing: dict[int, bool] = {}
        with closing(self._pool.results(tasks(), wall_s=self._try_s)) as results:
            for done in results:
                self.tries += 1
                outcome = ran(cases[done.key].scenario, replace(done, key=self._seed)).outcome
                failing[done.key] = any(same(self._failure, each) for each in outcome.failures)
                first = _first(failing)
                if first is not None:
                    case = cases[first]
                    count = len(case.schedule)
                    self._said(
                        f"{self.tries} tries: {count} faults, {case.scenario.nodes[0]} nodes"
                    )
                    return first
        return None


def _first(failing: dict[int, bool]) -> int | None:
    """The first failing place, once all before it are known."""
    for place in range(len(failing)):
        if place not in failing:
            return None
        if failing[place]:
            return place
    return None


def same(one: Failure, other: Failure) -> bool:
    """Whether two failures are of one kind: the checker, and of crashes what was raised."""
    if one.checker != other.checker:
        return False
    return one.checker != "crash" or _raised(one) == _raised(other)


def _raised(failure: Failure) -> str:
    return failure.text.partition(":")[0]


# ---- what is left behind ------------------------------------------------------------------------


def shrink_findings(
    scenario: Scenario,
    found: Sequence[Finding],
    folder: Path,
    *,
    jobs: int,
    work: Trial = run_trial,
    said: Said = lambda text: None,
) -> None:
    """Cut down the first finding of each checker, at most SHRUNK_MAX, and write a file each."""
    chosen: dict[str, Finding] = {}
    for finding in found:
        chosen.setdefault(finding.ran.outcome.failures[0].checker, finding)
    for finding in list(chosen.values())[:SHRUNK_MAX]:
        seed = finding.ran.seed
        said(f"shrinking seed {seed}: {len(finding.ran.outcome.faults)} faults")
        shrunk = cut_down(scenario, finding.ran, jobs=jobs, work=work, said=said)
        finding.shrunk = write(shrunk, finding, folder)


def write(shrunk: Shrunk, finding: Finding, folder: Path) -> ShrunkFile:
    """NAME-SEED.case.toml: what `apocryph sim replay` runs, alone."""
    seed, before = finding.ran.seed, finding.ran.outcome
    case, first = shrunk.case, before.failures[0]
    file = ShrunkFile(
        path=folder / f"{before.scenario}-{seed}{SUFFIX}",
        faults_before=len(before.faults),
        faults=len(case.schedule),
        nodes=case.scenario.nodes[0],
        tries=shrunk.tries,
        ended=shrunk.ended,
    )
    heading = (replay_command(finding.word, seed), file.text(), file.replay)
    recorded = Recorded(
        seed=seed,
        scenario=case.scenario,
        schedule=case.schedule,
        failed=f"{first.checker}: {told(first.text)}",
        commit=code_version(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    file.path.write_text(case_text(recorded, heading), encoding="utf-8")
    return file
