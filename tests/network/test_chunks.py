"""Chunks and their reassembly: everything a hostile peer can do to it."""

from __future__ import annotations

import pytest

from network.errors import RemoteError
from network.limits import PARTIAL_BYTES_MAX, PARTIAL_STREAMS_MAX
from network.mesh.chunks import FIRST, HEADER, LAST, RESET, WHOLE, Assembler, Oversize, read_chunk


def make(bound: int = 1 << 30) -> Assembler:
    return Assembler(lambda stream, head: bound)


def test_interleaved_streams_come_out_whole() -> None:
    assembler = make()
    assert assembler.add(0, 1, FIRST, b"a") is None
    assert assembler.add(0, 2, FIRST, b"x") is None
    assert assembler.add(0, 1, 0, b"b") is None
    assert assembler.add(0, 2, LAST, b"y") == b"xy"
    assert assembler.add(0, 1, LAST, b"c") == b"abc"


def test_a_frame_beyond_its_bound_is_refused_as_it_grows() -> None:
    assembler = make(bound=3)
    assembler.add(0, 1, FIRST, b"ab")
    with pytest.raises(Oversize) as caught:
        assembler.add(0, 1, 0, b"cd")
    assert caught.value.stream == 1


def test_what_nobody_wants_is_read_past_without_keeping_it() -> None:
    assembler = make(bound=0)
    piece = bytes(16_000)
    assembler.add(4, 2, FIRST, piece)
    for _ in range(2 * PARTIAL_BYTES_MAX // len(piece)):
        assert assembler.add(4, 2, 0, piece) is None
    assert assembler.add(4, 2, LAST, piece) is None


@pytest.mark.parametrize(
    ("cls", "stream", "flags", "payload"),
    [
        (0, 0, FIRST, b"no stream"),
        (0, 7, 0, b"never begun"),
        (0, 7, LAST, b"never begun"),
        (0, 1, FIRST, b"begun twice"),
        (1, 1, 0, b"another class"),
        (0, 1, 0, b""),
    ],
)
def test_chunks_that_fit_nothing(cls: int, stream: int, flags: int, payload: bytes) -> None:
    assembler = make()
    assembler.add(0, 1, FIRST, b"a")
    with pytest.raises(RemoteError):
        assembler.add(cls, stream, flags, payload)


def test_bounds_on_streams_and_bytes_of_unfinished_frames() -> None:
    assembler = make()
    for stream in range(1, PARTIAL_STREAMS_MAX + 1):
        assembler.add(0, stream, FIRST, b"a")
    with pytest.raises(RemoteError, match="streams"):
        assembler.add(0, 1_000, FIRST, b"a")
    assembler = make()
    assembler.add(0, 1, FIRST, b"a")
    for _ in range(PARTIAL_BYTES_MAX // 16_000):
        assembler.add(0, 1, 0, bytes(16_000))
    with pytest.raises(RemoteError, match="bytes"):
        assembler.add(0, 1, 0, bytes(16_000))


def test_a_reset_frees_its_stream() -> None:
    assembler = make()
    assembler.add(0, 1, FIRST, b"a")
    assembler.reset(1)
    assembler.reset(99)
    assert assembler.add(0, 1, FIRST, b"b") is None
    assert assembler.add(0, 1, LAST, b"c") == b"bc"


@pytest.mark.parametrize(
    "record",
    [
        HEADER.pack(0, 0, WHOLE, 5) + b"1234",
        HEADER.pack(0, 0, WHOLE, 5)[:-1],
        HEADER.pack(5, 0, WHOLE, 1) + b"1",
        HEADER.pack(0, 0, RESET | LAST, 1) + b"1",
        HEADER.pack(0, 0, RESET, 1) + b"1",
        HEADER.pack(0, 0, 8, 1) + b"1",
        HEADER.pack(0, 0, WHOLE, 16_001) + bytes(16_001),
    ],
)
def test_chunks_that_are_wrong_in_themselves(record: bytes) -> None:
    with pytest.raises(RemoteError):
        read_chunk(record, 0)
