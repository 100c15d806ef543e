"""Records and their keys (pure): what every model of the fabric is stored as.

A record is `version u64 | schema u8 | nonce 16 | body`, big-endian (contract 2). The nonce names
the write: who gets `unknown` or `conflict` reads again, and its own nonce there means that it won.
Does not know what bodies mean.

Keys begin with their table. A stream's items hang on its 8-byte uid, not on its name: a stream
that is removed and created again shares no key with the old one.
"""

import struct
from hashlib import sha256
from typing import Generic, NamedTuple, TypeVar

from perper_core.errors import Corrupt, Invalid, TooLarge
from perper_core.limits import ID_BYTES_MAX, NAME_BYTES_MAX, STATE_KEY_BYTES_MAX

SCHEMA = 1
NONCE_BYTES = 16
HEADER = struct.Struct(">QB16s")
_U64 = struct.Struct(">Q")
_HASH_BYTES = 16
_KEY_BIAS = 1 << 63  # keys sort as bytes like signed numbers

HEAD, CHUNK, LOCATOR, KEY, NAMED = b"h", b"i", b"l", b"k", b"n"
EXECUTION, CHILD, STATE, SESSION = b"e", b"c", b"s", b"w"
INDEXED = HEAD + NAMED + EXECUTION + CHILD + STATE
"""Tables that a store can scan; the others only by key."""

RecordT = TypeVar("RecordT")
ReplyT = TypeVar("ReplyT")
EffectT = TypeVar("EffectT")


class Step(NamedTuple, Generic[RecordT, ReplyT, EffectT]):
    """What a model answers: the record after it (the same object: unchanged; None: removed), the
    reply, and what the outside has to do about it once the record is stored."""

    record: RecordT
    reply: ReplyT
    effects: tuple[EffectT, ...] = ()


class Stamp(NamedTuple):
    """Version and nonce of a stored record."""

    version: int
    nonce: bytes


def sealed(stamp: Stamp, body: bytes) -> bytes:
    """The stored form of a body."""
    return HEADER.pack(stamp.version, SCHEMA, stamp.nonce) + body


def opened(raw: bytes) -> tuple[Stamp, bytes]:
    """Stamp and body. Raises Corrupt for another schema."""
    try:
        version, schema, nonce = HEADER.unpack_from(raw)
    except struct.error as error:
        raise Corrupt("a record ends early") from error
    if schema != SCHEMA:
        raise Corrupt("a record of another schema", schema=schema)
    return Stamp(version, nonce), raw[HEADER.size :]


def _name(text: str, bytes_max: int, what: str) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{what} is not UTF-8") from error
    if not raw or min(raw) < 0x20:
        raise Invalid(f"{what} is empty or has control characters")
    if len(raw) > bytes_max:
        raise TooLarge(f"{what} is too long", bytes=len(raw), bytes_max=bytes_max)
    return raw


def name_bytes(text: str, what: str) -> bytes:
    """A name as it stands in a key: 1-200 bytes of UTF-8 without control characters."""
    return _name(text, NAME_BYTES_MAX, what)


def head_key(stream: str) -> bytes:
    return HEAD + name_bytes(stream, "stream name")


def chunk_key(uid: bytes, first: int) -> bytes:
    return CHUNK + uid + _U64.pack(first)


def locator_key(uid: bytes, number: int) -> bytes:
    return LOCATOR + uid + _U64.pack(number)


def item_key_key(uid: bytes, key: int) -> bytes:
    """Where the offset of a keyed item is found."""
    return KEY + uid + _U64.pack(key + _KEY_BIAS)


def named_key(uid: bytes, listener: str) -> bytes:
    return NAMED + uid + name_bytes(listener, "listener name")


def named_index(uid: bytes) -> bytes:
    return NAMED + uid


def execution_key(id: str) -> bytes:
    return EXECUTION + _name(id, ID_BYTES_MAX, "execution id")


def child_key(parent: str, child: str) -> bytes:
    """Index of children; hashes, because two ids do not fit a key. The body is the child's id."""
    return child_index(parent) + sha256(execution_key(child)).digest()[:_HASH_BYTES]


def child_index(parent: str) -> bytes:
    return CHILD + sha256(execution_key(parent)).digest()[:_HASH_BYTES]


def state_key(state: str, key: str) -> bytes:
    return state_index(state) + _name(key, STATE_KEY_BYTES_MAX, "state key")


def state_index(state: str) -> bytes:
    return STATE + name_bytes(state, "state name") + b"\0"


def session_key(session: bytes) -> bytes:
    return SESSION + session
