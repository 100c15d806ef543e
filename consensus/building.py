"""This peer's own proposal: when, of what, and how it is shown (protocol §5, execution §5)."""

from collections.abc import Sequence

from consensus.block import Block, Proposal, propose_bytes, proposed_block
from consensus.certificates import OWNERS_MAX, Certificate
from consensus.effects import PROPOSALS, Build, Gossip, Persist, Reveal, Sign
from consensus.events import BlockBuilt, BuildFaulted
from consensus.ids import Epoch, Id, Now, Round, Slot
from consensus.messages import Message
from consensus.proposing import proposal_key
from consensus.signatures import PROPOSAL
from consensus.signing import PROPOSE
from consensus.standing import (
    CULPRITS_MAX,
    VALID,
    Candidate,
    Machine,
    is_due_since,
)
from consensus.validity import SKIP_ROUND_MIN


def advance_proposal(machine: Machine, now: Now) -> None:
    """Ask for the link, then build, when it is this peer's turn (protocol §5)."""
    standing = machine.standing
    turn = own_turn_ms(machine)
    if turn is None or now.monotonic_ms < turn or standing.building:
        return
    if standing.built_empty and not is_due_since(machine, standing.built_clock_ms, now):
        return
    fields = machine.tip.header.fields
    ranked = machine.peer in machine.tip.view.chains
    number = standing.height - machine.spec.parameters.first_height(Epoch(standing.epoch)) + 1
    if ranked and machine.links.get(number) is None:
        if machine.reveal_asked != number:
            machine.reveal_asked = number
            machine.out.append(Reveal(Epoch(standing.epoch), number))
        return
    rank, slot = own_rank(machine)
    standing.building, standing.built_clock_ms = True, now.clock_ms
    messages = offered(machine)
    standing.offered = tuple([message.id for message in messages])
    machine.out.append(
        Build(
            parent=machine.tip.header.id,
            parent_certificate=parent_certificate(machine),
            height=standing.height,
            round=Round(standing.round),
            epoch=Epoch(standing.epoch),
            proposer_slot=slot,
            rank=rank,
            time_ms=max(now.clock_ms, fields.time_ms + 1),
            reveal=machine.links[number] if ranked else None,
            facts=machine.pool.facts(standing.height),
            messages=messages,
            skip=tuple(machine.culprits),
        )
    )


def offered(machine: Machine) -> tuple[Message, ...]:
    """What the pool gives a build, without what faulted on this host (execution §5).

    From round 4 on it is given too: the block lists it as skipped, at its sender's expense, and no
    later height meets it again.
    """
    chosen = machine.pool.choose(machine.standing.height)
    if machine.standing.round >= SKIP_ROUND_MIN:
        return chosen
    return tuple([message for message in chosen if Id(message.id) not in machine.culprits])


def take_culprits(machine: Machine, inputs: Sequence[Id]) -> None:
    """Inputs that faulted on this host: our next blocks leave them out."""
    for culprit in inputs:
        machine.culprits[culprit] = None
    while len(machine.culprits) > CULPRITS_MAX:
        del machine.culprits[next(iter(machine.culprits))]


def forget_culprits(machine: Machine, block: Block) -> None:
    """What ran here is none: else whoever has memory run out once makes its sender pay later."""
    if machine.culprits:
        skipped = dict.fromkeys(block.header.fields.skipped)
        for each in block.body.inputs:
            if each not in skipped:
                machine.culprits.pop(each, None)


def take_build_fault(machine: Machine, event: BuildFaulted) -> None:
    """The host failed on it: build again, without what it failed on."""
    take_culprits(machine, event.inputs)
    standing = machine.standing
    if (event.height, event.round) == (standing.height, standing.round):
        standing.building = False


def own_rank(machine: Machine) -> tuple[int, Slot]:
    for rank, (peer, slot) in enumerate(machine.standing.ranks):
        if peer == machine.peer:
            return rank, slot
    return -1, Slot(-1)


def own_turn_ms(machine: Machine) -> int | None:
    """Monotonic time from which this peer may make a fresh proposal in this round, if at all."""
    standing = machine.standing
    rank, _ = own_rank(machine)
    place = (standing.height, standing.round, PROPOSE)
    if rank < 0 or standing.clock_ms is None or standing.polling or standing.settled:
        return None
    if machine.record.valid_at(standing.height) is not None or not machine.record.allows(*place):
        return None
    return standing.clock_ms + rank * machine.spec.parameters.window_ms(standing.round)


def parent_certificate(machine: Machine) -> bytes:
    """The tip's certificate, with the accepts of its round that came after it was made."""
    certificate = machine.tip.certificate
    if certificate is None:
        return b""
    signers = [peer for peer, _ in certificate.signatures]
    later = [
        vote
        for vote in machine.parent_accepts.values()
        if vote.round == certificate.round and vote.peer not in signers
    ]
    if not later:
        return certificate.raw
    return Certificate.of([*certificate.votes(), *later][:OWNERS_MAX]).raw


def take_built(machine: Machine, event: BlockBuilt) -> None:
    """Our block is executed: make it and its record durable, then sign it."""
    standing = machine.standing
    if (event.height, event.round) != (standing.height, standing.round):
        return
    standing.building = False
    if event.block is None:
        # What came while we built is due still (the refused have left the pool by now), and so is
        # what a valid proposal includes, whatever our own pool may give.
        before = dict.fromkeys(standing.offered)
        standing.built_empty = all(message.id in before for message in offered(machine))
        machine.pool_due = not standing.built_empty or any(
            other.status == VALID and other.block.body.messages
            for other in standing.candidates.values()
        )
        return
    if own_turn_ms(machine) is None:
        return
    header = event.block.header
    rank, _ = own_rank(machine)
    candidate = Candidate(event.block, None, rank, VALID, event.view, event.due_ms)
    candidate.persisted = True
    standing.candidates[header.id] = candidate
    unsigned = propose_bytes(
        chain=machine.spec.id,
        epoch=standing.epoch,
        height=standing.height,
        round_=standing.round,
        slot=header.fields.proposer_slot,
        block=header.id,
    )
    record = machine.record.with_own(standing.height, standing.round, PROPOSE, unsigned)
    machine.record = record
    messages, missing = machine.pool.lookup(event.block.body.messages)
    assert not missing, "a block is built from bodies of the pool"
    machine.out.append(Persist(event.block, messages))
    place = (standing.height, Round(standing.round), PROPOSE)
    machine.out.append(Sign(PROPOSAL, *place, unsigned, record.raw))


def take_signed_proposal(machine: Machine, unsigned: bytes, signature: bytes) -> None:
    """Our signature is durable: show the proposal."""
    candidate = machine.standing.candidates.get(proposed_block(unsigned))
    if candidate is None:
        return
    proposal = Proposal.of(candidate.block, machine.peer, signature)
    candidate.proposal = proposal
    machine.out.append(Gossip(PROPOSALS, ((proposal_key(proposal), proposal.raw),)))
