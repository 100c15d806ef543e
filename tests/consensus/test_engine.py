"""The engine's edges: verdicts, evidence, heights to come and past, faults, halting (§7)."""

from typing import Any

import pytest

from consensus import effects
from consensus.block import Proposal, proposal_coverage
from consensus.certificates import Vote
from consensus.effects import Blame, Commit, Execute, Halt, Persist, Publish, Sign, Verdict
from consensus.events import (
    BlockExecuted,
    CertificateReceived,
    ExecutionFaulted,
    ProposalReceived,
    VotesReceived,
    Woke,
)
from consensus.facts import DoubleProposal, Evidence, LateAccept
from consensus.ids import BlockId, content_id
from consensus.signatures import ACCEPT, CONFIRM, PROPOSAL
from consensus.standing import AHEAD_VOTES_MAX, HELD, INVALID, VALID
from tests.consensus.builders_engine import Desk
from tests.consensus.builders_keys import keyed_signature, peer_key

OTHER = BlockId(content_id(b"another block"))


def send_vote(desk: Desk, vote: Vote) -> str:
    """The verdict on its gossip."""
    desk.send(VotesReceived(((9, vote),)))
    (verdict,) = desk.of(Verdict)
    ((token, said, _, _),) = verdict.items
    assert token == 9
    return str(said)


# ---- verdicts on votes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, effects.ACCEPT),
        ({"chain": content_id(b"elsewhere")}, effects.REJECT),
        ({"epoch": 1}, effects.REJECT),
        ({"height": 2}, effects.IGNORE),
        ({"height": 7}, effects.IGNORE),
        ({"round_": 40}, effects.ACCEPT),
    ],
    ids=["right", "chain", "epoch", "next height", "far height", "far round"],
)
def test_blame_only_what_is_wrong_in_itself(fields: dict[str, Any], said: str) -> None:
    desk = Desk(0)
    vote = desk.chain.accept(desk.others()[0], desk.block().header, **fields)
    assert send_vote(desk, vote) == said


def test_a_vote_seen_before_and_a_strangers_vote_are_ignored() -> None:
    desk = Desk(0)
    vote = desk.vote(CONFIRM, desk.others()[0], None)
    assert [send_vote(desk, vote), send_vote(desk, vote)] == [effects.ACCEPT, effects.IGNORE]
    assert send_vote(desk, desk.vote(CONFIRM, peer_key(50), None)) == effects.IGNORE


def test_new_votes_are_published_once() -> None:
    desk = Desk(0)
    vote = desk.vote(CONFIRM, desk.others()[0], None)
    send_vote(desk, vote)
    assert [(e.stream, e.records) for e in desk.of(Publish)] == [("votes", (vote.raw,))]
    send_vote(desk, vote)
    assert desk.of(Publish) == []


# ---- evidence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [CONFIRM, ACCEPT])
@pytest.mark.parametrize("second", [OTHER, None])
def test_two_signed_values_of_one_place_are_evidence(phase: str, second: BlockId | None) -> None:
    desk = Desk(0)
    peer, header = desk.others()[0], desk.block().header
    one = desk.chain.accept(peer, header, phase=phase)
    other = desk.chain.accept(peer, header, phase=phase, block=second)
    send_vote(desk, one)
    assert send_vote(desk, other) == effects.ACCEPT, "passed on, so that all see it"
    ((first, then),) = desk.machine.conflicts
    assert {first.raw, then.raw} == {one.raw, other.raw}
    Evidence.of(first, then)


def test_votes_of_two_rounds_or_phases_contradict_nothing() -> None:
    desk = Desk(0)
    peer, header = desk.others()[0], desk.block().header
    for phase, round_, block in ((CONFIRM, 0, OTHER), (CONFIRM, 1, None), (ACCEPT, 0, None)):
        send_vote(desk, desk.chain.accept(peer, header, phase=phase, round_=round_, block=block))
    assert desk.machine.conflicts == []


def test_two_proposals_for_one_place_are_evidence() -> None:
    desk = Desk(0 if Desk(0).my_rank() else 1)
    for elapsed in (1000, 1001):
        desk.propose(0, elapsed_ms=elapsed)
    (double,) = desk.machine.doubles
    assert isinstance(double, DoubleProposal) and double.peer == desk.ranked(0)


# ---- height + 1 ---------------------------------------------------------------------------------


def test_votes_and_proposals_of_the_next_height_are_kept_and_used() -> None:
    desk = Desk(0 if Desk(0).my_rank() else 1)
    first = desk.propose(0)
    desk.chain.commit(first, desk.others())
    second = desk.chain.block()
    peer = desk.chain.view.ranking(desk.chain.tip.fields.randomness, 0)[0][0]
    signature = keyed_signature(peer, proposal_coverage(second.header))
    desk.send(ProposalReceived(1, Proposal.of(second, peer, signature), None))
    voters = desk.others()
    for voter in voters:
        send_vote(desk, desk.chain.accept(voter, second.header, phase=CONFIRM))
    assert desk.standing.candidates.keys() == {first.id}
    assert set(desk.machine.ahead_votes) == {(voter, CONFIRM) for voter in voters}
    desk.certify(desk.others(), first)
    assert desk.engine.height == 2
    assert second.id in desk.standing.candidates or peer == desk.me
    assert desk.standing.votes.quorum(0, CONFIRM) == (True, second.id)


def test_of_the_next_height_one_vote_per_signer_and_phase_the_highest() -> None:
    desk = Desk(0)
    peer, header = desk.others()[0], desk.block().header
    for round_ in (3, 5, 4):
        send_vote(desk, desk.chain.accept(peer, header, height=2, round_=round_))
    ((place, kept),) = desk.machine.ahead_votes.items()
    assert (place, kept.round) == ((peer, ACCEPT), 5)


def test_strangers_do_not_fill_the_votes_of_the_next_height() -> None:
    desk = Desk(0)
    header = desk.block().header
    for number in range(50, 60):
        send_vote(desk, desk.chain.accept(peer_key(number), header, height=2))
    assert desk.machine.ahead_votes == {}
    assert AHEAD_VOTES_MAX >= 2 * 1024, "room for every owner of a table, both phases"


# ---- heights that passed ------------------------------------------------------------------------


def test_a_late_accept_of_an_older_height_is_a_proof_of_life() -> None:
    desk = Desk(0 if Desk(0).my_rank() else 1)
    first = desk.propose(0)
    silent = desk.others()[2]
    desk.certify([peer for peer in desk.peers if peer != silent], first)
    desk.chain.commit(first, [p for p in desk.peers if p != silent])
    second = desk.chain.block()
    certificate = desk.chain.certify(second.header, desk.others())
    desk.send(CertificateReceived(certificate, None))
    peer = desk.chain.view.ranking(desk.chain.tip.fields.randomness, 0)[0][0]
    signature = keyed_signature(peer, proposal_coverage(second.header))
    desk.send(ProposalReceived(1, Proposal.of(second, peer, signature), None))
    assert desk.engine.height == 3
    late = desk.vote(ACCEPT, silent, first)
    send_vote(desk, late)
    assert [fact.raw for fact in desk.machine.late] == [LateAccept.of(late).raw]
    desk.machine.late.clear()
    send_vote(desk, desk.vote(ACCEPT, desk.others()[0], first))
    assert desk.machine.late == [], "who is in the certificate lives anyway"


# ---- executions ---------------------------------------------------------------------------------


def test_an_invalid_proposal_is_blamed_on_its_proposer_and_not_confirmed() -> None:
    desk = Desk(0 if Desk(0).my_rank() else 1)
    block = desk.block(0)
    desk.verdicts[block.id] = "gas_used"
    desk.propose(0)
    ((peer, cause),) = [(e.peer, e.cause) for e in desk.of(Blame)]
    assert (peer, cause) == (desk.ranked(0), "gas_used")
    assert desk.standing.candidates[block.id].status == INVALID
    desk.confirms(desk.others(), block)
    assert desk.signs() == [], "not even with a quorum of confirms"


def test_a_host_fault_is_no_fault_of_the_block() -> None:
    desk = Desk(0 if Desk(0).my_rank() else 1)
    desk.held = (Execute,)
    block = desk.propose(0)
    desk.send(ExecutionFaulted(block.id, "no memory"))
    assert desk.standing.candidates[block.id].status != INVALID
    assert [e.block.id for e in desk.of(Execute)] == [block.id], "it is tried again"
    assert desk.of(Blame) == []
    desk.send(desk.executed(block))
    assert desk.standing.candidates[block.id].status == VALID


def test_an_outcome_of_nobodys_block_changes_nothing() -> None:
    desk = Desk(0)
    desk.send(BlockExecuted(OTHER, desk.chain.view, None, ""))
    desk.send(ExecutionFaulted(OTHER, ""))
    assert desk.standing.candidates == {}


def test_a_certified_block_is_committed_once_with_its_certificate() -> None:
    desk = Desk(0 if Desk(0).my_rank() else 1)
    desk.held = (Commit,)
    block = desk.propose(0)
    desk.accepts(desk.others(), block)
    (commit,) = desk.of(Commit)
    assert commit.block.id == block.id
    desk.wait(60_000)
    desk.accepts(desk.peers, block)
    assert [e for e in desk.all if type(e) is Commit] == [commit]
    assert desk.engine.wake_ms(desk.now) is None


def test_a_certified_block_that_comes_later_is_executed_and_committed() -> None:
    desk = Desk(0 if Desk(0).my_rank() else 1)
    block = desk.block(0)
    desk.certify(desk.others(), block)
    assert desk.engine.height == 1 and desk.standing.certificate is not None
    desk.propose(0)
    assert desk.engine.height == 2


def test_a_halted_chain_does_nothing_any_more() -> None:
    desk = Desk(0 if Desk(0).my_rank() else 1)
    block = desk.block(0)
    desk.verdicts[block.id] = "state_root"
    desk.propose(0)
    desk.certify(desk.others(), block)
    assert [e.block for e in desk.of(Halt)] == [block.id]
    assert desk.machine.halted and desk.engine.wake_ms(desk.now) is None
    desk.out = []
    desk.confirms(desk.others(), block)
    assert [e for e in desk.out if type(e) is not Verdict] == []
    assert [e for e in desk.all if type(e) in (Commit, Persist)] == []


def test_saved_candidates_are_held_and_executed_after_a_start() -> None:
    block = Desk(0).block(0)
    desk = Desk(0, saved=(block,))
    desk.send(Woke())
    candidate = desk.standing.candidates[block.id]
    assert (candidate.status, candidate.persisted, candidate.proposal) == (VALID, True, None)
    assert not desk.standing.polling, "without its proposer's word it is nobody's candidate"
    assert candidate.status != HELD


def test_one_owner_alone_decides_by_itself() -> None:
    """A chain of one: all polls are answered by own slots, all quorums are our own."""
    desk = Desk(0, owners=1)
    desk.due()
    assert desk.engine.height == 2
    said = [effect.kind for effect in desk.all if isinstance(effect, Sign)]
    assert said[:3] == [PROPOSAL, CONFIRM, ACCEPT]
