"""Who listens on a port of this machine, and whether an address is free to listen on.

Looks, and holds nothing: what is free now may be taken in a moment, so who listens is told anyway.
"""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from node.errors import ConfigError, PortBusy
from node.settings import Address

_LISTENING: Final = "0A"  # the state column of /proc/net/tcp
_BUSY: Final = (errno.EADDRINUSE, errno.EACCES)


def check_free(setting: str, address: Address, *, where: str) -> None:
    """Raises PortBusy naming the owner, ConfigError for what is no address of this machine.

    `setting`: what chooses the address, `where`: the file in which it stands.
    """
    if address.port == 0:
        return
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        cause = (isinstance(error, OSError) and error.strerror) or "no name of a host"
        raise ConfigError(f"{setting} {address.text}: {cause}") from error
    family, kind, protocol, _, place = found[0]
    with socket.socket(family, kind, protocol) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(place)
        except OSError as error:
            if error.errno not in _BUSY:
                raise ConfigError(f"{setting} {address.text}: {error.strerror}") from error
            raise busy(setting, address, error, where=where) from error


def busy(setting: str, address: Address, error: Exception, *, where: str) -> PortBusy:
    """The error of an address that could not be had; it names who has it."""
    owner = owner_of(address.port)
    if owner:
        cause = f"in use by process {owner}"
    elif isinstance(error, OSError) and error.errno == errno.EACCES:
        cause = "may not be used by this user"
    else:
        cause = "in use by another process"
    hint = f"set another {setting} in {where}" + (f", or stop process {owner}" if owner else "")
    return PortBusy(f"{setting} {address.text}: {cause}", owner_pid=owner, hint=hint)


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
