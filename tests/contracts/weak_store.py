"""The weak store: all that a distributed store may do to the fabric, on purpose and by seed.

One `WeakCluster` is the data; each server opens its own `WeakStore` on it. Only single-key
compare-and-set, one key after the other in any order, with other servers in between; outcomes get
unknown (applied, lost, or applied later); watches get lost, doubled and late; a server may crash
between two keys, or be paused with its writes and come back stale.
"""

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from perper_core.errors import FabricError
from perper_core.records import INDEXED
from perper_core.stores.ports import Outcome, Removal, Write, version_of


class Crashed(FabricError):
    """The server that used this store is dead; nothing it does has an effect any more."""


@dataclass(frozen=True)
class Faults:
    """Probabilities of each fault, one switch each."""

    unordered: bool = True
    unknown_applied: float = 0.0
    unknown_lost: float = 0.0
    unknown_late: float = 0.0
    watch_lost: float = 0.0
    watch_doubled: float = 0.0
    watch_late: float = 0.0


CALM = Faults()
ROUGH = Faults(
    unknown_applied=0.1,
    unknown_lost=0.1,
    unknown_late=0.05,
    watch_lost=0.3,
    watch_doubled=0.3,
    watch_late=0.3,
)


class WeakCluster:
    """The data, and who watches it."""

    def __init__(self, seed: int = 0) -> None:
        self.records: dict[bytes, bytes] = {}
        self.random = Random(seed)
        self.late: list[tuple[WeakStore, Write]] = []
        self.watches: dict[int, tuple[WeakStore, bytes, Callable[[], None]]] = {}
        self.writes = 0

    def store(self, faults: Faults = CALM) -> "WeakStore":
        return WeakStore(self, faults)

    def land_late(self) -> None:
        """Writes that were under way for long arrive now."""
        late, self.late = self.late, []
        for store, write in late:
            store.apply(write)

    def changed(self, key: bytes) -> None:
        for store, prefix, hint in list(self.watches.values()):
            if key.startswith(prefix) and not store.dead:
                store.hint(hint)


class WeakStore:
    """One server's access to the cluster."""

    exclusive = False
    immediate = False

    def __init__(self, cluster: WeakCluster, faults: Faults) -> None:
        self.cluster = cluster
        self.faults = faults
        self.dead = False
        self.crash_in: int | None = None
        """Crash before this many more single-key writes."""
        self._running = asyncio.Event()
        self._running.set()

    def pause(self) -> None:
        """The server stands still with what it was about to write."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        await self._running.wait()
        if self.dead:
            raise Crashed("this server is dead")

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        found = []
        for key in keys:
            found.append(self.cluster.records.get(key))
        await self._turn()
        return found

    async def cas_many(self, writes: Sequence[Write]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        order = list(range(len(writes)))
        if self.faults.unordered:
            self.cluster.random.shuffle(order)
        for index in order:
            await self._turn()
            self._count()
            outcomes[index] = self._one(writes[index])
        return [outcomes[index] for index in range(len(writes))]

    def _count(self) -> None:
        if self.crash_in is not None:
            if self.crash_in == 0:
                self.dead = True
                raise Crashed("crash in mid-write")
            self.crash_in -= 1

    def _one(self, write: Write) -> Outcome:
        faults, dice = self.faults, self.cluster.random.random()
        if dice < faults.unknown_applied:
            self.apply(write)
            return Outcome.UNKNOWN
        dice -= faults.unknown_applied
        if dice < faults.unknown_lost:
            return Outcome.UNKNOWN
        dice -= faults.unknown_lost
        if dice < faults.unknown_late:
            self.cluster.late.append((self, write))
            asyncio.get_running_loop().call_soon(self.cluster.land_late)
            return Outcome.UNKNOWN
        return self.apply(write)

    def apply(self, write: Write) -> Outcome:
        """The compare-and-set of one key."""
        found = self.cluster.records.get(write.key)
        version = None if found is None else version_of(found)
        if version != write.expected:
            return Outcome.CONFLICT
        self.cluster.records[write.key] = write.raw
        self.cluster.writes += 1
        self.cluster.changed(write.key)
        return Outcome.OK

    async def remove_many(self, removals: Sequence[Removal]) -> list[Outcome]:
        outcomes = []
        for key, expected in removals:
            await self._turn()
            self._count()
            found = self.cluster.records.get(key)
            if found is not None and expected is not None and version_of(found) != expected:
                outcomes.append(Outcome.CONFLICT)
                continue
            if self.cluster.random.random() < self.faults.unknown_lost:
                outcomes.append(Outcome.UNKNOWN)
                continue
            self.cluster.records.pop(key, None)
            self.cluster.changed(key)
            outcomes.append(Outcome.OK)
        return outcomes

    async def scan(self, index: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        assert index[:1] in [bytes([table]) for table in INDEXED], "items cannot be scanned"
        await self._turn()
        keys = sorted(key for key in self.cluster.records if key.startswith(index))
        start = bisect_right(keys, after) if after >= index else bisect_left(keys, index)
        return [(key, self.cluster.records[key]) for key in keys[start : start + limit]]

    def watch(self, prefix: bytes, hint: Callable[[], None]) -> Callable[[], None]:
        number = len(self.cluster.watches) + self.cluster.random.getrandbits(48)
        self.cluster.watches[number] = (self, prefix, hint)

        def unwatch() -> None:
            self.cluster.watches.pop(number, None)

        return unwatch

    def hint(self, hint: Callable[[], None]) -> None:
        """Give a hint, or not, or twice, or late."""
        faults, dice = self.faults, self.cluster.random
        if dice.random() < faults.watch_lost:
            return
        times = 2 if dice.random() < faults.watch_doubled else 1
        for _ in range(times):
            if dice.random() < faults.watch_late:
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, hint)
            else:
                hint()

    async def close(self) -> None:
        self.dead = True
