"""Ownership of a stream: one server appends and trims, by lease; who takes over raises the epoch
(contract 3, 15, 19)."""

from collections.abc import Sequence

from perper_core.channel import Channel
from perper_core.chunks import decode_chunk
from perper_core.errors import Conflict
from perper_core.limits import APPEND_ITEMS_MAX, GET_MANY_MAX, LOCATOR_STRIDE
from perper_core.records import chunk_key, item_key_key, locator_key
from perper_core.streams import NOBODY, Swept, TakeOver, step


async def become_owner(channel: Channel) -> None:
    """Take the stream over, unless its owner lives, and clean up behind the one before. Raises
    Conflict."""
    if not channel.owned:
        if channel.owner_lives is not None:
            await channel.reload()
            channel.need()
            owner = channel.head.owner
            if owner not in (NOBODY, channel.access.writer) and await channel.owner_lives(owner):
                raise Conflict("the stream is owned by another server", owner=owner.hex())
        if not channel.owned:
            await channel.store_head(step(channel.head, TakeOver(channel.access.writer)).record)
        if not channel.owned:
            raise Conflict("another server took the stream over", stream=channel.name)
        channel.tail.clear()
        channel.marks.clear()
        channel.covered = channel.head.trimmed
    if channel.head.epoch > 1:  # a stream's first owner has nobody's left-overs
        await _sweep_uncommitted(channel)
        await _sweep_trimmed(channel)
    channel.prepared = True


async def _sweep_uncommitted(channel: Channel) -> None:
    """Delete chunks beyond `committed`: written by a deposed or crashed owner, acknowledged to
    nobody."""
    head, store = channel.head, channel.access.store
    doomed: list[bytes] = []
    at = head.committed + 1
    if store.exclusive:  # written in order, so they form a chain
        while (raw := (await store.get_many([chunk_key(head.uid, at)]))[0]) is not None:
            chunk = decode_chunk(raw)
            doomed += _keys_of(head.uid, chunk.first, chunk.keys)
            at = chunk.last + 1
    else:
        end = at + APPEND_ITEMS_MAX
        for start in range(at, end, GET_MANY_MAX):
            keys = [chunk_key(head.uid, n) for n in range(start, min(start + GET_MANY_MAX, end))]
            found = await store.get_many(keys)
            for raw in found:
                if raw is not None:
                    chunk = decode_chunk(raw)
                    doomed += _keys_of(head.uid, chunk.first, chunk.keys)
    await channel.access.remove_all(doomed)


async def _sweep_trimmed(channel: Channel) -> None:
    """Delete what a trim did not come to delete (contract 19). Removals come in no order, so every
    possible first offset is looked at; `swept` keeps that short."""
    head, access = channel.head, channel.access
    for start in range(head.swept, head.trimmed + 1, GET_MANY_MAX):
        keys = [
            chunk_key(head.uid, n)
            for n in range(start, min(start + GET_MANY_MAX, head.trimmed + 1))
        ]
        doomed: list[bytes] = []
        for raw in await access.store.get_many(keys):
            if raw is not None and (chunk := decode_chunk(raw)).last <= head.trimmed:
                doomed += _keys_of(head.uid, chunk.first, chunk.keys)
        await access.remove_all(doomed)
    await access.remove_all(locators_below(head.uid, head.swept, head.trimmed))
    channel.head = step(head, Swept(head.trimmed + 1)).record


def _keys_of(uid: bytes, first: int, keys: Sequence[int] | None) -> list[bytes]:
    return [chunk_key(uid, first), *(item_key_key(uid, key) for key in keys or ())]


def locators_below(uid: bytes, swept: int, trimmed: int) -> list[bytes]:
    """Locators whose strides lie wholly in `swept..trimmed`; the last one may still be needed."""
    return [
        locator_key(uid, number)
        for number in range(swept // LOCATOR_STRIDE, trimmed // LOCATOR_STRIDE)
    ]
