"""Retention: which items of a stream go, and their deletion (contract 8, 19). Runs beside the
appends, never in them.

Trims at most every TRIM_EVERY_S per stream and only after something happened: an idle stream costs
nothing. Items go by whole stored chunks, so a little more than the options ask for is kept.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from perper_core.channel import Channel
from perper_core.chunks import decode_chunk
from perper_core.errors import FabricError
from perper_core.limits import (
    EPHEMERAL_BYTES_DEFAULT,
    EPHEMERAL_ITEMS_DEFAULT,
    GET_MANY_MAX,
    TRIM_EVERY_S,
)
from perper_core.ownership import become_owner, locators_below
from perper_core.ports import StreamOptions
from perper_core.records import chunk_key, item_key_key
from perper_core.streams import (
    ChunkMark,
    Holder,
    Swept,
    Trim,
    bounded,
    expired,
    floor_of,
    highest,
    step,
)


def keeping(channel: Channel) -> StreamOptions:
    """The options that bound what nobody holds: an ephemeral stream without any gets the default
    ones."""
    options = channel.head.options
    if not channel.ephemeral or bounded(options):
        return options
    return replace(options, keep_items=EPHEMERAL_ITEMS_DEFAULT, keep_bytes=EPHEMERAL_BYTES_DEFAULT)


def holders(channel: Channel, now_s: float) -> list[Holder]:
    """Who keeps items from retention: gating listeners, and absent or present named ones within
    their hold."""
    options = channel.head.options
    held = [Holder(listener.acked) for listener in channel.listeners if listener.gating]
    for position in channel.named.values():
        absent = position.attached is None
        in_time = not absent or now_s - position.absent_since_s < options.hold_s
        if options.hold_s and in_time and channel.head.bytes_kept <= options.hold_bytes:
            held.append(Holder(position.acked))
    return held


class Retention:
    """Trims the channels of one server."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[str, asyncio.TimerHandle] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.errors = 0
        """Trims that failed; the next turn tries again."""

    def turn(self, channel: Channel) -> None:
        """Something happened to a channel: trim it soon, if there is anything."""
        name = channel.name
        if name in self._due or name in self._tasks or channel.gone is not None:
            return
        loop = asyncio.get_running_loop()
        self._due[name] = loop.call_later(TRIM_EVERY_S, self._start, channel)

    def _start(self, channel: Channel) -> None:
        self._due.pop(channel.name, None)
        if channel.gone is None and self._work(channel):
            task = asyncio.get_running_loop().create_task(self._run(channel))
            self._tasks[channel.name] = task
            task.add_done_callback(lambda _: self._tasks.pop(channel.name, None))

    def _work(self, channel: Channel) -> bool:
        """Cheap test: is the oldest chunk on its way out (or not known yet)?"""
        head = channel.head
        if head.trimmed >= head.committed:
            return False
        if not channel.marks:
            return True
        return self._goes(channel, channel.marks[0])

    def _goes(self, channel: Channel, mark: ChunkMark) -> bool:
        head = channel.head
        if channel.ephemeral:
            readers = [listener.acked for listener in channel.listeners]
            readers += [p.acked for p in channel.named.values() if p.attached is None]
            if readers and mark.last <= min(readers):
                return True
        if not expired(head, mark, keeping(channel)):
            return False
        return mark.last <= floor_of(head, holders(channel, self._clock()))

    async def close(self) -> None:
        """No more trims."""
        for timer in self._due.values():
            timer.cancel()
        self._due.clear()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def _run(self, channel: Channel) -> None:
        try:
            await self.trim(channel)
        except FabricError:
            self.errors += 1

    async def trim(self, channel: Channel) -> None:
        """Trim everything that may go now."""
        async with channel.writing:
            if channel.gone is None and (not channel.owned or not channel.prepared):
                await become_owner(channel)
            while channel.gone is None:
                going = await self._going(channel)
                if not going:
                    return
                try:
                    await _drop(channel, going)
                except FabricError:  # what still counts as kept is picked again
                    kept = [mark for mark in going if mark.last > channel.head.trimmed]
                    channel.marks.extendleft(reversed(kept))
                    raise

    async def _going(self, channel: Channel) -> list[ChunkMark]:
        """A portion of the oldest chunks that may go. Their bytes are not known to the head yet,
        so each is judged as if those before it were gone."""
        before = channel.head
        going: list[ChunkMark] = []
        try:
            while len(going) < GET_MANY_MAX and (mark := await _oldest(channel)) is not None:
                if not self._goes(channel, mark):
                    break
                going.append(channel.marks.popleft())
                gone = channel.head.bytes_trimmed + mark.bytes
                channel.head = replace(channel.head, bytes_trimmed=gone)
        finally:
            channel.head = before
        return going


async def _oldest(channel: Channel) -> ChunkMark | None:
    """The oldest chunk not yet picked; from the store when memory does not reach it."""
    if channel.marks:
        return channel.marks[0]
    if channel.covered >= channel.head.committed:
        return None
    first = max(channel.covered, channel.head.trimmed) + 1
    (raw,) = await channel.access.store.get_many([chunk_key(channel.head.uid, first)])
    if raw is None:
        return None
    mark = decode_chunk(raw).mark
    channel.remember(mark)
    return mark


async def _drop(channel: Channel, going: list[ChunkMark]) -> None:
    """First the head says that they are gone, then they go (contract 19)."""
    head, access = channel.head, channel.access
    to, size = going[-1].last, sum(mark.bytes for mark in going)
    key_max: int | None = None
    doomed = [chunk_key(head.uid, mark.first) for mark in going]
    keyed = [key for mark, key in zip(going, doomed, strict=True) if mark.key_max is not None]
    for start in range(0, len(keyed), GET_MANY_MAX):
        for raw in await access.store.get_many(keyed[start : start + GET_MANY_MAX]):
            keys = None if raw is None else decode_chunk(raw).keys
            doomed += [item_key_key(head.uid, key) for key in keys or ()]
    for mark in going:
        key_max = highest(key_max, mark.key_max)
    await channel.change_head(Trim(to, size, key_max))
    channel.counters.trimmed_items += to - head.trimmed
    channel.tail.trim(to)
    channel.wake()
    await access.remove_all(doomed)
    await access.remove_all(locators_below(head.uid, head.swept, to))
    channel.head = step(channel.head, Swept(to + 1)).record
