"""Nodes of the state map as bytes, and proofs that a key is in it or not (protocol §8, §10).

All that a light client needs of the map. Knows nothing of how the tree is kept or changed.

An entry's path is the 64 nibbles of sha256(key), high nibble first. A node stands at a path (the
first n nibbles) iff two or more entries share it; the root, the empty path, always stands. An entry
hangs as a leaf in the deepest node on its path, so the root depends on the entries alone.

    leaf = ["leaf", sha256(key), sha256(value)]
    node = ["node", bitmap ‖ digests of the present children in order]

`bitmap`: 2 bytes big-endian, bit i = child i. A digest is sha256 of the canonical list.
"""

import hashlib
from binascii import hexlify
from dataclasses import dataclass

from consensus.encoding import HASH, Schema, blob, encode, head, list_of, optional, row
from consensus.errors import EncodingError, InvalidProof
from consensus.ids import HASH_BYTES, Hash

FANOUT = 16
NIBBLES = 64
BITMAP_BYTES = 2
BODY_BYTES_MAX = BITMAP_BYTES + FANOUT * HASH_BYTES
STATE_VALUE_BYTES_MAX = 1024 * 1024
STATE_PROOF_BYTES_MAX = STATE_VALUE_BYTES_MAX + NIBBLES * (BODY_BYTES_MAX + 3) + 256

LEAF_HEAD = head(4, 3) + encode("leaf") + head(2, HASH_BYTES)
LEAF_MIDDLE = head(2, HASH_BYTES)
# The head of a node by the length of its body, because hashing a node is the hot path of a block.
NODE_HEADS = tuple(
    head(4, 2) + encode("node") + head(2, size) for size in range(BODY_BYTES_MAX + 1)
)
BELOW = tuple((1 << child) - 1 for child in range(FANOUT))  # bitmap mask: the children before one
EMPTY_BODY = bytes(BITMAP_BYTES)
_NIBBLE_OF_HEX = bytes("0123456789abcdef".find(chr(code)) & 15 for code in range(256))

_PROOF = Schema(
    "state_proof",
    1,
    [
        list_of(blob(BODY_BYTES_MAX), NIBBLES),  # bodies
        optional(row(HASH, HASH)),  # other
        optional(blob(STATE_VALUE_BYTES_MAX)),  # value
    ],
    max_bytes=STATE_PROOF_BYTES_MAX,
)
_sha256 = hashlib.sha256


def nibbles(digest: bytes) -> bytes:
    """The 64 nibbles of 32 bytes, one byte each, high nibble first."""
    return hexlify(digest).translate(_NIBBLE_OF_HEX)


def leaf_hash(key_hash: bytes, value_hash: bytes) -> bytes:
    """sha256 of ["leaf", key_hash, value_hash]."""
    return _sha256(LEAF_HEAD + key_hash + LEAF_MIDDLE + value_hash).digest()


def node_hash(body: bytes | bytearray) -> bytes:
    """sha256 of ["node", body]."""
    return _sha256(NODE_HEADS[len(body)] + body).digest()


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that a key has a value, or none.

    `bodies`: node bodies from the root down. `value`: the key's, if it is present. `other`: for an
    absent key whose place is taken, (sha256(key), sha256(value)) of the entry there.
    """

    bodies: tuple[bytes, ...]
    other: tuple[Hash, Hash] | None
    value: bytes | None

    def encode(self) -> bytes:
        return _PROOF.encode((self.bodies, self.other, self.value))

    @classmethod
    def decode(cls, raw: bytes) -> "Proof":
        """Raises EncodingError."""
        bodies, other, value = _PROOF.decode(raw)
        if other is not None and value is not None:
            raise EncodingError("state_proof: a value and another entry in its place")
        return cls(bodies, other, value)


def verify_proof(root: bytes, key: bytes, proof: Proof) -> bytes | None:
    """The value of `key` under `root`, None when it is shown to have none. Raises InvalidProof."""
    key_hash = Hash(_sha256(key).digest())
    path = nibbles(key_hash)
    below = _descend(root, path, proof.bodies)
    if proof.value is not None:
        if below != leaf_hash(key_hash, _sha256(proof.value).digest()):
            raise InvalidProof("state leaf", "another value, or none, stands there")
        return proof.value
    if proof.other is None:
        if below is not None:
            raise InvalidProof("state leaf", "the place is not empty")
        return None
    other_key, other_value = proof.other
    if other_key == key_hash or below != leaf_hash(other_key, other_value):
        raise InvalidProof("state leaf", "the other entry does not stand there")
    depth = len(proof.bodies)
    if nibbles(other_key)[:depth] != path[:depth]:
        raise InvalidProof("state leaf", "the other entry belongs elsewhere")
    return None


def _descend(root: bytes, path: bytes, bodies: tuple[bytes, ...]) -> bytes | None:
    """The digest in the place of `path` in the last body, None where the place is empty."""
    if not 1 <= len(bodies) <= NIBBLES:
        raise InvalidProof("state path", f"{len(bodies)} nodes")
    expected: bytes | None = root
    for child, body in zip(path, bodies, strict=False):
        if expected is None:
            raise InvalidProof("state path", "goes on below an empty place")
        bitmap = int.from_bytes(body[:BITMAP_BYTES], "big")
        # A bitmap of one byte or none has too few bits for any body that short: refused too.
        if len(body) != BITMAP_BYTES + HASH_BYTES * bitmap.bit_count():
            raise InvalidProof("state node", "of another length")
        if node_hash(body) != expected:
            raise InvalidProof("state node", "does not hash to what stands above")
        start = BITMAP_BYTES + HASH_BYTES * (bitmap & BELOW[child]).bit_count()
        expected = body[start : start + HASH_BYTES] if bitmap >> child & 1 else None
    return expected
