"""Confirm, accept, lock, valid value, rounds (protocol §7). Every clause that signs stands here."""

from consensus import proposing
from consensus.certificates import Aggregate, Certificate, Vote, append_signature, vote_unsigned
from consensus.effects import (
    FACTS,
    PROPOSALS,
    VOTES,
    Gossip,
    Persist,
    Publish,
    Remember,
    Sign,
)
from consensus.encoding import ROUND_MAX
from consensus.events import Signed
from consensus.ids import BlockId, Id, Now, Peer, Round
from consensus.signatures import ACCEPT as ACCEPT_KIND
from consensus.signatures import CONFIRM as CONFIRM_KIND
from consensus.signatures import PROPOSAL as PROPOSAL_KIND
from consensus.signing import ACCEPT, CONFIRM, PROPOSE
from consensus.standing import EXECUTING, VALID, Candidate, Machine

_PHASE_OF_KIND = {CONFIRM_KIND: CONFIRM, ACCEPT_KIND: ACCEPT}
_KIND_OF_PHASE = {PROPOSE: PROPOSAL_KIND, CONFIRM: CONFIRM_KIND, ACCEPT: ACCEPT_KIND}


def vote_key(vote: Vote) -> bytes:
    """The logical key of gossip: (signer, height, round, phase), and what it is for."""
    place = vote.height.to_bytes(8, "big") + vote.round.to_bytes(4, "big")
    return vote.peer + place + vote.phase[:1].encode() + (vote.block or b"")


# ---- signing ------------------------------------------------------------------------------------


def sign_vote(machine: Machine, kind: str, round_: int, block: BlockId | None) -> None:
    """Order a vote: the record is durable first, then the signature, then gossip (on Signed)."""
    standing = machine.standing
    unsigned = vote_unsigned(
        kind,
        chain=machine.spec.id,
        epoch=standing.epoch,
        height=standing.height,
        round_=round_,
        block=block,
        peer=machine.peer,
    )
    phase = _PHASE_OF_KIND[kind]
    machine.record = machine.record.with_own(standing.height, round_, phase, unsigned)
    place = (standing.height, Round(round_), phase)
    machine.out.append(Sign(kind, *place, unsigned, machine.record.raw))


def persist(machine: Machine, candidate: Candidate) -> None:
    """Block and bodies are durable before Confirm(b) or Accept(b)."""
    if candidate.persisted:
        return
    candidate.persisted = True
    messages, missing = machine.pool.lookup(candidate.block.body.messages)
    assert not missing, "an executed block has its bodies"
    machine.out.append(Persist(candidate.block, messages))


def resume(machine: Machine) -> None:
    """After a restart: give our words of this height to the signer again, who returns the same."""
    machine.resumed = True
    for height, round_, phase, unsigned in machine.record.own:
        if height == machine.standing.height:
            kind = _KIND_OF_PHASE[phase]
            machine.out.append(Sign(kind, height, round_, phase, unsigned, machine.record.raw))


def take_signed(machine: Machine, event: Signed, now: Now) -> None:
    """A vote of ours is signed: count it and show it, also when the height has passed."""
    vote = Vote.decode(append_signature(event.unsigned, event.signature))
    if vote.height == machine.standing.height:
        machine.standing.votes.add(vote)
        machine.standing.resent_ms = now.monotonic_ms
    show(machine, vote)


def show(machine: Machine, vote: Vote) -> None:
    machine.out.append(Gossip(VOTES, ((vote_key(vote), vote.raw),)))
    machine.out.append(Publish("votes", vote.height, (vote.raw,)))


# ---- confirm ------------------------------------------------------------------------------------


def advance_confirm(machine: Machine) -> None:
    """Confirm what is settled, if the lock allows it (protocol §7)."""
    standing = machine.standing
    if not standing.settled or not machine.weight:
        return
    if not machine.record.allows(standing.height, standing.round, CONFIRM):
        return
    block = standing.value
    if block is not None and not lock_allows(machine, block):
        block = None
    if block is not None:
        persist(machine, standing.candidates[block])
    sign_vote(machine, CONFIRM_KIND, standing.round, block)


def lock_allows(machine: Machine, block: BlockId) -> bool:
    """Not locked, or locked on it, or shown a quorum of confirms for it from a round ≥ its."""
    lock = machine.record.lock_at(machine.standing.height)
    if lock is None or lock.block == block:
        return True
    valid = machine.record.valid_at(machine.standing.height)
    if valid is not None and valid.block == block and valid.round >= lock.round:
        return True
    return any(known == block and round_ >= lock.round for round_, known in proven(machine))


# ---- accept -------------------------------------------------------------------------------------


def advance_valid(machine: Machine, now: Now) -> None:
    """A quorum of Confirm(b), b held and valid: valid value; in this round also lock and accept."""
    standing = machine.standing
    for round_, block in proven(machine):
        candidate = standing.candidates.get(block)
        if candidate is None:
            for peer in confirmers(machine, round_, block):
                proposing.fetch_block(machine, block, peer, now)
            continue
        if candidate.status != VALID and not proposing.is_vouched(machine, candidate):
            candidate.named = True
            continue
        raise_valid(machine, candidate, round_)
        if round_ == standing.round and machine.weight:
            accept_confirmed(machine, candidate)


def proven(machine: Machine) -> list[tuple[int, BlockId]]:
    """(round, block) with a quorum of confirms: counted here, or shown as one aggregate."""
    found, shown = machine.standing.votes.confirmed(), machine.standing.shown
    if shown is not None and (shown.round, shown.block) not in found:
        found.append((shown.round, shown.block))
    return found


def confirmers(machine: Machine, round_: int, block: BlockId) -> list[Peer]:
    """Who holds a block that has a quorum of confirms: its confirmers made it durable."""
    standing = machine.standing
    shown = standing.shown
    peers = [vote.peer for vote in standing.votes.supporters(round_, CONFIRM_KIND, block)]
    if shown is not None and (shown.round, shown.block) == (round_, block):
        peers += [peer for peer, _ in shown.signatures if peer not in peers]
    # They may have dropped it rounds ago; who is locked on it holds it, confirmed or not.
    peers += [peer for peer in standing.votes.weights if peer not in peers]
    return sorted(peers, key=lambda peer: machine.fetched_ms.get(peer, -1))


def raise_valid(machine: Machine, candidate: Candidate, round_: int) -> None:
    """Keep it if its round is higher than before; pass it on as one aggregate fact."""
    standing, block = machine.standing, candidate.block.id
    valid = machine.record.valid_at(standing.height)
    if valid is not None and round_ <= valid.round:
        return
    shown = standing.shown
    if shown is not None and (shown.round, shown.block) == (round_, block):
        aggregate = shown
    else:
        aggregate = Aggregate.of(standing.votes.supporters(round_, CONFIRM_KIND, block))
    persist(machine, candidate)
    record = machine.record.with_valid(standing.height, block, round_, aggregate.raw)
    machine.record = record
    signs = round_ == standing.round and machine.weight  # then the Accept's record holds it
    if not signs or not record.allows(standing.height, standing.round, ACCEPT):
        machine.out.append(Remember(record.raw))
    if standing.round > 0:  # others may decide by it in this round: do not wait for the resend
        show_valid(machine)


def accept_confirmed(machine: Machine, candidate: Candidate) -> None:
    standing = machine.standing
    if not machine.record.allows(standing.height, standing.round, ACCEPT):
        return
    block = candidate.block.id
    machine.record = machine.record.with_lock(standing.height, block, standing.round)
    persist(machine, candidate)
    sign_vote(machine, ACCEPT_KIND, standing.round, block)


def advance_accept_nil(machine: Machine, now: Now) -> None:
    """Accept(nil): a quorum of Confirm(nil), or vote_timeout after confirms of any value."""
    standing = machine.standing
    if standing.votes.any_quorum(standing.round, CONFIRM_KIND) and standing.confirms_ms is None:
        standing.confirms_ms = now.monotonic_ms
    if not machine.weight or not machine.record.allows(standing.height, standing.round, ACCEPT):
        return
    found, block = standing.votes.quorum(standing.round, CONFIRM_KIND)
    timeout = machine.spec.parameters.vote_timeout_ms(standing.round)
    late = standing.confirms_ms is not None and now.monotonic_ms >= standing.confirms_ms + timeout
    if (found and block is None) or late:
        if machine.record.allows(standing.height, standing.round, CONFIRM):
            sign_vote(machine, CONFIRM_KIND, standing.round, None)
        sign_vote(machine, ACCEPT_KIND, standing.round, None)


def accept_certified(machine: Machine, candidate: Candidate, certificate: Certificate) -> None:
    """Shown a certificate before it accepted: sign the Accept first, if allowed ‡ (§4)."""
    place = (machine.standing.height, certificate.round, ACCEPT)
    if not machine.weight or not machine.record.allows(*place):
        return
    block = candidate.block.id
    machine.record = machine.record.with_lock(machine.standing.height, block, certificate.round)
    persist(machine, candidate)
    sign_vote(machine, ACCEPT_KIND, certificate.round, block)


# ---- rounds -------------------------------------------------------------------------------------


def advance_round(machine: Machine, now: Now) -> bool:
    """The next round, or the one that more than a third has joined; whether it moved."""
    standing = machine.standing
    joined = standing.votes.join_round()
    if joined > standing.round:
        leave_for(machine, joined)
        enter_round(machine, joined, now)
        return True
    if standing.votes.any_quorum(standing.round, ACCEPT_KIND) and standing.accepts_ms is None:
        standing.accepts_ms = now.monotonic_ms
    found, block = standing.votes.quorum(standing.round, ACCEPT_KIND)
    timeout = machine.spec.parameters.vote_timeout_ms(standing.round)
    late = standing.accepts_ms is not None and now.monotonic_ms >= standing.accepts_ms + timeout
    if standing.round >= ROUND_MAX:
        return False  # the last round has no end: no word of a later one has a form
    if (found and block is None) or late:
        leave_for(machine, standing.round + 1)
        enter_round(machine, standing.round + 1, now)
        return True
    return False


def leave_for(machine: Machine, round_: int) -> None:
    """Who enters a round has confirmed and accepted in the one before it.

    It may go by accepts that were shown to it alone. The others still need its words there: its
    votes of the later round are too few for them to join it.
    """
    left = round_ - 1
    if not machine.weight or not machine.record.allows(machine.standing.height, left, ACCEPT):
        return
    if machine.record.allows(machine.standing.height, left, CONFIRM):
        sign_vote(machine, CONFIRM_KIND, left, None)
    sign_vote(machine, ACCEPT_KIND, left, None)


def enter_round(machine: Machine, round_: int, now: Now) -> None:
    """Fresh Snowball, fresh clock; candidates, votes, lock and valid value stay."""
    standing = machine.standing
    standing.round = round_
    standing.votes.enter(round_)
    standing.ranks = proposing.ranking(machine, round_)
    standing.clock_ms = now.monotonic_ms if round_ >= 1 else None
    standing.snowball = standing.group = None
    standing.executed_ms = None
    standing.settled, standing.value = False, None
    standing.building = standing.built_empty = False
    standing.confirms_ms = standing.accepts_ms = None
    standing.next_group_ms = 0
    drop_old(machine)


def drop_old(machine: Machine) -> None:
    """Candidates of rounds long past that nothing can need any more."""
    standing, record = machine.standing, machine.record
    lock, valid = record.lock_at(standing.height), record.valid_at(standing.height)
    needed: list[BlockId] = [held.block for held in (lock, valid) if held is not None]
    for block, candidate in list(standing.candidates.items()):
        old = candidate.round < standing.round - 1 and candidate.status != EXECUTING
        if old and block not in needed and not proposing.is_urgent(machine, candidate):
            del standing.candidates[block]


# ---- standing still -----------------------------------------------------------------------------


def advance_resend(machine: Machine, now: Now) -> None:
    """Each vote_timeout that the height stands still: own votes of two rounds, valid value."""
    standing = machine.standing
    own = [item for item in machine.record.own if item.height == standing.height]
    if not own or now.monotonic_ms < resend_ms(machine):
        return
    standing.resent_ms = now.monotonic_ms
    items = []
    for round_ in (standing.round - 1, standing.round):
        for kind in (CONFIRM_KIND, ACCEPT_KIND):
            tally = standing.votes.tallies.get((round_, kind))
            vote = None if tally is None else tally.votes.get(machine.peer)
            if vote is not None:
                items.append((vote_key(vote), vote.raw))
    if items:
        machine.out.append(Gossip(VOTES, tuple(items)))
    resend_proposals(machine)
    show_valid(machine)


def show_valid(machine: Machine) -> None:
    """The valid value's proof, as one aggregate fact."""
    valid = machine.record.valid_at(machine.standing.height)
    if valid is not None:
        key: bytes = Id(valid.block) + valid.round.to_bytes(4, "big")
        machine.out.append(Gossip(FACTS, ((key, valid.aggregate),)))


def resend_proposals(machine: Machine) -> None:
    """Own proposals of this round, and the one preferred: who missed it can hold it then."""
    standing = machine.standing
    preferred = standing.value if standing.settled else None
    if standing.snowball is not None and preferred is None:
        preferred = standing.snowball.preference
    for block, candidate in standing.candidates.items():
        proposal = candidate.proposal
        if proposal is None or candidate.round != standing.round:
            continue
        if proposal.peer == machine.peer or block == preferred:
            key = proposing.proposal_key(proposal)
            machine.out.append(Gossip(PROPOSALS, ((key, proposal.raw),)))


def resend_ms(machine: Machine) -> int:
    standing = machine.standing
    return standing.resent_ms + machine.spec.parameters.vote_timeout_ms(standing.round)
