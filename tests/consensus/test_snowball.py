"""Snowball's counters (protocol §6): tables, and every sequence of polls in a small scope.

The reference below is written from the page alone, with lists and no early state.
"""

from itertools import product

import pytest

from consensus.ids import BlockId
from consensus.snowball import Snowball

A, B, C = (BlockId(name * 36) for name in (b"a", b"b", b"c"))
Result = dict[BlockId, int]


def reference(
    polls: list[Result], alpha_p: int, alpha_c: int, beta: int, start: BlockId
) -> tuple[BlockId, int, BlockId | None, bool]:
    """(preference, streak, settled, weakly) after all polls, each looked at from the first on."""
    preference, counts = start, {A: 0, B: 0}
    history: list[tuple[BlockId | None, BlockId | None]] = []
    settled, weakly, streak = None, False, 0
    for poll in polls:
        leader = next((v for v, w in poll.items() if w >= alpha_p), None)
        winner = next((v for v, w in poll.items() if w >= alpha_c), None)
        history.append((leader, winner))
        if leader is not None:
            counts[leader] += 1
            if counts[leader] > counts[preference]:
                preference = leader
        streak = 0
        for _, past in reversed(history):
            if winner is None or past != winner:
                break
            streak += 1
        leading = 0
        for past, _ in reversed(history):
            if leader is None or past != leader:
                break
            leading += 1
        if settled is None and streak >= beta:
            settled = winner
        elif settled is None and leading >= 2 * beta:
            settled, weakly = leader, True
    return preference, streak, settled, weakly


def outcomes(k: int, alpha_p: int, alpha_c: int) -> list[Result]:
    """One poll of each kind: no leader, led weakly, won; for a and for b."""
    kinds = [{A: alpha_p - 1, B: 0}, {A: alpha_c, B: k - alpha_c}, {A: k - alpha_c, B: alpha_c}]
    if alpha_p < alpha_c:
        kinds += [{A: alpha_p, B: k - alpha_p}, {A: k - alpha_p, B: alpha_p}]
    return [{v: w for v, w in kind.items() if w > 0} for kind in kinds]


SCOPES = [
    (k, alpha_p, alpha_c, beta)
    for k in range(1, 6)
    for alpha_p in range(k // 2 + 1, k + 1)
    for alpha_c in range(alpha_p, k + 1)
    for beta in (1, 2, 3)
]


@pytest.mark.parametrize(("k", "alpha_p", "alpha_c", "beta"), SCOPES)
def test_every_sequence_of_polls_agrees_with_the_reference(
    k: int, alpha_p: int, alpha_c: int, beta: int
) -> None:
    kinds = outcomes(k, alpha_p, alpha_c)
    length = {1: 4, 2: 5, 3: 6}[beta] if len(kinds) == 3 else {1: 3, 2: 4, 3: 5}[beta]
    for polls in product(kinds, repeat=length):
        snowball = Snowball(alpha_p, alpha_c, beta, A)
        for poll in polls:
            snowball.record_poll(poll)
        expected = reference(list(polls), alpha_p, alpha_c, beta, A)
        found = (snowball.preference, snowball.streak, snowball.settled, snowball.weakly)
        assert found == expected, polls


def run(*polls: Result, start: BlockId | None = A, beta: int = 3) -> Snowball:
    snowball = Snowball(3, 4, beta, start)
    for poll in polls:
        snowball.record_poll(poll)
    return snowball


def test_the_preference_moves_only_when_strictly_greater() -> None:
    assert run({A: 3}, {B: 3}).preference == A  # one each
    assert run({A: 3}, {B: 3}, {B: 3}).preference == B


def test_a_null_preference_takes_the_first_value_that_leads() -> None:
    assert run({B: 3}, start=None).preference == B
    assert run({B: 2}, start=None).preference is None


def test_a_poll_without_winner_clears_every_streak() -> None:
    snowball = run({A: 4}, {A: 4}, {A: 3})
    assert (snowball.streak, snowball.winner) == (0, None)
    snowball.record_poll({A: 5})
    assert snowball.streak == 1


def test_another_winner_restarts_the_streak_at_one_for_it() -> None:
    snowball = run({A: 4}, {A: 4}, {B: 4})
    assert (snowball.streak, snowball.winner) == (1, B)


def test_settled_is_sticky_and_the_preference_still_moves() -> None:
    snowball = run(*[{A: 4}] * 3, *[{B: 5}] * 9)
    assert snowball.settled == A and snowball.preference == B


def test_weak_settling_after_two_beta_polls_led_by_one_value() -> None:
    assert run(*[{A: 3}] * 5).settled is None
    snowball = run(*[{A: 3}] * 6)
    assert (snowball.settled, snowball.weakly) == (A, True)


@pytest.mark.parametrize("between", [{A: 2}, {B: 3}, {B: 5}])
def test_any_other_poll_in_between_starts_the_weak_count_again(between: Result) -> None:
    snowball = run(*[{A: 3}] * 5, between, *[{A: 3}] * 5)
    assert snowball.settled is None
    snowball.record_poll({A: 3})
    assert (snowball.settled, snowball.weakly) == (A, True)


def test_a_strong_streak_counts_for_the_weak_one_too() -> None:
    snowball = run({A: 3}, {A: 4}, {A: 3}, {A: 4}, {A: 3}, {A: 4})
    assert (snowball.settled, snowball.weakly) == (A, True)


def test_what_lies_below_alpha_does_not_depend_on_the_order_of_answers() -> None:
    one, other = run({A: 2, B: 2, C: 1}), run({C: 1, B: 2, A: 2})
    assert one == other
