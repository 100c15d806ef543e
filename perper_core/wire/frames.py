"""What is said in a session (pure): commands of the client, replies of the server.

The shapes of proto/fabric_session.proto in Python; where `ports` has a shape already, that one is
used. Knows nothing of bytes: `codec` does.
"""

from collections.abc import Sequence
from typing import NamedTuple

from perper_core.errors import Detail
from perper_core.ports import (
    Appended,
    ExecutionInfo,
    ExecutionOptions,
    ExecutionState,
    Failure,
    Fence,
    Producer,
    Reserved,
    StateEntry,
    StreamInfo,
    StreamOptions,
)
from perper_core.values import Value

# ------------------------------------------------------------------ the session itself


class Hello(NamedTuple):
    session: bytes
    version: int
    open: Sequence[int]


class Bye(NamedTuple):
    pass


class Beat(NamedTuple):
    pass


class Abort(NamedTuple):
    nonce: int


class Credit(NamedTuple):
    listener: int
    weight: int


class ListenerAck(NamedTuple):
    listener: int
    offset: int


class Detach(NamedTuple):
    listener: int


class Leave(NamedTuple):
    worker: int
    lost: bool


# ------------------------------------------------------------------ streams


class CreateStream(NamedTuple):
    name: str
    options: StreamOptions
    fence: Fence | None


class Append(NamedTuple):
    stream: str
    items: Sequence[bytes]
    keys: Sequence[int]
    fields: Sequence[int]
    field: int | None
    producer: Producer | None
    fence: Fence | None
    wait: bool
    more: bool


class Listen(NamedTuple):
    listener: int
    stream: str
    name: str
    first: int
    flow: bool
    batch_items: int
    batch_bytes: int
    window: int


class Ack(NamedTuple):
    stream: str
    name: str
    offset: int


class Forget(NamedTuple):
    stream: str
    name: str


class End(NamedTuple):
    stream: str
    fence: Fence | None


class BreakStream(NamedTuple):
    stream: str
    failure: Failure
    fence: Fence | None


class RemoveStream(NamedTuple):
    stream: str


class GetStream(NamedTuple):
    stream: str


class ListStreams(NamedTuple):
    prefix: str
    after: str
    limit: int


# ------------------------------------------------------------------ executions


class Create(NamedTuple):
    id: str
    instance: str
    delegate: str
    argument: Value
    parent: Fence | None
    detached: bool
    options: ExecutionOptions


class Reserve(NamedTuple):
    worker: int
    group: str
    instance: str
    delegates: Sequence[str]
    parallel: int
    held: Sequence[Fence]


class Finish(NamedTuple):
    id: str
    token: int
    result: Value


class Fail(NamedTuple):
    id: str
    token: int
    failure: Failure


class CancelExecution(NamedTuple):
    id: str
    reason: str


class Retry(NamedTuple):
    id: str


class Await(NamedTuple):
    id: str
    deadline_s: float


class Call(NamedTuple):
    instance: str
    delegate: str
    argument: Value
    id: str
    deadline_s: float
    parent: Fence | None
    options: ExecutionOptions


class GetExecution(NamedTuple):
    id: str


class ListExecutions(NamedTuple):
    instance: str
    states: Sequence[ExecutionState]
    after: str
    limit: int


# ------------------------------------------------------------------ states


class Get(NamedTuple):
    state: str
    key: str


class Put(NamedTuple):
    state: str
    key: str
    value: Value
    version: int
    fence: Fence | None


class Remove(NamedTuple):
    state: str
    key: str
    version: int
    fence: Fence | None


class ListState(NamedTuple):
    state: str
    after: str
    limit: int


SessionOp = Hello | Bye | Beat | Abort | Credit | ListenerAck | Detach | Leave | Listen | Reserve
StreamOp = (
    CreateStream
    | Append
    | Ack
    | Forget
    | End
    | BreakStream
    | RemoveStream
    | GetStream
    | ListStreams
)
ExecutionOp = (
    Create | Finish | Fail | CancelExecution | Retry | Await | Call | GetExecution | ListExecutions
)
StateOp = Get | Put | Remove | ListState
FabricOp = StreamOp | ExecutionOp | StateOp
"""Commands with one answer, which need no session."""
Op = SessionOp | FabricOp


class Command(NamedTuple):
    """`nonce` 0: wants no answer."""

    nonce: int
    op: Op


class CommandFrame(NamedTuple):
    """The replies to the nonces in `received` have arrived."""

    commands: Sequence[Command]
    received: Sequence[int]


# ------------------------------------------------------------------ replies


class Done(NamedTuple):
    pass


class Error(NamedTuple):
    code: str
    message: str
    details: Sequence[tuple[str, Detail]]


class Welcome(NamedTuple):
    resumed: bool
    version: int


class Flag(NamedTuple):
    flag: bool


class Version(NamedTuple):
    version: int


class ValueReply(NamedTuple):
    value: Value


class Items(NamedTuple):
    listener: int
    first: int
    raws: Sequence[bytes]
    keys: Sequence[int | None] | None


class ListenerError(NamedTuple):
    listener: int
    error: Error


class ListenerEnd(NamedTuple):
    listener: int
    error: Error | None


class Work(NamedTuple):
    worker: int
    work: Reserved


class Halt(NamedTuple):
    worker: int
    id: str
    token: int
    reason: str


class WorkerEnd(NamedTuple):
    worker: int
    error: Error | None


class Attached(NamedTuple):
    position: int
    flow: bool


class StreamPage(NamedTuple):
    streams: Sequence[StreamInfo]
    more: bool


class ExecutionPage(NamedTuple):
    executions: Sequence[ExecutionInfo]
    more: bool


class EntryReply(NamedTuple):
    entry: StateEntry | None


class EntryPage(NamedTuple):
    entries: Sequence[StateEntry]
    more: bool


Payload = (
    Done
    | Error
    | Welcome
    | Flag
    | Version
    | ValueReply
    | Items
    | ListenerError
    | ListenerEnd
    | Work
    | Halt
    | WorkerEnd
    | Appended
    | Attached
    | StreamInfo
    | StreamPage
    | ExecutionInfo
    | ExecutionPage
    | EntryReply
    | EntryPage
)


class Reply(NamedTuple):
    """`nonce` 0: unasked."""

    nonce: int
    payload: Payload
