"""What execution takes and gives, and the port of a tier (layout: Central signatures).

Data only. A tier runs the handlers of one agent; what happens before and after is not its business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from consensus.block import Block, Header
from consensus.ids import (
    Agent,
    BlockId,
    ChainId,
    Epoch,
    Hash,
    Height,
    Id,
    MessageId,
    Round,
    Slot,
)
from consensus.leaves import View
from consensus.messages import AgentEvent
from consensus.state import State
from consensus.statemap import StateMap
from node.execution.window import Window
from node.sdk.context import Effect


class HostFault(Exception):
    """This host failed, not the block: never an outcome (execution §5). `culprit`: what ran."""

    def __init__(self, cause: str, culprit: bytes | None = None) -> None:
        super().__init__(cause)
        self.culprit = culprit


# ---- phase 2: one agent -------------------------------------------------------------------------


class Input(NamedTuple):
    """One input: `kind` message | send | reminder | init; `sender` is who pays its gas, too.

    `position` is its index among the inputs of the block.
    """

    id: Id
    position: int
    kind: str
    sender: bytes
    data: bytes
    gas: int
    pay: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The inputs of one agent in their order, and where it stands before the first.

    `balance`: tokens it may spend; `queue_room`: how many items it may still queue.
    """

    chain: ChainId
    agent: Agent
    code: str
    height: Height
    time_ms: int
    balance: int
    queue_room: int
    inputs: tuple[Input, ...]


class Result(NamedTuple):
    """What one input came to. `gas` is burned. `changes`: field keys → canonical bytes.

    Events, effects and changes are empty unless the status is ok.
    """

    status: str
    code: str
    data: bytes
    gas: int
    events: tuple[AgentEvent, ...] = ()
    effects: tuple[Effect, ...] = ()
    changes: Mapping[bytes, bytes | None] = {}


class Tier(Protocol):
    """Runs agents whose code it knows; synchronous, deterministic; raises only HostFault."""

    def run(self, batch: Batch, state: State) -> tuple[Result, ...]:
        """One result per input, in order; the agent's own fields are read from `state`."""
        ...


# ---- blocks -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parent:
    """The certified block that a candidate stands on: its header, and its state in three forms."""

    header: Header
    state: State
    map: StateMap
    view: View
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a block stands, as its proposer chose it: the part of a header that is not computed."""

    height: Height
    round: Round
    epoch: Epoch
    parent: BlockId
    parent_certificate: bytes
    proposer_slot: Slot
    rank: int
    time_ms: int
    reveal: Hash | None
    facts: tuple[bytes, ...] = ()
    skipped: tuple[Id, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a block does. `changes` takes its parent's state to its own; `map` has its state root.

    `events`: (index of the input, event) in order. `seen`: its message ids by expiry. `due_ms`:
    the time from which a next block has an input of the chain's own, null: none waits. `burned`:
    tokens that ended as gas.
    """

    header: Header
    changes: dict[bytes, bytes | None]
    map: StateMap
    view: View
    receipts: tuple[bytes, ...]
    events: tuple[tuple[int, AgentEvent], ...]
    seen: dict[int, list[MessageId]]
    due_ms: int | None
    burned: int


@dataclass(frozen=True, slots=True)
class Built:
    """A block of our own, unsigned; null where there is nothing to include and no reason without.

    `refused`: (message, rule) of what can never be included in this block or, for most rules, any.
    """

    block: Block | None
    outcome: Outcome | None
    refused: tuple[tuple[MessageId, str], ...]
