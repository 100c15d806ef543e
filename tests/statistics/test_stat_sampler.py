"""Dice and polls draw what they should (protocol §6): chi-square with fixed seeds.

Each family has a wrong sampler beside the right one, which the same test must refuse.
"""

from collections import Counter
from collections.abc import Callable
from itertools import combinations, permutations
from math import comb

import pytest

from consensus.dice import UINT_LIMIT, Dice
from consensus.ids import Peer
from consensus.polls import draw_poll
from tests.statistics.chisquare import (
    ALMOST_NEVER,
    binomial,
    chance,
    hypergeometric,
    mean_to_run,
    mean_to_settle,
    of_counts,
    uniform,
    upper_gamma,
    variance_to_run,
)

HOLDER, OTHER = Peer(b"h" * 32), Peer(b"o" * 32)


def dice(seed: int) -> Dice:
    return Dice(seed.to_bytes(32, "big"))


# ---- the instrument -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freedom", "statistic", "expected"),
    [
        (1, 3.841, 0.05),
        (5, 11.070, 0.05),
        (10, 18.307, 0.05),
        (10, 29.588, 0.001),
        (100, 77.929, 0.95),
    ],
)
def test_the_tail_of_chi_square_is_that_of_the_printed_tables(
    freedom: int, statistic: float, expected: float
) -> None:
    assert upper_gamma(freedom / 2, statistic / 2) == pytest.approx(expected, rel=2e-3)


def test_the_waiting_time_for_a_run_is_that_of_enumeration() -> None:
    """P(T > n) of runs, counted poll by poll, for p = 0.6 and runs of 3."""
    p, run = 0.6, 3
    alive, mean, square = [1.0] + [0.0] * (run - 1), 0.0, 0.0
    for n in range(2_000):
        left = sum(alive)
        mean += left
        square += (2 * n + 1) * left
        alive = [left * (1 - p), *[chance_ * p for chance_ in alive[:-1]]]
    assert mean_to_run(p, run) == pytest.approx(mean)
    assert variance_to_run(p, run) == pytest.approx(square - mean**2)


def test_settling_either_way_is_sooner_than_by_streak_alone() -> None:
    assert mean_to_settle(0.8, 0.8, 8) == pytest.approx(mean_to_run(0.8, 8))
    assert mean_to_settle(1.0, 0.0, 8) == 16
    assert mean_to_settle(1.0, 1.0, 8) == 8
    assert 16 > mean_to_settle(1.0, 0.5, 8) > 8


# ---- dice ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", [2, 3, 6, 7, 16, 100, 600])
def test_throws_are_uniform(below: int) -> None:
    thrown, rolls = dice(below), Counter[int]()
    for _ in range(40 * below + 4_000):
        rolls[thrown.uint(below)] += 1
    assert uniform([rolls[number] for number in range(below)]) > ALMOST_NEVER


def test_throws_are_uniform_where_a_remainder_alone_would_not_be() -> None:
    """Of 3·2^62 numbers, the lower third would come twice as often by remainder."""
    below, third = 3 * 2**62, 2**62
    thrown, rolls, wrong = dice(1), [0, 0, 0], [0, 0, 0]
    for _ in range(3_000):
        rolls[thrown.uint(below) // third] += 1
        wrong[int.from_bytes(thrown.raw(8), "big") % below // third] += 1
    assert uniform(rolls) > ALMOST_NEVER
    assert uniform(wrong) < 1e-12
    assert below < UINT_LIMIT


def test_throws_in_a_row_know_nothing_of_each_other() -> None:
    thrown, pairs = dice(5), Counter[int]()
    last = thrown.uint(8)
    for _ in range(8_000):
        now = thrown.uint(8)
        pairs[8 * last + now] += 1
        last = now
    assert uniform([pairs[pair] for pair in range(64)]) > ALMOST_NEVER


def test_children_of_one_seed_know_nothing_of_each_other() -> None:
    parent, pairs = dice(6), Counter[int]()
    for name in range(4_000):
        pairs[6 * parent.child(f"a{name}").uint(6) + parent.child(f"b{name}").uint(6)] += 1
    assert uniform([pairs[pair] for pair in range(36)]) > ALMOST_NEVER


# ---- draws without replacement ------------------------------------------------------------------


def test_every_order_of_a_shuffle_is_equally_likely() -> None:
    thrown, orders = dice(2), Counter[tuple[int, ...]]()
    for _ in range(12_000):
        orders[tuple(thrown.shuffle([0, 1, 2, 3, 4]))] += 1
    assert uniform([orders[order] for order in permutations(range(5))]) > ALMOST_NEVER


def test_a_naive_shuffle_is_refused() -> None:
    """Swapping each place with any place favours some orders."""
    thrown, orders = dice(2), Counter[tuple[int, ...]]()
    for _ in range(12_000):
        items = [0, 1, 2, 3, 4]
        for place in range(5):
            other = thrown.uint(5)
            items[place], items[other] = items[other], items[place]
        orders[tuple(items)] += 1
    assert uniform([orders[order] for order in permutations(range(5))]) < 1e-12


@pytest.mark.parametrize(("below", "count"), [(6, 3), (9, 2), (12, 4), (7, 6)])
def test_every_set_of_slots_is_equally_likely(below: int, count: int) -> None:
    thrown, sets = dice(100 * below + count), Counter[tuple[int, ...]]()
    for _ in range(25 * comb(below, count)):
        sets[tuple(sorted(thrown.sample(below, count)))] += 1
    found = [sets[chosen] for chosen in combinations(range(below), count)]
    assert sum(found) == 25 * comb(below, count), "no slot twice"
    assert uniform(found) > ALMOST_NEVER


def test_every_place_of_a_draw_sees_every_slot_equally_often() -> None:
    thrown, places = dice(3), [Counter[int]() for _ in range(20)]
    for _ in range(2_500):
        for place, slot in enumerate(thrown.sample(50, 20)):
            places[place][slot] += 1
    for seen in places:
        assert uniform([seen[slot] for slot in range(50)]) > ALMOST_NEVER


# ---- polls --------------------------------------------------------------------------------------


Sampler = Callable[[Dice, int, int], tuple[int, ...]]


def held_in_polls(sampler: Sampler, slots: int, held: int, k: int, polls: int) -> Counter[int]:
    """Weight of the holder's answer in each poll; it owns every n-th slot or so, one is vacant."""
    owners: list[Peer | None] = [
        HOLDER if held * s // slots < held * (s + 1) // slots else OTHER for s in range(slots)
    ]
    assert owners.count(HOLDER) == held
    owners.insert(slots // 2, None)
    occupied = [slot for slot, owner in enumerate(owners) if owner is not None]
    thrown, weights = dice(1_000 * slots + held), Counter[int]()
    for _ in range(polls):
        places = sampler(thrown, slots, k)
        weights[draw_poll(owners, [occupied[place] for place in places]).drawn.get(HOLDER, 0)] += 1
    return weights


@pytest.mark.parametrize(
    ("slots", "held", "k"),
    [
        (20, 7, 20),
        (24, 12, 20),
        (60, 3, 20),
        (60, 30, 20),
        (600, 60, 20),
        (600, 300, 20),
        (600, 450, 20),
        (12, 5, 5),
    ],
)
def test_an_owner_weighs_in_a_poll_what_the_hypergeometric_distribution_says(
    slots: int, held: int, k: int
) -> None:
    weights = held_in_polls(Dice.sample, slots, held, k, 1_500)
    expected = hypergeometric(slots, held, k)
    if len(expected) == 1:  # all slots are drawn
        assert weights == {held: 1_500}
    else:
        assert of_counts(weights, expected) > ALMOST_NEVER


def test_a_sampler_with_replacement_is_refused() -> None:
    def again(thrown: Dice, below: int, count: int) -> tuple[int, ...]:
        return tuple([thrown.uint(below) for _ in range(count)])

    weights = held_in_polls(again, 60, 30, 20, 3_000)
    assert of_counts(weights, hypergeometric(60, 30, 20)) < 1e-9
    assert of_counts(weights, binomial(20, 0.5)) > ALMOST_NEVER


def test_a_sampler_of_neighbours_is_refused() -> None:
    """One throw for all slots: each slot is drawn equally often, but not each set."""

    def run(thrown: Dice, below: int, count: int) -> tuple[int, ...]:
        start = thrown.uint(below)
        return tuple([(start + step) % below for step in range(count)])

    weights = held_in_polls(run, 600, 60, 20, 1_500)
    assert of_counts(weights, hypergeometric(600, 60, 20)) < 1e-12


def test_polls_of_a_group_are_drawn_independently() -> None:
    """The weights of an owner in two polls that are opened together."""
    owners = [HOLDER] * 6 + [OTHER] * 6
    expected, thrown = hypergeometric(12, 6, 5), dice(77)
    pairs = Counter[int]()
    for _ in range(4_000):
        first, second = (draw_poll(owners, thrown.sample(12, 5)).drawn.get(HOLDER, 0) for _ in "ab")
        pairs[6 * first + second] += 1
    cells = [(a, b) for a in expected for b in expected]
    found = [pairs[6 * a + b] for a, b in cells]
    assert chance(found, [4_000 * expected[a] * expected[b] for a, b in cells]) > ALMOST_NEVER
