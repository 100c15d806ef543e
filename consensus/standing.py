"""The state of one height while it is being decided, and what the whole machine keeps beside it.

Data only, with questions over it; `proposing`, `polling`, `voting` move it, `engine` owns it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consensus.block import Block, Header, Proposal
from consensus.certificates import Aggregate, Certificate, Vote
from consensus.dice import Dice
from consensus.effects import Effect
from consensus.facts import DoubleProposal, LateAccept
from consensus.ids import BlockId, Checkpoint, Hash, Height, Id, MessageId, Now, Peer, Slot
from consensus.messages import Message
from consensus.polls import PollGroup
from consensus.signing import SignRecord
from consensus.snowball import Snowball
from consensus.spec import ChainSpec
from consensus.transition import View
from consensus.votes import Votes

EXECUTED_PER_ROUND_MAX = 3  # protocol §6
PROPOSALS_HELD_MAX = 64  # per height; coming rounds go first, then the worst ranks of this one
EARLY_MAX_MS = 10_000  # further ahead of our clock: not kept (protocol §8)
FETCHES_MAX = 16  # asks for unknown blocks open at once, one per peer; half for confirmed ones
RECENT_HEIGHTS = 32  # certificates kept for stragglers and late accepts (protocol §4)
AHEAD_VOTES_MAX = 4096  # votes kept for height + 1, one per signer and phase
AHEAD_PROPOSALS_MAX = 16
CULPRITS_MAX = 256  # inputs that faulted here; the oldest are forgotten
POLL_PAUSE_DIVISOR = 10  # after polls without a winner: a tenth of poll_timeout
POLL_ROUNDS_MAX = 64  # groups of polls that one event may finish when all slots are our own

HELD, EXECUTING, VALID, INVALID = "held", "executing", "valid", "invalid"


class Pool(Protocol):
    """What the node keeps for blocks to come: message bodies and facts."""

    def choose(self, height: int) -> tuple[Message, ...]:
        """Messages for a proposal at `height`, in the order this peer proposes them."""
        ...

    def facts(self, height: int) -> tuple[bytes, ...]:
        """Facts for a proposal at `height`."""
        ...

    def lookup(self, ids: Sequence[MessageId]) -> tuple[tuple[Message, ...], tuple[MessageId, ...]]:
        """(found in the order asked, missing)."""
        ...


@dataclass(slots=True)
class Candidate:
    """A proposal, or a block fetched by id, of the height that is being decided."""

    block: Block
    proposal: Proposal | None
    rank: int
    status: str = HELD
    view: View | None = None
    due_ms: int | None = None
    doubled: bool = False  # another proposal for its (round, slot) was seen before the first poll
    named: bool = False  # by an answer or a confirm
    told: bool = False  # without votes: a peer says that this height is decided, and on this block
    persisted: bool = False
    source: Peer | None = None
    bodies_asked_ms: int = -1
    faults: int = 0  # executions that failed on this host, not by the block

    @property
    def round(self) -> int:
        return self.block.header.fields.round

    @property
    def slot(self) -> Slot:
        return self.block.header.fields.proposer_slot

    @property
    def time_ms(self) -> int:
        return self.block.header.fields.time_ms

    @property
    def order(self) -> tuple[int, int]:
        """Least first: number of skipped ids, then rank (protocol §6)."""
        return len(self.block.header.fields.skipped), self.rank


@dataclass(slots=True)
class Standing:
    """Everything about the height after the tip."""

    height: Height
    epoch: int
    votes: Votes
    owners: tuple[Peer | None, ...]
    occupied: tuple[Slot, ...]
    k: int
    alpha_preference: int
    alpha_confidence: int
    entered_ms: int
    round: int = 0
    ranks: tuple[tuple[Peer, Slot], ...] = ()
    clock_ms: int | None = None  # the round clock: monotonic time of its start
    candidates: dict[BlockId, Candidate] = field(default_factory=dict)
    snowball: Snowball | None = None  # of this round, from the first poll on
    group: PollGroup | None = None
    executed_ms: int | None = None  # first executed candidate of this round
    settled: bool = False
    value: BlockId | None = None  # what was settled on; null is nil
    building: bool = False
    built_empty: bool = False  # our last build of this round found nothing to include
    offered: tuple[MessageId, ...] = ()  # messages that our last build chose from
    built_clock_ms: int = -1  # clock time at which that build was ordered
    confirms_ms: int | None = None  # confirms of any value of this round are a quorum since
    accepts_ms: int | None = None
    shown: Aggregate | None = None  # a quorum of confirms of the highest round, shown by a peer
    certificate: Certificate | None = None
    committing: bool = False
    resent_ms: int = 0
    next_group_ms: int = 0  # no new polls before: pause after polls without a winner
    asked_back_ms: int = -1  # last time we asked a poller for its preference

    @property
    def polling(self) -> bool:
        """Whether polls of this round have begun from a preference."""
        return self.snowball is not None and self.snowball.preference is not None


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest certified block this machine stands on."""

    header: Header
    certificate: Certificate | None
    view: View
    due_ms: int | None


@dataclass(slots=True)
class Machine:
    """The whole state of one chain's engine. Moved only through `engine.handle`."""

    spec: ChainSpec
    peer: Peer
    dice: Dice
    tip: Tip
    record: SignRecord
    pool: Pool
    standing: Standing
    out: list[Effect] = field(default_factory=list)
    asks: int = 0  # numbers given to asks so far
    preference_asks: dict[int, Peer] = field(default_factory=dict)  # open asks back
    fetched_ms: dict[Peer, int] = field(default_factory=dict)  # last fetch of each peer
    fetches: dict[int, tuple[Peer, BlockId]] = field(default_factory=dict)
    body_asks: dict[int, tuple[Peer, BlockId]] = field(default_factory=dict)
    links: dict[int, Hash] = field(default_factory=dict)  # own hash chain of this epoch
    links_epoch: int = -1
    reveal_asked: int = -1
    pool_due: bool = False
    culprits: dict[Id, None] = field(default_factory=dict)  # inputs that faulted on this host
    ahead_votes: dict[tuple[Peer, str], Vote] = field(default_factory=dict)
    ahead_proposals: dict[Peer, Proposal] = field(default_factory=dict)
    recent: dict[int, Certificate] = field(default_factory=dict)
    decided: dict[int, BlockId] = field(default_factory=dict)  # without votes, instead of them
    parent_accepts: dict[Peer, Vote] = field(default_factory=dict)
    pushed_ms: dict[Peer, int] = field(default_factory=dict)  # certificates pushed to stragglers
    conflicts: list[tuple[Vote, Vote]] = field(default_factory=list)
    doubles: list[DoubleProposal] = field(default_factory=list)
    late: list[LateAccept] = field(default_factory=list)
    verdicts: list[tuple[int, str, bytes, str]] = field(default_factory=list)
    resumed: bool = False  # own words of this height were given to the signer again
    halted: bool = False
    checkpoint: Checkpoint | None = None

    def next_ask(self) -> int:
        self.asks += 1
        return self.asks

    @property
    def weight(self) -> int:
        """Slots that this peer owns at the height being decided."""
        return self.standing.votes.weights.get(self.peer, 0)


def heartbeat_due_ms(machine: Machine) -> int | None:
    """Clock time from which the heartbeat makes a block due; null when it is off."""
    beat = machine.spec.parameters.heartbeat_s
    return machine.tip.header.fields.time_ms + 1000 * beat if beat else None


def is_due(machine: Machine, now: Now) -> bool:
    """Whether this peer has a reason for a block (protocol §5). Rounds ≥ 1 are always due."""
    if machine.standing.round >= 1 or machine.pool_due:
        return True
    return is_due_since(machine, -1, now)


def is_due_since(machine: Machine, since_ms: int, now: Now) -> bool:
    """Whether a reminder or the heartbeat came due after the clock time `since_ms`."""
    times = (machine.tip.due_ms, heartbeat_due_ms(machine))
    return any(time is not None and since_ms < time <= now.clock_ms for time in times)
