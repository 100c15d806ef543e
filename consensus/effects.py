"""What to do: all outputs of a chain's machine, as orders.

The host performs them in order, durable before visible. Outcomes come back only as events.
"""

from dataclasses import dataclass

from consensus.block import Block
from consensus.certificates import Certificate
from consensus.ids import BlockId, Epoch, Hash, Height, Id, MessageId, Peer, Round
from consensus.messages import Message

ACCEPT, IGNORE, REJECT = "accept", "ignore", "reject"

VOTES, FACTS, PROPOSALS, MESSAGES = "votes", "facts", "proposals", "messages"  # topics
POLL, BLOCK, CERT, BODIES, TIP = "poll/1", "block/1", "cert/1", "bodies/1", "tip/1"  # queries


@dataclass(frozen=True, slots=True)
class Persist:
    """Make a candidate and its message bodies durable → Persisted."""

    block: Block
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Sign:
    """Make `record` durable, then sign → Signed. `unsigned`: the bytes without the signature."""

    kind: str
    height: Height
    round: Round
    phase: int
    unsigned: bytes
    record: bytes


@dataclass(frozen=True, slots=True)
class Remember:
    """Make `record` durable without signing (a new lock or valid value)."""

    record: bytes


@dataclass(frozen=True, slots=True)
class Reveal:
    """Give link `number` of this peer's hash chain of `epoch` → Revealed."""

    epoch: Epoch
    number: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Make block, certificate, state, receipts durable in one transaction → Committed."""

    block: Block
    certificate: Certificate | None  # null in a chain without votes
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Gossip:
    """Publish records of one topic; each has the logical key by which peers remember it."""

    topic: str
    items: tuple[tuple[bytes, bytes], ...]  # (logical key, record)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with received gossip: (token, accept | ignore | reject, logical key, cause)."""

    items: tuple[tuple[int, str, bytes, str], ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """One query to one peer → AnswerReceived | Fetched | TipReceived | Missing | AskFailed."""

    ask: int
    peer: Peer
    proto: str
    data: bytes
    deadline_ms: int  # monotonic


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to PollReceived: canonical bytes."""

    query: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Execute:
    """Execute a block on the state of its parent → BlockExecuted | ExecutionFaulted."""

    block: Block
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Build:
    """Make and execute a block for our turn → BlockBuilt."""

    parent: BlockId
    parent_certificate: bytes
    height: Height
    round: Round
    epoch: Epoch
    proposer_slot: int
    rank: int
    time_ms: int
    reveal: Hash | None
    facts: tuple[bytes, ...]
    messages: tuple[Message, ...]
    skip: tuple[Id, ...]


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send Woke at this monotonic time; replaces the last one."""

    monotonic_ms: int


@dataclass(frozen=True, slots=True)
class Publish:
    """A record for the fabric's streams: what was seen or decided (`votes`, `facts`)."""

    stream: str
    height: Height
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Blame:
    """A peer did what is wrong in itself."""

    peer: Peer
    points: int
    cause: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A user's message did not enter the pool: code and cause for whoever sent it."""

    message: MessageId
    code: str
    cause: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop this chain, keep everything, raise the alarm (protocol §7, §10).

    `forked`: another block was certified at this height, or the checkpoint names another; nothing
    here chooses one. `certificates`: of those that are known.
    """

    height: Height
    block: BlockId
    cause: str
    certificates: tuple[bytes, ...] = ()
    forked: bool = False


Effect = (
    Persist
    | Sign
    | Remember
    | Reveal
    | Commit
    | Gossip
    | Verdict
    | Ask
    | Reply
    | Execute
    | Build
    | WakeAt
    | Publish
    | Blame
    | Refused
    | Halt
)
