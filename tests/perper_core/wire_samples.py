"""One of each command and reply of the session, for round trips and vectors.

`python -m tests.perper_core.wire_samples` rewrites tests/vectors/fabric/frames.json.
"""

import json
from pathlib import Path
from typing import Any

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
from perper_core.wire import codec
from perper_core.wire import frames as f

VECTORS = Path(__file__).parents[1] / "vectors" / "fabric" / "frames.json"

FENCE = Fence("parent/1", 7)
FAILURE = Failure("ValueError", "no", (("line", 3), ("file", "a.py"), ("low", -1)), retry=True)
OPTIONS = StreamOptions(
    Kind.EPHEMERAL, Gate.ANY, 1, 2, 3, 4, 5, 6, hold_s=0.5, hold_bytes=7, producer="body"
)
EXECUTION_OPTIONS = ExecutionOptions(durable=False, attempts_max=2, backoff_ms=3, delay_ms=4)
INFO = StreamInfo("s", OPTIONS, "failed", "Failed", 2, 10, 20, 300, -5, None, 1, ("reader",))
EXECUTION = ExecutionInfo(
    "e", "i", "d", ExecutionState.DEAD, 3, 2, "parent", {"a": [1, None]}, None, FAILURE
)
ENTRY = StateEntry("k", [True, b"x", "text"], 99)
ERROR = f.Error("Truncated", "gone", (("first", 12), ("stream", "s")))

COMMANDS: dict[str, f.Op] = {
    "hello": f.Hello(bytes(range(16)), 1, (3, 300)),
    "bye": f.Bye(),
    "beat": f.Beat(),
    "abort": f.Abort(9),
    "credit": f.Credit(1, 262144),
    "listener_ack": f.ListenerAck(1, 512),
    "detach": f.Detach(1),
    "leave": f.Leave(2, True),
    "create_stream": f.CreateStream("s", OPTIONS, FENCE),
    "append": f.Append(
        "s", (b"a", b""), (1, -1), (5, 6), None, Producer("w", 4), FENCE, True, False
    ),
    "append_part": f.Append("s", (b"a",), (), (), 5, None, None, False, True),
    "listen": f.Listen(1, "s", "reader", -1, True, 512, 262144, 1048576),
    "ack": f.Ack("s", "reader", 5),
    "forget": f.Forget("s", "reader"),
    "end": f.End("s", None),
    "break_stream": f.BreakStream("s", FAILURE, FENCE),
    "remove_stream": f.RemoveStream("s"),
    "get_stream": f.GetStream("s"),
    "list_streams": f.ListStreams("pre", "after", 100),
    "create": f.Create("e", "i", "d", {"x": 1}, FENCE, True, EXECUTION_OPTIONS),
    "reserve": f.Reserve(1, "g", "i", ("A", "B"), 4, (FENCE,)),
    "finish": f.Finish("e", 3, [1, "two"]),
    "fail": f.Fail("e", 3, FAILURE),
    "cancel_execution": f.CancelExecution("e", "why"),
    "retry": f.Retry("e"),
    "await": f.Await("e", 1.5),
    "call": f.Call("i", "d", b"argument", "", 60.0, None, ExecutionOptions()),
    "get_execution": f.GetExecution("e"),
    "list_executions": f.ListExecutions(
        "i", [ExecutionState.CREATED, ExecutionState.DEAD], "after", 10
    ),
    "get": f.Get("state", "k"),
    "put": f.Put("state", "k", {"deep": [1.5]}, -1, FENCE),
    "remove": f.Remove("state", "k", 5, None),
    "list_state": f.ListState("state", "after", 10),
}

REPLIES: dict[str, f.Payload] = {
    "done": f.Done(),
    "error": ERROR,
    "welcome": f.Welcome(True, 1),
    "flag": f.Flag(True),
    "version": f.Version(1 << 62),
    "value": f.ValueReply({"a": b"b"}),
    "items": f.Items(1, 100, [b"a", b"b"], None),
    "items_keyed": f.Items(1, 100, [b"a", b"b", b"c"], [7, None, -7]),
    "listener_error": f.ListenerError(1, ERROR),
    "listener_end": f.ListenerEnd(1, None),
    "work": f.Work(2, Reserved("e", 3, "i", "d", [1], 2)),
    "halt": f.Halt(2, "e", 3, "cancelled"),
    "worker_end": f.WorkerEnd(2, ERROR),
    "appended": Appended(1, 2, 0, 16382, 1000),
    "attached": f.Attached(13, True),
    "stream": INFO,
    "streams": f.StreamPage((INFO,), False),
    "execution": EXECUTION,
    "executions": f.ExecutionPage((EXECUTION,), True),
    "entry": f.EntryReply(ENTRY),
    "entry_absent": f.EntryReply(None),
    "entries": f.EntryPage((ENTRY,), False),
}


def described(thing: Any) -> Any:
    """Fields by name, bytes as hex, as far as JSON goes."""
    match thing:
        case bytes():
            return {"hex": thing.hex()}
        case tuple() if hasattr(thing, "_fields"):
            return {name: described(getattr(thing, name)) for name in thing._fields}
        case StreamOptions() | ExecutionOptions():
            return {name: described(getattr(thing, name)) for name in thing.__slots__}
        case list() | tuple():
            return [described(each) for each in thing]
        case dict():
            return {str(key): described(each) for key, each in thing.items()}
        case _:
            return thing


def vectors() -> dict[str, Any]:
    """What the file holds."""
    commands = [codec.encode_command(f.Command(5, COMMANDS[name])) for name in ("get", "bye")]
    replies = [codec.encode_reply(f.Reply(5, REPLIES[name])) for name in ("done", "flag")]
    return {
        "commands": [
            {
                "name": name,
                "nonce": number,
                "fields": described(op),
                "bytes": codec.encode_command(f.Command(number, op)).hex(),
            }
            for number, (name, op) in enumerate(COMMANDS.items())
        ],
        "replies": [
            {
                "name": name,
                "nonce": number,
                "fields": described(payload),
                "bytes": codec.encode_reply(f.Reply(number, payload)).hex(),
            }
            for number, (name, payload) in enumerate(REPLIES.items())
        ],
        "frames": {
            "commands": codec.join_commands(commands, [1, 300]).hex(),
            "replies": codec.join_replies(replies).hex(),
        },
    }


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(vectors(), indent=1) + "\n")
