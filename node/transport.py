"""One node's HTTP: bounded requests, typed errors, streams of events. Knows no path.

Every failure is a NodeError: Unreachable, TimedOut, or what the node itself says.
"""

import json
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import aiohttp

from node.errors import (
    CODES,
    Denied,
    MessageInvalid,
    NodeError,
    NotFound,
    NotProvable,
    Rejected,
    TimedOut,
    Unreachable,
    UsageError,
)

Json = dict[str, Any]

CONNECT_S: Final = 5.0
REPLY_BYTES_MAX: Final = 128 * 1024 * 1024  # a proof
EVENT_LINE_BYTES_MAX: Final = 4 * 1024 * 1024
EVENT_SILENCE_S: Final = 45.0  # three pings of the node


class EventRecord(NamedTuple):
    """One server-sent event; `cursor` resumes after it. `type`: block, receipt, event, lagged."""

    cursor: str
    type: str
    data: Json


class ServerFault(NodeError):
    """The node said something that is no answer."""

    code = "bug"


_ERRORS: dict[str, type[NodeError]] = {
    "not_found": NotFound,
    "usage": UsageError,
    "message_invalid": MessageInvalid,
    "BadArgument": MessageInvalid,
    "UnknownView": MessageInvalid,
    "timeout": TimedOut,
    "not_provable": NotProvable,
    "denied": Denied,
}


def error_of(status: int, body: Any) -> NodeError:
    """The typed error of an error answer."""
    try:
        told = body["errors"][0]
        code, cause, hint = str(told["code"]), str(told["message"]), str(told["hint"])
    except (KeyError, IndexError, TypeError):
        return ServerFault(f"the node answered {status} without saying why")
    kind = _ERRORS.get(code)
    if kind is not None:
        return kind(cause, hint=hint)
    if code in CODES:
        return Unreachable(cause, hint=hint) if status in (401, 503) else ServerFault(cause)
    return rejected(code, cause, hint)


def rejected(reason: str, cause: str, hint: str) -> Rejected:
    """Of a pool or a receipt: its code stands in the words too, and `apocryph explain` knows it."""
    return Rejected(f"{reason}: {cause}", reason=reason, hint=hint)


class Transport:
    """Requests to `url`, with a session that is opened when it is needed."""

    def __init__(self, url: str, *, token: str, timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers, read_bufsize=EVENT_LINE_BYTES_MAX
            )
        return self._session

    async def get(
        self, path: str, query: Mapping[str, Any] | None = None, *, extra_s: float = 0
    ) -> Json:
        status, answer = await self.ask("GET", path, query, None, extra_s)
        if status >= 400 or not isinstance(answer, dict):
            raise error_of(status, answer)
        return answer

    async def ask(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: Any, extra_s: float
    ) -> tuple[int, Any]:
        """(status, JSON or text). Raises Unreachable, TimedOut."""
        limits = aiohttp.ClientTimeout(total=self._timeout_s + extra_s, sock_connect=CONNECT_S)
        params = {key: str(value) for key, value in (query or {}).items()}
        # A file: aiohttp sends large bytes only with a warning, in one piece.
        data = None if body is None else BytesIO(json.dumps(body).encode())
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            async with self._open().request(
                method, self.url + path, params=params, data=data, headers=headers, timeout=limits
            ) as response:
                raw = await _bounded(response)
        except aiohttp.ConnectionTimeoutError as error:  # definite: nothing was sent
            raise self._unreachable(error) from error
        except TimeoutError as error:
            raise TimedOut(f"{self.url} did not answer in {self._timeout_s:g} s") from error
        except (aiohttp.ClientError, ValueError) as error:
            if method != "GET" and not isinstance(error, aiohttp.ClientConnectorError):
                cause = f"{self.url}: the connection broke: it may have been taken"
                raise TimedOut(cause, hint="`apocryph tx ID` tells what became of it") from error
            raise self._unreachable(error) from error
        try:
            return response.status, json.loads(raw)
        except (ValueError, RecursionError):
            return response.status, raw.decode(errors="replace")

    def _unreachable(self, error: Exception) -> Unreachable:
        cause = str(error) or type(error).__name__
        if isinstance(error, aiohttp.ClientConnectorError):
            refused = isinstance(error.os_error, ConnectionRefusedError)
            cause = "nothing listens there" if refused else str(error.os_error)
        return Unreachable(f"{self.url}: {cause}")

    async def stream(
        self, path: str, query: Mapping[str, str], cursor: str
    ) -> AsyncIterator[EventRecord]:
        """Events after a cursor, until the connection ends. Raises Unreachable and the like."""
        headers = {"Last-Event-ID": cursor} if cursor else {}
        limits = aiohttp.ClientTimeout(sock_connect=CONNECT_S, sock_read=EVENT_SILENCE_S)
        try:
            async with self._open().get(
                self.url + path, params=query, headers=headers, timeout=limits
            ) as response:
                if response.status != 200:
                    raise error_of(response.status, await response.json())
                async for record in _records(response.content):
                    yield record
        except (aiohttp.ClientError, TimeoutError, ValueError, RecursionError) as error:
            raise self._unreachable(error) from error


def part(text: str) -> str:
    """One part of a path."""
    return quote(text, safe="")


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > REPLY_BYTES_MAX:
            raise ValueError(f"an answer of more than {REPLY_BYTES_MAX} bytes")
        parts.append(piece)
    return b"".join(parts)


async def _records(content: aiohttp.StreamReader) -> AsyncIterator[EventRecord]:
    """Server-sent events of a byte stream."""
    cursor, kind, data = "", "message", ""
    async for raw in content:
        line = raw.decode().rstrip("\r\n")
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield EventRecord(cursor, kind, json.loads(data))
            cursor, kind, data = "", "message", ""
        elif name == "id":
            cursor = value
        elif name == "event":
            kind = value
        elif name == "data":
            data += value
