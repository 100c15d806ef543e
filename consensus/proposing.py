"""Candidates, the round clock, this peer's own proposal (protocol §5, §6 first point, §8 time)."""

from consensus import proposers, transition
from consensus.block import Block, Proposal, propose_bytes, proposed_block
from consensus.effects import (
    ACCEPT,
    BODIES,
    IGNORE,
    PROPOSALS,
    REJECT,
    Ask,
    Build,
    Execute,
    Gossip,
    Persist,
    Reveal,
    Sign,
)
from consensus.effects import BLOCK as BLOCK_QUERY
from consensus.encoding import encode
from consensus.errors import ConsensusError, InvalidBlock
from consensus.events import BlockBuilt
from consensus.facts import DoubleProposal
from consensus.ids import BlockId, Epoch, Now, Peer, Round, Slot
from consensus.signatures import PROPOSAL
from consensus.signing import PROPOSE
from consensus.standing import (
    EARLY_MAX_MS,
    EXECUTED_PER_ROUND_MAX,
    EXECUTING,
    FETCHES_MAX,
    HELD,
    PROPOSALS_HELD_MAX,
    VALID,
    Candidate,
    Machine,
    is_due,
)

ROUNDS_AHEAD_MAX = 8  # proposals further ahead are ignored; they come again when we are there


# ---- taking proposals in ------------------------------------------------------------------------


def take_proposal(machine: Machine, proposal: Proposal, source: Peer | None, now: Now) -> str:
    """A proposal for the height being decided: accept | ignore | reject (blame) for its gossip."""
    standing, fields = machine.standing, proposal.block.header.fields
    if proposal.id in standing.candidates:
        known = standing.candidates[proposal.id]
        known.proposal = known.proposal or proposal
        return IGNORE
    if fields.time_ms > now.clock_ms + EARLY_MAX_MS:
        return IGNORE
    if not standing.round - 1 <= fields.round <= standing.round + ROUNDS_AHEAD_MAX:
        return IGNORE
    rank = rank_of(machine, proposal)
    if rank is None:
        return REJECT
    twins = [
        other
        for other in standing.candidates.values()
        if (other.round, other.slot) == (fields.round, fields.proposer_slot)
    ]
    if len(twins) > 1 or len(standing.candidates) >= PROPOSALS_HELD_MAX:
        return IGNORE
    candidate = Candidate(proposal.block, proposal, rank, source=source)
    standing.candidates[proposal.id] = candidate
    for twin in twins:
        if twin.proposal is not None:
            machine.doubles.append(DoubleProposal.of(twin.proposal, proposal))
    if twins and not standing.polling:  # protocol §5 ‡: passed over as starting preference only
        candidate.doubled = twins[0].doubled = True
    return ACCEPT


def rank_of(machine: Machine, proposal: Proposal) -> int | None:
    """The proposer's rank if the header is well made for this height, else null."""
    fields = proposal.block.header.fields
    ranks = ranking(machine, fields.round)
    if not 0 <= fields.rank < len(ranks):
        return None
    if ranks[fields.rank] != (proposal.peer, fields.proposer_slot):
        return None
    try:
        check_block(machine, proposal.block)
    except ConsensusError:
        return None
    return fields.rank


def check_block(machine: Machine, block: Block) -> None:
    """Everything about a block of this height that needs no execution. Raises ConsensusError."""
    tip = machine.tip
    transition.check_header(machine.spec, tip.header, tip.view, block)
    if block.header.fields.main_ref is not None:
        raise InvalidBlock("main_ref", "this chain has no main chain")


def ranking(machine: Machine, round_: int) -> tuple[tuple[Peer, Slot], ...]:
    """Owners in the order in which they may propose in a round of this height."""
    view, standing = machine.tip.view, machine.standing
    return proposers.ranking(
        view.table,
        view.chains,
        randomness=machine.tip.header.fields.randomness,
        height=standing.height,
        round=round_,
    )


# ---- candidates ---------------------------------------------------------------------------------


def is_open(machine: Machine, candidate: Candidate, now: Now) -> bool:
    """Rank i is a candidate from i·window on, with no end, and not before its own time ‡."""
    standing = machine.standing
    if candidate.round != standing.round or now.clock_ms < candidate.time_ms:
        return False
    window = machine.spec.parameters.window_ms(standing.round)
    if candidate.rank == 0:
        return True
    return (
        standing.clock_ms is not None
        and now.monotonic_ms >= standing.clock_ms + candidate.rank * window
    )


def is_candidate(machine: Machine, block: BlockId, now: Now) -> bool:
    """Whether a value may be counted, preferred and answered with in this round (protocol §6)."""
    valid = machine.record.valid_at(machine.standing.height)
    candidate = machine.standing.candidates.get(block)
    if candidate is None or candidate.status != VALID:
        return False
    if valid is not None and valid.block == block:
        return True
    return candidate.proposal is not None and is_open(machine, candidate, now)


def starting_preference(machine: Machine, now: Now) -> Candidate | None:
    """This round's candidate with the least (number of skipped ids, rank)."""
    found = [
        candidate
        for block, candidate in machine.standing.candidates.items()
        if not candidate.doubled
        and candidate.round == machine.standing.round
        and is_candidate(machine, block, now)
    ]
    return min(found, key=lambda candidate: candidate.order, default=None)


def advance_candidates(machine: Machine, now: Now) -> None:
    """Order executions: best first, at most 3 a round, and what more than a third confirm."""
    standing = machine.standing
    begun = [c for c in standing.candidates.values() if c.status != HELD]
    spent = sum(1 for c in begun if c.round == standing.round)
    waiting = sorted(
        (c for c in standing.candidates.values() if c.status == HELD),
        key=lambda c: (c.round, *c.order),
    )
    for candidate in waiting:
        urgent = is_urgent(machine, candidate)
        twin = any((c.round, c.slot) == (candidate.round, candidate.slot) for c in begun)
        fits = candidate.round == standing.round and spent < EXECUTED_PER_ROUND_MAX
        if not urgent and (not fits or (twin and not candidate.named)):
            continue
        if execute(machine, candidate, now):
            begun.append(candidate)
            spent += candidate.round == standing.round


def is_urgent(machine: Machine, candidate: Candidate) -> bool:
    """Certified, our valid value, or confirmed by more than a third of the slots."""
    standing, block = machine.standing, candidate.block.id
    valid = machine.record.valid_at(standing.height)
    if valid is not None and valid.block == block:
        return True
    if standing.certificate is not None and standing.certificate.block == block:
        return True
    return 3 * standing.votes.confirm_weight(block) > standing.votes.occupied


def execute(machine: Machine, candidate: Candidate, now: Now) -> bool:
    """Order its execution if all its bodies are here, else ask for them; whether it began."""
    messages, missing = machine.pool.lookup(candidate.block.body.messages)
    if missing:
        ask_bodies(machine, candidate, now)
        return False
    candidate.status = EXECUTING
    machine.out.append(Execute(candidate.block, messages))
    return True


def ask_bodies(machine: Machine, candidate: Candidate, now: Now) -> None:
    """Ask whoever brought the block, then its proposer, then any owner, for missing bodies."""
    timeout = 2 * machine.spec.parameters.poll_timeout_ms
    asked = candidate.bodies_asked_ms
    if asked >= 0 and now.monotonic_ms < asked + timeout:
        return
    proposal = candidate.proposal
    sources = [candidate.source, None if proposal is None else proposal.peer]
    sources += list(machine.standing.votes.weights)
    others = [peer for peer in sources if peer is not None and peer != machine.peer]
    if not others or len(machine.body_asks) >= FETCHES_MAX:
        return
    peer = others[0] if asked < 0 else others[machine.dice.uint(len(others))]
    candidate.bodies_asked_ms = now.monotonic_ms
    _, missing = machine.pool.lookup(candidate.block.body.messages)
    ask = machine.next_ask()
    machine.body_asks[ask] = (peer, candidate.block.id)
    data = encode(["bodies", 1, list(missing)])
    machine.out.append(Ask(ask, peer, BODIES, data, now.monotonic_ms + timeout))


def fetch_block(machine: Machine, block: BlockId, peer: Peer, now: Now) -> None:
    """Fetch an unknown block that a peer named; one fetch open per peer (protocol §6)."""
    if block in machine.standing.candidates or len(machine.fetches) >= FETCHES_MAX:
        return
    pause = machine.spec.parameters.poll_timeout_ms
    if now.monotonic_ms < machine.fetched_ms.get(peer, -pause) + pause:
        return  # a peer that fails at once is not asked in a loop
    if any(other == peer or wanted == block for other, wanted in machine.fetches.values()):
        return
    if peer == machine.peer:
        return
    ask = machine.next_ask()
    machine.fetches[ask] = (peer, block)
    machine.fetched_ms[peer] = now.monotonic_ms
    deadline = now.monotonic_ms + 4 * machine.spec.parameters.poll_timeout_ms
    data = encode(["block", 1, machine.standing.height, block])
    machine.out.append(Ask(ask, peer, BLOCK_QUERY, data, deadline))


# ---- the round clock ----------------------------------------------------------------------------


def advance_clock(machine: Machine, now: Now) -> None:
    """Start, or stop and reset, the clock of round 0; later rounds start on entering ‡."""
    standing = machine.standing
    if standing.round >= 1:
        return
    holding = any(
        candidate.status == VALID and candidate.round == 0 and is_open(machine, candidate, now)
        for candidate in standing.candidates.values()
    )
    if holding or is_due(machine, now):
        if standing.clock_ms is None:
            standing.clock_ms = now.monotonic_ms
    else:
        standing.clock_ms = None


# ---- this peer's own proposal -------------------------------------------------------------------


def advance_proposal(machine: Machine, now: Now) -> None:
    """Ask for the link, then build, when it is this peer's turn (protocol §5)."""
    standing = machine.standing
    turn = own_turn_ms(machine)
    if turn is None or now.monotonic_ms < turn or standing.building or standing.built_empty:
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
    standing.building = True
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
            messages=machine.pool.choose(standing.height),
            skip=(),
        )
    )


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
    """The tip's certificate, with the accepts that came after it was made."""
    certificate = machine.tip.certificate
    if certificate is None:
        return b""
    votes = machine.parent_accepts
    if len(votes) > len(certificate.signatures):
        mine = [v for v in votes.values() if v.round == certificate.round]
        if len(mine) > len(certificate.signatures):
            return type(certificate).of(mine).raw
    return certificate.raw


def take_built(machine: Machine, event: BlockBuilt, now: Now) -> None:
    """Our block is executed: make it and its record durable, then sign it."""
    standing = machine.standing
    if (event.height, event.round) != (standing.height, standing.round):
        return
    standing.building = False
    if event.block is None:
        standing.built_empty = True
        machine.pool_due = False
        return
    if own_turn_ms(machine) is None:
        return
    header = event.block.header
    rank, _ = own_rank(machine)
    candidate = Candidate(event.block, None, rank, VALID, event.view, event.due_ms)
    candidate.persisted = True
    standing.candidates[header.id] = candidate
    if standing.executed_ms is None:
        standing.executed_ms = now.monotonic_ms
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


def proposal_key(proposal: Proposal) -> bytes:
    """The logical key of gossip: the content id."""
    return proposal.id
