"""The state of a chain as keys and values in order (wire: State keys), and changes on top of it.

Reads of execution and transition go through `State`; the authenticated tree over the same pairs is
`statemap`. Knows neither what the keys mean nor where the base keeps them.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from heapq import merge
from itertools import islice
from typing import Protocol

SCAN_ITEMS_MAX = 1024  # pairs of one scan where the caller names no limit
_INSORT_MAX = 16  # up to so many new keys are put in place one by one, more by one sort

Pair = tuple[bytes, bytes]


class State(Protocol):
    """What can be asked of a state; immutable for the reader, whoever implements it."""

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None where there is none."""
        ...

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = SCAN_ITEMS_MAX) -> list[Pair]:
        """At most `limit` pairs whose key starts with `prefix` and is > `after`, in key order."""
        ...


class _Keys:
    """Keys in order, cheap to add to between scans."""

    __slots__ = ("_added", "_sorted")

    def __init__(self, keys: Mapping[bytes, object]) -> None:
        self._sorted = sorted(keys)
        self._added: list[bytes] = []

    def add(self, key: bytes) -> None:
        """A key that is not in yet."""
        self._added.append(key)

    def remove(self, key: bytes) -> None:
        """A key that is in."""
        keys = self._ordered()
        del keys[bisect_left(keys, key)]

    def under(self, prefix: bytes, after: bytes) -> list[bytes]:
        """The keys that start with `prefix` and are > `after`, in order."""
        keys = self._ordered()
        start = bisect_left(keys, prefix) if after < prefix else bisect_right(keys, after)
        return keys[start : _end(keys, prefix, start)]

    def _ordered(self) -> list[bytes]:
        keys = self._sorted
        if len(self._added) > _INSORT_MAX:
            keys += self._added
            keys.sort()
            self._added = []
        while self._added:
            insort(keys, self._added.pop())
        return keys


def _end(keys: list[bytes], prefix: bytes, start: int) -> int:
    """Where the keys that start with `prefix` end, at or after `start`."""
    bare = prefix.rstrip(b"\xff")
    if not bare:  # nothing but 0xff: every later key that sorts behind starts with it
        return len(keys)
    next_prefix = bare[:-1] + bytes((bare[-1] + 1,))
    return max(start, bisect_left(keys, next_prefix))


class MemoryState:
    """A whole state in memory: the base of simulations, tests and a genesis."""

    __slots__ = ("_keys", "_values")

    def __init__(self, values: Mapping[bytes, bytes] | None = None) -> None:
        self._values = dict(values or {})
        self._keys = _Keys(self._values)

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = SCAN_ITEMS_MAX) -> list[Pair]:
        keys = self._keys.under(prefix, after)[:limit]
        return [(key, self._values[key]) for key in keys]

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Take over the changes of a block; None removes."""
        values, keys = self._values, self._keys
        for key, value in changes.items():
            if value is None:
                if values.pop(key, None) is not None:
                    keys.remove(key)
            else:
                if key not in values:
                    keys.add(key)
                values[key] = value

    def items(self) -> list[Pair]:
        """All pairs in key order."""
        return sorted(self._values.items())


class Overlay:
    """Changes on top of a state that stays as it is; itself a State, so overlays nest.

    `changes` maps key to value, None for removed; a block's changes are handed on as this dict.
    """

    __slots__ = ("_base", "_keys", "changes")

    def __init__(self, base: State, changes: Mapping[bytes, bytes | None] | None = None) -> None:
        self._base = base
        self.changes: dict[bytes, bytes | None] = dict(changes or {})
        self._keys = _Keys(self.changes)

    def get(self, key: bytes) -> bytes | None:
        changes = self.changes
        return changes[key] if key in changes else self._base.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set a value; None removes the key."""
        if key not in self.changes:
            self._keys.add(key)
        self.changes[key] = value

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = SCAN_ITEMS_MAX) -> list[Pair]:
        if limit <= 0:
            return []
        changes = self.changes
        touched = self._keys.under(prefix, after)
        if not touched:
            return self._base.scan(prefix, after, limit)
        # A page of the base that reaches its limit says nothing of keys behind its last one.
        found: list[Pair] = []
        while len(found) < limit:
            page = self._base.scan(prefix, after, limit)
            whole = len(page) < limit
            mine = touched if whole else touched[: bisect_right(touched, page[-1][0])]
            touched = touched[len(mine) :]
            kept = [pair for pair in page if pair[0] not in changes]
            added = [(key, value) for key in mine if (value := changes[key]) is not None]
            found += islice(merge(kept, added), limit - len(found))
            if whole:
                break
            after = page[-1][0]
        return found
