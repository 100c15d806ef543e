"""Ports on loopback: the one that users see, those that the system picks, and who owns a busy one.

Knows nothing of what listens.
"""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from node.errors import PortBusy
from testnet.folder import LOOPBACK

BACKLOG: Final = 128
_LISTENING: Final = "0A"  # the state column of /proc/net/tcp


class Reserved:
    """Ports picked by the system and kept from everybody but who sets SO_REUSEADDR to listen.

    A bound socket that does not listen: the kernel hands its port to nobody else, not even as the
    near end of a connection, so a validator finds it free again after a restart.
    """

    def __init__(self, count: int) -> None:
        self._sockets: list[socket.socket] = []
        for _ in range(count):
            one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((LOOPBACK, 0))
            self._sockets.append(one)
        self.numbers = tuple([int(one.getsockname()[1]) for one in self._sockets])

    def release(self) -> None:
        """Idempotent."""
        while self._sockets:
            self._sockets.pop().close()


def listen(port: int) -> socket.socket:
    """A listening socket on loopback; port 0: the system picks. Raises PortBusy with its owner."""
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind((LOOPBACK, port))
        one.listen(BACKLOG)
    except OSError as error:
        one.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        if error.errno == errno.EACCES:
            raise PortBusy(f"port {port} may not be used by this user") from error
        owner = owner_of(port)
        who = f"process {owner}" if owner else "another process"
        raise PortBusy(f"port {port} is in use by {who}", owner_pid=owner) from error
    one.setblocking(False)
    return one


def owner_of(port: int) -> int:
    """The process that listens on a port of this machine; 0 where it cannot be known."""
    inodes = _listening_inodes(port)
    if not inodes:
        return 0
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        if not inodes.isdisjoint(_links(process / "fd")):
            return int(process.name)
    return 0


def _links(folder: Path) -> Iterator[str]:
    """What the links of a folder say; none of a process that ended, or that is another user's."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(folder / name)
        except OSError:
            continue  # closed meanwhile


def _listening_inodes(port: int) -> frozenset[str]:
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.append(f"socket:[{fields[9]}]")
    return frozenset(found)
