"""Polls, answers and settling of one engine (protocol §6)."""

import pytest

from consensus.block import Block
from consensus.certificates import Certificate
from consensus.effects import BLOCK, CERT, POLL, Ask, Build, Execute, Reply
from consensus.encoding import decode
from consensus.events import AnswerReceived, AskFailed, PollReceived, VotesReceived, Woke
from consensus.ids import Height
from consensus.signatures import CONFIRM
from consensus.standing import Candidate
from tests.consensus.builders_engine import POLL_MS, SETTLE, START_MS, WINDOW, Desk
from tests.consensus.builders_keys import peer_key


def polling(me: int | None = 2) -> tuple[Desk, Block]:
    """A desk that polls on a proposal of rank 0 (of another peer)."""
    desk = Desk(me)
    if desk.me == desk.ranked(0):
        desk = Desk(3)
    block = desk.propose(0)
    return desk, block


def replies(desk: Desk) -> list[list[object]]:
    return [decode(effect.data, max_bytes=65_536) for effect in desk.of(Reply)]


def poll(desk: Desk, peer: int | None = None, height: int | None = None) -> list[object]:
    """What a peer is answered."""
    asker = desk.others()[0] if peer is None else peer_key(peer)
    at = desk.standing.height if height is None else Height(height)
    desk.send(PollReceived(5, asker, at))
    (reply,) = replies(desk)
    return reply


# ---- asking -------------------------------------------------------------------------------------


def test_the_first_poll_waits_for_a_starting_preference() -> None:
    desk = Desk(3)
    desk.due()
    desk.wait(WINDOW // 2)
    assert desk.standing.snowball is None and desk.of(Ask) == []


def test_the_starting_preference_is_the_best_rank_at_that_time() -> None:
    desk = Desk(next(n for n in range(6) if Desk(n, owners=6).my_rank() == 5), owners=6)
    desk.held = (Execute,)
    desk.due()
    desk.wait(3 * WINDOW)
    blocks = [desk.propose(rank) for rank in (3, 1, 2)]
    for block in blocks:
        desk.machine.standing.candidates[block.id].status = "executing"
    for block in blocks:  # executed together, so to say: the engine looks after the last
        desk.engine.machine.standing.candidates[block.id].status = "valid"
    desk.send(Woke())
    assert desk.standing.snowball is not None
    assert desk.standing.snowball.preference == blocks[1].id


def test_fewer_skipped_inputs_come_before_a_better_rank() -> None:
    """(number of skipped ids, rank), least first."""
    desk = Desk(3)
    low, high = desk.block(1), desk.block(2)
    fields = low.header.fields._replace(skipped=(low.body.inputs[0],))
    skipping = Candidate(type(low)(type(low.header).of(fields), low.body), None, 1)
    assert Candidate(high, None, 2).order < skipping.order


def test_one_query_per_owner_serves_all_concurrent_polls() -> None:
    desk, _ = polling()
    asks = desk.polls()
    assert sorted(ask.peer for ask in asks) == sorted(desk.others())
    assert {ask.proto for ask in asks} == {POLL}
    group = desk.standing.group
    assert group is not None and len(group.polls) == desk.spec.parameters.concurrent_polls
    assert {ask.deadline_ms for ask in asks} == {START_MS + POLL_MS}


def test_own_slots_answer_too() -> None:
    """All 12 slots are drawn; three are our own and prefer as we do."""
    desk, block = polling()
    group = desk.standing.group
    assert group is not None
    assert [poll_.weights for poll_ in group.polls] == [{block.id: 3}] * 4
    assert [poll_.outstanding for poll_ in group.polls] == [9] * 4


def test_a_lost_query_is_asked_again_within_poll_timeout_and_once() -> None:
    desk, block = polling()
    first = desk.polls()
    desk.answer(first[0], block)
    desk.wait(POLL_MS // 2)
    again = desk.of(Ask)
    assert sorted(ask.peer for ask in again) == sorted(ask.peer for ask in first[1:])
    assert all(ask.deadline_ms == START_MS + POLL_MS for ask in again)
    desk.wait(POLL_MS // 2 - 1)
    assert desk.of(Ask) == []


def test_a_timeout_counts_as_no_answer_and_polls_go_on() -> None:
    desk, _ = polling()
    desk.wait(POLL_MS)
    assert desk.standing.snowball is not None and desk.standing.snowball.polls == 4
    assert desk.standing.snowball.streak == 0
    desk.wait(POLL_MS // 10)
    assert desk.standing.group is not None, "after a pause without winner the next ones are out"


def test_failed_asks_end_the_polls_before_the_timeout() -> None:
    desk, _ = polling()
    desk.fail_polls()
    assert desk.standing.snowball is not None and desk.standing.snowball.polls == 4


def test_eight_unanimous_polls_settle() -> None:
    desk, block = polling()
    desk.settle_on(block)
    assert desk.standing.snowball is not None
    assert (desk.standing.snowball.polls, desk.standing.snowball.weakly) == (8, False)
    assert desk.record.place == (1, 0, 1)


def test_votes_are_signed_once_for_all_slots_of_a_peer() -> None:
    desk, block = polling()
    desk.settle_on(block)
    confirms = [e for e in desk.all if getattr(e, "kind", "") == CONFIRM]
    assert len(confirms) == 1


def test_weak_settling_when_a_third_never_answers() -> None:
    """8 of 12 slots: at least alpha_preference 7, below alpha_confidence 9; after 2·beta polls."""
    desk = next(desk for desk in (Desk(n, owners=6) for n in range(6)) if desk.my_rank() == 5)
    block = desk.propose(0)
    silent = desk.others()[:2]
    assert (desk.standing.alpha_preference, desk.standing.alpha_confidence) == (7, 9)
    for _ in range(4):
        assert not desk.standing.settled
        desk.wait(POLL_MS // 10)
        for ask in desk.polls():
            if ask.peer in silent:
                desk.send(AskFailed(ask.ask, ask.peer))
            else:
                desk.answer(ask, block)
    assert desk.standing.value == block.id and desk.standing.snowball is not None
    assert (desk.standing.snowball.polls, desk.standing.snowball.weakly) == (16, True)


# ---- answers that count, and do not -------------------------------------------------------------


def weights(desk: Desk) -> dict[object, int]:
    group = desk.standing.group
    assert group is not None
    return dict(group.polls[0].weights)


def test_an_answer_counts_if_it_is_a_candidate_in_the_askers_round() -> None:
    desk, block = polling()
    desk.answer(desk.polls()[0], block, round=7)
    assert weights(desk) == {block.id: 6}


@pytest.mark.parametrize("case", ["null", "other height", "unknown", "closed", "old round"])
def test_what_is_no_candidate_here_does_not_count(case: str) -> None:
    desk, block = polling()
    ask = desk.polls()[0]
    if case == "null":
        desk.answer(ask, None)
    elif case == "other height":
        desk.answer(ask, block, height=2)
    elif case == "unknown":
        desk.answer(ask, desk.block(0, messages=9))
    else:
        other = desk.propose(3 if case == "closed" else 0, 0 if case == "closed" else 1)
        desk.answer(ask, other)
    assert weights(desk) == {block.id: 3}
    group = desk.standing.group
    assert group is not None and group.polls[0].outstanding == 6, "answered, though"


def test_an_unknown_block_is_fetched_one_fetch_open_per_peer() -> None:
    desk, _ = polling()
    one, two = desk.block(0, messages=8), desk.block(0, messages=9)
    asks = desk.polls()
    desk.answer(asks[0], one)
    (fetch,) = desk.of(Ask)
    assert (fetch.proto, fetch.peer) == (BLOCK, asks[0].peer)
    assert decode(fetch.data, max_bytes=256) == ["block", 1, 1, one.id]
    desk.send(AnswerReceived(999, asks[0].peer, desk.standing.height, desk.standing.round, two.id))
    assert desk.of(Ask) == [], "one open for this peer"
    desk.answer(asks[1], one)
    assert desk.of(Ask) == [], "one open for this block"
    desk.answer(asks[2], two)
    assert [ask.peer for ask in desk.of(Ask) if ask.proto == BLOCK] == [asks[2].peer]


def test_a_fetched_proposal_is_a_candidate_and_named() -> None:
    desk, _ = polling()
    other = desk.block(1)
    desk.answer(desk.polls()[0], other)
    (fetch,) = [ask for ask in desk.of(Ask) if ask.proto == BLOCK]
    desk.fetched(fetch, other, proposal=desk.proposal(other))
    assert desk.standing.candidates[other.id].named


def test_an_answer_of_another_peer_under_this_id_does_not_count() -> None:
    desk, block = polling()
    one, two, _ = desk.polls()
    desk.send(
        AnswerReceived(one.ask, two.peer, desk.standing.height, desk.standing.round, block.id)
    )
    assert weights(desk) == {block.id: 3}


def test_answers_of_a_past_round_do_not_count_in_the_next() -> None:
    desk, block = polling()
    desk.held = (Build,)
    asks = desk.polls()
    desk.to_round(1)
    other = desk.propose(next(rank for rank in range(4) if desk.ranked(rank, 1) != desk.me), 1)
    desk.wait(4 * WINDOW)
    before = weights(desk)
    for ask in asks:
        desk.answer(ask, other)
    assert weights(desk) == before and block.id not in before


# ---- answering ----------------------------------------------------------------------------------


def test_the_answer_is_the_current_preference_with_our_round() -> None:
    desk, block = polling()
    assert poll(desk) == ["answer", 1, 1, 0, block.id]


def test_null_when_there_is_no_preference() -> None:
    assert poll(Desk(0)) == ["answer", 1, 1, 0, None]


def test_a_proposal_is_executed_before_it_is_answered_with() -> None:
    desk = Desk(3 if Desk(2).my_rank() == 0 else 2)
    desk.held = (Execute,)
    block = desk.propose(0)
    assert poll(desk)[4] is None
    desk.send(desk.executed(block))
    assert poll(desk)[4] == block.id


def test_only_slot_owners_learn_the_preference() -> None:
    desk, _ = polling()
    assert poll(desk, peer=77) == ["answer", 1, 1, 0, None]


def test_a_poll_for_a_height_to_come_is_answered_with_null_and_our_height() -> None:
    desk, _ = polling()
    assert poll(desk, height=5) == ["answer", 1, 1, 0, None]


def test_a_poll_for_a_past_height_is_answered_with_its_certificate() -> None:
    desk, block = polling()
    desk.certify(desk.others(), block)
    assert desk.engine.height == 2
    tag, _, raw = poll(desk, height=1)
    assert tag == "past" and isinstance(raw, bytes)
    assert Certificate.decode(raw).block == block.id


def test_the_tips_certificate_is_there_after_a_restart() -> None:
    desk = Desk(0)
    header = desk.chain.advance()
    again = Desk(0, chain=desk.chain)
    tag, _, raw = poll(again, height=1)
    assert tag == "past" and isinstance(raw, bytes) and Certificate.decode(raw).block == header.id


def test_who_is_polled_and_holds_nothing_asks_back() -> None:
    """Gossip may have lost the proposal: at the second poll it asks what the poller prefers."""
    desk = Desk(0)
    poll(desk)
    assert desk.of(Ask) == []
    desk.wait(POLL_MS)
    poll(desk)
    (ask,) = desk.of(Ask)
    assert (ask.proto, ask.peer) == (POLL, desk.others()[0])
    block = desk.block(0)
    desk.answer(ask, block)
    assert [effect.proto for effect in desk.of(Ask)] == [BLOCK]


# ---- settling -----------------------------------------------------------------------------------


def test_the_valid_value_comes_first_also_in_mid_poll() -> None:
    """‡ A peer that holds it settles on it at once, without polls."""
    desk, block = polling()
    other = desk.propose(1)
    desk.wait(WINDOW)
    assert desk.standing.group is not None and not desk.standing.settled
    desk.confirms(desk.others(), other)
    assert (desk.standing.settled, desk.standing.value) == (True, other.id)
    assert desk.standing.group is None
    assert poll(desk)[4] == other.id
    assert block.id != other.id


def test_the_valid_value_is_settled_on_in_the_next_round_without_polls() -> None:
    desk, block = polling()
    desk.confirms(desk.others(), block)
    desk.to_round(1)
    desk.unled()
    assert (desk.standing.settled, desk.standing.value) == (True, block.id)
    assert desk.standing.snowball is None


def led_desk(*, lead: bool) -> tuple[Desk, Block, Block]:
    """In round 1 with the valid value `first`; another block of round 0 is executed too.

    `lead`: whether this peer is the first owner of round 1.
    """
    desk = next(d for d in map(Desk, range(4)) if (d.my_rank(1) == 0) == lead)
    ranks = [rank for rank in range(4) if desk.ranked(rank) != desk.me][:2]
    first, other = desk.propose(ranks[0]), desk.propose(ranks[1])
    desk.confirms(desk.others(), first)
    desk.to_round(1)
    return desk, first, other


def test_whoever_holds_a_valid_value_goes_by_the_rounds_first_owner() -> None:
    """ADR 0016: else one that holds back a confirm splits the honest for ever."""
    desk, _, other = led_desk(lead=False)
    assert not desk.standing.settled, "it waits"
    machine = desk.machine
    machine.record = machine.record.with_lock(1, other.id, 0)  # not bound to its valid value
    desk.confirms([desk.ranked(0, 1)], other, 1)
    assert (desk.standing.settled, desk.standing.value) == (True, other.id)


def test_a_lock_is_not_led_away() -> None:
    desk, first, other = led_desk(lead=False)
    assert desk.record.lock is not None and desk.record.lock.block == first.id
    desk.confirms([desk.ranked(0, 1)], other, 1)
    assert not desk.standing.settled
    desk.unled()
    assert desk.standing.value == first.id


@pytest.mark.parametrize("known", [True, False])
def test_a_first_owner_that_names_nothing_usable_costs_a_window_at_most(known: bool) -> None:
    desk, first, _ = led_desk(lead=False)
    desk.confirms([desk.ranked(0, 1)], None if known else desk.block(3, 1), 1)
    assert desk.standing.settled == known, "nil: at once, unknown: after the window"
    desk.wait(WINDOW + 500 - 1)
    assert desk.standing.settled == known
    desk.wait(1)
    assert (desk.standing.settled, desk.standing.value) == (True, first.id)


def test_the_first_owner_hears_the_others_before_it_leads() -> None:
    desk, first, _ = led_desk(lead=True)
    desk.wait(POLL_MS - 1)
    assert not desk.standing.settled
    desk.wait(1)
    assert (desk.standing.settled, desk.standing.value) == (True, first.id)


def test_settle_timeout_after_the_first_executed_candidate_on_the_preference() -> None:
    desk = Desk(3 if Desk(2).my_rank() == 0 else 2)
    desk.held = (Execute,)
    block = desk.propose(0)
    desk.wait(500)
    desk.send(desk.executed(block))
    desk.wait(SETTLE - 1)
    assert not desk.standing.settled
    desk.wait(1)
    assert (desk.standing.settled, desk.standing.value) == (True, block.id)


def test_answers_of_others_do_not_put_off_the_settle_timeout() -> None:
    desk, block = polling()
    for _ in range(10):
        for ask in desk.polls():
            desk.send(AskFailed(ask.ask, ask.peer))
        desk.wait(SETTLE // 10)
    assert (desk.standing.settled, desk.standing.value) == (True, block.id)


@pytest.mark.parametrize("round_", [1, 2])
def test_no_candidate_at_all_settles_nil_in_rounds_from_one_on(round_: int) -> None:
    """4 windows + settle_timeout after the round clock."""
    desk = Desk(0)
    desk.held = (Build,)
    desk.to_round(round_)
    parameters = desk.spec.parameters
    patience = 4 * parameters.window_ms(round_) + parameters.settle_timeout_ms(round_)
    desk.wait(patience - 1)
    assert not desk.standing.settled
    desk.wait(1)
    assert (desk.standing.settled, desk.standing.value) == (True, None)
    assert desk.record.place == (1, round_, 1)


def test_no_candidate_in_round_0_settles_nothing() -> None:
    desk = Desk(0)
    desk.held = (Build,)
    desk.due()
    desk.wait(20 * SETTLE)
    assert not desk.standing.settled


def test_who_owns_no_slot_neither_polls_nor_settles() -> None:
    desk = Desk(None)
    desk.due()
    desk.propose(0)
    desk.wait(3 * SETTLE)
    assert desk.of(Ask) == [] and not desk.standing.settled


def test_a_certificate_is_pushed_to_a_straggler_at_a_bounded_rate() -> None:
    """Whoever is voted at for a past height answers with its certificate."""
    desk, block = polling()
    desk.certify(desk.others(), block)
    straggler = desk.others()[0]
    desk.wait(600)
    vote = desk.chain.accept(straggler, block.header, phase=CONFIRM, block=None)
    desk.send(VotesReceived(((0, vote),)))
    (push,) = desk.of(Ask)
    assert (push.proto, push.peer) == (CERT, straggler)
    desk.send(VotesReceived(((0, vote),)))
    assert desk.of(Ask) == []
    desk.wait(1_000)
    desk.send(VotesReceived(((0, vote),)))
    assert len(desk.of(Ask)) == 1
    stranger = desk.chain.accept(peer_key(50), block.header, phase=CONFIRM, block=None)
    desk.wait(1_000)
    desk.send(VotesReceived(((0, stranger),)))
    assert desk.of(Ask) == [], "keys are free: only owners are pushed to"
    assert peer_key(50) not in desk.machine.pushed_ms
