"""Breadth-first search over all reachable clusters, up to likeness; shortest runs to a violation.

Knows states as integers (`slots.Table`) and asks `rules` for the rest. Everything that depends on
one slot and on what the votes show is worked out once and remembered: the rules may be slow.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from tests.model.clauses import Clauses
from tests.model.rules import Move, Rules, Shown
from tests.model.slots import Shape, Slot, Table

PROPERTIES = (
    "agreement",
    "certificates are proven",
    "one quorum of confirms a round",
    "one vote a place",
    "no lock lost",
)

_Known = tuple[Shown, str | None, dict[int, list[int]]]  # of one set of tallies; see _what_is_shown


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run: which honest slot moved, and all slots after it."""

    slot: int
    move: Move
    after: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a search. `broken` is null if every reachable state was seen and is sound."""

    shape: Shape
    clauses: Clauses
    dense: bool
    states: int
    transitions: int
    depth: int
    seconds: float
    broken: str | None
    trace: tuple[Step, ...]


class Search:
    """One search; `seek` are the properties whose violation ends it."""

    def __init__(
        self,
        shape: Shape,
        clauses: Clauses | None = None,
        *,
        dense: bool = False,
        seek: Iterable[str] = PROPERTIES,
        traced: bool = True,
    ) -> None:
        self.rules = Rules(shape, clauses or Clauses(), dense=dense)
        self.shape, self.table, self.seek = shape, Table(shape), tuple(seek)
        self.traced = traced
        self.transitions = 0
        self._shown: dict[object, _Known] = {}
        self._by_shown: dict[Shown, _Known] = {}
        self._unsound: dict[int, str | None] = {}

    def run(self) -> Found:
        """See every reachable state, or the nearest unsound one."""
        started = time.process_time()
        start = self.table.pack([self.table.number(Slot())] * self.shape.honest)
        parents: dict[int, int] = {start: -1}
        seen: set[int] | dict[int, int] = parents if self.traced else {start}
        frontier, depth, broken, last = [start], 0, None, -1
        while frontier:
            following: list[int] = []
            for state in frontier:
                broken = self._expand(state, seen, following)
                if broken:
                    last = state
                    break
            if broken or not following:
                break
            frontier, depth = following, depth + 1
        trace = self._trace(parents, last) if broken and self.traced else ()
        seconds = time.process_time() - started
        shape, rules = self.shape, self.rules
        return Found(
            shape, rules.clauses, rules.dense, len(seen), self.transitions, depth, seconds,
            broken, trace,
        )  # fmt: skip

    def reachable(self) -> list[list[int]]:
        """Numbers of the slots of every reachable cluster, up to likeness."""
        seen = {self.table.pack([self.table.number(Slot())] * self.shape.honest)}
        frontier = list(seen)
        found = []
        while frontier:
            following: list[int] = []
            for state in frontier:
                found.append(self.table.unpack(state))
                self._expand(state, seen, following)
            frontier = following
        return found

    def _expand(self, state: int, seen: set[int] | dict[int, int], out: list[int]) -> str | None:
        """Add the new successors of a state; the property that the state breaks."""
        table = self.table
        numbers = table.unpack(state)
        shown, broken, known = self._what_is_shown(numbers)
        for number in numbers:
            broken = broken or self._broken_slot(number)
        if broken:
            return broken
        before = -1
        for place, number in enumerate(numbers):
            if number == before:
                continue  # an identical slot moves alike
            before = number
            successors = known.get(number)
            if successors is None:
                moves = self.rules.moves(table.slots[number], shown)
                successors = known[number] = [table.number(slot) for _, slot in moves]
            self.transitions += len(successors)
            rest = numbers[:place] + numbers[place + 1 :]
            for after in successors:
                if after == number:
                    continue
                packed = table.pack([*rest, after])
                if packed not in seen:
                    if isinstance(seen, dict):
                        seen[packed] = state
                    else:
                        seen.add(packed)
                    out.append(packed)
        return None

    def _what_is_shown(self, numbers: list[int]) -> _Known:
        """What the votes show, the property that breaks, and the successors by number of a slot."""
        table, rules = self.table, self.rules
        key: object
        if rules.counts_rounds_apart:
            key = sum([table.counters[number] for number in numbers])
        else:
            key = tuple(numbers)
        found = self._shown.get(key)
        if found is None:
            if isinstance(key, int):
                shown = rules.shown_by_total(key)
            else:
                shown = rules.shown_by_slots([table.slots[number] for number in numbers])
            same = self._by_shown.get(shown)  # other totals may show the same
            if same is None:
                broken = [p for p in rules.broken_by_votes(shown) if p in self.seek]
                same = self._by_shown[shown] = (shown, broken[0] if broken else None, {})
            found = self._shown[key] = same
        return found

    def _broken_slot(self, number: int) -> str | None:
        if number not in self._unsound:
            broken = self.rules.broken_by_slot(self.table.slots[number])
            wanted = [name for name in broken if name in self.seek]
            self._unsound[number] = wanted[0] if wanted else None
        return self._unsound[number]

    # ---- the run to a state ------------------------------------------------------------------

    def _trace(self, parents: dict[int, int], last: int) -> tuple[Step, ...]:
        """The states seen are classes of alike clusters; walk one real cluster along them."""
        path = [last]
        while parents[path[-1]] != -1:
            path.append(parents[path[-1]])
        path.reverse()
        cluster = [Slot()] * self.shape.honest
        steps = []
        for state in path[1:]:
            step = next(step for step in self.steps(cluster) if self._pack(step.after) == state)
            steps.append(step)
            cluster = list(step.after)
        return tuple(steps)

    def steps(self, cluster: list[Slot]) -> Iterable[Step]:
        """All steps from a cluster whose slots are told apart."""
        shown, _, _ = self._what_is_shown([self.table.number(slot) for slot in cluster])
        for i, slot in enumerate(cluster):
            for move, after in self.rules.moves(slot, shown):
                yield Step(i, move, (*cluster[:i], after, *cluster[i + 1 :]))

    def _pack(self, cluster: tuple[Slot, ...]) -> int:
        return self.table.pack([self.table.number(slot) for slot in cluster])
