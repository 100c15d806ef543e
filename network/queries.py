"""Open queries: stream ids, deadlines, bounds, and how many handlers a peer keeps busy.

Bookkeeping only: futures, frames and handlers belong to `service.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from network.errors import Busy
from network.limits import HANDLERS_PER_PEER_MAX, QUERIES_PER_PEER_MAX
from network.ports import PeerId

STREAM_MAX: Final = (1 << 32) - 1
COMPACT_FACTOR: Final = 4
COMPACT_MIN: Final = 64


class StreamIds:
    """Stream numbers of one end of a link: odd for the dialler, even from 2 for the other, so the
    two ends never choose the same one. 0 carries frames that need no stream."""

    def __init__(self, dialler: bool) -> None:
        self._first = 1 if dialler else 2
        self._next = self._first

    def take(self) -> int:
        stream = self._next
        self._next = stream + 2 if stream + 2 <= STREAM_MAX else self._first
        return stream

    def ours(self, stream: int) -> bool:
        return stream != 0 and stream % 2 == self._first % 2


@dataclass(frozen=True, slots=True)
class Open:
    """A query of ours that waits for its reply. `deadline`: monotonic seconds."""

    peer: PeerId
    stream: int
    deadline: float
    max_reply: int


class OpenQueries:
    """All queries of ours, by peer and stream, and the next deadline."""

    def __init__(self, per_peer: int = QUERIES_PER_PEER_MAX) -> None:
        self._per_peer = per_peer
        self._open: dict[PeerId, dict[int, Open]] = {}
        self._deadlines: list[tuple[float, PeerId, int]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def check(self, peer: PeerId) -> None:
        """`Busy` if one more to `peer` is too many."""
        if len(self._open.get(peer, ())) >= self._per_peer:
            raise Busy("too many queries open to this peer")

    def add(self, query: Open) -> None:
        streams = self._open.setdefault(query.peer, {})
        assert query.stream not in streams
        streams[query.stream] = query
        self._count += 1
        heappush(self._deadlines, (query.deadline, query.peer, query.stream))
        if len(self._deadlines) > COMPACT_FACTOR * self._count + COMPACT_MIN:
            self._deadlines = [
                (found.deadline, found.peer, found.stream)
                for streams in self._open.values()
                for found in streams.values()
            ]
            heapify(self._deadlines)

    def find(self, peer: PeerId, stream: int) -> Open | None:
        streams = self._open.get(peer)
        return None if streams is None else streams.get(stream)

    def close(self, peer: PeerId, stream: int) -> bool:
        """True if it was open."""
        streams = self._open.get(peer)
        if streams is None or streams.pop(stream, None) is None:
            return False
        self._count -= 1
        if not streams:
            del self._open[peer]
        return True

    def drop_peer(self, peer: PeerId) -> list[int]:
        """The link is gone: the streams that will get no reply."""
        streams = self._open.pop(peer, {})
        self._count -= len(streams)
        return list(streams)

    def next_deadline(self) -> float | None:
        while self._deadlines:
            deadline, peer, stream = self._deadlines[0]
            found = self.find(peer, stream)
            if found is not None and found.deadline == deadline:
                return deadline
            heappop(self._deadlines)
        return None

    def expired(self, now: float) -> list[Open]:
        """Queries whose deadline has passed, closed by this call."""
        late: list[Open] = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, peer, stream = heappop(self._deadlines)
            query = self.find(peer, stream)
            assert query is not None
            self.close(peer, stream)
            late.append(query)
        return late


class Inflight:
    """Handlers at work, per peer and protocol and per peer in all."""

    def __init__(self, per_peer: int = HANDLERS_PER_PEER_MAX) -> None:
        self._per_peer = per_peer
        self._count: dict[tuple[PeerId, str], int] = {}
        self._all: dict[PeerId, int] = {}

    def enter(self, peer: PeerId, proto: str, bound: int) -> bool:
        """False if the peer keeps `bound` handlers of `proto`, or too many in all, busy."""
        count = self._count.get((peer, proto), 0)
        everything = self._all.get(peer, 0)
        if count >= bound or everything >= self._per_peer:
            return False
        self._count[peer, proto] = count + 1
        self._all[peer] = everything + 1
        return True

    def leave(self, peer: PeerId, proto: str) -> None:
        count = self._count[peer, proto] - 1
        everything = self._all[peer] - 1
        if count:
            self._count[peer, proto] = count
        else:
            del self._count[peer, proto]
        if everything:
            self._all[peer] = everything
        else:
            del self._all[peer]
