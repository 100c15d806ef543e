"""The model of a stream (pure): its head, appends, credit, retention, the end.

The head is the only truth about a stream (contract 3): what is not below `committed` does not
exist. Knows nothing of stores, listeners' tasks or time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from perper_core.errors import AlreadyFinished, Conflict, Exhausted, Invalid
from perper_core.limits import PRODUCERS_MAX
from perper_core.ports import Failure, Gate, Producer, StreamOptions
from perper_core.records import Step

OPEN, ENDED, FAILED = 0, 1, 2
STATE_NAMES: tuple[Literal["open", "ended", "failed"], ...] = ("open", "ended", "failed")
UID_BYTES = 8
OWNER_BYTES = 8
NOBODY = bytes(OWNER_BYTES)


class Session(NamedTuple):
    """A producer session: number and last offset of its newest append (contract 7)."""

    sequence: int
    last: int


@dataclass(frozen=True, slots=True)
class Head:
    """Invariant: swept <= trimmed + 1, trimmed <= committed, bytes_trimmed <= bytes_total."""

    uid: bytes
    options: StreamOptions
    epoch: int = 0
    owner: bytes = NOBODY
    committed: int = 0
    trimmed: int = 0
    swept: int = 1
    """Records below this offset are surely deleted."""
    bytes_total: int = 0
    bytes_trimmed: int = 0
    last_key: int | None = None
    last_field: int | None = None
    key_floor: int | None = None
    """Highest key that was trimmed away: at or below it nothing can be compared any more."""
    state: int = OPEN
    failure: Failure | None = None
    producers: tuple[tuple[str, Session], ...] = ()
    """Oldest use first."""

    @property
    def bytes_kept(self) -> int:
        return self.bytes_total - self.bytes_trimmed


# ------------------------------------------------------------------ commands


class Append(NamedTuple):
    """What an append does to the head; its items are written before the head is."""

    items: int
    bytes: int
    key_max: int | None
    field_max: int | None
    producer: Producer | None


class Trim(NamedTuple):
    """Drop everything up to `to`: `bytes` of items, the highest key among them."""

    to: int
    bytes: int
    key_max: int | None


class Swept(NamedTuple):
    """Records below `below` are deleted."""

    below: int


class TakeOver(NamedTuple):
    """Another server becomes the owner."""

    owner: bytes


class End(NamedTuple):
    """The last item is there; with a failure: there will be no more."""

    failure: Failure | None


Command = Append | Trim | Swept | TakeOver | End


class Committed(NamedTuple):
    """Offsets `first..last` become readable."""

    first: int
    last: int


class Trimmed(NamedTuple):
    """Offsets up to `to` are gone."""

    to: int


class Closed(NamedTuple):
    """The stream has ended or failed."""


class Duplicate(NamedTuple):
    """A re-sent append (contract 7); `last` 0: too old to say where it is."""

    last: int


Effect = Committed | Trimmed | Closed
Reply = Committed | Duplicate | None


def step(head: Head, command: Command) -> Step[Head, Reply, Effect]:
    """One change of a head. Raises AlreadyFinished, Conflict, Exhausted."""
    match command:
        case Append():
            return _append(head, command)
        case Trim(to, size, key_max):
            if to <= head.trimmed:
                return Step(head, None)
            assert to <= head.committed, "trimmed beyond committed"
            after = replace(
                head,
                trimmed=to,
                bytes_trimmed=head.bytes_trimmed + size,
                key_floor=highest(head.key_floor, key_max),
            )
            return Step(after, None, (Trimmed(to),))
        case Swept(below):
            if below <= head.swept:
                return Step(head, None)
            return Step(replace(head, swept=below), None)
        case TakeOver(owner):
            return Step(replace(head, epoch=head.epoch + 1, owner=owner), None)
        case End(failure):
            return _end(head, failure)


def _append(head: Head, command: Append) -> Step[Head, Reply, Effect]:
    producers = head.producers
    last = head.committed + command.items
    if command.producer is not None:
        known = dict(producers)
        session, sequence = command.producer
        before = known.pop(session, Session(0, 0))
        if sequence <= before.sequence:  # contract 7
            return Step(head, Duplicate(before.last if sequence == before.sequence else 0))
        if head.state == OPEN and before.sequence and sequence != before.sequence + 1:
            raise Conflict("the producer skipped a number", expected=before.sequence + 1)
        if len(known) >= PRODUCERS_MAX:  # the longest unused session loses its memory
            known.pop(next(iter(known)))
        known[session] = Session(sequence, last)
        producers = tuple(known.items())
    if head.state != OPEN:
        raise AlreadyFinished(f"the stream has {STATE_NAMES[head.state]}")
    options = head.options
    if not bounded(options) and head.bytes_kept + command.bytes > options.quota_bytes:
        raise Exhausted("the stream's quota is full", quota_bytes=options.quota_bytes)
    after = Head(
        head.uid,
        options,
        head.epoch,
        head.owner,
        last,
        head.trimmed,
        head.swept,
        head.bytes_total + command.bytes,
        head.bytes_trimmed,
        highest(head.last_key, command.key_max),
        highest(head.last_field, command.field_max),
        head.key_floor,
        head.state,
        head.failure,
        producers,
    )
    committed = Committed(head.committed + 1, last)
    return Step(after, committed, (committed,))


def _end(head: Head, failure: Failure | None) -> Step[Head, Reply, Effect]:
    if head.state == OPEN:
        state = ENDED if failure is None else FAILED
        return Step(replace(head, state=state, failure=failure), None, (Closed(),))
    if failure is None and head.state == ENDED:
        return Step(head, None)
    raise AlreadyFinished(f"the stream has {STATE_NAMES[head.state]}")


def highest(one: int | None, other: int | None) -> int | None:
    """The greater of two, where None is none."""
    if one is None:
        return other
    return one if other is None else max(one, other)


# ------------------------------------------------------------------ retention and credit


class ChunkMark(NamedTuple):
    """What retention knows of one stored chunk of items."""

    first: int
    last: int
    bytes: int
    key_max: int | None
    field_max: int | None


def bounded(options: StreamOptions) -> bool:
    """Whether retention bounds the stream, so that no quota has to."""
    return bool(options.keep_items or options.keep_bytes or options.keep_field)


def expired(head: Head, oldest: ChunkMark, options: StreamOptions) -> bool:
    """Whether retention lets the oldest kept chunk go, whole (contract 19). The newest one
    stays."""
    if oldest.last >= head.committed:
        return False
    if options.keep_items and head.committed - oldest.last >= options.keep_items:
        return True
    if options.keep_bytes and head.bytes_kept - oldest.bytes >= options.keep_bytes:
        return True
    if not options.keep_field or head.last_field is None or oldest.field_max is None:
        return False
    return oldest.field_max <= head.last_field - options.keep_field


class Holder(NamedTuple):
    """Somebody who needs the items behind `acked`: an attached flow listener, or a named one
    within its hold."""

    acked: int


def floor_of(head: Head, holders: Iterable[Holder]) -> int:
    """Highest offset that may be trimmed: the slowest holder's acknowledged one (contract 19)."""
    return min((holder.acked for holder in holders), default=head.committed)


class Credit(NamedTuple):
    """Room in front of the slowest gating listener (contract 18)."""

    items: int
    bytes: int


def credit_of(head: Head, slowest: int | None, bytes_ahead: int) -> Credit:
    """`slowest`: its acknowledged offset, None without gating listeners; `bytes_ahead`: of what it
    has not."""
    options = head.options
    if slowest is None:
        return Credit(options.window_items, options.window_bytes)
    ahead = head.committed - slowest
    return Credit(options.window_items - ahead, options.window_bytes - bytes_ahead)


def gates(options: StreamOptions, *, local: bool) -> bool:
    """Whether a flow listener may slow the producer of such a stream."""
    return options.gate is Gate.ANY or (options.gate is Gate.LOCAL and local)


def checked(options: StreamOptions) -> StreamOptions:
    """The options, or Invalid with the failing inequality."""
    for name in ("keep_items", "keep_bytes", "keep_field", "hold_s", "hold_bytes"):
        if getattr(options, name) < 0:
            raise Invalid(f"{name} must be >= 0")
    for name in ("quota_bytes", "window_items", "window_bytes"):
        if getattr(options, name) < 1:
            raise Invalid(f"{name} must be >= 1")
    return options
