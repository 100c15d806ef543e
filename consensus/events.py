"""What happened: all inputs of a chain's machine, in the past tense.

Whatever comes from a peer was judged for form and signature before. Tokens and ask numbers are
opaque to the machine: it hands them back in effects.
"""

from dataclasses import dataclass

from consensus.block import Block, Proposal
from consensus.certificates import Aggregate, Certificate, Vote
from consensus.facts import Fact
from consensus.ids import BlockId, Epoch, Hash, Height, Id, MessageId, Peer, Round
from consensus.messages import Message
from consensus.transition import View


@dataclass(frozen=True, slots=True)
class VotesReceived:
    """Votes of peers, each with the token of the gossip that brought it (0: none)."""

    votes: tuple[tuple[int, Vote], ...]


@dataclass(frozen=True, slots=True)
class FactsReceived:
    """Facts for a block, and aggregates of confirms, with their tokens."""

    facts: tuple[tuple[int, Fact | Aggregate], ...]


@dataclass(frozen=True, slots=True)
class CertificateReceived:
    certificate: Certificate
    source: Peer | None


@dataclass(frozen=True, slots=True)
class ProposalReceived:
    """A proposal and those of its message bodies that came along."""

    token: int
    proposal: Proposal
    source: Peer | None


@dataclass(frozen=True, slots=True)
class MessagesReceived:
    """Signed messages of accounts, verified; `source` null: from this node's own users."""

    token: int
    messages: tuple[Message, ...]
    source: Peer | None


@dataclass(frozen=True, slots=True)
class PollReceived:
    """A slot owner asks for the preference at `height`; answer with `Reply(query, …)`."""

    query: int
    peer: Peer
    height: Height


@dataclass(frozen=True, slots=True)
class AnswerReceived:
    """The answer to an ask for a preference: the answerer's height, round and preference."""

    ask: int
    peer: Peer
    height: Height
    round: Round
    block: BlockId | None


@dataclass(frozen=True, slots=True)
class AskFailed:
    """No usable answer to an ask of any kind before its deadline."""

    ask: int
    peer: Peer


@dataclass(frozen=True, slots=True)
class TipReceived:
    """The newest certified height of a peer, as it says."""

    peer: Peer
    height: Height


@dataclass(frozen=True, slots=True)
class LinkUp:
    peer: Peer


@dataclass(frozen=True, slots=True)
class LinkDown:
    peer: Peer


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was asked for: a proposal, or a block with its certificate, and message bodies."""

    ask: int
    peer: Peer
    block: Block | None
    proposal: Proposal | None
    certificate: Certificate | None
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """The asked peer does not have it."""

    ask: int
    peer: Peer


@dataclass(frozen=True, slots=True)
class BlockExecuted:
    """The outcome of executing a block: the view after it, or the rule that it breaks."""

    block: BlockId
    view: View | None
    due_ms: int | None
    rule: str


@dataclass(frozen=True, slots=True)
class ExecutionFaulted:
    """The host, not the block, failed (execution §5). `inputs`: on which, where that is known."""

    block: BlockId
    cause: str
    inputs: tuple[Id, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildFaulted:
    """The host failed while it built our block."""

    height: Height
    round: Round
    cause: str
    inputs: tuple[Id, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockBuilt:
    """A block for our own turn, executed; null where nothing is includable.

    `refused`: messages that this peer's own execution would not include.
    """

    height: Height
    round: Round
    block: Block | None
    view: View | None
    due_ms: int | None
    refused: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True)
class Signed:
    """The signature over `unsigned`, after its record became durable."""

    kind: str
    height: Height
    round: Round
    unsigned: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Revealed:
    """A link of this peer's hash chain of an epoch; number 0 is the commitment."""

    epoch: Epoch
    number: int
    link: Hash


@dataclass(frozen=True, slots=True)
class Persisted:
    """A candidate and its bodies are durable."""

    block: BlockId


@dataclass(frozen=True, slots=True)
class Committed:
    """Block, certificate, state and receipts of a height are durable."""

    height: Height
    block: BlockId


@dataclass(frozen=True, slots=True)
class Woke:
    """A time asked for by WakeAt has come; also used to let a fresh machine begin."""


Event = (
    VotesReceived
    | FactsReceived
    | CertificateReceived
    | AnswerReceived
    | PollReceived
    | MessagesReceived
    | ProposalReceived
    | TipReceived
    | LinkUp
    | LinkDown
    | Fetched
    | Missing
    | AskFailed
    | BlockExecuted
    | ExecutionFaulted
    | BuildFaulted
    | BlockBuilt
    | Signed
    | Revealed
    | Persisted
    | Committed
    | Woke
)
