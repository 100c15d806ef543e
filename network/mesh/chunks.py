"""Chunks: pieces of frames as they travel inside records, and their reassembly.

class u8, stream u32, flags u8, length u16, then at most 16,000 bytes. Pure: `Assembler` holds what
has arrived of long frames, within bounds. network §2
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from network.errors import RemoteError
from network.limits import (
    BLAME_MALFORMED,
    CHUNK_HEADER,
    CHUNK_PAYLOAD_MAX,
    PARTIAL_BYTES_MAX,
    PARTIAL_STREAMS_MAX,
)
from network.ports import Class
from network.records import malformed

FIRST: Final = 1
LAST: Final = 2
RESET: Final = 4
WHOLE: Final = FIRST | LAST
HEADER: Final = struct.Struct(">BIBH")
CLASSES: Final = len(Class)

assert HEADER.size == CHUNK_HEADER

Bound = Callable[[int, bytes], int]
"""(stream, first bytes of the frame) -> most bytes it may have; 0: read past it."""


class Oversize(RemoteError):
    """A frame grew beyond its bound."""

    def __init__(self, stream: int) -> None:
        super().__init__("frame beyond its bound", BLAME_MALFORMED)
        self.stream = stream


class _Partial:
    __slots__ = ("bound", "cls", "pieces", "size")

    def __init__(self, cls: int, bound: int) -> None:
        self.cls = cls
        self.bound = bound
        self.pieces: list[bytes] = []
        self.size = 0


class Assembler:
    """Long frames of one link in the making."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._partial: dict[int, _Partial] = {}
        self._bytes = 0

    def add(self, cls: int, stream: int, flags: int, payload: bytes) -> bytes | None:
        """One chunk of a frame of several; the frame, once its last has come. `RemoteError`."""
        if stream == 0 or not payload:
            raise malformed("chunk of a long frame without stream or bytes")
        if flags & FIRST:
            if stream in self._partial:
                raise malformed("stream begins twice")
            if len(self._partial) >= PARTIAL_STREAMS_MAX:
                raise malformed("too many streams at once")
            partial = self._partial[stream] = _Partial(cls, self._bound(stream, payload))
        else:
            found = self._partial.get(stream)
            if found is None or found.cls != cls:
                raise malformed("chunk of no stream")
            partial = found
        partial.size += len(payload)
        if partial.bound:
            if partial.size > partial.bound:
                raise Oversize(stream)
            partial.pieces.append(payload)
            self._bytes += len(payload)
            if self._bytes > PARTIAL_BYTES_MAX:
                raise malformed("too many bytes of unfinished frames")
        if not flags & LAST:
            return None
        del self._partial[stream]
        if not partial.bound:
            return None
        self._bytes -= partial.size
        return b"".join(partial.pieces)

    def reset(self, stream: int) -> None:
        partial = self._partial.pop(stream, None)
        if partial is not None and partial.bound:
            self._bytes -= partial.size


def read_chunk(plain: bytes, at: int) -> tuple[int, int, int, int, int]:
    """(class, stream, flags, start, end) of the chunk at `at`. `RemoteError`."""
    start = at + CHUNK_HEADER
    if start > len(plain):
        raise malformed("chunk is cut off")
    cls, stream, flags, length = HEADER.unpack_from(plain, at)
    end = start + length
    if end > len(plain) or length > CHUNK_PAYLOAD_MAX:
        raise malformed("chunk is cut off or too long")
    if cls >= CLASSES or flags > RESET:
        raise malformed("class or flags of a chunk")
    if flags == RESET and length:
        raise malformed("reset with bytes")
    return cls, stream, flags, start, end
