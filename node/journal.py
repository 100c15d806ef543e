"""The journal: every event that a core handled, for replay and audit. A ring of files, 0600.

It holds reveals, so it is never a public stream. Written in batches and never synced: recovery does
not need it, and a disk that fails it stops the journal, not the node. Knows events as bytes only.

File: records, each `u32 length ‖ u32 crc32 ‖ canonical bytes` (zlib's crc32). The first is the head
["journal", 1, code version, first sequence, snapshot], the others are events, [sequence,
[monotonic_ms, clock_ms], event, digest of effects]. The snapshot is the core's before the first.
"""

import os
import struct
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from consensus.encoding import UINT, Schema, Value, blob, decode, head, text
from consensus.errors import EncodingError
from consensus.ids import Now
from node.errors import JournalCorrupt, NotFound

SEGMENT_BYTES: Final = 64 * 1024 * 1024
SEGMENTS_MAX: Final = 8
BATCH_BYTES: Final = 64 * 1024  # written when so many wait, or at `flush`
RECORD_BYTES_MAX: Final = 256 * 1024 * 1024  # a head holds a full pool
_FRAME: Final = struct.Struct(">II")
_VERSION: Final = 1
_HEAD = Schema(
    "journal", _VERSION, [text(64), UINT, blob(RECORD_BYTES_MAX)], max_bytes=RECORD_BYTES_MAX
)
_SUFFIX: Final = ".journal"


class Keep(StrEnum):
    """How much is kept (`[journal] keep`)."""

    OFF = "off"
    RING = "ring"  # the newest SEGMENTS_MAX segments
    FULL = "full"  # everything: tests, simulations, recorded testnets


class Entry(NamedTuple):
    """One event as it was handled."""

    sequence: int
    now: Now
    event: bytes
    effects: bytes  # sha256 of what the core answered; empty where it was not kept


class Segment(NamedTuple):
    """The head of one file: replay starts a core from `snapshot` and hands it the entries."""

    path: Path
    code_version: str
    first: int
    snapshot: bytes


# ---- writing ------------------------------------------------------------------------------------


class Journal:
    """Append each event as soon as the core has handled it, before the next.

    `snapshot` gives the core's bytes now; it is asked for here and whenever a segment is full. A
    new segment begins at every start: the last one may have a torn tail. After an error of the disk
    `failure` says why and `lost` counts the records that were not kept.
    """

    def __init__(
        self,
        folder: Path,
        *,
        code_version: str,
        snapshot: Callable[[], bytes],
        keep: Keep = Keep.RING,
        segment_bytes: int = SEGMENT_BYTES,
        segments_max: int = SEGMENTS_MAX,
    ) -> None:
        self.folder = folder
        self.keep = keep
        self.failure = ""
        self.lost = 0
        self._code_version, self._snapshot = code_version, snapshot
        self._segment_bytes, self._segments_max = segment_bytes, segments_max
        self._fd = -1
        self._written = 0  # bytes of this segment, those that wait included
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self.sequence = 0  # of the next event
        if keep is not Keep.OFF:
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.sequence = _next_sequence(folder)
                self._roll()
            except OSError as error:
                self._fail(error)

    def append(self, now: Now, event: bytes, effects: bytes = b"") -> None:
        """Keep one event, and the digest of its effects if given. Never raises for the disk."""
        if self.keep is Keep.OFF:
            return
        if self.failure:
            self.lost += 1
            return
        self._put(_entry(self.sequence, now, event, effects))
        self.sequence += 1
        if self._written >= self._segment_bytes:
            self._roll()
        elif self._waiting_bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what waits to the system; not synced."""
        if not self._waiting or self._fd < 0:
            return
        view = memoryview(b"".join(self._waiting))
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            self._waiting, self._waiting_bytes = [], 0
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Flush and let go. Idempotent."""
        self.flush()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _put(self, raw: bytes) -> None:
        assert len(raw) <= RECORD_BYTES_MAX, "an event beyond every bound"
        self._waiting += (_FRAME.pack(len(raw), crc32(raw)), raw)
        self._waiting_bytes += _FRAME.size + len(raw)
        self._written += _FRAME.size + len(raw)

    def _roll(self) -> None:
        self.close()
        if self.failure:
            return
        path = self.folder / f"{self.sequence:020}{_SUFFIX}"
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            if self.keep is Keep.RING:
                for old in _paths(self.folder)[: -self._segments_max]:
                    old.unlink()
        except OSError as error:
            self._fail(error)
            return
        self._written = 0
        self._put(_HEAD.encode((self._code_version, self.sequence, self._snapshot())))

    def _fail(self, error: OSError) -> None:
        self.failure = f"{self.folder}: {error.strerror or error}"
        self.lost += len(self._waiting) // 2  # frame and record
        self._waiting, self._waiting_bytes = [], 0
        self.close()


def _entry(sequence: int, now: Now, event: bytes, effects: bytes) -> bytes:
    # The canonical list [sequence, [monotonic_ms, clock_ms], event, effects], by hand for speed.
    place = head(0, sequence) + b"\x82" + head(0, now.monotonic_ms) + head(0, now.clock_ms)
    return b"".join((b"\x84", place, head(2, len(event)), event, head(2, len(effects)), effects))


# ---- reading ------------------------------------------------------------------------------------


def segments(folder: Path) -> list[Segment]:
    """The segments of a journal, oldest first; one without a whole head is left out.

    Raises NotFound where there is none, JournalCorrupt for a head of another form.
    """
    found = [segment for path in _paths(folder) if (segment := read_head(path)) is not None]
    if not found:
        raise NotFound(f"there is no journal in {folder}")
    return found


def read_head(path: Path) -> Segment | None:
    """The head of a segment; None where it was never written whole. Raises JournalCorrupt."""
    for raw in _records(path):
        try:
            code_version, first, snapshot = _HEAD.decode(raw)
        except EncodingError as error:
            raise JournalCorrupt(f"{path}: {error}") from error
        return Segment(path, code_version, first, snapshot)
    return None


def entries(segment: Segment) -> Iterator[Entry]:
    """The events of a segment in order; a torn tail ends it. Raises JournalCorrupt."""
    expected = segment.first
    records = _records(segment.path)
    next(records)  # the head
    for raw in records:
        entry = _read_entry(raw, segment.path)
        if entry.sequence != expected:
            raise JournalCorrupt(f"{segment.path}: event {entry.sequence} where {expected} is due")
        expected += 1
        yield entry


def _read_entry(raw: bytes, path: Path) -> Entry:
    try:
        value: Value = decode(raw, max_bytes=RECORD_BYTES_MAX)
        sequence, (monotonic_ms, clock_ms), event, effects = value
        if not (type(sequence) is int and type(event) is type(effects) is bytes):
            raise EncodingError("not [sequence, now, event, effects]")
    except (EncodingError, TypeError, ValueError) as error:
        raise JournalCorrupt(f"{path}: a record that is no event") from error
    return Entry(sequence, Now(monotonic_ms, clock_ms), event, effects)


def _records(path: Path) -> Iterator[bytes]:
    """The whole records of a file. What is cut off or torn at its end is passed over.

    Raises JournalCorrupt for a damaged record that others follow.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        while True:
            start = file.tell()
            frame = file.read(_FRAME.size)
            if len(frame) < _FRAME.size:
                return
            length, checksum = _FRAME.unpack(frame)
            end = start + _FRAME.size + length
            if length == 0 or end > size:
                return
            raw = file.read(length)
            if crc32(raw) != checksum:
                if end < size and any(file.read(BATCH_BYTES)):
                    raise JournalCorrupt(f"{path}: the record at byte {start} is damaged")
                return
            yield raw


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else []


def _next_sequence(folder: Path) -> int:
    """The sequence after the last whole event; counted without decoding."""
    for path in reversed(_paths(folder)):
        try:
            segment = read_head(path)
            if segment is not None:
                return segment.first + sum([1 for _ in _records(path)]) - 1
        except JournalCorrupt:
            first = int(path.name.removesuffix(_SUFFIX))
            # Damage hides how many follow: leave room, sequences only grow.
            return first + path.stat().st_size // _FRAME.size
    return 0
