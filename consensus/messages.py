"""Messages, references, receipts, events: what accounts send, what a block says (protocol §9).

Knows the bytes and the bounds, not what an agent does with a message. Formats: docs/wire.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from consensus.encoding import (
    HASH,
    ID,
    KEY,
    NONCE,
    UINT,
    VALUE,
    Schema,
    Value,
    blob,
    decode,
    encode,
    list_of,
    optional,
    row,
    text,
    without_signature,
)
from consensus.errors import EncodingError
from consensus.ids import (
    Account,
    Agent,
    ChainId,
    Hash,
    Height,
    Id,
    MessageId,
    Signature,
    content_id,
)
from consensus.signatures import MESSAGE, coverage

MESSAGE_BYTES_MAX = 16 * 1024
DATA_BYTES_MAX = 8 * 1024
TYPE_TEXT_MAX = 64
CODE_TEXT_MAX = 64
RECEIPT_DATA_MAX = 256
RECEIPT_BYTES_MAX = 1024 * 1024
DECODED_MAX = 8_192  # messages whose decoded form is remembered
EVENTS_PER_MESSAGE_MAX = 64
EFFECTS_PER_MESSAGE_MAX = 64

REFERENCE = row(ID, HASH, optional(HASH))

_MESSAGE = Schema(
    "message",
    1,
    [ID, KEY, REFERENCE, blob(DATA_BYTES_MAX), NONCE, UINT, UINT, UINT, optional(ID)],
    max_bytes=MESSAGE_BYTES_MAX,
    signed=True,
)


class Reference(NamedTuple):
    """An object capability: chain, agent, capability id (null: the agent's public one)."""

    chain: ChainId
    agent: Agent
    capability: Hash | None


@dataclass(frozen=True, slots=True)
class Message:
    """One signed message of an account.

    `data` is canonical [type, {field: value}]; `gas_max` units of gas are reserved from the sender
    at one token each; `pay` tokens go to the agent if its handler is ok; `expires_height` is the
    last height that may include it; `after` names a message that must be included first.
    """

    chain: ChainId
    sender: Account
    to: Reference
    data: bytes
    nonce: bytes
    expires_height: Height
    gas_max: int
    pay: int
    after: MessageId | None
    signature: Signature
    id: MessageId
    raw: bytes

    @classmethod
    def decode(cls, raw: bytes) -> "Message":
        """The message of canonical bytes; no signature is judged here. Raises EncodingError."""
        fields = _MESSAGE.decode(raw)
        to = Reference(*fields[2])
        message_id = MessageId(content_id(without_signature(raw)))
        decoded: Any = (fields[0], fields[1], to, *fields[3:], message_id, raw)
        return cls(*decoded)

    @property
    def signed_bytes(self) -> bytes:
        """What the signature covers, domain and chain included."""
        return coverage(MESSAGE, self.chain, self.raw_unsigned)

    @property
    def raw_unsigned(self) -> bytes:
        return without_signature(self.raw)


@lru_cache(maxsize=DECODED_MAX)
def decoded(raw: bytes) -> Message:
    """`Message.decode`, remembered: the same bytes come back from executions and journals."""
    return Message.decode(raw)


class Draft(NamedTuple):
    """A message before its signature, as a wallet builds it."""

    chain: ChainId
    sender: Account
    to: Reference
    data: bytes
    nonce: bytes
    expires_height: int
    gas_max: int
    pay: int = 0
    after: MessageId | None = None

    def unsigned(self) -> bytes:
        """Canonical content, no signature: its id is the message's. Raises EncodingError."""
        if len(self.data) > DATA_BYTES_MAX:
            raise EncodingError(f"data of {len(self.data)} bytes, at most {DATA_BYTES_MAX}")
        return _MESSAGE.encode_unsigned(tuple(self))

    def to_sign(self) -> bytes:
        """The bytes for Ed25519."""
        return coverage(MESSAGE, self.chain, self.unsigned())

    def signed(self, signature: bytes) -> bytes:
        """The wire bytes. Raises EncodingError when they would exceed the bound."""
        raw = _MESSAGE.encode((*self, signature))
        if len(raw) > MESSAGE_BYTES_MAX:
            raise EncodingError(f"message of {len(raw)} bytes, at most {MESSAGE_BYTES_MAX}")
        return raw


def encode_data(type_name: str, fields: dict[str, Value]) -> bytes:
    """The `data` of a message: canonical [type, {field: value}]."""
    return encode([type_name, fields])


def decode_data(data: bytes) -> tuple[str, dict[str, Value]]:
    """(type, fields) of a message's data. Raises EncodingError."""
    value = decode(data, max_bytes=DATA_BYTES_MAX)
    if type(value) is not list or len(value) != 2:
        raise EncodingError("data: expected [type, fields]")
    name, fields = value
    if type(name) is not str or type(fields) is not dict or len(name) > TYPE_TEXT_MAX:
        raise EncodingError("data: expected [type, fields]")
    return name, fields


# ---- what a block says of a message -------------------------------------------------------------

OK = "ok"
REJECTED = "rejected"
FAILED = "failed"
OUT_OF_GAS = "out_of_gas"
SKIPPED = "skipped"
STATUSES = (OK, REJECTED, FAILED, OUT_OF_GAS, SKIPPED)

_EVENT = row(HASH, text(TYPE_TEXT_MAX), blob(DATA_BYTES_MAX))
_RECEIPT = Schema(
    "receipt",
    1,
    [
        ID,
        UINT,
        UINT,
        text(16),
        text(CODE_TEXT_MAX),
        blob(RECEIPT_DATA_MAX),
        UINT,
        list_of(_EVENT, EVENTS_PER_MESSAGE_MAX),
        list_of(ID, EFFECTS_PER_MESSAGE_MAX),
    ],
    max_bytes=RECEIPT_BYTES_MAX,
)


class AgentEvent(NamedTuple):
    """One published event: agent, type, canonical data."""

    agent: Agent
    type: str
    data: bytes


class Receipt(NamedTuple):
    """The outcome of one input of a block; `effects` are the ids of the messages it sent."""

    message: Id
    height: int
    index: int  # type: ignore[assignment]  # the design's word; hides tuple.index, which nobody needs
    status: str
    code: str
    data: bytes
    gas: int
    events: Sequence[AgentEvent]
    effects: Sequence[Id]

    def encode(self) -> bytes:
        return _RECEIPT.encode(self)

    @classmethod
    def decode(cls, raw: bytes) -> "Receipt":
        """Raises EncodingError."""
        fields = _RECEIPT.decode(raw)
        if fields[3] not in STATUSES:
            raise EncodingError(f"receipt: unknown status {fields[3]!r}")
        events = tuple([AgentEvent(*event) for event in fields[7]])
        decoded: Any = (*fields[:7], events, fields[8])
        return cls(*decoded)


# ---- messages that the chain makes --------------------------------------------------------------

SEND = "send"
REMINDER = "reminder"

_QUEUED = Schema(
    "queued",
    1,
    [ID, text(16), HASH, HASH, blob(DATA_BYTES_MAX), UINT, UINT, VALUE],
    max_bytes=MESSAGE_BYTES_MAX,
)


class Queued(NamedTuple):
    """An input made by the chain itself: a send in an outbox or a reminder (execution §6).

    `gas` is prepaid. `id` = id of H("input", source message, effect index); `extra` is null for
    now.
    """

    id: Id
    kind: str
    sender: Agent
    to: Agent
    data: bytes
    gas: int
    pay: int
    extra: Value = None

    def encode(self) -> bytes:
        return _QUEUED.encode(self)

    @classmethod
    def decode(cls, raw: bytes) -> "Queued":
        """Raises EncodingError."""
        return cls(*_QUEUED.decode(raw))
