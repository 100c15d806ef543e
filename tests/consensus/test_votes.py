"""Tallies of one height (protocol §7): quorums of one round, what is kept, join, conflicts."""

from itertools import product

import pytest

from consensus.certificates import Vote, append_signature, vote_unsigned
from consensus.ids import BlockId, Peer, content_id
from consensus.signatures import ACCEPT, CONFIRM
from consensus.votes import CONFLICT, KNOWN, NEW, OUTSIDE, Votes
from tests.consensus.builders_keys import peer_key

A, B = BlockId(content_id(b"a")), BlockId(content_id(b"b"))
CHAIN = content_id(b"chain")
PEERS = tuple(peer_key(number) for number in range(7))


def vote(peer: Peer, block: BlockId | None, round_: int = 0, phase: str = CONFIRM) -> Vote:
    unsigned = vote_unsigned(
        phase, chain=CHAIN, epoch=0, height=1, round_=round_, block=block, peer=peer
    )
    return Vote.decode(append_signature(unsigned, bytes(64)))


def votes(*weights: int) -> Votes:
    return Votes(dict(zip(PEERS, weights, strict=False)), sum(weights))


def test_a_quorum_is_more_than_two_thirds_of_the_occupied_slots() -> None:
    for occupied in range(1, 40):
        tally = Votes({PEERS[0]: occupied}, occupied)
        for weight in range(occupied + 1):
            assert tally.is_quorum(weight) == (weight * 3 > occupied * 2)
    assert not votes(2, 1).is_quorum(2) and votes(3, 1).is_quorum(3)


def test_weights_count_slots_not_peers() -> None:
    tally = votes(5, 1, 1)
    tally.add(vote(PEERS[0], A))
    assert tally.quorum(0, CONFIRM) == (True, A)


@pytest.mark.parametrize("phase", [CONFIRM, ACCEPT])
def test_a_quorum_is_of_one_round_only(phase: str) -> None:
    """Two rounds with half of it each are none ‡."""
    tally = votes(1, 1, 1, 1)
    for number, round_ in ((0, 0), (1, 0), (2, 1), (3, 1)):
        tally.add(vote(PEERS[number], A, round_, phase))
    assert tally.quorum(0, phase) == tally.quorum(1, phase) == (False, None)
    assert tally.accepted() is None and tally.confirmed() == []
    tally.add(vote(PEERS[2], A, 0, phase))
    assert tally.quorum(0, phase) == (True, A)


def test_accepts_of_any_round_certify() -> None:
    tally = votes(1, 1, 1, 1)
    tally.enter(2)
    for number in range(3):
        tally.add(vote(PEERS[number], A, 1, ACCEPT))
    assert tally.accepted() == (1, A)


def test_nil_has_a_quorum_but_certifies_nothing() -> None:
    tally = votes(1, 1, 1, 1)
    for number in range(3):
        tally.add(vote(PEERS[number], None, 0, ACCEPT))
    assert tally.quorum(0, ACCEPT) == (True, None)
    assert tally.accepted() is None


def test_votes_of_any_value_together_are_a_quorum() -> None:
    tally = votes(1, 1, 1, 1)
    for number, block in enumerate((A, B, None)):
        assert not tally.any_quorum(0, CONFIRM)
        tally.add(vote(PEERS[number], block))
    assert tally.any_quorum(0, CONFIRM) and tally.quorum(0, CONFIRM) == (False, None)
    assert not tally.any_quorum(0, ACCEPT)


def test_at_most_one_vote_counts_per_signer_round_and_phase() -> None:
    tally = votes(1, 1, 1, 1)
    first, second = vote(PEERS[0], A), vote(PEERS[0], B)
    assert tally.add(first) == (NEW, None)
    assert tally.add(first) == (KNOWN, None)
    assert tally.add(second) == (CONFLICT, first)
    assert tally.tallies[0, CONFIRM].weights == {A: 1}
    assert tally.add(vote(PEERS[0], B, 0, ACCEPT)) == (NEW, None)
    assert tally.add(vote(PEERS[0], B, 1)) == (NEW, None)


def test_who_owns_nothing_does_not_count() -> None:
    assert votes(1, 1).add(vote(peer_key(50), A)) == (OUTSIDE, None)


# ---- what is kept -------------------------------------------------------------------------------


def rounds_of(tally: Votes, peer: Peer, phase: str = CONFIRM) -> list[int]:
    return sorted(r for (r, p), t in tally.tallies.items() if p == phase and peer in t.votes)


def test_this_round_the_last_and_the_highest_are_kept_per_signer_and_phase() -> None:
    tally = votes(1, 1, 1, 1)
    tally.enter(4)
    for round_ in (9, 3, 4, 6, 2, 12, 5):
        tally.add(vote(PEERS[0], A, round_))
    assert rounds_of(tally, PEERS[0]) == [3, 4, 12]
    assert sorted(tally.tallies[12, CONFIRM].weights.items()) == [(A, 1)]
    tally.enter(5)
    assert rounds_of(tally, PEERS[0]) == [4, 12]
    tally.enter(13)
    assert rounds_of(tally, PEERS[0]) == [12]
    tally.enter(20)
    assert rounds_of(tally, PEERS[0]) == [12], "the highest stays, however old"


def test_memory_is_bounded_whatever_a_signer_sends() -> None:
    tally = votes(1, 1, 1, 1)
    for round_ in range(200):
        tally.add(vote(PEERS[0], A, round_))
        tally.add(vote(PEERS[0], A, 1_000 - round_))
    kept = sum(len(each.votes) for each in tally.tallies.values())
    assert kept <= 3


# ---- round join ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "joined"),
    [
        ((0, 0, 0, 0), 0),
        ((5, 0, 0, 0), 0),  # a quarter is not more than a third
        ((5, 3, 0, 0), 3),
        ((5, 5, 1, 0), 5),
        ((7, 5, 5, 5), 5),
        ((9, 8, 7, 6), 8),
    ],
)
def test_the_round_that_more_than_a_third_has_joined(rounds: tuple[int, ...], joined: int) -> None:
    tally = votes(1, 1, 1, 1)
    for peer, round_ in zip(PEERS, rounds, strict=False):
        tally.add(vote(peer, None, round_, ACCEPT))
    assert tally.join_round() == joined


def test_exactly_a_third_does_not_join() -> None:
    tally = votes(1, 1, 1)
    tally.add(vote(PEERS[0], A, 4))
    assert tally.join_round() == 0
    tally.add(vote(PEERS[1], A, 2))
    assert tally.join_round() == 2


def test_join_round_is_what_the_page_says_for_every_small_case() -> None:
    """The greatest r' such that more than a third has votes in rounds ≥ r'."""
    weights = (2, 1, 1)
    for rounds in product(range(4), repeat=3):
        for phases in product((CONFIRM, ACCEPT), repeat=3):
            tally = votes(*weights)
            for peer, round_, phase in zip(PEERS, rounds, phases, strict=False):
                tally.add(vote(peer, A, round_, phase))
            wanted = max(
                r
                for r in range(5)
                if r == 0
                or 3 * sum(w for w, at in zip(weights, rounds, strict=True) if at >= r) > 4
            )
            assert tally.join_round() == wanted


def test_confirms_of_more_than_a_third_are_seen_in_one_round() -> None:
    tally = votes(1, 1, 1)
    tally.add(vote(PEERS[0], A, 0))
    tally.add(vote(PEERS[1], A, 1))
    assert tally.confirm_weight(A) == 1
    tally.add(vote(PEERS[1], A, 0))
    assert tally.confirm_weight(A) == 2
