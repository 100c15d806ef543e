"""A ChainStore on lmdb: one file, one writing process, every record with its checksum.

lmdb trusts its own pages, so the file is checked before it is opened (`store/check.py`) and each
record carries crc32(key ‖ value), which every read compares. Batches that need not be durable wait
in memory and go down with the next durable one: so nothing is ever committed unsynced, and the
file is at a batch boundary at any moment. Knows nothing of chains.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar
from zlib import crc32

import lmdb

from consensus.state import SCAN_ITEMS_MAX, Overlay, Pair
from node.errors import Busy, StoreCorrupt, StoreError, StoreFull
from node.lock import FileLock
from node.store.check import DATA_FILE, check_file
from node.store.ports import KEY_BYTES_MAX, Items

MAP_BYTES_START: Final = 256 * 1024 * 1024  # address space, not disk; doubles when full
MAP_BYTES_MAX: Final = 1 << 42
PENDING_BYTES_MAX: Final = 4 * 1024 * 1024  # of batches that wait for a durable one
CHECK_BYTES_MAX: Final = 512 * 1024 * 1024  # larger files are checked on demand, not at every open
_CHECKSUM_BYTES: Final = 4
_RECORD_OVERHEAD: Final = 64  # what a waiting record costs beside its bytes, about
_PROBE_SLACK_BYTES: Final = 1024 * 1024  # pages that a commit copies beside its records
_SPARE_READERS: Final = 4
_NEVER: Final = 1 << 63  # a transaction number that no reader reaches

_FULL = frozenset((errno.ENOSPC, errno.EFBIG, errno.EDQUOT))
_CORRUPT = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    lmdb.PanicError,
    lmdb.CursorFullError,
    lmdb.PageFullError,
)
T = TypeVar("T")


class LmdbStore:
    """`folder` holds data.mdb, lock.mdb and, while open for writing, the lock file of its owner.

    Raises Busy when another process has it, StoreCorrupt when the file fails its check. With
    `read_only` it may be opened beside the process that writes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        map_bytes: int = MAP_BYTES_START,
        map_bytes_max: int = MAP_BYTES_MAX,
        check_bytes_max: int = CHECK_BYTES_MAX,
        read_only: bool = False,
    ) -> None:
        self.folder = folder
        self.read_only = read_only
        self._map_bytes, self._map_bytes_max = map_bytes, map_bytes_max
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()  # held for one read; the map is moved only under it
        self._pending: dict[bytes, bytes | None] = {}
        self._pending_bytes = 0
        self._pending_until = _NEVER  # readers from this transaction on find it in the file
        self._closed = False
        self._lock: FileLock | None = None
        try:
            if not read_only:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._lock = FileLock(folder / "lock", f"the store {folder}")
            data = folder / DATA_FILE
            if not read_only and data.exists() and data.stat().st_size <= check_bytes_max:
                check_file(folder)
            self._env = self._open()
            if not read_only and data.stat().st_size <= check_bytes_max:
                self.check_records()
        except (lmdb.Error, OSError) as error:
            self._let_go()
            raise _translated(error, folder) from error
        except BaseException:
            self._let_go()
            raise

    # ---- the port ------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        return self._read(lambda txn, pending: self._value(txn, pending, key))

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        def read(txn: "lmdb.Transaction[bytes]", pending: Items) -> list[bytes | None]:
            return [self._value(txn, pending, key) for key in keys]

        return self._read(read)

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = SCAN_ITEMS_MAX) -> list[Pair]:
        def read(txn: "lmdb.Transaction[bytes]", pending: Items) -> list[Pair]:
            committed = _Committed(txn, self.folder)
            if not pending:
                return committed.scan(prefix, after, limit)
            return Overlay(committed, pending).scan(prefix, after, limit)

        return self._read(read)

    def write(self, items: Items, *, durable: bool) -> None:
        assert not self._closed and not self.read_only, "a store that cannot be written"
        assert all(0 < len(key) <= KEY_BYTES_MAX for key in items), "a key of no or too many bytes"
        with self._write_lock:
            size = sum([len(k) + len(v or b"") + _RECORD_OVERHEAD for k, v in items.items()])
            if not durable and self._pending_bytes + size <= PENDING_BYTES_MAX:
                with self._read_lock:
                    self._pending.update(items)
                    self._pending_bytes += size
            elif items or self._pending:
                self._flush({**self._pending, **items} if self._pending else items)

    def close(self) -> None:
        with self._write_lock:
            if self._closed:
                return
            try:
                if self._pending:
                    self._flush(self._pending)
            finally:
                with self._read_lock:
                    self._closed = True
                    self._env.close()
                self._let_go()

    # ---- beside the port ------------------------------------------------------------

    def check_records(self) -> int:
        """Find every committed record by its key and compare its checksum; how many there are.

        Raises StoreCorrupt.
        """

        def read(txn: "lmdb.Transaction[bytes]", pending: Items) -> int:
            count = 0
            for key, stored in txn.cursor():
                if txn.get(key) != stored:  # a search goes by branch pages, the scan does not
                    raise StoreCorrupt(f"{self.folder}: the record {key[:40].hex()} is not found")
                _checked(key, stored, self.folder)
                count += 1
            if count != txn.stat()["entries"]:
                raise StoreCorrupt(
                    f"{self.folder}: {count} records where the file counts otherwise"
                )
            return count

        return self._read(read)

    @property
    def file_bytes(self) -> int:
        """Size of the file on disk."""
        return (self.folder / DATA_FILE).stat().st_size

    @property
    def pending_bytes(self) -> int:
        """Bytes of batches that wait for a durable one."""
        return self._pending_bytes

    # ---- inside ------------------------------------------------------------

    def _open(self) -> lmdb.Environment:
        return lmdb.open(
            str(self.folder),
            map_size=self._map_bytes,
            readonly=self.read_only,
            create=not self.read_only,
            mode=0o600,
            max_spare_txns=_SPARE_READERS,
        )

    def _let_go(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _read(self, ask: "Callable[[lmdb.Transaction[bytes], Items], T]") -> T:
        with self._read_lock:
            assert not self._closed, "a closed store"
            try:
                try:
                    txn = self._env.begin()
                except lmdb.MapResizedError:  # the writing process made it larger
                    self._env.set_mapsize(0)
                    txn = self._env.begin()
                with txn:
                    # A commit that holds `_pending` may be in the file before `_pending` is
                    # dropped: the number of the reader's snapshot says which of the two counts.
                    waiting = self._pending if txn.id() < self._pending_until else {}
                    return ask(txn, waiting)
            except (lmdb.Error, OSError) as error:
                raise _translated(error, self.folder) from error

    def _value(self, txn: "lmdb.Transaction[bytes]", pending: Items, key: bytes) -> bytes | None:
        if key in pending:
            return pending[key]
        stored = txn.get(key)
        return None if stored is None else _checked(key, stored, self.folder)

    def _flush(self, items: Items) -> None:
        """Commit a batch that contains all that waits; nothing has changed when it raises."""
        removed = sorted([key for key, value in items.items() if value is None])
        records = sorted([_record(key, value) for key, value in items.items() if value is not None])
        while True:
            try:
                self._commit(removed, records)
                break
            except lmdb.MapFullError as error:
                self._pending_until = _NEVER
                self._grow(error)
            except (lmdb.Error, OSError) as error:
                self._pending_until = _NEVER
                wanted = sum([len(key) + len(stored) for key, stored in records])
                raise self._reopened(error, wanted) from error
        with self._read_lock:
            self._pending, self._pending_bytes = {}, 0
            self._pending_until = _NEVER

    def _commit(self, removed: list[bytes], records: list[Pair]) -> None:
        with self._env.begin(write=True) as txn:
            with self._read_lock:
                self._pending_until = txn.id()
            for key in removed:
                txn.delete(key)
            if records:
                with txn.cursor() as cursor:
                    cursor.putmulti(records)

    def _grow(self, cause: lmdb.Error) -> None:
        """Make the map twice as large. No transaction is open: writers and readers are held off."""
        larger = min(2 * self._env.info()["map_size"], self._map_bytes_max)
        if larger <= self._env.info()["map_size"]:
            raise StoreFull(f"{self.folder}: {larger} bytes of map, and no more allowed") from cause
        with self._read_lock:
            self._env.set_mapsize(larger)
            self._map_bytes = larger

    def _reopened(self, cause: "lmdb.Error | OSError", wanted: int) -> Exception:
        """A fresh handle after a failed commit, and the typed error of the failure."""
        # lmdb refuses all work after a failed write of its meta page; a fresh handle finds the
        # last complete transaction. A short write it reports as EIO, so ask whether there is room.
        with self._read_lock:
            self._env.close()
            try:
                _probe_room(self.folder / DATA_FILE, wanted + _PROBE_SLACK_BYTES)
            except OSError as error:
                cause = error
            try:
                self._env = self._open()
            except (lmdb.Error, OSError) as error:
                self._closed = True
                return _translated(error, self.folder)
        return _translated(cause, self.folder)


def _probe_room(path: Path, wanted: int) -> None:
    """Raises OSError unless the file can grow by that much; leaves it as long as it was."""
    with path.open("r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            while wanted > 0:
                wanted -= file.write(bytes(min(wanted, _PROBE_SLACK_BYTES)))
        finally:
            file.truncate(size)


class _Committed:
    """What one lmdb snapshot holds, as a State under an Overlay."""

    __slots__ = ("_folder", "_txn")

    def __init__(self, txn: "lmdb.Transaction[bytes]", folder: Path) -> None:
        self._txn, self._folder = txn, folder

    def get(self, key: bytes) -> bytes | None:
        stored = self._txn.get(key)
        return None if stored is None else _checked(key, stored, self._folder)

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = SCAN_ITEMS_MAX) -> list[Pair]:
        found: list[Pair] = []
        for key, stored in self._from(prefix if after < prefix else after):
            if len(found) >= limit or not key.startswith(prefix):
                break
            if key > after:
                found.append((key, _checked(key, stored, self._folder)))
        return found

    def _from(self, key: bytes) -> Iterator[Pair]:
        cursor = self._txn.cursor()
        # lmdb has no empty keys, and set_range of one finds nothing.
        if cursor.set_range(key) if key else cursor.first():
            yield from cursor


def _record(key: bytes, value: bytes) -> Pair:
    return key, crc32(value, crc32(key)).to_bytes(_CHECKSUM_BYTES, "big") + value


def _checked(key: bytes, stored: bytes, folder: Path) -> bytes:
    value = stored[_CHECKSUM_BYTES:]
    if crc32(value, crc32(key)).to_bytes(_CHECKSUM_BYTES, "big") != stored[:_CHECKSUM_BYTES]:
        raise StoreCorrupt(f"{folder}: the record {key[:40].hex()} does not have its checksum")
    return value


def _translated(error: "lmdb.Error | OSError", folder: Path) -> Exception:
    """The typed error of what lmdb or the system said, in one line."""
    number = error.errno if isinstance(error, OSError) else error.code
    words = str(error).splitlines()[0]
    if number in _FULL or any(os.strerror(full) in words for full in _FULL):
        return StoreFull(f"{folder}: no room for a write ({words})")
    if isinstance(error, _CORRUPT):
        return StoreCorrupt(f"{folder}: {words}")
    if isinstance(error, lmdb.ReadersFullError):
        return Busy(f"{folder}: too many readers")
    return StoreError(f"{folder}: {words}")
