"""The tail of a stream (pure): its newest chunks, decoded, within a bound. What most readers
read."""

from bisect import bisect_right
from collections import deque

from perper_core.chunks import Chunk
from perper_core.limits import TAIL_BYTES_MAX, TAIL_CHUNKS_MAX


class Tail:
    """Consecutive chunks up to the newest. Invariant: each begins where the one before it ended."""

    __slots__ = ("_bytes", "_chunks", "_firsts")

    def __init__(self) -> None:
        self._chunks: dict[int, Chunk] = {}
        self._firsts: deque[int] = deque()
        self._bytes = 0

    def add(self, chunk: Chunk) -> None:
        """Append the newest chunk; the oldest give way. A gap begins a new tail."""
        if self._firsts and self._chunks[self._firsts[-1]].last + 1 != chunk.first:
            self.clear()
        self._chunks[chunk.first] = chunk
        self._firsts.append(chunk.first)
        self._bytes += chunk.bytes
        while len(self._firsts) > 1 and (
            self._bytes > TAIL_BYTES_MAX or len(self._firsts) > TAIL_CHUNKS_MAX
        ):
            self._drop_oldest()

    def find(self, offset: int) -> Chunk | None:
        """The chunk that holds an offset."""
        chunk = self._chunks.get(offset)
        if chunk is not None or not self._firsts or offset < self._firsts[0]:
            return chunk
        firsts = list(self._firsts)
        chunk = self._chunks[firsts[bisect_right(firsts, offset) - 1]]
        return chunk if chunk.last >= offset else None

    def trim(self, to: int) -> None:
        """Forget chunks that lie wholly at or below an offset."""
        while self._firsts and self._chunks[self._firsts[0]].last <= to:
            self._drop_oldest()

    def clear(self) -> None:
        self._chunks.clear()
        self._firsts.clear()
        self._bytes = 0

    def _drop_oldest(self) -> None:
        self._bytes -= self._chunks.pop(self._firsts.popleft()).bytes
