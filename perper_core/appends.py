"""Appends: how the owner of a stream puts items at dense offsets and then moves `committed`
(contract 4, 6, 7, 18).

All appends that wait at one moment share chunks and one compare-and-set of the head. Does not know
listeners' tasks.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from perper_core.channel import Channel, chunk_at
from perper_core.chunks import (
    Chunk,
    chunk_epoch,
    decode_locator,
    encode_chunk,
    encode_locator,
    locators_of,
)
from perper_core.errors import (
    Conflict,
    Exhausted,
    FabricError,
    Invalid,
    KeyExists,
    OutcomeUnknown,
    TooLarge,
    Truncated,
)
from perper_core.limits import (
    APPEND_BYTES_MAX,
    APPEND_ITEMS_MAX,
    CHUNK_BYTES_MAX,
    CHUNK_ITEMS_MAX,
    CONFLICT_RETRIES_MAX,
    ITEM_BYTES_MAX,
    NAME_BYTES_MAX,
    PENDING_APPENDS_MAX,
    PENDING_BYTES_MAX,
    RETRY_MS_DEFAULT,
    YIELD_ITEMS,
)
from perper_core.ownership import become_owner
from perper_core.ports import Appended, Producer
from perper_core.records import Stamp, chunk_key, item_key_key, locator_key, opened, sealed
from perper_core.stores.ports import Outcome, Write
from perper_core.streams import Append, Committed, Credit, Duplicate, Head, credit_of, step

_I64 = range(-(1 << 63), 1 << 63)


@dataclass(slots=True)
class Pending:
    """One append on its way. `keys`, if given, is as long as `items`; `fields` too, or one for
    all."""

    items: Sequence[bytes]
    keys: Sequence[int] | None
    fields: Sequence[int] | int | None
    bytes: int
    producer: Producer | None
    duplicates: int = 0
    reply: Appended | None = None
    error: FabricError | None = None
    done: "asyncio.Future[None] | None" = None

    @property
    def field_max(self) -> int | None:
        fields = self.fields
        if fields is None:
            return max(self.keys) if self.keys else None
        return fields if isinstance(fields, int) else max(fields, default=None)


def checked(
    items: Sequence[bytes],
    keys: Sequence[int] | None,
    fields: Sequence[int] | int | None,
    producer: Producer | None,
) -> Pending:
    """An append within its bounds. Raises Invalid, TooLarge."""
    size = sum(map(len, items))
    if len(items) > APPEND_ITEMS_MAX or size > APPEND_BYTES_MAX:
        raise TooLarge("too much for one append", items=len(items), bytes=size)
    if size > ITEM_BYTES_MAX and max(map(len, items)) > ITEM_BYTES_MAX:
        raise TooLarge("an item is too large", bytes_max=ITEM_BYTES_MAX)
    if keys is not None:
        if len(keys) != len(items):
            raise Invalid("as many keys as items")
        if len(set(keys)) != len(keys):
            raise Invalid("a key comes twice in one append")
        _need_i64(keys)
    if isinstance(fields, int):
        _need_i64((fields,))
    elif fields is not None:
        if len(fields) != len(items):
            raise Invalid("as many fields as items, or one for all")
        _need_i64(fields)
    if producer is not None and (
        producer.sequence < 1 or not 1 <= len(producer.session.encode()) <= NAME_BYTES_MAX
    ):
        raise Invalid("a producer has a session name and counts from 1")
    return Pending(items, keys, fields, size, producer)


def _need_i64(numbers: Sequence[int]) -> None:
    if numbers and (min(numbers) not in _I64 or max(numbers) not in _I64):
        raise Invalid("keys and fields are signed 64 bit")


def credit(channel: Channel) -> Credit:
    """Room in front of the slowest gating listener now."""
    slowest: int | None = None
    ahead = 0
    for listener in channel.listeners:
        if listener.gating:
            slowest = listener.acked if slowest is None else min(slowest, listener.acked)
            ahead = max(ahead, listener.bytes_ahead)
    return credit_of(channel.head, slowest, ahead)


class Appender:
    """The append side of one channel: a bounded queue and whoever empties it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._queue: deque[Pending] = deque()
        self._queued_items = 0
        self._queued_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._since_yield = 0

    async def append(self, pending: Pending, *, wait: bool) -> Appended:
        """See the port."""
        channel = self.channel
        channel.need()
        if channel.listeners and not self._has_credit():
            await self._wait_for_credit(wait=wait)
        if (
            len(self._queue) >= PENDING_APPENDS_MAX
            or self._queued_bytes + pending.bytes > PENDING_BYTES_MAX
        ):
            raise Exhausted("too many appends at once", retry_ms=RETRY_MS_DEFAULT)
        self._queue.append(pending)
        self._queued_items += len(pending.items)
        self._queued_bytes += pending.bytes
        if channel.access.store.immediate and not channel.writing.locked():
            await self._empty()  # it never suspends, so nobody can cancel it half-way
            self._since_yield += len(pending.items) + 1
            if self._since_yield > YIELD_ITEMS:
                self._since_yield = 0
                await asyncio.sleep(0)  # a busy writer lets others have the loop
        else:
            pending.done = asyncio.get_running_loop().create_future()
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._empty())
            await pending.done
        if pending.error is not None:
            raise pending.error
        assert pending.reply is not None, "an append without outcome"
        return pending.reply

    async def drain(self) -> None:
        """Wait until what is queued has its outcome."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    def _has_credit(self) -> bool:
        """Invariant: overrun by at most one append, so that one larger than the window gets
        through."""
        room = credit(self.channel)
        return room.items > self._queued_items and room.bytes > self._queued_bytes

    async def _wait_for_credit(self, *, wait: bool) -> None:
        channel = self.channel
        while not self._has_credit():
            if not wait:
                raise Exhausted("no credit: a listener is behind", retry_ms=RETRY_MS_DEFAULT)
            if len(channel.credit_waiters) >= PENDING_APPENDS_MAX:
                raise Exhausted("too many appends wait for credit", retry_ms=RETRY_MS_DEFAULT)
            waiter = asyncio.get_running_loop().create_future()
            channel.credit_waiters.append(waiter)
            await waiter
            channel.need()

    async def _empty(self) -> None:
        channel = self.channel
        async with channel.writing:
            while self._queue:
                group = self._next_group()
                try:
                    await self._commit(group)
                except FabricError as error:
                    for pending in group:  # whatever was foreseen for it did not happen
                        pending.reply = None
                        pending.error = pending.error or error
                finally:
                    for pending in group:
                        self._settle(pending)
        channel.turned()

    def _settle(self, pending: Pending) -> None:
        counters = self.channel.counters
        counters.appends += 1
        counters.refused_appends += pending.error is not None
        if pending.reply is not None:
            counters.duplicate_items += pending.reply.duplicates
        self._queued_items -= len(pending.items)
        self._queued_bytes -= pending.bytes
        if pending.reply is None and pending.error is None:  # our own bug or a cancelled loop
            pending.error = OutcomeUnknown("the append was interrupted", id=self.channel.name)
        if pending.done is not None and not pending.done.done():
            pending.done.set_result(None)

    def _next_group(self) -> list[Pending]:
        """What shares a commit: within the bounds of one append; an append that has to look for
        its keys comes first in its group, so that it sees all before it committed."""
        group = [self._queue.popleft()]
        items, size = len(group[0].items), group[0].bytes
        while self._queue:
            head = self._queue[0]
            items += len(head.items)
            size += head.bytes
            if items > APPEND_ITEMS_MAX or size > APPEND_BYTES_MAX or head.keys is not None:
                break
            group.append(self._queue.popleft())
        return group

    async def _commit(self, group: list[Pending]) -> None:
        channel = self.channel
        channel.need()
        if channel.may_write is not None and not channel.may_write():  # contract 15
            raise Exhausted("this server's lease is not confirmed", retry_ms=RETRY_MS_DEFAULT)
        if not channel.owned or not channel.prepared:
            await become_owner(channel)
        if group[0].keys is not None:
            await self._look_for_keys(group[0])
        head = channel.head
        chunks: list[Chunk] = []
        for pending in group:
            head = self._step(head, pending, chunks)
        if head is not channel.head:
            await self._write(chunks, head.epoch)
            outcome = await channel.store_head(head)
            if outcome is Outcome.UNKNOWN:
                raise OutcomeUnknown("the append's commit is unknown", id=channel.name)
            if outcome is not Outcome.OK:
                channel.need()
                raise Conflict("another server took the stream over", stream=channel.name)
            self._committed(chunks)
        room = credit(channel)
        for pending in group:
            if pending.error is None and pending.reply is not None:
                first, last, duplicates, _, _ = pending.reply
                pending.reply = Appended(first, last, duplicates, room.items, room.bytes)

    def _step(self, head: Head, pending: Pending, chunks: list[Chunk]) -> Head:
        """One append on the head; its items behind those of the group."""
        count = len(pending.items)
        key_max = max(pending.keys) if pending.keys else None
        command = Append(count, pending.bytes, key_max, pending.field_max, pending.producer)
        if not count and pending.producer is None:
            at = head.committed
            pending.reply = Appended(at + 1, at, pending.duplicates, 0, 0)
            return head
        try:
            done = step(head, command)
        except FabricError as error:
            pending.error = error
            return head
        match done.reply:
            case Duplicate(last):
                duplicates = pending.duplicates + count
                pending.reply = Appended(last + 1, last, duplicates, 0, 0)
            case Committed(first, last):
                pending.reply = Appended(first, last, pending.duplicates, 0, 0)
                self._cut(first, pending, chunks)
            case None:
                raise AssertionError("an append without reply")
        return done.record

    @staticmethod
    def _cut(first: int, pending: Pending, chunks: list[Chunk]) -> None:
        """Items into chunks; what fits goes into the last one of the group."""
        items, keys = pending.items, pending.keys
        if not items:
            return
        field = pending.field_max
        if len(items) <= CHUNK_ITEMS_MAX and pending.bytes <= CHUNK_BYTES_MAX:
            last = chunks[-1] if chunks else None
            if (
                last is not None
                and (last.keys is None) == (keys is None)
                and last.field_max == field
                and len(last.raws) + len(items) <= CHUNK_ITEMS_MAX
                and last.bytes + pending.bytes <= CHUNK_BYTES_MAX
            ):
                assert isinstance(last.raws, list), "chunks of a group are built here"
                last.raws.extend(items)
                both = None if last.keys is None or keys is None else [*last.keys, *keys]
                size = last.bytes + pending.bytes
                chunks[-1] = Chunk(last.first, last.raws, both, size, field)
            else:
                chunks.append(Chunk(first, list(items), keys, pending.bytes, field))
            return
        start = 0
        while start < len(items):
            end, size = start, 0
            while end < len(items) and end - start < CHUNK_ITEMS_MAX:
                if size and size + len(items[end]) > CHUNK_BYTES_MAX:
                    break
                size += len(items[end])
                end += 1
            part = keys[start:end] if keys is not None else None
            chunks.append(Chunk(first + start, list(items[start:end]), part, size, field))
            start = end

    async def _write(self, chunks: list[Chunk], epoch: int) -> None:
        """The items, before the head says that they are there (contract 4)."""
        access, uid = self.channel.access, self.channel.head.uid
        writes = []
        for chunk in chunks:
            record = encode_chunk(access.stamp(None), epoch, chunk)
            writes.append(Write(chunk_key(uid, chunk.first), None, record))
            for number in locators_of(chunk.first, chunk.last):
                raw = encode_locator(access.stamp(None), epoch, chunk.first)
                writes.append(Write(locator_key(uid, number), None, raw))
            for index, key in enumerate(chunk.keys or ()):
                raw = encode_locator(access.stamp(None), epoch, chunk.first + index)
                writes.append(Write(item_key_key(uid, key), None, raw))
        for _ in range(CONFLICT_RETRIES_MAX):
            outcomes = await access.write(writes)
            if all(outcome is Outcome.OK for outcome in outcomes):
                return
            writes = [
                write
                for write, outcome in zip(writes, outcomes, strict=True)
                if outcome is not Outcome.OK
            ]
            writes = await self._over_junk(writes, epoch)
        raise OutcomeUnknown("items could not be written", id=self.channel.name)

    async def _over_junk(self, writes: list[Write], epoch: int) -> list[Write]:
        """What nobody committed gives way to us: a deposed owner's, or our own of a failed
        attempt. A newer owner's does not (contract 4)."""
        access = self.channel.access
        found = await access.store.get_many([write.key for write in writes])
        again = []
        for write, raw in zip(writes, found, strict=True):
            if raw is not None and chunk_epoch(raw) > epoch:
                await self.channel.reload()
                raise Conflict("another server took the stream over", stream=self.channel.name)
            expected = None if raw is None else opened(raw)[0].version
            _, body = opened(write.raw)
            version = opened(write.raw)[0].version
            stamp = Stamp(version, access.nonce())
            again.append(Write(write.key, expected, sealed(stamp, body)))
        return again

    def _committed(self, chunks: list[Chunk]) -> None:
        channel = self.channel
        channel.counters.commits += 1
        for chunk in chunks:
            channel.counters.appended_items += len(chunk.raws)
            channel.counters.appended_bytes += chunk.bytes
            channel.tail.add(chunk)
            if channel.trims and channel.covered + 1 == chunk.first:
                channel.remember(chunk.mark)
        channel.wake()

    async def _look_for_keys(self, pending: Pending) -> None:
        """Contract 6: a key that is there with the same bytes is a duplicate, with others
        KeyExists."""
        keys, channel = pending.keys, self.channel
        assert keys is not None
        highest = channel.head.last_key
        old = [i for i, key in enumerate(keys) if highest is not None and key <= highest]
        if not old:
            return
        head = channel.head
        found = await channel.access.store.get_many([item_key_key(head.uid, keys[i]) for i in old])
        same = set()
        for index, raw in zip(old, found, strict=True):
            offset = 0 if raw is None else decode_locator(raw)
            there = await self._keyed_item(keys[index], offset)
            if there is not None:
                if there != pending.items[index]:
                    raise KeyExists("the key has other content", key=keys[index], offset=offset)
                same.add(index)
            elif head.key_floor is not None and keys[index] <= head.key_floor:
                raise Truncated("the key may have been trimmed", first=head.trimmed + 1)
        _leave_out(pending, same)

    async def _keyed_item(self, key: int, offset: int) -> bytes | None:
        """The committed item at an offset, if it really has the key: the record that led here may
        be of an append that nobody committed."""
        channel = self.channel
        if not channel.head.trimmed < offset <= channel.head.committed:
            return None
        chunk = await chunk_at(channel, offset)
        if chunk is None or chunk.keys is None or chunk.keys[offset - chunk.first] != key:
            return None
        return chunk.raws[offset - chunk.first]


def _leave_out(pending: Pending, same: set[int]) -> None:
    """Take duplicates out of an append."""
    if not same:
        return
    kept = [index for index in range(len(pending.items)) if index not in same]
    pending.duplicates = len(same)
    items, fields = pending.items, pending.fields
    pending.items = [items[index] for index in kept]
    pending.bytes = sum(map(len, pending.items))
    if pending.keys is not None:
        pending.keys = [pending.keys[index] for index in kept]
    if fields is not None and not isinstance(fields, int):
        pending.fields = [fields[index] for index in kept]
