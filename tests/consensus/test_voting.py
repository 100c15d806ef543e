"""Confirm, accept, lock, valid value, rounds, resend, restart, of one engine (protocol §7)."""

from typing import Any

import pytest

from consensus.block import Block
from consensus.certificates import Aggregate, Certificate, Vote, append_signature
from consensus.effects import BLOCK, Ask, Build, Commit, Effect, Execute, Persist, Remember, Sign
from consensus.encoding import ROUND_MAX, without_signature
from consensus.errors import SignRefused
from consensus.events import (
    AskFailed,
    CertificateReceived,
    ProposalReceived,
    Signed,
    VotesReceived,
    Woke,
)
from consensus.ids import BlockId
from consensus.signatures import ACCEPT, CONFIRM, PROPOSAL
from consensus.signing import SignRecord
from consensus.standing import VALID
from tests.consensus.builders_engine import SETTLE, VOTE, Desk
from tests.consensus.builders_keys import peer_key


def desk_of(rank: int = 3, **how: Any) -> Desk:
    """An engine whose peer has that rank in round 0; it builds nothing by itself."""
    for me in range(4):
        desk = Desk(me, **how)
        if desk.my_rank() == rank:
            desk.held = (Build,)
            return desk
    raise AssertionError("every owner has a rank")


def ordered(desk: Desk, *kinds: type) -> list[str]:
    """Names of those effects of the last event, votes by their kind."""
    return [
        effect.kind if isinstance(effect, Sign) else type(effect).__name__
        for effect in desk.out
        if isinstance(effect, (*kinds, Sign))
    ]


def locked_desk(**how: Any) -> tuple[Desk, Block]:
    """Locked on a block of rank 0 in round 0, and accepted; then moved to round 1 by the others."""
    desk = desk_of(**how)
    block = desk.propose(0)
    desk.confirms(desk.others(), block)
    assert desk.record.lock is not None and desk.record.place == (1, 0, 2)
    desk.to_round(1)
    return desk, block


# ---- confirm ------------------------------------------------------------------------------------


def test_settled_then_durable_then_confirmed() -> None:
    desk = desk_of()
    block = desk.propose(0)
    desk.settle_on(block)
    names = [
        effect.kind if isinstance(effect, Sign) else type(effect).__name__
        for effect in desk.all
        if isinstance(effect, Persist | Sign)
    ]
    assert names == ["Persist", CONFIRM], "block and bodies are durable before Confirm(b)"


def test_nothing_is_shown_before_the_signature_is_there() -> None:
    desk = desk_of()
    desk.held = (Build, Sign)
    block = desk.propose(0)
    desk.settle_on(block)
    assert desk.gossip("votes") == []
    order = next(effect for effect in desk.all if isinstance(effect, Sign))
    for event in desk._perform(order):
        desk.send(event)
    (raw,) = desk.gossip("votes")
    assert (Vote.decode(raw).phase, Vote.decode(raw).block) == (CONFIRM, block.id)


def test_the_record_with_the_vote_is_part_of_the_order_to_sign() -> None:
    desk = desk_of()
    desk.settle_on(desk.propose(0))
    order = next(effect for effect in desk.all if isinstance(effect, Sign))
    record = SignRecord.decode(order.record)
    assert record.place == (1, 0, 1) and record.signed(1, 0, 1) == order.unsigned


def test_settled_on_nil_confirms_nil() -> None:
    desk = desk_of()
    desk.to_round(1)
    desk.wait(4 * 1500 + SETTLE + 1000)
    assert desk.signs(CONFIRM) == [(CONFIRM, 1, None)]


def test_a_peer_confirms_once_a_round() -> None:
    desk = desk_of()
    desk.settle_on(desk.propose(0))
    for _ in range(20):
        desk.wait(VOTE)
    assert [e.kind for e in desk.all if isinstance(e, Sign)] == [CONFIRM]


# ---- lock ---------------------------------------------------------------------------------------


def test_locked_on_it_confirms_it_again() -> None:
    desk, block = locked_desk()
    desk.unled()
    assert (desk.standing.settled, desk.standing.value) == (True, block.id)
    assert desk.record.signed(1, 1, 1) is not None
    assert (CONFIRM, 1, block.id) in desk.signs()


def locked_without_valid(round_: int = 0) -> tuple[Desk, Block, Block]:
    """In round 1, locked in `round_` on a block that it has no proof for; another is proposed."""
    first = desk_of()
    block = first.block(0)
    record = SignRecord.fresh(first.spec.id, first.me).with_lock(1, block.id, round_)
    desk = desk_of(record=record, saved=(block,))
    desk.to_round(1)
    rank = next(rank for rank in range(4) if desk.ranked(rank, 1) != desk.me)
    other = desk.propose(rank, 1)
    desk.wait(rank * 1500)
    return desk, block, other


def test_locked_on_another_confirms_nil() -> None:
    desk, _, other = locked_without_valid()
    desk.settle_on(other)
    assert confirmed_blocks(desk, 1) == [None]


def confirmed_blocks(desk: Desk, round_: int) -> list[BlockId | None]:
    """What this peer's confirms of a round name."""
    orders = [e for e in desk.all if isinstance(e, Sign) and (e.kind, e.round) == (CONFIRM, round_)]
    return [Vote.decode(append_signature(order.unsigned, bytes(64))).block for order in orders]


def test_a_quorum_of_confirms_of_the_locks_round_frees_it() -> None:
    desk, _, other = locked_without_valid(0)
    desk.confirms(desk.others(), other, 0)
    assert confirmed_blocks(desk, 1) == [other.id]


def test_a_quorum_of_confirms_of_this_round_moves_the_lock() -> None:
    desk, _, other = locked_without_valid(0)
    desk.confirms(desk.others(), other, 1)
    assert (ACCEPT, 1, other.id) in desk.signs()
    assert desk.record.lock is not None
    assert (desk.record.lock.block, desk.record.lock.round) == (other.id, 1)
    desk.to_round(2)
    desk.unled()
    assert confirmed_blocks(desk, 2) == [other.id]


def test_a_quorum_from_a_round_below_the_locks_does_not() -> None:
    """Locked in round 1, shown confirms of round 0 for another: Confirm(nil) in round 2."""
    first = desk_of()
    block, other = first.block(0, 1), first.block(0)
    accepted = without_signature(first.vote(ACCEPT, first.me, block, 1).raw)
    record = SignRecord.fresh(first.spec.id, first.me).with_own(1, 1, 2, accepted)
    desk = desk_of(record=record.with_lock(1, block.id, 1), saved=(block, other))
    desk.confirms(desk.others(), other, 0)
    assert desk.record.valid is not None and desk.record.valid.block == other.id
    desk.to_round(2)
    desk.unled()
    assert desk.standing.value == other.id, "settles on its valid value"
    assert confirmed_blocks(desk, 2) == [None], "and its lock forbids it"


# ---- accept -------------------------------------------------------------------------------------


@pytest.mark.parametrize("confirmed_first", [True, False])
def test_a_quorum_of_confirms_locks_and_accepts_confirmed_or_not(confirmed_first: bool) -> None:
    desk = desk_of()
    block = desk.propose(0)
    if confirmed_first:
        desk.settle_on(block)
    desk.confirms(desk.others(), block)
    assert (ACCEPT, 0, block.id) in desk.signs()
    order = next(e for e in desk.all if isinstance(e, Sign) and e.kind == ACCEPT)
    record = SignRecord.decode(order.record)
    lock, valid = record.lock_at(1), record.valid_at(1)
    assert lock is not None and (lock.block, lock.round) == (block.id, 0)
    assert valid is not None and (valid.block, valid.round) == (block.id, 0)
    aggregate = Aggregate.decode(valid.aggregate)
    assert (aggregate.block, aggregate.round) == (block.id, 0)
    names = [type(e).__name__ for e in desk.all if isinstance(e, Persist) or e is order]
    assert names == ["Persist", "Sign"], "durable before Accept(b) too"


def test_three_of_four_confirms_with_our_own_are_a_quorum() -> None:
    desk = desk_of()
    block = desk.propose(0)
    desk.settle_on(block)
    desk.confirms(desk.others()[:1], block)
    assert desk.signs(ACCEPT) == []
    desk.confirms(desk.others()[1:2], block)
    assert desk.signs(ACCEPT) == [(ACCEPT, 0, block.id)]


def test_a_quorum_for_an_unknown_block_is_fetched_and_then_accepted() -> None:
    desk = desk_of()
    block = desk.block(0)
    desk.confirms(desk.others(), block)
    (ask, *_) = [ask for ask in desk.of(Ask) if ask.proto == BLOCK]
    assert desk.signs() == []
    desk.fetched(ask, block, proposal=desk.proposal(block))
    assert (ACCEPT, 0, block.id) in desk.signs()


def test_it_is_asked_for_again_when_the_fetch_fails() -> None:
    desk = desk_of()
    block = desk.block(0)
    desk.confirms(desk.others(), block)
    asked = []
    for _ in range(4):
        (ask, *_) = [ask for ask in desk.of(Ask) if ask.proto == BLOCK]
        asked.append(ask.peer)
        desk.send(AskFailed(ask.ask, ask.peer))
        if not [ask for ask in desk.of(Ask) if ask.proto == BLOCK]:
            desk.wait(260)
    assert len(set(asked)) == 3, "everybody who confirmed it"


def test_a_confirmed_block_without_its_proposers_word_is_taken_in() -> None:
    """A restarted peer holds the block durable, and the proposer's signature no more."""
    desk = desk_of()
    block = desk.block(0)
    desk.confirms(desk.others(), block)
    (ask, *_) = [ask for ask in desk.of(Ask) if ask.proto == BLOCK]
    desk.fetched(ask, block)
    assert (ACCEPT, 0, block.id) in desk.signs()


def test_a_block_that_too_few_confirmed_is_not_taken_without_its_proposer() -> None:
    desk = desk_of()
    block = desk.block(0)
    desk.confirms(desk.others()[:1], block)
    desk.fetched(Ask(9, desk.others()[0], BLOCK, b"", desk.ms), block)
    assert block.id not in desk.standing.candidates


@pytest.mark.parametrize("way", ["fetched", "gossip"])
@pytest.mark.parametrize("obstacle", ["time", "third twin", "old round"])
def test_nothing_stands_against_a_block_with_a_quorum_of_confirms(obstacle: str, way: str) -> None:
    """Time is no reason against it, nor that it was the third of its slot, nor its old round."""
    desk = desk_of()
    elapsed = 1000
    if obstacle == "time":
        elapsed = desk.now.clock_ms - desk.chain.tip.fields.time_ms + 60_000
    if obstacle == "third twin":
        for extra in (1, 2):
            desk.propose(0, elapsed_ms=1000 + extra)
    block = desk.block(0, elapsed_ms=elapsed)
    at = 0
    if obstacle == "old round":
        desk.to_round(4)
        at = 4
    desk.confirms(desk.others(), block, at)
    asks = [ask for ask in desk.of(Ask) if ask.proto == BLOCK]
    if way == "fetched":
        desk.fetched(asks[0], block, proposal=desk.proposal(block))
    else:
        desk.send(ProposalReceived(1, desk.proposal(block), None))
    assert desk.standing.candidates[block.id].status == VALID
    assert (ACCEPT, at, block.id) in desk.signs()


def test_a_quorum_of_an_older_round_raises_the_valid_value_and_locks_nothing() -> None:
    desk = desk_of()
    block = desk.propose(0)
    desk.to_round(1)
    desk.confirms(desk.others(), block, 0)
    assert desk.record.valid is not None and desk.record.valid.round == 0
    assert desk.record.lock is None
    assert (ACCEPT, 0, block.id) not in desk.signs()


def test_the_valid_value_is_durable_at_once_where_no_accept_carries_it() -> None:
    desk = desk_of()
    block = desk.propose(0)
    desk.to_round(1)
    desk.held = (Build, Sign)
    desk.confirms(desk.others(), block, 0)
    remembered = [SignRecord.decode(effect.record) for effect in desk.of(Remember)]
    assert [record.valid_at(1) is not None for record in remembered] == [True]


def test_a_new_valid_value_is_settled_on_and_confirmed_within_the_same_event() -> None:
    """The rules are applied until nothing moves: no other event is needed."""
    desk = desk_of()
    block = desk.propose(0)
    desk.to_round(1)
    desk.unled()
    desk.held = (Build, Sign, Persist)
    desk.confirms(desk.others(), block, 0)
    assert (desk.standing.settled, desk.standing.value) == (True, block.id)
    assert desk.signs(CONFIRM) == [(CONFIRM, 1, block.id)]


def test_the_valid_value_is_kept_only_if_its_round_is_higher() -> None:
    desk = desk_of()
    low, high = desk.propose(0), desk.propose(1)
    desk.to_round(1)
    desk.confirms(desk.others(), high, 1)
    desk.confirms(desk.others(), low, 0)
    assert desk.record.valid is not None
    assert (desk.record.valid.block, desk.record.valid.round) == (high.id, 1)


# ---- accept nil ---------------------------------------------------------------------------------


def test_a_quorum_of_confirm_nil_accepts_nil_at_once() -> None:
    desk = desk_of()
    desk.confirms(desk.others(), None)
    assert desk.signs(ACCEPT) == [(ACCEPT, 0, None)]
    assert desk.record.lock is None


def test_vote_timeout_after_confirms_of_any_value_are_a_quorum_accepts_nil() -> None:
    desk = desk_of()
    one, two, three = desk.others()
    block = desk.block(0)
    desk.confirms([one], block)
    desk.confirms([two], None)
    desk.wait(5 * VOTE)
    assert desk.signs(ACCEPT) == [], "two of four are no quorum"
    desk.confirms([three], desk.block(1))
    desk.wait(VOTE - 1)
    assert desk.signs(ACCEPT) == []
    desk.wait(1)
    assert desk.signs(ACCEPT) == [(ACCEPT, 0, None)]


def test_the_vote_timeout_grows_with_the_round() -> None:
    desk = desk_of()
    desk.to_round(2)
    one, two, three = desk.others()
    desk.confirms([one, two], None, 2)
    desk.confirms([three], desk.block(0, 2), 2)
    desk.wait(2 * VOTE - 1)
    assert (ACCEPT, 2, None) not in desk.signs(ACCEPT)
    desk.wait(1)
    assert (ACCEPT, 2, None) in desk.signs(ACCEPT)


def test_after_accepting_nil_a_late_quorum_only_raises_the_valid_value() -> None:
    desk = desk_of()
    block = desk.propose(0)
    desk.confirms(desk.others()[:2], block)
    desk.confirms(desk.others()[2:], None)
    desk.wait(VOTE)
    assert desk.signs(ACCEPT) == [(ACCEPT, 0, None)]
    desk.show(desk.aggregate(desk.others(), block))  # the third had also confirmed the block
    assert desk.record.valid is not None and desk.record.valid.block == block.id
    assert desk.signs(ACCEPT) == [] and desk.record.lock is None


# ---- certificate --------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_quorum_of_accepts_of_one_round_whichever_certifies(at: int) -> None:
    """The certificate's round may differ from the header's."""
    desk = desk_of()
    block = desk.propose(0)
    desk.accepts(desk.others(), block, at)
    (commit,) = desk.of(Commit)
    assert (commit.certificate.round, commit.certificate.block) == (at, block.id)
    assert len(commit.certificate.signatures) == 3
    assert desk.engine.height == 2


def test_accepts_of_two_rounds_are_no_certificate() -> None:
    desk = desk_of()
    block = desk.propose(0)
    desk.accepts(desk.others()[:2], block, 0)
    desk.accepts(desk.others()[2:], block, 1)
    desk.accepts(desk.others()[:1], block, 1)
    assert desk.of(Commit) == []


def test_shown_a_certificate_before_it_accepted_it_signs_its_accept_first() -> None:
    """‡ Its proof of life, if it holds the block and its record allows."""
    desk = desk_of()
    block = desk.propose(0)
    desk.certify(desk.others(), block)
    assert ordered(desk, Commit) == [ACCEPT, "Commit"]
    assert desk.signs(ACCEPT) == [(ACCEPT, 0, block.id)]
    order = next(effect for effect in desk.out if isinstance(effect, Sign))
    lock = SignRecord.decode(order.record).lock_at(1)
    assert lock is not None and lock.block == block.id, "no Accept(b) without its lock"


def test_not_if_its_record_stands_later() -> None:
    desk = desk_of()
    block = desk.propose(0)
    desk.confirms(desk.others(), None)
    desk.certify(desk.others(), block)
    assert desk.signs(ACCEPT) == [] and desk.of(Commit)


def test_too_little_weight_or_strangers_certify_nothing() -> None:
    desk = desk_of()
    block = desk.propose(0)
    desk.certify(desk.others()[:2], block)
    strangers = [desk.vote(ACCEPT, peer_key(50 + n), block) for n in range(9)]
    desk.send(CertificateReceived(Certificate.of(strangers), None))
    assert desk.engine.height == 1 and desk.standing.certificate is None


def test_late_accepts_join_the_parents_certificate_and_are_proofs_of_life_later() -> None:
    desk = desk_of()
    block = desk.propose(0)
    desk.accepts(desk.others()[:2], block)
    desk.certify(desk.others()[:3], block)
    late = desk.vote(ACCEPT, desk.others()[2], block)
    desk.send(VotesReceived(((0, late),)))
    assert desk.others()[2] in desk.machine.parent_accepts
    assert desk.machine.late == [], "not yet a fact: the next header may carry it"


# ---- rounds -------------------------------------------------------------------------------------


def test_a_quorum_of_accept_nil_enters_the_next_round_at_once() -> None:
    desk = desk_of()
    desk.accepts(desk.others(), None)
    assert desk.standing.round == 1


def test_vote_timeout_after_accepts_of_any_value_enters_the_next_round() -> None:
    desk = desk_of()
    one, two, three = desk.others()
    desk.accepts([one, two], None)
    desk.wait(5 * VOTE)
    assert desk.standing.round == 0
    desk.accepts([three], desk.block(0))
    desk.wait(VOTE - 1)
    assert desk.standing.round == 0
    desk.wait(1)
    assert desk.standing.round == 1


def test_a_round_that_more_than_a_third_has_joined_is_entered() -> None:
    desk = desk_of()
    desk.confirms(desk.others()[:1], None, 7)
    assert desk.standing.round == 0, "one of four may be lying"
    desk.confirms(desk.others()[1:2], None, 5)
    assert desk.standing.round == 5


def test_entering_a_round_keeps_lock_valid_value_and_votes_and_begins_snowball_anew() -> None:
    desk, block = locked_desk()
    assert desk.record.lock is not None and desk.record.lock.block == block.id
    assert desk.record.valid is not None
    assert desk.standing.snowball is None and desk.standing.clock_ms is not None
    assert desk.standing.votes.quorum(0, CONFIRM) == (True, block.id)


def test_candidates_of_rounds_long_past_go_but_what_is_locked_stays() -> None:
    desk, block = locked_desk()
    other = desk.propose(1, 1)
    bad = desk.block(2, 1)
    desk.verdicts[bad.id] = "state_root"
    desk.propose(2, 1)
    desk.to_round(4)
    assert block.id in desk.standing.candidates
    assert other.id not in desk.standing.candidates and bad.id not in desk.standing.candidates


# ---- the aggregate ------------------------------------------------------------------------------


def test_an_aggregate_shows_a_valid_value_of_any_old_round() -> None:
    """Its votes are of a round that nobody counts any more: it proves by itself."""
    desk = desk_of()
    block = desk.propose(0)
    aggregate = desk.aggregate(desk.others(), block, 0)
    desk.to_round(5)
    desk.confirms(desk.others(), None, 5)
    desk.to_round(6)
    desk.unled()
    desk.show(aggregate)
    asks = [ask for ask in desk.of(Ask) if ask.proto == BLOCK]
    assert asks, "the block of an old round is gone here, and fetched"
    desk.fetched(asks[0], block, proposal=desk.proposal(block))
    assert desk.record.valid is not None
    assert (desk.record.valid.block, desk.record.valid.round) == (block.id, 0)
    assert desk.standing.value == block.id, "and settled on at once"


@pytest.mark.parametrize("wrong", ["weight", "stranger", "height"])
def test_an_aggregate_without_a_quorum_shows_nothing(wrong: str) -> None:
    desk = desk_of()
    block = desk.propose(0)
    peers = desk.others()[:2] if wrong == "weight" else desk.others()
    if wrong == "stranger":
        peers = [*desk.others()[:2], peer_key(77)]
    aggregate = desk.aggregate(peers, block, 0)
    if wrong == "height":
        votes = [desk.chain.accept(p, block.header, phase=CONFIRM, height=2) for p in peers]
        aggregate = Aggregate.of(votes)
    desk.show(aggregate)
    assert desk.record.valid is None and desk.standing.shown is None


def test_a_lock_is_freed_by_an_aggregate_of_a_later_round_though_old() -> None:
    first = desk_of()
    block, other = first.block(0), first.block(1)
    record = SignRecord.fresh(first.spec.id, first.me).with_lock(1, block.id, 0)
    desk = desk_of(record=record, saved=(block, other))
    aggregate = desk.aggregate(desk.others(), other, 1)
    desk.to_round(5)
    desk.unled()
    desk.show(aggregate)
    for ask in [ask for ask in desk.of(Ask) if ask.proto == BLOCK]:
        desk.fetched(ask, other, proposal=desk.proposal(other))
    assert confirmed_blocks(desk, 5) == [other.id]


# ---- standing still -----------------------------------------------------------------------------


def words(records: list[bytes]) -> list[tuple[str, int, BlockId | None]]:
    return [(v.phase, v.round, v.block) for v in map(Vote.decode, records)]


def test_each_vote_timeout_own_votes_of_two_rounds_and_the_valid_value_are_sent_again() -> None:
    desk, block = locked_desk()
    desk.unled()
    desk.wait(1500)
    said = {(CONFIRM, 0, block.id), (ACCEPT, 0, block.id), (CONFIRM, 1, block.id)}
    assert set(words(desk.gossip("votes"))) <= said
    assert {(ACCEPT, 0, block.id), (CONFIRM, 1, block.id)} <= set(words(desk.gossip("votes")))
    facts = [Aggregate.decode(raw) for raw in desk.gossip("facts")]
    assert [(fact.block, fact.round) for fact in facts] == [(block.id, 0)]
    desk.wait(1499)
    assert desk.gossip("votes") == []
    desk.wait(1)
    assert desk.gossip("votes") != []


def test_the_preferred_proposal_is_sent_again_too() -> None:
    """Whoever missed it can hold it then."""
    desk = desk_of()
    block = desk.propose(0)
    desk.settle_on(block)
    desk.wait(VOTE)
    assert desk.gossip("proposals") == [desk.proposal(block).raw]


def test_who_said_nothing_sends_nothing_again() -> None:
    desk = desk_of()
    desk.propose(2)
    desk.wait(10 * VOTE)
    assert [effect for effect in desk.all if isinstance(effect, Sign)] == []
    assert desk.gossip("votes") == []


# ---- restart ------------------------------------------------------------------------------------


def signed_since(desk: Desk) -> list[tuple[str, int, bytes]]:
    return [(e.kind, e.round, e.unsigned) for e in desk.all if isinstance(e, Sign)]


def test_after_a_restart_the_stored_bytes_are_sent_again_and_nothing_is_decided_anew() -> None:
    desk, block = locked_desk()
    desk.unled()
    said = signed_since(desk)
    again = desk_of(record=SignRecord.decode(desk.record.raw), saved=(block,))
    again.send(Woke())
    assert again.standing.round == 1, "it resumes in its round"
    assert signed_since(again) == said
    assert [vote.raw for vote in map(Vote.decode, again.gossip("votes"))]
    other = again.propose(0 if again.ranked(0, 1) != again.me else 1, 1)
    again.wait(1500)
    again.confirms(again.others(), other, 1)
    assert again.record.signed(1, 1, 1) == {(k, r): u for k, r, u in said}[CONFIRM, 1]


def test_a_restart_keeps_lock_and_valid_value_and_executes_it_first() -> None:
    desk, block = locked_desk()
    again = desk_of(record=SignRecord.decode(desk.record.raw), saved=(block,))
    again.send(Woke())
    assert [effect.block.id for effect in again.all if isinstance(effect, Execute)] == [block.id]
    assert again.record.lock == desk.record.lock and again.record.valid == desk.record.valid
    assert again.standing.value == block.id


def test_a_record_ahead_of_the_disk_signs_nothing_until_the_chain_is_there() -> None:
    """The blocks were restored from a backup, the record was not: nothing is signed behind it."""
    first = desk_of()
    record = SignRecord.fresh(first.spec.id, first.me).with_own(9, 0, 2, b"accepted at height 9")
    desk = desk_of(record=record)
    block = desk.propose(0)
    desk.settle_on(block)
    desk.confirms(desk.others(), block)
    desk.wait(5 * SETTLE)
    assert signed_since(desk) == []
    desk.certify(desk.others(), block)
    assert desk.engine.height == 2


def test_a_conflicting_request_is_refused() -> None:
    desk = desk_of()
    block = desk.propose(0)
    desk.settle_on(block)
    unsigned = desk.record.signed(1, 0, 1)
    assert unsigned is not None
    assert desk.record.with_own(1, 0, 1, unsigned) is desk.record
    with pytest.raises(SignRefused, match="other bytes"):
        desk.record.with_own(1, 0, 1, b"Confirm of another block")


def test_a_vote_signed_after_its_height_passed_is_still_shown() -> None:
    desk = desk_of()
    desk.held = (Build, Sign)
    block = desk.propose(0)
    desk.confirms(desk.others(), block)
    order = next(e for e in desk.out if isinstance(e, Sign))
    desk.accepts(desk.others(), block)
    assert desk.engine.height == 2
    desk.send(Signed(order.kind, order.height, order.round, order.unsigned, bytes(64)))
    assert words(desk.gossip("votes")) == [(ACCEPT, 0, block.id)]


def test_the_word_of_a_proposal_is_given_again_after_a_restart() -> None:
    desk = desk_of(0)
    desk.held = ()
    desk.due()
    (block,) = [c.block for c in desk.standing.candidates.values()]
    again = desk_of(0, record=desk.record, saved=(block,))
    effects: list[Effect] = again.send(Woke())
    assert [e.kind for e in effects if isinstance(e, Sign)] == [PROPOSAL]
    assert again.gossip("proposals") == [desk.proposal(block).raw]


def test_the_last_round_has_no_end() -> None:
    """A vote of a later round could neither be decoded nor stand in the sign record."""
    desk = desk_of()
    desk.accepts(desk.others(), None, ROUND_MAX)
    desk.wait(10 * SETTLE * ROUND_MAX)
    assert desk.standing.round == ROUND_MAX
    wake = desk.engine.wake_ms(desk.now)
    assert wake is None or wake > desk.ms, "nor is it waited for"
