"""Cutting a failing run down: fewer faults, shorter ones, less of everything else (ddmin).

Pure: a judge says which of some cases still fail the same way; what it costs is the judge's matter.
Every try counts against a bound, and the last case that failed is always at hand.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final, NamedTuple

from testnet.sim.faults import Fault
from testnet.sim.scenario import (
    Load,
    Machines,
    Scenario,
    ScenarioError,
    Weather,
    check,
)

TRIES_MAX: Final = 600
PASSES_MAX: Final = 8  # over all of a case; a pass that changes nothing is the last
SIZES: Final = (4, 5, 7)  # clusters worth a try
SECOND_MS: Final = 1_000
MAGNITUDES: Final = ("lossy", "slow_disk", "slow_executor", "skew", "drift")  # less is milder
MILD: Final = Weather(jitter_ms=0)


class Case(NamedTuple):
    """A run without its seed: a scenario, whose own rules do not count, and the faults."""

    scenario: Scenario
    schedule: tuple[Fault, ...]


class Shrunk(NamedTuple):
    """The least case that was found; `tries`: how many were judged; `ended`: nothing less fails."""

    case: Case
    tries: int
    ended: bool


# The place of the first case that fails in the same way, or None.
Judge = Callable[[Sequence[Case]], int | None]


def shrink(
    case: Case,
    failed_ms: int,
    judge: Judge,
    *,
    tries_max: int = TRIES_MAX,
    lively: bool = False,
) -> Shrunk:
    """Cut a case that fails at `failed_ms`. The same judgement gives the same result.

    `lively`: heights did not come in time. Without load or with less time they never do, which
    would show nothing of the failure: both stay as they are.
    """
    search = _Search(case, judge, tries_max, _lively if lively else _any)
    search.first([_until(case, failed_ms)])
    ended = False
    for _ in range(PASSES_MAX):
        before = search.case
        search.faults()
        for candidates in _REDUCTIONS:
            search.exhaust(candidates)
        ended = search.case == before and not search.spent
        if ended or search.spent:
            break
    return Shrunk(search.case, search.tries, ended)


def bare(scenario: Scenario, seed: int) -> Scenario:
    """Of the size that the seed picks, without rules: what a schedule is run under."""
    return replace(scenario, nodes=(scenario.size(seed),), faults=())


class _Search:
    def __init__(
        self, case: Case, judge: Judge, tries_max: int, admits: "Callable[[Case, Case], bool]"
    ) -> None:
        self.case, self._judge, self._left = case, judge, tries_max
        self._whole, self._admits = case, admits
        self.tries = 0
        self._seen = {case: None}

    @property
    def spent(self) -> bool:
        return self._left <= 0

    def first(self, candidates: Sequence[Case]) -> bool:
        """Go on with the first candidate that fails, if one does. None is judged twice."""
        fresh: list[Case] = []
        for candidate in candidates:
            if candidate in self._seen or len(fresh) >= self._left:
                continue
            if _possible(candidate) and self._admits(self._whole, candidate):
                self._seen[candidate] = None
                fresh.append(candidate)
        if not fresh:
            return False
        place = self._judge(fresh)
        judged = len(fresh) if place is None else place + 1
        for candidate in fresh[judged:]:
            del self._seen[candidate]  # it may be asked again
        self.tries += judged
        self._left -= judged
        if place is None:
            return False
        self.case = fresh[place]
        return True

    def exhaust(self, candidates: "Callable[[Case], Iterator[Case]]") -> None:
        """As long as one of the candidates fails; each is smaller, so this ends."""
        while not self.spent and self.first(list(candidates(self.case))):
            pass

    def faults(self) -> None:
        """None at all; else ever smaller parts are left out, until no single one can be."""
        if not self.case.schedule or self.first([self.case._replace(schedule=())]):
            return
        parts = 2
        while not self.spent and self.case.schedule:
            schedule = self.case.schedule
            parts = min(parts, len(schedule))
            without = [
                self.case._replace(schedule=schedule[:start] + schedule[end:])
                for start, end in _bounds(len(schedule), parts)
            ]
            if self.first(without):
                parts = max(2, parts - 1)
            elif parts == len(schedule):
                return
            else:
                parts *= 2


def _bounds(length: int, parts: int) -> list[tuple[int, int]]:
    """`parts` neighbouring pieces of nearly the same length."""
    cuts = [length * place // parts for place in range(parts + 1)]
    return list(pairwise(cuts))


def _possible(case: Case) -> bool:
    try:
        check(case.scenario)
    except ScenarioError:
        return False
    nodes = case.scenario.nodes[0] + case.scenario.machines.late
    return all(max(fault.targets, default=0) < nodes for fault in case.schedule)


def _any(whole: Case, candidate: Case) -> bool:
    return True


def _lively(whole: Case, candidate: Case) -> bool:
    """Whether heights are as possible in the candidate as in the whole case."""
    before, after = whole.scenario, candidate.scenario
    rates = ("every_ms", "messages", "from_s", "until_s")
    kept = all(getattr(before.load, name) == getattr(after.load, name) for name in rates)
    mined = before.machines.hill_nonces == after.machines.hill_nonces
    return kept and mined and before.phases.liveness_s == after.phases.liveness_s


# ---- smaller cases ------------------------------------------------------------------------------


def _until(case: Case, failed_ms: int) -> Case:
    """No phase after the one that failed, which ends soon after."""
    phases = case.scenario.phases
    faults_s = min(phases.faults_s, failed_ms // SECOND_MS + 1)
    if SECOND_MS * phases.faults_s >= failed_ms:
        phases = replace(phases, faults_s=faults_s, heal_s=0, liveness_s=0, quiet_s=0)
    return _within(case, replace(case.scenario, phases=phases))


def _within(case: Case, scenario: Scenario) -> Case:
    """Without the faults that begin after all is healed."""
    end_ms = SECOND_MS * scenario.phases.faults_s
    return Case(scenario, tuple([fault for fault in case.schedule if fault.at_ms < end_ms]))


def _phases(case: Case) -> Iterator[Case]:
    phases = case.scenario.phases
    for name in ("quiet_s", "liveness_s", "heal_s", "faults_s", "heights"):
        value = getattr(phases, name)
        for less in dict.fromkeys((0, value // 2)):
            if less < value:
                cut = replace(phases, **{name: less})
                yield _within(case, replace(case.scenario, phases=cut))


def _villains(case: Case) -> Iterator[Case]:
    villains = case.scenario.adversaries
    for place in range(len(villains)):
        fewer = villains[:place] + villains[place + 1 :]
        yield case._replace(scenario=replace(case.scenario, adversaries=fewer))


def _sizes(case: Case) -> Iterator[Case]:
    """Fewer nodes; faults keep those of their targets that are there."""
    scenario = case.scenario
    for nodes in SIZES:
        if nodes >= scenario.nodes[0]:
            return
        kept = [
            replace(fault, targets=tuple([node for node in fault.targets if node < nodes]))
            for fault in case.schedule
        ]
        schedule = tuple(
            [
                new
                for new, old in zip(kept, case.schedule, strict=True)
                if new.targets or not old.targets
            ]
        )
        yield Case(replace(scenario, nodes=(nodes,)), schedule)


def _weather(case: Case) -> Iterator[Case]:
    weather = case.scenario.weather
    milder = [MILD]
    milder += [
        replace(weather, **{name: getattr(MILD, name)})
        for name in ("replay", "duplicate", "reorder", "loss", "delay", "jitter_ms")
    ]
    milder += [replace(weather, link_bytes_per_ms=0), replace(weather, node_bytes_per_ms=0)]
    milder += [
        replace(weather, **{name: getattr(weather, name) // 2})
        for name in ("replay", "duplicate", "reorder", "loss", "jitter_ms")
    ]
    for found in milder:
        yield case._replace(scenario=replace(case.scenario, weather=found))


def _load(case: Case) -> Iterator[Case]:
    load = case.scenario.load
    lighter = [replace(load, every_ms=0)] if load.every_ms else []
    lighter += [Load(every_ms=load.every_ms), replace(load, data_bytes=0)]
    if load.messages > 1:
        lighter.append(replace(load, messages=load.messages // 2))
    if load.every_ms and load.every_ms < SECOND_MS * case.scenario.phases.faults_s:
        lighter.append(replace(load, every_ms=2 * load.every_ms))
    for found in lighter:
        yield case._replace(scenario=replace(case.scenario, load=found))


def _machines(case: Case) -> Iterator[Case]:
    plain, machines = Machines(), case.scenario.machines
    for name in ("late", "hill_nonces", "gossip", "execute_us_per_message"):
        found = replace(machines, **{name: getattr(plain, name)})
        yield case._replace(scenario=replace(case.scenario, machines=found))


def _durations(case: Case) -> Iterator[Case]:
    """All halved at once, then each alone."""
    halves = tuple([replace(fault, duration_ms=fault.duration_ms // 2) for fault in case.schedule])
    yield case._replace(schedule=halves)
    for place, fault in enumerate(halves):
        yield case._replace(schedule=(*case.schedule[:place], fault, *case.schedule[place + 1 :]))


def _amounts(case: Case) -> Iterator[Case]:
    for place, fault in enumerate(case.schedule):
        if fault.kind in MAGNITUDES and abs(fault.amount) > 1:
            half = replace(fault, amount=int(fault.amount / 2))
            rest = case.schedule[place + 1 :]
            yield case._replace(schedule=(*case.schedule[:place], half, *rest))


_REDUCTIONS: Final = (
    _phases,
    _villains,
    _sizes,
    _weather,
    _load,
    _machines,
    _durations,
    _amounts,
)
