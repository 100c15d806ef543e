"""Heights over time of many seeds, and the band in which most of them are. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

from testnet.sim.trial import Outcome

GRID: Final = 240  # times at which a band is known
SECOND_MS: Final = 1_000
TENTH: Final = 10


class Curve(NamedTuple):
    """The highest node of one seed: `heights[i]` from `times_ms[i]` on."""

    seed: int
    nodes: int
    times_ms: tuple[int, ...]
    heights: tuple[int, ...]
    end_ms: int

    def at(self, time_ms: float) -> int:
        place = bisect_right(self.times_ms, time_ms)
        return self.heights[place - 1] if place else 0


class Band(NamedTuple):
    """Seeds of one size: at each time (s) the least, the tenth, the middle, the ninetieth …"""

    nodes: int
    seeds: int
    times: tuple[float, ...]
    least: tuple[int, ...]
    low: tuple[int, ...]
    middle: tuple[int, ...]
    high: tuple[int, ...]
    most: tuple[int, ...]


def curve(outcome: Outcome) -> Curve:
    """Of a run, from its timeline."""
    times: list[int] = []
    heights: list[int] = []
    for ms, _, height in outcome.timeline:
        if not heights or height > heights[-1]:
            times.append(ms)
            heights.append(height)
    return Curve(outcome.seed, outcome.nodes, tuple(times), tuple(heights), outcome.simulated_ms)


def banded(curves: Sequence[Curve]) -> list[Band]:
    """A band a size. It ends where the first of its seeds ends."""
    return [
        _band(size, [each for each in curves if each.nodes == size])
        for size in sorted({each.nodes for each in curves})
    ]


def _band(nodes: int, curves: Sequence[Curve]) -> Band:
    end_ms = min([each.end_ms for each in curves])
    times = [end_ms * place / GRID for place in range(GRID + 1)]
    columns = [sorted([each.at(time) for each in curves]) for time in times]
    last = len(curves) - 1
    picks = (0, last // TENTH, last // 2, last - last // TENTH, last)
    rows = [tuple([column[pick] for column in columns]) for pick in picks]
    return Band(nodes, len(curves), tuple([time / SECOND_MS for time in times]), *rows)
