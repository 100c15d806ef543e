"""A node's machine for one chain: the engine, and local policy beside it: pool, catch-up.

`handle(event, now) -> effects`, pure; the runtime performs the effects. Same events, same effects,
byte for byte. Knows no I/O, no threads, no library of the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus import claims
from consensus.block import Block
from consensus.certificates import Aggregate, Vote, check_weight
from consensus.dice import Dice
from consensus.effects import (
    ACCEPT,
    FACTS,
    IGNORE,
    MESSAGES,
    REJECT,
    VOTES,
    Commit,
    Effect,
    Gossip,
    Publish,
    Refused,
    Verdict,
    WakeAt,
)
from consensus.engine import Engine
from consensus.errors import EncodingError, InvalidCertificate, InvalidFact
from consensus.events import (
    AnswerReceived,
    AskFailed,
    BlockBuilt,
    BlockExecuted,
    CertificateReceived,
    Committed,
    Event,
    FactsReceived,
    Fetched,
    LinkDown,
    LinkUp,
    MessagesReceived,
    Missing,
    PollReceived,
    TipReceived,
    VotesReceived,
    Woke,
)
from consensus.facts import Evidence, Fact, LateAccept, Renew, SlotClaim
from consensus.ids import BlockId, Checkpoint, Height, MessageId, Now, Peer
from consensus.messages import Message
from consensus.signatures import ACCEPT as ACCEPT_KIND
from consensus.signing import SignRecord
from consensus.spec import ChainSpec
from consensus.standing import Tip
from consensus.voting import vote_key
from node import codec
from node.catchup import CatchUp
from node.pool import ADDED, KNOWN, FactPool, MessagePool

SNAPSHOT_PARTS = 7
PATIENCE_POLLS = 4  # a peer one height ahead is believed to be behind-sending for so many timeouts


@dataclass(frozen=True, slots=True)
class Restored:
    """What a node knows of a chain when it starts: from disk, or the genesis."""

    tip: Tip
    record: SignRecord | None
    saved: tuple[Block, ...] = ()  # durable candidates of the next height
    bodies: tuple[Message, ...] = ()  # and their messages
    checkpoint: Checkpoint | None = None  # the only block that may be decided at its height


class NodeCore:
    """One per chain."""

    def __init__(
        self, spec: ChainSpec, *, peer: Peer, dice: Dice, restored: Restored, now: Now
    ) -> None:
        self.spec = spec
        self.messages = MessagePool(spec)
        self.facts_pool = FactPool()
        self.catchup = CatchUp(certified=spec.kind.votes)
        self.committing: Block | None = None
        self.wake_ms: int | None = None
        self.messages.hold(restored.bodies)
        self.engine = Engine(
            spec,
            peer=peer,
            dice=dice,
            tip=restored.tip,
            record=restored.record,
            pool=self,
            now=now,
            saved=restored.saved,
            checkpoint=restored.checkpoint,
        )

    # ---- the head of a journal segment ----------------------------------------------------------

    def snapshot(self) -> bytes:
        """Everything this core knows, as canonical bytes; `restore` goes on from it alike."""
        parts = (
            self.spec.raw,
            self.engine.machine,
            self.messages,
            self.facts_pool,
            self.catchup,
            self.committing,
            self.wake_ms,
        )
        return codec.to_bytes(parts)

    @classmethod
    def restore(cls, snapshot: bytes) -> "NodeCore":
        """The core of a snapshot. Raises EncodingError."""
        parts = codec.from_bytes(snapshot)
        if type(parts) is not tuple or len(parts) != SNAPSHOT_PARTS:
            raise EncodingError("not the snapshot of a core")
        core = cls.__new__(cls)
        core.spec = ChainSpec.decode(parts[0])
        machine, core.messages, core.facts_pool, core.catchup = parts[1:5]
        core.committing, core.wake_ms = parts[5:]
        machine.spec = core.messages.spec = core.spec
        machine.pool = core
        core.engine = Engine.resume(machine)
        return core

    # ---- the engine's pool port -----------------------------------------------------------------

    def lookup(self, ids: Sequence[MessageId]) -> tuple[tuple[Message, ...], tuple[MessageId, ...]]:
        return self.messages.lookup(ids)

    def choose(self, height: int) -> tuple[Message, ...]:
        return self.messages.choose(height)

    def facts(self, height: int) -> tuple[bytes, ...]:
        return tuple([fact.raw for fact in self.facts_pool.all()])

    # ---- events ---------------------------------------------------------------------------------

    def handle(self, event: Event, now: Now) -> list[Effect]:
        """Take in one event; the effects to perform, in order."""
        out: list[Effect] = []
        hints = self.catchup.hints
        self._before(event, now, out)
        out += self.engine.handle(event, now)
        if self.engine.still and self.catchup.hints == hints:
            return out  # nothing moved, so all times stay what they were
        self._after(event, now, out)
        self._wake(now, out)
        return out

    @property
    def height(self) -> Height:
        """The height being decided."""
        return self.engine.height

    def _take_hint(self, peer: Peer, height: Height, now: Now) -> None:
        """Only owners are believed: keys are free, tips are bounded."""
        if self._owner(peer, lately=True):
            self.catchup.record_hint(peer, height, self.height, now)

    def _remind(self, peer: Peer, out: list[Effect]) -> None:
        """Say again the newest word of whoever links, of the height being decided or the next.

        It may have lost the end of its sign record; of this height no block shows what it said.
        """
        machine = self.engine.machine
        tallies = machine.standing.votes.tallies.values()
        found = [tally.votes[peer] for tally in tallies if peer in tally.votes]
        found += [vote for (signer, _), vote in machine.ahead_votes.items() if signer == peer]
        newest = max(found, key=_order, default=None)
        if newest is not None:
            out.append(Gossip(VOTES, ((vote_key(newest), newest.raw),)))

    def _before(self, event: Event, now: Now, out: list[Effect]) -> None:
        match event:
            case MessagesReceived():
                self._take_messages(event, out)
            case FactsReceived():
                self._take_facts(event, out)
            case VotesReceived():
                for _, vote in event.votes:
                    self._take_hint(vote.peer, vote.height, now)
            case PollReceived() | AnswerReceived():
                if self._owner(event.peer, lately=True):  # keys are free: liars would be asked on
                    self.catchup.record_alive(event.peer, now)
                self._take_hint(event.peer, event.height, now)
            case CertificateReceived():
                if event.source is not None:  # it has the block too
                    self.catchup.record_tip(event.source, event.certificate.height)
            case Fetched():
                self._hold_bodies(event)
                self.catchup.record_answer(event, now)
            case BlockExecuted():
                self._take_inputs(event)
            case Missing() | AskFailed():
                self.catchup.record_failure(event.ask, now)
            case TipReceived():
                self.catchup.record_tip_answer(event.peer, event.height)
            case LinkUp():
                self.catchup.link(event.peer, now)
                self._remind(event.peer, out)
            case LinkDown():
                self.catchup.forget(event.peer)
            case Woke():
                self.wake_ms = None  # a timer may fire early: ask for the same time again
            case BlockBuilt():
                self.messages.refuse(event.refused)
                for message in event.refused:
                    cause = "this peer's own execution would not include it"
                    out.append(Refused(message, "NotIncludable", cause))
            case Committed():
                self._take_committed()
            case _:
                pass

    def _after(self, event: Event, now: Now, out: list[Effect]) -> None:
        for effect in out:
            if type(effect) is Commit:
                self.committing = effect.block
        machine = self.engine.machine
        for first, second in machine.conflicts:
            self._add_fact(Evidence.of(first, second), out)
        found: list[Fact] = [*machine.doubles, *machine.late]
        for fact in found:
            if self._judge_fact(fact) == ACCEPT:
                self._add_fact(fact, out)
        machine.conflicts, machine.doubles, machine.late = [], [], []
        self._catch_up(event, now, out)

    def _wake(self, now: Now, out: list[Effect]) -> None:
        times = self.catchup.wake_ms(self.height, self._patience_ms())
        ahead = [time for time in times if time > now.monotonic_ms]
        engine = self.engine.wake_ms(now)
        if engine is not None:
            ahead.append(engine)
        wake = min(ahead, default=None)
        if wake is not None and wake != self.wake_ms:
            out.append(WakeAt(wake))
        self.wake_ms = wake

    # ---- messages -------------------------------------------------------------------------------

    def _take_messages(self, event: MessagesReceived, out: list[Effect]) -> None:
        added, wrong = [], False
        for message in event.messages:
            result = self.messages.add(message, self.height, own=event.source is None)
            if result == ADDED:
                added.append(message)
            elif result != KNOWN:
                wrong = wrong or result == "WrongChain"
                if event.source is None:
                    out.append(Refused(message.id, result, _CAUSES[result]))
        if added:
            machine = self.engine.machine
            machine.pool_due = True
            machine.standing.built_empty = False
            if event.source is None:
                items = tuple([(bytes(message.id), message.raw) for message in added])
                out.append(Gossip(MESSAGES, items))
        if event.token:
            verdict = ACCEPT if added else REJECT if wrong else IGNORE
            cause = "message.chain" if wrong else ""
            out.append(Verdict(((event.token, verdict, b"", cause),)))

    def _hold_bodies(self, event: Fetched) -> None:
        """Of what came, the bodies that were asked for; catch-up holds its own with the block."""
        machine, block = self.engine.machine, event.block
        asked = machine.body_asks.get(event.ask)
        candidate = None if asked is None else machine.standing.candidates.get(asked[1])
        if block is None and candidate is not None:
            block = candidate.block
        if block is not None and block.height == self.height:
            self._hold(block, event)

    def _hold(self, block: Block, event: Fetched) -> None:
        wanted = dict.fromkeys(block.body.messages)
        self.messages.hold([message for message in event.messages if message.id in wanted])

    def _take_inputs(self, event: BlockExecuted) -> None:
        """A valid proposal's inputs enter the pool: they are due here too (protocol §5)."""
        machine = self.engine.machine
        candidate = machine.standing.candidates.get(event.block)
        if event.view is None or candidate is None or candidate.proposal is None:
            return
        messages, _ = self.messages.lookup(candidate.block.body.messages)
        added = [m for m in messages if self.messages.add(m, self.height) == ADDED]
        if added:
            machine.standing.built_empty = False
        machine.pool_due = machine.pool_due or bool(messages)

    # ---- facts ----------------------------------------------------------------------------------

    def _take_facts(self, event: FactsReceived, out: list[Effect]) -> None:
        for token, fact in event.facts:
            if isinstance(fact, Aggregate):
                verdict = self._judge_aggregate(fact)
            else:
                verdict = self._judge_fact(fact)
                if verdict == ACCEPT and not self._add_fact(fact, out, gossip=not token):
                    verdict = IGNORE
            if token:
                out.append(Verdict(((token, verdict, bytes(fact.id), "fact"),)))

    def _judge_aggregate(self, fact: Aggregate) -> str:
        """Passed on only with a quorum of the table that decides now."""
        if fact.chain != self.spec.id or not self.spec.kind.votes:
            return REJECT
        if fact.height != self.height:
            return IGNORE
        try:
            check_weight(fact, self.engine.machine.standing.votes.weights)
        except InvalidCertificate:
            return IGNORE
        return ACCEPT

    def _owner(self, peer: Peer, *, lately: bool) -> bool:
        """Keys are free: pools take the word of owners only (`lately`: or of the last epoch)."""
        view = self.engine.machine.tip.view
        before = view.previous if lately else None
        return peer in view.table.weights or (before is not None and peer in before.weights)

    def _judge_fact(self, fact: Fact) -> str:
        """Blame only what is wrong in itself; early, late, unknown: ignored (protocol §4)."""
        view = self.engine.machine.tip.view
        if isinstance(fact, SlotClaim | Renew):
            if fact.chain != self.spec.id:
                return REJECT
            if fact.epoch != view.epoch + 1 or view.salt_next is None:
                return IGNORE
        if isinstance(fact, SlotClaim):
            assert view.salt_next is not None, "asked above"
            try:
                claims.judge(fact, self.spec, view.salt_next)
            except InvalidFact:
                return REJECT
            return ACCEPT
        if isinstance(fact, Renew):
            return ACCEPT if self._owner(fact.peer, lately=False) else IGNORE
        signed = fact.first if isinstance(fact, Evidence) else fact
        signed = signed.vote if isinstance(signed, LateAccept) else signed
        if signed.chain != self.spec.id:
            return REJECT
        lately = not isinstance(fact, LateAccept)
        return ACCEPT if self._owner(signed.peer, lately=lately) else IGNORE

    def _add_fact(self, fact: Fact, out: list[Effect], *, gossip: bool = True) -> bool:
        """Into the pool, and on to others if it is of our own finding."""
        self.facts_pool.enter(self.spec.parameters.epoch(self.height))
        if isinstance(fact, SlotClaim):
            salt = self.engine.machine.tip.view.salt_next
            assert salt is not None, "judged before"
            place = claims.judge(fact, self.spec, salt)
            added = self.facts_pool.add_claim(fact, place.slot, place.hill)
        else:
            added = self.facts_pool.add_other(fact)
        if added:
            if gossip:
                out.append(Gossip(FACTS, ((bytes(fact.id), fact.raw),)))
            out.append(Publish("facts", self.height, (fact.raw,)))
        return added

    # ---- heights --------------------------------------------------------------------------------

    def _take_committed(self) -> None:
        """What the committed block holds leaves the pools."""
        block, machine = self.committing, self.engine.machine
        if block is None:
            return
        self.committing = None
        self.messages.include(block.body.messages)
        self.messages.enter(block.height + 1)
        self.facts_pool.remove(block.body.facts)
        self.facts_pool.enter(self.spec.parameters.epoch(block.height + 1))
        machine.pool_due = bool(self.messages.messages)

    def _patience_ms(self) -> int:
        return PATIENCE_POLLS * self.spec.parameters.poll_timeout_ms

    def _took(self, block: BlockId) -> bool:
        """Whether what was handed over moved us: the block, and the certificate where one counts.

        The block alone is nothing: a liar may send it with a certificate that weighs too little.
        """
        standing = self.engine.machine.standing
        if self.spec.kind.votes:
            return standing.certificate is not None and standing.certificate.block == block
        return block in standing.candidates

    def _catch_up(self, event: Event, now: Now, out: list[Effect]) -> None:
        """Ask for what is missing; feed the engine the next certified block."""
        if isinstance(event, Committed):
            self.catchup.enter(self.height)
        ready = self.catchup.kept.pop(self.height, None)
        if ready is not None and not self.engine.machine.halted:
            self._hand_over(ready, now, out)
        patience = self._patience_ms()
        best = self.catchup.behind(self.height, patience, now)
        here = self.engine.holds_decided
        for peer, height in self.catchup.wanted(self.height + here, best, now):
            ask = self.engine.machine.next_ask()
            out.append(self.catchup.open(ask, peer, height, now))
        for peer in self.catchup.tips_wanted(now):
            out.append(self.catchup.open_tip(self.engine.machine.next_ask(), peer, now))

    def _hand_over(self, ready: Fetched, now: Now, out: list[Effect]) -> None:
        """A certified block of the height that is decided, judged by its table."""
        assert ready.block is not None, "kept with its block"
        self._hold(ready.block, ready)
        out += self.engine.handle(ready, now)
        for effect in out:
            if type(effect) is Commit:
                self.committing = effect.block
        if self._took(ready.block.id):
            self.catchup.record_used(ready.peer)
        else:
            self.catchup.record_refused(ready.peer, ready.block.height, now)


_CAUSES = {
    "WrongChain": "the message names another chain",
    "Expired": "its last height has passed",
    "ExpiresTooLate": "its last height is further away than the chain allows",
    "PoolFull": "the pool of this node is full",
    "SenderFull": "too many messages of this sender wait",
    "AfterUnknown": "too many messages of this sender wait for messages that are not known here",
}


def _order(vote: Vote) -> tuple[int, int, bool]:
    """As a peer says its votes, one after the other."""
    return vote.height, vote.round, vote.phase == ACCEPT_KIND
