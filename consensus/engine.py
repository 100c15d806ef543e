"""The one handle of a chain: events in, effects out; nothing else changes its state (§5-§7).

Each event is taken in, then the rules are applied until nothing moves: they look at the state, not
at the event, so a lost or doubled event costs time, never a rule. Knows no I/O, no pool policy, no
catch-up: `node.core` wraps it.
"""

from collections.abc import Sequence
from typing import assert_never

from consensus import building, deadlines, deciding, polling, proposing, voting
from consensus.block import Block
from consensus.certificates import Aggregate, Vote, check_weight
from consensus.dice import Dice
from consensus.effects import (
    ACCEPT,
    IGNORE,
    REJECT,
    Blame,
    Effect,
    Publish,
    Verdict,
)
from consensus.errors import ConsensusError
from consensus.events import (
    AnswerReceived,
    AskFailed,
    BlockBuilt,
    BlockExecuted,
    BuildFaulted,
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
from consensus.ids import Checkpoint, Height, Now, Peer
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
    VALID,
    Candidate,
    Machine,
    Pool,
    Standing,
    Tip,
)
from consensus.votes import CONFLICT, NEW, Votes

INVALID_BLOCK_POINTS = 50  # a signed proposal that its own execution refutes
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
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Stand on `tip`.

        `record`: what this peer signed before (null: nothing ever). `saved`: the candidates of the
        height after the tip that are durable here. `checkpoint`: the only block that may be decided
        at its height.
        """
        signed = record or SignRecord.fresh(spec.id, peer)
        standing = _standing(spec, tip, now)
        self.machine = Machine(spec, peer, dice, tip, signed, pool, standing)
        self.machine.checkpoint = checkpoint
        self.still = False  # whether the last event could move no rule
        deciding.remember(self.machine, tip)
        _begin(self.machine, now)
        for block in saved:
            if block.height == standing.height:
                rank = block.header.fields.rank
                standing.candidates[block.id] = Candidate(block, None, rank, persisted=True)

    @classmethod
    def resume(cls, machine: Machine) -> "Engine":
        """An engine that goes on from a whole machine (replay of a journal)."""
        engine = cls.__new__(cls)
        engine.machine, engine.still = machine, False
        return engine

    def handle(self, event: Event, now: Now) -> list[Effect]:
        """Take in one event; the effects to perform, in order."""
        machine = self.machine
        machine.out = []
        if not machine.resumed:
            voting.resume(machine)
        self.still = False
        if not machine.halted:
            self.still = not _take(machine, event, now)
            if not self.still:
                advance(machine, now)
        if machine.verdicts:
            machine.out.append(Verdict(tuple(machine.verdicts)))
            machine.verdicts = []
        return machine.out

    @property
    def height(self) -> Height:
        """The height being decided."""
        return self.machine.standing.height

    @property
    def holds_decided(self) -> bool:
        """Whether the block of this height that others decided on, as far as is known, is here."""
        standing = self.machine.standing
        if standing.certificate is not None:
            return standing.certificate.block in standing.candidates
        return any(candidate.told for candidate in standing.candidates.values())

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
    deciding.remember(machine, tip)
    machine.standing = _standing(machine.spec, tip, now)
    machine.fetches, machine.body_asks = {}, {}
    _begin(machine, now)
    voting.resume(machine)  # words of this height, where the chain was fetched anew
    votes, machine.ahead_votes = machine.ahead_votes, {}
    for vote in votes.values():
        if vote.height == machine.standing.height:
            _take_vote(machine, 0, vote, now)
    proposals, machine.ahead_proposals = machine.ahead_proposals, {}
    for proposal in proposals.values():
        if proposal.block.height == machine.standing.height:
            proposing.take_proposal(machine, proposal, None, now)


# ---- taking events in ---------------------------------------------------------------------------


def _take(machine: Machine, event: Event, now: Now) -> bool:
    """Whether a rule may move by it. Being asked moves none, nor does one answer of many: there are
    more of these two than of all other events."""
    match event:
        case AnswerReceived():
            return polling.take_answer(machine, event, now)
        case PollReceived():
            polling.take_poll(machine, event, now)
            return False
        case VotesReceived():
            for token, vote in event.votes:
                _take_vote(machine, token, vote, now)
        case ProposalReceived():
            _take_proposal(machine, event, now)
        case BlockExecuted():
            _take_executed(machine, event)
        case Signed():
            if event.kind == PROPOSAL_KIND:
                building.take_signed_proposal(machine, event.unsigned, event.signature)
            else:
                voting.take_signed(machine, event, now)
        case BlockBuilt():
            building.take_built(machine, event)
        case Revealed():
            if event.epoch == machine.links_epoch:
                machine.links[event.number] = event.link
        case Committed():
            _take_committed(machine, event, now)
        case CertificateReceived():
            deciding.take_certificate(machine, event.certificate)
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
            building.take_culprits(machine, event.inputs)
            if candidate is not None and candidate.status == EXECUTING:
                candidate.status = HELD  # the host failed, not the block: try again
                candidate.faults += 1
        case BuildFaulted():
            building.take_build_fault(machine, event)
        case MessagesReceived() | TipReceived() | LinkUp() | LinkDown() | Persisted() | Woke():
            pass
        case _:
            assert_never(event)
    return True


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
    if not machine.spec.kind.votes:
        return _verdict(machine, token, REJECT, key, "vote.kind")
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
    if standing.certificate is not None and not standing.committing:
        # Known here, and this host cannot execute it yet: who votes still may have no other source.
        polling.push_certificate(machine, vote.peer, vote.height, now)
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
            table = machine.tip.view.table_of(vote.epoch)  # at a boundary, the table before
            if table is not None and vote.peer in table.weights:
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
    building.forget_culprits(machine, candidate.block)


def _take_aggregate(machine: Machine, aggregate: Aggregate, now: Now) -> None:
    """The proof of somebody's valid value: a quorum of confirms as one fact."""
    standing = machine.standing
    if not machine.spec.kind.votes:
        return
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
            deciding.take_certified(machine, event)
        proposing.take_confirmed(machine, block, event.peer)
        if event.proposal is None and not machine.spec.kind.votes:
            polling.take_told(machine, block, event.peer)
    machine.fetches.pop(event.ask, None)


def _take_committed(machine: Machine, event: Committed, now: Now) -> None:
    standing = machine.standing
    if event.height != standing.height or not standing.committing:
        return
    certificate = standing.certificate
    decided = standing.value if certificate is None else certificate.block
    assert decided is not None, "nil is never committed"
    candidate = standing.candidates[decided]
    assert candidate.view is not None, "only executed blocks are committed"
    tip = Tip(candidate.block.header, standing.certificate, candidate.view, candidate.due_ms)
    _enter_height(machine, tip, now)


# ---- applying the rules -------------------------------------------------------------------------


def advance(machine: Machine, now: Now) -> None:
    """Apply the rules until nothing moves, or the height is being committed."""
    votes = machine.spec.kind.votes
    for _ in range(STEPS_MAX):
        if machine.halted or machine.standing.committing:
            return
        if (
            deciding.advance_certificate(machine, now)
            if votes
            else deciding.advance_settled(machine)
        ):
            return
        proposing.advance_candidates(machine, now)
        if machine.standing.certificate is not None:
            return  # certified: nothing is voted on any more, only executed and committed
        proposing.advance_clock(machine, now)
        building.advance_proposal(machine, now)
        polling.advance_settling(machine, now)
        polling.advance_lost_asks(machine, now)
        if not (_advance_votes(machine, now) if votes else machine.standing.settled):
            return
    raise AssertionError("the rules do not come to rest")


def _advance_votes(machine: Machine, now: Now) -> bool:
    """Confirm, accept, go on to the next round; whether the rules have to be applied again."""
    valid = machine.record.valid
    voting.advance_confirm(machine)
    voting.advance_valid(machine, now)
    voting.advance_accept_nil(machine, now)
    voting.advance_resend(machine, now)
    moved = voting.advance_round(machine, now) or machine.record.valid is not valid
    return moved or machine.standing.votes.accepted() is not None
