"""What can go wrong between peers, as one tree of typed errors.

Three kinds of blame: local (our caller asked for something impossible), remote (a peer broke the
rules of the wire: scored), transport (bytes did not get through: nobody's fault). This module
knows nothing of blocks, and nothing of how a fault is punished (`peers.py`).
"""

from __future__ import annotations

from typing import ClassVar


class NetworkError(Exception):
    """Root of every expected error of this package; `cause` is short text fit for a log line."""

    def __init__(self, cause: str = "") -> None:
        super().__init__(cause)
        self.cause = cause


class LocalError(NetworkError):
    """The caller asked for something impossible: bad argument, wrong state, object not its id."""


class RemoteError(NetworkError):
    """A peer sent what is wrong in itself. `points` is the blame it earns (`limits.BLAME_*`)."""

    def __init__(self, cause: str, points: int) -> None:
        super().__init__(cause)
        self.points = points


class TransportError(NetworkError):
    """Bytes did not get through: refused connection, time limit, closed link."""


class HandshakeError(TransportError):
    """A link was not authenticated: wrong peer, network, key or version, bad record, time limit."""


class QueryError(NetworkError):
    """A query ended without a reply.

    `definite` says whether the peer certainly did not act on it (True) or may have (False).
    """

    definite: ClassVar[bool] = False


class Timeout(QueryError):
    """The deadline passed; the peer may have acted."""


class Unreachable(QueryError):
    """No link to the peer, or it broke before the reply; the peer may have acted."""


class Refused(QueryError):
    """The peer does not serve this, or its handler said no."""

    definite: ClassVar[bool] = True


class TooBig(QueryError):
    """The request is beyond the adapter's or the peer's bound, or the reply beyond ours."""

    definite: ClassVar[bool] = True


class Busy(QueryError):
    """A bound is reached: our queries open to this peer, our queue, or its handlers for us."""

    definite: ClassVar[bool] = True
