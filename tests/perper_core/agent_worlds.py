"""Agents and a running host for the tests of the SDK."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from perper_core.agent.agent import Agent, on
from perper_core.agent.handles import Context, current_context
from perper_core.agent.host import Host
from perper_core.agent.writer import Entry
from perper_core.fabric import LocalFabric
from perper_core.ports import Fabric, Kind, StreamOptions
from perper_core.stores.memory import MemoryStore
from perper_core.values import Value


class Mishap(Exception):
    """An application's error with facts."""

    def __init__(self, text: str, **details: int | str) -> None:
        super().__init__(text)
        self.details = details


class Workshop(Agent):
    """Handlers of every kind; `log` is what happened."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.running = 0
        self.most = 0
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.release = threading.Event()
        self.failures = 0

    @on("Start")
    async def start(self, context: Context, argument: Value) -> None:
        self.log.append("start")

    @on("Stop")
    async def stop(self, context: Context, argument: Value) -> None:
        self.log.append("stop")

    @on("Echo")
    async def echo(self, context: Context, argument: Value) -> Value:
        assert current_context() is context
        return argument

    @on("Fail")
    async def fail(self, context: Context, argument: Value) -> Value:
        raise Mishap("it broke", line=3)

    @on("Thread")
    def thread(self, context: Context, argument: Value) -> Value:
        async def state() -> Value:
            return await context.state.get("k", "nothing")

        return [threading.current_thread() is threading.main_thread(), context.wait(state())]

    @on("Block")
    def block(self, context: Context, argument: Value) -> Value:
        while not self.release.wait(0.005):
            if context.cancelled:
                self.log.append("thread saw its cancellation")
                return None
        return "released"

    @on("Narrow", parallel=2)
    async def narrow(self, context: Context, argument: Value) -> Value:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.002)
        self.running -= 1
        return None

    @on("Wait")
    async def wait(self, context: Context, argument: Value) -> Value:
        self.begun.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        return "opened"

    @on("Flaky", retry_on=(Mishap,))
    async def flaky(self, context: Context, argument: Value) -> Value:
        self.failures += 1
        if self.failures < 3:
            raise Mishap("again")
        return context.attempt

    @on("NoValue")
    async def no_value(self, context: Context, argument: Value) -> object:
        return object()

    @on("Deep")
    async def deep(self, context: Context, argument: Value) -> Value:
        assert isinstance(argument, int)
        if argument == 0:
            return context.depth
        return await context.call(context.instance, "Deep", argument - 1)

    @on("OwnCancel")
    async def own_cancel(self, context: Context, argument: Value) -> Value:
        raise asyncio.CancelledError

    @on("Family", retry_on=(Mishap,))
    async def family(self, context: Context, argument: Value) -> Value:
        """Starts two children, the second by name; fails in mid-work the first time."""
        first = await context.start("shop", "Echo", "one")
        second = await context.call("shop", "Echo", "two", name="second")
        self.failures += 1
        if self.failures == 1:
            raise Mishap("after its children")
        return [first.id, await first.result(), second]

    @on("Count", output=StreamOptions(kind=Kind.EPHEMERAL))
    async def count(self, context: Context, argument: Value) -> AsyncIterator[bytes | Entry]:
        assert isinstance(argument, int)
        for number in range(argument):
            yield b"%d" % number if number % 2 else Entry(b"%d" % number)
            if number == 3:
                await asyncio.sleep(0)

    @on("Break")
    async def breaks(self, context: Context, argument: Value) -> AsyncIterator[bytes]:
        yield b"last"
        raise Mishap("no more", line=9)

    @on("Endless")
    async def endless(self, context: Context, argument: Value) -> AsyncIterator[bytes]:
        while True:
            yield b"tick"
            await asyncio.sleep(0.001)

    @on("Resumed", output=StreamOptions(), resume=True)
    async def resumed(self, context: Context, argument: Value) -> AsyncIterator[Entry]:
        begin = 0 if context.resume_key is None else context.resume_key + 1
        self.log.append(f"from {begin}")
        for key in range(begin, 6):
            if key == 3 and context.attempt == 1:
                self.begun.set()
                await self.open.wait()
            yield Entry(b"%d" % key, key=key)


@asynccontextmanager
async def opened_host(fabric: Fabric | None = None) -> AsyncIterator[tuple[Host, Workshop]]:
    """A host with one Workshop as the instance `shop`."""
    own = await LocalFabric.open(MemoryStore()) if fabric is None else None
    host = Host(fabric or own or await LocalFabric.open(MemoryStore()))
    agent = Workshop()
    await host.start(agent, "shop")
    try:
        yield host, agent
    finally:
        agent.release.set()
        await host.stop(grace_s=0.1)
        if own is not None:
            await own.close()
