"""A lock file that names its owner: one live process per folder, one per key.

The lock is the kernel's (flock), so it is gone when its process is gone, however that ended; the
text in the file only tells others whom to blame. Knows nothing of what it guards.
"""

import errno
import fcntl
import os
import stat
import weakref
from pathlib import Path
from types import TracebackType

from node.errors import Busy, FileUnusable

_ATTEMPTS_MAX = 16  # the file may vanish between open and lock while its owner lets go
_OWNER_BYTES_MAX = 32


class FileLock:
    """Holds `path` from construction to `release`. Raises `busy` (a Busy) with the owner's
    pid, FileUnusable for what is no plain file."""

    def __init__(self, path: Path, what: str, *, busy: type[Busy] = Busy) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fd = _acquire(path, what, busy)
        _HELD.add(self)

    def release(self) -> None:
        """Let go; the file goes too. Idempotent."""
        if self._fd >= 0:
            self.path.unlink(missing_ok=True)  # while held: nobody can have locked this inode
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


_HELD: "weakref.WeakSet[FileLock]" = weakref.WeakSet()


def _forget_in_child() -> None:
    # A forked child shares the lock; were it to outlive its parent, the folder would stay locked.
    for lock in list(_HELD):
        lock._close()


os.register_at_fork(after_in_child=_forget_in_child)


def _acquire(path: Path, what: str, busy: type[Busy]) -> int:
    for _ in range(_ATTEMPTS_MAX):
        fd = _opened(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(fd)
            os.close(fd)
            who = f"process {owner}" if owner else "another process"
            raise busy(f"{what} is in use by {who}", owner_pid=owner) from error
        except OSError:
            os.close(fd)
            raise
        if _is_current(fd, path):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            return fd
        os.close(fd)
    raise busy(f"{what} is being taken and released by others")


def _opened(path: Path) -> int:
    """Never through a link, nor anything but a plain file: its text is about to be replaced."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise FileUnusable(f"the lock {path} is not a plain file") from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileUnusable(f"the lock {path} is not a plain file")
    return fd


def _is_current(fd: int, path: Path) -> bool:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)


def _owner(fd: int) -> int:
    text = os.pread(fd, _OWNER_BYTES_MAX, 0).strip()
    return int(text) if text.isdigit() else 0
