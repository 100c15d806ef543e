"""States of the model as integers: one honest slot, a cluster, and what makes two of them alike.

A slot is (votes, place, lock): the votes it ever showed, one bit for each (round, phase, value);
the newest place of its sign record; the lock of its sign record. A cluster is the sorted multiset
of its honest slots. Two clusters are alike if they differ by names of slots or of values, because
no rule asks for either. Knows no rule.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

CONFIRM, ACCEPT = 0, 1
NO_LOCK = -1
COUNT_BITS = 4  # a counter of slots; at most 15 honest slots
ID_BITS = 16  # number of a slot's state in the table of all that were met
PHASES = ("confirm", "accept")


class Lock(NamedTuple):
    value: int
    round: int


class Slot(NamedTuple):
    """What one honest slot has shown and what its sign record holds.

    `votes`: bits by `Shape.bit`. `place`: 0 for nothing, else 1 + 2·round + phase.
    """

    votes: int = 0
    place: int = 0
    lock: Lock | None = None


def place_of(round_: int, phase: int) -> int:
    """Places in the order in which they may be signed."""
    return 1 + 2 * round_ + phase


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the model is: slots of the table, how many are Byzantine, rounds, values."""

    slots: int
    byzantine: int
    rounds: int
    values: int

    @property
    def honest(self) -> int:
        return self.slots - self.byzantine

    @property
    def bits(self) -> int:
        return 2 * self.rounds * self.values

    def bit(self, round_: int, phase: int, value: int) -> int:
        return 1 << ((2 * round_ + phase) * self.values + value)

    def places(self) -> Iterator[tuple[int, int, int]]:
        """All (round, phase, value), in the order of their bits."""
        for round_ in range(self.rounds):
            for phase in (CONFIRM, ACCEPT):
                for value in range(self.values):
                    yield round_, phase, value

    def counters(self, votes: int) -> int:
        """The bits spread out: COUNT_BITS each, so that the sum over slots counts them."""
        return sum(1 << (COUNT_BITS * i) for i in range(self.bits) if votes >> i & 1)

    def count(self, total: int, index: int) -> int:
        return total >> (COUNT_BITS * index) & ((1 << COUNT_BITS) - 1)

    def renamed(self, slot: Slot, names: Sequence[int]) -> Slot:
        """The same slot where value v is called names[v]."""
        votes = 0
        for i, (round_, phase, value) in enumerate(self.places()):
            if slot.votes >> i & 1:
                votes |= self.bit(round_, phase, names[value])
        lock = slot.lock and Lock(names[slot.lock.value], slot.lock.round)
        return Slot(votes, slot.place, lock)


class Table:
    """Numbers for the states of a slot, in the order in which they are met.

    `counters[i]`: its votes for `Shape.counters`. `names[p][i]`: the number of the same state under
    the p-th renaming of values; the identity is left out.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.slots: list[Slot] = []
        self.numbers: dict[Slot, int] = {}
        self.counters: list[int] = []
        self.renamings = list(permutations(range(shape.values)))[1:]
        self.names: list[list[int]] = [[] for _ in self.renamings]

    def number(self, slot: Slot) -> int:
        found = self.numbers.get(slot)
        if found is None:
            found = self._add(slot)
            images = [self.shape.renamed(slot, names) for names in self.renamings]
            for image in images:
                if image not in self.numbers:
                    self._add(image)
            self._fill()
        return found

    def _add(self, slot: Slot) -> int:
        number = self.numbers[slot] = len(self.slots)
        assert number < 1 << ID_BITS, "more states of a slot than a number holds"
        self.slots.append(slot)
        self.counters.append(self.shape.counters(slot.votes))
        return number

    def _fill(self) -> None:
        """All renamings of a slot are in the table together, so their names are known now."""
        for renaming, names in zip(self.renamings, self.names, strict=True):
            for slot in self.slots[len(names) :]:
                names.append(self.numbers[self.shape.renamed(slot, renaming)])

    def pack(self, numbers: list[int]) -> int:
        """The one integer of all clusters alike to these slots."""
        numbers.sort()
        best = numbers
        for names in self.names:
            image = sorted([names[i] for i in numbers])
            if image < best:
                best = image
        packed = 0
        for i in best:
            packed = packed << ID_BITS | i
        return packed

    def unpack(self, packed: int) -> list[int]:
        """Numbers of the honest slots, ascending."""
        mask = (1 << ID_BITS) - 1
        return [packed >> (ID_BITS * i) & mask for i in range(self.shape.honest - 1, -1, -1)]
