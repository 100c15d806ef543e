"""A map as a binary tree with compressed paths (a critical-bit tree) of immutable tuples.

Only inserts and new values, which is what the comparison needs. A node stands where two entries
part: ["node", bit, left, right]; leaf = ["leaf", sha256(key), sha256(value)].
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

_LEAF = b"\x83dleafX "
_DIGEST = b"X "
_BITS = 256
_HEADS = tuple(
    b"\x84dnode" + (bytes((bit,)) if bit < 24 else bytes((0x18, bit))) for bit in range(_BITS)
)


@dataclass(slots=True)
class Tree:
    """A leaf has neither child; `path` is sha256(key) of a leaf, of any leaf below for a node."""

    digest: bytes  # encoded, as it stands in the parent
    bit: int  # the bit where its two sides part; _BITS for a leaf
    path: int
    left: Tree | None = None
    right: Tree | None = None


def _node(bit: int, left: Tree, right: Tree) -> Tree:
    digest = _DIGEST + sha256(_HEADS[bit] + left.digest + right.digest).digest()
    return Tree(digest, bit, left.path, left, right)


def _first_difference(a: int, b: int) -> int:
    return _BITS - (a ^ b).bit_length()


class Binary:
    def __init__(self) -> None:
        self._root: Tree | None = None

    def update(self, changes: Mapping[bytes, bytes]) -> bytes:
        """The root after the changes."""
        rows = []
        for key, value in changes.items():
            key_hash = sha256(key).digest()
            digest = sha256(_LEAF + key_hash + _DIGEST + sha256(value).digest()).digest()
            rows.append(Tree(_DIGEST + digest, _BITS, int.from_bytes(key_hash, "big")))
        rows.sort(key=lambda leaf: leaf.path)
        self._paths = [leaf.path for leaf in rows]
        self._rows = rows
        if rows:
            self._root = self._merge(self._root, 0, len(rows))
        return sha256(self._root.digest if self._root else b"").digest()

    def _part(self, bit: int, low: int, high: int) -> int:
        """The first of rows low … high (which agree before `bit`) that has the bit set."""
        edge = (self._paths[low] >> (_BITS - bit) << 1 | 1) << (_BITS - 1 - bit)
        return bisect_left(self._paths, edge, low, high)

    def _merge(self, tree: Tree | None, low: int, high: int) -> Tree:
        """The tree with rows low … high in it; there is at least one."""
        first, last = self._paths[low], self._paths[high - 1]
        if tree is None:
            if high - low == 1:
                return self._rows[low]
            bit = _first_difference(first, last)
            middle = self._part(bit, low, high)
            return _node(bit, self._merge(None, low, middle), self._merge(None, middle, high))
        apart = min(_first_difference(first, tree.path), _first_difference(last, tree.path))
        if apart == tree.bit == _BITS:
            return self._rows[low]  # the same key, and only it
        if apart < tree.bit:  # the rows leave the tree's path above it
            return self._beside(tree, apart, low, high)
        middle = self._part(tree.bit, low, high)
        left, right = tree.left, tree.right
        assert left is not None and right is not None
        return _node(
            tree.bit,
            self._merge(left, low, middle) if middle > low else left,
            self._merge(right, middle, high) if high > middle else right,
        )

    def _beside(self, tree: Tree, bit: int, low: int, high: int) -> Tree:
        middle = self._part(bit, low, high)
        if tree.path >> (_BITS - 1 - bit) & 1:
            right = self._merge(tree, middle, high) if high > middle else tree
            return _node(bit, self._merge(None, low, middle), right)
        left = self._merge(tree, low, middle) if middle > low else tree
        return _node(bit, left, self._merge(None, middle, high))

    def proof_bytes(self, key: bytes) -> int:
        """Bit and sibling digest of each node of the path, and the leaf's two hashes."""
        path = int.from_bytes(sha256(key).digest(), "big")
        size, tree = 64, self._root
        while tree is not None and tree.bit < _BITS:
            size += 33
            tree = tree.right if path >> (_BITS - 1 - tree.bit) & 1 else tree.left
        return size
