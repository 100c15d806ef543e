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
OFFERED_BYTES_MAX = 2 * 1024 * 1024  # of bodies in one proposal of ours: peers fetch what they miss
ORPHANS_SENDER_MAX = 64  # messages of a sender that wait for one that is not known here
ORPHANS_OFFERED_MAX = 64  # of all senders, in one proposal of ours
REMEMBERED_MAX = 65_536  # ids of a generation: included or refused lately, not taken again
CLAIMS_MAX = 4_096
FACTS_OTHER_MAX = 1_024  # renewals, evidence and late accepts, each

_Kept = TypeVar("_Kept")

ADDED, KNOWN = "added", "known"
WRONG_CHAIN, EXPIRED, FULL, SENDER_FULL = "WrongChain", "Expired", "PoolFull", "SenderFull"
EXPIRES_LATE = "ExpiresTooLate"
ORPHANS_FULL = "AfterUnknown"


@dataclass(slots=True)
class Generations:
    """Ids seen lately: two generations, the older dropped when the newer is full."""

    new: dict[MessageId, None] = field(default_factory=dict)
    old: dict[MessageId, None] = field(default_factory=dict)

    def __contains__(self, message: MessageId) -> bool:
        return message in self.new or message in self.old

    def __len__(self) -> int:
        return len(self.new) + len(self.old)

    def add(self, message: MessageId) -> None:
        self.new[message] = None
        if len(self.new) > REMEMBERED_MAX:
            self.old, self.new = self.new, {}

    def discard(self, message: MessageId) -> None:
        self.new.pop(message, None)
        self.old.pop(message, None)


@dataclass(slots=True)
class MessagePool:
    """Verified messages by id, in order of arrival.

    Invariant: `size` is the sum of their bytes; `senders` counts them per sender, `orphans` those
    of a sender whose `after` was neither pooled nor included when they came.
    """

    spec: ChainSpec
    messages: dict[MessageId, Message] = field(default_factory=dict)
    bodies: dict[MessageId, Message] = field(default_factory=dict)  # of candidates, beyond the pool
    size: int = 0
    senders: dict[Account, int] = field(default_factory=dict)
    orphans: dict[MessageId, None] = field(default_factory=dict)
    orphans_of: dict[Account, int] = field(default_factory=dict)
    included: Generations = field(default_factory=Generations)
    refused: Generations = field(default_factory=Generations)

    def add(self, message: Message, height: int, *, own: bool = False) -> str:
        """added | known | the code of the refusal. `height`: the one being decided.

        `own`: of this node's users, who may hand in again what was refused before.
        """
        if message.id in self.messages or message.id in self.included:
            return KNOWN
        if not own and message.id in self.refused:
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
        if self.senders.get(message.sender, 0) >= POOL_SENDER_MAX:
            return SENDER_FULL
        after = message.after
        if after is not None and after not in self.messages and after not in self.included:
            if self.orphans_of.get(message.sender, 0) >= ORPHANS_SENDER_MAX:
                return ORPHANS_FULL
            self.orphans[message.id] = None
            _count(self.orphans_of, message.sender, 1)
        self.refused.discard(message.id)
        self.messages[message.id] = message
        _count(self.senders, message.sender, 1)
        self.size += size
        return ADDED

    def knows(self, message: MessageId) -> bool:
        """Whether it was included or refused lately."""
        return message in self.included or message in self.refused

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

    def choose(self, height: int) -> tuple[Message, ...]:
        """What a proposal is offered: the oldest that a block may hold and peers can fetch.

        What waits for a message that is neither included nor offered before it comes last, a few a
        height in turn: it would fill the offer for ever, and a block needs what can be included.
        """
        wanted = self.spec.parameters.block_messages_max
        chosen: dict[MessageId, Message] = {}
        waiting: dict[MessageId, list[Message]] = {}
        room = OFFERED_BYTES_MAX
        for message in self.messages.values():
            ready = [message]
            after = message.after
            if after is not None and after not in self.included and after not in chosen:
                waiting.setdefault(after, []).append(message)
                continue
            while ready and len(chosen) < wanted and room >= len(ready[-1].raw):
                one = ready.pop()
                chosen[one.id] = one
                room -= len(one.raw)
                ready += reversed(waiting.pop(one.id, ()))
            if len(chosen) >= wanted or ready:
                return tuple(chosen.values())
        unknown = [each for after, held in waiting.items() for each in held]
        start = height * ORPHANS_OFFERED_MAX % len(unknown) if unknown else 0
        turned = [*unknown[start:], *unknown[:start]][:ORPHANS_OFFERED_MAX]
        return (*chosen.values(), *turned[: wanted - len(chosen)])

    def refuse(self, ids: Sequence[MessageId]) -> None:
        """Out of the pool; the bodies stay for this height, where a candidate may hold them."""
        found, _ = self.lookup(ids)
        self._drop(ids)
        for message_id in ids:
            self.refused.add(message_id)
        self.hold(found)

    def include(self, ids: Iterable[MessageId]) -> None:
        """In a block: out of the pool, remembered for a while."""
        held = list(ids)
        self._drop(held)
        for message_id in held:
            self.included.add(message_id)

    def _drop(self, ids: Iterable[MessageId]) -> None:
        for message_id in ids:
            message = self.messages.pop(message_id, None)
            if message is None:
                continue
            self.size -= len(message.raw)
            _count(self.senders, message.sender, -1)
            if message_id in self.orphans:
                del self.orphans[message_id]
                _count(self.orphans_of, message.sender, -1)

    def enter(self, height: int) -> list[MessageId]:
        """A new height is decided: bodies of lost candidates and expired messages go."""
        self.bodies.clear()
        expired = [
            message.id for message in self.messages.values() if message.expires_height < height
        ]
        self._drop(expired)
        for message_id in expired:
            self.refused.add(message_id)
        return expired


def _count(table: dict[Account, int], sender: Account, change: int) -> None:
    left = table.get(sender, 0) + change
    if left:
        table[sender] = left
    else:
        del table[sender]


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
