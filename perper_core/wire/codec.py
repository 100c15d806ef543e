"""Frames to bytes and back: the only importer of generated code.

A command or reply is encoded once, when it is queued; a frame is their concatenation, which is
what protobuf's wire format for a repeated field is.
"""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from perper_core.errors import Invalid, TooLarge
from perper_core.ports import (
    Appended,
    ExecutionInfo,
    ExecutionOptions,
    ExecutionState,
    Failure,
    Fence,
    Gate,
    Kind,
    Producer,
    Reserved,
    StateEntry,
    StreamInfo,
    StreamOptions,
)
from perper_core.wire import frames as f
from perper_core.wire.limits import MESSAGE_BYTES_MAX
from perper_core.wire.proto import fabric_session_pb2 as pb
from perper_core.wire.shapes import (
    Field,
    Message,
    Shape,
    details,
    many,
    many_listed,
    nested,
    nested_many,
    nested_optional,
    optional,
    plain,
    text_enum,
    text_enums,
    value,
)

# ------------------------------------------------------------------ shapes

FENCE = Shape(Fence, plain("execution", "token"))
PRODUCER = Shape(Producer, plain("session", "sequence"))
FAILURE = Shape(Failure, (*plain("type", "message"), details("details"), *plain("retry")))
ERROR = Shape(f.Error, (*plain("code", "message"), details("details")))
STREAM_OPTIONS = Shape(
    StreamOptions,
    (
        text_enum("kind", Kind),
        text_enum("gate", Gate),
        *plain("keep_items", "keep_bytes", "keep_field", "quota_bytes"),
        *plain("window_items", "window_bytes", "hold_s", "hold_bytes", "producer"),
    ),
)
EXECUTION_OPTIONS = Shape(
    ExecutionOptions, plain("durable", "attempts_max", "backoff_ms", "delay_ms")
)
STREAM_INFO = Shape(
    StreamInfo,
    (
        *plain("name"),
        nested("options", STREAM_OPTIONS),
        *plain("state", "error", "epoch", "trimmed", "committed", "bytes_kept"),
        optional("last_key"),
        optional("last_field"),
        *plain("listeners"),
        many("named"),
    ),
)
EXECUTION_INFO = Shape(
    ExecutionInfo,
    (
        *plain("id", "instance", "delegate"),
        text_enum("state", ExecutionState),
        *plain("token", "attempts", "parent"),
        value("argument"),
        value("result"),
        nested_optional("failure", FAILURE),
    ),
)
STATE_ENTRY = Shape(StateEntry, (*plain("key"), value("value"), *plain("version")))
RESERVED = Shape(
    Reserved,
    (*plain("id", "token", "instance", "delegate"), value("argument"), *plain("attempt")),
)


def _put_keys(message: Message, name: str, keys: Sequence[int | None] | None) -> None:
    if keys is not None:
        message.keys.extend([0 if key is None else key for key in keys])
        if None in keys:
            message.keyless.extend([index for index, key in enumerate(keys) if key is None])


def _take_keys(message: Message, name: str) -> list[int | None] | None:
    if not message.keys:
        return None
    if len(message.keys) != len(message.raws):
        raise Invalid("items and keys differ in number")
    keys: list[int | None] = list(message.keys)
    for index in message.keyless:
        keys[index] = None
    return keys


def _put_work(message: Message, name: str, work: Reserved) -> None:
    RESERVED.fill(message, work)


def _take_work(message: Message, name: str) -> Reserved:
    work: Reserved = RESERVED.read(message)
    return work


_FENCED = nested_optional("fence", FENCE)

COMMANDS: dict[str, Shape] = {
    "append": Shape(
        f.Append,
        (
            *plain("stream"),
            many("items"),
            many("keys"),
            many("fields"),
            optional("field"),
            nested_optional("producer", PRODUCER),
            _FENCED,
            *plain("wait", "more"),
        ),
    ),
    "credit": Shape(f.Credit, plain("listener", "weight")),
    "listener_ack": Shape(f.ListenerAck, plain("listener", "offset")),
    "hello": Shape(f.Hello, (*plain("session", "version"), many("open"))),
    "bye": Shape(f.Bye, ()),
    "beat": Shape(f.Beat, ()),
    "abort": Shape(f.Abort, plain("nonce")),
    "detach": Shape(f.Detach, plain("listener")),
    "leave": Shape(f.Leave, plain("worker", "lost")),
    "create_stream": Shape(
        f.CreateStream, (*plain("name"), nested("options", STREAM_OPTIONS), _FENCED)
    ),
    "listen": Shape(
        f.Listen,
        plain(
            "listener", "stream", "name", "first", "flow", "batch_items", "batch_bytes", "window"
        ),
    ),
    "ack": Shape(f.Ack, plain("stream", "name", "offset")),
    "forget": Shape(f.Forget, plain("stream", "name")),
    "end": Shape(f.End, (*plain("stream"), _FENCED)),
    "break_stream": Shape(f.BreakStream, (*plain("stream"), nested("failure", FAILURE), _FENCED)),
    "remove_stream": Shape(f.RemoveStream, plain("stream")),
    "get_stream": Shape(f.GetStream, plain("stream")),
    "list_streams": Shape(f.ListStreams, plain("prefix", "after", "limit")),
    "create": Shape(
        f.Create,
        (
            *plain("id", "instance", "delegate"),
            value("argument"),
            nested_optional("parent", FENCE),
            *plain("detached"),
            nested("options", EXECUTION_OPTIONS),
        ),
    ),
    "reserve": Shape(
        f.Reserve,
        (
            *plain("worker", "group", "instance"),
            many("delegates"),
            *plain("parallel"),
            nested_many("held", FENCE),
        ),
    ),
    "finish": Shape(f.Finish, (*plain("id", "token"), value("result"))),
    "fail": Shape(f.Fail, (*plain("id", "token"), nested("failure", FAILURE))),
    "cancel_execution": Shape(f.CancelExecution, plain("id", "reason")),
    "retry": Shape(f.Retry, plain("id")),
    "await": Shape(f.Await, plain("id", "deadline_s")),
    "call": Shape(
        f.Call,
        (
            *plain("instance", "delegate"),
            value("argument"),
            *plain("id", "deadline_s"),
            nested_optional("parent", FENCE),
            nested("options", EXECUTION_OPTIONS),
        ),
    ),
    "get_execution": Shape(f.GetExecution, plain("id")),
    "list_executions": Shape(
        f.ListExecutions,
        (*plain("instance"), text_enums("states", ExecutionState), *plain("after", "limit")),
    ),
    "get": Shape(f.Get, plain("state", "key")),
    "put": Shape(f.Put, (*plain("state", "key"), value("value"), *plain("version"), _FENCED)),
    "remove": Shape(f.Remove, (*plain("state", "key", "version"), _FENCED)),
    "list_state": Shape(f.ListState, plain("state", "after", "limit")),
}

REPLIES: dict[str, Shape] = {
    "items": Shape(
        f.Items,
        (*plain("listener", "first"), many_listed("raws"), Field("keys", _put_keys, _take_keys)),
    ),
    "appended": Shape(
        Appended, plain("first", "last", "duplicates", "credit_items", "credit_bytes")
    ),
    "done": Shape(f.Done, ()),
    "error": ERROR,
    "welcome": Shape(f.Welcome, plain("resumed", "version")),
    "flag": Shape(f.Flag, plain("flag")),
    "version": Shape(f.Version, plain("version")),
    "value": Shape(f.ValueReply, (value("value"),)),
    "listener_error": Shape(f.ListenerError, (*plain("listener"), nested("error", ERROR))),
    "listener_end": Shape(f.ListenerEnd, (*plain("listener"), nested_optional("error", ERROR))),
    "work": Shape(f.Work, (*plain("worker"), Field("work", _put_work, _take_work))),
    "halt": Shape(f.Halt, plain("worker", "id", "token", "reason")),
    "worker_end": Shape(f.WorkerEnd, (*plain("worker"), nested_optional("error", ERROR))),
    "attached": Shape(f.Attached, plain("position", "flow")),
    "stream": STREAM_INFO,
    "streams": Shape(f.StreamPage, (nested_many("streams", STREAM_INFO), *plain("more"))),
    "execution": EXECUTION_INFO,
    "executions": Shape(
        f.ExecutionPage, (nested_many("executions", EXECUTION_INFO), *plain("more"))
    ),
    "entry": Shape(f.EntryReply, (nested_optional("entry", STATE_ENTRY),)),
    "entries": Shape(f.EntryPage, (nested_many("entries", STATE_ENTRY), *plain("more"))),
}

_NAMED_OPS = {shape.kind: (name, shape) for name, shape in COMMANDS.items()}
_NAMED_PAYLOADS = {shape.kind: (name, shape) for name, shape in REPLIES.items()}

# ------------------------------------------------------------------ bytes


def _encode(message: Any, table: dict[Any, tuple[str, Shape]], thing: Any) -> bytes:
    name, shape = table[type(thing)]
    submessage = getattr(message, name)
    submessage.SetInParent()
    try:
        shape.fill(submessage, thing)
    except (ValueError, TypeError) as error:  # an int beyond its bits, a wrong type
        raise Invalid(f"{name}: {error}") from error
    raw: bytes = message.SerializeToString()
    if len(raw) > MESSAGE_BYTES_MAX:
        raise TooLarge(name, bytes=len(raw), bytes_max=MESSAGE_BYTES_MAX)
    return raw


def encode_command(command: f.Command) -> bytes:
    """A command. Raises Invalid or TooLarge for what does not fit."""
    return _encode(pb.Command(nonce=command.nonce), _NAMED_OPS, command.op)


def encode_reply(reply: f.Reply) -> bytes:
    """A reply."""
    return _encode(pb.Reply(nonce=reply.nonce), _NAMED_PAYLOADS, reply.payload)


def encode_error(error: f.Error) -> bytes:
    """An error alone, as it travels in trailing metadata."""
    message = pb.Error()
    ERROR.fill(message, error)
    raw: bytes = message.SerializeToString()
    return raw


def decode_error(raw: bytes) -> f.Error:
    error: f.Error = ERROR.read(_parsed(pb.Error, raw))
    return error


def join_commands(commands: Sequence[bytes], received: Sequence[int]) -> bytes:
    """A frame of encoded commands."""
    if not received:
        return _joined(commands)
    packed = b"".join(map(_varint, received))  # field 2, packed
    return _joined(commands) + b"\x12" + _varint(len(packed)) + packed


def join_replies(replies: Sequence[bytes]) -> bytes:
    """A frame of encoded replies."""
    return _joined(replies)


def decode_commands(raw: bytes) -> f.CommandFrame:
    """Raises Invalid for bytes that are no frame."""
    message = _parsed(pb.Commands, raw)
    return f.CommandFrame([_command(each) for each in message.commands], tuple(message.received))


def decode_command(raw: bytes) -> f.Command:
    return _command(_parsed(pb.Command, raw))


def decode_replies(raw: bytes) -> list[f.Reply]:
    """Raises Invalid for bytes that are no frame."""
    return [_reply(each) for each in _parsed(pb.Replies, raw).replies]


def decode_reply(raw: bytes) -> f.Reply:
    return _reply(_parsed(pb.Reply, raw))


def encode_listen(listen: f.Listen) -> bytes:
    """The request of Tail."""
    message = pb.Listen()
    COMMANDS["listen"].fill(message, listen)
    raw: bytes = message.SerializeToString()
    return raw


def decode_listen(raw: bytes) -> f.Listen:
    listen: f.Listen = COMMANDS["listen"].read(_parsed(pb.Listen, raw))
    return listen


def encode_items(items: f.Items) -> bytes:
    """A message of Tail."""
    message = pb.Items()
    REPLIES["items"].fill(message, items)
    raw: bytes = message.SerializeToString()
    return raw


def decode_items(raw: bytes) -> f.Items:
    items: f.Items = REPLIES["items"].read(_parsed(pb.Items, raw))
    return items


def _command(message: Message) -> f.Command:
    return f.Command(message.nonce, _read(message, "op", COMMANDS))


def _reply(message: Message) -> f.Reply:
    return f.Reply(message.nonce, _read(message, "payload", REPLIES))


def _read(message: Message, oneof: str, shapes: dict[str, Shape]) -> Any:
    name = message.WhichOneof(oneof)
    if name is None:
        raise Invalid("not a known command or reply")
    try:
        return shapes[name].read(getattr(message, name))
    except (ValueError, IndexError) as error:
        raise Invalid(f"{name}: {error}") from error


def _parsed(kind: Any, raw: bytes) -> Message:
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise Invalid("not a frame") from error


def _joined(parts: Sequence[bytes]) -> bytes:
    out = bytearray()
    for part in parts:
        out += b"\x0a"  # field 1, length-delimited
        out += _varint(len(part))
        out += part
    return bytes(out)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
