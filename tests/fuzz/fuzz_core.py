"""`NodeCore.handle` under sequences of events drawn from bytes: one byte, one choice.

What must hold: nothing is raised; effects have the form that peers and the signer take; the sign
record only grows, and no place is signed twice with other bytes, across crashes too; a core that
was written and read goes on like the one that was not.
"""

from collections.abc import Callable, Iterable
from random import Random

from consensus import wire
from consensus.block import Block
from consensus.certificates import Certificate, Vote, append_signature
from consensus.dice import Dice
from consensus.effects import (
    Ask,
    Build,
    Commit,
    Effect,
    Execute,
    Gossip,
    Halt,
    Persist,
    Remember,
    Reply,
    Reveal,
    Sign,
    Verdict,
    WakeAt,
)
from consensus.errors import InvalidBlock
from consensus.events import (
    BlockBuilt,
    BlockExecuted,
    Committed,
    Event,
    ExecutionFaulted,
    Persisted,
    Revealed,
    Signed,
    Woke,
)
from consensus.ids import Now
from consensus.kinds import KINDS, SNOWBALL
from consensus.signatures import PROPOSAL, coverage
from consensus.signing import SignRecord
from consensus.standing import Tip
from node import codec, speech
from node.agents.screening import Screening, Turned
from node.catchup import PER_PEER
from node.core import NodeCore, Restored
from node.recall import place_of
from testnet.sim.checkers import bounds, sizes
from tests.consensus.builders_chain import links
from tests.consensus.builders_engine import CLOCK_MS, START_MS
from tests.consensus.builders_keys import keyed_signature
from tests.fuzz.fuzz_consensus import Trusting
from tests.fuzz.fuzz_events import PEERS, Draws, Speaker, changed, completed, extended
from tests.fuzz.fuzz_heard import KEYS, asked_of, heard_of, replied
from tests.fuzz.fuzz_target import Target

ME = PEERS[0]
STEP_MS = 100
STEPS_MS = [1, 20, 250, 250, 1000, 1000, 4000, 60_000]
PENDING_MAX = 64
HELPED = [4, 8, 24, 60]  # steps
SPEAKERS = len(PEERS) + 1
# Nobody here lets an ask run out, so those of heights decided meanwhile stay open.
BOUNDS = {**bounds(SPEAKERS), "catchup_asks": (PER_PEER + 1) * SPEAKERS}
PLAY_BURST = 5
PLAY_BYTES_MAX = 1500
PLAY_SLOW_S = 20.0
CHOICES = 16
ASKS_KEPT = 30


class Play:
    """One core, its disk, its clock; outcomes of its orders wait in `pending`."""

    def __init__(self, raw: bytes, kind: str = SNOWBALL) -> None:
        self.draws = Draws(raw)
        self.peers = Speaker(self.draws, kind)
        self.ms, self.wake_ms = START_MS, START_MS
        self.record: bytes | None = None
        self.saved: dict[bytes, Block] = {}
        self.tip_certificate: Certificate | None = None
        self.pending: list[Event] = []
        self.signed: dict[tuple[int, int, int], bytes] = {}
        self.newest = (0, 0, -1)
        self.crash_at: int | None = None  # that many effects of the next event are performed
        self.core = self.start()

    @property
    def now(self) -> Now:
        return Now(self.ms, CLOCK_MS + self.ms - START_MS)

    def start(self) -> NodeCore:
        """From what is durable."""
        self.pending, self.crash_at = [], None
        self.asks: list[Ask] = []
        self.twin: NodeCore | None = None
        self.last: Event = Woke()
        self.taken: list[tuple[Event, Now, bytes]] = []
        self.started = self.now
        record = None if self.record is None else SignRecord.decode(self.record)
        chain = self.peers.chain
        saved = [block for block in self.saved.values() if block.height > chain.height]
        tip = Tip(chain.tip, self.tip_certificate, chain.view, None)
        self.restored = Restored(tip, record, tuple(saved))
        core = self.fresh()
        self.screening = Screening(
            core,
            lambda message: True,
            lambda vote: place_of(vote) > core.engine.machine.record.place,
        )
        return core

    def fresh(self) -> NodeCore:
        spec, peer, dice = self.peers.chain.spec, ME, Dice(bytes(32))
        return NodeCore(spec, peer=peer, dice=dice, restored=self.restored, now=self.started)

    def run(self) -> None:
        while self.draws.left:
            self.step()
        self.replay()

    def restart(self) -> None:
        self.replay()
        self.core = self.start()
        self.take(Woke())

    def replay(self) -> None:
        """The same events to another core make the same effects."""
        other = self.fresh()
        for event, now, effects in self.taken:
            assert codec.to_bytes(other.handle(event, now)) == effects, "replay differs"

    def step(self) -> None:
        choice = self.draws.below(CHOICES)
        if choice < 3 and self.pending:
            self.take(self.pending.pop(0))
        elif choice == 3 and self.pending:
            self.take(self.pending.pop(self.draws.below(len(self.pending))))
        elif choice in (3, 4):
            self.help()
        elif choice == 5:
            self.ms += self.draws.of(STEPS_MS)
            self.take(Woke())
        elif choice == 6:
            self.take(self.last)
        elif choice == 7:
            self.trouble()
        elif choice in (8, 9) and self.asks:
            self.take(self.peers.reply(self.asks.pop(0)))
        elif choice == 10:
            self.query()
        elif choice == 11:
            self.hear()
        else:
            self.take(self.peers.event())

    def help(self) -> None:
        """What would bring this core on, for a few steps: random words alone seldom decide."""
        for _ in range(self.draws.of(HELPED)):
            if self.pending:
                self.take(self.pending.pop(0))
                continue
            events = self.peers.help(self.core.engine.machine.standing, self.asks)
            self.asks = []
            for event in events:
                self.take(event)
            if not events:
                self.ms += STEP_MS
                self.take(Woke())

    def trouble(self) -> None:
        which = self.draws.below(12)
        if which == 1:
            self.restart()
        elif which in (2, 3):
            self.crash_at = self.draws.below(4)
        elif which in (4, 5):
            snapshot = self.core.snapshot()
            self.twin = NodeCore.restore(snapshot)
            assert self.twin.snapshot() == snapshot

    def hear(self) -> None:
        """Bytes of a peer, spoiled and perhaps signed again, as the gossip agent takes them."""
        heard = heard_of(self.draws, self.peers)
        if heard is None:
            return
        look = self.screening.look(heard)
        if isinstance(look, Turned):
            return
        if self.draws.below(3) and not all(KEYS.verify(*check) for check in look.signed):
            return
        self.screening.count(look)
        self.take(look.event)

    def query(self) -> None:
        """A query of a peer, or its answer to one of ours, from bytes."""
        if self.asks and self.draws.below(3):
            for event in replied(self.draws, self.peers, self.asks.pop(0), KEYS):
                self.take(event)
            return
        asked = asked_of(self.draws, self.peers, self.screening)
        if asked is not None:
            self.take(asked)

    def take(self, event: Event) -> None:
        """One event, and the same to the core that was read from a snapshot."""
        self.last = event if not isinstance(event, Committed | Persisted | Signed) else Woke()
        effects = self.core.handle(event, self.now)
        made = codec.to_bytes(effects)
        self.taken.append((event, self.now, made))
        if self.twin is not None:
            again = self.twin.handle(event, self.now)
            assert codec.to_bytes(again) == made, "another core after a snapshot"
        self.check_bounds()
        for effect in effects[: self.crash_at]:
            self.check(effect)
            self.perform(effect)
        if self.crash_at is not None:
            self.crash_at = None
            self.restart()

    def check_bounds(self) -> None:
        held = sizes(self.core)
        over = [name for name, bound in BOUNDS.items() if held[name] > bound]
        assert not over, f"{over[0]} holds {held[over[0]]}"

    # ---- the form of effects --------------------------------------------------------------------

    def check(self, effect: Effect) -> None:
        match effect:
            case Gossip():
                for _, record in effect.items:
                    among = wire.TOPICS[effect.topic]
                    if effect.topic == "messages":
                        record = wire.Batch.encode([record])
                    wire.decode_record(record, among)
            case Ask():
                schema = speech._ASKS[effect.proto]
                schema.decode(effect.data)
                assert effect.deadline_ms > self.ms
                self.asks = [*self.asks[-ASKS_KEPT:], effect]
            case Reply():
                speech.read_reply("poll/1", effect.data, 1, ME, Trusting())
            case Verdict():
                assert all(each[1] in ("accept", "ignore", "reject") for each in effect.items)
            case Sign():
                self.check_sign(effect)
            case Remember():
                self.check_record(effect.record)
            case WakeAt():
                self.wake_ms = effect.monotonic_ms
            case Halt():
                self.draws.stop()
            case _:
                codec.to_bytes(effect)

    def check_sign(self, effect: Sign) -> None:
        place = (effect.height, effect.round, effect.phase)
        self.check_record(effect.record)
        if place in self.signed:  # stored bytes may be asked for again, and are the same
            assert self.signed[place] == effect.unsigned, f"two values at {place}"
            return
        assert place > self.newest, f"signs {place} after {self.newest}"
        self.signed[place], self.newest = effect.unsigned, place
        if effect.kind != PROPOSAL:
            vote = Vote.decode(append_signature(effect.unsigned, bytes(64)))
            assert (vote.phase, vote.height, vote.round) == (effect.kind, *place[:2])
            assert vote.peer == ME

    def check_record(self, raw: bytes) -> None:
        record = SignRecord.decode(raw)
        assert record.raw == raw
        if self.record is not None:
            assert record.place >= SignRecord.decode(self.record).place, "the record goes back"
        self.record = raw

    # ---- what a host does -----------------------------------------------------------------------

    def perform(self, effect: Effect) -> None:
        outcome = self.outcome(effect)
        if outcome is not None and len(self.pending) < PENDING_MAX:
            self.pending.append(outcome)

    def outcome(self, effect: Effect) -> Event | None:
        chain = self.peers.chain
        match effect:
            case Sign():
                covered = coverage(effect.kind, chain.spec.id, effect.unsigned)
                signature = keyed_signature(ME, covered)
                return Signed(effect.kind, effect.height, effect.round, effect.unsigned, signature)
            case Persist():
                self.saved[effect.block.id] = effect.block
                return Persisted(effect.block.id)
            case Execute():
                return self.executed(effect.block)
            case Build():
                return self.built(effect)
            case Reveal():
                made = links(chain.spec.seed, chain.parameters, ME, effect.epoch)
                return Revealed(effect.epoch, effect.number, made[effect.number])
            case Commit():
                return self.committed(effect)
            case _:
                return None

    def executed(self, block: Block) -> Event:
        if self.draws.below(12) == 1:
            return ExecutionFaulted(block.id, "a fault of this host")
        try:
            view = extended(self.peers.chain, block, None).view
        except InvalidBlock as error:
            return BlockExecuted(block.id, None, None, error.rule)
        return BlockExecuted(block.id, view, self.draws.of([None, None, 0]), "")

    def built(self, order: Build) -> Event:
        chain = self.peers.chain
        empty = not order.messages and order.round == 0
        if empty or self.draws.below(6) == 1 or order.parent != chain.tip.id:
            return BlockBuilt(order.height, order.round, None, None, None, ())
        if order.parent_certificate:
            chain.certificates[-1] = Certificate.decode(order.parent_certificate)
        plain = chain.block(rank=order.rank, round=order.round, time_ms=order.time_ms, messages=0)
        block = completed(chain, changed(plain, messages=[each.id for each in order.messages]))
        view = extended(chain, block, None).view
        return BlockBuilt(order.height, order.round, block, view, None, ())

    def committed(self, effect: Commit) -> Event:
        """What is certified here is valid: quorums of these peers are of their own making."""
        chain = self.peers.chain
        assert effect.block.height == chain.height + 1
        assert (effect.certificate is not None) == chain.spec.kind.votes
        self.peers.chain = extended(chain, effect.block, effect.certificate)
        self.tip_certificate, self.peers.blocks = effect.certificate, []
        self.peers.favourite = None
        return Committed(effect.block.height, effect.block.id)


def play(kind: str) -> Callable[[bytes], None]:
    return lambda raw: Play(raw, kind).run()


def plays(seed: int) -> Callable[[], Iterable[bytes]]:
    def drawn() -> Iterable[bytes]:
        random = Random(seed)
        for size in (40, 120):
            yield random.randbytes(size)

    return drawn


def core(kind: str, seed: int) -> Target:
    return Target(
        f"core_{kind}",
        play(kind),
        (),
        plays(seed),
        slow_s=PLAY_SLOW_S,
        burst=PLAY_BURST,
        fresh=lambda random: random.randbytes(random.randint(40, PLAY_BYTES_MAX)),
    )


TARGETS = [core(kind, number) for number, kind in enumerate(KINDS)]
