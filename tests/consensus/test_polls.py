"""Outstanding polls (protocol §6): early end, oldest first, once per peer, order of answers."""

from itertools import combinations_with_replacement, permutations, product

import pytest

from consensus.dice import Dice
from consensus.ids import BlockId, Peer
from consensus.polls import Poll, PollGroup, draw_poll
from consensus.snowball import Snowball
from tests.consensus.builders_keys import peer_key

A, B = BlockId(b"a" * 36), BlockId(b"b" * 36)
ONE, TWO, THREE, FOUR = (peer_key(number) for number in range(4))


def poll_of(*drawn: tuple[Peer, int]) -> Poll:
    return Poll(dict(drawn), sum(weight for _, weight in drawn))


def effect(weights: dict[BlockId, int], alpha_p: int, alpha_c: int) -> tuple[object, ...]:
    """What a poll does to a fresh Snowball."""
    snowball = Snowball(alpha_p, alpha_c, 2, A, counts={A: 1, B: 1})
    snowball.record_poll(weights)
    held = (snowball.preference, snowball.counts, snowball.winner, snowball.streak)
    return (*held, snowball.leader, snowball.leading)


# ---- early end ----------------------------------------------------------------------------------

SCOPES = [
    (k, alpha_p, alpha_c)
    for k in range(1, 6)
    for alpha_p in range(k // 2 + 1, k + 1)
    for alpha_c in range(alpha_p, k + 1)
]


@pytest.mark.parametrize(("k", "alpha_p", "alpha_c"), SCOPES)
def test_a_poll_ends_when_its_outcome_is_certain_and_never_earlier(
    k: int, alpha_p: int, alpha_c: int
) -> None:
    """All splits of k into answers for a, for b, nulls and outstanding ones."""
    for for_a, for_b, nulls in product(range(k + 1), repeat=3):
        outstanding = k - for_a - for_b - nulls
        if outstanding < 0:
            continue
        weights = {v: w for v, w in ((A, for_a), (B, for_b)) if w}
        poll = Poll({ONE: outstanding}, outstanding, weights)
        ends = {
            repr(effect({A: for_a + x, B: for_b + y}, alpha_p, alpha_c))
            for x in range(outstanding + 1)
            for y in range(outstanding + 1 - x)
        }
        assert poll.certain(alpha_p, alpha_c) == (len(ends) == 1), (for_a, for_b, outstanding)


def test_a_third_value_counts_as_possible_too() -> None:
    """Two outstanding could all name a value that nobody named yet."""
    poll = Poll({ONE: 3}, 3, {A: 2})
    assert not poll.certain(3, 4)
    assert Poll({ONE: 1}, 1, {A: 1, B: 1}).certain(3, 3)


# ---- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", list(combinations_with_replacement([A, B, None], 4)))
def test_the_order_of_answers_inside_a_poll_changes_nothing(
    answers: tuple[BlockId | None, ...],
) -> None:
    peers = (ONE, TWO, THREE, FOUR)
    found = set()
    for order in permutations(range(4)):
        polls = [poll_of((ONE, 1), (TWO, 2), (THREE, 1), (FOUR, 1)) for _ in range(2)]
        group = PollGroup(polls, dict(enumerate(peers)), 0, 100)
        snowball = Snowball(3, 4, 2, A)
        for place in order:
            assert group.record_answer(place, peers[place], answers[place])
        for poll in group.take_finished(3, 4):
            snowball.record_poll(poll.weights)
        weights = [sorted(poll.weights.items()) for poll in polls]
        counts = sorted(snowball.counts.items())
        found.add(repr((weights, counts, snowball.preference, snowball.streak, snowball.settled)))
    assert len(found) == 1


def test_an_answer_weighs_the_slots_that_were_drawn() -> None:
    poll = poll_of((ONE, 3), (TWO, 2))
    poll.record_answer(ONE, A)
    assert (poll.weights, poll.outstanding) == ({A: 3}, 2)


def test_null_counts_as_no_answer() -> None:
    poll = poll_of((ONE, 3), (TWO, 2))
    poll.record_answer(ONE, None)
    assert (poll.weights, poll.outstanding) == ({}, 2)


def group_of(*polls: Poll) -> PollGroup:
    return PollGroup(list(polls), {1: ONE, 2: TWO}, 0, 100)


def test_one_query_serves_all_polls_of_a_group() -> None:
    group = group_of(poll_of((ONE, 1), (TWO, 1)), poll_of((ONE, 2)))
    group.record_answer(1, ONE, A)
    assert [poll.weights for poll in group.polls] == [{A: 1}, {A: 2}]


@pytest.mark.parametrize(
    ("ask", "peer"), [(1, TWO), (3, ONE), (2, ONE)], ids=["other peer", "unknown", "swapped"]
)
def test_an_answer_is_matched_by_id_and_peer(ask: int, peer: Peer) -> None:
    group = group_of(poll_of((ONE, 1), (TWO, 1)))
    assert not group.record_answer(ask, peer, A)
    assert group.polls[0].weights == {}


def test_a_peer_counts_once_though_it_was_asked_twice() -> None:
    group = group_of(poll_of((ONE, 1), (TWO, 1)))
    group.asks[7] = ONE  # asked again
    assert group.record_answer(7, ONE, A)
    assert not group.record_answer(1, ONE, B)
    assert group.polls[0].weights == {A: 1}


def test_silence_of_one_of_two_asks_waits_for_the_other() -> None:
    group = group_of(poll_of((ONE, 1), (TWO, 1)))
    group.asks[7] = ONE
    group.record_silence(1)
    assert group.polls[0].outstanding == 2
    group.record_silence(7)
    assert group.polls[0].outstanding == 1


def test_polls_are_applied_oldest_first() -> None:
    """The second is certain at once; it waits for the first."""
    first, second = poll_of((ONE, 2), (TWO, 3)), poll_of((ONE, 5))
    group = group_of(first, second)
    group.record_answer(1, ONE, A)
    assert group.take_finished(3, 4) == []
    group.record_answer(2, TWO, B)
    assert group.take_finished(3, 4) == [first, second]
    assert group.polls == []


def test_the_timeout_ends_all_polls_with_what_they_have() -> None:
    group = group_of(poll_of((ONE, 3), (TWO, 2)), poll_of((TWO, 5)))
    group.record_answer(1, ONE, A)
    group.expire()
    assert [poll.weights for poll in group.take_finished(3, 4)] == [{A: 3}, {}]


# ---- drawing ------------------------------------------------------------------------------------


def test_a_draw_is_of_k_different_occupied_slots_grouped_by_owner() -> None:
    owners = (ONE, None, TWO, ONE, None, THREE, ONE)
    occupied = [slot for slot, owner in enumerate(owners) if owner is not None]
    dice, seen = Dice(bytes(32)), dict.fromkeys((ONE, TWO, THREE), 0)
    for _ in range(400):
        places = dice.sample(len(occupied), 3)
        assert len(set(places)) == 3
        poll = draw_poll(owners, [occupied[place] for place in places])
        assert sum(poll.drawn.values()) == poll.outstanding == 3
        for peer, weight in poll.drawn.items():
            seen[peer] += weight
    assert 660 < seen[ONE] < 780  # 3 of 5 slots: 720 of 1,200
    assert 200 < seen[TWO] < 280 and 200 < seen[THREE] < 280
