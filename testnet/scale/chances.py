"""What one poll can give, with exact chances: tails of the hypergeometric distribution.

A poll draws k of N slots without replacement. alpha_preference is more than half of k, so at most
one value can lead a poll: "v leads" and "w leads" exclude each other, and the chance of each needs
only the number of slots that answer with it, whatever the others say. All sums are of whole
numbers; a chance is rounded once, when it becomes a float. Knows no rounds and no adversary.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import comb
from typing import NamedTuple

TABLE_ROWS_MAX = 65_536  # tails kept; one row is a few floats


class Draw(NamedTuple):
    """How a poll draws and judges (protocol §6): k of the slots, and both alphas."""

    slots: int
    k: int
    alpha_preference: int
    alpha_confidence: int


class Tail(NamedTuple):
    """Chances that a value leads a poll, and that it wins one; `lead` includes `win`."""

    lead: float
    win: float


@lru_cache(maxsize=TABLE_ROWS_MAX)
def tail(draw: Draw, support: int) -> Tail:
    """For a value that `support` of the slots answer with."""
    assert 0 <= support <= draw.slots, "no more answers than slots"
    ways = [
        comb(support, hits) * comb(draw.slots - support, draw.k - hits)
        for hits in range(draw.alpha_preference, draw.k + 1)
    ]
    all_ways = comb(draw.slots, draw.k)
    winning = ways[draw.alpha_confidence - draw.alpha_preference :]
    return Tail(sum(ways) / all_ways, sum(winning) / all_ways)


def steps(draw: Draw, supports: Sequence[int]) -> list[float]:
    """2·values bounds in [0, 1], rising, that cut the unit interval into the outcomes of a poll.

    Below bound 2v: v wins; from there below bound 2v + 1: v leads without winning; at and above the
    last one: nothing leads. `supports[v]` is the number of slots that answer with value v.
    """
    bounds: list[float] = []
    reached = 0.0
    for support in supports:
        chance = tail(draw, support)
        bounds += (reached + chance.win, reached + chance.lead)
        reached += chance.lead
    return bounds


def polls_to_settle(win: float, beta: int) -> float:
    """Expected polls until beta wins in a row, where each poll is won with chance `win` > 0.

    (1 − p^beta) / (p^beta·(1 − p)); the limit for p = 1 is beta.
    """
    if win == 1.0:
        return float(beta)
    window = win**beta
    return (1 - window) / (window * (1 - win))
