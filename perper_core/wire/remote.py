"""Listeners and reservations of a remote fabric, and how they go on over a new connection.

A listener asks again from the first offset it has not received; a worker says what it still works
on. Knows nothing of gRPC: `Link` is what it needs of the connection.
"""

import asyncio
from collections import deque
from types import TracebackType
from typing import Protocol, Self

from perper_core import limits
from perper_core.errors import Cancelled, Conflict, FabricError, Invalid, NotFound, Truncated
from perper_core.ports import Batch, Fence, Reserved, Stopped
from perper_core.wire import frames as f
from perper_core.wire.session import Returns, weight

LASTING = (Conflict, NotFound, Cancelled)
"""Errors that a listener raises again and again: it is of no use any more."""


class Link(Protocol):
    """What a listener or worker needs of the connection."""

    async def ask(self, op: f.Op) -> f.Payload: ...
    def tell(self, op: f.Op) -> None: ...
    async def part(self, op: f.Op) -> None:
        """Ask, but wait only if there is a server, and never fail."""
        ...


class Waited:
    """Something that one task waits for at a time."""

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Until `wake`. Invalid while another task waits."""
        if self._waiter is not None:
            raise Invalid("one task iterates")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class RemoteListener:
    """A Listener at another server. Holds at most one window of items."""

    def __init__(self, link: Link, op: f.Listen) -> None:
        self.attached = False
        """Whether the server has said so once; from then on it is attached again when the
        connection is new."""
        self._link = link
        self._op = op
        self._inbox: deque[Batch | FabricError] = deque()
        self._waited = Waited()
        self._next = 0  # offset expected from the server; 0: not known yet
        self._returns = Returns(op.window)
        self._held = 0  # weight of the inbox
        self._acked = 0
        self._flow = False
        self._end: FabricError | None = None
        self._ended = False
        self._closed = False

    @property
    def id(self) -> int:
        return self._op.listener

    @property
    def stream(self) -> str:
        return self._op.stream

    @property
    def name(self) -> str:
        return self._op.name

    @property
    def flow(self) -> bool:
        return self._flow

    @property
    def position(self) -> int:
        for entry in self._inbox:
            if isinstance(entry, Batch):
                return entry.first
        return self._next

    # ---------------------------------------------------------------- from the server

    async def attach(self) -> None:
        """Ask to be attached; done when this returns."""
        self._on_attached(await self._link.ask(self._op))

    async def attach_again(self) -> None:
        """Over a new connection: what was received stays, the rest is asked for again."""
        self._returns.clear()
        window = max(1, self._op.window - self._held)
        try:
            payload = await self._link.ask(self._op._replace(first=self._next, window=window))
        except FabricError as error:
            self.on_end(error)
            return
        self._on_attached(payload)
        if self._acked:
            self._link.tell(f.ListenerAck(self.id, self._acked))

    def _on_attached(self, payload: f.Payload) -> None:
        if not isinstance(payload, f.Attached):
            raise Invalid("not an answer to listen")
        self._flow = payload.flow
        if not self.attached:
            self.attached = True
            # items may have come in the same frame, before this task ran
            self._next = self._next or payload.position

    def on_items(self, items: f.Items) -> None:
        """Items, dense behind the last ones but after a Truncated. Some may come twice."""
        batch = Batch(items.first, items.raws, items.keys)
        if self._next and batch.first < self._next:  # a named position was behind what we have
            skip = min(self._next - batch.first, len(batch))
            self._give_back(weight(batch.raws[:skip]))
            keys = None if batch.keys is None else batch.keys[skip:]
            batch = Batch(batch.first + skip, batch.raws[skip:], keys)
            if not batch.raws:
                return
        elif self._next and batch.first > self._next:  # never skip silently
            self.on_error(Truncated("items were dropped", first=batch.first))
        self._next = batch.last + 1
        self._held += weight(batch.raws)
        self._put(batch)

    def on_error(self, error: FabricError) -> None:
        """An error after which it goes on."""
        if isinstance(error, Truncated):
            self._next = max(self._next, error.first)
        self._put(error)

    def on_end(self, error: FabricError | None) -> None:
        """No more items."""
        if self._ended:
            return
        if isinstance(error, Conflict):  # a newer listener of the name gets what is not processed
            self._inbox.clear()
        self._end = error
        self._ended = True
        self._waited.wake()

    def _put(self, entry: Batch | FabricError) -> None:
        self._inbox.append(entry)
        self._waited.wake()

    # ---------------------------------------------------------------- to the reader

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        while True:
            if self._closed:
                raise StopAsyncIteration
            if self._inbox:
                break
            if self._ended:
                if self._end is None:
                    raise StopAsyncIteration
                error = self._end
                if not isinstance(error, LASTING):  # a stream's failure is told once
                    self._end = None
                raise error
            await self._waited.wait()
        entry = self._inbox.popleft()
        if isinstance(entry, FabricError):
            raise entry
        batch = self._with_following(entry)
        cost = weight(batch.raws)
        self._held -= cost
        self._give_back(cost)
        return batch

    def _with_following(self, batch: Batch) -> Batch:
        """What has come meanwhile goes with it, within the bounds that were asked for."""
        raws, keys, size = list(batch.raws), batch.keys, sum(map(len, batch.raws))
        while self._inbox:
            more = self._inbox[0]
            if isinstance(more, FabricError) or (more.keys is None) != (keys is None):
                break
            size += sum(map(len, more.raws))
            if len(raws) + len(more.raws) > self._op.batch_items or size > self._op.batch_bytes:
                break
            raws += more.raws
            keys = None if keys is None or more.keys is None else [*keys, *more.keys]
            self._inbox.popleft()
        return batch if len(raws) == len(batch.raws) else Batch(batch.first, raws, keys)

    def _give_back(self, cost: int) -> None:
        credit = self._returns.consume(cost)
        if credit:
            self._link.tell(f.Credit(self.id, credit))

    async def ack(self, offset: int) -> None:
        """See the port. Told at once, saved by the server."""
        if offset >= self.position:
            raise Invalid("acknowledged what was not delivered", offset=offset)
        if offset > self._acked and not self._closed:
            self._acked = offset
            self._link.tell(f.ListenerAck(self.id, offset))

    def stop(self, error: FabricError) -> None:
        """The fabric is closed: iteration raises it, even if items are left."""
        self._inbox.clear()
        self._ended = False
        self.on_end(error)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._waited.wake()
        self._inbox.clear()
        await self._link.part(f.Detach(self.id))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class RemoteReservations:
    """Reservations at another server. What is out is remembered until it is concluded."""

    def __init__(self, link: Link, op: f.Reserve) -> None:
        self.attached = False
        self._link = link
        self._op = op
        self._inbox: deque[Reserved | Stopped] = deque()
        self._waited = Waited()
        self._held: dict[Fence, None] = {}
        self._end: FabricError | None = None
        self._ended = False
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def id(self) -> int:
        return self._op.worker

    async def attach(self) -> None:
        """Join the group; done when this returns."""
        await self._link.ask(self._op)
        self.attached = True

    async def attach_again(self) -> None:
        """Over a new connection: say what is still being worked on."""
        self._stop_expiry()
        try:
            await self._link.ask(self._op._replace(held=tuple(self._held)))
        except FabricError as error:
            self.on_end(error)

    def on_lost(self) -> None:
        """The connection is lost: after a lease without it, the work is not ours (contract 15)."""
        self._stop_expiry()
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(limits.LEASE_TTL_S, self._lose_all)

    def _lose_all(self) -> None:
        for fence in list(self._held):
            self.on_halt(Stopped(fence.execution, fence.token, "lost"))

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def on_work(self, work: Reserved) -> None:
        """Work for us, perhaps told twice."""
        fence = Fence(work.id, work.token)
        if fence not in self._held:
            self._held[fence] = None
            self._put(work)

    def on_halt(self, stopped: Stopped) -> None:
        """Work that is not wanted any more."""
        fence = Fence(stopped.id, stopped.token)
        if fence not in self._held:
            return
        del self._held[fence]
        for entry in self._inbox:
            if isinstance(entry, Reserved) and (entry.id, entry.token) == fence:
                self._inbox.remove(entry)
                return
        self._put(stopped)

    def on_end(self, error: FabricError | None) -> None:
        """No more work."""
        self._end = error
        self._ended = True
        self._waited.wake()

    def conclude(self, id: str, token: int) -> None:
        """It is finished or failed."""
        self._held.pop(Fence(id, token), None)

    def _put(self, entry: Reserved | Stopped) -> None:
        self._inbox.append(entry)
        self._waited.wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reserved | Stopped:
        while not self._inbox:
            if self._ended:
                if self._end is None:
                    raise StopAsyncIteration
                raise self._end
            await self._waited.wait()
        return self._inbox.popleft()

    async def close(self) -> None:
        await self._leave(lost=False)

    async def lose(self) -> None:
        """Close, where the worker has crashed: its work counts as tried (contract 22)."""
        await self._leave(lost=True)

    async def _leave(self, *, lost: bool) -> None:
        if self._ended:
            return
        self._inbox.clear()
        self.on_end(None)
        self._stop_expiry()
        await self._link.part(f.Leave(self.id, lost))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
