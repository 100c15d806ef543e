"""The state map: keys and values under one root that changes block by block (protocol §8).

A `StateMap` is an immutable value: several candidate blocks may extend one parent, a losing one is
dropped, an old one goes on to answer. Knows keys and bytes; neither blocks nor disk nor meanings.
Nothing of the tree is kept on disk: the store keeps keys and values, `StateMap.of` builds the tree.

Within, all versions of one family share flat dictionaries by path (`_Tree`), which hold the version
last extended; every other version keeps the difference to its neighbour. So the one that blocks are
built on costs one lookup, and extending another turns the dictionaries round to that one first
(Baker's trick). Bodies are plain bytes: no node objects for the collector to walk. One thread at a
time may use a family. Layout of nodes and proofs: `stateproof`.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from consensus.ids import HASH_BYTES, Hash
from consensus.stateproof import (
    BELOW,
    BITMAP_BYTES,
    EMPTY_BODY,
    LEAF_HEAD,
    LEAF_MIDDLE,
    NIBBLES,
    NODE_HEADS,
    Proof,
    nibbles,
    node_hash,
    verify_proof,
)

__all__ = ["EMPTY_ROOT", "Proof", "StateMap", "verify_proof"]

EMPTY_ROOT = Hash(node_hash(EMPTY_BODY))
_ONE_CHILD = BITMAP_BYTES + HASH_BYTES  # bytes of a body with one child
_sha256 = hashlib.sha256

Body = bytes | bytearray
Content = TypeVar("Content", bytes, Body)


class _Tree:
    """Dictionaries of one version: the same entries seen in four ways, all by bytes.

    `values` key → value · `nodes` path → body · `owners` slot → key of the leaf there · `places`
    key → sha256(key) ‖ slot. A slot is the path of a leaf: the node's path and one nibble more.
    Invariant: a body that got in here is never changed again; an update works on a copy.
    """

    __slots__ = ("nodes", "owners", "places", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.nodes: dict[bytes, Body] = {b"": EMPTY_BODY}
        self.owners: dict[bytes, bytes] = {}
        self.places: dict[bytes, bytes] = {}

    def take(self, change: "_Change") -> "_Change":
        """Become the version that `change` leads to; returns the change that leads back."""
        back = _Change()
        back.values = _swap(self.values, change.values)
        back.nodes = _swap(self.nodes, change.nodes)
        back.owners = _swap(self.owners, change.owners)
        back.places = _swap(self.places, change.places)
        return back


def _swap(
    base: dict[bytes, Content], delta: Mapping[bytes, Content | None]
) -> dict[bytes, Content | None]:
    back = {key: base.get(key) for key in delta}
    for key, item in delta.items():
        if item is None:
            base.pop(key, None)
        else:
            base[key] = item
    return back


class _Change:
    """What differs between two neighbouring versions: as in `_Tree`, None for what is gone."""

    __slots__ = ("nodes", "owners", "places", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes | None] = {}
        self.nodes: dict[bytes, Body | None] = {}
        self.owners: dict[bytes, bytes | None] = {}
        self.places: dict[bytes, bytes | None] = {}


class StateMap:
    """Keys and values under a root of 32 bytes; never changes, so a reference is a version."""

    __slots__ = ("_change", "_neighbour", "_tree", "root")

    def __init__(
        self, root: Hash, tree: _Tree, neighbour: "StateMap | None", change: _Change | None
    ) -> None:
        """For this class alone; a map begins with `empty` or `of` and goes on with `update`."""
        # Either the tree holds this version (both None), or `change` leads here from `neighbour`.
        self.root = root
        self._tree = tree
        self._neighbour = neighbour
        self._change = change

    @classmethod
    def empty(cls) -> "StateMap":
        """The map without a key; its root is EMPTY_ROOT."""
        return cls(EMPTY_ROOT, _Tree(), None, None)

    @classmethod
    def of(cls, pairs: Iterable[tuple[bytes, bytes]]) -> "StateMap":
        """A map built anew, as at start from the store: some 7 µs and 0.75 kB a key."""
        fresh = cls.empty().update(dict(pairs))
        fresh._turn_here()
        return fresh

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None where there is none."""
        version = self
        while version._change is not None and version._neighbour is not None:
            if key in version._change.values:
                return version._change.values[key]
            version = version._neighbour
        return self._tree.values.get(key)

    def update(self, changes: Mapping[bytes, bytes | None]) -> "StateMap":
        """The map after the changes, None removing; each node that differs is hashed once."""
        self._turn_here()
        update = _Update(self._tree)
        update.enter(changes)
        return StateMap(update.hash_up(self.root), self._tree, self, update.change)

    def prove(self, key: bytes) -> Proof:
        """The proof of the value of `key`, or that it has none."""
        self._turn_here()
        tree = self._tree
        path = nibbles(_sha256(key).digest())
        bodies: list[bytes] = []
        while (body := tree.nodes.get(path[: len(bodies)])) is not None:
            bodies.append(bytes(body))
        owner = tree.owners.get(path[: len(bodies)])
        if owner is None:
            return Proof(tuple(bodies), None, None)
        value = tree.values[owner]
        if owner == key:
            return Proof(tuple(bodies), None, value)
        other = (Hash(_sha256(owner).digest()), Hash(_sha256(value).digest()))
        return Proof(tuple(bodies), other, None)

    def _turn_here(self) -> None:
        """Make the shared tree hold this version; the versions on the way keep the way back."""
        way = []
        version = self
        while version._neighbour is not None:
            way.append(version)
            version = version._neighbour
        for target in reversed(way):
            assert target._change is not None, "a version without a tree has a change"
            version._change = self._tree.take(target._change)
            version._neighbour = target
            target._change = target._neighbour = None
            version = target


class _Update:
    """One batch of changes to the version in `tree`: entered into copies, then hashed upwards.

    The body edits in `enter` and `hash_up` are written out where they happen: a call each would
    be a quarter of the whole time of a block.
    """

    __slots__ = ("change", "dirty", "tree")

    def __init__(self, tree: _Tree) -> None:
        self.tree = tree
        self.change = _Change()
        self.dirty: list[list[bytes]] = [[] for _ in range(NIBBLES + 1)]  # paths by their length

    def enter(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Put every change into the copied bodies of its node; nothing above is hashed yet."""
        change, nodes, places = self.change, self.tree.nodes, self.tree.places
        touched, moved = change.nodes, change.places
        change.values = dict(changes)
        for key, value in changes.items():
            place = moved[key] if key in moved else places.get(key)
            if place is None:
                if value is None:
                    continue  # removal of what is not there
                place = self._make_place(key)
            slot = place[HASH_BYTES:]
            path = slot[:-1]
            body = touched.get(path)
            if not isinstance(body, bytearray):
                body = touched[path] = bytearray(nodes[path])
                self.dirty[len(path)].append(path)
            child = slot[-1]
            if value is None:
                _clear(body, child)
                change.owners[slot] = moved[key] = None
                continue
            digest = _sha256(
                LEAF_HEAD + place[:HASH_BYTES] + LEAF_MIDDLE + _sha256(value).digest()
            ).digest()
            bitmap = body[0] << 8 | body[1]
            start = BITMAP_BYTES + HASH_BYTES * (bitmap & BELOW[child]).bit_count()
            if bitmap >> child & 1:
                body[start : start + HASH_BYTES] = digest
            else:
                body[start:start] = digest
                bitmap |= 1 << child
                body[0], body[1] = bitmap >> 8, bitmap & 255

    def _make_place(self, key: bytes) -> bytes:
        """sha256(key) ‖ slot for a key that is not in the map."""
        key_hash = _sha256(key).digest()
        path = nibbles(key_hash)
        change, nodes = self.change, self.tree.nodes
        depth = 1
        while path[:depth] in change.nodes or path[:depth] in nodes:
            depth += 1
        slot = path[:depth]
        owner = self._owner(slot)
        if owner is not None:
            slot = self._split(slot, path, owner)
        place = key_hash + slot
        change.owners[slot] = key
        change.places[key] = place
        return place

    def _owner(self, slot: bytes) -> bytes | None:
        owners = self.change.owners
        return owners[slot] if slot in owners else self.tree.owners.get(slot)

    def _split(self, slot: bytes, path: bytes, owner: bytes) -> bytes:
        """Move the owner of a slot to where it parts from `path`; returns the new key's slot."""
        change = self.change
        parent = slot[:-1]
        body = change.nodes.get(parent) or self.tree.nodes[parent]
        bitmap = body[0] << 8 | body[1]
        start = BITMAP_BYTES + HASH_BYTES * (bitmap & BELOW[slot[-1]]).bit_count()
        digest = bytes(body[start : start + HASH_BYTES])
        owner_hash = _sha256(owner).digest()
        other = nibbles(owner_hash)
        change.owners[slot] = None
        depth = len(slot)
        while True:
            fresh = bytearray(EMPTY_BODY)
            change.nodes[path[:depth]] = fresh
            self.dirty[depth].append(path[:depth])
            if other[depth] != path[depth]:
                break
            depth += 1
        _set(fresh, other[depth], digest)
        change.owners[other[: depth + 1]] = owner
        change.places[owner] = owner_hash + other[: depth + 1]
        return path[: depth + 1]

    def hash_up(self, root: Hash) -> Hash:
        """Hash what differs, deepest first, into the bodies above; returns the new root."""
        nodes, touched, dirty = self.tree.nodes, self.change.nodes, self.dirty
        for depth in range(NIBBLES, 0, -1):
            for path in dirty[depth]:
                body = touched[path]
                assert body is not None, "a node vanishes only in its own turn"
                parent = path[:-1]
                above = touched.get(parent)
                if not isinstance(above, bytearray):
                    above = touched[parent] = bytearray(nodes[parent])
                    dirty[depth - 1].append(parent)
                if len(body) <= _ONE_CHILD and self._collapse(path, body, above):
                    continue
                digest = _sha256(NODE_HEADS[len(body)] + body).digest()
                child = path[-1]
                bitmap = above[0] << 8 | above[1]
                start = BITMAP_BYTES + HASH_BYTES * (bitmap & BELOW[child]).bit_count()
                if bitmap >> child & 1:
                    above[start : start + HASH_BYTES] = digest
                else:
                    above[start:start] = digest
                    bitmap |= 1 << child
                    above[0], above[1] = bitmap >> 8, bitmap & 255
        top = touched.get(b"")
        return root if top is None else Hash(node_hash(top))

    def _collapse(self, path: bytes, body: Body, above: bytearray) -> bool:
        """A node with one leaf gives its place to the leaf; an empty one vanishes."""
        change = self.change
        if len(body) == BITMAP_BYTES:
            change.nodes[path] = None
            _clear(above, path[-1])
            return True
        slot = path + bytes(((body[0] << 8 | body[1]).bit_length() - 1,))
        owner = self._owner(slot)
        if owner is None:
            return False  # its one child is a node, so two entries or more share this path
        change.nodes[path] = None
        change.owners[slot] = None
        change.owners[path] = owner
        place = change.places.get(owner) or self.tree.places[owner]
        change.places[owner] = place[:HASH_BYTES] + path
        _set(above, path[-1], bytes(body[BITMAP_BYTES:]))
        return True


def _set(body: bytearray, child: int, digest: bytes) -> None:
    bitmap = body[0] << 8 | body[1]
    start = BITMAP_BYTES + HASH_BYTES * (bitmap & BELOW[child]).bit_count()
    if bitmap >> child & 1:
        body[start : start + HASH_BYTES] = digest
    else:
        body[start:start] = digest
        bitmap |= 1 << child
        body[0], body[1] = bitmap >> 8, bitmap & 255


def _clear(body: bytearray, child: int) -> None:
    bitmap = body[0] << 8 | body[1]
    if bitmap >> child & 1:
        start = BITMAP_BYTES + HASH_BYTES * (bitmap & BELOW[child]).bit_count()
        del body[start : start + HASH_BYTES]
        bitmap ^= 1 << child
        body[0], body[1] = bitmap >> 8, bitmap & 255
