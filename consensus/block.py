"""Header, body, proposal, block: the bytes of a height (protocol §8). Knows no validity rules."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from consensus.certificates import CERTIFICATE_BYTES_MAX, Certificate
from consensus.encoding import (
    HASH,
    HEIGHT,
    ID,
    KEY,
    ROUND,
    UINT,
    H,
    Schema,
    blob,
    list_of,
    optional,
)
from consensus.errors import EncodingError
from consensus.ids import (
    BlockId,
    ChainId,
    Epoch,
    Hash,
    Height,
    Id,
    MessageId,
    Peer,
    Round,
    Signature,
    Slot,
    content_id,
    id_of_hash,
)
from consensus.signatures import PROPOSAL, coverage

HEADER_BYTES_MAX = 160 * 1024  # `skipped` may list all inputs of a block
BODY_BYTES_MAX = 1024 * 1024
PROPOSAL_BYTES_MAX = HEADER_BYTES_MAX + BODY_BYTES_MAX + 1024
PROPOSE_BYTES_MAX = 256
FACT_BYTES_MAX = 512
FACTS_LIMIT = 64
INPUTS_LIMIT = 4096 + 4096  # account messages and chain-made inputs
SKIPPED_LIMIT = 4096

DIVIDER = id_of_hash(H("inputs"))  # no input has this id: it would be a preimage

_HEADER = Schema(
    "header",
    1,
    [
        ID,  # chain
        UINT,  # height
        UINT,  # round
        UINT,  # epoch
        ID,  # parent
        optional(ID),  # parent_certificate
        UINT,  # proposer_slot
        UINT,  # rank
        UINT,  # time_ms
        optional(HASH),  # reveal
        HASH,  # randomness
        HASH,  # next_table
        HASH,  # inputs_root
        HASH,  # outputs_root
        HASH,  # receipts_root
        HASH,  # state_root
        HASH,  # facts_root
        UINT,  # gas_used
        list_of(ID, SKIPPED_LIMIT),  # skipped
        optional(UINT),  # main_ref
    ],
    max_bytes=HEADER_BYTES_MAX,
)
_BODY = Schema(
    "body",
    1,
    [
        blob(CERTIFICATE_BYTES_MAX),  # parent certificate, empty at height 1
        list_of(blob(FACT_BYTES_MAX), FACTS_LIMIT),
        list_of(ID, INPUTS_LIMIT),  # chain-made inputs
        list_of(ID, INPUTS_LIMIT),  # account messages
    ],
    max_bytes=BODY_BYTES_MAX,
)
_PROPOSAL = Schema(
    "proposal",
    1,
    [blob(HEADER_BYTES_MAX), blob(BODY_BYTES_MAX), KEY],
    max_bytes=PROPOSAL_BYTES_MAX,
    signed=True,
)
# What a proposer signs is short, so that two of them fit into one fact as evidence (protocol §7).
_PROPOSE = Schema(
    "propose",
    1,
    [ID, UINT, HEIGHT, ROUND, UINT, ID],  # chain, epoch, height, round, slot, block
    max_bytes=PROPOSE_BYTES_MAX,
)


class HeaderFields(NamedTuple):
    """The fields of a header in wire order."""

    chain: ChainId
    height: Height
    round: Round
    epoch: Epoch
    parent: BlockId
    parent_certificate: Id | None
    proposer_slot: Slot
    rank: int
    time_ms: int
    reveal: Hash | None
    randomness: Hash
    next_table: Hash
    inputs_root: Hash
    outputs_root: Hash
    receipts_root: Hash
    state_root: Hash
    facts_root: Hash
    gas_used: int
    skipped: tuple[Id, ...]
    main_ref: int | None

    def encode(self) -> bytes:
        return _HEADER.encode(self)


@dataclass(frozen=True, slots=True)
class Header:
    """A decoded header: its fields, its id (the block's), its bytes."""

    fields: HeaderFields
    id: BlockId
    raw: bytes

    @classmethod
    def decode(cls, raw: bytes) -> "Header":
        """Raises EncodingError."""
        return cls(HeaderFields(*_HEADER.decode(raw)), BlockId(content_id(raw)), raw)

    @classmethod
    def of(cls, fields: HeaderFields) -> "Header":
        raw = fields.encode()
        return cls(fields, BlockId(content_id(raw)), raw)

    @property
    def height(self) -> Height:
        return self.fields.height

    @property
    def round(self) -> Round:
        return self.fields.round


@dataclass(frozen=True, slots=True)
class Body:
    """Parent certificate, facts, then input ids: chain-made first, then messages in order."""

    parent_certificate: bytes
    facts: tuple[bytes, ...]
    chain_inputs: tuple[Id, ...]
    messages: tuple[MessageId, ...]
    raw: bytes

    @classmethod
    def decode(cls, raw: bytes) -> "Body":
        """Raises EncodingError."""
        fields: Any = (*_BODY.decode(raw), raw)
        return cls(*fields)

    @classmethod
    def of(
        cls,
        *,
        parent_certificate: bytes,
        facts: tuple[bytes, ...],
        chain_inputs: tuple[Id, ...],
        messages: tuple[MessageId, ...],
    ) -> "Body":
        """Raises EncodingError when it exceeds its bound."""
        raw = _BODY.encode((parent_certificate, facts, chain_inputs, messages))
        if len(raw) > BODY_BYTES_MAX:
            raise EncodingError(f"body of {len(raw)} bytes, at most {BODY_BYTES_MAX}")
        return cls(parent_certificate, facts, chain_inputs, messages, raw)

    @property
    def inputs(self) -> tuple[Id, ...]:
        return (*self.chain_inputs, *(Id(message) for message in self.messages))

    @property
    def input_leaves(self) -> tuple[Id, ...]:
        """What inputs_root covers: the chain's own inputs, a divider, the messages.

        The divider binds where one list ends: moved, it would be another body under the same id.
        """
        return (*self.chain_inputs, DIVIDER, *(Id(message) for message in self.messages))

    def certificate(self) -> Certificate | None:
        """The parent's certificate, null at height 1. Raises EncodingError."""
        return Certificate.decode(self.parent_certificate) if self.parent_certificate else None


@dataclass(frozen=True, slots=True)
class Block:
    """Header and body, as they travel between functions."""

    header: Header
    body: Body

    @property
    def id(self) -> BlockId:
        return self.header.id

    @property
    def height(self) -> Height:
        return self.header.fields.height


@dataclass(frozen=True, slots=True)
class Proposal:
    """A block with its proposer's signature, which stands beside the id, not in it."""

    block: Block
    peer: Peer
    signature: Signature
    raw: bytes

    @classmethod
    def decode(cls, raw: bytes) -> "Proposal":
        """Raises EncodingError; nothing is judged but form."""
        header, body, peer, signature = _PROPOSAL.decode(raw)
        block = Block(Header.decode(header), Body.decode(body))
        HEIGHT.check(block.header.height)  # the genesis has a header too, but nobody proposes it
        ROUND.check(block.header.round)
        return cls(block, peer, signature, raw)

    @classmethod
    def of(cls, block: Block, peer: Peer, signature: bytes) -> "Proposal":
        raw = _PROPOSAL.encode((block.header.raw, block.body.raw, peer, signature))
        return cls(block, peer, Signature(signature), raw)

    @property
    def signed_bytes(self) -> bytes:
        return proposal_coverage(self.block.header)

    @property
    def id(self) -> BlockId:
        return self.block.header.id


def propose_bytes(
    *, chain: bytes, epoch: int, height: int, round_: int, slot: int, block: bytes
) -> bytes:
    """Canonical ["propose", …]: that the slot's owner proposes `block` for (height, round)."""
    return _PROPOSE.encode((chain, epoch, height, round_, slot, block))


def proposed_block(unsigned: bytes) -> BlockId:
    """The block that ["propose", …] names. Raises EncodingError."""
    return BlockId(_PROPOSE.decode(unsigned)[5])


def proposal_unsigned(header: Header) -> bytes:
    """The canonical bytes that a proposer signs under kind PROPOSAL: not the header, its id."""
    fields = header.fields
    return propose_bytes(
        chain=fields.chain,
        epoch=fields.epoch,
        height=fields.height,
        round_=fields.round,
        slot=fields.proposer_slot,
        block=header.id,
    )


def proposal_coverage(header: Header) -> bytes:
    """All that a proposer's Ed25519 signature covers, domain and chain included."""
    return coverage(PROPOSAL, header.fields.chain, proposal_unsigned(header))
