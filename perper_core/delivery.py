"""Delivery: listeners, their positions, and reading (contract 5, 8, 18). Pulled by the reader: a
slow or stopped one costs the server a position and at most one chunk, never a queue.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from perper_core.access import Access
from perper_core.channel import Channel, Position, chunk_at
from perper_core.chunks import Chunk
from perper_core.errors import Conflict, Corrupt, Exhausted, FabricError, Invalid, Truncated
from perper_core.failures import error_of
from perper_core.limits import ACK_SAVE_S, BATCH_ITEMS_MAX, LISTENERS_MAX, NAMED_LISTENERS_MAX
from perper_core.ports import LIVE, OLDEST, Batch
from perper_core.records import named_index, named_key, opened
from perper_core.streams import ENDED, FAILED, gates
from perper_core.values import decode_value, encode_value


class StreamListener:
    """A Listener in the server's process."""

    def __init__(
        self,
        channel: Channel,
        positions: "Positions",
        *,
        name: str,
        first: int,
        acked: int,
        gating: bool,
        batch_items: int,
        batch_bytes: int,
    ) -> None:
        self.name = name
        self.gating = gating
        self.acked = acked
        self._channel = channel
        self._positions = positions
        self._next = first
        self._chunk: Chunk | None = None
        self._batch_items = batch_items
        self._batch_bytes = batch_bytes
        self._waiter: asyncio.Future[None] | None = None
        self._stopped: FabricError | None = None
        self._closed = False
        self._failed = False
        # bytes in flight, counted from the moment of attaching on (contract 18)
        self._attached_at = channel.head.committed
        self._attached_bytes = channel.head.bytes_total
        self._delivered: deque[tuple[int, int]] = deque()
        self._acked_bytes = 0

    @property
    def stream(self) -> str:
        return self._channel.name

    @property
    def flow(self) -> bool:
        return self.gating

    @property
    def position(self) -> int:
        return self._next

    @property
    def bytes_ahead(self) -> int:
        """Bytes appended since it was attached and not acknowledged."""
        return self._channel.head.bytes_total - self._attached_bytes - self._acked_bytes

    def wake(self) -> None:
        """Look at the head again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def displace(self) -> None:
        """A newer listener of the same name takes over."""
        self._stopped = Conflict("a newer listener has this name", listener=self.name)
        self._detach()
        self.wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        channel = self._channel
        while True:
            if self._closed:
                raise StopAsyncIteration
            if self._stopped is not None:
                raise self._stopped
            channel.need()
            head = channel.head
            if self._next <= head.trimmed:
                self._next, self._chunk = head.trimmed + 1, None
                self.acked = max(self.acked, head.trimmed)
                channel.counters.truncations += 1
                raise Truncated("items were dropped before they were read", first=self._next)
            if self._next <= head.committed:
                batch = await self._read()
                if batch is not None:
                    return batch
                continue
            if head.state == ENDED or self._failed:
                raise StopAsyncIteration
            if head.state == FAILED:
                self._failed = True
                assert head.failure is not None, "a failed stream without failure"
                raise error_of(head.failure)
            await self._wait()

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise Invalid("one task iterates over a listener")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _read(self) -> Batch | None:
        """The next batch; None: it was trimmed meanwhile. Small chunks are put together."""
        channel, first = self._channel, self._next
        chunk = self._chunk
        if chunk is None or not chunk.first <= first <= chunk.last:
            chunk = await chunk_at(channel, first)
        if chunk is None:
            if first <= channel.head.trimmed or channel.gone is not None:
                return None
            raise Corrupt("a committed item is missing", stream=channel.name, offset=first)
        start = first - chunk.first
        raws, keys, size = chunk.raws, chunk.keys, chunk.bytes
        if start or len(raws) > self._batch_items or size > self._batch_bytes:
            return self._part(chunk, start)
        following = self._following(chunk)
        while (
            following is not None
            and (following.keys is None) == (keys is None)
            and len(raws) + len(following.raws) <= self._batch_items
            and size + following.bytes <= self._batch_bytes
        ):
            raws = [*raws, *following.raws]
            keys = None if keys is None or following.keys is None else [*keys, *following.keys]
            size += following.bytes
            chunk = following
            following = self._following(chunk)
        self._chunk = None
        return self._deliver(Batch(first, raws, keys), size)

    def _following(self, chunk: Chunk) -> Chunk | None:
        """The next chunk, if it is at hand."""
        if chunk.last >= self._channel.head.committed:
            return None
        return self._channel.tail.find(chunk.last + 1)

    def _part(self, chunk: Chunk, start: int) -> Batch:
        end, size = start, 0
        limit = min(len(chunk.raws), start + self._batch_items)
        while end < limit and (end == start or size + len(chunk.raws[end]) <= self._batch_bytes):
            size += len(chunk.raws[end])
            end += 1
        self._chunk = chunk
        keys = chunk.keys[start:end] if chunk.keys is not None else None
        return self._deliver(Batch(self._next, chunk.raws[start:end], keys), size)

    def _deliver(self, batch: Batch, size: int) -> Batch:
        self._next = batch.last + 1
        self._channel.counters.delivered_items += len(batch.raws)
        if self.gating and batch.last > self._attached_at:
            self._delivered.append((batch.last, size))
        return batch

    async def ack(self, offset: int) -> None:
        if offset >= self._next:
            raise Invalid("acknowledged what was not delivered", offset=offset)
        if offset <= self.acked or self._closed:
            return
        self.acked = offset
        while self._delivered and self._delivered[0][0] <= offset:
            self._acked_bytes += self._delivered.popleft()[1]
        if self.name:
            self._positions.acked(self._channel, self.name, offset)
        if self.gating:
            self._channel.give_credit()
        self._channel.turned()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._detach()
        self.wake()
        if self.name and self._stopped is None and self._channel.gone is None:
            await self._positions.save(self._channel, self.name)

    def _detach(self) -> None:
        channel = self._channel
        if self in channel.listeners:
            channel.listeners.remove(self)
        if self.name:
            self._positions.detached(channel, self.name, self)
        channel.give_credit()
        if channel.gone is None:
            channel.turned()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class Positions:
    """Saved positions of named listeners: moved forwards only, saved in batches."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._dirty: dict[tuple[str, str], Channel] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def load(self, channel: Channel) -> None:
        """Read all names of a stream, when its channel opens."""
        index = named_index(channel.head.uid)
        found = await channel.access.store.scan(index, b"", NAMED_LISTENERS_MAX)
        for key, raw in found:
            acked = _decode(opened(raw)[1])
            name = key[len(index) :].decode()
            channel.named[name] = Position(acked, acked, self._clock())

    def attach(self, channel: Channel, name: str) -> Position:
        """The position of a name, new or known. Raises Exhausted."""
        position = channel.named.get(name)
        if position is None:
            if len(channel.named) >= NAMED_LISTENERS_MAX:
                raise Exhausted("too many named listeners", named_max=NAMED_LISTENERS_MAX)
            named_key(channel.head.uid, name)  # refuses a bad name
            position = channel.named[name] = Position(-1, -1, self._clock())
        if position.attached is not None:
            position.attached.displace()
        return position

    def detached(self, channel: Channel, name: str, listener: StreamListener) -> None:
        """From now on the name is absent."""
        position = channel.named.get(name)
        if position is not None and position.attached is listener:
            position.attached = None
            position.absent_since_s = self._clock()

    def acked(self, channel: Channel, name: str, offset: int) -> None:
        """Note an acknowledged offset; it is saved soon."""
        position = channel.named.get(name)
        if position is None or offset <= position.acked:
            return
        position.acked = offset
        self._dirty[(channel.name, name)] = channel
        if self._timer is None and (self._task is None or self._task.done()):
            self._timer = asyncio.get_running_loop().call_later(ACK_SAVE_S, self._start)

    def _start(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self.save_all())

    async def save_all(self) -> None:
        """Save what was acknowledged. What fails stays dirty and goes with the next
        acknowledgement."""
        for (_, name), channel in list(self._dirty.items()):
            try:
                await self.save(channel, name)
            except FabricError:
                if channel.gone is not None:
                    self._dirty.pop((channel.name, name), None)

    async def save(self, channel: Channel, name: str) -> None:
        """Save one position, forwards only."""
        position = channel.named.get(name)
        if position is None or position.acked <= position.saved:
            self._dirty.pop((channel.name, name), None)
            return
        acked = position.acked
        await save_position(channel.access, channel.head.uid, name, acked)
        position.saved = max(position.saved, acked)
        if position.acked == position.saved:
            self._dirty.pop((channel.name, name), None)

    async def close(self) -> None:
        """Save what is left."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])
        await self.save_all()


async def save_position(access: Access, uid: bytes, name: str, acked: int) -> None:
    """Write a named listener's offset unless a later one is there (contract 8)."""
    await access.change(
        named_key(uid, name),
        lambda _, body: body if body is not None and _decode(body) >= acked else _encode(acked),
        repeat=True,
    )


def _encode(acked: int) -> bytes:
    return encode_value([acked])


def _decode(body: bytes) -> int:
    try:
        fields = decode_value(body)
    except FabricError as error:
        raise Corrupt("a listener's position does not decode") from error
    match fields:
        case [int(acked)]:
            return acked
        case _:
            raise Corrupt("a listener's position does not decode")


async def attach(
    channel: Channel,
    positions: Positions,
    *,
    name: str,
    first: int,
    flow: bool,
    local: bool,
    batch_items: int,
    batch_bytes: int,
) -> StreamListener:
    """A new listener, attached when this returns (contract 5)."""
    if first < LIVE:
        raise Invalid("first is an offset, OLDEST or LIVE", first=first)
    if batch_items < 1 or batch_bytes < 1:
        raise Invalid("a batch has at least one item and byte")
    if len(channel.listeners) >= LISTENERS_MAX:
        raise Exhausted("too many listeners", listeners_max=LISTENERS_MAX)
    head = channel.head
    position = positions.attach(channel, name) if name else None
    if position is not None and position.acked >= 0:
        first = position.acked + 1
    elif first == LIVE:
        first = head.committed + 1
    elif first == OLDEST:
        first = head.trimmed + 1
    listener = StreamListener(
        channel,
        positions,
        name=name,
        first=first,
        acked=min(first - 1, head.committed),
        gating=flow and gates(head.options, local=local),
        batch_items=min(batch_items, BATCH_ITEMS_MAX),
        batch_bytes=batch_bytes,
    )
    channel.listeners.append(listener)
    if position is not None:
        position.attached = listener
        if position.acked < 0:  # a new name: from now on it is known, wherever it starts
            position.acked = listener.acked
            await save_position(channel.access, head.uid, name, listener.acked)
            position.saved = listener.acked
    return listener
