"""A fabric at another server: the same methods, the same errors.

Reconnects by itself; listeners and workers go on where they were. Knows nothing of gRPC:
`connection` does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Self, TypeVar

import grpc

from perper_core import limits
from perper_core.errors import Conflict, FabricError, Invalid, NotFound
from perper_core.ports import (
    ANY_VERSION,
    DEFAULT_EXECUTION,
    DEFAULT_STREAM,
    LIVE,
    Appended,
    ExecutionInfo,
    ExecutionOptions,
    ExecutionState,
    Failure,
    Fence,
    Producer,
    StateEntry,
    Stopped,
    StreamInfo,
    StreamOptions,
)
from perper_core.values import Value
from perper_core.wire import frames as f
from perper_core.wire.connection import Connection
from perper_core.wire.dispatch import error_from
from perper_core.wire.limits import CONNECT_S_DEFAULT, PAGES_MAX, WINDOW_DEFAULT
from perper_core.wire.remote import RemoteListener, RemoteReservations

T = TypeVar("T")


async def connect(
    address: str,
    *,
    token: str = "",
    credentials: grpc.ChannelCredentials | None = None,
    wait_s: float = CONNECT_S_DEFAULT,
) -> "RemoteFabric":
    """The fabric served at `host:port` or `unix:PATH`. Raises NotFound if nobody answers within
    `wait_s`, Denied for a token that is not known there."""
    fabric = RemoteFabric(address, token=token, credentials=credentials)
    try:
        await fabric.connected(wait_s)
    except BaseException:
        await fabric.close()
        raise
    return fabric


class RemoteFabric:
    """A Fabric over gRPC. Make it with `connect`."""

    def __init__(
        self, address: str, *, token: str = "", credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        self._listeners: dict[int, RemoteListener] = {}
        self._workers: dict[int, RemoteReservations] = {}
        self._last_id = 0
        self._background: set[asyncio.Task[None]] = set()
        self._beating: asyncio.Task[None] | None = None
        self._connection = Connection(
            address,
            token=token,
            credentials=credentials,
            on_session=self._on_session,
            on_unasked=self._on_unasked,
            on_lost=self._on_lost,
        )

    async def connected(self, wait_s: float) -> None:
        """Wait for a connection. NotFound after `wait_s`, Denied when it is refused."""
        try:
            async with asyncio.timeout(wait_s):
                await self._connection.settled.wait()
        except TimeoutError as error:
            address = self._connection.address
            raise NotFound("no fabric server answers", address=address) from error
        if self._connection.fatal is not None:
            raise self._connection.fatal

    # ---------------------------------------------------------------- streams

    async def create_stream(
        self, name: str, options: StreamOptions = DEFAULT_STREAM, *, fence: Fence | None = None
    ) -> StreamInfo:
        return await self._ask(f.CreateStream(name, options, fence), StreamInfo)

    async def append(
        self,
        stream: str,
        items: Sequence[bytes],
        *,
        keys: Sequence[int] | None = None,
        fields: Sequence[int] | int | None = None,
        producer: Producer | None = None,
        fence: Fence | None = None,
        wait: bool = True,
    ) -> Appended:
        if keys is not None and len(keys) != len(items):
            raise Invalid("a key for each item", keys=len(keys), items=len(items))
        if fields is not None and not isinstance(fields, int) and len(fields) != len(items):
            raise Invalid("a field for each item", fields=len(fields), items=len(items))
        each = fields if fields is not None and not isinstance(fields, int) else ()
        field = fields if isinstance(fields, int) else None
        op = f.Append(stream, items, keys or (), each, field, producer, fence, wait, False)
        return await self._ask(op, Appended)

    async def listen(
        self,
        stream: str,
        *,
        name: str = "",
        first: int = LIVE,
        flow: bool = False,
        batch_items: int = limits.BATCH_ITEMS_DEFAULT,
        batch_bytes: int = limits.BATCH_BYTES_DEFAULT,
    ) -> RemoteListener:
        op = f.Listen(
            self._next_id(), stream, name, first, flow, batch_items, batch_bytes, WINDOW_DEFAULT
        )
        listener = RemoteListener(self, op)
        self._listeners[listener.id] = listener
        await self._attach(listener.attach, self._listeners, listener.id)
        self._displace_by(listener)
        return listener

    def _displace_by(self, newer: RemoteListener) -> None:
        """The server tells it too, but a little later."""
        for older in list(self._listeners.values()):
            same = older.name and (older.stream, older.name) == (newer.stream, newer.name)
            if same and older.attached and older.id < newer.id:
                older.on_end(Conflict("a newer listener has this name", listener=newer.name))

    async def ack(self, stream: str, name: str, offset: int) -> None:
        await self._ask(f.Ack(stream, name, offset), f.Done)

    async def forget(self, stream: str, name: str) -> None:
        await self._ask(f.Forget(stream, name), f.Done)

    async def end(self, stream: str, *, fence: Fence | None = None) -> None:
        await self._ask(f.End(stream, fence), f.Done)

    async def break_stream(
        self, stream: str, failure: Failure, *, fence: Fence | None = None
    ) -> None:
        await self._ask(f.BreakStream(stream, failure, fence), f.Done)

    async def remove_stream(self, stream: str) -> None:
        await self._ask(f.RemoveStream(stream), f.Done)

    async def stream_info(self, stream: str) -> StreamInfo:
        return await self._ask(f.GetStream(stream), StreamInfo)

    async def list_streams(
        self, prefix: str = "", *, after: str = "", limit: int = limits.LIST_ITEMS_MAX
    ) -> list[StreamInfo]:
        async def page(after: str, limit: int) -> tuple[Sequence[StreamInfo], bool]:
            reply = await self._ask(f.ListStreams(prefix, after, limit), f.StreamPage)
            return reply.streams, reply.more

        return await _pages(page, lambda row: row.name, after, limit)

    # ---------------------------------------------------------------- executions

    async def create(
        self,
        id: str,
        *,
        instance: str,
        delegate: str,
        argument: Value = None,
        parent: Fence | None = None,
        detached: bool = False,
        options: ExecutionOptions = DEFAULT_EXECUTION,
    ) -> ExecutionInfo:
        op = f.Create(id, instance, delegate, argument, parent, detached, options)
        return await self._ask(op, ExecutionInfo)

    async def reserve(
        self,
        group: str,
        *,
        instance: str = "",
        delegates: Sequence[str] = (),
        parallel: int = 1,
    ) -> RemoteReservations:
        op = f.Reserve(self._next_id(), group, instance, delegates, parallel, ())
        worker = RemoteReservations(self, op)
        self._workers[worker.id] = worker
        await self._attach(worker.attach, self._workers, worker.id)
        if self._beating is None:
            self._beating = self._spawn(self._beat(), "beats")
        return worker

    async def finish(self, id: str, token: int, result: Value = None) -> None:
        await self._ask(f.Finish(id, token, result), f.Done)
        self._conclude(id, token)

    async def fail(self, id: str, token: int, failure: Failure) -> None:
        await self._ask(f.Fail(id, token, failure), f.Done)
        self._conclude(id, token)

    async def cancel(self, id: str, *, reason: str = "") -> bool:
        return (await self._ask(f.CancelExecution(id, reason), f.Flag)).flag

    async def retry(self, id: str) -> None:
        await self._ask(f.Retry(id), f.Done)

    async def result(self, id: str, *, deadline_s: float = limits.DEADLINE_S_DEFAULT) -> Value:
        return (await self._ask(f.Await(id, deadline_s), f.ValueReply)).value

    async def call(
        self,
        instance: str,
        delegate: str,
        argument: Value = None,
        *,
        id: str = "",
        deadline_s: float = limits.DEADLINE_S_DEFAULT,
        parent: Fence | None = None,
        options: ExecutionOptions = DEFAULT_EXECUTION,
    ) -> Value:
        op = f.Call(instance, delegate, argument, id, deadline_s, parent, options)
        return (await self._ask(op, f.ValueReply)).value

    async def execution(self, id: str) -> ExecutionInfo:
        return await self._ask(f.GetExecution(id), ExecutionInfo)

    async def list_executions(
        self,
        *,
        instance: str = "",
        states: Sequence[ExecutionState] = (),
        after: str = "",
        limit: int = limits.LIST_ITEMS_MAX,
    ) -> list[ExecutionInfo]:
        async def page(after: str, limit: int) -> tuple[Sequence[ExecutionInfo], bool]:
            op = f.ListExecutions(instance, states, after, limit)
            reply = await self._ask(op, f.ExecutionPage)
            return reply.executions, reply.more

        return await _pages(page, lambda row: row.id, after, limit)

    # ---------------------------------------------------------------- states

    async def get(self, state: str, key: str) -> StateEntry | None:
        return (await self._ask(f.Get(state, key), f.EntryReply)).entry

    async def put(
        self,
        state: str,
        key: str,
        value: Value,
        *,
        version: int = ANY_VERSION,
        fence: Fence | None = None,
    ) -> int:
        return (await self._ask(f.Put(state, key, value, version, fence), f.Version)).version

    async def remove(
        self,
        state: str,
        key: str,
        *,
        version: int = ANY_VERSION,
        fence: Fence | None = None,
    ) -> bool:
        return (await self._ask(f.Remove(state, key, version, fence), f.Flag)).flag

    async def list_state(
        self, state: str, *, after: str = "", limit: int = limits.LIST_ITEMS_MAX
    ) -> list[StateEntry]:
        async def page(after: str, limit: int) -> tuple[Sequence[StateEntry], bool]:
            reply = await self._ask(f.ListState(state, after, limit), f.EntryPage)
            return reply.entries, reply.more

        return await _pages(page, lambda row: row.key, after, limit)

    # ---------------------------------------------------------------- the end

    async def close(self) -> None:
        """See the port. The server's fabric stays open."""
        for task in list(self._background):
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        await self._connection.close()
        assert self._connection.fatal is not None, "a closed connection says why"
        for listener in self._listeners.values():
            listener.stop(self._connection.fatal)
        for worker in self._workers.values():
            worker.on_end(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ---------------------------------------------------------------- the link

    async def ask(self, op: f.Op) -> f.Payload:
        """For listeners and workers."""
        return await self._connection.ask(op)

    def tell(self, op: f.Op) -> None:
        """For listeners and workers."""
        self._connection.tell(op)

    async def part(self, op: f.Op) -> None:
        """For listeners and workers."""
        match op:
            case f.Detach(listener):
                self._listeners.pop(listener, None)
            case f.Leave(worker, _):
                self._workers.pop(worker, None)
        if self._connection.fatal is not None:
            return
        task = self._spawn(self._ask_quietly(op), "part")
        if self._connection.connected.is_set():
            await asyncio.wait([task])

    async def _ask_quietly(self, op: f.Op) -> None:
        try:
            await self._connection.ask(op)
        except FabricError:  # no server, nothing to part from
            pass

    async def _ask(self, op: f.Op, kind: type[T]) -> T:
        payload = await self._connection.ask(op)
        if not isinstance(payload, kind):
            raise Invalid(f"{type(payload).__name__} is no answer to {type(op).__name__}")
        return payload

    async def _attach(
        self, attach: Callable[[], Awaitable[None]], registry: dict[int, Any], id: int
    ) -> None:
        try:
            await attach()
        except BaseException:
            registry.pop(id, None)
            raise

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # ---------------------------------------------------------------- from the connection

    def _on_session(self, resumed: bool) -> None:
        for listener in self._listeners.values():
            if listener.attached:
                self._spawn(listener.attach_again(), "listen again")
        for worker in self._workers.values():
            if worker.attached:
                self._spawn(worker.attach_again(), "reserve again")

    def _on_lost(self) -> None:
        for worker in self._workers.values():
            worker.on_lost()

    def _on_unasked(self, payload: f.Payload) -> None:
        match payload:
            case f.Items():
                if (listener := self._listeners.get(payload.listener)) is not None:
                    listener.on_items(payload)
            case f.ListenerError(id, error):
                if (listener := self._listeners.get(id)) is not None:
                    listener.on_error(error_from(error))
            case f.ListenerEnd(id, end):
                if (listener := self._listeners.get(id)) is not None:
                    listener.on_end(None if end is None else error_from(end))
            case f.Work(id, work):
                if (worker := self._workers.get(id)) is not None:
                    worker.on_work(work)
            case f.Halt(id, execution, token, reason):
                if (worker := self._workers.get(id)) is not None:
                    worker.on_halt(
                        Stopped(execution, token, "lost" if reason == "lost" else "cancelled")
                    )
            case f.WorkerEnd(id, end):
                if (worker := self._workers.pop(id, None)) is not None:
                    worker.on_end(None if end is None else error_from(end))

    def _conclude(self, id: str, token: int) -> None:
        for worker in self._workers.values():
            worker.conclude(id, token)

    async def _beat(self) -> None:
        """Contract 14: one heartbeat for all workers of this session."""
        while self._workers:
            self.tell(f.Beat())
            await asyncio.sleep(limits.LEASE_BEAT_S)
        self._beating = None


async def _pages(
    page: Callable[[str, int], Awaitable[tuple[Sequence[T], bool]]],
    key: Callable[[T], str],
    after: str,
    limit: int,
) -> list[T]:
    """A list of `limit` rows, however the server cuts it."""
    rows: list[T] = []
    for _ in range(PAGES_MAX):
        found, more = await page(after, limit - len(rows))
        rows += found
        if not more or len(rows) >= limit or not found:
            break
        after = key(found[-1])
    return rows
