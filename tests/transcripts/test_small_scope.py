"""Every sequence of polls in a small scope: the real Snowball against the reference.

A poll is any split of k votes among the values and no answer, so all raw polls are tried, not just
one of each kind. States that both machines have seen together are not entered twice; what is left
out is therefore nothing up to the depth.
"""

from itertools import combinations_with_replacement

import pytest

from consensus.ids import BlockId
from consensus.snowball import Snowball
from tests.transcripts.reference_snowball import Reference, Tally

NAMES = "abc"
BLOCKS = {name: BlockId(name.encode() * 36) for name in NAMES}
NAMED: dict[BlockId | None, str] = {block: name for name, block in BLOCKS.items()}
Votes = tuple[tuple[str, int], ...]
Scope = tuple[int, int, int]  # k, alpha_preference, alpha_confidence


def polls(k: int, values: int) -> list[Votes]:
    """All polls of k slots: how many named each value; the rest gave no answer."""
    found = []
    for answers in combinations_with_replacement(NAMES[:values] + "-", k):
        found.append(tuple([(v, answers.count(v)) for v in NAMES[:values] if v in answers]))
    return found


SCOPES: list[Scope] = [
    (k, alpha_preference, alpha_confidence)
    for k in range(1, 6)
    for alpha_preference in range(k // 2 + 1, k + 1)
    for alpha_confidence in range(alpha_preference, k + 1)
]


def copied(ball: Snowball) -> Snowball:
    """A copy that shares nothing."""
    copy = Snowball(ball.alpha_preference, ball.alpha_confidence, ball.beta, ball.preference)
    copy.yields, copy.counts = ball.yields, dict(ball.counts)
    copy.winner, copy.streak, copy.polls = ball.winner, ball.streak, ball.polls
    copy.leader, copy.leading = ball.leader, ball.leading
    copy.settled, copy.weakly = ball.settled, ball.weakly
    return copy


def tally(value: BlockId | None, number: int) -> Tally:
    return () if value is None and not number else ((NAMED.get(value, "?"), number),)


def seen(ball: Snowball) -> Reference:
    """The real one in the reference's words."""
    return Reference(
        ball.alpha_preference,
        ball.alpha_confidence,
        ball.beta,
        None if ball.preference is None else NAMED[ball.preference],
        tuple(sorted([(NAMED[block], count) for block, count in ball.counts.items()])),
        tally(ball.winner, ball.streak),
        tally(ball.leader, ball.leading),
        None if ball.settled is None else NAMED[ball.settled],
        ball.weakly,
        ball.yields,
    )


def explore(scope: Scope, beta: int, values: int, depth: int, *, yields: bool = True) -> int:
    """Compare after every sequence of up to `depth` polls; the number of pairs of states."""
    k, alpha_preference, alpha_confidence = scope
    starts = [None, *NAMES[:values]] if values < 3 else ["a"]  # values are alike but for the order
    choices = polls(k, values)
    level = {
        Reference(alpha_preference, alpha_confidence, beta, start, yields=yields): Snowball(
            alpha_preference,
            alpha_confidence,
            beta,
            None if start is None else BLOCKS[start],
            yields=yields,
        )
        for start in starts
    }
    met = set(level)
    for _ in range(depth):
        coming: dict[Reference, Snowball] = {}
        for state, ball in level.items():
            for votes in choices:
                after, moved = state.after(dict(votes)), copied(ball)
                moved.record_poll({BLOCKS[value]: weight for value, weight in votes})
                assert seen(moved) == after, (state, votes)
                if after not in met:
                    met.add(after)
                    coming[after] = moved
        level = coming
    return len(met)


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_every_sequence_of_two_values_up_to_settling_with_beta_one(scope: Scope) -> None:
    """Four polls: settled after one or two, then sticky."""
    assert explore(scope, 1, 2, 4) > 10


@pytest.mark.slow
@pytest.mark.parametrize("beta", [2, 3])
@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_every_sequence_of_two_values(scope: Scope, beta: int) -> None:
    """Two polls more than weak settling takes."""
    assert explore(scope, beta, 2, 2 * beta + 2) > 100


@pytest.mark.slow
@pytest.mark.parametrize("scope", [(3, 2, 3), (5, 3, 4)], ids=str)
def test_every_sequence_where_nothing_yields(scope: Scope) -> None:
    """A chain without votes: no weak settling."""
    assert explore(scope, 2, 2, 6, yields=False) > 100


@pytest.mark.parametrize(
    "beta",
    [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.long)],
)
@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_every_sequence_of_three_values(scope: Scope, beta: int) -> None:
    """As many polls; the values are alike, so one start is enough."""
    assert explore(scope, beta, 3, 2 * beta + 2) > 10


# ---- the comparison itself ----------------------------------------------------------------------


class Kept(Snowball):
    """Rule a broken: a poll without winner leaves the streak as it was."""

    def record_poll(self, weights: dict[BlockId, int]) -> None:  # type: ignore[override]
        held = (self.winner, self.streak)
        Snowball.record_poll(self, weights)
        if self.winner is None:
            self.winner, self.streak = held


def test_a_streak_that_is_not_cleared_would_be_seen() -> None:
    ball, state = Kept(2, 3, 2, BLOCKS["a"]), Reference(2, 3, 2, "a")
    for votes in ({"a": 3}, {"a": 1}):
        ball.record_poll({BLOCKS[value]: weight for value, weight in votes.items()})
        state = state.after(votes)
    assert seen(ball) != state
