"""One simulated node: performs the effects of a real NodeCore on simulated disk and network.

The disk is a dictionary that survives a crash; what was not durable at the crash is lost. Knows
neither seeds nor checks: `cluster` makes and judges.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple, Protocol

from consensus import claims, proposers
from consensus.block import Block
from consensus.certificates import Certificate, append_signature
from consensus.dice import Dice
from consensus.effects import (
    Ask,
    Blame,
    Build,
    Commit,
    Effect,
    Execute,
    Gossip,
    Halt,
    Persist,
    Publish,
    Refused,
    Remember,
    Reply,
    Reveal,
    Sign,
    Verdict,
    WakeAt,
)
from consensus.errors import ConsensusError
from consensus.events import (
    AskFailed,
    CertificateReceived,
    Committed,
    Event,
    FactsReceived,
    Persisted,
    Revealed,
    Signed,
    Woke,
)
from consensus.facts import Fact, Renew, SlotClaim, claim_unsigned, renew_unsigned
from consensus.ids import BlockId, Hash, MessageId, Now, Peer, Signature
from consensus.messages import Message
from consensus.signatures import CLAIM, RENEW, coverage
from consensus.signing import SignRecord
from consensus.spec import ChainSpec
from consensus.standing import Tip
from consensus.state import MemoryState
from node.core import NodeCore, Restored
from node.execution.genesis import genesis
from node.execution.line import Line
from node.execution.ports import Outcome, Parent
from node.execution.window import Window
from node.speech import Held, answer, asked, batches, certificate_checks, hear, read_reply
from testnet.sim.simulator import Simulator

DISK_MS = 2  # one durable write
EXECUTE_MS = 3  # one block


class KeyedHash:
    """Signatures of the simulation: H(secret of the key, bytes), so forging needs the secret."""

    def __init__(self) -> None:
        self.secrets: dict[bytes, bytes] = {}

    def new(self, name: str) -> Peer:
        secret = sha256(name.encode()).digest()
        key = Peer(sha256(b"public" + secret).digest())
        self.secrets[key] = secret
        return key

    def sign(self, key: bytes, signed: bytes) -> Signature:
        half = sha256(self.secrets[key] + signed).digest()
        return Signature(half + sha256(half).digest())

    def verify(self, key: bytes, signed: bytes, signature: bytes) -> bool:
        return key in self.secrets and self.sign(key, signed) == signature


class Wires(Protocol):
    """How hosts reach each other: the simulated network."""

    def gossip(self, source: Peer, topic: str, record: bytes) -> None: ...

    def ask(self, source: Peer, target: Peer, ask: Ask, done: Callable[[bytes], None]) -> None: ...


@dataclass(slots=True)
class Disk:
    """What survives a crash. Tests plant faults of the sign record in its two verbs."""

    record: bytes | None = None
    chain: list[tuple[Block, Certificate, tuple[Message, ...]]] = field(default_factory=list)
    candidates: dict[BlockId, tuple[Block, tuple[Message, ...]]] = field(default_factory=dict)

    def write_record(self, record: bytes) -> None:
        """Durable when it returns."""
        self.record = record

    def read_record(self) -> bytes | None:
        return self.record


class Recorded(NamedTuple):
    """One step of a core, for replay."""

    now: Now
    event: Event
    effects: list[Effect]


class Host:
    """A node under the simulator; `crash` and `start` any time."""

    def __init__(
        self,
        spec: ChainSpec,
        peer: Peer,
        *,
        simulator: Simulator,
        keys: KeyedHash,
        wires: Wires,
        dice: Dice,
        hill_nonces: int = 0,
    ) -> None:
        self.hill_nonces, self.hill_epoch = hill_nonces, 0  # tries an epoch; the last one mined for
        self.spec, self.peer, self.keys, self.wires = spec, peer, keys, wires
        self.simulator, self.dice = simulator, dice
        self.disk = Disk()
        self.skew_ms = 0  # of its wall clock
        self.life = 0  # grows with each start and crash: what was under way then is void
        self.up = False
        self.paused = False
        self.waiting: list[Event] = []
        self.core: NodeCore | None = None
        self.line: Line | None = None
        self.wake_ms: int | None = None
        self.halted: str = ""
        self.blames: list[tuple[Peer, str]] = []
        self.refused: list[tuple[MessageId, str]] = []
        self.queries: dict[int, Callable[[bytes], None]] = {}
        self.asked = 0
        self.records: list[Recorded] | None = None  # filled when a test asks
        self.on_effect: Callable[[Host, Effect], None] = lambda host, effect: None
        self.on_performed: Callable[[Host, Effect], None] = lambda host, effect: None
        self.on_start: Callable[[Host], None] = lambda host: None

    # ---- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """From what the disk holds: replay the blocks, then a fresh core on their tip."""
        self.life += 1
        self.up, self.paused, self.waiting = True, False, []
        outcome = genesis(self.spec)
        tip = Tip(outcome.header, None, outcome.view, outcome.due_ms)
        self.line = Line(self.spec, _parent(outcome))
        for block, certificate, messages in self.disk.chain:
            event = self.line.execute(block, messages)
            assert event.view is not None, "what was committed stays valid"
            self.line.advance(block.id)
            tip = Tip(block.header, certificate, event.view, event.due_ms)
        raw = self.disk.read_record()
        record = SignRecord.decode(raw) if raw else None
        saved = [
            held for held in self.disk.candidates.values() if held[0].height > len(self.disk.chain)
        ]
        bodies = tuple([message for _, messages in saved for message in messages])
        restored = Restored(tip, record, tuple([block for block, _ in saved]), bodies)
        self.core = NodeCore(
            self.spec,
            peer=self.peer,
            dice=self.dice.child(f"life {self.life}"),
            restored=restored,
            now=self.simulator.now(self.skew_ms),
        )
        self.on_start(self)
        self.take(Woke())

    def crash(self) -> None:
        """kill -9: everything but the disk is gone."""
        self.life += 1
        self.up = False
        self.core = self.line = None
        self.queries = {}

    def resume(self) -> None:
        """SIGCONT: what queued up meanwhile is taken in."""
        self.paused = False
        events, self.waiting = self.waiting, []
        for event in events:
            self.take(event)

    def take(self, event: Event) -> None:
        """One event into the core, its effects performed in order."""
        if not self.up or self.core is None:
            return
        if self.paused:
            self.waiting.append(event)
            return
        life, now = self.life, self.simulator.now(self.skew_ms)
        effects = self.core.handle(event, now)
        if self.records is not None:
            self.records.append(Recorded(now, event, effects))
        for effect in effects:
            self.on_effect(self, effect)
            if self.life != life:
                return  # crashed in the middle: the rest never happened
            self._perform(effect)
            self.on_performed(self, effect)
            if self.life != life:
                return
        if type(event) is Committed and self.hill_nonces:
            self._climb()

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """In this life only."""
        life = self.life
        self.simulator.after(delay_ms, lambda: action() if self.life == life else None)

    # ---- effects --------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:  # one line an effect
        match effect:
            case Gossip():
                for _, record in effect.items:
                    self.wires.gossip(self.peer, effect.topic, record)
            case Ask():
                self._ask(effect)
            case Reply():
                reply = self.queries.pop(effect.query, None)
                if reply is not None:
                    reply(effect.data)
            case Sign():
                self._sign(effect)
            case Persist():
                self.disk.candidates[effect.block.id] = (effect.block, effect.messages)
                self.later(DISK_MS, lambda: self.take(Persisted(effect.block.id)))
            case Remember():
                self.disk.write_record(effect.record)
            case Execute():
                self.later(EXECUTE_MS, lambda: self._execute(effect))
            case Build():
                self.later(EXECUTE_MS, lambda: self._build(effect))
            case Commit():
                self._commit(effect)
            case Reveal():
                seed = proposers.hash_chain_seed(
                    self.keys.secrets[self.peer], self.spec.seed, effect.epoch
                )
                link = hash_link(self.spec, self.peer, seed, effect.number)
                event = Revealed(effect.epoch, effect.number, link)
                self.later(0, lambda: self.take(event))
            case WakeAt():
                self._wake_at(effect.monotonic_ms)
            case Blame():
                self.blames.append((effect.peer, effect.cause))
            case Refused():
                self.refused.append((effect.message, effect.code))
            case Halt():
                self.halted = effect.cause
            case Verdict():
                self.blames += [(Peer(b""), c) for _, v, _, c in effect.items if v == "reject"]
            case Publish():
                pass

    def _wake_at(self, monotonic_ms: int) -> None:
        self.wake_ms = monotonic_ms
        delay = monotonic_ms - self.simulator.now().monotonic_ms

        def wake() -> None:
            if self.wake_ms == monotonic_ms:
                self.take(Woke())

        self.later(delay, wake)

    def _sign(self, effect: Sign) -> None:
        """The record is durable now, the signature comes a moment later."""
        self.disk.write_record(effect.record)
        signature = self.keys.sign(self.peer, coverage(effect.kind, self.spec.id, effect.unsigned))
        event = Signed(effect.kind, effect.height, effect.round, effect.unsigned, signature)
        self.later(DISK_MS, lambda: self.take(event))

    def _execute(self, effect: Execute) -> None:
        assert self.line is not None
        self.take(self.line.execute(effect.block, effect.messages))

    def _build(self, effect: Build) -> None:
        assert self.line is not None
        self.take(self.line.build(effect))

    def _commit(self, effect: Commit) -> None:
        assert self.line is not None
        block = effect.block
        assert block.height == len(self.disk.chain) + 1, "heights are committed in order"
        self.disk.chain.append((block, effect.certificate, effect.messages))
        self.disk.candidates.clear()
        self.line.advance(block.id)
        self.later(DISK_MS, lambda: self.take(Committed(block.height, block.id)))

    # ---- the hill -------------------------------------------------------------------------------

    def _climb(self) -> None:
        """Once an epoch, while claims are open: renew, and mine a bounded number of nonces (§4)."""
        assert self.core is not None
        view = self.core.engine.machine.tip.view
        if view.salt_next is None or view.epoch < self.hill_epoch:
            return
        self.hill_epoch = coming = view.epoch + 1
        seed = proposers.hash_chain_seed(self.keys.secrets[self.peer], self.spec.seed, coming)
        commitment = hash_link(self.spec, self.peer, seed, 0)
        facts: list[Fact] = []
        if self.peer in view.table.weights:
            unsigned = renew_unsigned(
                chain=self.spec.id, epoch=coming, peer=self.peer, commitment=commitment
            )
            facts.append(Renew.decode(self._signed(RENEW, unsigned)))
        for found in claims.mine(
            self.spec,
            salt=view.salt_next,
            peer=self.peer,
            commitment=commitment,
            nonce_prefix=bytes(claims.NONCE_PREFIX_BYTES),
            start=0,
            count=self.hill_nonces,
        ):
            unsigned = claim_unsigned(
                chain=self.spec.id,
                epoch=coming,
                peer=self.peer,
                nonce=found.nonce,
                commitment=commitment,
            )
            facts.append(SlotClaim.decode(self._signed(CLAIM, unsigned)))
        self.take(FactsReceived(tuple([(0, fact) for fact in facts])))

    def _signed(self, kind: str, unsigned: bytes) -> bytes:
        covered = coverage(kind, self.spec.id, unsigned)
        return append_signature(unsigned, self.keys.sign(self.peer, covered))

    # ---- network --------------------------------------------------------------------------------

    def _ask(self, effect: Ask) -> None:
        answered = [False]

        def done(raw: bytes) -> None:
            if answered[0]:
                return
            answered[0] = True
            try:
                events = read_reply(effect.proto, raw, effect.ask, effect.peer, self.keys)
            except ConsensusError as error:
                self.blames.append((effect.peer, str(error)))
                events = [AskFailed(effect.ask, effect.peer)]
            for event in events:
                self.take(event)

        def fail() -> None:
            if not answered[0]:
                answered[0] = True
                self.take(AskFailed(effect.ask, effect.peer))

        life = self.life
        self.wires.ask(
            self.peer, effect.peer, effect, lambda raw: done(raw) if self.life == life else None
        )
        self.later(effect.deadline_ms - self.simulator.now().monotonic_ms, fail)

    def hear(self, topic: str, record: bytes, source: Peer) -> None:
        """Gossip arrives: bounded, decoded, signatures judged."""
        data = record if topic != "messages" else batches([record])[0]
        try:
            heard = hear(topic, data, 1, source)
        except ConsensusError as error:
            self.blames.append((source, str(error)))
            return
        if all(self.keys.verify(*check) for check in heard.signed):
            self.take(heard.event)
        else:
            self.blames.append((source, "signature"))

    def serve(self, proto: str, data: bytes, source: Peer, reply: Callable[[bytes], None]) -> None:
        """A query arrives."""
        if not self.up or self.paused or self.core is None:
            return
        try:
            if proto in ("poll/1", "cert/1"):
                self.asked += 1
                event = asked(proto, data, self.asked, source, self.spec.id)
                if isinstance(event, CertificateReceived):
                    if not all(self.keys.verify(*c) for c in certificate_checks(event.certificate)):
                        return
                else:
                    self.queries[self.asked] = reply
                self.take(event)
            else:
                reply(answer(self, proto, data))
        except ConsensusError as error:
            self.blames.append((source, str(error)))

    # ---- node.speech.Library --------------------------------------------------------------------

    def tip(self) -> int:
        return len(self.disk.chain)

    def certified(self, height: int) -> Held | None:
        if not 1 <= height <= len(self.disk.chain):
            return None
        block, certificate, _ = self.disk.chain[height - 1]
        return Held(block, certificate.raw, None)

    def candidate(self, block: BlockId) -> Held | None:
        assert self.core is not None
        candidate = self.core.engine.machine.standing.candidates.get(block)
        if candidate is None:
            return None
        proposal = candidate.proposal
        proposer = None if proposal is None else (proposal.peer, proposal.signature)
        return Held(candidate.block, b"", proposer)

    def bodies(self, ids: Sequence[MessageId]) -> list[bytes]:
        assert self.core is not None
        found, missing = self.core.lookup(ids)
        raws = [message.raw for message in found]
        if missing:
            wanted = dict.fromkeys(missing)
            for _, _, messages in reversed(self.disk.chain):
                raws += [message.raw for message in messages if message.id in wanted]
        return raws


def hash_link(spec: ChainSpec, peer: Peer, seed: bytes, number: int) -> Hash:
    """Link `number` of a peer's hash chain (protocol §5)."""
    return Hash(
        proposers.hash_chain(seed, spec.seed, peer, spec.parameters.epoch_blocks + 1)[number]
    )


def _parent(outcome: Outcome) -> Parent:
    state = MemoryState({k: v for k, v in outcome.changes.items() if v is not None})
    return Parent(outcome.header, state, outcome.map, outcome.view, Window.load(state))
