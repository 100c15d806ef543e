"""Ports on loopback: the one that users see, and those that the system picks.

Knows nothing of what listens.
"""

import errno
import socket
from typing import Final

from node.errors import PortBusy
from node.listeners import owner_of
from testnet.folder import LOOPBACK

BACKLOG: Final = 128


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
            cause = f"port {port} may not be used by this user"
            raise PortBusy(cause, hint="choose another with --port") from error
        owner = owner_of(port)
        who = f"process {owner}" if owner else "another process"
        hint = "choose another with --port" + (f", or stop process {owner}" if owner else "")
        raise PortBusy(f"port {port} is in use by {who}", owner_pid=owner, hint=hint) from error
    one.setblocking(False)
    return one
