"""One engine on a table, moved by hand: time, peers, execution and disk are the test's.

Blocks come from `MiniChain`; nothing executes: a test says what an execution gave. What the engine
orders is kept in `out`; the durable and the executed come back at once unless they are held.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from consensus.block import Block, Proposal, proposal_coverage
from consensus.certificates import Aggregate, Certificate, Vote, append_signature
from consensus.dice import Dice
from consensus.effects import Ask, Build, Commit, Effect, Execute, Gossip, Persist, Reveal, Sign
from consensus.engine import Engine
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
    Persisted,
    ProposalReceived,
    Revealed,
    Signed,
    VotesReceived,
    Woke,
)
from consensus.ids import BlockId, Height, MessageId, Now, Peer
from consensus.leaves import View
from consensus.messages import Message
from consensus.signatures import ACCEPT, CONFIRM, coverage
from consensus.signing import SignRecord
from consensus.standing import Machine, Standing, Tip
from tests.consensus.builders_chain import MiniChain, links, make_spec, small
from tests.consensus.builders_keys import keyed_signature, peer_key

START_MS = 50_000
CLOCK_MS = 2_000_000  # after every block that a test makes
WINDOW, SETTLE, VOTE, POLL_MS = 1000, 3000, 1000, 250  # of round 0, `Parameters.local`
PEERS = tuple(peer_key(number) for number in range(4))


class EmptyPool:
    """Holds nothing and misses nothing; `missing` bodies on demand."""

    def __init__(self) -> None:
        self.missing: tuple[MessageId, ...] = ()

    def choose(self, height: int) -> tuple[Message, ...]:
        return ()

    def facts(self, height: int) -> tuple[bytes, ...]:
        return ()

    def lookup(self, ids: Sequence[MessageId]) -> tuple[tuple[Message, ...], tuple[MessageId, ...]]:
        return (), tuple([each for each in ids if each in self.missing])


class Desk:
    """An engine of `me`; four peers own three slots each unless `owners` says otherwise."""

    def __init__(
        self,
        me: int | None = 0,
        *,
        record: SignRecord | None = None,
        saved: Sequence[Block] = (),
        chain: MiniChain | None = None,
        owners: int = 4,
        **parameters: int,
    ) -> None:
        self.chain = chain or MiniChain(make_spec(owners, small(**parameters)))
        self.spec = self.chain.spec
        self.peers = tuple(peer_key(number) for number in range(owners))
        self.me = peer_key(99) if me is None else self.peers[me]
        self.ms = START_MS
        self.pool = EmptyPool()
        self.held: tuple[type, ...] = ()  # orders that are not performed by themselves
        self.out: list[Effect] = []
        self.all: list[Effect] = []
        self.verdicts: dict[BlockId, str] = {}  # rule that a block breaks when executed
        self.built: Block | None = None
        self.due_ms: int | None = None
        certificate = self.chain.certificates[-1]
        tip = Tip(self.chain.tip, certificate, self.chain.view, None)
        self.engine = Engine(
            self.spec,
            peer=self.me,
            dice=Dice(bytes(32)),
            tip=tip,
            record=record,
            pool=self.pool,
            now=self.now,
            saved=saved,
        )

    # ---- time and events ----------------------------------------------------------------------

    @property
    def now(self) -> Now:
        return Now(self.ms, CLOCK_MS + self.ms - START_MS)

    @property
    def machine(self) -> Machine:
        return self.engine.machine

    @property
    def standing(self) -> Standing:
        return self.engine.machine.standing

    @property
    def record(self) -> SignRecord:
        return self.engine.machine.record

    def send(self, event: Event) -> list[Effect]:
        """One event, and the outcomes of what it orders; all effects that came of it."""
        self.out = []
        waiting = [event]
        while waiting:
            effects = self.engine.handle(waiting.pop(0), self.now)
            self.out += effects
            for effect in effects:
                if not isinstance(effect, self.held):
                    waiting += self._perform(effect)
        self.all += self.out
        return self.out

    def wait(self, ms: int) -> list[Effect]:
        """Time passes; the wakes that the engine asks for come, and no others."""
        until = self.ms + ms
        gathered: list[Effect] = []
        for _ in range(10_000):
            wake = self.engine.wake_ms(self.now)
            if wake is None or wake > until:
                break
            self.ms = wake
            gathered += self.send(Woke())
        self.ms, self.out = until, gathered
        return self.out

    def _perform(self, effect: Effect) -> list[Event]:
        match effect:
            case Execute():
                return [self.executed(effect.block)]
            case Sign():
                covered = coverage(effect.kind, self.spec.id, effect.unsigned)
                signature = keyed_signature(self.me, covered)
                place = (effect.height, effect.round)
                return [Signed(effect.kind, *place, effect.unsigned, signature)]
            case Persist():
                return [Persisted(effect.block.id)]
            case Reveal():
                chain = links(self.spec.seed, self.spec.parameters, self.me, effect.epoch)
                return [Revealed(effect.epoch, effect.number, chain[effect.number])]
            case Build():
                return [self.building(effect)]
            case Commit():
                return [Committed(effect.block.height, effect.block.id)]
            case _:
                return []

    def executed(self, block: Block) -> BlockExecuted:
        rule = self.verdicts.get(block.id, "")
        return BlockExecuted(block.id, None if rule else self.after(block), None, rule)

    def after(self, block: Block) -> View:
        """What a block leaves behind: the same table and hash chains, one height on."""
        return replace(self.chain.view, height=Height(block.height + 1))

    def building(self, order: Build) -> BlockBuilt:
        """The block in `built`, by default one for the place asked for."""
        block = self.built or self.block(order.rank, order.round)
        return BlockBuilt(order.height, order.round, block, self.after(block), None, ())

    # ---- what was ordered ---------------------------------------------------------------------

    def signs(self, kind: str | None = None) -> list[tuple[str, int, BlockId | None]]:
        """(kind, round, block) of the votes ordered by the last event."""
        found = []
        for effect in self.out:
            if isinstance(effect, Sign) and effect.kind in (CONFIRM, ACCEPT):
                vote = Vote.decode(append_signature(effect.unsigned, bytes(64)))
                if kind in (None, vote.phase):
                    found.append((vote.phase, vote.round, vote.block))
        return found

    def of(self, kind: type) -> list[Any]:
        return [effect for effect in self.out if type(effect) is kind]

    def gossip(self, topic: str) -> list[bytes]:
        """Records shown by the last event."""
        found = [effect for effect in self.out if type(effect) is Gossip and effect.topic == topic]
        return [record for effect in found for _, record in effect.items]

    # ---- proposals ----------------------------------------------------------------------------

    def ranked(self, rank: int, round_: int = 0) -> Peer:
        ranking = self.chain.view.ranking(self.chain.tip.fields.randomness, round_)
        return ranking[rank][0]

    def my_rank(self, round_: int = 0) -> int:
        ranking = self.chain.view.ranking(self.chain.tip.fields.randomness, round_)
        return [peer for peer, _ in ranking].index(self.me)

    def block(self, rank: int = 0, round_: int = 0, **fields: Any) -> Block:
        return self.chain.block(rank=rank, round=round_, **fields)

    def proposal(self, block: Block) -> Proposal:
        fields = block.header.fields
        peer = self.ranked(fields.rank, fields.round)
        return Proposal.of(block, peer, keyed_signature(peer, proposal_coverage(block.header)))

    def propose(self, rank: int = 0, round_: int = 0, **fields: Any) -> Block:
        """Gossip brings a proposal; by default it is valid."""
        block = self.block(rank, round_, **fields)
        self.send(ProposalReceived(1, self.proposal(block), None))
        return block

    # ---- votes --------------------------------------------------------------------------------

    def vote(self, phase: str, peer: Peer, block: Block | None, round_: int = 0) -> Vote:
        header = (block or self.block()).header
        named = {"phase": phase, "round_": round_, "block": None if block is None else block.id}
        return self.chain.accept(peer, header, **named)

    def others(self) -> list[Peer]:
        return [peer for peer in self.peers if peer != self.me]

    def votes(
        self, phase: str, peers: Sequence[Peer], block: Block | None, round_: int = 0
    ) -> None:
        """They vote, all in one event."""
        cast = [(0, self.vote(phase, peer, block, round_)) for peer in peers]
        self.send(VotesReceived(tuple(cast)))

    def confirms(self, peers: Sequence[Peer], block: Block | None, round_: int = 0) -> None:
        self.votes(CONFIRM, peers, block, round_)

    def accepts(self, peers: Sequence[Peer], block: Block | None, round_: int = 0) -> None:
        self.votes(ACCEPT, peers, block, round_)

    def aggregate(self, peers: Sequence[Peer], block: Block, round_: int = 0) -> Aggregate:
        return Aggregate.of([self.vote(CONFIRM, peer, block, round_) for peer in peers])

    def show(self, aggregate: Aggregate) -> None:
        self.send(FactsReceived(((0, aggregate),)))

    def certificate(self, peers: Sequence[Peer], block: Block, round_: int = 0) -> Certificate:
        return Certificate.of([self.vote(ACCEPT, peer, block, round_) for peer in peers])

    def certify(self, peers: Sequence[Peer], block: Block, round_: int = 0) -> None:
        self.send(CertificateReceived(self.certificate(peers, block, round_), None))

    # ---- polls --------------------------------------------------------------------------------

    def polls(self) -> list[Ask]:
        """Asks for preferences that are open now."""
        group = self.standing.group
        open_ = {} if group is None else group.asks
        return [e for e in self.all if type(e) is Ask and e.ask in open_]

    def answer(self, ask: Ask, block: Block | None, **fields: Any) -> None:
        named = {"height": self.standing.height, "round": self.standing.round} | fields
        answered = AnswerReceived(
            ask.ask, ask.peer, named["height"], named["round"], None if block is None else block.id
        )
        self.send(answered)

    def answer_all(self, block: Block | None, groups: int = 1) -> None:
        """Everybody asked prefers that; for so many groups of polls."""
        for _ in range(groups):
            self.wait(POLL_MS // 10)
            for ask in self.polls():
                self.answer(ask, block)

    def settle_on(self, block: Block) -> None:
        """By polls, unanimously: two groups of four."""
        for _ in range(8):
            if self.standing.settled:
                break
            self.answer_all(block)
        assert self.standing.value == block.id, "settled by polls"

    def fail_polls(self) -> None:
        for ask in self.polls():
            self.send(AskFailed(ask.ask, ask.peer))

    # ---- blocks that are fetched --------------------------------------------------------------

    def fetched(
        self,
        ask: Ask,
        block: Block | None,
        *,
        proposal: Proposal | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        self.send(Fetched(ask.ask, ask.peer, block, proposal, certificate, ()))

    # ---- short ways -----------------------------------------------------------------------------

    def due(self) -> None:
        """An input waits: the round clock starts."""
        self.machine.pool_due = True
        self.send(Woke())

    def unled(self) -> None:
        """Until it settles: a window at most, in which the round's first owner says on what."""
        until = self.ms + self.spec.parameters.window_ms(self.standing.round)
        while not self.standing.settled and self.ms < until:
            wake = self.engine.wake_ms(self.now)
            self.wait(until - self.ms if wake is None else min(wake, until) - self.ms)

    def to_round(self, round_: int) -> None:
        """All others accept nil until that round."""
        while self.standing.round < round_:
            self.accepts(self.others(), None, self.standing.round)
