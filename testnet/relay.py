"""The gateway of a testnet: one visible port, each connection carried to a validator that lives.

Bytes both ways, nothing understood. Knows no HTTP and no process: `targets` says where to go, best
first.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final

from node.nofile import OWN_FILES, raise_limit
from testnet.limits import ASK_S, RELAY_BUFFER_BYTES, RELAY_LINKS_MAX

FILES_EACH: Final = 2  # open files of one connection: its two sides
Targets = Callable[[], Sequence[tuple[str, int]]]


class _Half(asyncio.Protocol):
    """One side of a carried connection; `other` is where its bytes go."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Half | None = None
        self.early: list[bytes] = []  # bounded: reading stops at the first piece

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(RELAY_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)
        else:
            assert self.transport is not None
            self.early.append(data)
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        if self.other is None or self.other.transport is None:
            return False
        if self.other.transport.can_write_eof() and not self.other.transport.is_closing():
            self.other.transport.write_eof()
        return True  # half closed: the answer may still come

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


class _Front(_Half):
    """The user's side: asks the relay for a validator as soon as it is connected."""

    def __init__(self, relay: "Relay") -> None:
        super().__init__()
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._relay.joined(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._relay.left(self)
        super().connection_lost(error)


class Relay:
    """Owns the listening socket from `start` to `close`."""

    def __init__(self, listening: socket.socket, targets: Targets) -> None:
        self._listening, self._targets = listening, targets
        self._server: asyncio.Server | None = None
        self._fronts: dict[_Front, asyncio.Task[None]] = {}
        self._most = RELAY_LINKS_MAX

    async def start(self) -> None:
        files = raise_limit(needed=0)
        self._most = max(1, min(RELAY_LINKS_MAX, (files - OWN_FILES) // FILES_EACH))
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Front(self), sock=self._listening)

    async def close(self) -> None:
        """No new connection, and an end to those there are."""
        if self._server is not None:
            self._server.close()
        for front, task in list(self._fronts.items()):
            task.cancel()
            if front.transport is not None:
                front.transport.abort()
        await asyncio.sleep(0)

    def joined(self, front: _Front) -> None:
        assert front.transport is not None
        if len(self._fronts) >= self._most:
            front.transport.abort()
            return
        self._fronts[front] = asyncio.get_running_loop().create_task(self._carry(front))

    def left(self, front: _Front) -> None:
        task = self._fronts.pop(front, None)
        if task is not None:
            task.cancel()

    async def _carry(self, front: _Front) -> None:
        """Find a validator that answers; none: the connection ends, and the client hears it."""
        loop = asyncio.get_running_loop()
        assert front.transport is not None
        for host, port in self._targets():
            back = _Half()
            back.other = front
            try:
                async with asyncio.timeout(ASK_S):
                    await loop.create_connection(_same(back), host, port)
            except (OSError, TimeoutError):
                continue
            assert back.transport is not None
            if front.transport.is_closing():
                back.transport.close()
                return
            front.other = back
            for piece in front.early:
                back.transport.write(piece)
            front.early.clear()
            front.transport.resume_reading()
            return
        front.transport.abort()


def _same(half: _Half) -> Callable[[], _Half]:
    return lambda: half
