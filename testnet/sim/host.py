"""One simulated node: performs the effects of a real NodeCore on simulated disk, executor, network.

Stands and falls as the real node does: from chain data and sign record on its disk, durable before
visible, one writer, one executor. Knows neither seeds nor checks: `cluster` makes and judges.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from consensus.block import Block, Body, Header
from consensus.certificates import Certificate
from consensus.dice import Dice
from consensus.effects import Ask, Effect, Remember, Sign
from consensus.events import Committed, Event, Woke
from consensus.ids import MessageId, Now, Peer
from consensus.leaves import view
from consensus.messages import Message
from consensus.signing import SignRecord
from consensus.spec import ChainSpec
from consensus.standing import Tip
from consensus.state import Pair
from consensus.statemap import StateMap
from node.core import NodeCore, Restored
from node.errors import NodeError, SignRecordOld
from node.execution import inbox
from node.execution.genesis import Snapshot, genesis
from node.execution.line import Line
from node.execution.ports import Parent
from node.execution.window import Window
from node.hold import Hold
from node.recall import Recall
from node.store.chain import ChainData
from testnet.sim.disk import Disk
from testnet.sim.ears import Ears
from testnet.sim.hands import REPORTS_MAX, Hands
from testnet.sim.hill import Hill
from testnet.sim.keys import KeyedHash, SimSigner
from testnet.sim.scenario import Machines
from testnet.sim.simulator import Chance, Simulator
from testnet.sim.talk import TWIN, Talk

DISK_MS: Final = Machines().disk_ms
FORGOTTEN: Final = (TWIN, SignRecordOld.code)  # ends of a node that signed what it does not know
WAITING_MAX: Final = 16_384  # what arrives at a paused node; the rest is lost


class Wires(Protocol):
    """How hosts reach each other: the simulated network."""

    def gossip(self, source: Peer, topic: str, record: bytes) -> None: ...

    def ask(self, source: Peer, target: Peer, ask: Ask, done: Callable[[bytes], None]) -> None: ...


class Recorded(NamedTuple):
    """One step of a core, for replay."""

    now: Now
    event: Event
    effects: list[Effect]


class TipState:
    """The committed state: reads from the map in memory, scans from the store, in key order."""

    __slots__ = ("_chain", "_line")

    def __init__(self, chain: ChainData, line: Callable[[], Line]) -> None:
        self._chain, self._line = chain, line

    def get(self, key: bytes) -> bytes | None:
        return self._line().tip.map.get(key)

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = 1024) -> list[Pair]:
        return self._chain.state.scan(prefix, after, limit)


@dataclass(slots=True, kw_only=True)
class World:
    """What hosts share: time, keys, ears, chance of their disks."""

    spec: ChainSpec
    simulator: Simulator
    keys: KeyedHash
    ears: Ears
    chance: Chance
    snapshot: Snapshot | None = None  # the state that the chain continues, if it does


class Host:
    """A node under the simulator; `crash` and `start` any time."""

    def __init__(
        self, world: World, peer: Peer, *, wires: Wires, dice: Dice, machines: Machines
    ) -> None:
        self.world, self.peer, self.wires, self.dice = world, peer, wires, dice
        self.spec, self.keys, self.simulator = world.spec, world.keys, world.simulator
        self.disk = Disk()
        self.disk_ms, self.execute_ms = machines.disk_ms, machines.execute_ms
        self.message_us = machines.execute_us_per_message
        self.skew_ms, self.drift_per_s, self.drift_from_ms = 0, 0, 0
        self.hill = Hill(world.spec, peer, machines.hill_nonces)
        self.signer_class: type[SimSigner] = SimSigner
        self.faulting: Callable[[Sequence[Message]], bool] = lambda messages: False
        self.careful = True  # holds by node.hold and node.recall
        self.life = 0  # grows with each start and crash: what was under way then is void
        self.up = self.paused = False
        self.stopped = ""  # why it stopped by itself: the code of an error, or TWIN
        self.halted = ""
        self.waiting: list[Callable[[], None]] = []
        self.core: NodeCore | None = None
        self.line: Line | None = None
        self.wake_ms: int | None = None
        self.blames: list[tuple[Peer, str]] = []
        self.refused: list[tuple[MessageId, str]] = []
        self.sign_refused = 0
        self.polls = 0  # applied by Snowballs that are over
        self._ball: object = None
        self.records: list[Recorded] | None = None  # filled when a test asks
        self.on_effect: Callable[[Host, Effect], None] = lambda host, effect: None
        self.on_performed: Callable[[Host, Effect], None] = lambda host, effect: None
        self.on_event: Callable[[Host, Event, list[Effect]], None] | None = None
        self.on_start: Callable[[Host], None] = lambda host: None
        self.on_stop: Callable[[Host, str], None] = lambda host, why: None

    # ---- life -----------------------------------------------------------------------------------

    def start(self) -> bool:
        """From what the disk holds, as the real node does; False when it refuses to."""
        self.life += 1
        self.up, self.paused, self.waiting, self.stopped = True, False, [], ""
        self.wake_ms, self._ball = None, None
        try:
            self._open()
        except NodeError as error:
            self.stop(error.code)
            return False
        self.on_start(self)
        self.take(Woke())
        return True

    def _open(self) -> None:
        """node.validator: store, sign record, line on the certified tip, core. Raises NodeError."""
        self.disk.store.open()
        chain = self.chain = ChainData(self.disk.store, chain=self.spec.id, spec=self.spec.raw)
        if chain.height < 0:
            self._commit_genesis()
        self.signer = self.signer_class(self.spec, self.peer, self.keys, self.disk.signs)
        self._read_chain()
        self.recall = Recall(self.peer, lambda: self.signer.position, where="sign.db")
        if self.careful:
            self.recall.check_stored(chain)
        stored = chain.tip()
        assert stored is not None, "genesis is committed"
        header = Header.decode(stored.header)
        tree = StateMap.of(chain.state.items())
        assert tree.root == header.fields.state_root, "the stored state has the certified root"
        seen = view(self.spec, chain.state, stored.height)
        window = Window.load(chain.state)
        line = Line(self.spec, Parent(header, chain.state, tree, seen, window))
        self.state = TipState(chain, lambda: line)
        line.tip = Parent(header, self.state, tree, seen, window)
        self.line = line
        certificate = self.disk.chain[-1][1] if self.disk.chain else None
        tip = Tip(header, certificate, seen, inbox.next_due_ms(chain.state))
        self._make_core(tip)

    def _make_core(self, tip: Tip) -> None:
        raw = self.signer.record
        found = [
            Block(Header.decode(held.header), Body.decode(held.body))
            for held in self.chain.candidates()
        ]
        ids = [message for block in found for message in block.body.messages]
        bodies = [Message.decode(raw) for raw in self.chain.messages(ids) if raw is not None]
        record = SignRecord.decode(raw) if raw else None
        self.core = NodeCore(
            self.spec,
            peer=self.peer,
            dice=self.dice.child(f"life {self.life}"),
            restored=Restored(tip, record, tuple(found), tuple(bodies)),
            now=self.now(),
        )
        self.hold = Hold(self.core, is_open=not self.careful)
        self.hands, self.talk = Hands(self), Talk(self)

    def _commit_genesis(self) -> None:
        outcome = genesis(self.spec, self.world.snapshot)
        self.chain.commit_genesis(outcome.header.raw, outcome.changes, outcome.receipts)

    def _read_chain(self) -> None:
        """A height that became durable while the node died is read back from the store."""
        del self.disk.chain[self.chain.height :]
        for height in range(len(self.disk.chain) + 1, self.chain.height + 1):
            stored = self.chain.block(height)
            assert stored is not None, "heights are stored without a gap"
            block = Block(Header.decode(stored.header), Body.decode(stored.body))
            raws = self.chain.messages(block.body.messages)
            messages = [Message.decode(raw) for raw in raws if raw is not None]
            raw = stored.certificate
            certificate = Certificate.decode(raw) if raw else None
            self.disk.add(block, certificate, tuple(messages))

    def crash(self) -> None:
        """kill -9: everything but the disk is gone; what was being written may be there or not."""
        if self.up and self.core is not None:
            self.hands.tear()
        self.life += 1
        self.up = False
        self._count_polls(None)
        self.core = self.line = None

    def stop(self, why: str) -> None:
        """The process ends by itself: the code of an error, or TWIN."""
        self.crash()
        self.stopped = why
        self.on_stop(self, why)

    def resume(self) -> None:
        """SIGCONT: what queued up meanwhile is taken in."""
        self.paused = False
        arrivals, self.waiting = self.waiting, []
        for arrival in arrivals:
            arrival()

    def now(self) -> Now:
        """The two clocks of this node."""
        elapsed = self.simulator.now_ms - self.drift_from_ms
        now = self.simulator.now(self.skew_ms)
        if not self.drift_per_s:
            return now
        return Now(now.monotonic_ms, now.clock_ms + self.drift_per_s * elapsed // 1000)

    def take(self, event: Event) -> None:
        """One event into the core, its effects performed in order."""
        core = self.core
        if not self.up or core is None:
            return
        if self.paused:
            self._wait(lambda: self.take(event))
            return
        now = self.now()
        self.hold.hear(event)
        effects = core.handle(event, now)
        if self.records is not None:
            self.records.append(Recorded(now, event, effects))
        if self.on_event is not None:
            self.on_event(self, event, effects)
        ball = core.engine.machine.standing.snowball
        if ball is not self._ball:
            self._count_polls(ball)
        for effect in effects:
            if isinstance(effect, Sign | Remember) and self.hold.keeps(effect):
                continue
            if not self._perform(effect):
                return
        for effect in self.hold.freed():
            if not self._perform(effect):
                return
        if type(event) is Committed and self.hill.nonces:
            self.hill.climb(core.engine.machine.tip.view, self.signer, self.take)

    def _perform(self, effect: Effect) -> bool:
        """False when it crashed meanwhile: the rest never happened."""
        life = self.life
        self.on_effect(self, effect)
        if self.life == life:
            self.hands.perform(effect)
        return self.life == life

    def _wait(self, arrival: Callable[[], None]) -> None:
        if len(self.waiting) < WAITING_MAX:
            self.waiting.append(arrival)

    def _count_polls(self, ball: object) -> None:
        self.polls += getattr(self._ball, "polls", 0)
        self._ball = ball

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """In this life only."""
        life = self.life
        self.simulator.after(delay_ms, lambda: action() if self.life == life else None)

    def report_blame(self, peer: Peer, cause: str) -> None:
        """What this node holds against a peer; without peer where the network knows whom."""
        self.blames.append((peer, cause))
        del self.blames[:-REPORTS_MAX]

    # ---- network --------------------------------------------------------------------------------

    def hear(self, topic: str, record: bytes, source: Peer) -> str:
        """Gossip arrives over a link; the verdict: accept | ignore | reject."""
        if not self.up:
            return "ignore"
        if self.paused:
            self._wait(lambda: self._hear(topic, record, source))
            return "ignore"
        return self.talk.hear(topic, record, source)

    def _hear(self, topic: str, record: bytes, source: Peer) -> None:
        self.hear(topic, record, source)

    def serve(self, proto: str, data: bytes, source: Peer, reply: Callable[[bytes], None]) -> None:
        """A query arrives. A paused node answers nobody: the asker's deadline passes."""
        if self.up and not self.paused:
            self.talk.serve(proto, data, source, reply)
