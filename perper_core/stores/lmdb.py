"""The lmdb store: durable, embedded, one server per folder.

One writer thread commits whatever waits at that moment in one transaction with one sync (group
commit); nothing syncs on the event loop. Reads run on the caller's thread against the map, in
transactions of at most LMDB_READ_MS_MAX. Every record carries a checksum over key and record; at
open the pages are checked too (`lmdb_pages`), because lmdb itself trusts them.

Raises, at open and later: Conflict (another process has the folder), Exhausted (disk full),
Corrupt.
"""

import asyncio
import errno
import fcntl
import os
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import NamedTuple, TypeVar
from zlib import crc32

import lmdb

from perper_core.errors import Conflict, Corrupt, Exhausted, FabricError, fabric_closed
from perper_core.limits import (
    LMDB_FULL_BYTES,
    LMDB_GROUP_WRITES_MAX,
    LMDB_MAP_FIRST_BYTES,
    LMDB_MAP_MAX_BYTES,
    LMDB_QUEUE_MAX,
    LMDB_READ_MS_MAX,
    LMDB_READERS_MAX,
)
from perper_core.stores.lmdb_pages import check_pages
from perper_core.stores.memory import Watches
from perper_core.stores.ports import Outcome, Removal, Write, version_of

T = TypeVar("T")
_CHECKSUM_BYTES = 4
_STAMP_KEY = b"\0txn"
"""Holds the number of the transaction that wrote it, so that an older meta page is noticed."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DATA_FILE, LOCK_FILE = "data.mdb", "owner.lock"


class _Job(NamedTuple):
    """What a caller waits for. An empty list of both: just a sync point."""

    writes: Sequence[Write]
    removals: Sequence[Removal]
    done: "asyncio.Future[list[Outcome]]"


def _checksum(key: bytes, raw: bytes) -> bytes:
    return crc32(raw, crc32(key)).to_bytes(_CHECKSUM_BYTES, "big")


def _checked(key: bytes, stored: "memoryview[int] | bytes") -> bytes:
    raw = bytes(stored[_CHECKSUM_BYTES:])
    if _checksum(key, raw) != stored[:_CHECKSUM_BYTES]:
        raise Corrupt("a record's checksum does not fit", key=key.hex())
    return raw


def _typed(error: Exception, folder: Path) -> FabricError:
    """An lmdb or system error as one of the closed set. A write that the system cuts short because
    the disk is full reaches us from lmdb as an I/O error: then the room that is left tells."""
    said = str(error)
    number = error.errno if isinstance(error, OSError) else None
    full = number in _FULL or isinstance(error, lmdb.MapFullError)
    full = full or any(os.strerror(number) in said for number in _FULL)
    if not full and os.strerror(errno.EIO) in said:
        full = _room(folder) < LMDB_FULL_BYTES
    if full:
        return Exhausted("the store's disk is full", path=str(folder))
    return Corrupt(f"the store failed: {error}", path=str(folder))


def _room(folder: Path) -> int:
    """Bytes by which the data file can still grow."""
    disk = os.statvfs(folder)
    room = disk.f_bavail * disk.f_frsize
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY:
        room = min(room, limit - (folder / DATA_FILE).stat().st_size)
    return room


def _scan(
    txn: lmdb.Transaction,
    until_s: float,
    index: bytes,
    after: bytes,
    limit: int,
    found: list[tuple[bytes, bytes]],
) -> bool:
    """Read on behind `after`; False if time is up before the end."""
    with txn.cursor() as cursor:
        there = cursor.set_range(max(index, after))
        if there and after >= index and bytes(cursor.key()) == after:
            there = cursor.next()
        while there and len(found) < limit:
            key = bytes(cursor.key())
            if not key.startswith(index):
                return True
            found.append((key, _checked(key, cursor.value())))
            if time.monotonic() > until_s:
                return False
            there = cursor.next()
    return True


class LmdbStore:
    """A Store in a folder. Opening it is quick but synchronous."""

    exclusive = True
    immediate = False

    def __init__(self, folder: Path, *, map_max_bytes: int = LMDB_MAP_MAX_BYTES) -> None:
        self.folder = folder
        self._map_max_bytes = map_max_bytes
        self._watches = Watches()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._queued = 0
        self._resizing = Lock()
        self._closed = False
        self._failed: FabricError | None = None
        self.commits = 0
        """Group commits so far."""
        self._lock = self._lock_folder()
        try:
            check_pages(folder / DATA_FILE, _STAMP_KEY)
            self._env = self._open_env()
        except BaseException:
            os.close(self._lock)
            raise
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = Thread(target=self._write_loop, name="fabric-store", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------ opening

    def _lock_folder(self) -> int:
        """A lock that the system frees when the process dies. Raises Conflict with the owner's
        process id."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _typed(error, self.folder) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            os.close(handle)
            raise Conflict(
                "the folder is in use by another process", path=str(self.folder), pid=owner
            ) from error
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(handle)
            raise _typed(error, self.folder) from error
        return handle

    def _open_env(self) -> lmdb.Environment:
        try:
            size = LMDB_MAP_FIRST_BYTES
            data = self.folder / DATA_FILE
            if data.exists():
                size = max(size, 2 * data.stat().st_size)
            env = lmdb.open(
                str(self.folder),
                map_size=min(size, self._map_max_bytes),
                max_readers=LMDB_READERS_MAX,
                max_spare_txns=4,
                readahead=True,
                mode=0o600,
            )
            env.reader_check()  # readers that died with their process pin old pages no longer
        except (lmdb.Error, OSError) as error:
            raise _typed(error, self.folder) from error
        return env

    # ------------------------------------------------------------------ reading

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        def get(txn: lmdb.Transaction, _: float) -> list[bytes | None]:
            found = []
            for key in keys:
                stored = txn.get(key)
                found.append(None if stored is None else _checked(key, stored))
            return found

        return self._read(get)

    async def scan(self, index: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """In several short transactions if it takes long: resumed by key (no snapshot over all)."""
        found: list[tuple[bytes, bytes]] = []
        finished = False

        def read_on(txn: lmdb.Transaction, until_s: float) -> bool:
            last = found[-1][0] if found else after
            return _scan(txn, until_s, index, last, limit, found)

        while not finished:
            finished = self._read(read_on)
            if not finished:
                await asyncio.sleep(0)
        return found

    def _read(self, work: Callable[[lmdb.Transaction, float], T]) -> T:
        """One read transaction; the map is not resized under it."""
        self._need()
        with self._resizing:
            try:
                with self._env.begin(buffers=True) as txn:
                    return work(txn, time.monotonic() + LMDB_READ_MS_MAX / 1000)
            except lmdb.Error as error:
                raise _typed(error, self.folder) from error

    # ------------------------------------------------------------------ writing

    async def cas_many(self, writes: Sequence[Write]) -> list[Outcome]:
        outcomes = await self._submit(writes, ())
        self._watches.changed([write.key for write in writes])
        return outcomes

    async def remove_many(self, removals: Sequence[Removal]) -> list[Outcome]:
        outcomes = await self._submit((), removals)
        self._watches.changed([removal.key for removal in removals])
        return outcomes

    async def _submit(self, writes: Sequence[Write], removals: Sequence[Removal]) -> list[Outcome]:
        self._need()
        if self._queued >= LMDB_QUEUE_MAX:
            raise Exhausted("too many writes at once", retry_ms=LMDB_READ_MS_MAX)
        self._loop = asyncio.get_running_loop()
        job = _Job(writes, removals, self._loop.create_future())
        self._queued += 1
        self._queue.put(job)
        try:
            return await job.done
        finally:
            self._queued -= 1

    def _need(self) -> None:
        if self._failed is not None:
            raise self._failed
        if self._closed:
            raise fabric_closed()

    def _write_loop(self) -> None:
        """The writer thread: sleeps until there is a job, then commits all that wait."""
        last = False
        while not last:
            job = self._queue.get()
            jobs: list[_Job] = []
            writes = 0
            while job is not None:
                jobs.append(job)
                writes += len(job.writes) + len(job.removals)
                if writes >= LMDB_GROUP_WRITES_MAX or self._queue.empty():
                    break
                job = self._queue.get()
            last = job is None
            if jobs:
                self._commit(jobs)

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            outcomes = self._transact(jobs)
        except FabricError as error:
            if isinstance(error, Corrupt):
                self._failed = error
            self._resolve(jobs, None, error)
        else:
            self.commits += 1
            self._resolve(jobs, outcomes, None)

    def _resolve(
        self, jobs: list[_Job], outcomes: list[list[Outcome]] | None, error: FabricError | None
    ) -> None:
        def settle() -> None:
            for number, job in enumerate(jobs):
                if job.done.done():
                    continue
                if outcomes is not None:
                    job.done.set_result(outcomes[number])
                elif error is not None:
                    job.done.set_exception(error)

        try:
            jobs[0].done.get_loop().call_soon_threadsafe(settle)
        except RuntimeError:
            return  # the loop is gone, and everybody who waited with it

    def _transact(self, jobs: list[_Job]) -> list[list[Outcome]]:
        """Apply and sync, once; grows the map as often as it takes."""
        while True:
            try:
                with self._env.begin(write=True, buffers=True) as txn:
                    outcomes = [self._apply(txn, job) for job in jobs]
                    number = txn.id().to_bytes(8, "big")
                    txn.put(_STAMP_KEY, _checksum(_STAMP_KEY, number) + number)
                return outcomes
            except lmdb.MapFullError as error:
                self._grow(error)
            except (lmdb.Error, OSError) as error:
                raise _typed(error, self.folder) from error

    @staticmethod
    def _apply(txn: lmdb.Transaction, job: _Job) -> list[Outcome]:
        outcomes = []
        for key, expected, raw in job.writes:
            found = txn.get(key)
            version = None if found is None else version_of(found[_CHECKSUM_BYTES:])
            if version != expected:
                outcomes.append(Outcome.CONFLICT)
                continue
            txn.put(key, _checksum(key, raw) + raw)
            outcomes.append(Outcome.OK)
        for key, expected in job.removals:
            found = txn.get(key)
            version = None if found is None else version_of(found[_CHECKSUM_BYTES:])
            if version is not None and expected not in (None, version):
                outcomes.append(Outcome.CONFLICT)
                continue
            if found is not None:
                txn.delete(key)
            outcomes.append(Outcome.OK)
        return outcomes

    def _grow(self, error: Exception) -> None:
        """Double the map. It is address space; the file grows only by what is written."""
        size = self._env.info()["map_size"]
        if size >= self._map_max_bytes:
            raise Exhausted("the store's map is full", bytes_max=self._map_max_bytes) from error
        with self._resizing:  # no read transaction of this process may be open
            self._env.set_mapsize(min(2 * size, self._map_max_bytes))

    # ------------------------------------------------------------------ the rest

    def watch(self, prefix: bytes, hint: Callable[[], None]) -> Callable[[], None]:
        return self._watches.watch(prefix, hint)

    async def close(self) -> None:
        """Commit what waits, then free the folder."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._env.close()
        os.close(self._lock)
