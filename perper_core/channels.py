"""Channels of one server: open, create, remove and list streams. Each stream has one channel here,
made when needed."""

import asyncio
from collections.abc import Awaitable, Callable

from perper_core.access import Access
from perper_core.appends import Appender
from perper_core.channel import Channel, info_of
from perper_core.chunks import decode_chunk, locator_of
from perper_core.delivery import Positions
from perper_core.errors import Conflict, Exhausted, FabricError, NotFound
from perper_core.heads import decode_head, encode_head, encode_options
from perper_core.limits import GET_MANY_MAX, SCAN_ITEMS_MAX, STREAMS_OPEN_MAX
from perper_core.metrics import Counters
from perper_core.ports import Kind, StreamInfo, StreamOptions
from perper_core.records import (
    HEAD,
    Stamp,
    chunk_key,
    head_key,
    item_key_key,
    locator_key,
    named_index,
    opened,
    sealed,
)
from perper_core.stores.ports import Outcome, Removal, Write
from perper_core.streams import UID_BYTES, Head, checked


class Channels:
    """Streams of a durable and a volatile store, by name."""

    def __init__(
        self,
        durable: Access,
        volatile: Access,
        positions: Positions,
        *,
        dice: Callable[[int], bytes],
        on_turn: Callable[[Channel], None],
        owner_lives: Callable[[bytes], Awaitable[bool]] | None,
        may_write: Callable[[], bool] | None,
        counters: Counters,
    ) -> None:
        self._durable = durable
        self._volatile = volatile
        self._positions = positions
        self._dice = dice
        self._on_turn = on_turn
        self._owner_lives = owner_lives
        self._may_write = may_write
        self._counters = counters
        self._channels: dict[str, Channel] = {}
        self._appenders: dict[str, Appender] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    def known(self) -> list[Channel]:
        """Channels that are open in this server."""
        return list(self._channels.values())

    async def open(self, name: str) -> Channel:
        """The channel of a stream. Raises NotFound."""
        channel = self._channels.get(name)
        if channel is not None and channel.gone is None:
            return channel
        async with self._lock(name):
            channel = self._channels.get(name)
            if channel is not None and channel.gone is None:
                return channel
            found = await self._find(name)
            if found is None:
                raise NotFound("no such stream", stream=name)
            access, stamp, head = found
            return await self._add(name, access, stamp, head)

    def appender(self, channel: Channel) -> Appender:
        """The append side of an open channel."""
        return self._appenders[channel.name]

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._opening.get(name)
        if lock is None:
            lock = self._opening[name] = asyncio.Lock()
        return lock

    async def _find(self, name: str) -> tuple[Access, Stamp, Head] | None:
        for access in (self._volatile, self._durable):
            found = await access.load(head_key(name))
            if found is not None:
                return access, found[0], decode_head(found[1])
        return None

    async def _add(self, name: str, access: Access, stamp: Stamp, head: Head) -> Channel:
        if len(self._channels) >= STREAMS_OPEN_MAX and name not in self._channels:
            raise Exhausted("too many open streams", streams_max=STREAMS_OPEN_MAX)
        channel = Channel(name, access, stamp, head, encode_options(head.options), self._counters)
        channel.covered = head.trimmed
        channel.owner_lives = self._owner_lives if not access.store.exclusive else None
        channel.may_write = self._may_write if not access.store.exclusive else None
        channel.on_turn = self._on_turn
        channel.prepared = channel.owned and head.epoch == 1 and head.committed == 0
        await self._positions.load(channel)
        self._channels[name] = channel
        self._appenders[name] = Appender(channel)
        self._opening.pop(name, None)
        return channel

    async def create(self, name: str, options: StreamOptions) -> Channel:
        """Put-if-absent. Raises Conflict for other options."""
        checked(options)
        key = head_key(name)
        async with self._lock(name):
            channel = self._channels.get(name)
            found = None
            if channel is None or channel.gone is not None:
                found = await self._find(name)
            elif _same(channel.head.options, options):
                return channel
            else:
                raise Conflict("the stream exists with other options", stream=name)
            if found is None:
                durable = options.kind is Kind.PERSISTENT
                access = self._durable if durable else self._volatile
                head = Head(self._dice(UID_BYTES), options, epoch=1, owner=access.writer)
                stamp = access.stamp(None)
                raw = sealed(stamp, encode_head(head, encode_options(options)))
                (outcome,) = await access.write([Write(key, None, raw)])
                found = access, stamp, head
                if outcome is not Outcome.OK:
                    found = await self._find(name)
            if found is None or not _same(found[2].options, options):
                raise Conflict("the stream exists with other options", stream=name)
            return await self._add(name, *found)

    async def remove(self, name: str) -> None:
        """Delete a stream: first its head, so that it exists no more, then what hung on it."""
        try:
            channel = await self.open(name)
        except NotFound:
            return
        async with channel.writing:
            while channel.gone is None:
                removal = Removal(head_key(name), channel.stamp.version)
                (gone,) = await channel.access.remove([removal])
                if gone:
                    channel.abandon(NotFound("the stream was removed", stream=name))
                else:
                    await channel.reload()
            self._channels.pop(name, None)
            self._appenders.pop(name, None)
            await _delete_items(channel)

    async def page(self, prefix: str, after: str, limit: int) -> list[StreamInfo]:
        """Streams of both stores in order of names."""
        infos: dict[str, StreamInfo] = {}
        for access in (self._durable, self._volatile):
            index = HEAD + prefix.encode()
            last = max(HEAD + after.encode(), HEAD)
            found = await access.store.scan(index, last, min(limit, SCAN_ITEMS_MAX))
            for key, raw in found:
                name = key[1:].decode()
                channel = self._channels.get(name)
                if channel is not None and channel.gone is None:
                    infos[name] = channel.info()
                else:
                    infos[name] = info_of(name, decode_head(opened(raw)[1]), 0, ())
        return [infos[name] for name in sorted(infos, key=str.encode)[:limit]]

    async def produced_by(self, execution: str) -> list[str]:
        """Names of the open streams that an execution writes (contract 9)."""
        names = []
        for access in (self._durable, self._volatile):
            after = HEAD
            while found := await access.store.scan(HEAD, after, SCAN_ITEMS_MAX):
                for key, raw in found:
                    after = key
                    if decode_head(opened(raw)[1]).options.producer == execution:
                        names.append(key[1:].decode())
        return names

    async def close(self, reason: FabricError) -> None:
        """No more appends; what is queued has its outcome first."""
        for appender in self._appenders.values():
            await appender.drain()
        for channel in self._channels.values():
            channel.abandon(reason)


def _same(one: StreamOptions, other: StreamOptions) -> bool:
    return encode_options(one) == encode_options(other)


async def _delete_items(channel: Channel) -> None:
    """Everything below the removed head, by walking its chunks."""
    access, head = channel.access, channel.head
    at = head.swept
    doomed: list[bytes] = []
    while at <= head.committed:
        (raw,) = await access.store.get_many([chunk_key(head.uid, at)])
        if raw is None:
            at = head.trimmed + 1 if at <= head.trimmed else at + 1
            continue
        chunk = decode_chunk(raw)
        doomed.append(chunk_key(head.uid, chunk.first))
        doomed += [item_key_key(head.uid, key) for key in chunk.keys or ()]
        at = chunk.last + 1
        if len(doomed) >= GET_MANY_MAX:
            await access.remove_all(doomed)
            doomed.clear()
    numbers = range(locator_of(head.swept), locator_of(head.committed) + 1)
    doomed += [locator_key(head.uid, number) for number in numbers]
    await access.remove_all(doomed)
    index = named_index(head.uid)
    while found := await access.store.scan(index, b"", SCAN_ITEMS_MAX):
        await access.remove_all([key for key, _ in found])
