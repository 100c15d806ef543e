"""What a fabric agent is: a class whose methods answer delegates.

`@on("Name")` marks a handler `(self, context, argument)`. Its form says how it runs: `async def`
is awaited on the loop, an async generator is the body of a stream, a plain function runs in a
thread. Knows nothing of fabrics, workers or processes: `host.Host` runs it.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar, Final, TypeVar

from perper_core.agent.limits import PLACES_DEFAULT
from perper_core.limits import NAME_BYTES_MAX, PARALLEL_MAX
from perper_core.ports import StreamOptions

START: Final = "Start"
"""Runs when the instance starts, before it takes work. Not offered to callers."""
STOP: Final = "Stop"
"""Runs when it stops, after its last work. Not offered to callers."""
LIFECYCLE: Final = (START, STOP)

_MARK = "__fabric_delegate__"
_ARGUMENTS = 3  # self, context, argument

Handler = TypeVar("Handler", bound=Callable[..., object])


class HandlerKind(Enum):
    """How a handler runs."""

    TASK = auto()  # async def: on the loop; cancellation arrives as asyncio.CancelledError
    THREAD = auto()  # def: in a thread; cancellation is `context.cancelled`
    STREAM = auto()  # async generator: what it yields is appended to a stream


@dataclass(frozen=True, slots=True)
class Delegate:
    """A handler and how it wants to be run."""

    name: str
    attribute: str
    """Name of the method."""
    kind: HandlerKind
    parallel: int
    """Runs at a time; 0: shares the places of its agent."""
    retry_on: tuple[type[Exception], ...]
    """Exceptions after which the execution is tried again, with backoff."""
    output: StreamOptions | None
    """Of the stream, for a stream body."""
    resume: bool
    """A stream body that is called again after a loss, with `context.resume_key`."""

    @property
    def direct(self) -> bool:
        """Whether a call from the same process may run it without a record."""
        return self.kind is not HandlerKind.STREAM and not self.retry_on


@dataclass(frozen=True, slots=True)
class _Mark:
    name: str
    parallel: int
    retry_on: tuple[type[Exception], ...]
    output: StreamOptions | None
    resume: bool


def on(
    name: str,
    *,
    parallel: int = 0,
    retry_on: tuple[type[Exception], ...] = (),
    output: StreamOptions | None = None,
    resume: bool = False,
) -> Callable[[Handler], Handler]:
    """Let a method answer the delegate `name`.

    `parallel` bounds how many run at a time in this process (0: the agent's `parallel` places,
    shared). `output` and `resume` are for stream bodies. A wrong use raises TypeError or
    ValueError when the class is defined.
    """
    if not name or len(name.encode()) > NAME_BYTES_MAX:
        raise ValueError(f"a delegate's name has 1 to {NAME_BYTES_MAX} bytes")
    if not 0 <= parallel <= PARALLEL_MAX:
        raise ValueError(f"0 <= parallel <= {PARALLEL_MAX} does not hold: {parallel}")

    def mark(function: Handler) -> Handler:
        if inspect.isgeneratorfunction(function):
            raise TypeError(f"{name}: a stream body is an async generator")
        if len(inspect.signature(function).parameters) != _ARGUMENTS:
            raise TypeError(f"{name}: a handler takes (self, context, argument)")
        body = inspect.isasyncgenfunction(function)
        if (output is not None or resume) and not body:
            raise TypeError(f"{name}: output and resume are for async generators")
        if body and retry_on:
            raise TypeError(f"{name}: a stream body is resumed, not retried")
        setattr(function, _MARK, _Mark(name, parallel, retry_on, output, resume))
        return function

    return mark


class Agent:
    """Base of agents. Has no constructor: subclasses take what they like."""

    parallel: ClassVar[int] = PLACES_DEFAULT
    """Places shared by delegates without a bound of their own."""
    delegates: ClassVar[Mapping[str, Delegate]] = {}
    """Delegate name to handler, collected when the class is defined, bases first."""

    def __init_subclass__(cls, **arguments: object) -> None:
        super().__init_subclass__(**arguments)
        found: dict[str, Delegate] = {}
        for base in reversed(cls.__mro__):
            named: dict[str, str] = {}
            for attribute, function in vars(base).items():
                mark = getattr(function, _MARK, None)
                if not isinstance(mark, _Mark):
                    continue
                if mark.name in named:
                    raise TypeError(f"{base.__name__}: two handlers for {mark.name}")
                named[mark.name] = attribute
                found[mark.name] = _delegate(mark, attribute, getattr(cls, attribute))
        cls.delegates = found


def _delegate(mark: _Mark, attribute: str, function: Callable[..., object]) -> Delegate:
    """The kind is that of the method as overridden, the rest as marked."""
    if inspect.isasyncgenfunction(function):
        kind = HandlerKind.STREAM
    elif inspect.iscoroutinefunction(function):
        kind = HandlerKind.TASK
    else:
        kind = HandlerKind.THREAD
    if mark.name in LIFECYCLE and kind is not HandlerKind.TASK:
        raise TypeError(f"{mark.name} is an async def")
    return Delegate(
        mark.name, attribute, kind, mark.parallel, mark.retry_on, mark.output, mark.resume
    )
