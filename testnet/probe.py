"""Asking a validator's API: one small HTTP request, JSON back. Lean, so that starting stays fast.

HTTP/1.0 on loopback, where the answer ends with the connection. The full client is `node.client`;
knows no path and no meaning.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from node.errors import CODES, NodeError, Rejected, Unreachable
from testnet.limits import ASK_S, LINE_BYTES_MAX, REPLY_BYTES_MAX

_EVENT: Final = b"event:"
_DATA: Final = b"data:"


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: Any  # decoded JSON, or text where it is none


async def get(api: str, path: str, *, timeout_s: float = ASK_S) -> Reply:
    """Raises Unreachable when nobody answers in time."""
    return await _ask(api, f"GET {path} HTTP/1.0\r\n", b"", timeout_s)


async def post(api: str, path: str, value: object, *, timeout_s: float = ASK_S) -> Reply:
    """Raises Unreachable when nobody answers in time: then the outcome is unknown."""
    body = json.dumps(value).encode()
    head = (
        f"POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    return await _ask(api, head, body, timeout_s)


async def _ask(api: str, head: str, body: bytes, timeout_s: float) -> Reply:
    place = urlsplit(api)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            try:
                writer.write(f"{head}Host: {place.netloc}\r\n\r\n".encode() + body)
                raw = await _read(reader)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise Unreachable(f"{api} does not answer") from error
    return _reply(api, raw)


async def _read(reader: asyncio.StreamReader) -> bytes:
    pieces, size = [], 0
    while piece := await reader.read(65_536):
        size += len(piece)
        if size > REPLY_BYTES_MAX:
            raise TimeoutError  # no node answers with so much; treated as no answer
        pieces.append(piece)
    return b"".join(pieces)


def _reply(api: str, raw: bytes) -> Reply:
    head, mark, body = raw.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if not mark or len(words) < 2 or not words[1].isdigit():
        raise Unreachable(f"{api} does not answer as a node does")
    try:
        value = json.loads(body)
    except ValueError:
        value = body.decode(errors="replace")
    return Reply(int(words[1]), value)


def told(record: Any) -> NodeError:
    """The error that another process told: `record` is one of `errors` of its envelope.

    A code that is not in the table of codes is a node's or agent's reason to refuse.
    """
    if not isinstance(record, dict):
        return Unreachable(f"an answer without a form: {record!r}")
    code, message = str(record.get("code")), str(record.get("message"))
    hint = str(record.get("hint", ""))
    if code not in CODES:
        return Rejected(message, reason=code, hint=hint)
    error = type("Told", (NodeError,), {"code": code})(message, hint=hint)
    assert isinstance(error, NodeError)
    return error


async def blocks(api: str, after: int) -> AsyncIterator[dict[str, Any]]:
    """Summaries of the blocks above a height, each as soon as it is committed; without end.

    Raises Unreachable when the connection ends.
    """
    place = urlsplit(api)
    path = f"/v1/events?types=block&after={after}"
    try:
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_connection(
                place.hostname, place.port, limit=LINE_BYTES_MAX
            )
    except (OSError, TimeoutError) as error:
        raise Unreachable(f"{api} does not answer") from error
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {place.netloc}\r\n\r\n".encode())
        kind = b""  # others than blocks are words about the stream
        while line := await reader.readline():
            if line.startswith(_EVENT):
                kind = line[len(_EVENT) :].strip()
            elif line.startswith(_DATA) and kind == b"block":
                yield json.loads(line[len(_DATA) :])
    except (OSError, ValueError) as error:
        raise Unreachable(f"{api} broke off: {error}") from error
    finally:
        writer.close()
    raise Unreachable(f"{api} closed the stream of blocks")
