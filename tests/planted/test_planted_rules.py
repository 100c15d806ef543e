"""Rules of which a planted fault showed that no other test would miss them (protocol §4–§8)."""

from dataclasses import replace

import pytest

from consensus import deciding, voting
from consensus.block import Block, Header
from consensus.effects import BLOCK, Ask, Build, Reply
from consensus.encoding import decode
from consensus.errors import SignatureInvalid
from consensus.events import BuildFaulted, Fetched, LinkUp, PollReceived, TipReceived
from consensus.facts import Renew, claim_digest
from consensus.ids import Height, Id
from consensus.signing import SignRecord
from consensus.standing import RECENT_HEIGHTS
from node import speech
from node.execution.line import Line
from tests.consensus.builders_chain import make_spec
from tests.consensus.builders_engine import POLL_MS, WINDOW, Desk
from tests.node import test_speech as shelf
from tests.node.builders_core import Bench, message
from tests.node.execution.lab import ALICE, BOB, Lab


def preference(desk: Desk) -> object:
    """What it answers to a poll."""
    desk.send(PollReceived(5, desk.others()[0], desk.standing.height))
    (reply,) = desk.of(Reply)
    return decode(reply.data, max_bytes=65_536)[4]


def polling_on_rank_1() -> tuple[Desk, Block, Block]:
    """It polls from a block of rank 1; then one of rank 0 comes, executed and valid."""
    desk = next(d for d in map(Desk, range(4)) if d.my_rank() >= 2)
    desk.due()
    desk.wait(WINDOW)
    late = desk.propose(1)
    assert desk.standing.polling
    return desk, late, desk.propose(0)


def test_after_the_first_poll_only_polls_move_the_preference() -> None:
    desk, late, best = polling_on_rank_1()
    assert preference(desk) == late.id
    desk.wait(POLL_MS * 3)
    assert preference(desk) == late.id
    desk.answer_all(best, groups=2)
    assert preference(desk) == best.id


def test_a_round_is_joined_by_the_newest_word_of_either_phase() -> None:
    """Who accepted in round 3 and confirmed in round 5 has votes in rounds ≥ 5."""
    desk = Desk()
    peers = desk.others()[:2]
    desk.accepts(peers, None, 3)
    assert desk.standing.round == 3
    desk.confirms(peers, None, 5)
    assert desk.standing.round == 5


def test_any_quorum_from_the_locks_round_on_frees_it() -> None:
    """Not only the highest, or one whose block is held here and so is the valid value."""
    fresh = Desk()
    block, shown, other = (fresh.block(rank) for rank in range(3))
    record = SignRecord.fresh(fresh.spec.id, fresh.me).with_lock(1, block.id, 1)
    desk = Desk(record=record, saved=(block,))
    desk.confirms(desk.others(), other, 0)
    desk.confirms(desk.others(), shown, 1)
    assert desk.record.valid is None
    allowed = [voting.lock_allows(desk.machine, each.id) for each in (block, shown, other)]
    assert allowed == [True, True, False]


def test_what_faulted_on_this_host_is_left_out_of_its_next_blocks() -> None:
    desk = next(d for d in map(Desk, range(4)) if d.my_rank() == 0)
    one, other = message(desk.spec, 1), message(desk.spec, 2)
    desk.pool.choose = lambda height: (one, other)  # type: ignore[method-assign]
    desk.held = (Build,)
    desk.due()
    (build,) = desk.of(Build)
    assert (build.messages, build.skip) == ((one, other), ())
    desk.send(BuildFaulted(build.height, build.round, "a worker died", (Id(one.id),)))
    (build,) = desk.of(Build)
    assert (build.messages, build.skip) == ((other,), (one.id,))


def test_who_gave_a_block_of_no_weight_is_left_alone_for_a_while() -> None:
    """Also where nobody else is known: else it is asked in a loop."""
    bench = Bench()
    bench.send(LinkUp(bench.peers[1]))
    bench.send(TipReceived(bench.peers[1], Height(1)))
    (ask,) = bench.core.catchup.asks
    block = bench.chain.block()
    weak = bench.chain.certify(block.header, bench.peers[:1])
    bench.send(Fetched(ask, bench.peers[1], block, None, weak, ()))
    asked = [each.proto for each in bench.out if isinstance(each, Ask)]
    assert BLOCK not in asked


def test_certificates_are_kept_for_so_many_heights_and_no_more() -> None:
    desk = Desk()
    machine = desk.machine
    tip = replace(machine.tip, certificate=desk.certificate(desk.peers, desk.block()))
    for number in range(3 * RECENT_HEIGHTS):
        fields = tip.header.fields._replace(height=Height(number))
        deciding.remember(machine, replace(tip, header=Header.of(fields)))
    assert list(machine.recent) == list(range(2 * RECENT_HEIGHTS, 3 * RECENT_HEIGHTS))


def test_a_candidate_that_loses_leaves_no_trace() -> None:
    """Its messages can be included at the next height: executing moved nothing."""
    lab = Lab()
    line = Line(lab.spec, lab.parent)
    lost, won = lab.transfer(ALICE, BOB, 1), lab.transfer(ALICE, BOB, 2)
    losing, winning = lab.build(lost).block, lab.build(won).block
    assert losing is not None and winning is not None
    assert not line.execute(losing, [lost]).rule and not line.execute(winning, [won]).rule
    line.advance(winning.id)
    lab.parent = line.tip
    again = lab.build(lost)
    assert again.refused == () and again.block is not None


@pytest.mark.parametrize("place", ["parent certificate", "fact"])
def test_a_wrong_signature_inside_a_fetched_block_is_its_senders_fault(place: str) -> None:
    body = shelf.SECOND.body
    certificate, fact = body.certificate(), Renew.decode(body.facts[0])
    assert certificate is not None
    inside = certificate.signatures[0][1] if place == "parent certificate" else fact.signature
    reply = shelf.flipped(shelf.REPLIES[BLOCK][0], inside)
    with pytest.raises(SignatureInvalid):
        speech.read_reply(BLOCK, reply, 9, shelf.PEER, shelf.SEEN)


@pytest.mark.parametrize("field", ["chain", "salt", "peer", "nonce", "commitment"])
def test_the_work_of_a_claim_binds_all_that_it_names(field: str) -> None:
    """‡ Else one search gives work for many chains, epochs, keys or commitments."""
    named = {"nonce": bytes(16), **{name: name.encode().ljust(32) for name in ("salt", "peer")}}
    named |= {"chain": make_spec(4).id, "commitment": bytes(32)}
    other = {**named, field: named[field][:-1] + b"?"}
    assert claim_digest(**named) != claim_digest(**other)
