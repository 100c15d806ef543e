"""A served fabric, clients of it, and a wire between them that can be cut."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from perper_core.fabric import LocalFabric
from perper_core.ports import Item, Listener
from perper_core.stores.lmdb import LmdbStore
from perper_core.stores.memory import MemoryStore
from perper_core.wire.access import Access
from perper_core.wire.client import RemoteFabric, connect
from perper_core.wire.server import OPEN, FabricServer

CHUNK = 1 << 16


class Wire:
    """A TCP relay in front of a server: cut its connections, refuse new ones."""

    def __init__(self, target: Callable[[], str]) -> None:
        self.address = ""
        self.refusing = False
        self.cuts = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Reset every connection."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        self.refusing = True
        self.cut()
        assert self._server is not None
        self._server.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.refusing:
            writer.transport.abort()
            return
        host, _, port = self._target().rpartition(":")
        try:
            back_reader, back_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back_writer}
        await asyncio.gather(_pump(reader, back_writer), _pump(back_reader, writer))
        self._writers -= {writer, back_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    writer.transport.abort()


class Served:
    """A fabric and its server, which can be restarted, behind a wire."""

    def __init__(self, folder: Path | None, access: Access) -> None:
        self._folder = folder
        self._access = access
        self.local: LocalFabric
        self.server: FabricServer
        self.wire = Wire(lambda: self.server.address)
        self.clients: list[RemoteFabric] = []

    async def start(self) -> None:
        store = MemoryStore() if self._folder is None else LmdbStore(self._folder)
        self.local = await LocalFabric.open(store)
        self.server = FabricServer(self.local, access=self._access)
        await self.server.start("127.0.0.1:0")

    async def stop(self) -> None:
        await self.server.stop(grace_s=0)
        await self.local.close()

    async def connect(self, token: str = "") -> RemoteFabric:
        client = await connect(self.wire.address, token=token)
        self.clients.append(client)
        return client

    async def cut(self) -> None:
        """Cut the wire and wait until the clients have noticed."""
        self.wire.cut()
        for client in self.clients:
            await until(lambda client=client: not client._connection.connected.is_set())  # type: ignore[misc]


@asynccontextmanager
async def opened_served(folder: Path | None = None, access: Access = OPEN) -> AsyncIterator[Served]:
    served = Served(folder, access)
    await served.start()
    await served.wire.start()
    try:
        yield served
    finally:
        for client in served.clients:
            await client.close()
        await served.wire.close()
        await served.stop()


async def take(listener: Listener, count: int) -> list[Item]:
    """The next items, acknowledged."""
    items: list[Item] = []
    async with asyncio.timeout(20):
        while len(items) < count:
            batch = await anext(listener)
            items += batch
            await listener.ack(batch.last)
    return items


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it holds."""
    for _ in range(10_000):
        if await condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to hold")


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until it holds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to hold")
