"""The one handle of a chain: events in, effects out; nothing else changes its state (§5-§7).

Each event is taken in, then the rules are applied until nothing moves: they look at the state, not
at the event, so a lost or doubled event costs time, never a rule. Knows no I/O, no pool policy, no
catch-up: `node.core` wraps it.
"""

from collections.abc import Sequence
from typing import assert_never

from consensus import deadlines, polling, proposing, voting
from consensus.block import Block
from consensus.certificates import Aggregate, Certificate, Vote, check_weight
from consensus.dice import Dice
from consensus.effects import (
    ACCEPT,
    IGNORE,
    REJECT,
    Blame,
    Commit,
    Effect,
    Halt,
    Publish,
    Verdict,
)
from consensus.errors import ConsensusError
from consensus.events import (
    AnswerReceived,
    AskFailed,
    BlockBuilt,
    BlockExecuted,
    CertificateReceived,
    Committed,
    Event,
    ExecutionFaulted,
    FactsReceived,
    Fetched,
    LinkDown,
    LinkUp,
    MessagesReceived,
    Missing,
    Persisted,
    PollReceived,
    ProposalReceived,
    Revealed,
    Signed,
    TipReceived,
    VotesReceived,
    Woke,
)
from consensus.facts import LateAccept
from consensus.ids import Height, Now, Peer
from consensus.signatures import ACCEPT as ACCEPT_KIND
from consensus.signatures import PROPOSAL as PROPOSAL_KIND
from consensus.signing import SignRecord
from consensus.spec import ChainSpec
from consensus.standing import (
    AHEAD_PROPOSALS_MAX,
    AHEAD_VOTES_MAX,
    EXECUTING,
    HELD,
    INVALID,
    RECENT_HEIGHTS,
    VALID,
    Candidate,
    Machine,
    Pool,
    Standing,
    Tip,
)
from consensus.votes import CONFLICT, NEW, Votes

INVALID_BLOCK_POINTS = 50  # a signed proposal that its own execution refutes
FORGED_BODY_POINTS = 50  # a certified header with a body that is not its own
STEPS_MAX = 64  # applications of the rules after one event; more is our own bug


class Engine:
    """What all peers of a chain must agree on, for one chain."""

    def __init__(
        self,
        spec: ChainSpec,
        *,
        peer: Peer,
        dice: Dice,
        tip: Tip,
        record: SignRecord | None,
        pool: Pool,
        now: Now,
        saved: Sequence[Block] = (),
    ) -> None:
        """Stand on `tip`.

        `record`: what this peer signed before (null: nothing ever). `saved`: the candidates of the
        height after the tip that are durable here.
        """
        signed = record or SignRecord.fresh(spec.id, peer)
        standing = _standing(spec, tip, now)
        self.machine = Machine(spec, peer, dice, tip, signed, pool, standing)
        if tip.certificate is not None:
            self.machine.recent[tip.header.fields.height] = tip.certificate
        _begin(self.machine, now)
        for block in saved:
            if block.height == standing.height:
                rank = block.header.fields.rank
                standing.candidates[block.id] = Candidate(block, None, rank, persisted=True)

    @classmethod
    def resume(cls, machine: Machine) -> "Engine":
        """An engine that goes on from a whole machine (replay of a journal)."""
        engine = cls.__new__(cls)
        engine.machine = machine
        return engine

    def handle(self, event: Event, now: Now) -> list[Effect]:
        """Take in one event; the effects to perform, in order."""
        machine = self.machine
        machine.out = []
        if not machine.resumed:
            voting.resume(machine)
        if not machine.halted:
            _take(machine, event, now)
            advance(machine, now)
        if machine.verdicts:
            machine.out.append(Verdict(tuple(machine.verdicts)))
            machine.verdicts = []
        return machine.out

    @property
    def height(self) -> Height:
        """The height being decided."""
        return self.machine.standing.height

    def wake_ms(self, now: Now) -> int | None:
        """The next monotonic time at which a rule may move by itself."""
        return deadlines.next_wake_ms(self.machine, now)


# ---- entering a height --------------------------------------------------------------------------


def _standing(spec: ChainSpec, tip: Tip, now: Now) -> Standing:
    height = Height(tip.header.fields.height + 1)
    table = tip.view.table
    occupied = table.occupied
    thresholds = spec.parameters.thresholds(len(occupied))
    return Standing(
        height=height,
        epoch=spec.parameters.epoch(height),
        votes=Votes(table.weights, len(occupied)),
        owners=table.owners,
        occupied=occupied,
        k=thresholds.k,
        alpha_preference=thresholds.alpha_preference,
        alpha_confidence=thresholds.alpha_confidence,
        entered_ms=now.monotonic_ms,
        resent_ms=now.monotonic_ms,
    )


def _begin(machine: Machine, now: Now) -> None:
    """Ranks of round 0, or of the round that the sign record stands in."""
    standing = machine.standing
    standing.ranks = proposing.ranking(machine, 0)
    if standing.epoch != machine.links_epoch:
        machine.links, machine.links_epoch, machine.reveal_asked = {}, standing.epoch, -1
    if machine.record.height == standing.height and machine.record.round > 0:
        voting.enter_round(machine, machine.record.round, now)


def _enter_height(machine: Machine, tip: Tip, now: Now) -> None:
    """The tip moved by one: a new standing, fed with what came early."""
    machine.tip = tip
    machine.parent_accepts = {}
    if tip.certificate is not None:
        for vote in machine.standing.votes.supporters(
            tip.certificate.round, ACCEPT_KIND, tip.header.id
        ):
            machine.parent_accepts[vote.peer] = vote
        machine.recent[tip.header.fields.height] = tip.certificate
        machine.recent.pop(tip.header.fields.height - RECENT_HEIGHTS, None)
    machine.standing = _standing(machine.spec, tip, now)
    machine.fetches, machine.body_asks = {}, {}
    _begin(machine, now)
    votes, machine.ahead_votes = machine.ahead_votes, {}
    for vote in votes.values():
        if vote.height == machine.standing.height:
            _take_vote(machine, 0, vote, now)
    proposals, machine.ahead_proposals = machine.ahead_proposals, {}
    for proposal in proposals.values():
        if proposal.block.height == machine.standing.height:
            proposing.take_proposal(machine, proposal, None, now)


# ---- taking events in ---------------------------------------------------------------------------


def _take(machine: Machine, event: Event, now: Now) -> None:
    match event:
        case AnswerReceived():
            polling.take_answer(machine, event, now)
        case PollReceived():
            polling.take_poll(machine, event, now)
        case VotesReceived():
            for token, vote in event.votes:
                _take_vote(machine, token, vote, now)
        case ProposalReceived():
            _take_proposal(machine, event, now)
        case BlockExecuted():
            _take_executed(machine, event)
        case Signed():
            if event.kind == PROPOSAL_KIND:
                proposing.take_signed_proposal(machine, event.unsigned, event.signature)
            else:
                voting.take_signed(machine, event, now)
        case BlockBuilt():
            proposing.take_built(machine, event)
        case Revealed():
            if event.epoch == machine.links_epoch:
                machine.links[event.number] = event.link
        case Committed():
            _take_committed(machine, event, now)
        case CertificateReceived():
            _take_certificate(machine, event.certificate)
        case FactsReceived():
            for _, fact in event.facts:
                if isinstance(fact, Aggregate):
                    _take_aggregate(machine, fact, now)
        case Fetched():
            _take_fetched(machine, event, now)
        case AskFailed() | Missing():
            _take_failed(machine, event.ask, event.peer)
        case ExecutionFaulted():
            candidate = machine.standing.candidates.get(event.block)
            if candidate is not None and candidate.status == EXECUTING:
                candidate.status = HELD  # the host failed, not the block: try again
        case MessagesReceived() | TipReceived() | LinkUp() | LinkDown() | Persisted() | Woke():
            pass
        case _:
            assert_never(event)


def _take_failed(machine: Machine, ask: int, peer: Peer) -> None:
    machine.fetches.pop(ask, None)
    machine.body_asks.pop(ask, None)
    polling.take_silence(machine, AskFailed(ask, peer))


def _verdict(machine: Machine, token: int, verdict: str, key: bytes, cause: str = "") -> None:
    if token:
        machine.verdicts.append((token, verdict, key, cause))


def _take_vote(machine: Machine, token: int, vote: Vote, now: Now) -> None:
    """Count, keep for the next height, answer the past; blame only what is wrong in itself."""
    standing, key = machine.standing, voting.vote_key(vote)
    if vote.chain != machine.spec.id or vote.epoch != machine.spec.parameters.epoch(vote.height):
        return _verdict(machine, token, REJECT, key, "vote.place")
    if vote.height < standing.height:
        _take_past_vote(machine, vote, now)
        return _verdict(machine, token, IGNORE, key)
    if vote.height > standing.height:
        if vote.height == standing.height + 1:
            _keep_ahead(machine, vote)
        return _verdict(machine, token, IGNORE, key)
    result, before = standing.votes.add(vote)
    if result == CONFLICT:
        assert before is not None
        machine.conflicts.append((before, vote))
    if result == NEW:
        machine.out.append(Publish("votes", vote.height, (vote.raw,)))
        candidate = standing.candidates.get(vote.block) if vote.block is not None else None
        if candidate is not None:
            candidate.named = True
    _verdict(machine, token, ACCEPT if result in (NEW, CONFLICT) else IGNORE, key)
    return None


def _keep_ahead(machine: Machine, vote: Vote) -> None:
    """For height + 1: one per signer and phase, the highest; of owners, where they are known."""
    ahead, place = machine.ahead_votes, (vote.peer, vote.phase)
    same_table = vote.epoch == machine.standing.epoch
    if same_table and vote.peer not in machine.standing.votes.weights:
        return
    held = ahead.get(place)
    fits = len(ahead) < AHEAD_VOTES_MAX if held is None else vote.round > held.round
    if fits:
        ahead[place] = vote


def _take_past_vote(machine: Machine, vote: Vote, now: Now) -> None:
    """An accept that came late is a proof of life; anything else gets the certificate."""
    certificate = machine.recent.get(vote.height)
    if certificate is None:
        return
    if vote.phase == ACCEPT_KIND and vote.block == certificate.block:
        if vote.height == machine.tip.header.fields.height:
            if vote.peer in machine.tip.view.table.weights and vote.round == certificate.round:
                machine.parent_accepts[vote.peer] = vote
        elif all(vote.peer != peer for peer, _ in certificate.signatures):
            machine.late.append(LateAccept.of(vote))
        return
    if vote.height < machine.tip.header.fields.height or vote.block != certificate.block:
        polling.push_certificate(machine, vote.peer, vote.height, now)
        return
    # A vote for the tip just crossed its certificate; one that comes later is a straggler's.
    patience = machine.spec.parameters.vote_timeout_ms(0) // 2
    if now.monotonic_ms > machine.standing.entered_ms + patience:
        polling.push_certificate(machine, vote.peer, vote.height, now)


def _take_proposal(machine: Machine, event: ProposalReceived, now: Now) -> None:
    proposal, standing = event.proposal, machine.standing
    fields, key = proposal.block.header.fields, proposing.proposal_key(event.proposal)
    if fields.chain != machine.spec.id:
        return _verdict(machine, event.token, REJECT, key, "proposal.chain")
    if fields.height == standing.height:
        verdict = proposing.take_proposal(machine, proposal, event.source, now)
        return _verdict(machine, event.token, verdict, key, "proposal")
    if fields.height == standing.height + 1:
        ahead = machine.ahead_proposals  # one per signer (protocol §7)
        if proposal.peer in machine.tip.view.table.weights and len(ahead) < AHEAD_PROPOSALS_MAX:
            ahead[proposal.peer] = proposal
    return _verdict(machine, event.token, IGNORE, key)


def _take_executed(machine: Machine, event: BlockExecuted) -> None:
    standing = machine.standing
    candidate = standing.candidates.get(event.block)
    if candidate is None or candidate.status != EXECUTING:
        return
    if event.view is None:
        candidate.status = INVALID
        if candidate.proposal is not None:
            machine.out.append(Blame(candidate.proposal.peer, INVALID_BLOCK_POINTS, event.rule))
        return
    candidate.status, candidate.view, candidate.due_ms = VALID, event.view, event.due_ms


def _take_certificate(machine: Machine, certificate: Certificate) -> None:
    """A certificate for this height, judged by the table of this height."""
    standing = machine.standing
    if certificate.height != standing.height or certificate.chain != machine.spec.id:
        return
    if certificate.epoch != standing.epoch or standing.certificate is not None:
        return
    try:
        check_weight(certificate, standing.votes.weights)
    except ConsensusError:
        return
    standing.certificate = certificate


def _take_aggregate(machine: Machine, aggregate: Aggregate, now: Now) -> None:
    """The proof of somebody's valid value: a quorum of confirms as one fact."""
    standing = machine.standing
    if aggregate.height != standing.height or aggregate.epoch != standing.epoch:
        return
    if aggregate.chain != machine.spec.id:
        return
    for vote in aggregate.votes():
        _take_vote(machine, 0, vote, now)
    # Its votes may be of a round that is not counted any more: it is a proof by itself.
    try:
        check_weight(aggregate, standing.votes.weights)
    except ConsensusError:
        return
    if standing.shown is None or aggregate.round > standing.shown.round:
        standing.shown = aggregate


def _take_fetched(machine: Machine, event: Fetched, now: Now) -> None:
    """An unknown block or missing bodies have come; the pool already holds the bodies."""
    machine.body_asks.pop(event.ask, None)
    block = event.block
    if block is not None and block.height == machine.standing.height:
        if event.proposal is not None:
            proposing.take_proposal(machine, event.proposal, event.peer, now)
        if event.certificate is not None:
            _take_certified(machine, event)
        proposing.take_confirmed(machine, block, event.peer)
    machine.fetches.pop(event.ask, None)


def _take_certified(machine: Machine, event: Fetched) -> None:
    """A block with its certificate: a candidate by the certificate's authority."""
    block, certificate = event.block, event.certificate
    assert block is not None and certificate is not None
    if certificate.block != block.id:
        return
    if not proposing.is_whole(block):
        machine.out.append(Blame(event.peer, FORGED_BODY_POINTS, "not the body of its header"))
        return
    _take_certificate(machine, certificate)
    known = machine.standing.certificate
    if known is None or known.block != block.id or block.id in machine.standing.candidates:
        return
    try:
        proposing.check_block(machine, block)
    except ConsensusError as error:
        _halt(machine, certificate, str(error))
        return
    rank = block.header.fields.rank
    candidate = Candidate(block, None, rank, named=True, source=event.peer)
    machine.standing.candidates[block.id] = candidate


def _take_committed(machine: Machine, event: Committed, now: Now) -> None:
    standing = machine.standing
    if event.height != standing.height or standing.certificate is None:
        return
    candidate = standing.candidates[standing.certificate.block]
    assert candidate.view is not None, "only executed blocks are committed"
    tip = Tip(candidate.block.header, standing.certificate, candidate.view, candidate.due_ms)
    _enter_height(machine, tip, now)


# ---- applying the rules -------------------------------------------------------------------------


def advance(machine: Machine, now: Now) -> None:
    """Apply the rules until nothing moves, or the height is being committed."""
    for _ in range(STEPS_MAX):
        if machine.halted or machine.standing.committing:
            return
        if _advance_certificate(machine, now):
            return
        proposing.advance_candidates(machine, now)
        if machine.standing.certificate is not None:
            return  # certified: nothing is voted on any more, only executed and committed
        valid = machine.record.valid
        proposing.advance_clock(machine, now)
        proposing.advance_proposal(machine, now)
        polling.advance_settling(machine, now)
        polling.advance_lost_asks(machine, now)
        voting.advance_confirm(machine)
        voting.advance_valid(machine, now)
        voting.advance_accept_nil(machine, now)
        voting.advance_resend(machine, now)
        moved = voting.advance_round(machine, now) or machine.record.valid is not valid
        if not moved and machine.standing.votes.accepted() is None:
            return
    raise AssertionError("the rules do not come to rest")


def _advance_certificate(machine: Machine, now: Now) -> bool:
    """A quorum of accepts of one round, whichever: accepted. Whether the commit was ordered."""
    standing = machine.standing
    if standing.certificate is None:
        found = standing.votes.accepted()
        if found is None:
            return False
        round_, block = found
        supporters = standing.votes.supporters(round_, ACCEPT_KIND, block)
        standing.certificate = Certificate.of(supporters)
    certificate = standing.certificate
    candidate = standing.candidates.get(certificate.block)
    if candidate is None:
        for peer, _ in certificate.signatures:
            proposing.fetch_block(machine, certificate.block, peer, now)
        return False
    if candidate.status == INVALID:
        _halt(machine, certificate, "a certified block fails our own execution")
        return True
    if candidate.status != VALID:
        candidate.named = True
        return False
    voting.accept_certified(machine, candidate, certificate)
    messages, missing = machine.pool.lookup(candidate.block.body.messages)
    assert not missing, "an executed block has its bodies"
    standing.committing = True
    machine.out.append(Commit(candidate.block, certificate, messages))
    return True


def _halt(machine: Machine, certificate: Certificate, cause: str) -> None:
    """Stop this chain, keep everything, raise the alarm; never apply it, never delete it."""
    machine.halted = True
    machine.out.append(Halt(certificate.height, certificate.block, cause))
