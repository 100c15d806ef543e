"""The working state of one block, shared by its phases (execution §4): data, questions on it."""

from consensus.ids import Agent, ChainId, Height, Id, MessageId
from consensus.messages import AgentEvent
from consensus.spec import ChainSpec
from consensus.state import Overlay, State
from node.execution.keys import AgentRecord, agent_key
from node.execution.ledger import Ledger
from node.execution.native import NativeTier
from node.execution.ports import Input
from node.execution.window import Window


class Plan:
    """A block between its first and last phase.

    By index: `ids` and `receipts` (empty bytes until settled). `pending`: inputs that wait for
    phase 2, by agent in the order of first appearance. `spent_gas` counts against gas(h, R);
    `burned` are the tokens that end here.
    """

    __slots__ = (
        "burned",
        "chain",
        "events",
        "fast",
        "gas_limit",
        "height",
        "ids",
        "included",
        "ledger",
        "message_bytes",
        "message_ids",
        "overlay",
        "pending",
        "receipts",
        "records",
        "seen",
        "skip",
        "skipped",
        "spec",
        "spent_gas",
        "state",
        "tier",
        "time_ms",
        "touched",
        "window",
    )

    def __init__(
        self,
        spec: ChainSpec,
        state: State,
        window: Window,
        tier: NativeTier,
        *,
        height: Height,
        round_: int,
        time_ms: int,
    ) -> None:
        self.spec, self.state, self.window, self.tier = spec, state, window, tier
        self.chain: ChainId = spec.id
        self.height, self.time_ms = height, time_ms
        self.gas_limit = spec.parameters.gas(height, round_)
        self.overlay = Overlay(state)
        self.ledger = Ledger(state)
        self.records: dict[Agent, AgentRecord | None] = {}
        self.touched: dict[Agent, None] = {}  # records to write back
        self.skip: dict[bytes, None] = {}  # what to skip
        self.skipped: list[Id] = []  # what was
        self.ids: list[Id] = []
        self.receipts: list[bytes] = []
        self.events: list[tuple[int, AgentEvent]] = []
        self.pending: dict[Agent, list[Input]] = {}
        self.message_ids: list[MessageId] = []
        self.message_bytes = 0
        self.included: dict[MessageId, None] = {}
        self.seen: dict[int, list[MessageId]] = {}
        self.spent_gas = 0
        self.burned = 0
        self.fast = True  # transfers by the short way; off only to compare with the long one

    def record(self, agent: Agent) -> AgentRecord | None:
        """The record of an agent as it stands now, null where there is none."""
        if agent not in self.records:
            self.records[agent] = AgentRecord.read(self.overlay, agent)
        return self.records[agent]

    def known(self, agent: Agent) -> AgentRecord:
        """The record of an agent that exists."""
        record = self.record(agent)
        assert record is not None, "an agent with inputs or effects exists"
        return record

    def count(self, agent: Agent, *, sent: int = 0, delivered: int = 0, reminders: int = 0) -> None:
        """Move an agent's counters."""
        old = self.known(agent)
        self.records[agent] = AgentRecord(
            old.code, old.sent + sent, old.delivered + delivered, old.reminders + reminders
        )
        self.touched[agent] = None

    def was_included(self, message: MessageId) -> bool:
        """Whether an earlier block of the window, or this one already, has the message."""
        return message in self.included or self.window.includes(message, self.height)

    def write_records(self) -> None:
        """Put the counters that moved into the overlay."""
        for agent in self.touched:
            self.overlay.put(agent_key(agent), self.known(agent).encode())
