"""The model of an execution (pure): created → reserved(token) → finished | failed | cancelled |
dead (contract 10-13, 22).

The token is a counter in the record, +1 per reservation; whoever changes the outcome names the
token that he holds. Knows nothing of workers' tasks, stores or time; pauses are effects.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal, NamedTuple

from perper_core.errors import (
    AlreadyFinished,
    Conflict,
    Corrupt,
    FabricError,
    Invalid,
    StaleToken,
)
from perper_core.failures import decode_failure, encode_failure
from perper_core.limits import ATTEMPTS_MAX, BACKOFF_MAX_MS
from perper_core.ports import ExecutionOptions, ExecutionState, Failure
from perper_core.records import Step
from perper_core.values import Value, decode_value, encode_value

LOST = Failure("WorkerLost", "the worker was lost in mid-work as often as it may be")
DIGEST_BYTES = 16
_STATES = tuple([state.value for state in ExecutionState])
OPEN_STATES = (ExecutionState.CREATED, ExecutionState.RESERVED)


class Lease(NamedTuple):
    """A group's reservation: who works under which token."""

    group: str
    token: int
    worker: bytes


@dataclass(frozen=True, slots=True)
class Execution:
    """The record. `argument` and `result` are encoded values. Invariant: RESERVED if and only if
    there are leases."""

    instance: str
    delegate: str
    argument: bytes
    digest: bytes
    parent: str
    detached: bool
    options: ExecutionOptions
    state: ExecutionState = ExecutionState.CREATED
    token: int = 0
    attempts: int = 0
    leases: tuple[Lease, ...] = ()
    result: bytes = b""
    failure: Failure | None = None
    done_token: int = 0
    """Token of who recorded the outcome; 0: nobody, or a cancel."""
    forgotten: bool = False
    """Argument and result are dropped; only the id is still taken (contract 20)."""

    @property
    def open(self) -> bool:
        return self.state in OPEN_STATES


# ------------------------------------------------------------------ commands


class Reserve(NamedTuple):
    """A group takes it. Token + 1, one more attempt."""

    group: str
    worker: bytes


class Release(NamedTuple):
    """A worker does not finish it: given back (does not count), or lost (counts)."""

    token: int
    lost: bool
    jitter: float


class Finish(NamedTuple):
    token: int
    result: bytes


class Fail(NamedTuple):
    token: int
    failure: Failure
    jitter: float


class Cancel(NamedTuple):
    reason: str


class Retry(NamedTuple):
    """Offer a dead or failed one again."""


class Forget(NamedTuple):
    """Drop argument and result."""


Command = Reserve | Release | Finish | Fail | Cancel | Retry | Forget


class Offer(NamedTuple):
    """It can be reserved, after this pause."""

    after_ms: int


class Recall(NamedTuple):
    """This worker's handler is not wanted any more."""

    lease: Lease
    reason: Literal["cancelled", "lost"]


class Concluded(NamedTuple):
    """It has its outcome."""


Effect = Offer | Recall | Concluded
Reply = int
"""Token of a Reserve; else 1 if the command changed something, 0 if it was a repetition."""


def created(
    instance: str,
    delegate: str,
    argument: bytes,
    *,
    parent: str,
    detached: bool,
    options: ExecutionOptions,
) -> Execution:
    """A new record. Raises Invalid for options out of bounds."""
    if not 1 <= options.attempts_max <= ATTEMPTS_MAX:
        raise Invalid(f"1 <= attempts_max <= {ATTEMPTS_MAX}")
    if options.backoff_ms < 0 or options.delay_ms < 0:
        raise Invalid("backoff_ms and delay_ms must be >= 0")
    digest = digest_of(instance, delegate, argument)
    return Execution(instance, delegate, argument, digest, parent, detached, options)


def digest_of(instance: str, delegate: str, argument: bytes) -> bytes:
    """Whether two creates mean the same (contract 12)."""
    said = encode_value([instance, delegate]) + argument
    return sha256(said).digest()[:DIGEST_BYTES]


def step(record: Execution, command: Command) -> Step[Execution, Reply, Effect]:
    """One change. Raises StaleToken, AlreadyFinished, Conflict."""
    match command:
        case Reserve(group, worker):
            return _reserve(record, group, worker)
        case Finish(token, result):
            return _finish(record, token, result)
        case Fail(token, failure, jitter):
            return _fail(record, token, failure, jitter)
        case Release(token, lost, jitter):
            return _release(record, token, lost=lost, jitter=jitter)
        case Cancel(reason):
            return _cancel(record, reason)
        case Retry():
            if record.state not in (ExecutionState.DEAD, ExecutionState.FAILED) or record.forgotten:
                raise AlreadyFinished(f"the execution is {record.state.value}")
            state = ExecutionState.CREATED
            again = replace(record, state=state, attempts=0, failure=None, done_token=0)
            return Step(again, 1, (Offer(0),))
        case Forget():
            if record.open or record.forgotten:
                return Step(record, 0)
            return Step(replace(record, argument=b"", result=b"", forgotten=True), 1)


def _reserve(record: Execution, group: str, worker: bytes) -> Step[Execution, Reply, Effect]:
    _need_open(record)
    for lease in record.leases:
        if lease.group == group and lease.worker == worker:
            return Step(record, lease.token)  # the outcome of the first try was unknown
        if lease.group == group:
            raise Conflict("the group has it reserved")
    token = record.token + 1
    after = replace(
        record,
        state=ExecutionState.RESERVED,
        token=token,
        attempts=record.attempts + 1,
        leases=(*record.leases, Lease(group, token, worker)),
    )
    return Step(after, token)


def _finish(record: Execution, token: int, result: bytes) -> Step[Execution, Reply, Effect]:
    if (
        record.state is ExecutionState.FINISHED
        and record.done_token == token
        and (record.forgotten or record.result == result)
    ):
        return Step(record, 0)  # re-sent (contract 24)
    lease = _held(record, token)
    after = replace(
        record, state=ExecutionState.FINISHED, leases=(), result=result, done_token=token
    )
    return Step(after, 1, (Concluded(), *_recalls(record, "lost", but=lease)))


def _fail(
    record: Execution, token: int, failure: Failure, jitter: float
) -> Step[Execution, Reply, Effect]:
    if (
        record.state in (ExecutionState.FAILED, ExecutionState.DEAD)
        and record.done_token == token
        and record.failure == failure
    ):
        return Step(record, 0)
    lease = _held(record, token)
    if failure.retry and record.attempts < record.options.attempts_max:
        return Step(_without(record, lease), 1, (Offer(pause_ms(record, jitter)),))
    state = ExecutionState.DEAD if failure.retry else ExecutionState.FAILED
    after = replace(record, state=state, leases=(), failure=failure, done_token=token)
    return Step(after, 1, (Concluded(), *_recalls(record, "lost", but=lease)))


def _release(
    record: Execution, token: int, *, lost: bool, jitter: float
) -> Step[Execution, Reply, Effect]:
    lease = next((lease for lease in record.leases if lease.token == token), None)
    if lease is None:
        return Step(record, 0)
    if not lost:
        back = _without(record, lease)
        return Step(replace(back, attempts=max(0, back.attempts - 1)), 1, (Offer(0),))
    if record.attempts >= record.options.attempts_max:  # contract 22: a crash loop ends, too
        after = replace(record, state=ExecutionState.DEAD, leases=(), failure=LOST)
        return Step(after, 1, (Concluded(), *_recalls(record, "lost")))
    again = Offer(pause_ms(record, jitter))
    return Step(_without(record, lease), 1, (again, Recall(lease, "lost")))


def _cancel(record: Execution, reason: str) -> Step[Execution, Reply, Effect]:
    if not record.open:
        return Step(record, 0)
    failure = Failure("Cancelled", reason or "cancelled")
    after = replace(record, state=ExecutionState.CANCELLED, leases=(), failure=failure)
    return Step(after, 1, (Concluded(), *_recalls(record, "cancelled")))


def _need_open(record: Execution) -> None:
    if not record.open:
        raise AlreadyFinished(f"the execution is {record.state.value}", state=record.state.value)


def _held(record: Execution, token: int) -> Lease:
    _need_open(record)
    for lease in record.leases:
        if lease.token == token:
            return lease
    raise StaleToken("the reservation is not held any more", token=token, newest=record.token)


def check_fence(record: Execution, token: int) -> None:
    """A handler writes under this token (contract 11). Raises StaleToken unless it holds the
    execution."""
    if not any(lease.token == token for lease in record.leases):
        raise StaleToken("the reservation is not held any more", token=token, newest=record.token)


def _without(record: Execution, lease: Lease) -> Execution:
    leases = tuple(other for other in record.leases if other is not lease)
    state = ExecutionState.RESERVED if leases else ExecutionState.CREATED
    return replace(record, state=state, leases=leases)


def _recalls(
    record: Execution, reason: Literal["cancelled", "lost"], but: Lease | None = None
) -> tuple[Recall, ...]:
    return tuple(Recall(lease, reason) for lease in record.leases if lease is not but)


def pause_ms(record: Execution, jitter: float) -> int:
    """Pause before the next attempt: doubling, between half and all of it. `jitter` in [0, 1)."""
    doublings = min(max(0, record.attempts - 1), BACKOFF_MAX_MS.bit_length())
    full = min(BACKOFF_MAX_MS, record.options.backoff_ms << doublings)
    return int(full * (0.5 + 0.5 * jitter))


# ------------------------------------------------------------------ encoding


def encode_execution(record: Execution) -> bytes:
    options = record.options
    leases: list[Value] = [[group, token, worker] for group, token, worker in record.leases]
    failure = None if record.failure is None else encode_failure(record.failure)
    head = encode_value(
        [
            record.instance,
            record.delegate,
            record.digest,
            record.parent,
            record.detached,
            [options.durable, options.attempts_max, options.backoff_ms, options.delay_ms],
            record.state.value,
            record.token,
            record.attempts,
            leases,
            failure,
            record.done_token,
            record.forgotten,
        ]
    )
    sizes = len(head).to_bytes(4, "big") + len(record.argument).to_bytes(4, "big")
    return b"".join((sizes, head, record.argument, record.result))


def decode_execution(body: bytes) -> Execution:
    """Raises Corrupt."""
    head_end = 8 + int.from_bytes(body[:4], "big")
    argument_end = head_end + int.from_bytes(body[4:8], "big")
    try:
        fields = decode_value(body[8:head_end])
    except FabricError as error:
        raise Corrupt("an execution does not decode") from error
    match fields:
        case [
            str(instance),
            str(delegate),
            bytes(digest),
            str(parent),
            bool(detached),
            [bool(durable), int(attempts_max), int(backoff_ms), int(delay_ms)],
            str(state),
            int(token),
            int(attempts),
            list(leases),
            (bytes() | None) as failure,
            int(done_token),
            bool(forgotten),
        ] if argument_end <= len(body) and state in _STATES:
            return Execution(
                instance,
                delegate,
                body[head_end:argument_end],
                digest,
                parent,
                detached,
                ExecutionOptions(durable, attempts_max, backoff_ms, delay_ms),
                ExecutionState(state),
                token,
                attempts,
                tuple(_lease(lease) for lease in leases),
                body[argument_end:],
                None if failure is None else decode_failure(failure),
                done_token,
                forgotten,
            )
        case _:
            raise Corrupt("an execution does not decode")


def _lease(fields: Value) -> Lease:
    match fields:
        case [str(group), int(token), bytes(worker)]:
            return Lease(group, token, worker)
        case _:
            raise Corrupt("a lease does not decode")
