"""Scheduler: what leaves a link next.

Strict order of classes, only content keeps a tenth; deficit round robin between the flows of a
class, so one long reply does not hold up the others. Frames are cut into chunks as they leave, and
the caller encrypts then: a poll never waits behind bytes that were sealed earlier. Pure. network §2
"""

from __future__ import annotations

from collections import deque

from network.limits import (
    CANCELLED_STREAMS_MAX,
    CHUNK_HEADER,
    CHUNK_PAYLOAD_MAX,
    CONTENT_SHARE_DIVISOR,
    LINK_QUEUE_BYTES,
    LINK_QUEUE_ITEMS,
    RECORD_PLAIN_MAX,
    SCHEDULER_QUANTUM,
)
from network.mesh.chunks import FIRST, HEADER, LAST, RESET, WHOLE
from network.ports import Class
from network.queries import StreamIds

SLIVER = 1_024  # a record with less room left than this is not filled with a piece of a long frame
CONTENT_DEBT_MAX = SCHEDULER_QUANTUM * CONTENT_SHARE_DIVISOR


class _Frame:
    """A frame on its way out; `sent` bytes of it have left."""

    __slots__ = ("data", "expires", "sent", "stream")

    def __init__(self, data: bytes, stream: int, expires: float) -> None:
        self.data = data
        self.stream = stream
        self.expires = expires
        self.sent = 0


class _Flow:
    """Frames that keep their order: all gossip of a class is one, each query stream is one."""

    __slots__ = ("deficit", "frames", "key")

    def __init__(self, key: int) -> None:
        self.key = key
        self.frames: deque[_Frame] = deque()
        self.deficit = 0


class _Lane:
    """The queue of one class."""

    __slots__ = ("bytes", "flows", "items", "turns")

    def __init__(self) -> None:
        self.bytes = 0
        self.items = 0
        self.flows: dict[int, _Flow] = {}
        self.turns: deque[_Flow] = deque()

    def push(self, frame: _Frame, key: int) -> None:
        flow = self.flows.get(key)
        if flow is None:
            flow = self.flows[key] = _Flow(key)
            self.turns.append(flow)
        flow.frames.append(frame)
        self.bytes += len(frame.data)
        self.items += 1

    def done(self, frame: _Frame) -> None:
        self.bytes -= len(frame.data)
        self.items -= 1

    def end_turn(self, flow: _Flow) -> None:
        """`flow` is the head of `turns`."""
        self.turns.popleft()
        if flow.frames:
            self.turns.append(flow)
        else:
            del self.flows[flow.key]


class Scheduler:
    """Outgoing frames of one link. `streams` numbers long frames that have no stream."""

    def __init__(self, streams: StreamIds) -> None:
        self._streams = streams
        self._lanes = tuple(_Lane() for _ in Class)
        self._resets: deque[int] = deque()
        self._content_debt = 0
        self._items = 0
        self.expired = 0

    def __len__(self) -> int:
        """Frames and resets that wait."""
        return self._items + len(self._resets)

    def queued_bytes(self) -> tuple[int, ...]:
        return tuple(lane.bytes for lane in self._lanes)

    def push(self, frame: bytes, cls: Class, stream: int, expires: float) -> bool:
        """False if the class's queue is full. An empty one takes any frame, also a long reply."""
        lane = self._lanes[cls]
        beyond = lane.bytes + len(frame) > LINK_QUEUE_BYTES[cls]
        if lane.items and (beyond or lane.items >= LINK_QUEUE_ITEMS[cls]):
            return False
        if stream == 0 and len(frame) > CHUNK_PAYLOAD_MAX:
            lane.push(_Frame(frame, self._streams.take(), expires), 0)
        else:
            lane.push(_Frame(frame, stream, expires), stream)
        self._items += 1
        return True

    def cancel(self, stream: int) -> None:
        """Forget what is queued on `stream`, and reset it at the peer if any of it has left."""
        left = True
        for lane in self._lanes:
            flow = lane.flows.get(stream)
            if flow is None:
                continue
            left = flow.frames[0].sent > 0
            for frame in flow.frames:
                lane.done(frame)
                self._items -= 1
            lane.turns.remove(flow)
            del lane.flows[stream]
        if left and len(self._resets) < CANCELLED_STREAMS_MAX:
            self._resets.append(stream)

    def take(self, now: float) -> bytes:
        """Plain bytes of the next record (whole chunks), b"" if nothing waits."""
        parts: list[bytes] = []
        room = RECORD_PLAIN_MAX
        while self._resets and room >= CHUNK_HEADER:
            parts.append(HEADER.pack(Class.VOTE, self._resets.popleft(), RESET, 0))
            room -= CHUNK_HEADER
        while self._items:
            cls = self._next_class()
            used = self._take_from(cls, room, now, parts)
            if used == 0:
                break
            room -= used
        return b"".join(parts)

    def _next_class(self) -> Class:
        """Strict order; content when it is owed its tenth. network §2"""
        content = self._lanes[Class.CONTENT]
        if content.items and self._content_debt >= CONTENT_DEBT_MAX:
            return Class.CONTENT
        for cls in Class:
            if self._lanes[cls].items:
                return cls
        raise AssertionError("nothing waits")

    def _take_from(self, cls: Class, room: int, now: float, parts: list[bytes]) -> int:
        """Chunks of one turn of one flow into `parts`; bytes used, headers included.

        0 means the record is full. A turn that only dropped expired frames counts as a header.
        """
        lane = self._lanes[cls]
        flow = lane.turns[0]
        if flow.deficit <= 0:
            flow.deficit += SCHEDULER_QUANTUM
        used = 0
        dropped = False
        while flow.frames and flow.deficit > 0:
            frame = flow.frames[0]
            if frame.expires <= now:
                self._expire(lane, flow, frame)
                dropped = True
                continue
            size = min(len(frame.data) - frame.sent, CHUNK_PAYLOAD_MAX)
            free = room - used - CHUNK_HEADER
            if size > free:
                if free < SLIVER or frame.stream == 0:
                    self._count(cls, used)
                    return used
                size = free
            self._cut(cls, frame, size, parts)
            used += CHUNK_HEADER + size
            flow.deficit -= size + CHUNK_HEADER
            if frame.sent == len(frame.data):
                flow.frames.popleft()
                lane.done(frame)
                self._items -= 1
        lane.end_turn(flow)
        self._count(cls, used)
        return used or (CHUNK_HEADER if dropped else 0)

    @staticmethod
    def _cut(cls: Class, frame: _Frame, size: int, parts: list[bytes]) -> None:
        total, start = len(frame.data), frame.sent
        end = frame.sent = start + size
        if size == total:
            parts += (HEADER.pack(cls, frame.stream, WHOLE, size), frame.data)
            return
        flags = (FIRST if start == 0 else 0) | (LAST if end == total else 0)
        parts += (HEADER.pack(cls, frame.stream, flags, size), frame.data[start:end])

    def _expire(self, lane: _Lane, flow: _Flow, frame: _Frame) -> None:
        flow.frames.popleft()
        lane.done(frame)
        self._items -= 1
        self.expired += 1
        if frame.sent:
            self._resets.append(frame.stream)

    def _count(self, cls: Class, used: int) -> None:
        if cls is Class.CONTENT:
            self._content_debt = max(0, self._content_debt - used * CONTENT_SHARE_DIVISOR)
        elif self._lanes[Class.CONTENT].items:
            self._content_debt = min(self._content_debt + used, 2 * CONTENT_DEBT_MAX)
