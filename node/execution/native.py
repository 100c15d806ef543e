"""The native tier: agents that are Python classes of this program, at a flat price (execution §4).

Knows how one message meets one instance: decode, load, call, write back. State is decoded for each
message and written back only on ok, so warm, cold and split batches give the same.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from consensus.encoding import Value, decode, encode
from consensus.errors import EncodingError
from consensus.messages import (
    DATA_BYTES_MAX,
    FAILED,
    OK,
    OUT_OF_GAS,
    REJECTED,
    decode_data,
)
from consensus.state import State
from node.execution.keys import field_key
from node.execution.ledger import Ledger
from node.execution.ports import Batch, HostFault, Input, Result
from node.execution.prices import MESSAGE_GAS
from node.sdk.agent import Agent
from node.sdk.context import Context, Means, Place, Queue, Reject, Stopped, rejection
from node.sdk.fields import FieldError
from node.sdk.shapes import BadField, read_arguments

NAME_SHOWN = 32  # letters of a sender's field name that a receipt repeats
FIELD_BYTES_MAX = 64 * 1024  # of one stored field of a native agent

# Which Python exception of a handler becomes which code of `failed`, most special first.
_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (AssertionError, "assert"),
    (ZeroDivisionError, "zero"),
    (OverflowError, "overflow"),
    (KeyError, "key"),
    (IndexError, "index"),
    (AttributeError, "attribute"),
    (FieldError, "type"),
    (EncodingError, "encoding"),
    (TypeError, "type"),
    (ValueError, "value"),
    (Exception, "error"),
)
# What says something of this host and nothing of the message.
HOST_FAULTS = (MemoryError, RecursionError, OSError, SystemError)


class SharedAgent(Agent):
    """A native agent that shares the chain's balances, so it runs in phase 1 (execution §4)."""

    if TYPE_CHECKING:
        ledger: Ledger


class NativeTier:
    """The tier of codes `native:NAME/VERSION`."""

    def __init__(self, classes: Mapping[str, type[Agent]]) -> None:
        self.classes = dict(classes)

    def knows(self, code: str) -> bool:
        return code in self.classes

    def is_shared(self, code: str) -> bool:
        """Whether the agent works on balances, so that it runs serially in phase 1."""
        return issubclass(self.classes[code], SharedAgent)

    def run(self, batch: Batch, state: State) -> tuple[Result, ...]:
        """See ports.Tier."""
        return self.run_shared(batch, state, None)

    def run_shared(self, batch: Batch, state: State, ledger: Ledger | None) -> tuple[Result, ...]:
        """The same with the chain's balances at hand, for a shared agent."""
        kind = self.classes[batch.code]
        stored = Stored(kind, batch.agent, state)
        balance, room = batch.balance, batch.queue_room
        results: list[Result] = []
        for item in batch.inputs:
            place = Place(
                batch.chain, batch.agent, item.id, item.sender, batch.height, batch.time_ms
            )
            means = Means(item.gas - MESSAGE_GAS, balance + item.pay, MESSAGE_GAS, room)
            context = Context(place, means)
            if ledger is not None:
                ledger.begin()
            result = _guarded(kind, stored, context, item, ledger)
            if result.status == OK:
                stored.keep(result.changes)
                balance = context.balance
                room -= sum(type(effect) is Queue for effect in result.effects)
            elif ledger is not None:
                ledger.undo()
            results.append(result)
        return tuple(results)


class Stored:
    """The canonical bytes of an agent's fields, as the state and the messages before left them."""

    __slots__ = ("_kept", "_keys", "_kind", "_state")

    def __init__(self, kind: type[Agent], agent: bytes, state: State) -> None:
        self._kind, self._state = kind, state
        self._keys = {name: field_key(agent, name) for name in kind.form.declared}
        self._kept: dict[bytes, bytes | None] = {}

    def keep(self, changes: Mapping[bytes, bytes | None]) -> None:
        """What a message changed, for those after it."""
        self._kept.update(changes)

    def _raw(self, key: bytes) -> bytes | None:
        return self._kept[key] if key in self._kept else self._state.get(key)

    def load(self, ledger: Ledger | None) -> Agent:
        """A fresh instance with the stored fields, defaults where nothing is stored.

        Raises HostFault where what is stored does not decode: we wrote it, so it is damaged.
        """
        instance = self._kind()
        for name, declared in self._kind.form.declared.items():
            raw = self._raw(self._keys[name])
            if raw is not None:
                try:
                    value = declared.type.from_value(decode(raw, max_bytes=FIELD_BYTES_MAX))
                except (EncodingError, FieldError) as error:
                    raise HostFault(f"field {name}: {error}") from error
                object.__setattr__(instance, name, value)
        if ledger is not None:
            object.__setattr__(instance, "ledger", ledger)
        return instance

    def changes(self, instance: Agent) -> dict[bytes, bytes | None]:
        """Canonical bytes of the fields that differ from what is stored.

        Raises AttributeError for a field that was never set, FieldError, EncodingError.
        """
        found: dict[bytes, bytes | None] = {}
        for name, declared in self._kind.form.declared.items():
            raw = encode(declared.type.to_value(getattr(instance, name)))
            if len(raw) > FIELD_BYTES_MAX:
                raise OverflowError(name)
            key = self._keys[name]
            if raw != self._raw(key):
                found[key] = raw
        return found


def _guarded(
    kind: type[Agent], stored: Stored, context: Context, item: Input, ledger: Ledger | None
) -> Result:
    """The result of one input, whatever its handler does. Raises HostFault."""
    instance = stored.load(ledger)
    try:
        if item.kind == "init":
            _initialize(kind, instance, context, item.data)
        else:
            refused = _deliver(kind, instance, context, item.data)
            if refused is not None:
                return refused
        changes = stored.changes(instance)
    except Reject as reject:
        found = rejection(reject)
        if found is None:
            return _failed("reject")
        return Result(REJECTED, *found, MESSAGE_GAS)
    except Stopped as stopped:
        if not stopped.code:
            return Result(OUT_OF_GAS, "", b"", item.gas)
        return _failed(stopped.code)
    except HostFault:
        raise
    except HOST_FAULTS as fault:
        raise HostFault(type(fault).__name__, item.id) from fault
    except Exception as error:  # a handler may raise anything: its code is the outcome
        return _failed(failure_code(error))
    events, effects = tuple(context.events), tuple(context.effects)
    return Result(OK, "", b"", MESSAGE_GAS, events, effects, changes)


def failure_code(error: Exception) -> str:
    """The code of `failed` for what a handler raised."""
    return next(code for kind, code in _FAILURES if isinstance(error, kind))


def _failed(code: str) -> Result:
    return Result(FAILED, code, b"", MESSAGE_GAS)


def _rejected(code: str, data: dict[str, Value]) -> Result:
    return Result(REJECTED, code, encode(data) if data else b"", MESSAGE_GAS)


def _deliver(kind: type[Agent], instance: Agent, context: Context, data: bytes) -> Result | None:
    """Call the handler of the message in `data`; a result where there is none to call."""
    try:
        name, values = decode_data(data)
    except EncodingError:
        return _rejected("BadData", {})
    handler = kind.form.handlers.get(name)
    if handler is None:
        return _rejected("UnknownMessage", {"type": name[:NAME_SHOWN]})
    try:
        message = handler.shape.from_map(values)
    except BadField as error:
        return _rejected("BadField", {"field": error.field[:NAME_SHOWN]})
    handler.call(instance, context, message)
    return None


def _initialize(kind: type[Agent], instance: Any, context: Context, data: bytes) -> None:
    """Call `init` with the arguments in `data`. Raises Reject, EncodingError."""
    values = decode(data, max_bytes=DATA_BYTES_MAX)
    if type(values) is not dict:
        raise EncodingError("init: expected {parameter: value}")
    try:
        arguments = read_arguments(kind.form.init, values)
    except BadField as error:
        raise Reject("BadField", field=error.field[:NAME_SHOWN]) from None
    if "init" in kind.__dict__:
        instance.init(context, **arguments)
