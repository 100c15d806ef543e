"""What a handler may ask and do: `Context`, and how it refuses: `Reject` (execution §1, §6).

A context lives for one message. It collects effects and meters them; nothing of what it collects
happens unless the handler returns. Knows neither blocks nor states.
"""

from typing import Any, NamedTuple

from consensus.encoding import UINT_MAX, H, Value, encode
from consensus.errors import EncodingError
from consensus.ids import Agent, Id, id_of_hash
from consensus.messages import (
    CODE_TEXT_MAX,
    DATA_BYTES_MAX,
    EFFECTS_PER_MESSAGE_MAX,
    EVENTS_PER_MESSAGE_MAX,
    RECEIPT_DATA_MAX,
    REMINDER,
    SEND,
    AgentEvent,
    Queued,
    encode_data,
)
from node.sdk.fields import Address, Reference
from node.sdk.shapes import shape_of

MESSAGE, SELF = "message", "self"  # who pays the gas of what is queued
HANDLE_BYTES = 8 + 36  # of a reminder: its time, its id


class Reject(Exception):
    """Raised by a handler: the message is refused with a code and data; nothing of it happens.

    Data is at most 256 bytes when encoded. Gas is kept.
    """

    def __init__(self, code: str, **data: Value) -> None:
        super().__init__(code)
        self.code, self.data = code, data


class Stopped(Exception):
    """Raised through a handler by the runtime: `failed(code)`, or out of gas when code is empty."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Place(NamedTuple):
    """Where a handler runs: chain and agent, the message, the block."""

    chain: bytes
    agent: Agent
    message: Id
    sender: bytes
    height: int
    time_ms: int


class Means(NamedTuple):
    """What a handler may spend: the message's gas left after its own price, and the agent's tokens.

    `gas_min`: the least gas of anything queued; `queue_room`: how much more the agent may queue.
    """

    gas: int
    balance: int
    gas_min: int
    queue_room: int


class Queue(NamedTuple):
    """Effect: a send (`at_ms` null) or a reminder; `own` tokens of it are the agent's."""

    item: Queued
    at_ms: int | None
    own: int


class Cancel(NamedTuple):
    """Effect: a reminder of this agent is taken back, if it still waits."""

    handle: bytes


Effect = Queue | Cancel


class Context:
    """One message's surroundings and its collected effects.

    `sender` is an account, an agent, or the agent itself for a reminder; `height` and `time_ms` are
    those of the block; `balance` are the agent's tokens not yet spent by this message.
    """

    __slots__ = (
        "_place",
        "_queue_room",
        "balance",
        "effects",
        "events",
        "gas",
        "gas_min",
        "height",
        "sender",
        "time_ms",
    )

    def __init__(self, place: Place, means: Means) -> None:
        self._place = place
        self.sender = Address(place.sender)
        self.height, self.time_ms = place.height, place.time_ms
        self.gas, self.balance, self.gas_min, self._queue_room = means
        self.effects: list[Effect] = []
        self.events: list[AgentEvent] = []

    def self_reference(self) -> Reference:
        """This agent's public reference."""
        return Reference(Address(self._place.agent), self._place.chain)

    def send(
        self, to: Reference, message: Any, *, gas: int = 0, pay: int = 0, payer: str = MESSAGE
    ) -> Id:
        """Queue a message for a later block; its id.

        `gas` (0: the least) is prepaid by this message or, payer="self", by the agent; `pay` tokens
        of the agent go along. Ends the handler: out of gas, rejected(NoFunds), failed(busy, …).
        """
        if type(to) is not Reference or to.chain not in (None, self._place.chain):
            raise Stopped("reference")
        if to.capability is not None:
            raise Stopped("reference")
        if type(pay) is not int or not 0 <= pay <= UINT_MAX:
            raise Stopped("value")
        return self._queue(SEND, to.agent.raw, message, gas, pay, payer, None).id

    def remind(self, *, at_ms: int, message: Any, gas: int = 0, payer: str = MESSAGE) -> bytes:
        """A message to oneself in the first block whose time is at or after `at_ms`; its handle.

        A reminder only wakes; it may be late. Gas as in `send`.
        """
        if type(at_ms) is not int or not 0 <= at_ms <= UINT_MAX:
            raise Stopped("value")
        agent = self._place.agent
        item = self._queue(REMINDER, agent, message, gas, 0, payer, at_ms)
        return at_ms.to_bytes(8, "big") + item.id

    def cancel(self, handle: bytes) -> None:
        """Take back a reminder; its gas returns to the agent. Nothing happens if it has fired."""
        if type(handle) is not bytes or len(handle) != HANDLE_BYTES:
            raise Stopped("value")
        self._count_effect()
        self.effects.append(Cancel(handle))

    def publish(self, event: Any) -> None:
        """An entry of the chain's log of events."""
        shape = shape_of(event)
        if len(self.events) == EVENTS_PER_MESSAGE_MAX:
            raise Stopped("limit")
        data = encode(shape.to_map(event))
        if len(data) > DATA_BYTES_MAX:
            raise Stopped("size")
        self.events.append(AgentEvent(self._place.agent, shape.name, data))

    def _count_effect(self) -> None:
        if len(self.effects) == EFFECTS_PER_MESSAGE_MAX:
            raise Stopped("limit")

    def _queue(
        self, kind: str, to: bytes, message: Any, gas: int, pay: int, payer: str, at_ms: int | None
    ) -> Queued:
        self._count_effect()
        if self._queue_room <= 0:
            raise Stopped("busy")  # execution §6
        gas = gas or self.gas_min
        if type(gas) is not int or not self.gas_min <= gas <= UINT_MAX:
            raise Stopped("gas")
        if payer not in (MESSAGE, SELF):
            raise Stopped("value")
        own = pay + (gas if payer == SELF else 0)
        if own > self.balance:
            raise Reject("NoFunds")
        if payer == MESSAGE and gas > self.gas:
            raise Stopped("")
        shape = shape_of(message)
        data = encode_data(shape.name, shape.to_map(message))
        if len(data) > DATA_BYTES_MAX:
            raise Stopped("size")
        identifier = id_of_hash(H("input", self._place.message, len(self.effects)))  # execution §4
        item = Queued(identifier, kind, self._place.agent, Agent(to), data, gas, pay)
        self.balance -= own
        self.gas -= gas if payer == MESSAGE else 0
        self._queue_room -= 1
        self.effects.append(Queue(item, at_ms, own))
        return item


def rejection(reject: Reject) -> tuple[str, bytes] | None:
    """(code, canonical data) of a refusal; null when it does not fit into a receipt."""
    try:
        data = encode(dict(reject.data)) if reject.data else b""
    except EncodingError:
        return None
    code = reject.code
    if type(code) is not str or not code.isascii() or not 0 < len(code) <= CODE_TEXT_MAX:
        return None
    return None if len(data) > RECEIPT_DATA_MAX else (code, data)
