"""What a session holds on the server beside its commands: listeners and workers.

Each has a pump that moves from the fabric to the session, as far as its window lets it. A reader
that does not read closes its own window and nothing else. Knows nothing of gRPC.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from perper_core.errors import FabricError, StaleToken, Truncated
from perper_core.ports import Fence, Listener, Reservations, Reserved, Stopped
from perper_core.wire import frames as f
from perper_core.wire.dispatch import error_reply
from perper_core.wire.session import Window, weight

log = logging.getLogger("perper.wire")

Send = Callable[[f.Payload, int], None]
"""Send an unasked reply that holds so many stream items (0: one that is none)."""


@runtime_checkable
class Losable(Protocol):
    """Reservations that can be told that their worker crashed."""

    async def lose(self) -> None: ...


class ServedListener:
    """An attached listener of a remote reader."""

    def __init__(self, id: int, listener: Listener, window: int, send: Send) -> None:
        self.id = id
        self.window_size = window
        self._listener = listener
        self._send = send
        self._room = asyncio.Event()
        self._window = Window(window, self._room.set)
        self._acked = 0  # as asked for
        self._done = 0  # as done
        self._acking: asyncio.Task[None] | None = None
        self._pump: asyncio.Task[None] | None = None

    @property
    def attached(self) -> f.Attached:
        return f.Attached(self._listener.position, self._listener.flow)

    def start(self) -> None:
        """Begin to deliver."""
        self._pump = asyncio.create_task(self._deliver(), name=f"deliver {self._listener.stream}")

    def pause(self) -> None:
        """The connection is lost: deliver nothing, but stay attached for a while."""
        if self._pump is not None:
            self._pump.cancel()

    def grant(self, cost: int) -> None:
        """Credit from the client."""
        self._window.grant(cost)

    def ack(self, offset: int) -> None:
        """Acknowledge, soon: only the newest matters. One that is ahead of this listener (it was
        delivered over a lost connection) waits until it is delivered here, too."""
        self._acked = max(self._acked, offset)
        if self._acking is None and self._ackable > self._done:
            self._acking = asyncio.create_task(self._ack_newest(), name="ack")

    @property
    def _ackable(self) -> int:
        return min(self._acked, self._listener.position - 1)

    async def close(self) -> None:
        """Detach, with the last acknowledgement saved."""
        self.pause()
        if self._acking is not None:
            await asyncio.wait([self._acking])
        await self._listener.close()

    async def _ack_newest(self) -> None:
        try:
            while self._done < self._ackable:
                self._done = self._ackable
                await self._listener.ack(self._done)
        except FabricError as error:  # the iteration tells the client why
            log.info("ack of %s: %s", self._listener.stream, error)
        finally:
            self._acking = None

    async def _deliver(self) -> None:
        while True:
            while not self._window.is_open:
                self._room.clear()
                await self._room.wait()
            try:
                batch = await anext(self._listener)
            except StopAsyncIteration:
                return self._send(f.ListenerEnd(self.id, None), 0)
            except Truncated as error:  # goes on at its first
                self._send(f.ListenerError(self.id, error_reply(error)), 0)
                continue
            except FabricError as error:
                return self._send(f.ListenerEnd(self.id, error_reply(error)), 0)
            self._window.spend(weight(batch.raws))
            self._send(f.Items(self.id, batch.first, batch.raws, batch.keys), len(batch.raws))
            self.ack(0)  # one may have waited


class ServedWorker:
    """Reservations of a remote worker. What was given out and is not concluded is remembered, so
    that a reconnected client gets what it missed and loses what is not its own any more."""

    def __init__(self, id: int, reservations: Reservations, send: Send) -> None:
        self.id = id
        self._reservations = reservations
        self._send = send
        self._out: dict[Fence, Reserved] = {}
        self._pump: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to offer work."""
        self._pump = asyncio.create_task(self._offer(), name=f"offer {self.id}")

    def conclude(self, id: str, token: int) -> None:
        """The client is done with it."""
        self._out.pop(Fence(id, token), None)

    def resume(self, held: list[Fence]) -> None:
        """The client is back and works on `held`."""
        for fence, work in self._out.items():
            if fence not in held:
                self._send(f.Work(self.id, work), 0)
        for fence in held:
            if fence not in self._out:
                self._send(f.Halt(self.id, fence.execution, fence.token, "lost"), 0)

    async def expire(self) -> None:
        """No sign of life for a lease: its work is lost (contract 14)."""
        await self.close(lost=True)
        for fence in self._out:
            self._send(f.Halt(self.id, fence.execution, fence.token, "lost"), 0)
        self._out.clear()
        self._send(f.WorkerEnd(self.id, error_reply(StaleToken("no beat within the lease"))), 0)

    async def close(self, *, lost: bool = False) -> None:
        """Give everything back. `lost`: its worker crashed, and where the fabric can tell the
        difference, that counts as an attempt (contract 22)."""
        if self._pump is not None:
            self._pump.cancel()
        if lost and isinstance(self._reservations, Losable):
            await self._reservations.lose()
        else:
            await self._reservations.close()

    async def _offer(self) -> None:
        try:
            async for event in self._reservations:
                match event:
                    case Reserved():
                        self._out[Fence(event.id, event.token)] = event
                        self._send(f.Work(self.id, event), 0)
                    case Stopped():
                        self.conclude(event.id, event.token)
                        self._send(f.Halt(self.id, event.id, event.token, event.reason), 0)
        except FabricError as error:
            self._send(f.WorkerEnd(self.id, error_reply(error)), 0)
        else:
            self._send(f.WorkerEnd(self.id, None), 0)
