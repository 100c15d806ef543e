"""Candidates and the round clock (protocol §5, §6 first point, §8 time)."""

from consensus import merkle, proposers, transition
from consensus.block import Block, Proposal
from consensus.effects import (
    ACCEPT,
    BODIES,
    IGNORE,
    REJECT,
    Ask,
    Execute,
)
from consensus.effects import BLOCK as BLOCK_QUERY
from consensus.encoding import encode
from consensus.errors import ConsensusError, InvalidBlock
from consensus.facts import DoubleProposal
from consensus.ids import BlockId, Now, Peer, Slot, content_id
from consensus.standing import (
    EARLY_MAX_MS,
    EXECUTED_PER_ROUND_MAX,
    EXECUTING,
    FETCHES_MAX,
    HELD,
    INVALID,
    PROPOSALS_HELD_MAX,
    VALID,
    Candidate,
    Machine,
    is_due,
)

OPEN_ASKS_MAX = 2  # for the bodies of one candidate
ROUNDS_AHEAD_MAX = 8  # proposals further ahead are ignored; they come again when we are there


# ---- taking proposals in ------------------------------------------------------------------------


def take_proposal(machine: Machine, proposal: Proposal, source: Peer | None, now: Now) -> str:
    """A proposal for the height being decided: accept | ignore | reject (blame) for its gossip."""
    standing, fields = machine.standing, proposal.block.header.fields
    if proposal.id in standing.candidates:
        known = standing.candidates[proposal.id]
        if known.proposal is None and rank_of(machine, proposal) is not None:
            known.proposal = proposal
        return IGNORE
    confirmed = is_confirmed(machine, proposal.id)
    if fields.time_ms > now.clock_ms + EARLY_MAX_MS and not confirmed:
        return IGNORE
    if not is_near(machine, proposal):
        return IGNORE
    rank = rank_of(machine, proposal)
    if rank is None:
        return REJECT
    twins = [
        other
        for other in standing.candidates.values()
        if (other.round, other.slot) == (fields.round, fields.proposer_slot)
    ]
    if not confirmed and (len(twins) > 1 or not make_room(machine, fields.round, rank)):
        return IGNORE
    named = is_named(machine, proposal.id)
    candidate = Candidate(proposal.block, proposal, rank, named=named, source=source)
    standing.candidates[proposal.id] = candidate
    for twin in twins:
        if twin.proposal is not None:
            machine.doubles.append(DoubleProposal.of(twin.proposal, proposal))
    begun = standing.polling and fields.round == standing.round
    if twins and not begun:  # protocol §5 ‡: passed over as starting preference only
        candidate.doubled = twins[0].doubled = True
    return ACCEPT


def is_near(machine: Machine, proposal: Proposal) -> bool:
    """Of a round that is worth keeping, or confirmed by more than a third."""
    here, round_ = machine.standing.round, proposal.block.header.fields.round
    return here - 1 <= round_ <= here + ROUNDS_AHEAD_MAX or is_confirmed(machine, proposal.id)


def make_room(machine: Machine, round_: int, rank: int) -> bool:
    """Whether one more proposal may be held; the least useful one goes if it is worse."""
    standing, held = machine.standing, machine.standing.candidates
    if len(held) < PROPOSALS_HELD_MAX:
        return True

    def use(of_round: int, of_rank: int) -> tuple[int, int]:
        """Greatest first out: rounds far from this one, then late ranks."""
        return abs(of_round - standing.round), of_rank

    loose = [
        (use(candidate.round, candidate.rank), block)
        for block, candidate in held.items()
        if candidate.status in (HELD, INVALID) and not is_urgent(machine, candidate)
    ]
    worst, block = max(loose, default=((-1, -1), None))
    if block is None or worst <= use(round_, rank):
        return False
    del held[block]
    return True


def take_confirmed(machine: Machine, block: Block, source: Peer) -> None:
    """A fetched block without its proposer's word: more than a third confirmed it, so it counts.

    Time, round and a second twin are no reason against it (protocol §7, §8).
    """
    standing = machine.standing
    if block.id in standing.candidates or not is_confirmed(machine, block.id):
        return
    try:
        check_block(machine, block)
    except ConsensusError:
        return  # asked for at another peer
    rank = block.header.fields.rank
    standing.candidates[block.id] = Candidate(block, None, rank, named=True, source=source)


def is_whole(block: Block) -> bool:
    """Whether the body is the one that the header names; if not, whoever sent it is to blame."""
    fields, body = block.header.fields, block.body
    parent = content_id(body.parent_certificate) if body.parent_certificate else None
    return (
        fields.parent_certificate == parent
        and fields.facts_root == merkle.root(body.facts)
        and fields.inputs_root == merkle.root(body.input_leaves)
    )


def is_named(machine: Machine, block: BlockId) -> bool:
    """Whether a confirm or an answer that is being followed names it."""
    fetched = any(wanted == block for _, wanted in machine.fetches.values())
    return fetched or machine.standing.votes.confirm_weight(block) > 0


def is_confirmed(machine: Machine, block: BlockId) -> bool:
    """More than a third of the slots confirmed it in one round, or a quorum was shown."""
    standing = machine.standing
    shown = standing.shown is not None and standing.shown.block == block
    return shown or 3 * standing.votes.confirm_weight(block) > standing.votes.occupied


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
    if candidate is None:
        return False
    if valid is not None and valid.block == block:
        return candidate.status == VALID or is_vouched(machine, candidate)
    if candidate.status != VALID:
        return False
    return candidate.told or is_offered(machine, candidate, now)


def is_offered(machine: Machine, candidate: Candidate, now: Now) -> bool:
    """Whether its proposer offers it now, in its own turn."""
    return candidate.proposal is not None and is_open(machine, candidate, now)


def is_vouched(machine: Machine, candidate: Candidate) -> bool:
    """Not executable on this host, but held whole, and an earlier quorum confirmed it ‡ (§7).

    That quorum contains honest executors; who goes by it has no state for the next height.
    """
    if not candidate.faults or candidate.status not in (HELD, EXECUTING):
        return False
    block, standing = candidate.block.id, machine.standing
    valid = machine.record.valid_at(standing.height)
    earlier = valid is not None and valid.block == block and valid.round < standing.round
    shown = standing.shown  # an aggregate is a proof by itself, however old its round is
    if not earlier and shown is not None:
        earlier = shown.block == block and shown.round < standing.round
    if not earlier:
        earlier = any(
            confirmed == block and round_ < standing.round
            for round_, confirmed in standing.votes.confirmed()
        )
    _, missing = machine.pool.lookup(candidate.block.body.messages)
    return earlier and not missing


def starting_preference(machine: Machine, now: Now) -> Candidate | None:
    """This round's candidate with the least (number of skipped ids, rank)."""
    found = [
        candidate
        for block, candidate in machine.standing.candidates.items()
        if not candidate.doubled
        and candidate.round == machine.standing.round
        and is_candidate(machine, block, now)
        and (not candidate.told or is_offered(machine, candidate, now))
    ]
    return min(found, key=lambda candidate: candidate.order, default=None)


def advance_candidates(machine: Machine, now: Now) -> None:
    """Order executions: best first, at most 3 a round, and what more than a third confirm.

    Invalid ones are not counted, and those whose turn has not come are counted apart: else three
    early or invalid proposals would keep the honest one from being executed.
    """
    standing = machine.standing
    begun = [c for c in standing.candidates.values() if c.status != HELD]
    waiting = sorted(
        (c for c in standing.candidates.values() if c.status == HELD),
        key=lambda c: (c.round, *c.order),
    )
    for candidate in waiting:
        urgent = is_urgent(machine, candidate)
        twin = any((c.round, c.slot) == (candidate.round, candidate.slot) for c in begun)
        opened = is_open(machine, candidate, now)
        alike = [
            c
            for c in begun
            if c.round == standing.round
            and c.status != INVALID
            and is_open(machine, c, now) == opened
        ]
        fits = candidate.round == standing.round and len(alike) < EXECUTED_PER_ROUND_MAX
        if not urgent and (not fits or (twin and not candidate.named)):
            continue
        if execute(machine, candidate, now):
            begun.append(candidate)


def is_urgent(machine: Machine, candidate: Candidate) -> bool:
    """Certified, our valid value, confirmed by more than a third of the slots, or told."""
    standing, block = machine.standing, candidate.block.id
    valid = machine.record.valid_at(standing.height)
    if candidate.told:
        return True
    if valid is not None and valid.block == block:
        return True
    if standing.certificate is not None and standing.certificate.block == block:
        return True
    return is_confirmed(machine, block)


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
    pause = 2 * machine.spec.parameters.poll_timeout_ms
    asked = candidate.bodies_asked_ms
    if asked >= 0 and now.monotonic_ms < asked + pause:
        return
    if sum(block == candidate.block.id for _, block in machine.body_asks.values()) >= OPEN_ASKS_MAX:
        return  # megabytes of bodies take a busy peer longer than a poll: let them come
    proposal = candidate.proposal
    sources = [candidate.source, None if proposal is None else proposal.peer]
    sources += list(machine.standing.votes.weights)
    others = [peer for peer in sources if peer is not None and peer != machine.peer]
    room = FETCHES_MAX if is_urgent(machine, candidate) else FETCHES_MAX // 2
    if not others or len(machine.body_asks) >= room:
        return  # proposals whose bodies never come leave half to what is confirmed
    peer = others[0] if asked < 0 else others[machine.dice.uint(len(others))]
    candidate.bodies_asked_ms = now.monotonic_ms
    _, missing = machine.pool.lookup(candidate.block.body.messages)
    ask = machine.next_ask()
    machine.body_asks[ask] = (peer, candidate.block.id)
    data = encode(["bodies", 1, list(missing)])
    patience = machine.spec.parameters.settle_timeout_ms(machine.standing.round)
    machine.out.append(Ask(ask, peer, BODIES, data, now.monotonic_ms + patience))


def fetch_block(machine: Machine, block: BlockId, peer: Peer, now: Now) -> None:
    """Fetch an unknown block that a peer named; one fetch open per peer (protocol §6)."""
    certificate = machine.standing.certificate
    decided = certificate is not None and certificate.block == block
    room = FETCHES_MAX if decided or is_confirmed(machine, block) else FETCHES_MAX // 2
    if block in machine.standing.candidates or len(machine.fetches) >= room:
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
    """The round clock, and the time from which this round has a candidate."""
    advance_round_clock(machine, now)
    standing = machine.standing
    # One that only faulted here counts too (execution §5): else nothing ends a round in which
    # many hosts fail on the same input.
    if standing.executed_ms is None and any(
        candidate.round == standing.round
        and (is_candidate(machine, block, now) or candidate.faults)
        for block, candidate in standing.candidates.items()
    ):
        standing.executed_ms = now.monotonic_ms


def advance_round_clock(machine: Machine, now: Now) -> None:
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


def proposal_key(proposal: Proposal) -> bytes:
    """The logical key of gossip: the content id."""
    return proposal.id
