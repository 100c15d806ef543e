"""A channel: what one server knows of one stream. Its head, its tail, who listens.

Invariant: `head` is the stored head with version `stamp`, or a later sight of it; only the
channel's owner tasks (`appends`, `retention`), one at a time under `writing`, change it. Does not
know how items are appended or delivered.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from perper_core.access import Access
from perper_core.chunks import Chunk, decode_chunk, decode_locator, locator_of
from perper_core.errors import Conflict, FabricError, NotFound
from perper_core.heads import decode_head, encode_head
from perper_core.limits import CHUNK_INDEX_MAX, CONFLICT_RETRIES_MAX, LOCATOR_STRIDE
from perper_core.metrics import Counters
from perper_core.ports import Kind, StreamInfo
from perper_core.records import Stamp, chunk_key, head_key, locator_key, sealed
from perper_core.stores.ports import Outcome, Write
from perper_core.streams import (
    STATE_NAMES,
    ChunkMark,
    Command,
    Head,
    Reply,
    bounded,
    step,
)
from perper_core.tail import Tail


class Attached(Protocol):
    """A listener as the channel sees it."""

    name: str
    gating: bool
    acked: int

    def wake(self) -> None: ...
    def displace(self) -> None: ...
    async def ack(self, offset: int) -> None: ...
    @property
    def bytes_ahead(self) -> int: ...


@dataclass(slots=True)
class Position:
    """A named listener's acknowledged offset: in memory, and as it is saved."""

    acked: int
    saved: int
    absent_since_s: float
    attached: Attached | None = None


@dataclass(slots=True)
class Channel:
    """State of one stream in this server."""

    name: str
    access: Access
    stamp: Stamp
    head: Head
    options_raw: bytes
    counters: Counters
    tail: Tail = field(default_factory=Tail)
    listeners: list[Attached] = field(default_factory=list)
    named: dict[str, Position] = field(default_factory=dict)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    gone: FabricError | None = None
    """Why the channel is of no use any more: removed, or the fabric closed."""
    marks: deque[ChunkMark] = field(default_factory=deque)
    """Chunks from the oldest kept one on, as far as `covered`."""
    covered: int = 0
    credit_waiters: deque["asyncio.Future[None]"] = field(default_factory=deque)
    prepared: bool = False
    """Swept since this server became the owner."""
    owner_lives: Callable[[bytes], Awaitable[bool]] | None = None
    """Whether another server that owns the stream still beats; None: there can be no other."""
    may_write: Callable[[], bool] | None = None
    """Whether this server's own lease holds; None: it needs none."""
    on_turn: Callable[["Channel"], None] | None = None
    """Called after commits, acknowledgements and detachments: retention may have work."""

    @property
    def owned(self) -> bool:
        return self.head.owner == self.access.writer

    @property
    def ephemeral(self) -> bool:
        return self.head.options.kind is Kind.EPHEMERAL

    @property
    def trims(self) -> bool:
        """Whether items of this stream ever go."""
        return self.ephemeral or bounded(self.head.options)

    def need(self) -> None:
        """Raises what made the channel useless."""
        if self.gone is not None:
            raise self.gone

    def wake(self) -> None:
        """Let every listener look at the head again."""
        for listener in self.listeners:
            listener.wake()

    def give_credit(self) -> None:
        """Let waiting appends look at their credit again."""
        while self.credit_waiters:
            waiter = self.credit_waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def turned(self) -> None:
        """Something happened that retention cares for."""
        if self.on_turn is not None and self.trims:
            self.on_turn(self)

    def abandon(self, reason: FabricError) -> None:
        """The stream is gone or the fabric is closed: everybody who waits learns it."""
        self.gone = reason
        self.tail.clear()
        self.marks.clear()
        self.wake()
        self.give_credit()

    def seen(self, stamp: Stamp, head: Head) -> None:
        """A newer head was read from the store."""
        if stamp == self.stamp:
            return
        trimmed = head.trimmed > self.head.trimmed
        self.stamp, self.head = stamp, head
        if trimmed:
            self.tail.trim(head.trimmed)
        self.wake()

    async def reload(self) -> None:
        """Read the head again. A removed stream is abandoned."""
        found = await self.access.load(head_key(self.name))
        if found is None or (head := decode_head(found[1])).uid != self.head.uid:
            self.abandon(NotFound("the stream was removed", stream=self.name))
            return
        self.seen(found[0], head)

    async def change_head(self, command: Command) -> Reply:
        """Step the head and store it, again after a conflict; `writing` must be held. Raises the
        step's error, or what made the channel useless."""
        for _ in range(CONFLICT_RETRIES_MAX):
            self.need()
            done = step(self.head, command)
            if done.record is self.head or await self.store_head(done.record) is Outcome.OK:
                return done.reply
        raise Conflict("too many others write the stream's head", stream=self.name)

    async def store_head(self, after: Head) -> Outcome:
        """Compare-and-set the head once; unless that was OK the channel is reloaded."""
        stamp = self.access.stamp(self.stamp.version)
        raw = sealed(stamp, encode_head(after, self.options_raw))
        write = Write(head_key(self.name), self.stamp.version, raw)
        (outcome,) = await self.access.write([write])
        if outcome is Outcome.OK:
            self.stamp, self.head = stamp, after
        else:
            await self.reload()
        return outcome

    def remember(self, mark: ChunkMark) -> None:
        """Note the next chunk for retention; beyond the bound it is read from the store when
        needed."""
        if len(self.marks) < CHUNK_INDEX_MAX:
            self.marks.append(mark)
            self.covered = mark.last

    def info(self) -> StreamInfo:
        return info_of(self.name, self.head, len(self.listeners), tuple(self.named))


def info_of(name: str, head: Head, listeners: int, named: tuple[str, ...]) -> StreamInfo:
    """A head as callers see it."""
    return StreamInfo(
        name=name,
        options=head.options,
        state=STATE_NAMES[head.state],
        error=head.failure.type if head.failure is not None else "",
        epoch=head.epoch,
        trimmed=head.trimmed,
        committed=head.committed,
        bytes_kept=head.bytes_kept,
        last_key=head.last_key,
        last_field=head.last_field,
        listeners=listeners,
        named=named,
    )


async def chunk_at(channel: Channel, offset: int) -> Chunk | None:
    """The committed chunk that holds an offset: from the tail, by its key, or by a locator and a
    walk. None: it is not there (trimmed meanwhile, if the store is sound)."""
    chunk = channel.tail.find(offset)
    if chunk is not None:
        return chunk
    store, uid = channel.access.store, channel.head.uid
    found, located = await store.get_many(
        [chunk_key(uid, offset), locator_key(uid, locator_of(offset))]
    )
    if found is not None:
        return decode_chunk(found)
    at = decode_locator(located) if located is not None else channel.head.trimmed + 1
    at = max(at, 1)
    for _ in range(LOCATOR_STRIDE):  # each chunk holds at least one item
        (raw,) = await store.get_many([chunk_key(uid, at)])
        if raw is None:
            return None
        chunk = decode_chunk(raw)
        if chunk.last >= offset:
            return chunk
        at = chunk.last + 1
    return None
