"""The memory store: a dictionary behind the port. For tests, simulation and streams that need not
survive.

Keeps nothing after close. Calls never really wait: a coroutine here runs through without giving up
the event loop.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from itertools import islice

from perper_core.records import INDEXED
from perper_core.stores.ports import Outcome, Removal, Write, version_of


class Watches:
    """Who wants hints about which prefixes; shared by the stores."""

    def __init__(self) -> None:
        self._hints: dict[int, tuple[bytes, Callable[[], None]]] = {}
        self._next = 0

    def watch(self, prefix: bytes, hint: Callable[[], None]) -> Callable[[], None]:
        """See the port."""
        number = self._next
        self._next += 1
        self._hints[number] = (prefix, hint)

        def unwatch() -> None:
            self._hints.pop(number, None)

        return unwatch

    def changed(self, keys: Sequence[bytes]) -> None:
        """Hint everybody who watches one of these keys, once."""
        if not self._hints:
            return
        for prefix, hint in list(self._hints.values()):
            if any(key.startswith(prefix) for key in keys):
                hint()


class MemoryStore:
    """A Store in a dictionary."""

    exclusive = True
    immediate = True

    def __init__(self) -> None:
        self._records: dict[bytes, bytes] = {}
        self._sorted: dict[bytes, list[bytes]] = {bytes([table]): [] for table in INDEXED}
        self._watches = Watches()

    def __len__(self) -> int:
        """Number of records: for tests of what is left behind."""
        return len(self._records)

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self._records.get(key) for key in keys]

    async def cas_many(self, writes: Sequence[Write]) -> list[Outcome]:
        outcomes = []
        records = self._records
        for key, expected, raw in writes:
            found = records.get(key)
            version = None if found is None else version_of(found)
            if version != expected:
                outcomes.append(Outcome.CONFLICT)
                continue
            if found is None:
                self._index(key)
            records[key] = raw
            outcomes.append(Outcome.OK)
        self._watches.changed([write.key for write in writes])
        return outcomes

    async def remove_many(self, removals: Sequence[Removal]) -> list[Outcome]:
        outcomes = []
        for key, expected in removals:
            found = self._records.get(key)
            if found is None or expected is None or version_of(found) == expected:
                if found is not None:
                    self._forget(key)
                outcomes.append(Outcome.OK)
            else:
                outcomes.append(Outcome.CONFLICT)
        self._watches.changed([removal.key for removal in removals])
        return outcomes

    async def scan(self, index: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        keys = self._sorted[index[:1]]
        start = bisect_right(keys, after) if after >= index else bisect_left(keys, index)
        return [
            (key, self._records[key])
            for key in islice(keys, start, start + limit)
            if key.startswith(index)
        ]

    def watch(self, prefix: bytes, hint: Callable[[], None]) -> Callable[[], None]:
        return self._watches.watch(prefix, hint)

    async def close(self) -> None:
        self._records.clear()
        for keys in self._sorted.values():
            keys.clear()

    def _index(self, key: bytes) -> None:
        keys = self._sorted.get(key[:1])
        if keys is not None:
            insort(keys, key)

    def _forget(self, key: bytes) -> None:
        del self._records[key]
        keys = self._sorted.get(key[:1])
        if keys is not None:
            del keys[bisect_right(keys, key) - 1]
