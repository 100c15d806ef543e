"""Queries over links: ask with a deadline, serve with bounds, cancel on both ends.

Frames come from and go to links; who is linked is the exchange's business. Deadlines and bounds are
kept by `queries.py`, this module adds futures and handler tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import NoReturn

from network.carrier import Link
from network.envelope import (
    Query,
    Status,
    decode_cause,
    decode_query,
    decode_reply,
    encode_cause,
    encode_query,
    encode_reply,
)
from network.errors import Busy, QueryError, Refused, Timeout, TooBig, Unreachable
from network.limits import QUERY_BYTES_MAX, QUERY_TIMEOUT_MS_MAX, REPLY_BYTES_MAX
from network.ports import Class, Handler, PeerId
from network.queries import Inflight, Open, OpenQueries
from network.records import malformed

REPLY_HEAD = 2  # bytes of a reply frame before its data


@dataclass(frozen=True, slots=True)
class _Served:
    max_request: int
    inflight: int
    handler: Handler


class Service:
    """All queries of one adapter, ours and theirs."""

    def __init__(self) -> None:
        self._served: dict[str, _Served] = {}
        self._open = OpenQueries()
        self._waiting: dict[tuple[PeerId, int], tuple[Link, asyncio.Future[bytes]]] = {}
        self._inflight = Inflight()
        self._tasks: dict[tuple[PeerId, int], asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    # -- asking -----------------------------------------------------------------------------------

    async def query(
        self, link: Link, proto: str, data: bytes, cls: Class, deadline: float, max_reply: int
    ) -> bytes:
        """Ports' `query` to a linked peer."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if len(data) > QUERY_BYTES_MAX or max_reply > REPLY_BYTES_MAX:
            raise TooBig("query beyond the bounds of this adapter")
        if deadline <= now:
            raise Timeout("deadline already past")
        self._open.check(link.peer)
        timeout_ms = min(int((deadline - now) * 1000) + 1, QUERY_TIMEOUT_MS_MAX)
        stream = link.take_stream()
        key = (link.peer, stream)
        frame = encode_query(Query(proto, max_reply, timeout_ms, data))
        if not link.send(frame, cls, stream, deadline):
            raise Busy("queue of this class is full")
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting[key] = (link, future)
        self._open.add(Open(link.peer, stream, deadline, max_reply))
        self._arm(loop)
        try:
            return await future
        finally:
            self._waiting.pop(key, None)
            if self._open.close(link.peer, stream):
                link.cancel(stream)  # we were cancelled: the peer need not go on

    def on_reply(self, link: Link, stream: int, frame: bytes) -> None:
        """A late reply finds its query closed, and is dropped."""
        query = self._open.find(link.peer, stream)
        if query is None:
            return
        status, data = decode_reply(frame)
        if status is Status.OK:
            if len(data) > query.max_reply:
                self.on_oversize(link, stream)
                raise malformed("reply beyond the bound that it was told")
            self._finish(link.peer, stream, data)
        else:
            self._finish(link.peer, stream, _error(status, data))

    def reply_bound(self, peer: PeerId, stream: int) -> int:
        """Most bytes of a reply frame on `stream`; 0 if nobody waits for it."""
        query = self._open.find(peer, stream)
        return 0 if query is None else query.max_reply + REPLY_HEAD

    def on_oversize(self, link: Link, stream: int) -> None:
        self._finish(link.peer, stream, TooBig("reply beyond its bound"))

    def _finish(self, peer: PeerId, stream: int, outcome: bytes | QueryError) -> None:
        if not self._open.close(peer, stream):
            return
        _, future = self._waiting[peer, stream]
        if future.done():
            return
        if isinstance(outcome, bytes):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        deadline = self._open.next_deadline()
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for query in self._open.expired(max(loop.time(), self._timer_at)):
            link, future = self._waiting[query.peer, query.stream]
            link.cancel(query.stream)
            if not future.done():
                future.set_exception(Timeout("no reply before the deadline"))
        self._arm(loop)

    # -- serving ----------------------------------------------------------------------------------

    def serve(self, proto: str, max_request: int, inflight: int, handler: Handler) -> None:
        self._served[proto] = _Served(max_request, inflight, handler)

    def on_query(self, link: Link, cls: Class, stream: int, frame: bytes) -> None:
        query = decode_query(frame)
        key = (link.peer, stream)
        if key in self._tasks:
            return  # a duplicate of what is being worked on
        served = self._served.get(query.proto)
        if served is None:
            self._reply(link, cls, stream, Status.NOT_SERVED, b"")
        elif len(query.data) > served.max_request:
            self._reply(link, cls, stream, Status.REQUEST_TOO_BIG, b"")
        elif not self._inflight.enter(link.peer, query.proto, served.inflight):
            self._reply(link, cls, stream, Status.BUSY, encode_cause("too many at once"))
        else:
            self._start(link, cls, stream, query, served.handler)

    def _start(self, link: Link, cls: Class, stream: int, query: Query, handler: Handler) -> None:
        try:
            answer = handler(link.peer, query.data)
        except Exception as error:
            self._inflight.leave(link.peer, query.proto)
            self._fail(link, cls, stream, error)
            return
        if isinstance(answer, bytes):
            self._inflight.leave(link.peer, query.proto)
            self._answer(link, cls, stream, query, answer)
            return
        work = self._work(link, cls, stream, query, answer)
        task = asyncio.get_running_loop().create_task(work)
        key = (link.peer, stream)
        self._tasks[key] = task
        self._running.add(task)

        # A task that is cancelled before its first step never runs a line: so clean up from here.
        def ended(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            self._inflight.leave(link.peer, query.proto)
            if self._tasks.get(key) is task:
                del self._tasks[key]
            if isinstance(answer, Coroutine):
                answer.close()

        task.add_done_callback(ended)

    async def _work(
        self, link: Link, cls: Class, stream: int, query: Query, answer: Awaitable[bytes]
    ) -> None:
        try:
            async with asyncio.timeout(min(query.timeout_ms, QUERY_TIMEOUT_MS_MAX) / 1000):
                data = await answer
            self._answer(link, cls, stream, query, data)
        except TimeoutError:
            pass  # the asker has given up as well
        except Exception as error:
            self._fail(link, cls, stream, error)

    def _answer(self, link: Link, cls: Class, stream: int, query: Query, data: bytes) -> None:
        if len(data) > min(query.max_reply, REPLY_BYTES_MAX):
            self._reply(link, cls, stream, Status.REPLY_TOO_BIG, b"")
        else:
            self._reply(link, cls, stream, Status.OK, data)

    def _fail(self, link: Link, cls: Class, stream: int, error: Exception) -> None:
        if isinstance(error, Busy):
            self._reply(link, cls, stream, Status.BUSY, encode_cause(error.cause))
        elif isinstance(error, Refused):
            self._reply(link, cls, stream, Status.REFUSED, encode_cause(error.cause))
        else:
            self._reply(link, cls, stream, Status.REFUSED, encode_cause("fault"))
            context = {"message": "a query handler failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    @staticmethod
    def _reply(link: Link, cls: Class, stream: int, status: Status, data: bytes) -> None:
        expires = asyncio.get_running_loop().time() + QUERY_TIMEOUT_MS_MAX / 1000
        if not link.send(encode_reply(status, data), cls, stream, expires):
            full = encode_reply(Status.BUSY, encode_cause("queue full"))
            link.send(full, Class.VOTE, stream, expires)

    def on_reset(self, link: Link, stream: int) -> None:
        """The peer has given up its query, or its reply to ours."""
        task = self._tasks.get((link.peer, stream))
        if task is not None:
            task.cancel()
        else:
            self._finish(link.peer, stream, Unreachable("reply was cut off"))

    # -- ends -------------------------------------------------------------------------------------

    def link_down(self, peer: PeerId) -> None:
        for stream in self._open.drop_peer(peer):
            _, future = self._waiting[peer, stream]
            if not future.done():
                future.set_exception(Unreachable("the link broke"))
        for key in [key for key in self._tasks if key[0] == peer]:
            self._tasks.pop(key).cancel()

    async def close(self) -> None:
        """Cancel handlers and wait for them; queries end with their links."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def refuse(cause: str) -> Callable[[PeerId, bytes], NoReturn]:
    """A handler that refuses everything."""

    def handler(peer: PeerId, data: bytes) -> NoReturn:
        raise Refused(cause)

    return handler


def _error(status: Status, data: bytes) -> QueryError:
    cause = decode_cause(data)
    if status is Status.BUSY:
        return Busy(cause)
    if status is Status.REQUEST_TOO_BIG:
        return TooBig("request beyond the peer's bound")
    if status is Status.REPLY_TOO_BIG:
        return TooBig("reply beyond its bound")
    if status is Status.NOT_SERVED:
        return Refused("not served")
    return Refused(cause)
