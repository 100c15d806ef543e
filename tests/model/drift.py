"""The real engines on random schedules, every vote of theirs held against the model.

Three honest engines of four owners (`Desk`), the fourth is the adversary's: it votes anything to
anybody, and completes any quorum for anybody. Deliveries, losses, orders, times, crashes before and
after the record is durable, and the preferences that Snowball ends with are drawn from one seed.
Whenever an engine signs, the model must allow that vote to that slot in the state that the votes
shown so far give; and the record that goes with it must hold the model's place and lock. Nothing of
the engine is replaced but the polls: they settle on any candidate.
"""

import random
from dataclasses import dataclass, field

from consensus import polling
from consensus.block import Block
from consensus.certificates import Aggregate, Vote, append_signature
from consensus.effects import Build, Commit, Effect, Execute, Persist, Remember, Sign
from consensus.events import Event, FactsReceived, ProposalReceived, VotesReceived, Woke
from consensus.ids import BlockId
from consensus.proposing import is_candidate
from consensus.signatures import ACCEPT as ACCEPT_KIND
from consensus.signatures import CONFIRM as CONFIRM_KIND
from consensus.signatures import PROPOSAL as PROPOSAL_KIND
from consensus.signing import SignRecord
from consensus.standing import VALID
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_engine import Desk
from tests.consensus.builders_keys import peer_key
from tests.model.clauses import Clauses
from tests.model.rules import Rules, Shown
from tests.model.slots import ACCEPT, CONFIRM, Lock, Shape, Slot, place_of

ROUNDS, RANKS = 6, 2  # a walk ends in the last round; blocks of two ranks a round
SHAPE = Shape(slots=4, byzantine=1, rounds=ROUNDS, values=ROUNDS * RANKS)
PHASE = {CONFIRM_KIND: CONFIRM, ACCEPT_KIND: ACCEPT}
SLOW = 0.5  # of executions end some time later
HELD_BACK = 0.03  # of orders to sign: the process dies right before or right after the record


class Drift(AssertionError):
    """The engine did what the model does not allow: one of the two is wrong."""


class Died(Exception):
    """The process of an engine ended in the middle of its orders."""


@dataclass(slots=True)
class Disk:
    """What one engine made durable."""

    record: SignRecord | None = None
    blocks: dict[BlockId, Block] = field(default_factory=dict)


class Node(Desk):
    """A desk that keeps what is durable and dies when told to."""

    def __init__(self, walk: "Walk", number: int, disk: Disk) -> None:
        self.walk, self.number, self.disk = walk, number, disk
        saved = tuple(disk.blocks.values())
        super().__init__(number, record=disk.record, saved=saved, chain=walk.chain)
        self.held = (Build, Commit)
        self.executing: list[Block] = []

    def _perform(self, effect: Effect) -> list[Event]:
        if isinstance(effect, Execute) and self.walk.dice.random() < SLOW:
            self.executing.append(effect.block)
            return []
        if isinstance(effect, Persist):
            self.disk.blocks[effect.block.id] = effect.block
        if isinstance(effect, Remember):
            self.disk.record = SignRecord.decode(effect.record)
        if isinstance(effect, Sign):
            if self.walk.dice.random() < HELD_BACK:
                raise Died
            self.disk.record = SignRecord.decode(effect.record)
            if effect.kind != PROPOSAL_KIND:
                self.walk.cast(self.number, effect)
            if self.walk.dice.random() < HELD_BACK:
                raise Died
        return super()._perform(effect)


class Walk:
    """One random schedule. Raises Drift."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.chain = MiniChain(make_spec(4, small()))
        self.rules = Rules(SHAPE, Clauses())
        self.slots = [Slot()] * SHAPE.honest
        self.blocks = [
            self.chain.block(rank=rank, round=round_)
            for round_ in range(ROUNDS)
            for rank in range(RANKS)
        ]
        self.values = {block.id: number for number, block in enumerate(self.blocks)}
        self.votes: dict[
            tuple[int, int, int], Vote
        ] = {}  # of honest slots, by (slot, round, phase)
        self.signed = self.crashes = 0
        self.nodes = [Node(self, number, Disk()) for number in range(SHAPE.honest)]
        self.byzantine = peer_key(SHAPE.honest)

    # ---- held against the model --------------------------------------------------------------

    def shown(self) -> Shown:
        return self.rules.shown_by_slots(self.slots)

    def cast(self, number: int, order: Sign) -> None:
        """The record is durable and the vote may be seen by anybody from now on."""
        vote = Vote.decode(append_signature(order.unsigned, bytes(64)))
        phase, slot = PHASE[vote.phase], self.slots[number]
        known = self.votes.get((number, vote.round, phase))
        if known is not None and known.block == vote.block:
            return  # the same word again, after a restart
        self.slots[number] = self._after(number, vote, phase, slot)
        desk = self.nodes[number]
        shown = None if vote.block is None else self.blocks[self.values[vote.block]]
        self.votes[number, vote.round, phase] = desk.vote(vote.phase, desk.me, shown, vote.round)
        self.signed += 1
        self._compare(number, SignRecord.decode(order.record))

    def _after(self, number: int, vote: Vote, phase: int, slot: Slot) -> Slot:
        what = f"{vote.phase} of slot {number + 1} in round {vote.round}"
        if not self.rules.allows(slot, vote.round, phase):
            raise Drift(f"{what}: its record stands at place {slot.place} of the model")
        place = place_of(vote.round, phase)
        if vote.block is None:
            return slot._replace(place=place)
        value, lock = self.values[vote.block], slot.lock
        if phase == CONFIRM:
            if not self.rules.lock_allows(slot, self.shown(), vote.round, value):
                raise Drift(f"{what} for value {value} with lock {lock}")
        elif self.rules.is_proven(slot, self.shown(), vote.round, value):
            lock = self.rules.locked(slot, vote.round, value)
        else:
            raise Drift(f"{what} for value {value} without a quorum of confirms")
        return Slot(slot.votes | SHAPE.bit(vote.round, phase, value), place, lock)

    def _compare(self, number: int, record: SignRecord) -> None:
        """The record's place and lock are the model's."""
        slot, lock = self.slots[number], record.lock_at(1)
        held = None if lock is None else Lock(self.values[lock.block], lock.round)
        place = place_of(record.round, record.phase - 1) if record.height == 1 else 0
        if held != slot.lock:
            raise Drift(f"slot {number + 1} is locked on {held}, the model says {slot.lock}")
        if place != slot.place:
            raise Drift(f"slot {number + 1} stands at place {place}, the model says {slot.place}")

    # ---- what may happen ----------------------------------------------------------------------

    def run(self, steps: int) -> None:
        for _ in range(steps):
            number = self.dice.randrange(SHAPE.honest)
            node = self.nodes[number]
            if node.standing.round >= ROUNDS - 1:
                return
            happening = self.dice.choices(
                (self._deliver, self._lie, self._complete, self._settle, self._propose, self._wait,
                 self._execute, self._crash),
                (10, 6, 2, 6, 6, 6, 2, 1),
            )[0]  # fmt: skip
            try:
                happening(node)
            except Died:
                self._crash(node)
        for node in self.nodes:
            self._check_certificates(node)

    def _deliver(self, node: Node) -> None:
        """A vote of an honest slot comes, now or again."""
        if self.votes:
            vote = self.dice.choice(list(self.votes.values()))
            if vote.peer != node.me:
                node.send(VotesReceived(((0, vote),)))

    def _lie(self, node: Node) -> None:
        """The adversary votes something to this one."""
        round_ = self._round(node)
        kind = self.dice.choice((CONFIRM_KIND, ACCEPT_KIND))
        block = self.dice.choice([*self._near(round_), None])
        if kind == ACCEPT_KIND and self.dice.random() < 0.8:
            block = None  # else most walks are certified in round 0
        node.send(VotesReceived(((0, node.vote(kind, self.byzantine, block, round_)),)))

    def _complete(self, node: Node) -> None:
        """The adversary shows a quorum of confirms that it completes, as one fact."""
        shown = self.shown()
        able = [p for p in SHAPE.places() if p[1] == CONFIRM and shown.quorum & SHAPE.bit(*p)]
        if not able:
            return
        round_, _, value = self.dice.choice(able)
        block = self.blocks[value]
        votes = [
            vote
            for (_, at, phase), vote in self.votes.items()
            if (at, phase, vote.block) == (round_, CONFIRM, block.id)
        ]
        votes.append(node.vote(CONFIRM_KIND, self.byzantine, block, round_))
        node.send(FactsReceived(((0, Aggregate.of(votes)),)))

    def _settle(self, node: Node) -> None:
        """Polls end with any candidate: Snowball as any preference."""
        machine = node.machine
        if node.standing.settled or machine.record.valid_at(1) is not None:
            return
        held = [
            block
            for block, candidate in node.standing.candidates.items()
            if candidate.status == VALID and is_candidate(machine, block, node.now)
        ]
        if held:
            polling.settle(machine, self.dice.choice(held))
            node.send(Woke())

    def _propose(self, node: Node) -> None:
        block = self.dice.choice(self._near(self._round(node)))
        node.send(ProposalReceived(0, node.proposal(block), None))

    def _wait(self, node: Node) -> None:
        node.wait(self.dice.choice((10, 500, 1500, 4000)))

    def _execute(self, node: Node) -> None:
        if node.executing:
            node.send(node.executed(node.executing.pop(0)))

    def _crash(self, node: Node) -> None:
        """It starts again from what is durable: no lock is lost, no place is forgotten."""
        self.crashes += 1
        fresh = Node(self, node.number, node.disk)
        fresh.ms = node.ms
        self.nodes[node.number] = fresh
        if node.disk.record is not None:
            self._compare(node.number, fresh.record)

    def _round(self, node: Node) -> int:
        top = max(each.standing.round for each in self.nodes)
        return min(self.dice.choice((node.standing.round, node.standing.round, top)), ROUNDS - 1)

    def _near(self, round_: int) -> list[Block]:
        """Blocks of that round, and those that somebody voted for."""
        named = {vote.block for vote in self.votes.values()}
        fresh = range(round_ * RANKS, (round_ + 1) * RANKS)
        return [b for i, b in enumerate(self.blocks) if i in fresh or b.id in named]

    def _check_certificates(self, node: Node) -> None:
        for effect in node.all:
            if isinstance(effect, Commit):
                value = self.values[effect.block.id]
                certified = {v for _, v in self.rules.certified(self.shown())}
                if certified != {value}:
                    raise Drift(f"value {value} is committed; the model certifies {certified}")
