"""Inbox: the bounded sink between an adapter and the node.

Bounds are per class and per link, so one link cannot push out another's items: the oldest goes in
MESSAGE and CONTENT, the newest in POLL and PROPOSAL, and in VOTE a newer item of an author (or
link) takes the place of its oldest. All links together have a bound too, paid by the fattest.
Handed out in strict order of classes, links in turn. network §1

It belongs to one event loop and knows nothing of what items mean.
"""

from __future__ import annotations

import asyncio
from collections import deque

from network.limits import (
    INBOX_BATCH_MAX,
    INBOX_CLASS_BYTES,
    INBOX_EVENTS_MAX,
    INBOX_LINK_BYTES,
    INBOX_LINK_ITEMS,
)
from network.ports import Class, Dropped, Gossip, NetworkEvent, PeerId

_DROPS_NEWEST = (Class.POLL, Class.PROPOSAL)


class _Queue:
    """Items of one link in one class."""

    __slots__ = ("items", "size")

    def __init__(self) -> None:
        self.items: deque[Gossip] = deque()
        self.size = 0

    def push(self, item: Gossip, items_max: int, bytes_max: int) -> int:
        """Number of items dropped to keep the bounds."""
        full = len(self.items) >= items_max or self.size + len(item.data) > bytes_max
        if full and (item.cls in _DROPS_NEWEST or not self.items):
            return 1
        dropped = 0
        while self.items and (
            len(self.items) >= items_max or self.size + len(item.data) > bytes_max
        ):
            self.size -= len(self.items.popleft().data)
            dropped += 1
        self.items.append(item)
        self.size += len(item.data)
        return dropped

    def pop(self) -> Gossip:
        item = self.items.popleft()
        self.size -= len(item.data)
        return item


class Inbox:
    """A `Sink`. One reader awaits `take()`."""

    def __init__(self) -> None:
        self._events: deque[NetworkEvent] = deque()
        self._queues: tuple[dict[PeerId | None, _Queue], ...] = tuple({} for _ in Class)
        self._bytes = [0 for _ in Class]
        self._dropped: dict[Class, int] = {}
        self._waiter: asyncio.Future[None] | None = None
        self.dropped_total = [0 for _ in Class]

    def put(self, event: NetworkEvent) -> None:
        if isinstance(event, Gossip):
            self._put_gossip(event)
        else:
            if len(self._events) >= INBOX_EVENTS_MAX:
                self._events.popleft()
            self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self, most: int = INBOX_BATCH_MAX) -> list[NetworkEvent]:
        """At least one event, at most `most` gossips with the other events before them."""
        while not (self._events or self._dropped or any(self._queues)):
            assert self._waiter is None, "one reader"
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        batch = list(self._events)
        self._events.clear()
        batch.extend(Dropped(cls, n, "inbox full") for cls, n in self._dropped.items())
        self._dropped = {}
        for cls in Class:
            taken, size = _take_turns(self._queues[cls], batch, most)
            most -= taken
            self._bytes[cls] -= size
        return batch

    def _put_gossip(self, item: Gossip) -> None:
        cls, origin = item.cls, item.origin
        # network §1: in VOTE per author; where the adapter proves none, the link stands for it.
        key = origin.link if cls is not Class.VOTE else origin.author or origin.link
        queues = self._queues[cls]
        queue = queues.get(key)
        if queue is None:
            queue = queues[key] = _Queue()
        before = queue.size
        dropped = queue.push(item, INBOX_LINK_ITEMS[cls], INBOX_LINK_BYTES[cls])
        self._bytes[cls] += queue.size - before
        if not queue.items:
            del queues[key]
        while self._bytes[cls] > INBOX_CLASS_BYTES:
            self._bytes[cls] -= _pop_fattest(queues)
            dropped += 1
        if dropped:
            self._dropped[cls] = self._dropped.get(cls, 0) + dropped
            self.dropped_total[cls] += dropped


def _pop_fattest(queues: dict[PeerId | None, _Queue]) -> int:
    """Drop the oldest item of the link that holds most; its size."""
    key = max(queues, key=lambda link: queues[link].size)
    size = len(queues[key].pop().data)
    if not queues[key].items:
        del queues[key]
    return size


def _take_turns(
    queues: dict[PeerId | None, _Queue], batch: list[NetworkEvent], most: int
) -> tuple[int, int]:
    """Move up to `most` items into `batch`, one of each link in turn; (items, bytes) moved."""
    taken = size = 0
    while queues and taken < most:
        for key in list(queues):
            if taken == most:
                break
            queue = queues[key]
            item = queue.pop()
            batch.append(item)
            taken += 1
            size += len(item.data)
            if not queue.items:
                del queues[key]
    return taken, size
