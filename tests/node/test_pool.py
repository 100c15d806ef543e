"""The pools (protocol §9, §4): bounds, order, what leaves, what stays for candidates."""

import pytest

from consensus.facts import Renew
from consensus.ids import Peer
from consensus.messages import Message
from node import pool
from node.pool import (
    ADDED,
    EXPIRED,
    EXPIRES_LATE,
    FULL,
    KNOWN,
    ORPHANS_FULL,
    SENDER_FULL,
    WRONG_CHAIN,
    FactPool,
    MessagePool,
)
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_keys import peer_key
from tests.node.builders_core import message

SPEC = make_spec(4)


def filled(count: int) -> MessagePool:
    held = MessagePool(SPEC)
    for number in range(count):
        assert held.add(message(SPEC, number), 1) == ADDED
    return held


def test_messages_are_offered_in_order_of_arrival() -> None:
    held = filled(5)
    assert [each.nonce[-1] for each in held.choose(1)] == [0, 1, 2, 3, 4]
    assert held.size == sum(len(each.raw) for each in held.choose(1))


def test_a_message_is_taken_once_also_after_it_was_included() -> None:
    held = filled(1)
    again = message(SPEC, 0)
    assert held.add(again, 1) == KNOWN
    held.include([again.id])
    assert held.add(again, 2) == KNOWN and held.size == 0 and held.senders == {}


@pytest.mark.parametrize(
    ("expires", "height", "said"),
    [(5, 5, ADDED), (5, 6, EXPIRED), (5 + 256, 5, ADDED), (5 + 257, 5, EXPIRES_LATE)],
)
def test_the_window_of_expiry(expires: int, height: int, said: str) -> None:
    assert MessagePool(SPEC).add(message(SPEC, 1, expires=expires), height) == said


def test_a_message_of_another_chain_is_refused() -> None:
    other = make_spec(4, small(slots=16))
    assert MessagePool(SPEC).add(message(other, 1), 1) == WRONG_CHAIN


def test_bounds_of_count_bytes_and_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "POOL_SENDER_MAX", 2)
    held = filled(2)
    assert held.add(message(SPEC, 7), 1) == SENDER_FULL
    assert held.add(message(SPEC, 7, sender=1), 1) == ADDED
    monkeypatch.setattr(pool, "POOL_MESSAGES_MAX", 3)
    assert held.add(message(SPEC, 8, sender=2), 1) == FULL
    monkeypatch.setattr(pool, "POOL_MESSAGES_MAX", 4)
    monkeypatch.setattr(pool, "POOL_BYTES_MAX", held.size + 10)
    assert held.add(message(SPEC, 8, sender=2), 1) == FULL


def after(number: int, first: Message, *, sender: int = 0) -> Message:
    """A message that may only come after another."""
    return message(SPEC, number, sender=sender, after=first.id)


def test_what_comes_after_another_is_offered_behind_it_whatever_came_first() -> None:
    held, first = MessagePool(SPEC), message(SPEC, 0)
    second = after(1, first)
    for one in (after(2, second), second, message(SPEC, 3), first):
        assert held.add(one, 1) == ADDED
    assert [each.nonce[-1] for each in held.choose(1)] == [3, 0, 1, 2]
    held.include([first.id])
    assert [each.nonce[-1] for each in held.choose(1)] == [1, 2, 3]


def test_messages_that_wait_for_ever_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free to make, and there until they expire: they are offered last, a few a height, in turn."""
    monkeypatch.setattr(pool, "ORPHANS_OFFERED_MAX", 3)
    held, nobody = MessagePool(SPEC), message(SPEC, 99)
    for number in range(10):
        assert held.add(after(number, nobody), 1) == ADDED
    good = message(SPEC, 50, sender=1)
    assert held.add(good, 1) == ADDED
    offered = [held.choose(height) for height in range(1, 5)]
    assert all(each[0] == good and len(each) == 4 for each in offered)
    assert len({one.id for each in offered for one in each}) == 11
    monkeypatch.setattr(pool, "ORPHANS_SENDER_MAX", 10)
    assert held.add(after(20, nobody), 1) == ORPHANS_FULL
    held.include([held.choose(1)[1].id])
    assert held.add(after(20, nobody), 1) == ADDED


def test_a_refused_message_may_be_handed_in_again_by_its_own_user_only() -> None:
    held, one = filled(1), message(SPEC, 0)
    held.refuse([one.id])
    assert held.add(one, 1) == KNOWN
    assert held.add(one, 1, own=True) == ADDED


def test_room_comes_back_when_messages_leave() -> None:
    held = filled(3)
    held.include([message(SPEC, 1).id])
    assert held.senders[message(SPEC, 0).sender] == 2
    assert [each.nonce[-1] for each in held.choose(1)] == [0, 2]


def test_a_refused_message_leaves_the_pool_and_its_body_stays_for_this_height() -> None:
    """A candidate of another peer may hold what our own block could not."""
    held = filled(2)
    refused = message(SPEC, 0)
    held.refuse((refused.id,))
    assert [each.nonce[-1] for each in held.choose(1)] == [1]
    assert held.lookup((refused.id,)) == ((refused,), ())
    held.enter(2)
    assert held.lookup((refused.id,)) == ((), (refused.id,))


def test_expired_messages_and_bodies_of_lost_candidates_leave_with_the_height() -> None:
    held = MessagePool(SPEC)
    held.add(message(SPEC, 1, expires=3), 1)
    held.add(message(SPEC, 2, expires=4), 1)
    held.hold([message(SPEC, 9)])
    assert held.enter(4) == [message(SPEC, 1, expires=3).id]
    assert held.bodies == {} and len(held.choose(1)) == 1


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "REMEMBERED_MAX", 3)
    held = MessagePool(SPEC)
    ids = [message(SPEC, number).id for number in range(12)]
    for each in ids:
        held.include([each])
    assert held.knows(ids[-1]) and not held.knows(ids[0])
    assert len(held.included) <= 8


# ---- facts --------------------------------------------------------------------------------------


def test_the_best_claim_of_each_slot_is_kept() -> None:
    chain, held = MiniChain(make_spec(4)), FactPool()
    mined = chain.mine(peer_key(0), slot=3)
    assert len(mined) >= 3
    (low, low_claim), (high, high_claim) = mined[0], mined[-1]
    assert held.add_claim(low_claim, 3, low.hill) and held.add_claim(high_claim, 3, high.hill)
    assert not held.add_claim(low_claim, 3, low.hill)
    assert not held.add_claim(high_claim, 3, high.hill), "ties: the first stays"
    assert held.all() == [high_claim]


def test_facts_of_an_epoch_go_with_it_but_evidence_stays() -> None:
    chain, held = MiniChain(make_spec(4)), FactPool()
    header = chain.advance()
    held.enter(0)
    held.add_other(chain.renew(peer_key(0)))
    held.add_other(chain.late(peer_key(1), header))
    evidence = chain.double_vote(peer_key(2), header)
    held.add_other(evidence)
    found, claim = chain.mine(peer_key(3))[0]
    held.add_claim(claim, found.slot, found.hill)
    assert len(held.all()) == 4
    held.enter(0)
    assert len(held.all()) == 4
    held.enter(1)
    assert held.all() == [evidence]
    held.enter(2)
    assert held.all() == [evidence]
    held.enter(3)
    assert held.all() == [], "older than two epochs: no block may hold it any more"


def test_one_fact_of_a_kind_per_peer_and_what_is_included_leaves() -> None:
    chain, held = MiniChain(make_spec(4)), FactPool()
    renew = chain.renew(peer_key(0))
    assert held.add_other(renew) and not held.add_other(renew)
    found, claim = chain.mine(peer_key(3))[0]
    held.add_claim(claim, found.slot, found.hill)
    held.remove([renew.raw, claim.raw])
    assert held.all() == []


def test_the_pool_of_renewals_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FACTS_OTHER_MAX", 2)
    chain, held = MiniChain(make_spec(4)), FactPool()
    added = [held.add_other(chain.renew(peer_key(number))) for number in range(4)]
    assert added == [True, True, False, False]
    peers: list[Peer] = [fact.peer for fact in held.all() if isinstance(fact, Renew)]
    assert peers == [peer_key(0), peer_key(1)]
