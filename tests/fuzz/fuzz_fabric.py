"""Targets of `perper_core`: values, stored records, frames of a session."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from perper_core import chunks, executions, failures, heads, leases, records
from perper_core.errors import Corrupt, FabricError, Invalid, TooLarge
from perper_core.executions import Execution, Lease
from perper_core.ports import ExecutionOptions, ExecutionState, Failure, StreamOptions
from perper_core.records import Stamp
from perper_core.streams import Head, Session
from perper_core.values import Record, Value, decode_value, encode_value
from perper_core.wire import codec
from perper_core.wire import frames as f
from tests.fuzz.fuzz_target import Target
from tests.perper_core.wire_samples import COMMANDS, REPLIES

STAMP = Stamp(3, bytes(range(16)))
UID = bytes(range(16))
NAN = "nan"


def _values() -> Iterable[bytes]:
    scalars: list[Value] = [None, True, False, -1, 2**62, "text", b"bytes", 1.5, UUID(int=7)]
    scalars += [datetime(2026, 1, 2, tzinfo=UTC), Decimal("1.50")]
    yield encode_value(scalars)
    yield encode_value({"a": [1], 2: {}, b"b": Record("Name", {"x": 1, "y": [None]})})


def _stamped(raw: bytes) -> bytes:
    """What a stored record's body decodes to, written again under its stamp."""
    stamp, body = records.opened(raw)
    return records.sealed(stamp, body)


def _same_value(read: Callable[[bytes], Any], write: Callable[[Any], bytes]) -> Callable[..., None]:
    """Protobuf has many spellings: what was read is read again from what it is written as."""

    def check(raw: bytes, value: Any) -> None:
        again = read(write(value))
        assert again == value or NAN in repr(value), f"{again!r} after {value!r}"

    return check


def _execution() -> bytes:
    record = Execution(
        "instance",
        "delegate",
        b"argument",
        bytes(32),
        "parent",
        False,
        ExecutionOptions(),
        ExecutionState.RESERVED,
        2,
        1,
        (Lease("group", 2, bytes(16)),),
        b"result",
        Failure("Failed", "why", (("at", 1),), False),
        0,
        False,
    )
    return executions.encode_execution(record)


def _failures() -> Iterable[bytes]:
    for details in ((("a", 1), ("b", "c")), (("message", "x"), ("self", 1), ("type", "y"))):
        for kind in ("Failed", "Ours", "Truncated"):
            yield failures.encode_failure(Failure(kind, "why", details, True))


def _raised(raw: bytes, found: Failure) -> None:
    """What a handler elsewhere calls its details is its own affair."""
    _same_value(failures.decode_failure, failures.encode_failure)(raw, found)
    assert isinstance(failures.error_of(found), FabricError)


def _head() -> bytes:
    options = StreamOptions()
    head = Head(
        UID,
        options,
        1,
        UID,
        9,
        1,
        1,
        100,
        10,
        7,
        None,
        3,
        0,
        Failure("Failed", "why", (), True),
        (("session", Session(4, 5)),),
    )
    return heads.encode_head(head, heads.encode_options(options))


def _chunk() -> bytes:
    return chunks.encode_chunk(STAMP, 2, chunks.Chunk(5, [b"one", b""], [1, 2], 3, 9))


def _head_bytes(head: Head) -> bytes:
    return heads.encode_head(head, heads.encode_options(head.options))


def _frame_of(command: f.Command) -> bytes:
    return codec.join_commands([codec.encode_command(command)], [1, 300])


def _commands() -> list[bytes]:
    return [codec.encode_command(f.Command(9, op)) for op in COMMANDS.values()]


def _replies() -> list[bytes]:
    return [codec.encode_reply(f.Reply(9, payload)) for payload in REPLIES.values()]


def _first(kind: type, samples: Iterable[Any]) -> Any:
    return next(each for each in samples if isinstance(each, kind))


WIRE = (Invalid, TooLarge)
TARGETS = [
    Target(
        "fabric_value",
        decode_value,
        (Invalid, TooLarge),
        _values,
        check=_same_value(decode_value, encode_value),
    ),
    Target("fabric_record", _stamped, (Corrupt,), lambda: [_chunk()], write=bytes),
    Target(
        "fabric_execution",
        executions.decode_execution,
        (Corrupt,),
        lambda: [_execution()],
        check=_same_value(executions.decode_execution, executions.encode_execution),
    ),
    Target(
        "fabric_failure",
        failures.decode_failure,
        (Corrupt,),
        _failures,
        check=_raised,
    ),
    Target("fabric_chunk", chunks.decode_chunk, (Corrupt,), lambda: [_chunk()]),
    Target(
        "fabric_locator",
        chunks.decode_locator,
        (Corrupt,),
        lambda: [chunks.encode_locator(STAMP, 1, 77)],
    ),
    Target(
        "fabric_head",
        heads.decode_head,
        (Corrupt,),
        lambda: [_head()],
        check=_same_value(heads.decode_head, _head_bytes),
    ),
    Target(
        "fabric_session",
        leases.decode_session,
        (Corrupt,),
        lambda: [leases.encode_session(5)],
        write=leases.encode_session,
    ),
    Target(
        "wire_command",
        codec.decode_command,
        WIRE,
        _commands,
        check=_same_value(codec.decode_command, codec.encode_command),
    ),
    Target(
        "wire_commands",
        codec.decode_commands,
        WIRE,
        lambda: [codec.join_commands(_commands()[:4], [1, 300])],
    ),
    Target(
        "wire_reply",
        codec.decode_reply,
        WIRE,
        _replies,
        check=_same_value(codec.decode_reply, codec.encode_reply),
    ),
    Target(
        "wire_replies",
        codec.decode_replies,
        WIRE,
        lambda: [codec.join_replies(_replies()[:4])],
    ),
    Target(
        "wire_error",
        codec.decode_error,
        WIRE,
        lambda: [codec.encode_error(_first(f.Error, REPLIES.values()))],
        check=_same_value(codec.decode_error, codec.encode_error),
    ),
    Target(
        "wire_listen",
        codec.decode_listen,
        WIRE,
        lambda: [codec.encode_listen(_first(f.Listen, COMMANDS.values()))],
        check=_same_value(codec.decode_listen, codec.encode_listen),
    ),
    Target(
        "wire_items",
        codec.decode_items,
        WIRE,
        lambda: [codec.encode_items(_first(f.Items, REPLIES.values()))],
        check=_same_value(codec.decode_items, codec.encode_items),
    ),
]
