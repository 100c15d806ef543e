"""A map as objects of wide nodes: each holds its children and their digests, and is copied once
per batch, so that the map of the parent block stays usable.

Only inserts and new values, which is what the comparison needs. A subtree with one entry is its
leaf; node = ["node", c0 … cF-1] with a null for an empty place, leaf = ["leaf", sha256(key),
sha256(value)].
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Callable, Mapping
from hashlib import sha256

_NULL = b"\xf6"
_LEAF = b"\x83dleafX "
_DIGEST = b"X "
_NIBBLE = bytes("0123456789abcdef".find(chr(code)) & 15 for code in range(256))
_LEVELS_MAX = 65

Leaf = tuple[bytes, bytes]  # sha256(key), value


class Node:
    __slots__ = ("batch", "children", "digests")

    def __init__(self, digests: list[bytes], children: list[Node | Leaf | None], batch: int):
        self.digests = digests  # the node's encoding in parts: its head, then one part per child
        self.children = children
        self.batch = batch

    def copy(self, batch: int) -> Node:
        return Node(self.digests[:], self.children[:], batch)


def _nibbles(digest: bytes) -> bytes:
    return hexlify(digest).translate(_NIBBLE)


def _bytes(digest: bytes) -> bytes:
    return digest


class Wide:
    """Fan-out 16 or 256."""

    def __init__(self, fanout: int) -> None:
        count = fanout + 1
        head = bytes((0x98, count)) if count < 256 else bytes((0x99, count >> 8, count & 255))
        if count < 24:
            head = bytes((0x80 + count,))
        self.fanout = fanout
        self._head = head + b"dnode"
        self._path: Callable[[bytes], bytes] = _nibbles if fanout == 16 else _bytes
        self._batch = 0
        self._root = self._empty()

    def _empty(self) -> Node:
        return Node([self._head, *[_NULL] * self.fanout], [None] * self.fanout, self._batch)

    def update(self, changes: Mapping[bytes, bytes]) -> bytes:
        """The root after the changes."""
        self._batch += 1
        batch = self._batch
        root = self._root = self._root.copy(batch)
        dirty: list[list[tuple[Node, int, Node]]] = [[] for _ in range(_LEVELS_MAX)]
        for key, value in changes.items():
            key_hash = sha256(key).digest()
            value_hash = sha256(value).digest()
            leaf = sha256(_LEAF + key_hash + _DIGEST + value_hash).digest()
            self._insert(root, (key_hash, value), _DIGEST + leaf, dirty)
        for level in reversed(dirty):
            for parent, place, node in level:
                digest = sha256(b"".join(node.digests)).digest()
                parent.digests[place + 1] = _DIGEST + digest
        return sha256(b"".join(root.digests)).digest()

    def _insert(
        self, node: Node, leaf: Leaf, digest: bytes, dirty: list[list[tuple[Node, int, Node]]]
    ) -> None:
        path = self._path(leaf[0])
        depth = 0
        while True:
            place = path[depth]
            child = node.children[place]
            if child is None or (type(child) is tuple and child[0] == leaf[0]):
                node.children[place] = leaf
                node.digests[place + 1] = digest
                return
            depth += 1
            if type(child) is tuple:
                below = self._empty()
                other = self._path(child[0])[depth]
                below.children[other] = child
                below.digests[other + 1] = node.digests[place + 1]
            else:
                assert isinstance(child, Node)
                below = child
                if below.batch == self._batch:
                    node = below
                    continue
                below = below.copy(self._batch)
            node.children[place] = below
            dirty[depth].append((node, place, below))
            node = below

    def proof_bytes(self, key: bytes) -> int:
        """Sibling digests and bitmaps of the path, and the leaf's two hashes."""
        size = 64
        node: Node | Leaf | None = self._root
        for place in self._path(sha256(key).digest()):
            if not isinstance(node, Node):
                break
            siblings = sum(1 for child in node.children if child is not None)
            siblings -= node.children[place] is not None
            size += self.fanout // 8 + 32 * siblings
            node = node.children[place]
        return size
