"""Keys of the state that execution owns, and the small records behind them (wire: State keys)."""

from typing import NamedTuple

from consensus.encoding import ID, UINT, Schema, head, list_of, row, text
from consensus.ids import Agent, Id, MessageId
from consensus.messages import CODE_TEXT_MAX
from consensus.state import State
from node.execution.limits import SEEN_IDS_MAX

BALANCE = b"a/"
AGENT = b"g/"
SEEN = b"s/"
REMINDERS = b"r/"
OUTBOX = b"o/"
_FIELD = b"/"
U64 = 8
U32 = 4
AGENT_BYTES = 32

_AGENT = Schema("agent", 1, [text(CODE_TEXT_MAX), row(UINT, UINT, UINT)], max_bytes=256)
_SEEN = Schema("seen", 1, [list_of(ID, SEEN_IDS_MAX)], max_bytes=256 * 1024)


def balance_key(account: bytes) -> bytes:
    return BALANCE + account


def agent_key(agent: bytes) -> bytes:
    return AGENT + agent


def field_key(agent: bytes, field: str) -> bytes:
    return AGENT + agent + _FIELD + field.encode()


def seen_key(expires: int, height: int) -> bytes:
    """Ids of the messages of block `height` that expire at `expires`."""
    return SEEN + expires.to_bytes(U32, "big") + height.to_bytes(U32, "big")


def seen_prefix(expires: int) -> bytes:
    return SEEN + expires.to_bytes(U32, "big")


def reminder_key(at_ms: int, identifier: bytes) -> bytes:
    return REMINDERS + at_ms.to_bytes(U64, "big") + identifier


def reminder_time(key: bytes) -> int:
    """When the reminder of this key is due, in ms."""
    return int.from_bytes(key[len(REMINDERS) : len(REMINDERS) + U64], "big")


def outbox_key(agent: bytes, number: int) -> bytes:
    return OUTBOX + agent + number.to_bytes(U64, "big")


def outbox_agent(key: bytes) -> bytes:
    """The sender whose outbox this key is in."""
    return key[len(OUTBOX) : len(OUTBOX) + AGENT_BYTES]


class AgentRecord(NamedTuple):
    """`g/‖agent`: the code, and the head: sends made, sends delivered, reminders that wait."""

    code: str
    sent: int = 0
    delivered: int = 0
    reminders: int = 0

    @property
    def queued(self) -> int:
        """Items that wait for this agent's sake."""
        return self.sent - self.delivered + self.reminders

    def encode(self) -> bytes:
        return _AGENT.encode((self.code, self[1:]))

    @classmethod
    def decode(cls, raw: bytes) -> "AgentRecord":
        code, counters = _AGENT.decode(raw)
        return cls(code, *counters)

    @classmethod
    def read(cls, state: State, agent: Agent) -> "AgentRecord | None":
        """Null when there is no such agent."""
        raw = state.get(agent_key(agent))
        return None if raw is None else cls.decode(raw)


def encode_balance(amount: int) -> bytes | None:
    """Canonical whole number; an account with nothing has no leaf."""
    return head(0, amount) if amount else None


def decode_balance(raw: bytes | None) -> int:
    """The inverse, for bytes of the state, which are canonical."""
    if raw is None:
        return 0
    return raw[0] if len(raw) == 1 else int.from_bytes(raw[1:], "big")


def read_balance(state: State, account: bytes) -> int:
    """Tokens of an account or agent."""
    return decode_balance(state.get(BALANCE + account))


def encode_seen(ids: list[MessageId]) -> bytes:
    return _SEEN.encode((ids,))


def decode_seen(raw: bytes) -> tuple[Id, ...]:
    ids: tuple[Id, ...] = _SEEN.decode(raw)[0]
    return ids
