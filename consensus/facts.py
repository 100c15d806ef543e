"""Facts a block may carry: claims, renewals, evidence, late accepts (protocol §4). Bytes only.

Whether a fact is early, late or beaten is judged by `claims` and `transition`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from consensus.block import FACT_BYTES_MAX, Proposal, propose_bytes
from consensus.certificates import VOTE_BYTES_MAX, Vote
from consensus.encoding import (
    HASH,
    HEIGHT,
    ID,
    KEY,
    NONCE,
    ROUND,
    SIGNATURE,
    UINT,
    Schema,
    blob,
    encode,
    without_signature,
)
from consensus.errors import EncodingError
from consensus.ids import (
    BlockId,
    ChainId,
    Epoch,
    Hash,
    Height,
    Id,
    Peer,
    Round,
    Signature,
    Slot,
    content_id,
)
from consensus.signatures import ACCEPT, CLAIM, PROPOSAL, RENEW, coverage

_CLAIM = Schema("claim", 1, [ID, UINT, KEY, NONCE, HASH], max_bytes=FACT_BYTES_MAX, signed=True)
_RENEW = Schema("renew", 1, [ID, UINT, KEY, HASH], max_bytes=FACT_BYTES_MAX, signed=True)
_EVIDENCE = Schema(
    "evidence",
    1,
    [blob(VOTE_BYTES_MAX), blob(VOTE_BYTES_MAX)],  # two votes, ordered by their bytes
    max_bytes=FACT_BYTES_MAX,
)
_DOUBLE = Schema(
    "double",
    1,
    # chain, epoch, height, round, slot, peer, then block and signature of both
    [ID, UINT, HEIGHT, ROUND, UINT, KEY, ID, SIGNATURE, ID, SIGNATURE],
    max_bytes=FACT_BYTES_MAX,
)
_LATE = Schema("late", 1, [blob(VOTE_BYTES_MAX)], max_bytes=FACT_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class SlotClaim:
    """A bid for one slot of `epoch`, by proof of work (protocol §4)."""

    chain: ChainId
    epoch: Epoch
    peer: Peer
    nonce: bytes
    commitment: Hash
    signature: Signature
    id: Id
    raw: bytes

    @classmethod
    def decode(cls, raw: bytes) -> "SlotClaim":
        """Raises EncodingError."""
        fields: Any = (*_CLAIM.decode(raw), content_id(raw), raw)
        return cls(*fields)

    @property
    def signed_bytes(self) -> bytes:
        return coverage(CLAIM, self.chain, without_signature(self.raw))


@dataclass(frozen=True, slots=True)
class Renew:
    """An owner keeps its slots in `epoch` and commits to its hash chain for it."""

    chain: ChainId
    epoch: Epoch
    peer: Peer
    commitment: Hash
    signature: Signature
    id: Id
    raw: bytes

    @classmethod
    def decode(cls, raw: bytes) -> "Renew":
        """Raises EncodingError."""
        fields: Any = (*_RENEW.decode(raw), content_id(raw), raw)
        return cls(*fields)

    @property
    def signed_bytes(self) -> bytes:
        return coverage(RENEW, self.chain, without_signature(self.raw))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two different signed votes of one peer for one (chain, height, round, phase)."""

    first: Vote
    second: Vote
    id: Id
    raw: bytes

    @classmethod
    def decode(cls, raw: bytes) -> "Evidence":
        """Raises EncodingError when the two do not contradict each other."""
        a, b = (Vote.decode(item) for item in _EVIDENCE.decode(raw))
        same = (a.phase, a.chain, a.epoch, a.height, a.round, a.peer)
        if same != (b.phase, b.chain, b.epoch, b.height, b.round, b.peer) or a.block == b.block:
            raise EncodingError("evidence: the two votes do not contradict each other")
        if a.raw >= b.raw:
            raise EncodingError("evidence: votes are ordered by their bytes")
        return cls(a, b, content_id(raw), raw)

    @classmethod
    def of(cls, one: Vote, other: Vote) -> "Evidence":
        return cls.decode(_EVIDENCE.encode(sorted((one.raw, other.raw))))

    @property
    def peer(self) -> Peer:
        return self.first.peer


@dataclass(frozen=True, slots=True)
class DoubleProposal:
    """Two different blocks that one peer proposed for one (height, round, slot): evidence too.

    `first` and `second`: (block, signature), ordered by block.
    """

    chain: ChainId
    epoch: Epoch
    height: Height
    round: Round
    slot: Slot
    peer: Peer
    first: tuple[BlockId, Signature]
    second: tuple[BlockId, Signature]
    id: Id
    raw: bytes

    @classmethod
    def decode(cls, raw: bytes) -> "DoubleProposal":
        """Raises EncodingError."""
        *place, one, one_signature, two, two_signature = _DOUBLE.decode(raw)
        if one >= two:
            raise EncodingError("double: two different blocks, ordered by id")
        fields: Any = (*place, (one, one_signature), (two, two_signature), content_id(raw), raw)
        return cls(*fields)

    @classmethod
    def of(cls, one: Proposal, other: Proposal) -> "DoubleProposal":
        """Raises EncodingError when the two are for different places or the same block."""
        place, other_place = _place_of(one), _place_of(other)
        if place != other_place:
            raise EncodingError("double: proposals for different places")
        first, second = sorted(((one.id, one.signature), (other.id, other.signature)))
        return cls.decode(_DOUBLE.encode((*place, *first, *second)))

    @property
    def signed(self) -> tuple[tuple[bytes, Signature], tuple[bytes, Signature]]:
        """What each of the two signatures covers, and the signature."""
        (one, one_signature), (two, two_signature) = self.first, self.second
        return (self._covered(one), one_signature), (self._covered(two), two_signature)

    def _covered(self, block: BlockId) -> bytes:
        unsigned = propose_bytes(
            chain=self.chain,
            epoch=self.epoch,
            height=self.height,
            round_=self.round,
            slot=self.slot,
            block=block,
        )
        return coverage(PROPOSAL, self.chain, unsigned)


def _place_of(proposal: Proposal) -> tuple[ChainId, Epoch, Height, Round, Slot, Peer]:
    fields = proposal.block.header.fields
    at = (fields.chain, fields.epoch, fields.height, fields.round, fields.proposer_slot)
    return (*at, proposal.peer)


@dataclass(frozen=True, slots=True)
class LateAccept:
    """An accept that missed its certificate: a proof of life (protocol §4)."""

    vote: Vote
    id: Id
    raw: bytes

    @classmethod
    def decode(cls, raw: bytes) -> "LateAccept":
        """Raises EncodingError."""
        vote = Vote.decode(_LATE.decode(raw)[0])
        if vote.phase != ACCEPT or vote.block is None:
            raise EncodingError("late: not an accept of a block")
        return cls(vote, content_id(raw), raw)

    @classmethod
    def of(cls, vote: Vote) -> "LateAccept":
        return cls.decode(_LATE.encode((vote.raw,)))


Fact = SlotClaim | Renew | Evidence | DoubleProposal | LateAccept
_DECODERS: dict[bytes, Callable[[bytes], Fact]] = {
    b"claim": SlotClaim.decode,
    b"renew": Renew.decode,
    b"evidence": Evidence.decode,
    b"double": DoubleProposal.decode,
    b"late": LateAccept.decode,
}


def decode_fact(raw: bytes) -> Fact:
    """The fact of canonical bytes. Raises EncodingError."""
    for tag, decoder in _DECODERS.items():
        if raw[1 : 2 + len(tag)] == bytes((0x60 | len(tag),)) + tag:
            return decoder(raw)
    raise EncodingError("fact: of no known kind")


def claim_unsigned(
    *, chain: bytes, epoch: int, peer: bytes, nonce: bytes, commitment: bytes
) -> bytes:
    """Canonical bytes of a claim without its signature."""
    return _CLAIM.encode_unsigned((chain, epoch, peer, nonce, commitment))


def renew_unsigned(*, chain: bytes, epoch: int, peer: bytes, commitment: bytes) -> bytes:
    """Canonical bytes of a renewal without its signature."""
    return _RENEW.encode_unsigned((chain, epoch, peer, commitment))


def claim_digest(
    *, chain: bytes, salt: bytes, peer: bytes, nonce: bytes, commitment: bytes
) -> bytes:
    """digest = sha256(canonical [chain, salt, peer, nonce, commitment]); 32 bytes (protocol §4)."""
    return hashlib.sha256(encode([chain, salt, peer, nonce, commitment])).digest()


def claimed_slot(digest: bytes, slots: int) -> Slot:
    """First 8 bytes mod slots."""
    return Slot(int.from_bytes(digest[:8], "big") % slots)


def hill_height(digest: bytes) -> int:
    """The other 24 bytes, big-endian: greater wins."""
    return int.from_bytes(digest[8:], "big")


def evidence_of(one: Vote, other: Vote) -> Evidence:
    return Evidence.of(one, other)


__all__ = [
    "DoubleProposal",
    "Evidence",
    "Fact",
    "Height",
    "LateAccept",
    "Renew",
    "Round",
    "SlotClaim",
    "claim_digest",
    "claim_unsigned",
    "claimed_slot",
    "decode_fact",
    "evidence_of",
    "hill_height",
    "renew_unsigned",
]
