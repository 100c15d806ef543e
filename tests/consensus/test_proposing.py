"""The round clock, windows, due, own proposals, doubles, executions (protocol §5, §6, §8)."""

from typing import Any

import pytest

from consensus.block import Block
from consensus.effects import BLOCK as BLOCK_QUERY
from consensus.effects import BODIES as BODIES_QUERY
from consensus.effects import Ask, Blame, Build, Execute, Gossip, Halt, Persist, Sign, Verdict
from consensus.events import AnswerReceived, BlockBuilt, Fetched, ProposalReceived, Woke
from consensus.ids import BlockId, MessageId, content_id
from consensus.signatures import CONFIRM, PROPOSAL
from consensus.standing import (
    EARLY_MAX_MS,
    FETCHES_MAX,
    HELD,
    INVALID,
    PROPOSALS_HELD_MAX,
    VALID,
)
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_engine import (
    CLOCK_MS,
    PEERS,
    SETTLE,
    START_MS,
    WINDOW,
    Desk,
)


def desk_of_rank(rank: int, **how: Any) -> Desk:
    """An engine whose peer has that rank in round 0."""
    for me in range(4):
        desk = Desk(me, **how)
        if desk.my_rank() == rank:
            return desk
    raise AssertionError("every owner has a rank")


def builds(desk: Desk) -> list[Build]:
    return [effect for effect in desk.all if type(effect) is Build]


# ---- the round clock ----------------------------------------------------------------------------


def test_nothing_due_nobody_proposes_nobody_polls_nothing_wakes() -> None:
    desk = desk_of_rank(0)
    desk.send(Woke())
    assert desk.standing.clock_ms is None
    assert desk.engine.wake_ms(desk.now) is None
    desk.wait(60_000)
    assert desk.all == []


def test_the_clock_starts_when_an_input_is_due() -> None:
    desk = desk_of_rank(1)
    desk.wait(700)
    desk.due()
    assert desk.standing.clock_ms == START_MS + 700


def test_the_clock_starts_by_holding_an_open_executed_valid_proposal_of_round_0() -> None:
    desk = desk_of_rank(1)
    desk.held = (Execute,)
    block = desk.propose(0)
    assert desk.standing.clock_ms is None, "held, not yet executed"
    desk.ms += 40
    desk.send(desk.executed(block))
    assert desk.standing.clock_ms == START_MS + 40


def test_an_invalid_proposal_starts_no_clock() -> None:
    desk = desk_of_rank(1)
    block = desk.block(0)
    desk.verdicts[block.id] = "receipts_root"
    desk.propose(0)
    assert desk.standing.candidates[block.id].status == INVALID
    assert desk.standing.clock_ms is None


def test_the_clock_stops_and_resets_when_neither_holds_any_more() -> None:
    """A later start counts from zero: windows are not eaten by an old reason ‡."""
    desk = desk_of_rank(2)
    desk.due()
    desk.wait(600)
    desk.machine.pool_due = False
    desk.send(Woke())
    assert desk.standing.clock_ms is None
    desk.wait(600)
    desk.due()
    assert desk.standing.clock_ms == START_MS + 1200
    desk.wait(2 * WINDOW - 1)
    assert builds(desk) == []
    desk.wait(1)
    assert len(builds(desk)) == 1


def test_later_rounds_are_always_due_and_their_clock_starts_on_entering() -> None:
    desk = desk_of_rank(0)
    desk.wait(100)
    desk.to_round(1)
    assert desk.standing.clock_ms == START_MS + 100


def test_a_reminder_makes_due_at_its_time() -> None:
    desk = Desk(0)
    desk.machine.tip = type(desk.machine.tip)(
        desk.machine.tip.header, None, desk.machine.tip.view, CLOCK_MS + 5_000
    )
    desk.wait(4_999)
    assert desk.standing.clock_ms is None
    desk.wait(1)
    assert desk.standing.clock_ms == START_MS + 5_000


def test_the_heartbeat_makes_due_when_the_clock_says_so() -> None:
    """parent's time + heartbeat_s."""
    desk = Desk(0, heartbeat_s=2_000)
    due_in = 1_000_000 + 2_000_000 - CLOCK_MS
    desk.wait(due_in - 1)
    assert desk.standing.clock_ms is None
    desk.wait(1)
    assert desk.standing.clock_ms == START_MS + due_in


# ---- windows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_a_rank_proposes_from_its_window_on(rank: int) -> None:
    desk = desk_of_rank(rank)
    desk.due()
    if rank:
        assert builds(desk) == []
        desk.wait(rank * WINDOW - 1)
        assert builds(desk) == []
        desk.wait(1)
    assert [(order.rank, order.round) for order in builds(desk)] == [(rank, 0)]


def test_windows_grow_with_the_round() -> None:
    """window_ms = 1000 + 500·round."""
    desk = next(desk for desk in map(Desk, range(4)) if desk.my_rank(2) == 1)
    desk.to_round(2)
    desk.wait(2 * WINDOW - 1)
    assert [order for order in builds(desk) if order.round == 2] == []
    desk.wait(1)
    assert [order.rank for order in builds(desk) if order.round == 2] == [1]


@pytest.mark.parametrize("rank", [1, 2])
def test_rank_i_is_a_candidate_from_its_window_on_with_no_end(rank: int) -> None:
    desk = desk_of_rank(3)
    desk.due()
    desk.propose(rank)
    desk.wait(rank * WINDOW - 1)
    assert desk.standing.snowball is None, "not a candidate yet"
    desk.wait(1)
    assert desk.standing.snowball is not None
    late = desk_of_rank(3)
    late.held = (Build,)
    late.due()
    late.wait(50 * WINDOW)
    block = late.propose(rank)
    assert late.standing.snowball is not None and late.standing.snowball.preference == block.id


def test_a_proposal_is_a_candidate_only_when_our_clock_reaches_its_time() -> None:
    """Time ahead is no blame; more than ten seconds: not kept ‡."""
    desk = desk_of_rank(3)
    ahead = CLOCK_MS - desk.chain.tip.fields.time_ms + 700
    block = desk.propose(0, elapsed_ms=ahead)
    assert block.id in desk.standing.candidates and desk.standing.snowball is None
    desk.wait(699)
    assert desk.standing.snowball is None
    desk.wait(1)
    assert desk.standing.snowball is not None
    far = desk_of_rank(3)
    elapsed = CLOCK_MS - far.chain.tip.fields.time_ms + EARLY_MAX_MS
    assert far.propose(0, elapsed_ms=elapsed).id in far.standing.candidates
    beyond = far.propose(1, elapsed_ms=elapsed + 1)
    assert beyond.id not in far.standing.candidates
    assert far.of(Blame) == []


# ---- this peer's own proposal -------------------------------------------------------------------


def test_own_proposal_is_durable_then_signed_then_shown() -> None:
    desk = desk_of_rank(0)
    desk.held = (Sign,)
    desk.due()
    kinds = [type(e) for e in desk.out if type(e) in (Persist, Sign, Gossip)]
    assert kinds == [Persist, Sign]
    (order,) = desk.of(Sign)
    assert order.kind == PROPOSAL and desk.record.place == (1, 0, 0)
    assert desk.standing.snowball is None, "unsigned, it is nobody's candidate"
    for event in desk._perform(order):
        desk.send(event)
    assert len(desk.gossip("proposals")) == 1
    assert desk.standing.snowball is not None


def test_no_own_proposal_once_polling_has_begun() -> None:
    desk = desk_of_rank(1)
    desk.due()
    desk.propose(0)
    desk.wait(4 * WINDOW)
    assert builds(desk) == []


def test_a_proposal_that_comes_while_we_build_keeps_ours_unsigned() -> None:
    desk = desk_of_rank(1)
    desk.held = (Build,)
    desk.due()
    desk.wait(WINDOW)
    (order,) = builds(desk)
    desk.propose(0)
    assert desk.standing.polling
    desk.send(desk.building(order))
    assert [e for e in desk.out if type(e) is Sign and e.kind == PROPOSAL] == []


def test_in_every_round_each_rank_makes_a_fresh_proposal() -> None:
    desk = Desk(0)
    desk.due()
    for round_ in range(4):
        desk.to_round(round_)
        desk.wait(desk.my_rank(round_) * desk.spec.parameters.window_ms(round_))
    assert [order.round for order in builds(desk)] == [0, 1, 2, 3]


def test_who_has_a_valid_value_makes_no_fresh_proposal() -> None:
    desk = Desk(0)
    block = desk.propose(0 if desk.my_rank() else 1)
    desk.confirms(desk.others(), block)
    assert desk.record.valid is not None
    desk.to_round(1)
    desk.wait(desk.my_rank(1) * 1500)
    assert builds(desk) == []


def test_what_was_proposed_is_not_proposed_again_after_a_restart() -> None:
    desk = desk_of_rank(0)
    desk.due()
    before = desk.record
    again = desk_of_rank(0, record=before)
    again.due()
    again.wait(500)
    assert builds(again) == []


def test_a_build_that_finds_nothing_ends_the_reason() -> None:
    desk = desk_of_rank(0)
    desk.held = (Build,)
    desk.due()
    desk.send(BlockBuilt(desk.standing.height, desk.standing.round, None, None, None, ()))
    assert desk.standing.clock_ms is None and not desk.machine.pool_due
    desk.due()
    assert len(builds(desk)) == 1, "nothing new: not built in a loop"


def test_a_reminder_is_built_though_an_earlier_build_found_nothing() -> None:
    """One message that nobody may include must not cost the reminders of the height."""
    desk = desk_of_rank(0)
    desk.held = (Build,)
    desk.machine.tip = type(desk.machine.tip)(
        desk.machine.tip.header, None, desk.machine.tip.view, CLOCK_MS + 5_000
    )
    desk.due()
    desk.send(BlockBuilt(desk.standing.height, desk.standing.round, None, None, None, ()))
    desk.wait(4_999)
    assert len(builds(desk)) == 1
    desk.wait(1)
    assert len(builds(desk)) == 2
    desk.send(BlockBuilt(desk.standing.height, desk.standing.round, None, None, None, ()))
    desk.wait(20_000)
    assert len(builds(desk)) == 2, "and that is no loop either"


def test_the_time_of_a_proposal_is_now_or_just_after_the_parent() -> None:
    desk = desk_of_rank(0)
    desk.due()
    assert builds(desk)[0].time_ms == CLOCK_MS
    parent = desk_of_rank(0)
    parent.ms = START_MS - 1_500_000  # our clock is behind the parent's time
    parent.due()
    assert builds(parent)[0].time_ms == parent.chain.tip.fields.time_ms + 1


# ---- doubles ------------------------------------------------------------------------------------


def doubles(desk: Desk) -> tuple[Block, Block]:
    return desk.block(0, elapsed_ms=1000), desk.block(0, elapsed_ms=1001)


def take(desk: Desk, *blocks: Block) -> None:
    for block in blocks:
        desk.send(ProposalReceived(1, desk.proposal(block), None))


def test_two_proposals_before_the_first_poll_are_passed_over_as_starting_preference() -> None:
    desk = desk_of_rank(2)
    desk.held = (Execute,)
    one, two = doubles(desk)
    take(desk, one, two)
    desk.due()
    desk.send(desk.executed(one))
    assert desk.standing.snowball is None
    rank1 = desk.block(1)
    take(desk, rank1)
    desk.wait(WINDOW)
    desk.send(desk.executed(rank1))
    assert desk.standing.snowball is not None
    assert desk.standing.snowball.preference == rank1.id
    assert len(desk.machine.doubles) == 1, "they are evidence"


def test_doubles_stay_candidates_for_counting() -> None:
    desk = desk_of_rank(2)
    one, two = doubles(desk)
    desk.held = (Execute,)
    take(desk, one, two)
    desk.due()
    rank1 = desk.block(1)
    take(desk, rank1)
    desk.wait(WINDOW)
    for block in (one, rank1):
        desk.send(desk.executed(block))
    desk.settle_on(one)


def test_a_second_proposal_after_the_first_poll_moves_no_preference() -> None:
    desk = desk_of_rank(2)
    one, two = doubles(desk)
    take(desk, one)
    assert desk.standing.polling
    take(desk, two)
    assert not desk.standing.candidates[one.id].doubled
    assert desk.standing.snowball is not None and desk.standing.snowball.preference == one.id


def test_doubles_of_a_coming_round_are_marked_though_this_round_polls() -> None:
    desk = desk_of_rank(2)
    take(desk, desk.block(0))
    assert desk.standing.polling
    one, two = (desk.block(0, 1, elapsed_ms=ms) for ms in (1000, 1001))
    take(desk, one, two)
    assert desk.standing.candidates[one.id].doubled and desk.standing.candidates[two.id].doubled


def test_one_execution_per_slot_until_an_answer_names_the_second() -> None:
    desk = desk_of_rank(2)
    one, two = doubles(desk)
    take(desk, one, two)
    assert [c.status for c in desk.standing.candidates.values()] == [VALID, HELD]
    desk.due()
    rank1 = desk.block(1)
    take(desk, rank1)
    desk.wait(WINDOW)
    desk.answer(desk.polls()[0], two)
    assert desk.standing.candidates[two.id].status == VALID


@pytest.mark.parametrize("order", ["vote first", "vote last"])
def test_a_confirm_names_the_second_too(order: str) -> None:
    desk = desk_of_rank(2)
    one, two = doubles(desk)
    voter = next(peer for peer in desk.others() if peer != desk.ranked(0))
    take(desk, one)
    if order == "vote first":
        desk.confirms([voter], two)
    take(desk, two)
    if order == "vote last":
        desk.confirms([voter], two)
    assert desk.standing.candidates[two.id].status == VALID


def test_a_third_proposal_of_one_slot_is_not_held() -> None:
    desk = desk_of_rank(2)
    blocks = [desk.block(0, elapsed_ms=1000 + i) for i in range(3)]
    take(desk, *blocks)
    assert blocks[2].id not in desk.standing.candidates


# ---- what is taken in ---------------------------------------------------------------------------


def verdict(desk: Desk) -> str:
    (order,) = desk.of(Verdict)
    return str(order.items[0][1])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rank": 1}, "reject"),
        ({"proposer_slot": 11}, "reject"),
        ({"facts_root": bytes(32)}, "reject"),
        ({"parent": BlockId(b"\x01\x71\x12\x20" + bytes(32))}, "reject"),
        ({}, "accept"),
    ],
    ids=["rank", "slot", "facts_root", "parent", "right"],
)
def test_a_proposal_is_judged_before_it_is_kept(wrong: dict[str, Any], said: str) -> None:
    desk = desk_of_rank(2)
    right = desk.block(0)
    fields = right.header.fields._replace(**wrong)
    block = Block(type(right.header).of(fields), right.body)
    desk.send(ProposalReceived(1, _signed_by(desk, block, 0), None))
    assert verdict(desk) == said
    assert (block.id in desk.standing.candidates) == (said == "accept")


def _signed_by(desk: Desk, block: Block, rank: int) -> Any:
    from consensus.block import Proposal, proposal_coverage
    from tests.consensus.builders_keys import keyed_signature

    peer = desk.ranked(rank)
    return Proposal.of(block, peer, keyed_signature(peer, proposal_coverage(block.header)))


def test_a_block_proposed_by_another_than_its_rank_is_rejected() -> None:
    desk = desk_of_rank(2)
    desk.send(ProposalReceived(1, _signed_by(desk, desk.block(0), 1), None))
    assert verdict(desk) == "reject" and desk.standing.candidates == {}


def test_the_word_of_another_peer_is_not_taken_for_a_block_held_without_one() -> None:
    block = Desk(0).block(0)
    desk = desk_of_rank(2, saved=(block,))
    desk.send(ProposalReceived(1, _signed_by(desk, block, 1), None))
    assert desk.standing.candidates[block.id].proposal is None
    desk.send(ProposalReceived(1, desk.proposal(block), None))
    assert desk.standing.candidates[block.id].proposal is not None


def test_three_invalid_early_proposals_do_not_keep_the_honest_one_out() -> None:
    """At most three are executed a round; what is invalid, or whose turn is not yet, is apart."""
    desk = Desk(None, owners=6)
    bad = [desk.block(rank) for rank in (3, 4, 5)]
    for block in bad:
        desk.verdicts[block.id] = "state_root"
        desk.send(ProposalReceived(1, desk.proposal(block), None))
    assert [e.cause for e in desk.all if type(e) is Blame] == ["state_root"] * 3
    block = desk.propose(0)
    assert desk.standing.candidates[block.id].status == VALID


def test_three_invalid_open_proposals_do_not_end_the_round_either() -> None:
    """Round 0 has no other way out: the fourth must be executed."""
    desk = Desk(None, owners=6)
    desk.due()
    desk.wait(5 * WINDOW)
    for rank in range(3):
        block = desk.block(rank)
        desk.verdicts[block.id] = "state_root"
        desk.propose(rank)
    assert {c.status for c in desk.standing.candidates.values()} == {INVALID}
    block = desk.propose(3)
    assert desk.standing.candidates[block.id].status == VALID


def test_three_early_valid_proposals_do_not_keep_the_honest_one_out() -> None:
    desk = Desk(None, owners=6)
    for rank in (2, 3, 4, 5):
        desk.propose(rank)
    status = [candidate.status for candidate in desk.standing.candidates.values()]
    assert status == [VALID, VALID, VALID, HELD], "at most three early ones"
    block = desk.propose(0)
    assert desk.standing.candidates[block.id].status == VALID


def test_at_most_three_open_candidates_are_executed_best_first() -> None:
    desk = Desk(None, owners=6)
    desk.held = (Execute,)
    desk.due()
    desk.wait(5 * WINDOW)
    for rank in (4, 1, 3, 2, 0):
        desk.propose(rank)
    begun = [c.rank for c in desk.standing.candidates.values() if c.status != HELD]
    assert sorted(begun) == [1, 3, 4], "as they came; the fourth and fifth wait"
    block = desk.block(0)
    desk.confirms(desk.peers[:3], block)  # more than a third
    assert desk.standing.candidates[block.id].status != HELD


def test_the_bound_of_held_proposals_gives_way_to_this_round() -> None:
    chain = MiniChain(make_spec(10, small(slots=20)))
    desk = Desk(None, chain=chain, owners=10)
    desk.held = (Execute,)
    for round_ in range(8, 0, -1):
        for rank in range(10):
            desk.propose(rank, round_)
    assert len(desk.standing.candidates) == PROPOSALS_HELD_MAX
    block = desk.propose(0)
    assert block.id in desk.standing.candidates
    assert len(desk.standing.candidates) == PROPOSALS_HELD_MAX


# ---- bodies and blocks that are missing ---------------------------------------------------------


def test_missing_bodies_are_asked_for_and_then_it_is_executed() -> None:
    desk = desk_of_rank(2)
    body = desk.block(0).body.messages
    desk.pool.missing = (MessageId(body[0]),)
    block = desk.propose(0)
    (ask,) = desk.of(Ask)
    assert (ask.proto, ask.peer) == (BODIES_QUERY, desk.ranked(0))
    desk.wait(1_000)
    assert desk.of(Ask), "a lost ask is repeated"
    desk.pool.missing = ()
    desk.send(Fetched(ask.ask, ask.peer, None, None, None, ()))
    assert desk.standing.candidates[block.id].status == VALID


def test_asks_that_nobody_answers_leave_room_for_a_confirmed_block() -> None:
    """Twelve proposals whose bodies never come, then one that more than a third confirmed."""
    desk = Desk(None, chain=MiniChain(make_spec(20, small(slots=40))), owners=20)
    desk.due()
    desk.pool.missing = tuple([MessageId(each) for each in desk.block().body.messages])
    desk.wait(19 * WINDOW)
    for rank in range(12):
        desk.propose(rank)
    desk.wait(1_000)
    asks = [ask for ask in desk.all if type(ask) is Ask and ask.proto == BODIES_QUERY]
    assert len(asks) == len(desk.machine.body_asks) == FETCHES_MAX // 2, "half of the room"
    block = desk.propose(12)
    assert not desk.of(Ask), "the half is full"
    desk.confirms(desk.peers[:7], block)
    (ask,) = desk.of(Ask)
    assert desk.machine.body_asks[ask.ask] == (ask.peer, block.id)


def test_fetches_that_nobody_answers_leave_room_for_a_confirmed_block() -> None:
    """Answers that name blocks which do not exist, then a quorum for one that does."""
    desk = Desk(None, chain=MiniChain(make_spec(40, small(slots=80))), owners=40)
    desk.due()
    for number in range(30):
        unknown = BlockId(content_id(b"%d" % number))
        height = desk.standing.height
        desk.send(AnswerReceived(0, desk.peers[number], height, 0, unknown))
    assert len(desk.machine.fetches) == FETCHES_MAX // 2, "half of the room"
    block = desk.block()
    desk.confirms(desk.peers[:27], block)
    (ask,) = desk.of(Ask)
    assert desk.machine.fetches[ask.ask][1] == block.id


def test_a_certified_header_with_another_body_halts_nobody() -> None:
    """A peer may answer catch-up with any body: it is blamed, the chain goes on."""
    desk = desk_of_rank(2)
    block, other = desk.block(0), desk.block(0, messages=2)
    certificate = desk.certificate(desk.others(), block)
    forged = Block(block.header, other.body)
    ask = Ask(7, desk.others()[0], BLOCK_QUERY, b"", desk.ms)
    desk.fetched(ask, forged, certificate=certificate)
    assert desk.of(Halt) == [] and not desk.machine.halted
    assert [effect.peer for effect in desk.of(Blame)] == [ask.peer]
    desk.fetched(ask, block, certificate=certificate)
    assert desk.engine.height == 2


def test_a_certified_block_that_our_execution_refutes_stops_this_chain() -> None:
    desk = desk_of_rank(2)
    block = desk.block(0)
    desk.verdicts[block.id] = "state_root"
    desk.send(ProposalReceived(1, desk.proposal(block), None))
    desk.certify(desk.others(), block)
    (halt,) = desk.of(Halt)
    assert halt.block == block.id
    assert desk.send(Woke()) == []


def test_an_executed_block_that_is_not_open_settles_nothing_on_a_quiet_chain() -> None:
    """One owner of a late rank must not make the others settle on nil in round 0."""
    desk = desk_of_rank(0)
    desk.propose(3)
    assert next(iter(desk.standing.candidates.values())).status == VALID
    desk.wait(4 * SETTLE)
    assert desk.signs(CONFIRM) == [] and not desk.standing.settled


def test_everybody_is_a_peer_of_the_table() -> None:
    assert {desk_of_rank(rank).me for rank in range(4)} == set(PEERS)
