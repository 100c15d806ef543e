"""Target `http`: requests to the gateway of a real node, through its application's own handling.

Text as in HTTP/1.1 without a version: `METHOD TARGET`, headers, an empty line, the body. What must
hold: no answer is 500, all errors are the envelope, JSON is JSON, nothing but the node's own waits.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from consensus.ids import account_text
from node.agents.gateway_limits import BODY_BYTES_MAX
from node.validator import Validator
from tests.fuzz.fuzz_consensus import vectors
from tests.fuzz.fuzz_target import Target
from tests.node.gateway_lab import ALICE, BOB, lab_spec, running

_BYTES = ("utf-8", "surrogateescape")  # as aiohttp reads heads
TOKEN = "a token of this node"
WAIT_S = 0.05  # of answers that wait for something, events among them
LINE_BYTES_MAX = 8190  # as aiohttp's parser has it
PATHS = [
    *["/v1/status", "/v1/status?after=0&wait_ms=5", "/v1/blocks?before=3&limit=2"],
    *["/v1/blocks?raw=1&from=0&count=3", "/v1/blocks/latest", "/v1/blocks/0", "/v1/agents"],
    *["/v1/agents/token", "/v1/agents/token/views/balance?owner=0x" + bytes(BOB.account).hex()],
    *["/v1/slots", "/v1/peers", "/v1/events?types=block,receipt&after=0.1", "/livez"],
    *["/readyz?verbose=1", "/metrics", "/openapi.json"],
]


class _Reading:
    """As much of a connection as a body's reader asks."""

    _reading_paused = False

    def pause_reading(self, **how: Any) -> None: ...

    def resume_reading(self, **how: Any) -> None: ...


class _Loopback(asyncio.Transport):
    """A connection of this machine."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def is_closing(self) -> bool:
        return False


class _Unsendable(Exception):
    """Bytes that no HTTP parser would hand on."""


class _Node:
    """One validator that owns all slots, and the loop that it lives on between inputs."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.validator = self.loop.run_until_complete(self._start())

    async def _start(self) -> Validator:
        place = Path(self.stack.enter_context(TemporaryDirectory()))
        return await self.stack.enter_async_context(running(place, lab_spec(), token=TOKEN))

    @property
    def app(self) -> web.Application:
        runner = self.validator.gateway._runner
        assert runner is not None, "it has started"
        return runner.app

    def close(self) -> None:
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.close()

    def ask(self, raw: bytes) -> web.StreamResponse | None:
        return self.loop.run_until_complete(self._ask(raw))

    async def _ask(self, raw: bytes) -> web.StreamResponse | None:
        request = _request(raw, self.app)
        try:
            return await asyncio.wait_for(self.app._handle(request), WAIT_S)
        except TimeoutError:
            return None


_open: list[_Node] = []


def _request(raw: bytes, app: web.Application) -> web.Request:
    head, _, body = raw.partition(b"\n\n")
    first, *lines = head.decode(*_BYTES).split("\n")
    method, _, target = first.partition(" ")
    if not method.isascii() or not method.isalpha() or not target.startswith("/"):
        raise _Unsendable
    if len(first) > LINE_BYTES_MAX or any(ord(each) <= 32 for each in target):
        raise _Unsendable
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, mark, value = line.partition(":")
        if not mark or not name.isascii() or any(ord(each) < 32 for each in line):
            raise _Unsendable
        headers.add(name, value.strip())
    headers.setdefault("Host", "127.0.0.1")
    headers.setdefault("Authorization", f"Bearer {TOKEN}")
    reading: Any = _Reading()
    payload = StreamReader(reading, 2**16, loop=asyncio.get_running_loop())
    payload.feed_data(body)
    payload.feed_eof()
    return _made(method, target, CIMultiDictProxy(headers), payload, app)


def _made(
    method: str,
    target: str,
    headers: CIMultiDictProxy[str],
    payload: StreamReader,
    app: web.Application,
) -> web.Request:
    """As aiohttp's parser makes it; its own maker for tests takes no bytes that are no UTF-8."""
    raw = tuple((name.encode(), value.encode(*_BYTES)) for name, value in headers.items())
    try:
        url = URL(target)
    except ValueError as error:
        raise _Unsendable from error
    message = RawRequestMessage(
        method.upper(), target, HttpVersion11, headers, raw, False, None, False, False, url
    )
    stand_in: Any = make_mocked_request("GET", "/", transport=_Loopback(), app=app)
    task: Any = asyncio.current_task()
    request = web.Request(
        message,
        payload,
        stand_in.protocol,
        stand_in._payload_writer,
        task,
        asyncio.get_running_loop(),
        client_max_size=BODY_BYTES_MAX,
    )
    request._match_info = stand_in.match_info
    return request


def _asked(raw: bytes) -> web.StreamResponse | None:
    if not _open:
        _open.append(_Node())
    return _open[0].ask(raw)


def _close() -> None:
    while _open:
        _open.pop().close()


def _answers(raw: bytes, answer: web.StreamResponse | None) -> None:
    if answer is None:
        return
    assert answer.status < 500 or answer.status in (503, 504), f"{answer.status}"
    if isinstance(answer, web.Response) and answer.content_type == "application/json":
        found = json.loads(answer.text or "", parse_constant=_no_constant)
        assert answer.status < 400 or found["errors"], "an error without the envelope"


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def _requests() -> Iterable[bytes]:
    for path in PATHS:
        yield f"GET {path}\nHost: localhost\n\n".encode()
    yield f"GET /v1/status\nHost: elsewhere\nAuthorization: Bearer {TOKEN}\n\n".encode()
    for kind in ("accounts", "tx", "proofs", "agents"):
        yield f"GET /v1/{kind}/{account_text(ALICE.account)}\n\n".encode()
    sent = b64encode(next(iter(vectors("message")()))).decode()
    body = json.dumps({"messages": [sent, sent]})
    yield f"POST /v1/messages?wait_s=0\nContent-Type: application/json\n\n{body}".encode()


TARGETS = [
    Target("http", _asked, (_Unsendable,), _requests, check=_answers, release=_close, burst=40)
]
