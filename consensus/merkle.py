"""Merkle roots over lists of byte strings, and paths into them (protocol §8).

RFC 6962's tree shape, domain-separated; the root binds every leaf's position and the count. Knows
nothing of what the leaves mean. Each hashed node is a canonical list, so that it has a content id:
`["leaf", bytes]`, `["node", left, right]`, on top `["root", count, tree]` (tree null when empty).
"""

import hashlib
from collections.abc import Sequence

from consensus.encoding import encode, head
from consensus.errors import InvalidProof
from consensus.ids import HASH_BYTES, Hash

PATH_MAX = 32  # hashes in a path: 2^32 leaves
_HASH_HEAD = head(2, HASH_BYTES)
_LEAF = head(4, 2) + encode("leaf")
_NODE = head(4, 3) + encode("node") + _HASH_HEAD
_ROOT = head(4, 3) + encode("root")
_sha256 = hashlib.sha256


def _leaf(data: bytes) -> bytes:
    return _sha256(_LEAF + head(2, len(data)) + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return _sha256(_NODE + left + _HASH_HEAD + right).digest()


def _top(count: int, tree: bytes | None) -> Hash:
    below = b"\xf6" if tree is None else _HASH_HEAD + tree
    return Hash(_sha256(_ROOT + head(0, count) + below).digest())


def _above(level: list[bytes]) -> list[bytes]:
    """One level up: pairs are hashed, an odd last node rises unchanged (RFC 6962's shape)."""
    pairs = zip(level[0::2], level[1::2], strict=False)
    above = [_node(left, right) for left, right in pairs]
    if len(level) % 2:
        above.append(level[-1])
    return above


def root(leaves: Sequence[bytes]) -> Hash:
    """The root of the leaves in order; 32 bytes. The empty list has a root too."""
    if not leaves:
        return _top(0, None)
    level = [_leaf(data) for data in leaves]
    while len(level) > 1:
        level = _above(level)
    return _top(len(leaves), level[0])


def prove(leaves: Sequence[bytes], index: int) -> tuple[Hash, ...]:
    """The path of leaf `index`: sibling hashes from the leaf up, levels without a sibling left out.

    Raises IndexError when there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    path: list[Hash] = []
    level = [_leaf(data) for data in leaves]
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(Hash(level[sibling]))
        level = _above(level)
        index //= 2
    return tuple(path)


def verify(root: bytes, leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> None:
    """Raises InvalidProof unless `leaf` is number `index` of the `count` leaves under `root`."""
    if not 0 <= index < count:
        raise InvalidProof("merkle index", f"{index} of {count}")
    if len(path) > PATH_MAX or any(len(digest) != HASH_BYTES for digest in path):
        raise InvalidProof("merkle path", "of another form")
    below, width, used = _leaf(leaf), count, 0
    while width > 1:
        if index ^ 1 < width:
            if used == len(path):
                raise InvalidProof("merkle path", "too short")
            sibling = path[used]
            below = _node(sibling, below) if index % 2 else _node(below, sibling)
            used += 1
        index //= 2
        width = (width + 1) // 2
    if used != len(path):
        raise InvalidProof("merkle path", "too long")
    if _top(count, below) != root:
        raise InvalidProof("merkle root", "the path leads to another root")
