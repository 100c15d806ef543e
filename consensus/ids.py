"""The kinds of bytes and numbers that cross functions, and their text forms (wire: Text).

Knows nothing of what the ids name. Raw inside, text only at the edges.
"""

import hashlib
from base64 import b32decode, b32encode
from typing import NamedTuple, NewType

from consensus.errors import TextError

Hash = NewType("Hash", bytes)  # 32 bytes, sha-256
Id = NewType("Id", bytes)  # 36 bytes: CIDv1, dag-cbor, sha2-256
ChainId = NewType("ChainId", bytes)  # an Id
BlockId = NewType("BlockId", bytes)  # an Id: of the header
MessageId = NewType("MessageId", bytes)  # an Id: of the content without the signature
Key = NewType("Key", bytes)  # 32 bytes, Ed25519
Peer = NewType("Peer", bytes)  # a Key that owns slots
Account = NewType("Account", bytes)  # a Key that signs messages
Agent = NewType("Agent", bytes)  # 32 bytes, a Hash
Signature = NewType("Signature", bytes)  # 64 bytes
Height = NewType("Height", int)
Round = NewType("Round", int)
Epoch = NewType("Epoch", int)
Slot = NewType("Slot", int)

ID_PREFIX = bytes((0x01, 0x71, 0x12, 0x20))  # CIDv1, dag-cbor, sha2-256, 32 bytes
ID_BYTES = 36
HASH_BYTES = 32
KEY_BYTES = 32
SIGNATURE_BYTES = 64
KEY_TEXT_PREFIX = "apx1"
PEER_TYPE = 0
ACCOUNT_TYPE = 1
_CHECKSUM_BYTES = 4


class Now(NamedTuple):
    """The time of one event: timeouts use the first, `time_ms` of blocks the second."""

    monotonic_ms: int
    clock_ms: int


class Checkpoint(NamedTuple):
    """A block that whoever reads a chain vouches for, as for its genesis (protocol §10)."""

    height: Height
    block: BlockId


def content_id(raw: bytes) -> Id:
    """The id of canonical bytes: CIDv1(dag-cbor, sha2-256), 36 raw bytes."""
    return Id(ID_PREFIX + hashlib.sha256(raw).digest())


def id_of_hash(digest: bytes) -> Id:
    """The id whose hash is `digest` (32 bytes): prefix ‖ digest."""
    return Id(ID_PREFIX + digest)


def hash_of_id(identifier: bytes) -> Hash:
    """The 32 bytes of hash inside an id."""
    return Hash(identifier[4:])


def is_id(raw: bytes) -> bool:
    """Whether `raw` has the one form an id may have."""
    return len(raw) == ID_BYTES and raw[:4] == ID_PREFIX


def _base32(raw: bytes) -> str:
    return b32encode(raw).decode().rstrip("=").lower()


def _from_base32(text: str, length: int, what: str) -> bytes:
    if text != text.lower() or not text.isascii():
        raise TextError(f"{what}: only lower-case base32 is accepted")
    padded = text.upper() + "=" * (-len(text) % 8)
    try:
        raw = b32decode(padded)
    except ValueError as error:
        raise TextError(f"{what}: not base32") from error
    if len(raw) != length or _base32(raw) != text:  # the second refuses non-zero padding bits
        raise TextError(f"{what}: wrong length or padding")
    return raw


def id_text(identifier: bytes) -> str:
    """Base32 CIDv1 text of an id: `b` and 58 letters."""
    return "b" + _base32(identifier)


def id_from_text(text: str) -> Id:
    """The id that `text` names. Raises TextError unless it is its one spelling."""
    if not text.startswith("b"):
        raise TextError("id: expected base32 text that starts with 'b'")
    raw = _from_base32(text[1:], ID_BYTES, "id")
    if not is_id(raw):
        raise TextError("id: not CIDv1 of dag-cbor and sha2-256")
    return Id(raw)


def checkpoint_text(checkpoint: Checkpoint) -> str:
    """`HEIGHT:ID`."""
    return f"{checkpoint.height}:{id_text(checkpoint.block)}"


def checkpoint_from_text(text: str) -> Checkpoint:
    """The block that `HEIGHT:ID` names. Raises TextError."""
    height, mark, block = text.partition(":")
    if not mark or not height.isascii() or not height.isdigit() or str(int(height)) != height:
        raise TextError("checkpoint: expected HEIGHT:ID, such as 4096:bafy…")
    return Checkpoint(Height(int(height)), BlockId(id_from_text(block)))


def hash_text(digest: bytes) -> str:
    """Lower-case base32 of 32 bytes, for agents and hashes that are no content ids."""
    return _base32(digest)


def hash_from_text(text: str) -> Hash:
    """32 bytes from their one base32 spelling. Raises TextError."""
    return Hash(_from_base32(text, HASH_BYTES, "hash"))


def key_text(key: bytes, kind: int) -> str:
    """`apx1` + base32(type ‖ key ‖ checksum) of a peer (0) or an account (1)."""
    body = bytes((kind,)) + key
    return KEY_TEXT_PREFIX + _base32(body + hashlib.sha256(body).digest()[:_CHECKSUM_BYTES])


def peer_text(peer: bytes) -> str:
    return key_text(peer, PEER_TYPE)


def account_text(account: bytes) -> str:
    return key_text(account, ACCOUNT_TYPE)


def key_from_text(text: str, kind: int) -> Key:
    """The key of that kind that `text` names. Raises TextError."""
    if not text.startswith(KEY_TEXT_PREFIX):
        raise TextError(f"key: expected text that starts with '{KEY_TEXT_PREFIX}'")
    length = 1 + KEY_BYTES + _CHECKSUM_BYTES
    raw = _from_base32(text[len(KEY_TEXT_PREFIX) :], length, "key")
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if hashlib.sha256(body).digest()[:_CHECKSUM_BYTES] != checksum:
        raise TextError("key: the checksum is wrong, probably a typing error")
    if body[0] != kind:
        raise TextError("key: a peer where an account is wanted, or the other way round")
    return Key(body[1:])
