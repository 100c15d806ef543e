"""Errors of the fabric: the closed set of contract 25, and nothing else.

Every error has a name that is the same in Python, in a gRPC status and on the command line, and
says whether the outcome is definite. Knows nothing of gRPC: the status is a name, the wire maps
it.
"""

from collections.abc import Mapping
from typing import ClassVar

Detail = int | str


class FabricError(Exception):
    """Anything the fabric refuses. `details` are small facts (ints, strings) that travel with
    it."""

    status: ClassVar[str] = "INTERNAL"
    """Name of the gRPC status code that carries this error."""
    indefinite: ClassVar[bool] = False
    """True when the command may have taken effect all the same."""

    # Positional only: a handler elsewhere may name a detail `message` or `self`.
    def __init__(self, message: str = "", /, **details: Detail) -> None:
        super().__init__(message or type(self).__name__)
        self.message = message
        self.details: dict[str, Detail] = details

    @property
    def code(self) -> str:
        """The error's name in the closed set."""
        return type(self).__name__

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self.details.items())
        head = self.message or self.code
        return f"{head} ({facts})" if facts else head


class Conflict(FabricError):
    """Somebody else changed it first, owns it, or it exists with other options."""

    status = "ABORTED"


class NotFound(FabricError):
    """No such stream, execution, listener or token."""

    status = "NOT_FOUND"


class KeyExists(FabricError):
    """The key or id is taken by other content."""

    status = "ALREADY_EXISTS"


class StaleToken(FabricError):
    """The reservation's token is not the newest any more: another worker has the execution."""

    status = "FAILED_PRECONDITION"


class AlreadyFinished(FabricError):
    """The execution or stream has an outcome already; it stays as it is."""

    status = "FAILED_PRECONDITION"


class Cancelled(FabricError):
    """The execution was cancelled, or the fabric was closed under the call."""

    status = "CANCELLED"


class Truncated(FabricError):
    """Items below `first` are gone. The listener goes on at `first` when it is asked again."""

    status = "OUT_OF_RANGE"

    def __init__(self, message: str = "", /, *, first: int, **details: Detail) -> None:
        super().__init__(message, first=first, **details)
        self.first = first


class GapTimeout(FabricError):
    """A packed stream waited for a key until its deadline."""

    status = "DEADLINE_EXCEEDED"


class ProducerLost(FabricError):
    """The stream's producer is gone and nobody resumes it."""

    status = "DATA_LOSS"


class Exhausted(FabricError):
    """A bound is reached: credit, quota, disk. `retry_ms` hints when to try again (0 = not
    soon)."""

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str = "", /, *, retry_ms: int = 0, **details: Detail) -> None:
        super().__init__(message, retry_ms=retry_ms, **details)
        self.retry_ms = retry_ms


class OutcomeUnknown(FabricError):
    """No answer within the deadline. Ask again with the same `id`: it names the command."""

    status = "DEADLINE_EXCEEDED"
    indefinite = True

    def __init__(self, message: str = "", /, *, id: str, **details: Detail) -> None:
        super().__init__(message, id=id, **details)
        self.id = id


class TooLarge(FabricError):
    """A value, item, batch or name is beyond its bound in `limits`."""

    status = "INVALID_ARGUMENT"


class Denied(FabricError):
    """The capability token is missing, revoked, or too narrow."""

    status = "PERMISSION_DENIED"


class Failed(FabricError):
    """The handler of an execution raised: `type` is the name of its exception."""

    status = "UNKNOWN"

    def __init__(self, message: str = "", /, *, type: str, **details: Detail) -> None:
        super().__init__(message, type=type, **details)
        self.type = type


class Invalid(FabricError):
    """The command makes no sense as it stands: a bad name, a negative offset, an unknown type."""

    status = "INVALID_ARGUMENT"


class Corrupt(FabricError):
    """The store holds bytes that it did not write. Nothing is deleted or guessed."""

    status = "DATA_LOSS"


ERRORS: Mapping[str, type[FabricError]] = {
    kind.__name__: kind
    for kind in (
        Conflict,
        NotFound,
        KeyExists,
        StaleToken,
        AlreadyFinished,
        Cancelled,
        Truncated,
        GapTimeout,
        ProducerLost,
        Exhausted,
        OutcomeUnknown,
        TooLarge,
        Denied,
        Failed,
        Invalid,
        Corrupt,
    )
}
"""Name to class: the closed set (contract 25)."""


def error_named(code: str, message: str, details: Mapping[str, Detail]) -> FabricError:
    """The error that a peer or a record names; an unknown or unfit one becomes Failed."""
    kind = ERRORS.get(code)
    if kind is None:
        return Failed(message, type=code)
    try:
        return kind(message, **details)
    except TypeError:  # a required detail is missing: the other side speaks another version
        return Failed(message, type=code)


def fabric_closed() -> Cancelled:
    """What calls and listeners of a closed fabric get."""
    return Cancelled("the fabric is closed")
