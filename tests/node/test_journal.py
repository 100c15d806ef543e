"""The journal: what goes in comes out, torn tails end it, damage is found, the ring turns."""

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from consensus.encoding import encode
from consensus.ids import Now
from node.errors import Exit, JournalCorrupt, NotFound
from node.journal import Entry, Journal, Keep, _entry, entries, read_head, segments

DIGEST = hashlib.sha256(b"effects").digest()


class Core:
    """Stands for the machine: its snapshot tells how many events it has handled."""

    def __init__(self) -> None:
        self.handled = 0

    def snapshot(self) -> bytes:
        return b"after %d" % self.handled


def run(
    folder: Path,
    count: int,
    *,
    keep: Keep = Keep.RING,
    segment_bytes: int = 1000,
    start: int = 0,
    size: int = 60,
) -> Journal:
    core = Core()
    core.handled = start
    journal = Journal(
        folder,
        code_version="1.0",
        snapshot=core.snapshot,
        keep=keep,
        segment_bytes=segment_bytes,
        segments_max=3,
    )
    for _ in range(count):
        core.handled += 1
        journal.append(*event(core.handled - 1, size))
    return journal


def event(number: int, size: int = 60) -> tuple[Now, bytes, bytes]:
    return (
        Now(1000 + number, 1_700_000_000_000 + number),
        b"event %d " % number + b"." * size,
        DIGEST,
    )


def all_entries(folder: Path) -> list[Entry]:
    return [entry for segment in segments(folder) for entry in entries(segment)]


def test_events_come_back_as_they_were_handled(tmp_path: Path) -> None:
    run(tmp_path, 5, segment_bytes=10**6).close()
    (segment,) = segments(tmp_path)
    assert segment[1:] == ("1.0", 0, b"after 0")
    assert list(entries(segment)) == [Entry(n, *event(n)) for n in range(5)]
    assert segment.path.stat().st_mode & 0o777 == 0o600


def test_the_frame_of_an_event_is_canonical() -> None:
    now, raw, effects = event(3)
    wanted = encode([300, [now.monotonic_ms, now.clock_ms], raw, effects])
    assert _entry(300, now, raw, effects) == wanted


def test_each_segment_starts_with_the_snapshot_before_its_first_event(tmp_path: Path) -> None:
    run(tmp_path, 60, keep=Keep.FULL).close()
    found = segments(tmp_path)
    assert len(found) > 5
    for segment in found:
        assert segment.snapshot == b"after %d" % segment.first
    assert all_entries(tmp_path) == [Entry(n, *event(n)) for n in range(60)]


def test_the_ring_keeps_the_newest_segments(tmp_path: Path) -> None:
    run(tmp_path, 60).close()
    assert len(segments(tmp_path)) == 3
    kept = all_entries(tmp_path)
    first = kept[0].sequence
    assert first > 20
    assert kept == [Entry(n, *event(n)) for n in range(first, 60)]


def test_off_keeps_nothing(tmp_path: Path) -> None:
    run(tmp_path / "journal", 60, keep=Keep.OFF).close()
    assert not (tmp_path / "journal").exists()
    with pytest.raises(NotFound):
        segments(tmp_path / "journal")


def test_a_new_start_is_a_new_segment_and_the_sequence_goes_on(tmp_path: Path) -> None:
    run(tmp_path, 7, segment_bytes=10**6).close()
    run(tmp_path, 4, segment_bytes=10**6, start=7).close()
    assert [segment.first for segment in segments(tmp_path)] == [0, 7]
    assert all_entries(tmp_path) == [Entry(n, *event(n)) for n in range(11)]


def test_nothing_is_written_before_a_batch_is_full_or_flushed(tmp_path: Path) -> None:
    journal = run(tmp_path, 3, segment_bytes=10**6)
    path = next(tmp_path.iterdir())
    assert path.stat().st_size == 0
    journal.flush()
    written = path.stat().st_size
    assert written > 0
    journal.append(*event(3, size=70_000))
    assert path.stat().st_size > written + 70_000
    journal.close()
    journal.close()


def cut(path: Path, size: int) -> None:
    os.truncate(path, size)


def zeroed(path: Path, size: int) -> None:
    whole = path.stat().st_size
    os.truncate(path, size)
    os.truncate(path, whole)


@pytest.mark.parametrize("tear", [cut, zeroed])
def test_a_torn_tail_ends_the_segment(tmp_path: Path, tear: Callable[[Path, int], None]) -> None:
    run(tmp_path / "whole", 6, segment_bytes=10**6).close()
    whole = next((tmp_path / "whole").iterdir()).read_bytes()
    ends = record_ends(whole)
    for size in range(0, len(whole), 7):
        folder = tmp_path / f"{size}"
        folder.mkdir()
        path = folder / "00000000000000000000.journal"
        path.write_bytes(whole)
        tear(path, size)
        complete = len([end for end in ends if end <= size]) - 1
        if complete < 0:
            assert read_head(path) is None
            with pytest.raises(NotFound):
                segments(folder)
        else:
            assert [entry.sequence for entry in all_entries(folder)] == list(range(complete))
        run(folder, 2, segment_bytes=10**6, start=max(complete, 0)).close()
        assert [entry.sequence for entry in all_entries(folder)] == list(
            range(max(complete, 0) + 2)
        )


def record_ends(raw: bytes) -> list[int]:
    ends, at = [], 0
    while at < len(raw):
        at += 8 + struct.unpack_from(">I", raw, at)[0]
        ends.append(at)
    return ends


def test_a_damaged_record_in_the_middle_is_found(tmp_path: Path) -> None:
    run(tmp_path, 6, segment_bytes=10**6).close()
    path = next(tmp_path.iterdir())
    raw = bytearray(path.read_bytes())
    raw[record_ends(raw)[3] - 5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(JournalCorrupt, match="damaged") as caught:
        all_entries(tmp_path)
    assert caught.value.exit == Exit.SAFETY
    again = run(tmp_path, 1, segment_bytes=10**6)
    assert again.sequence > 6  # sequences only grow
    again.close()


def test_a_missing_event_is_found(tmp_path: Path) -> None:
    run(tmp_path, 6, segment_bytes=10**6).close()
    path = next(tmp_path.iterdir())
    raw = path.read_bytes()
    ends = record_ends(raw)
    path.write_bytes(raw[: ends[2]] + raw[ends[3] :])
    with pytest.raises(JournalCorrupt, match="event 3 where 2 is due"):
        all_entries(tmp_path)


def test_a_head_of_another_version_is_refused(tmp_path: Path) -> None:
    from zlib import crc32

    raw = encode(["journal", 2, "1.0", 0, b""])
    path = tmp_path / "00000000000000000000.journal"
    path.write_bytes(struct.pack(">II", len(raw), crc32(raw)) + raw)
    with pytest.raises(JournalCorrupt, match="version 1"):
        segments(tmp_path)


def test_a_failing_disk_stops_the_journal_and_not_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = run(tmp_path, 3, segment_bytes=10**6)

    def full(fd: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        journal.flush()
    assert "No space left" in journal.failure
    assert journal.lost == 4  # the head and three events
    journal.append(*event(4))
    assert journal.lost == 5
    journal.close()


def test_a_folder_that_cannot_take_a_segment_stops_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise OSError(30, "Read-only")

    monkeypatch.setattr(os, "open", refused)
    journal = run(tmp_path, 1)
    assert (journal.failure, journal.lost) == (f"{tmp_path}: Read-only", 1)
