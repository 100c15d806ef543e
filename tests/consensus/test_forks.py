"""Two certified blocks at one height: stop, show both, choose neither (protocol §10)."""

import pytest

from consensus.block import Header
from consensus.certificates import Certificate
from consensus.effects import Commit, Halt
from consensus.events import CertificateReceived, Fetched, VotesReceived
from consensus.ids import Checkpoint, id_text
from consensus.signatures import ACCEPT
from tests.consensus.builders_chain import MiniChain, make_spec
from tests.consensus.builders_engine import Desk

LAST = 8


def decided(desk, rank=0):
    """The block of height 1, certified and committed."""
    block = desk.propose(rank)
    desk.certify(desk.others(), block)
    assert desk.standing.height == 2
    return block


def halts(desk):
    return [effect for effect in desk.all if type(effect) is Halt]


def test_a_second_certified_block_at_a_recent_height_stops_everything():
    desk = Desk()
    first, second = decided(desk), desk.block(1)
    desk.certify(desk.others(), second)
    (halt,) = halts(desk)
    assert halt.forked and (halt.height, halt.block) == (1, first.id)
    assert id_text(first.id) in halt.cause and id_text(second.id) in halt.cause
    shown = [Certificate.decode(raw).block for raw in halt.certificates]
    assert shown == [first.id, second.id]
    desk.all = []
    desk.propose()
    assert not desk.all, "nothing is signed, asked or committed any more"


def test_a_second_one_at_the_height_being_decided_stops_it_too():
    desk = Desk()
    first, second = desk.block(0), desk.block(1)
    desk.certify(desk.others(), first)  # not here yet: nothing is committed
    desk.certify(desk.others(), second)
    assert [halt.forked for halt in halts(desk)] == [True]
    desk.propose()
    assert not [effect for effect in desk.all if type(effect) is Commit]


def test_a_fork_that_is_fetched_is_seen_as_well():
    desk = Desk()
    first, second = desk.block(0), desk.block(1)
    desk.certify(desk.others(), first)
    other = desk.certificate(desk.others(), second)
    desk.send(Fetched(77, desk.others()[0], second, None, other, ()))
    assert [halt.forked for halt in halts(desk)] == [True]


def test_the_same_block_certified_again_is_no_fork():
    desk = Desk()
    block = decided(desk)
    desk.certify(desk.peers, block)
    desk.certify(desk.others(), block, round_=1)
    assert not halts(desk)


@pytest.mark.parametrize("signers", [2, 0])
def test_too_little_weight_or_strangers_make_no_fork(signers):
    desk = Desk()
    decided(desk)
    second = desk.block(1)
    votes = [desk.vote(ACCEPT, peer, second) for peer in desk.others()[:signers]]
    if not signers:
        votes = [desk.vote(ACCEPT, bytes([7]) * 32, second)]
    desk.send(CertificateReceived(Certificate.of(votes), None))
    assert not halts(desk)


def test_a_fork_is_judged_by_the_table_of_its_height():
    """The height before the boundary belongs to the table before."""
    chain = MiniChain(make_spec(4))
    chain.advance_to(LAST)
    assert chain.view.epoch == 1
    desk = Desk(chain=chain)
    header = chain.headers[LAST]
    twin = Header.of(header.fields._replace(gas_used=1))
    wrong = [chain.accept(peer, twin, epoch=1) for peer in desk.others()]
    desk.send(CertificateReceived(Certificate.of(wrong), None))
    assert not halts(desk)
    desk.send(CertificateReceived(chain.certify(twin, desk.others()), None))
    assert [halt.forked for halt in halts(desk)] == [True]


def test_old_heights_are_no_ones_to_reopen():
    """Of heights beyond the last 32 nothing is kept: old keys cannot stop a living chain."""
    desk = Desk()
    block = decided(desk)
    desk.machine.recent.clear()
    desk.certify(desk.others(), desk.block(1))
    assert not halts(desk)
    assert block.id == desk.machine.tip.header.id


# ---- checkpoints --------------------------------------------------------------------------------


def test_a_certified_block_that_the_checkpoint_contradicts_is_not_committed():
    desk = Desk()
    trusted, other = desk.block(0), desk.block(1)
    desk.machine.checkpoint = Checkpoint(1, trusted.id)
    desk.certify(desk.others(), other)
    desk.propose(1)
    (halt,) = halts(desk)
    assert halt.forked and id_text(trusted.id) in halt.cause and id_text(other.id) in halt.cause
    assert not [effect for effect in desk.all if type(effect) is Commit]


def test_the_checkpoint_itself_is_committed_and_other_heights_are_free():
    desk = Desk()
    block = desk.block(0)
    desk.machine.checkpoint = Checkpoint(1, block.id)
    assert decided(desk) == block
    desk = Desk()
    desk.machine.checkpoint = Checkpoint(9, block.id)
    decided(desk, rank=1)
    assert not halts(desk)


def test_votes_alone_certify_what_the_checkpoint_allows_only():
    desk = Desk()
    block = desk.propose()
    desk.machine.checkpoint = Checkpoint(1, desk.block(1).id)
    votes = tuple([(0, desk.vote(ACCEPT, peer, block)) for peer in desk.others()])
    desk.send(VotesReceived(votes))
    assert [halt.forked for halt in halts(desk)] == [True]
