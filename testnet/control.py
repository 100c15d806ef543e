"""The control socket of a supervisor: one JSON line asks, one JSON line answers.

Only the user who owns the folder can reach it. Knows no operation: the supervisor gives them.
"""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from node.errors import NodeError, TimedOut, Unreachable
from testnet.limits import ASK_S, CONTROL_CLIENTS_MAX, LINE_BYTES_MAX
from testnet.probe import told

_SOCKET_PATH_MAX: Final = 100  # bytes the kernel takes, with some room

Request = dict[str, Any]
Handler = Callable[[Request], Awaitable[Mapping[str, Any]]]


class Control:
    """The supervisor's side."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path, self._handler = path, handler
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """The supervisor's lock is held, so a socket that is there is a dead one's."""
        self._path.unlink(missing_ok=True)
        with _reachable(self._path) as path:
            self._server = await asyncio.start_unix_server(self._joined, path, limit=LINE_BYTES_MAX)
        self._path.chmod(0o600)

    async def close(self) -> None:
        self._path.unlink(missing_ok=True)
        if self._server is not None:
            self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._clients) >= CONTROL_CLIENTS_MAX:
            writer.close()
            return
        self._clients.add(task)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, asyncio.CancelledError):
            pass  # gone, or talking nonsense beyond the bound
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        from node.cli.output import as_node_error, error_record

        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("not an object")
            return {"ok": True, "data": dict(await self._handler(request))}
        except (NodeError, OSError, ValueError) as error:
            return {"ok": False, "errors": [error_record(as_node_error(error))]}


def ask(path: Path, request: Request, *, timeout_s: float = ASK_S) -> dict[str, Any]:
    """Ask a supervisor, blocking. Raises Unreachable, TimedOut, and what it tells."""
    try:
        with _reachable(path) as where, socket.socket(socket.AF_UNIX) as line:
            line.settimeout(timeout_s)
            line.connect(where)
            line.sendall(json.dumps(request).encode() + b"\n")
            raw = line.makefile("rb").readline(LINE_BYTES_MAX)
    except TimeoutError as error:
        raise TimedOut(
            f"the supervisor did not answer within {timeout_s:g} s",
            hint="`apocryph testnet logs supervisor` tells more; `apocryph testnet down` ends it",
        ) from error
    except OSError as error:
        raise Unreachable(
            "the supervisor of this testnet does not answer",
            hint="`apocryph testnet ls` shows which testnets run",
        ) from error
    if not raw.endswith(b"\n"):
        raise Unreachable("the supervisor ended before it answered")
    answer: dict[str, Any] = json.loads(raw)
    if not answer["ok"]:
        raise told(answer["errors"][0])
    data: dict[str, Any] = answer["data"]
    return data


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A spelling of the path that fits into a socket address: folders of users may be deep."""
    text = str(path)
    if len(os.fsencode(text)) <= _SOCKET_PATH_MAX:
        yield text
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
