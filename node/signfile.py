"""`sign.db`: one record that survives any crash, in two copies in one file. Knows no keys.

A record is written to the first copy and synced, then to the second and synced; only then is it
saved. So whenever one copy is damaged, torn or rotten, the other holds at least everything that
was ever acted upon, and only two damaged copies are a loss. Writes go over space that was
allocated before, so a full disk cannot tear one.

File: copy ‖ copy, each half of it. A copy: "apx-sign" ‖ u64 sequence ‖ u32 length ‖ record ‖
sha256 of all that, zeros to its end.
"""

import errno
import hashlib
import os
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from node.errors import SignRecordCorrupt, SignRecordMissing, StoreError, StoreFull

COPY_BYTES_START: Final = 64 * 1024  # of one copy; doubles when a record does not fit
COPY_BYTES_MAX: Final = 8 * 1024 * 1024
_MAGIC: Final = b"apx-sign"
_HEAD_BYTES: Final = 8 + 8 + 4
_SUM_BYTES: Final = 32
_FULL = frozenset((errno.ENOSPC, errno.EFBIG, errno.EDQUOT))


class Disk(Protocol):
    """One file, with the promises of a disk: only what is synced is there after a crash."""

    def read(self) -> bytes | None:
        """All of it; None where there is no file."""
        ...

    def replace(self, data: bytes) -> None:
        """The whole file anew: old or new after a crash, new when this returns."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Over bytes that are there; after a crash before `sync`: any mixture of old and new."""
        ...

    def sync(self) -> None:
        """Everything written is durable when this returns."""
        ...

    def close(self) -> None: ...


class FileDisk:
    """A real file, 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def read(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def replace(self, data: bytes) -> None:
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self.path.with_name(self.path.name + ".new")
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write_all(fd, 0, data)
            os.fsync(fd)
            os.replace(beside, self.path)
        except BaseException:
            beside.unlink()
            raise
        finally:
            os.close(fd)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def write(self, offset: int, data: bytes) -> None:
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_WRONLY)
        _write_all(self._fd, offset, data)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _write_all(fd: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


class _Copy(NamedTuple):
    sequence: int
    record: bytes


class SignFile:
    """The record as it was last saved: `.record`, None in a new file.

    Raises SignRecordMissing where there is no file and none may be made, SignRecordCorrupt where
    no copy is whole or the two are of different moments.
    """

    def __init__(self, disk: Disk, *, name: str, create: bool) -> None:
        self._disk, self._name = disk, name
        with _typed(name):
            data = disk.read()
        if data is None and not create:
            raise SignRecordMissing(f"{name} is not there")
        if data is None:
            self._newest = _Copy(0, b"")
            self._replace(self._newest, COPY_BYTES_START)
            return
        self._copy_bytes = len(data) // 2
        first, second = (_parsed(data[: self._copy_bytes]), _parsed(data[self._copy_bytes :]))
        self._newest = _chosen(first, second, name)
        if first != second:
            self._replace(
                self._newest, self._copy_bytes
            )  # both whole and equal again before anything is signed

    @property
    def record(self) -> bytes | None:
        return self._newest.record or None

    def save(self, record: bytes) -> None:
        """Durable when this returns; when it raises, this record or the one before is there."""
        assert record, "an empty record"
        newest = _Copy(self._newest.sequence + 1, record)
        raw = _written(newest)
        if len(raw) > self._copy_bytes or self._copy_bytes == 0:
            assert len(raw) <= COPY_BYTES_MAX, "a sign record beyond its bound"
            larger = self._copy_bytes or COPY_BYTES_START
            while len(raw) > larger:
                larger *= 2
            self._replace(newest, larger)
        else:
            with _typed(self._name):
                for offset in (0, self._copy_bytes):
                    self._disk.write(offset, raw)
                    self._disk.sync()
        self._newest = newest

    def close(self) -> None:
        self._disk.close()

    def _replace(self, copy: _Copy, copy_bytes: int) -> None:
        self._copy_bytes = 0  # unknown until it is done: after a failure, the whole file again
        with _typed(self._name):
            self._disk.replace(_written(copy).ljust(copy_bytes, b"\x00") * 2)
        self._copy_bytes = copy_bytes


def _written(copy: _Copy) -> bytes:
    head = _MAGIC + copy.sequence.to_bytes(8, "big") + len(copy.record).to_bytes(4, "big")
    return head + copy.record + hashlib.sha256(head + copy.record).digest()


def _parsed(raw: bytes) -> _Copy | None:
    """The copy, None where it is not whole."""
    length = int.from_bytes(raw[16:_HEAD_BYTES], "big")
    end = _HEAD_BYTES + length
    if not raw.startswith(_MAGIC) or end + _SUM_BYTES > len(raw):
        return None
    if hashlib.sha256(raw[:end]).digest() != raw[end : end + _SUM_BYTES]:
        return None
    return _Copy(int.from_bytes(raw[8:16], "big"), raw[_HEAD_BYTES:end])


def _chosen(first: _Copy | None, second: _Copy | None, name: str) -> _Copy:
    """The newest whole copy. The first is written first, so it is never behind the second."""
    if first is None and second is None:
        raise SignRecordCorrupt(f"{name}: neither copy of the record has its checksum")
    if first is None or second is None:
        whole = first or second
        assert whole is not None
        return whole
    ahead = first.sequence - second.sequence
    if ahead not in (0, 1) or (ahead == 0 and first != second):
        raise SignRecordCorrupt(
            f"{name}: its copies {first.sequence} and {second.sequence} are of different moments"
        )
    return first


class _typed:  # noqa: N801  reads as a word in `with`
    """Turns what the system says into the typed error."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            words = f"{self._name}: {error.strerror or error}"
            raise (StoreFull if error.errno in _FULL else StoreError)(words) from error
