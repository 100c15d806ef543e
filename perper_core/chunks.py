"""Chunks (pure): how a run of items is stored in one record, and how one of them is found again.

Items have dense offsets; consecutive ones of one commit share a record under (stream, first
offset): the next chunk's key is (stream, last + 1). For a reader that starts in the middle, one
locator per LOCATOR_STRIDE offsets names the chunk that holds the stride's first offset; from there
it walks.

Body: epoch u64 | first u64 | count u32 | flags u8 | field_max i64 | lengths u32 * count | keys i64
* count if flagged | items. Little-endian columns, so that they are copied, not converted, on the
usual machines.
"""

import struct
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from sys import byteorder
from typing import NamedTuple

from perper_core.errors import Corrupt
from perper_core.limits import LOCATOR_STRIDE
from perper_core.records import HEADER, Stamp, opened, sealed
from perper_core.streams import ChunkMark

_FIXED = struct.Struct("<QQIBq")
_LOCATOR = struct.Struct("<QQ")
_KEYED, _FIELDED = 1, 2


class Chunk(NamedTuple):
    """A run of items in columns. `keys` is None or as long as `raws`."""

    first: int
    raws: Sequence[bytes]
    keys: Sequence[int] | None
    bytes: int
    field_max: int | None

    @property
    def last(self) -> int:
        return self.first + len(self.raws) - 1

    @property
    def mark(self) -> ChunkMark:
        """What retention needs of it."""
        key_max = max(self.keys) if self.keys is not None else None
        return ChunkMark(self.first, self.last, self.bytes, key_max, self.field_max)


def _column(kind: str, numbers: Sequence[int]) -> bytes:
    column = array(kind, numbers)
    if byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _read_column(kind: str, raw: bytes) -> "array[int]":
    column = array(kind)
    column.frombytes(raw)
    if byteorder == "big":
        column.byteswap()
    return column


def encode_chunk(stamp: Stamp, epoch: int, chunk: Chunk) -> bytes:
    """The whole record."""
    keys, raws = chunk.keys, chunk.raws
    flags = (_KEYED if keys is not None else 0) | (_FIELDED if chunk.field_max is not None else 0)
    fixed = _FIXED.pack(epoch, chunk.first, len(raws), flags, chunk.field_max or 0)
    parts = [fixed, _column("I", [len(raw) for raw in raws])]
    if keys is not None:
        parts.append(_column("q", keys))
    parts.extend(raws)
    return sealed(stamp, b"".join(parts))


def chunk_epoch(raw: bytes) -> int:
    """Epoch of the owner that wrote a chunk or locator record."""
    try:
        return int(struct.unpack_from("<Q", raw, HEADER.size)[0])
    except struct.error as error:
        raise Corrupt("a chunk ends early") from error


def decode_chunk(raw: bytes) -> Chunk:
    """Raises Corrupt."""
    _, body = opened(raw)
    try:
        _, first, count, flags, field_max = _FIXED.unpack_from(body)
        at = _FIXED.size + 4 * count
        lengths = _read_column("I", body[_FIXED.size : at])
        keys = None
        if flags & _KEYED:
            keys = _read_column("q", body[at : at + 8 * count])
            at += 8 * count
    except (struct.error, ValueError) as error:
        raise Corrupt("a chunk does not decode") from error
    ends = list(accumulate(lengths, initial=at))
    if len(lengths) != count or ends[-1] != len(body):
        raise Corrupt("a chunk does not decode", first=first)
    raws = [body[start:end] for start, end in pairwise(ends)]
    field = field_max if flags & _FIELDED else None
    return Chunk(first, raws, keys, len(body) - at, field)


def locators_of(first: int, last: int) -> range:
    """Numbers of the locators that a chunk `first..last` has to write: of strides starting in
    it."""
    return range(-(-first // LOCATOR_STRIDE), last // LOCATOR_STRIDE + 1)


def locator_of(offset: int) -> int:
    """Number of the locator to start from. 0 does not exist: the stream begins at offset 1."""
    return offset // LOCATOR_STRIDE


def encode_locator(stamp: Stamp, epoch: int, first: int) -> bytes:
    return sealed(stamp, _LOCATOR.pack(epoch, first))


def decode_locator(raw: bytes) -> int:
    """First offset of the chunk. Raises Corrupt."""
    _, body = opened(raw)
    try:
        return int(_LOCATOR.unpack(body)[1])
    except struct.error as error:
        raise Corrupt("a locator does not decode") from error
