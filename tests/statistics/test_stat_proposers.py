"""The order of proposers is a fair draw at every height and round (protocol §5)."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, permutations

import pytest

from consensus.ids import Epoch, Peer
from consensus.proposers import genesis_randomness, next_randomness, ranking
from consensus.tables import Table
from tests.statistics.chisquare import ALMOST_NEVER, chance, uniform

PEERS = tuple([Peer(bytes([number]) * 32) for number in range(1, 9)])
SEED = b"s" * 36


def orders(owners: Sequence[Peer | None], heights: int, round_: int = 0) -> list[tuple[Peer, ...]]:
    """The ranked owners of so many heights, with a hash chain of randomness."""
    table, randomness, found = Table.of(Epoch(0), owners), genesis_randomness(SEED), []
    for height in range(1, heights + 1):
        ranked = ranking(table, PEERS, randomness=randomness, height=height, round=round_)
        found.append(tuple([peer for peer, _ in ranked]))
        randomness = next_randomness(randomness, height.to_bytes(32, "big"))
    return found


@pytest.mark.parametrize("round_", [0, 1, 7])
def test_every_order_of_equal_owners_is_equally_likely(round_: int) -> None:
    seen = Counter(orders(list(PEERS[:4]) * 3, 2_400, round_))
    assert uniform([seen[order] for order in permutations(PEERS[:4])]) > ALMOST_NEVER


def test_the_first_rank_follows_the_slots_that_an_owner_holds() -> None:
    """One owner has 6 slots, one 3, three have 1 each; vacant slots count for nobody."""
    shares = dict(zip(PEERS, (6, 3, 1, 1, 1), strict=False))
    owners: list[Peer | None] = [peer for peer, held in shares.items() for _ in range(held)]
    firsts = Counter([order[0] for order in orders([None, *owners, None], 3_600)])
    found, expected = [firsts[peer] for peer in shares], [300 * held for held in shares.values()]
    assert chance(found, expected) > ALMOST_NEVER
    assert uniform(found) < 1e-12, "an order by owners instead of slots would be seen"


def test_rounds_of_one_height_and_heights_know_nothing_of_each_other() -> None:
    owners: list[Peer | None] = list(PEERS[:4])
    now, later = orders(owners, 3_000), orders(owners, 3_000, 1)
    rounds = Counter([(a[0], b[0]) for a, b in zip(now, later, strict=True)])
    heights = Counter([(a[0], b[0]) for a, b in pairwise(now)])
    pairs = [(a, b) for a in PEERS[:4] for b in PEERS[:4]]
    assert uniform([rounds[pair] for pair in pairs]) > ALMOST_NEVER
    assert uniform([heights[pair] for pair in pairs]) > ALMOST_NEVER


def test_the_best_slot_of_an_owner_is_any_of_its_slots() -> None:
    """So that the slot of a proposal tells nothing but luck."""
    table, seen = Table.of(Epoch(0), [PEERS[0]] * 12), Counter[int]()
    for height in range(1, 2_401):
        ((_, slot),) = ranking(table, PEERS, randomness=SEED[:32], height=height, round=0)
        seen[slot] += 1
    assert uniform([seen[slot] for slot in range(12)]) > ALMOST_NEVER


def test_an_order_that_repeats_itself_is_refused() -> None:
    """The same test, were the rank a function of the height alone: owner = height mod 4."""
    fixed = Counter([(height % 4, (height + 1) % 4) for height in range(3_000)])
    assert uniform([fixed[a, b] for a in range(4) for b in range(4)]) < 1e-12
