"""Dice: the same seed throws the same, and no number is favoured."""

import hashlib
import math
from collections import Counter
from itertools import permutations

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.dice import Dice
from consensus.errors import EncodingError

SEED = hashlib.sha256(b"any seed").digest()


def chi_square(counts: list[int]) -> float:
    """Deviations from the mean of `counts` in sigmas of the chi-square distribution."""
    mean, freedom = sum(counts) / len(counts), len(counts) - 1
    return (sum((count - mean) ** 2 / mean for count in counts) - freedom) / math.sqrt(2 * freedom)


def test_words_are_sha256_of_seed_and_counter():
    dice = Dice(SEED)
    for number in range(10):
        block = hashlib.sha256(dag_cbor.encode(["dice", SEED, number // 4])).digest()
        word = int.from_bytes(block[number % 4 * 8 :][:8], "big")
        assert dice.uint(2**64) == word


@pytest.mark.parametrize("below", [2, 3, 7, 20, 60, 600])
def test_throws_are_even(below):
    dice = Dice(SEED)
    counts = Counter(dice.uint(below) for _ in range(100 * below))
    assert abs(chi_square([counts[number] for number in range(below)])) < 3


def test_words_that_would_favour_small_numbers_are_thrown_again():
    # With 2^64 mod n words left over, a plain remainder would give a small number twice as often
    # as a great one.
    below = 2**64 * 2 // 3
    dice = Dice(SEED)
    small = sum(dice.uint(below) < below // 2 for _ in range(4000))
    assert abs(small - 2000) < 3 * math.sqrt(4000 / 4)


@pytest.mark.parametrize(("below", "count"), [(10, 3), (20, 20), (60, 20)])
def test_samples_are_even_over_all_places(below, count):
    dice = Dice(SEED)
    draws = [dice.sample(below, count) for _ in range(3000)]
    assert all(len(set(draw)) == count and max(draw) < below for draw in draws)
    for place in (0, count // 2, count - 1):
        counts = Counter(draw[place] for draw in draws)
        assert abs(chi_square([counts[number] for number in range(below)])) < 3


def test_no_pair_of_draws_is_favoured():
    dice = Dice(SEED)
    counts = Counter(dice.sample(10, 2) for _ in range(9000))
    assert len(counts) == 90
    assert abs(chi_square(list(counts.values()))) < 3


def test_every_order_of_a_shuffle_is_as_likely():
    dice = Dice(SEED)
    counts = Counter(tuple(dice.shuffle("abcd")) for _ in range(4800))
    assert abs(chi_square([counts[order] for order in permutations("abcd")])) < 3


@given(st.binary(min_size=32, max_size=32), st.integers(0, 9), st.lists(st.integers(1, 2**64)))
def test_a_copy_and_a_restored_snapshot_go_on_alike(seed, before, throws):
    dice = Dice(seed)
    for _ in range(before):
        dice.uint(10)
    copy, restored = dice.copy(), Dice.restore(dice.snapshot())
    expected = [dice.uint(below) for below in throws]
    assert [copy.uint(below) for below in throws] == expected
    assert [restored.uint(below) for below in throws] == expected
    assert copy.snapshot() == dice.snapshot() == restored.snapshot()


def test_children_have_streams_of_their_own():
    dice = Dice(SEED)
    before = dice.snapshot()
    streams = {dice.raw(32), dice.child("a").raw(32), dice.child("b").raw(32)}
    assert len(streams) == 3
    assert Dice.restore(before).child("a").raw(32) in streams


def test_raw_bytes_have_the_length_asked_for():
    for length in range(40):
        assert len(Dice(SEED).raw(length)) == length


def test_a_snapshot_is_canonical_bytes():
    for raw in (b"", b"\x80", Dice(SEED).snapshot() + b"\x00", Dice(SEED).snapshot()[:-1]):
        with pytest.raises(EncodingError):
            Dice.restore(raw)


@pytest.mark.parametrize("below", [0, -1, 2**64 + 1])
def test_impossible_ranges_are_our_own_bugs(below):
    with pytest.raises(AssertionError):
        Dice(SEED).uint(below)


def test_nobody_draws_more_than_there_is():
    with pytest.raises(AssertionError):
        Dice(SEED).sample(3, 4)
    assert Dice(SEED).sample(0, 0) == ()
