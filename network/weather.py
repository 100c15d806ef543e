"""Weather: what a bad network does to one packet, decided by dice.

Loss, delay, duplication, reordering and partitions between named ends, as a pure function of the
dice: the memory adapter, the simulator and the userland link of the test network all ask here. It
neither carries bytes nor knows the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from network.errors import LocalError
from network.ports import Draw

PER_MILLE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Climate:
    """How bad it is. Shares in per mille of packets, delays in milliseconds."""

    loss: int = 0
    duplicate: int = 0
    reorder: int = 0
    delay_ms_min: int = 0
    delay_ms_max: int = 0

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder"):
            if not 0 <= getattr(self, name) <= PER_MILLE:
                raise LocalError(f"0 <= {name} <= {PER_MILLE} does not hold")
        if not 0 <= self.delay_ms_min <= self.delay_ms_max:
            raise LocalError("0 <= delay_ms_min <= delay_ms_max does not hold")


CALM: Final = Climate()


@dataclass(frozen=True, slots=True)
class Fate:
    """One arrival of a packet: after `delay_ms`; not `in_order`: it may be overtaken."""

    delay_ms: int
    in_order: bool


ON_TIME: Final = (Fate(0, True),)


@dataclass(slots=True)
class Weather:
    """Decides for one network. `draw` is consumed in the order of the calls, so equal seeds and
    equal calls give equal weather."""

    draw: Draw
    climate: Climate = CALM
    _between: dict[tuple[bytes, bytes], Climate] = field(default_factory=dict)
    _group: dict[bytes, int] = field(default_factory=dict)
    _cut: dict[tuple[bytes, bytes], None] = field(default_factory=dict)

    def set_between(self, source: bytes, target: bytes, climate: Climate | None) -> None:
        """A climate of its own for one direction; None returns to the common one."""
        if climate is None:
            self._between.pop((source, target), None)
        else:
            self._between[source, target] = climate

    def partition(self, groups: Sequence[Sequence[bytes]]) -> None:
        """Only ends of one group reach each other; ends in no group form one of their own."""
        self._group = {end: number for number, group in enumerate(groups) for end in group}

    def cut(self, source: bytes, target: bytes) -> None:
        """Cut one direction; the other stays."""
        self._cut[source, target] = None

    def heal(self) -> None:
        """End all partitions and cuts; loss and delay stay."""
        self._group = {}
        self._cut = {}

    def reaches(self, source: bytes, target: bytes) -> bool:
        if (source, target) in self._cut:
            return False
        return not self._group or self._group.get(source, -1) == self._group.get(target, -1)

    def fates(self, source: bytes, target: bytes) -> tuple[Fate, ...]:
        """The arrivals of one packet: none (lost), one, or two (duplicated)."""
        if not self.reaches(source, target):
            return ()
        climate = self._between.get((source, target), self.climate)
        if climate == CALM:
            return ON_TIME
        if self._happens(climate.loss):
            return ()
        copies = 2 if self._happens(climate.duplicate) else 1
        return tuple(self._fate(climate) for _ in range(copies))

    def _fate(self, climate: Climate) -> Fate:
        delay = climate.delay_ms_min
        if climate.delay_ms_max > climate.delay_ms_min:
            delay += self.draw(climate.delay_ms_max - climate.delay_ms_min + 1)
        return Fate(delay, not self._happens(climate.reorder))

    def _happens(self, per_mille: int) -> bool:
        return per_mille > 0 and self.draw(PER_MILLE) < per_mille
