"""The line of blocks as an executor stands on it: the certified tip, and candidates on top of it.

Executes and builds on the tip, keeps the outcomes until one of them is certified. Pure; the
executor agent and the simulator both drive it. Knows no votes and no disk.
"""

from collections.abc import Sequence

from consensus.block import Block
from consensus.effects import Build
from consensus.errors import ConsensusError, InvalidBlock
from consensus.events import BlockBuilt, BlockExecuted
from consensus.ids import BlockId, Height, Round, Slot
from consensus.messages import Message
from consensus.spec import ChainSpec
from consensus.state import Overlay, State
from node.execution.block import advance, build, execute
from node.execution.ports import Outcome, Parent, Place

OUTCOMES_MAX = 64  # candidates of one height whose outcomes are kept


class Line:
    """Invariant: every kept outcome is of a child of `tip`."""

    def __init__(self, spec: ChainSpec, tip: Parent) -> None:
        self.spec = spec
        self.tip = tip
        self.outcomes: dict[BlockId, Outcome] = {}

    def execute(self, block: Block, messages: Sequence[Message]) -> BlockExecuted:
        """The outcome of a candidate as an event. Raises HostFault."""
        if block.header.fields.parent != self.tip.header.id:
            return BlockExecuted(block.id, None, None, "parent")
        outcome = self.outcomes.get(block.id)
        if outcome is None:
            try:
                outcome = execute(self.spec, self.tip, block, messages)
            except InvalidBlock as error:
                return BlockExecuted(block.id, None, None, error.rule)
            except ConsensusError as error:
                return BlockExecuted(block.id, None, None, error.code)
            self._keep(block.id, outcome)
        return BlockExecuted(block.id, outcome.view, outcome.due_ms, "")

    def build(self, order: Build) -> BlockBuilt:
        """A block for our turn as an event. Raises HostFault."""
        height, round_ = Height(order.height), Round(order.round)
        if order.parent != self.tip.header.id:
            return BlockBuilt(height, round_, None, None, None, ())
        place = Place(
            height=height,
            round=round_,
            epoch=order.epoch,
            parent=order.parent,
            parent_certificate=order.parent_certificate,
            proposer_slot=Slot(order.proposer_slot),
            rank=order.rank,
            time_ms=order.time_ms,
            reveal=order.reveal,
            facts=order.facts,
        )
        built = build(self.spec, self.tip, place, order.messages, skip=order.skip)
        refused = tuple([message for message, _ in built.refused])
        if built.block is None or built.outcome is None:
            return BlockBuilt(height, round_, None, None, None, refused)
        self._keep(built.block.id, built.outcome)
        outcome = built.outcome
        return BlockBuilt(height, round_, built.block, outcome.view, outcome.due_ms, refused)

    def outcome(self, block: BlockId) -> Outcome:
        """What a candidate does; it was executed here and its height is not decided yet."""
        return self.outcomes[block]

    def advance(self, block: BlockId, state: State | None = None) -> Outcome:
        """A candidate is certified and durable: it is the tip now. `state`: the state after it.

        Without `state` the changes are laid over the old one (simulation, tests).
        """
        outcome = self.outcomes[block]
        after = None if state is None else Overlay(state)
        self.tip = advance(self.tip, outcome, after)
        self.outcomes = {}
        return outcome

    def _keep(self, block: BlockId, outcome: Outcome) -> None:
        if len(self.outcomes) >= OUTCOMES_MAX:
            del self.outcomes[next(iter(self.outcomes))]
        self.outcomes[block] = outcome
