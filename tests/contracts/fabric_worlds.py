"""Worlds for the fabric's contract suite: a way to open servers over memory, lmdb, and the weak
store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from perper_core.errors import Exhausted, OutcomeUnknown
from perper_core.fabric import LocalFabric
from perper_core.limits import LEASE_TTL_S
from perper_core.ports import Appended, Batch, Item, Listener, Producer
from perper_core.stores.lmdb import LmdbStore
from perper_core.stores.memory import MemoryStore
from perper_core.stores.ports import Store
from tests.contracts.weak_store import CALM, ROUGH, Crashed, Faults, WeakCluster, WeakStore

KINDS = ["memory", "lmdb", "weak", "rough"]


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class World:
    """One store and the servers over it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.cluster = WeakCluster(seed=7)
        self.faults: Faults = ROUGH if kind == "rough" else CALM
        self.clock = Clock()
        self.fabrics: list[LocalFabric] = []
        self.store: Store | None = None

    @property
    def lasts(self) -> bool:
        """Whether what was acknowledged is there after a restart."""
        return self.kind != "memory"

    def make_store(self) -> Store:
        match self.kind:
            case "memory":
                return MemoryStore()
            case "lmdb":
                return LmdbStore(self.folder)
            case _:
                return self.cluster.store(self.faults)

    async def open(self) -> LocalFabric:
        self.store = self.make_store()
        fabric = await LocalFabric.open(self.store, clock=self.clock)
        self.fabrics.append(fabric)
        return fabric

    async def reopen(self) -> LocalFabric:
        """Close the newest server and open another one over the same store."""
        await self.fabrics.pop().close()
        return await self.open()

    async def close(self) -> None:
        for fabric in self.fabrics:
            await fabric.close()


class Servers:
    """Several servers over one weak cluster, each with a clock of its own."""

    def __init__(self, faults: Faults = CALM, seed: int = 0) -> None:
        self.faults = faults
        self.cluster = WeakCluster(seed)
        self.clocks: list[Clock] = []
        self.stores: list[WeakStore] = []
        self.fabrics: list[LocalFabric] = []

    async def open(self) -> LocalFabric:
        self.clocks.append(Clock())
        self.stores.append(self.cluster.store(self.faults))
        fabric = await LocalFabric.open(self.stores[-1], clock=self.clocks[-1])
        self.fabrics.append(fabric)
        return fabric

    async def see_silence(self, number: int, owner: bytes) -> None:
        """Let a server see for the whole ttl that another one's session stands still."""
        beats = self.fabrics[number]._beats
        assert beats is not None
        await beats.lives(owner)
        self.clocks[number].now_s += LEASE_TTL_S
        await beats.beat()

    async def close(self) -> None:
        for store in self.stores:
            store.resume()
        for fabric in self.fabrics:
            try:
                await fabric.close()
            except Crashed:
                continue


async def opened_world(kind: str, folder: Path) -> AsyncIterator[World]:
    world = World(kind, folder)
    try:
        yield world
    finally:
        await world.close()


async def settled(work: Callable[[], Awaitable[object]]) -> None:
    """Run an idempotent command until its outcome is known."""
    for _ in range(100):
        try:
            await work()
            return
        except OutcomeUnknown:
            continue
    raise AssertionError("the outcome stays unknown")


class Writer:
    """A producer session that appends again while it does not know: exactly once (contract 7)."""

    def __init__(self, fabric: LocalFabric, stream: str, session: str = "writer") -> None:
        self.fabric = fabric
        self.stream = stream
        self.session = session
        self.sequence = 0

    async def __call__(self, *items: bytes, fields: int | None = None) -> Appended:
        self.sequence += 1
        producer = Producer(self.session, self.sequence)
        for _ in range(100):
            try:
                return await self.fabric.append(
                    self.stream, items, fields=fields, producer=producer
                )
            except (OutcomeUnknown, Exhausted):
                await asyncio.sleep(0)
        raise AssertionError("the append never settles")


async def take(listener: Listener, count: int) -> list[Item]:
    """The next items, acknowledged."""
    items: list[Item] = []
    while len(items) < count:
        batch: Batch = await asyncio.wait_for(anext(listener), 10)
        items += batch
        await listener.ack(batch.last)
    return items


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until it holds."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to hold")
