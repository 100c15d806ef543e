"""The rules of a session (pure): which nonces are open, answered, to be sent again; windows;
frames. No I/O, no time.

Client: `CommandBook`. Server: `ReplyBook`, `Window`, `Parts`. Both: `Outbox`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import NamedTuple

from perper_core.errors import Exhausted, Invalid
from perper_core.wire import frames as f
from perper_core.wire.limits import (
    COMMANDS_OPEN_MAX,
    CREDIT_SHARE,
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    ITEM_WEIGHT,
    PARTS_BYTES_MAX,
)

REPEATABLE = (
    f.CreateStream,
    f.Ack,
    f.Forget,
    f.End,
    f.RemoveStream,
    f.GetStream,
    f.ListStreams,
    f.Create,
    f.Finish,
    f.Fail,
    f.Await,
    f.GetExecution,
    f.ListExecutions,
    f.Get,
    f.ListState,
    f.Listen,
    f.Detach,
    f.Reserve,
    f.Leave,
)
"""Commands that mean the same when they are done twice (contract 24)."""


def repeatable(op: f.Op) -> bool:
    """Whether the command may be sent again to a server that may have done it already."""
    match op:
        case f.Append():  # recognized by the stream: keys, or a producer's sequence
            return bool(op.keys) or op.producer is not None
        case f.Call():  # an id re-attaches
            return bool(op.id)
        case _:
            return isinstance(op, REPEATABLE)


def weight(raws: Sequence[bytes]) -> int:
    """What items cost in a listener's window."""
    return sum(map(len, raws)) + ITEM_WEIGHT * len(raws)


def _part_weight(op: f.Append) -> int:
    """What a part costs while it waits: one without items takes memory too."""
    return weight(op.items) + ITEM_WEIGHT


# ------------------------------------------------------------------ frames


class Part(NamedTuple):
    """An encoded command or reply, and the stream items in it."""

    raw: bytes
    items: int


class Outbox:
    """Encoded parts in order, cut into frames. Invariant: a frame has one part, or at most
    FRAME_ITEMS_MAX items and FRAME_BYTES_MAX bytes."""

    def __init__(self) -> None:
        self._parts: deque[Part] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, raw: bytes, items: int = 1) -> None:
        self._parts.append(Part(raw, items))
        self.bytes += len(raw)

    def add_first(self, raws: Sequence[bytes]) -> None:
        """In front of everything, in this order."""
        self._parts.extendleft(Part(raw, 1) for raw in reversed(raws))
        self.bytes += sum(map(len, raws))

    def clear(self) -> None:
        self._parts.clear()
        self.bytes = 0

    def next_frame(self) -> list[bytes]:
        """Parts of the next frame; none when it is empty."""
        frame: list[bytes] = []
        items = size = 0
        while self._parts:
            part = self._parts[0]
            items += part.items
            size += len(part.raw)
            if frame and (items > FRAME_ITEMS_MAX or size > FRAME_BYTES_MAX):
                break
            frame.append(part.raw)
            self._parts.popleft()
            self.bytes -= len(part.raw)
        return frame


def split_append(op: f.Append) -> list[f.Append]:
    """An append in parts that fit frames; all but the last say `more`."""
    parts: list[f.Append] = []
    start = size = 0
    for index, raw in enumerate(op.items):
        size += len(raw)
        full = index - start == FRAME_ITEMS_MAX or size > FRAME_BYTES_MAX
        if full and index > start:
            parts.append(_part(op, start, index))
            start, size = index, len(raw)
    parts.append(_part(op, start, len(op.items)))
    last = parts[-1]._replace(more=False)
    return [*parts[:-1], last]


def _part(op: f.Append, start: int, end: int) -> f.Append:
    return op._replace(
        items=op.items[start:end],
        keys=op.keys[start:end],
        fields=op.fields[start:end],
        more=True,
    )


class Parts:
    """Server: unfinished multi-part appends of a session, by nonce."""

    def __init__(self) -> None:
        self._parts: dict[int, list[f.Append]] = {}
        self._bytes = 0

    def add(self, nonce: int, op: f.Append) -> f.Append | None:
        """The whole append when `op` was its last part. Exhausted beyond PARTS_BYTES_MAX."""
        if not op.more and nonce not in self._parts:
            return op
        parts = self._parts.setdefault(nonce, [])
        parts.append(op)
        self._bytes += _part_weight(op)
        if self._bytes > PARTS_BYTES_MAX:
            self.drop(nonce)
            raise Exhausted("parts of appends", bytes_max=PARTS_BYTES_MAX)
        if op.more:
            return None
        self.drop(nonce)
        return op._replace(
            items=[raw for part in parts for raw in part.items],
            keys=[key for part in parts for key in part.keys],
            fields=[field for part in parts for field in part.fields],
        )

    def drop(self, nonce: int) -> None:
        """Forget what came of it so far."""
        for part in self._parts.pop(nonce, ()):
            self._bytes -= _part_weight(part)

    def __contains__(self, nonce: int) -> bool:
        return nonce in self._parts

    def clear(self) -> list[int]:
        """The connection is lost: parts will come again from the first. Their nonces."""
        nonces = list(self._parts)
        self._parts.clear()
        self._bytes = 0
        return nonces


# ------------------------------------------------------------------ nonces


class CommandBook:
    """Client: open commands by nonce, oldest first, and what has to be confirmed to the server."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, f.Op] = {}
        self._sent: set[int] = set()
        self._received: list[int] = []

    def __len__(self) -> int:
        return len(self._open)

    def open(self, op: f.Op) -> int:
        """A new nonce for it."""
        self._last += 1
        self._open[self._last] = op
        return self._last

    def mark_sent(self, nonce: int) -> None:
        """From now on the server may have done it."""
        self._sent.add(nonce)

    def was_sent(self, nonce: int) -> bool:
        return nonce in self._sent

    def settle(self, nonce: int) -> f.Op | None:
        """Nobody waits for it any more; the command if it was open."""
        self._sent.discard(nonce)
        return self._open.pop(nonce, None)

    def answer(self, nonce: int) -> bool:
        """Its reply has come. Whether it was open."""
        op = self.settle(nonce)
        if op is None or not repeatable(op):
            self._received.append(nonce)
        return op is not None

    def take_received(self) -> list[int]:
        """Nonces to confirm with the next frame."""
        received, self._received = self._received, []
        return received

    def unanswered(self) -> list[tuple[int, f.Op]]:
        """What to send over a new connection, in order."""
        return list(self._open.items())

    def lose_session(self) -> list[int]:
        """The server does not know the session any more: nonces, still open, whose outcome nobody
        can tell."""
        self._received.clear()
        return [
            nonce for nonce, op in self._open.items() if nonce in self._sent and not repeatable(op)
        ]


class Admission(Enum):
    """What to do with a command."""

    NEW = auto()
    RUNNING = auto()  # sent again while it runs: it will be answered
    ANSWERED = auto()  # answered before: the same answer again


class ReplyBook:
    """Server: what became of each nonce of a session. Invariant: at most COMMANDS_OPEN_MAX."""

    def __init__(self) -> None:
        self._replies: dict[int, bytes | None] = {}

    def __len__(self) -> int:
        return len(self._replies)

    def admit(self, nonce: int) -> Admission:
        """Take a nonce in, or say what is known of it. Exhausted for more than may be open."""
        if nonce in self._replies:
            answered = self._replies[nonce] is not None
            return Admission.ANSWERED if answered else Admission.RUNNING
        if len(self._replies) >= COMMANDS_OPEN_MAX:
            raise Exhausted("too many open commands", commands_max=COMMANDS_OPEN_MAX)
        self._replies[nonce] = None
        return Admission.NEW

    def settle(self, nonce: int, raw: bytes | None) -> None:
        """Its encoded reply, kept until the client has it; None: may be done again, keep none."""
        if raw is None:
            self._replies.pop(nonce, None)
        elif nonce in self._replies:
            self._replies[nonce] = raw

    def reply(self, nonce: int) -> bytes:
        raw = self._replies[nonce]
        assert raw is not None, "only for ANSWERED"
        return raw

    def confirm(self, nonces: Sequence[int]) -> None:
        """The client has the replies to these."""
        for nonce in nonces:
            if self._replies.get(nonce) is not None:
                del self._replies[nonce]

    def keep(self, nonces: Sequence[int]) -> None:
        """The client is back and waits for these only."""
        wanted = frozenset(nonces)
        self.confirm([nonce for nonce in self._replies if nonce not in wanted])


# ------------------------------------------------------------------ windows


class Window:
    """Server: what may still be sent to a listener. `on_room` is called when a closed window
    opens."""

    def __init__(self, size: int, on_room: Callable[[], None]) -> None:
        self._room = size
        self._on_room = on_room

    @property
    def room(self) -> int:
        return self._room

    @property
    def is_open(self) -> bool:
        """One batch may be sent; it may be larger than the room."""
        return self._room > 0

    def spend(self, cost: int) -> None:
        self._room -= cost

    def grant(self, cost: int) -> None:
        """Credit from the client. Invalid if not positive."""
        if cost <= 0:
            raise Invalid("credit is positive", weight=cost)
        was_open = self.is_open
        self._room += cost
        if not was_open and self.is_open:
            self._on_room()


class Returns:
    """Client: consumed weight of a listener, given back in quarters of the window."""

    def __init__(self, window: int) -> None:
        self._step = max(1, window // CREDIT_SHARE)
        self._consumed = 0

    def consume(self, cost: int) -> int:
        """Credit to send now, or 0."""
        self._consumed += cost
        if self._consumed < self._step:
            return 0
        credit, self._consumed = self._consumed, 0
        return credit

    def clear(self) -> None:
        """A new connection starts with a new window."""
        self._consumed = 0
