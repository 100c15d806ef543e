"""How a height is decided: by a certificate, or without votes by what was settled (§7, §10).

Takes certificates in, orders commits, stops the chain where two things cannot both be true. Signs
nothing itself, settles nothing.
"""

from consensus import proposing, voting
from consensus.block import Block
from consensus.certificates import Certificate, check_weight
from consensus.effects import Blame, Commit, Halt
from consensus.errors import ConsensusError
from consensus.events import Fetched
from consensus.ids import BlockId, Height, Now, id_text
from consensus.signatures import ACCEPT as ACCEPT_KIND
from consensus.standing import INVALID, RECENT_HEIGHTS, VALID, Candidate, Machine, Tip

FORGED_BODY_POINTS = 50  # a certified header with a body that is not its own


# ---- what was decided ---------------------------------------------------------------------------


def remember(machine: Machine, tip: Tip) -> None:
    """What the last heights were decided on, for those who are behind."""
    height = tip.header.fields.height
    if tip.certificate is not None:
        machine.recent[height] = tip.certificate
    elif height >= 1:
        machine.decided[height] = tip.header.id
    machine.recent.pop(height - RECENT_HEIGHTS, None)
    machine.decided.pop(height - RECENT_HEIGHTS, None)


# ---- taking certificates in ---------------------------------------------------------------------


def take_certificate(machine: Machine, certificate: Certificate) -> None:
    """A certificate of this height or a recent one, judged by the table of its height."""
    standing, height = machine.standing, certificate.height
    here = height == standing.height
    known = standing.certificate if here else machine.recent.get(height)
    if not machine.spec.kind.votes or certificate.chain != machine.spec.id:
        return
    if height < 1 or certificate.epoch != machine.spec.parameters.epoch(height):
        return
    table = machine.tip.view.table_of(certificate.epoch)
    if table is None or (known is None and not here):
        return
    if known is not None and known.block == certificate.block:
        return
    try:
        check_weight(certificate, table.weights)
    except ConsensusError:
        return
    if known is None:
        standing.certificate = certificate
        return
    _stop_forked(machine, known, certificate)


def _stop_forked(machine: Machine, known: Certificate, other: Certificate) -> None:
    """Two certified blocks at one height: stop, show both, choose neither (protocol §10)."""
    machine.halted = True
    cause = f"two certified blocks: {id_text(known.block)} and {id_text(other.block)}"
    certificates = (known.raw, other.raw)
    machine.out.append(Halt(known.height, known.block, cause, certificates, forked=True))


def take_certified(machine: Machine, event: Fetched) -> None:
    """A block with its certificate: a candidate by the certificate's authority."""
    block, certificate = event.block, event.certificate
    assert block is not None and certificate is not None
    if certificate.block != block.id:
        return
    if not proposing.is_whole(block):
        machine.out.append(Blame(event.peer, FORGED_BODY_POINTS, "not the body of its header"))
        return
    take_certificate(machine, certificate)
    known = machine.standing.certificate
    if known is None:  # of this height, whose table we know: it weighs too little
        machine.out.append(Blame(event.peer, FORGED_BODY_POINTS, "a certificate without a quorum"))
        return
    if known.block != block.id or block.id in machine.standing.candidates:
        return
    try:
        proposing.check_block(machine, block)
    except ConsensusError as error:
        _halt(machine, certificate.height, certificate.block, str(error))
        return
    rank = block.header.fields.rank
    candidate = Candidate(block, None, rank, named=True, source=event.peer)
    machine.standing.candidates[block.id] = candidate


# ---- deciding -----------------------------------------------------------------------------------


def advance_settled(machine: Machine) -> bool:
    """Without votes what this peer settled on is decided, for itself (§3: probabilistic)."""
    standing = machine.standing
    if not standing.settled:
        return False
    assert standing.value is not None, "without votes nothing settles on nil"
    candidate = standing.candidates[standing.value]
    if not _contradicts(machine, candidate.block, ()):
        _commit(machine, candidate, None)
    return True


def advance_certificate(machine: Machine, now: Now) -> bool:
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
        cause = "a certified block fails our own execution"
        _halt(machine, certificate.height, certificate.block, cause)
        return True
    if candidate.status != VALID:
        candidate.named = True
        return False
    if _contradicts(machine, candidate.block, (certificate.raw,)):
        return True
    voting.accept_certified(machine, candidate, certificate)
    _commit(machine, candidate, certificate)
    return True


def _commit(machine: Machine, candidate: Candidate, certificate: Certificate | None) -> None:
    messages, missing = machine.pool.lookup(candidate.block.body.messages)
    assert not missing, "an executed block has its bodies"
    machine.standing.committing = True
    machine.out.append(Commit(candidate.block, certificate, messages))


def _contradicts(machine: Machine, block: Block, certificates: tuple[bytes, ...]) -> bool:
    """Whether the checkpoint names another block of this height; then neither is chosen (§10)."""
    checkpoint = machine.checkpoint
    if checkpoint is None or checkpoint.height != block.height or checkpoint.block == block.id:
        return False
    machine.halted = True
    cause = f"decided on {id_text(block.id)}, the checkpoint is {id_text(checkpoint.block)}"
    machine.out.append(Halt(block.height, block.id, cause, certificates, forked=True))
    return True


def _halt(machine: Machine, height: Height, block: BlockId, cause: str) -> None:
    """Stop this chain, keep everything, raise the alarm; never apply it, never delete it."""
    machine.halted = True
    machine.out.append(Halt(height, block, cause))
