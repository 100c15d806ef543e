"""Messages and facts that wait for a block: bounded, in order of arrival (protocol §9).

Local policy, pure. Judges nothing about state: who cannot pay is refused by the gateway before, or
by this peer's own execution after.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from consensus.claims import HILL_BYTES
from consensus.facts import DoubleProposal, Evidence, Fact, LateAccept, Renew, SlotClaim
from consensus.ids import Account, MessageId, Peer
from consensus.messages import Message
from consensus.spec import ChainSpec
from consensus.transition import EVIDENCE_EPOCHS

POOL_BYTES_MAX = 64 * 1024 * 1024
POOL_MESSAGES_MAX = 100_000
POOL_SENDER_MAX = 1_024
REMEMBERED_MAX = 65_536  # ids of a generation: included or refused lately, not taken again
CLAIMS_MAX = 4_096
FACTS_OTHER_MAX = 1_024  # renewals, evidence and late accepts, each

_Kept = TypeVar("_Kept")

ADDED, KNOWN = "added", "known"
WRONG_CHAIN, EXPIRED, FULL, SENDER_FULL = "WrongChain", "Expired", "PoolFull", "SenderFull"
EXPIRES_LATE = "ExpiresTooLate"


@dataclass(slots=True)
class MessagePool:
    """Verified messages by id, in order of arrival.

    Invariant: `size` is the sum of their bytes; `senders` counts them per sender.
    """

    spec: ChainSpec
    messages: dict[MessageId, Message] = field(default_factory=dict)
    bodies: dict[MessageId, Message] = field(default_factory=dict)  # of candidates, beyond the pool
    size: int = 0
    senders: dict[Account, int] = field(default_factory=dict)
    remembered: dict[MessageId, None] = field(default_factory=dict)
    remembered_before: dict[MessageId, None] = field(default_factory=dict)

    def add(self, message: Message, height: int) -> str:
        """added | known | the code of the refusal. `height`: the one being decided."""
        if message.id in self.messages or self.knows(message.id):
            return KNOWN
        if message.chain != self.spec.id or message.to.chain != self.spec.id:
            return WRONG_CHAIN
        if message.expires_height < height:
            return EXPIRED
        if message.expires_height > height + self.spec.parameters.expiry_max_blocks:
            return EXPIRES_LATE
        size = len(message.raw)
        if len(self.messages) >= POOL_MESSAGES_MAX or self.size + size > POOL_BYTES_MAX:
            return FULL
        count = self.senders.get(message.sender, 0)
        if count >= POOL_SENDER_MAX:
            return SENDER_FULL
        self.messages[message.id] = message
        self.senders[message.sender] = count + 1
        self.size += size
        return ADDED

    def knows(self, message: MessageId) -> bool:
        """Whether it was included or refused lately."""
        return message in self.remembered or message in self.remembered_before

    def lookup(self, ids: Sequence[MessageId]) -> tuple[tuple[Message, ...], tuple[MessageId, ...]]:
        """(found in the order asked, missing)."""
        found, missing = [], []
        for message_id in ids:
            message = self.messages.get(message_id) or self.bodies.get(message_id)
            if message is None:
                missing.append(message_id)
            else:
                found.append(message)
        return tuple(found), tuple(missing)

    def hold(self, messages: Iterable[Message]) -> None:
        """Bodies of a candidate that do not enter the pool by themselves."""
        for message in messages:
            if message.id not in self.messages:
                self.bodies[message.id] = message

    def choose(self) -> tuple[Message, ...]:
        """What a proposal is offered: the oldest, as many as a block may hold."""
        wanted = self.spec.parameters.block_messages_max
        chosen: list[Message] = []
        for message in self.messages.values():
            if len(chosen) >= wanted:
                break
            chosen.append(message)
        return tuple(chosen)

    def refuse(self, ids: Sequence[MessageId]) -> None:
        """Out of the pool; the bodies stay for this height, where a candidate may hold them."""
        found, _ = self.lookup(ids)
        self.remove(ids)
        self.hold(found)

    def remove(self, ids: Iterable[MessageId]) -> None:
        """Included or refused: out of the pool, remembered for a while."""
        for message_id in ids:
            message = self.messages.pop(message_id, None)
            if message is not None:
                self.size -= len(message.raw)
                left = self.senders[message.sender] - 1
                if left:
                    self.senders[message.sender] = left
                else:
                    del self.senders[message.sender]
            self.remembered[message_id] = None
        if len(self.remembered) > REMEMBERED_MAX:
            self.remembered_before, self.remembered = self.remembered, {}

    def enter(self, height: int) -> list[MessageId]:
        """A new height is decided: bodies of lost candidates and expired messages go."""
        self.bodies.clear()
        expired = [
            message.id for message in self.messages.values() if message.expires_height < height
        ]
        self.remove(expired)
        return expired


@dataclass(slots=True)
class FactPool:
    """Facts for blocks to come; the best claim per slot, one renewal per peer (protocol §4)."""

    claims: dict[int, tuple[bytes, SlotClaim]] = field(default_factory=dict)  # by slot, with hill
    renewals: dict[Peer, Renew] = field(default_factory=dict)
    evidence: dict[Peer, Evidence | DoubleProposal] = field(default_factory=dict)
    late: dict[Peer, LateAccept] = field(default_factory=dict)
    epoch: int = -1

    def enter(self, epoch: int) -> None:
        """Facts of epoch e − 1 are for e only: another epoch begins with none."""
        if epoch != self.epoch:
            self.epoch, oldest = epoch, epoch - EVIDENCE_EPOCHS
            self.claims.clear()
            self.renewals.clear()
            self.late.clear()
            self.evidence = {p: f for p, f in self.evidence.items() if _epoch(f) >= oldest}

    def add_claim(self, claim: SlotClaim, slot: int, hill: int) -> bool:
        """Whether it beats what is kept for its slot."""
        height = hill.to_bytes(HILL_BYTES, "big")  # beyond 64 bits, which the journal cannot hold
        best = self.claims.get(slot)
        if best is not None and best[0] >= height:
            return False
        if best is None and len(self.claims) >= CLAIMS_MAX:
            return False
        self.claims[slot] = (height, claim)
        return True

    def add_other(self, fact: Renew | Evidence | DoubleProposal | LateAccept) -> bool:
        """Whether it is the first of its kind for its peer."""
        match fact:
            case Renew():
                return _put(self.renewals, fact.peer, fact)
            case Evidence() | DoubleProposal():
                return _put(self.evidence, fact.peer, fact)
            case LateAccept():
                return _put(self.late, fact.vote.peer, fact)

    def all(self) -> list[Fact]:
        """Evidence first, then what keeps owners alive, then claims by slot."""
        claims = [self.claims[slot][1] for slot in sorted(self.claims)]
        return [
            *self.evidence.values(),
            *self.renewals.values(),
            *self.late.values(),
            *claims,
        ]

    def remove(self, raws: Iterable[bytes]) -> None:
        """Included: out."""
        gone = dict.fromkeys(raws)
        self.claims = {s: held for s, held in self.claims.items() if held[1].raw not in gone}
        for table in (self.renewals, self.evidence, self.late):
            for peer in [peer for peer, fact in table.items() if fact.raw in gone]:
                del table[peer]


def _epoch(fact: Evidence | DoubleProposal) -> int:
    return fact.first.epoch if isinstance(fact, Evidence) else fact.epoch


def _put(table: dict[Peer, _Kept], peer: Peer, fact: _Kept) -> bool:
    if peer in table or len(table) >= FACTS_OTHER_MAX:
        return False
    table[peer] = fact
    return True
