"""The port of the fabric: what agents, the node and the wire code against.

`Fabric` is the same in process and over gRPC, so everything in it is data: names, bytes, ints,
Values and the small tuples below. It raises only FabricError (and lets `asyncio.CancelledError`
pass). Rules: docs/fabric-contract.md.

Shapes: streams carry raw bytes under dense offsets from 1; calls and states carry Values. Times
end in their unit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Literal, NamedTuple, Protocol, Self, runtime_checkable

from perper_core import limits
from perper_core.errors import Detail
from perper_core.values import Value

OLDEST: Final = 0
"""`first` of listen: the oldest item that is still kept, whatever its offset."""
LIVE: Final = -1
"""`first` of listen: only items committed after the listener was attached."""
ANY_VERSION: Final = -1
"""`version` of put and remove: whatever is there."""
ABSENT: Final = 0
"""`version` of put: only if the key is absent. Real versions are > 0."""


# ------------------------------------------------------------------ streams


class Kind(StrEnum):
    """How long a stream's items live."""

    EPHEMERAL = (
        "ephemeral"  # in memory, gone when all listeners acknowledged them; ends with the server
    )
    PERSISTENT = "persistent"  # durable before the append is acknowledged; kept by retention


class Gate(StrEnum):
    """Which `flow` listeners may slow the producer."""

    NONE = "none"
    LOCAL = "local"  # only those in the server's own process
    ANY = "any"


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Everything a stream is created with. 0 = that bound is off. Creating again with equal
    options is no error.

    Retention keeps the newest `keep_items`, `keep_bytes` and, with `keep_field` = n, items whose
    field is above (highest field - n); whatever is outside of one of them goes. Without any of the
    three a persistent stream keeps all, until `quota_bytes` makes appends fail with Exhausted.
    """

    kind: Kind = Kind.PERSISTENT
    gate: Gate = Gate.LOCAL
    keep_items: int = 0
    keep_bytes: int = 0
    keep_field: int = 0
    """Span of the retention field: `fields` of append (e.g. heights), or the keys where a batch
    gives none."""
    quota_bytes: int = limits.QUOTA_BYTES_DEFAULT
    window_items: int = limits.WINDOW_ITEMS_DEFAULT
    window_bytes: int = limits.WINDOW_BYTES_DEFAULT
    hold_s: float = 0.0
    """How long an absent named listener keeps items from retention (0 = it does not)."""
    hold_bytes: int = 0
    producer: str = ""
    """Id of the execution that writes it: when that is lost, the stream fails with ProducerLost."""


DEFAULT_STREAM: Final = StreamOptions()


class Item(NamedTuple):
    """One item: offset in its stream (dense, from 1), optional key, the appended bytes."""

    offset: int
    key: int | None
    raw: bytes


class Batch:
    """Consecutive items in columns: `raws[i]` has offset `first + i` and key `keys[i]` (None: no
    keys).

    Iterating yields Items; on a hot path take the columns.
    """

    __slots__ = ("first", "keys", "raws")

    def __init__(
        self, first: int, raws: Sequence[bytes], keys: Sequence[int | None] | None = None
    ) -> None:
        self.first = first
        self.raws = raws
        self.keys = keys

    @property
    def last(self) -> int:
        """Offset of the last item."""
        return self.first + len(self.raws) - 1

    def __len__(self) -> int:
        return len(self.raws)

    def __iter__(self) -> Iterator[Item]:
        keys = self.keys
        for index, raw in enumerate(self.raws):
            yield Item(self.first + index, keys[index] if keys is not None else None, raw)


class Producer(NamedTuple):
    """A producer session and the number of this append in it, from 1, +1 each: re-sent appends are
    recognized."""

    session: str
    sequence: int


class Fence(NamedTuple):
    """Under which reservation a handler acts (contract 11). A newer reservation makes it stale."""

    execution: str
    token: int


class Appended(NamedTuple):
    """Outcome of an append. `first..last` are the new items; none new: `first == last + 1`."""

    first: int
    last: int
    duplicates: int
    """Items that were there already (same key and bytes, or a re-sent append)."""
    credit_items: int
    credit_bytes: int
    """Room left before the slowest flow listener; the whole window when nobody gates."""


class StreamInfo(NamedTuple):
    """What a stream looks like now. `trimmed + 1 ... committed` can be read."""

    name: str
    options: StreamOptions
    state: Literal["open", "ended", "failed"]
    error: str
    """Code of the error a failed stream ends with, else empty."""
    epoch: int
    trimmed: int
    committed: int
    bytes_kept: int
    last_key: int | None
    """Highest key ever appended."""
    last_field: int | None
    listeners: int
    named: tuple[str, ...]


class Closing(Protocol):
    """What is closed at the end of an `async with`."""

    async def close(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Listener(Closing, Protocol):
    """An attached reader: an async iterator of batches. One task iterates; ack may come from any
    task.

    Iteration stops when the stream has ended and all is delivered; it raises the stream's error
    when it failed, Truncated when items were dropped before they were delivered (iterate again to
    go on at its `first`).
    """

    @property
    def stream(self) -> str: ...
    @property
    def flow(self) -> bool:
        """Whether this listener really gates the producer (asked for, and the stream's gate allows
        it)."""
        ...

    @property
    def position(self) -> int:
        """Offset of the next item to deliver."""
        ...

    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> Batch: ...
    async def ack(self, offset: int) -> None:
        """All items up to `offset` are processed: gives credit, moves a named position (forwards
        only, saved soon, at the latest by close)."""
        ...

    async def close(self) -> None:
        """Detach. A named listener's position stays."""
        ...


# ------------------------------------------------------------------ executions


class ExecutionState(StrEnum):
    """created → reserved → finished | failed | cancelled | dead (contract 10)."""

    CREATED = "created"
    RESERVED = "reserved"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """How an execution is kept and tried."""

    durable: bool = True
    """False: kept in memory only, for work that its caller asks for again after a restart."""
    attempts_max: int = limits.ATTEMPTS_DEFAULT
    """Starts, counted in the record, before a lost or retrying execution becomes a dead letter."""
    backoff_ms: int = limits.BACKOFF_FIRST_MS
    """Pause before the second attempt; doubles, with jitter, up to 30 s."""
    delay_ms: int = 0
    """Not offered to workers before this time has passed (counted anew after a restart)."""


DEFAULT_EXECUTION: Final = ExecutionOptions()


class Failure(NamedTuple):
    """Why a handler failed: the name of its exception, its text, small facts. `retry`: try again
    with backoff."""

    type: str
    message: str
    details: tuple[tuple[str, Detail], ...] = ()
    retry: bool = False


class ExecutionInfo(NamedTuple):
    """The record of an execution. `result` only when finished, `failure` only when failed or
    dead."""

    id: str
    instance: str
    delegate: str
    state: ExecutionState
    token: int
    attempts: int
    parent: str
    argument: Value
    result: Value
    failure: Failure | None


class Reserved(NamedTuple):
    """Work for a handler: finish or fail it under `token`."""

    id: str
    token: int
    instance: str
    delegate: str
    argument: Value
    attempt: int


class Stopped(NamedTuple):
    """Work given out before that is not wanted any more: cancelled, or its lease went to another
    worker."""

    id: str
    token: int
    reason: Literal["cancelled", "lost"]


class Reservations(Closing, Protocol):
    """A worker's session: an async iterator of Reserved and Stopped. Never more than `parallel`
    reservations are out; finish, fail or Stopped frees a place. Closing it gives unfinished work
    back at once."""

    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> Reserved | Stopped: ...


class StateEntry(NamedTuple):
    """A key of a state dictionary. `version` is opaque: only equality means something; it is >
    0."""

    key: str
    value: Value
    version: int


@runtime_checkable
class Fabric(Protocol):
    """Executions, streams and states. Raises only FabricError; after `close`, Cancelled."""

    # streams
    async def create_stream(
        self, name: str, options: StreamOptions = DEFAULT_STREAM, *, fence: Fence | None = None
    ) -> StreamInfo:
        """Put-if-absent. Other options than before: Conflict."""
        ...

    async def append(
        self,
        stream: str,
        items: Sequence[bytes],
        *,
        keys: Sequence[int] | None = None,
        fields: Sequence[int] | int | None = None,
        producer: Producer | None = None,
        fence: Fence | None = None,
        wait: bool = True,
    ) -> Appended:
        """Append in order; returns when committed (durable, for a persistent stream). Appends may
        be pipelined: several tasks at once share commits, each keeps its own order. `keys` are
        signed 64 bit, one per item: an item whose key is there with the same bytes is a duplicate,
        with other bytes KeyExists and nothing is appended. `fields`: retention field of each item,
        or of all. Without credit: waits, or Exhausted if not `wait`. Errors: NotFound,
        AlreadyFinished (ended), KeyExists, TooLarge, Exhausted, StaleToken, Conflict (owned by
        another live server, or a gap in the producer's sequence)."""
        ...

    async def listen(
        self,
        stream: str,
        *,
        name: str = "",
        first: int = LIVE,
        flow: bool = False,
        batch_items: int = limits.BATCH_ITEMS_DEFAULT,
        batch_bytes: int = limits.BATCH_BYTES_DEFAULT,
    ) -> Listener:
        """Attach before returning. `first` is inclusive (or OLDEST, LIVE); a `name` seen before
        goes on behind its acknowledged position instead. One listener of a name at a time: the
        newer one takes over, the older gets Conflict. Errors: NotFound, Exhausted."""
        ...

    async def ack(self, stream: str, name: str, offset: int) -> None:
        """Move a named listener's saved position forwards, attached or not; saved when it
        returns."""
        ...

    async def forget(self, stream: str, name: str) -> None:
        """Drop a named listener: it holds nothing any more. Unknown: no error."""
        ...

    async def end(self, stream: str, *, fence: Fence | None = None) -> None:
        """No more items; listeners stop after the last. Ending an ended stream is no error."""
        ...

    async def break_stream(
        self, stream: str, failure: Failure, *, fence: Fence | None = None
    ) -> None:
        """The stream ends with an error: listeners get Failed (or the closed-set error named by
        `failure.type`) after the last item. AlreadyFinished if it has ended."""
        ...

    async def remove_stream(self, stream: str) -> None:
        """Delete a stream and its items; its listeners get NotFound. Unknown: no error."""
        ...

    async def stream_info(self, stream: str) -> StreamInfo: ...

    async def list_streams(
        self, prefix: str = "", *, after: str = "", limit: int = limits.LIST_ITEMS_MAX
    ) -> list[StreamInfo]: ...

    # executions
    async def create(
        self,
        id: str,
        *,
        instance: str,
        delegate: str,
        argument: Value = None,
        parent: Fence | None = None,
        detached: bool = False,
        options: ExecutionOptions = DEFAULT_EXECUTION,
    ) -> ExecutionInfo:
        """Put-if-absent: the same id with the same content re-attaches (whatever its state), with
        other content KeyExists. With `parent`: cancelled with it unless detached, StaleToken under
        an older token."""
        ...

    async def reserve(
        self,
        group: str,
        *,
        instance: str = "",
        delegates: Sequence[str] = (),
        parallel: int = 1,
    ) -> Reservations:
        """Join a work group as a worker for one instance (empty: every instance) and some
        delegates (empty: all)."""
        ...

    async def finish(self, id: str, token: int, result: Value = None) -> None:
        """Record the result. Again with the same token and result: no error (a re-sent finish).
        Errors: StaleToken, AlreadyFinished (also after cancel), NotFound."""
        ...

    async def fail(self, id: str, token: int, failure: Failure) -> None:
        """Record the failure, or give it back for another attempt when `failure.retry`. Errors as
        finish."""
        ...

    async def cancel(self, id: str, *, reason: str = "") -> bool:
        """First change wins (contract 16): True if this cancelled it. Children go with it unless
        detached."""
        ...

    async def retry(self, id: str) -> None:
        """Offer a dead or failed execution again, attempts counted from zero. AlreadyFinished
        otherwise."""
        ...

    async def result(self, id: str, *, deadline_s: float = limits.DEADLINE_S_DEFAULT) -> Value:
        """Wait for the outcome. Errors: Failed (failed, dead: with its type), Cancelled,
        OutcomeUnknown(id) at the deadline, NotFound."""
        ...

    async def call(
        self,
        instance: str,
        delegate: str,
        argument: Value = None,
        *,
        id: str = "",
        deadline_s: float = limits.DEADLINE_S_DEFAULT,
        parent: Fence | None = None,
        options: ExecutionOptions = DEFAULT_EXECUTION,
    ) -> Value:
        """create + result. With an `id` it may be called again and re-attaches; at the deadline
        OutcomeUnknown(id), the execution goes on. Without, the execution belongs to this call: it
        is cancelled at the deadline (Cancelled) or when the caller is cancelled."""
        ...

    async def execution(self, id: str) -> ExecutionInfo: ...

    async def list_executions(
        self,
        *,
        instance: str = "",
        states: Sequence[ExecutionState] = (),
        after: str = "",
        limit: int = limits.LIST_ITEMS_MAX,
    ) -> list[ExecutionInfo]: ...

    # states: dictionaries, linearizable per (state, key), nothing across keys (contract 21)
    async def get(self, state: str, key: str) -> StateEntry | None: ...

    async def put(
        self,
        state: str,
        key: str,
        value: Value,
        *,
        version: int = ANY_VERSION,
        fence: Fence | None = None,
    ) -> int:
        """The new version. Not the `version` that is there (ABSENT: not there): Conflict."""
        ...

    async def remove(
        self,
        state: str,
        key: str,
        *,
        version: int = ANY_VERSION,
        fence: Fence | None = None,
    ) -> bool:
        """Whether it was there."""
        ...

    async def list_state(
        self, state: str, *, after: str = "", limit: int = limits.LIST_ITEMS_MAX
    ) -> list[StateEntry]:
        """Entries in order of keys behind `after`."""
        ...

    async def close(self) -> None:
        """Stop: reservations end, listeners and waiting calls get Cancelled. Idempotent."""
        ...
