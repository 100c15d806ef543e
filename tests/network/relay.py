"""A slow wire: a TCP relay that passes a given number of bytes per second, with small buffers."""

from __future__ import annotations

import asyncio
import socket

PIECE = 4_096
SMALL_BUFFER = 8_192


class Relay:
    """Listens on loopback and forwards to `target`, both ways at `per_s` bytes per second."""

    def __init__(self, target: tuple[str, int], per_s: int) -> None:
        self._target = target
        self._pause_s = PIECE / per_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = _small(socket.socket())
        self._listener.setblocking(False)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.passed = 0  # bytes that came back from the target
        self.address: tuple[str, int] = self._listener.getsockname()

    def start(self) -> None:
        self._spawn(self._accept())

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[arg-type, var-annotated]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._listener)
            far = _small(socket.socket())
            near.setblocking(False)
            far.setblocking(False)
            await loop.sock_connect(far, self._target)
            self._spawn(self._pump(near, far, counted=False))
            self._spawn(self._pump(far, near, counted=True))

    async def _pump(self, source: socket.socket, target: socket.socket, *, counted: bool) -> None:
        loop = asyncio.get_running_loop()
        with source, target:
            try:
                while piece := await loop.sock_recv(source, PIECE):
                    await asyncio.sleep(self._pause_s)
                    await loop.sock_sendall(target, piece)
                    self.passed += len(piece) if counted else 0
            except OSError:
                return


def _small(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    return sock
