"""Votes and certificates: the signed words of phases confirm and accept (protocol §7).

Knows bytes and weights, not when to sign: that is `votes` and `engine`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from consensus.encoding import (
    HEIGHT,
    ID,
    KEY,
    ROUND,
    SIGNATURE,
    UINT,
    Schema,
    list_of,
    optional,
    row,
    without_signature,
)
from consensus.errors import EncodingError, InvalidCertificate
from consensus.ids import BlockId, ChainId, Epoch, Height, Id, Peer, Round, Signature, content_id
from consensus.signatures import ACCEPT, CONFIRM, Verifier, coverage

VOTE_BYTES_MAX = 256
CERTIFICATE_BYTES_MAX = 128 * 1024
OWNERS_MAX = 1024  # signers of one certificate: 1,024 · 101 bytes < 128 KiB
PHASES = (CONFIRM, ACCEPT)

_FIELDS = [ID, UINT, HEIGHT, ROUND, optional(ID), KEY]
_VOTES = {
    phase: Schema(phase, 1, _FIELDS, max_bytes=VOTE_BYTES_MAX, signed=True) for phase in PHASES
}
_CERTIFICATE = Schema(
    "certificate",
    1,
    [ID, UINT, HEIGHT, ROUND, ID, list_of(row(KEY, SIGNATURE), OWNERS_MAX)],
    max_bytes=CERTIFICATE_BYTES_MAX,
)
_AGGREGATE = Schema(
    "aggregate",
    1,
    [ID, UINT, HEIGHT, ROUND, ID, list_of(row(KEY, SIGNATURE), OWNERS_MAX)],
    max_bytes=CERTIFICATE_BYTES_MAX,
)


@dataclass(frozen=True, slots=True)
class Vote:
    """Confirm or Accept of one peer for all its slots; `block` null means nil."""

    phase: str
    chain: ChainId
    epoch: Epoch
    height: Height
    round: Round
    block: BlockId | None
    peer: Peer
    signature: Signature
    raw: bytes

    @classmethod
    def decode(cls, raw: bytes) -> "Vote":
        """Raises EncodingError; the signature is not judged here."""
        for phase, schema in _VOTES.items():
            if raw[1 : 2 + len(phase)] == bytes((0x60 | len(phase),)) + phase.encode():
                fields: Any = (phase, *schema.decode(raw), raw)
                return cls(*fields)
        raise EncodingError("vote: neither confirm nor accept")

    @property
    def signed_bytes(self) -> bytes:
        return coverage(self.phase, self.chain, without_signature(self.raw))


def vote_unsigned(
    phase: str,
    *,
    chain: bytes,
    epoch: int,
    height: int,
    round_: int,
    block: bytes | None,
    peer: bytes,
) -> bytes:
    """Canonical bytes of a vote without its signature."""
    return _VOTES[phase].encode_unsigned((chain, epoch, height, round_, block, peer))


def append_signature(unsigned: bytes, signature: bytes) -> bytes:
    """A signed record from its unsigned bytes: one item more in the list, the signature last."""
    # A record has fewer than 23 fields, so its list head is one byte.
    return bytes((unsigned[0] + 1,)) + unsigned[1:] + SIGNATURE.write(signature)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A quorum of accepts of one round for one block.

    `signatures` are ordered by key, each owner once.
    """

    chain: ChainId
    epoch: Epoch
    height: Height
    round: Round
    block: BlockId
    signatures: tuple[tuple[Peer, Signature], ...]
    id: Id
    raw: bytes
    phase: str = ACCEPT

    @classmethod
    def decode(cls, raw: bytes) -> "Certificate":
        """Raises EncodingError; signatures and weight are not judged here."""
        fields: Any = (*_certificate_fields(_CERTIFICATE, raw), content_id(raw), raw)
        return cls(*fields)

    @classmethod
    def of(cls, votes: Sequence[Vote]) -> "Certificate":
        """The certificate of accepts for one block and round."""
        return cls.decode(_join(_CERTIFICATE, votes))

    def votes(self) -> tuple[Vote, ...]:
        """The accepts it is made of."""
        return tuple(_votes_of(self))


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A quorum of confirms of one round for one block.

    The valid value's proof, passed on as one fact (protocol §7).
    """

    chain: ChainId
    epoch: Epoch
    height: Height
    round: Round
    block: BlockId
    signatures: tuple[tuple[Peer, Signature], ...]
    id: Id
    raw: bytes
    phase: str = CONFIRM

    @classmethod
    def decode(cls, raw: bytes) -> "Aggregate":
        """Raises EncodingError; signatures and weight are not judged here."""
        fields: Any = (*_certificate_fields(_AGGREGATE, raw), content_id(raw), raw)
        return cls(*fields)

    @classmethod
    def of(cls, votes: Sequence[Vote]) -> "Aggregate":
        return cls.decode(_join(_AGGREGATE, votes))

    def votes(self) -> tuple[Vote, ...]:
        """The confirms it is made of."""
        return tuple(_votes_of(self))


def _certificate_fields(schema: Schema, raw: bytes) -> Any:
    fields = schema.decode(raw)
    keys = [key for key, _ in fields[5]]
    if any(a >= b for a, b in pairwise(keys)):
        raise EncodingError(f"{schema.tag}: signatures not ordered by key, each owner once")
    return fields


def _join(schema: Schema, votes: Sequence[Vote]) -> bytes:
    first = votes[0]
    assert first.block is not None, "nil has no certificate"
    pairs = sorted((vote.peer, vote.signature) for vote in votes)
    place = (first.chain, first.epoch, first.height, first.round, first.block)
    return schema.encode((*place, pairs))


def _votes_of(quorum: Certificate | Aggregate) -> Iterable[Vote]:
    schema = _VOTES[quorum.phase]
    place = (quorum.chain, quorum.epoch, quorum.height, quorum.round, quorum.block)
    for peer, signature in quorum.signatures:
        raw = schema.encode((*place, peer, signature))
        yield Vote(quorum.phase, *place, peer, signature, raw)


def signatures_valid(quorum: Certificate | Aggregate, verifier: Verifier) -> bool:
    """Whether every signature in it verifies; weight is judged by `check_weight`."""
    return all(
        verifier.verify(vote.peer, vote.signed_bytes, vote.signature) for vote in _votes_of(quorum)
    )


def check_weight(quorum: Certificate | Aggregate, weights: Mapping[Peer, int]) -> None:
    """Raises InvalidCertificate unless its signers own more than two thirds of the occupied slots.

    `weights`: slots of each owner in the table of its height (protocol §7: 3·weight > 2·occupied).
    """
    weight = 0
    for peer, _ in quorum.signatures:
        if peer not in weights:
            raise InvalidCertificate("a signer owns no slot of the table")
        weight += weights[peer]
    if 3 * weight <= 2 * sum(weights.values()):
        raise InvalidCertificate("no more than two thirds of the slots")
