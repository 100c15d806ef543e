"""Random runs of the model, walked through the engine's own functions, step for step.

The other direction of `drift`: what the model allows, `polling.settle` + `voting.advance_confirm`,
`voting.advance_valid` and a restart from `SignRecord.raw` really do; what it forbids, they refuse.
After every step place and lock of the real record are those of the model. The functions are called
one at a time, not through `engine.handle`: no rule moves by itself in between.

Two moves are stricter in the code than in the model, and are left out and counted: an unlock by a
quorum that is not the highest valid value, and one by a quorum of the round of the confirm itself
(the engine accepts on that one at once).
"""

import random
from dataclasses import dataclass

from consensus import polling, voting
from consensus.block import Block
from consensus.certificates import Vote, append_signature
from consensus.effects import Sign
from consensus.ids import BlockId, Peer
from consensus.signatures import ACCEPT as ACCEPT_KIND
from consensus.signatures import CONFIRM as CONFIRM_KIND
from consensus.signing import SignRecord
from consensus.standing import VALID, Candidate
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_engine import Desk
from tests.consensus.builders_keys import peer_key
from tests.model.clauses import Clauses
from tests.model.drift import Drift
from tests.model.rules import CRASH, Move, Rules, Shown
from tests.model.slots import ACCEPT, CONFIRM, Lock, Shape, Slot, place_of

SHAPE = Shape(slots=4, byzantine=1, rounds=4, values=2)
CRASHES = 0.1  # of the steps
KIND = {CONFIRM: CONFIRM_KIND, ACCEPT: ACCEPT_KIND}


@dataclass(slots=True)
class Count:
    """What a walk did: votes of the model cast (of them while locked on another), restarts, votes
    refused, moves the code is stricter about.
    """

    taken: int = 0
    unlocked: int = 0
    crashed: int = 0
    refused: int = 0
    stricter: int = 0


class Follower:
    """Three real machines that follow one run of the model. Raises Drift."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.rules = Rules(SHAPE, Clauses())
        self.chain = MiniChain(make_spec(4, small()))
        self.blocks = [self.chain.block(rank=rank) for rank in range(SHAPE.values)]
        self.slots = [Slot()] * SHAPE.honest
        self.desks = [Desk(number, chain=self.chain) for number in range(SHAPE.honest)]
        self.byzantine = peer_key(SHAPE.honest)
        self.count = Count()

    def run(self, steps: int) -> Count:
        for _ in range(steps):
            number = self.dice.randrange(SHAPE.honest)
            slot = self.slots[number]
            shown = self.rules.shown_by_slots(self.slots)
            allowed = list(self.rules.moves(slot, shown))
            self._refuse(number, slot, {move for move, _ in allowed}, shown)
            near = [m for m in allowed if m[0].kind != CRASH and 2 * m[0].round <= slot.place + 1]
            if not near or self.dice.random() < CRASHES:
                near = allowed[-1:]
            move, after = self.dice.choice(near)  # in the next rounds rather than the last
            if move.kind == CRASH:
                self._restart(number)
                self.count.crashed += 1
            elif not self._follow(number, slot, move, shown):
                self.count.stricter += 1
                continue
            else:
                self.count.taken += 1
            self.slots[number] = after
            self._compare(number)
        return self.count

    # ---- one step ------------------------------------------------------------------------------

    def _follow(self, number: int, slot: Slot, move: Move, shown: Shown) -> bool:
        """Make the real machine sign that; false where the code is stricter than the model."""
        phase = CONFIRM if move.kind == "confirm" else ACCEPT
        desk = self.desks[number]
        self._enter(desk, move.round)
        if phase == CONFIRM:
            held = slot.lock
            if held is not None and held.value != move.value:
                if not self._unlock(number, held, move, shown):
                    return False
                self.count.unlocked += 1
            signed = self._confirm(desk, move.value)
        else:
            certified = (move.round, move.value) in self.rules.certified(shown)
            accept = self._accept_certified if certified else self._accept
            signed = accept(desk, move.round, move.value)
        if signed != [(KIND[phase], move.round, self.blocks[move.value].id)]:
            raise Drift(f"the model allows {move} to slot {number + 1}, which signed {signed}")
        return True

    def _unlock(self, number: int, held: Lock, move: Move, shown: Shown) -> bool:
        """Show a quorum of confirms that frees the lock, if the code can use one."""
        desk = self.desks[number]
        bits = [(r, SHAPE.bit(r, CONFIRM, move.value)) for r in range(held.round, SHAPE.rounds)]
        rounds = [r for r, bit in bits if shown.quorum & bit and r != move.round]
        valid = desk.record.valid_at(1)
        if valid is not None and valid.block == self.blocks[move.value].id:
            return True
        rounds = [r for r in rounds if valid is None or r > valid.round]
        if not rounds:
            return False
        self._show(desk, rounds[-1], move.value)
        self._hold(desk, self.blocks[move.value])
        desk.machine.out = []
        voting.advance_valid(desk.machine, desk.now)
        if desk.machine.out and self._signed(desk):
            raise Drift("a quorum of another round was accepted")
        return True

    def _confirm(self, desk: Desk, value: int) -> list[tuple[str, int, BlockId | None]]:
        desk.machine.out = []
        self._hold(desk, self.blocks[value])
        polling.settle(desk.machine, self.blocks[value].id)
        voting.advance_confirm(desk.machine)
        return self._signed(desk)

    def _accept(self, desk: Desk, round_: int, value: int) -> list[tuple[str, int, BlockId | None]]:
        self._show(desk, round_, value)
        desk.machine.out = []
        self._hold(desk, self.blocks[value])
        voting.advance_valid(desk.machine, desk.now)
        return self._signed(desk)

    def _accept_certified(
        self, desk: Desk, round_: int, value: int
    ) -> list[tuple[str, int, BlockId | None]]:
        """Shown the certificate, not the confirms: the lock comes without a valid value."""
        block, bit = self.blocks[value], SHAPE.bit(round_, ACCEPT, value)
        peers = [self.desks[i].me for i, slot in enumerate(self.slots) if slot.votes & bit]
        certificate = desk.certificate([*peers, self.byzantine], block, round_)
        desk.machine.out = []
        self._hold(desk, block)
        candidate = desk.standing.candidates[block.id]
        voting.accept_certified(desk.machine, candidate, certificate)
        return self._signed(desk)

    def _show(self, desk: Desk, round_: int, value: int) -> None:
        """All confirms of a round for a value, the adversary's too, in this machine's tally."""
        bit = SHAPE.bit(round_, CONFIRM, value)
        for number, slot in enumerate(self.slots):
            if slot.votes & bit:
                self._add(desk, self.desks[number].me, round_, value)
        self._add(desk, self.byzantine, round_, value)

    def _add(self, desk: Desk, peer: Peer, round_: int, value: int) -> None:
        desk.standing.votes.add(desk.vote(CONFIRM_KIND, peer, self.blocks[value], round_))

    def _enter(self, desk: Desk, round_: int) -> None:
        """Rounds advance freely in the model; votes of other walks through here are forgotten."""
        if desk.standing.round != round_:
            voting.enter_round(desk.machine, round_, desk.now)
        desk.standing.settled, desk.standing.value = False, None
        desk.standing.votes.tallies.clear()
        desk.standing.votes.highest.clear()

    def _hold(self, desk: Desk, block: Block) -> None:
        view = desk.after(block)
        candidate = Candidate(block, None, block.header.fields.rank, VALID, view)
        desk.standing.candidates[block.id] = candidate

    def _signed(self, desk: Desk) -> list[tuple[str, int, BlockId | None]]:
        votes = [
            Vote.decode(append_signature(effect.unsigned, bytes(64)))
            for effect in desk.machine.out
            if isinstance(effect, Sign)
        ]
        return [(vote.phase, vote.round, vote.block) for vote in votes]

    def _restart(self, number: int) -> None:
        old = self.desks[number]
        record = SignRecord.decode(old.record.raw)
        self.desks[number] = Desk(number, record=record, saved=self.blocks, chain=self.chain)

    # ---- what the model forbids ----------------------------------------------------------------

    def _refuse(self, number: int, slot: Slot, allowed: set[Move], shown: Shown) -> None:
        """One vote that the model forbids: the functions do not sign it, whatever is shown.

        Tried on a machine of its own that stands on the same record.
        """
        round_ = self.dice.randrange(SHAPE.rounds)
        phase = self.dice.choice((CONFIRM, ACCEPT))
        value = self.dice.randrange(SHAPE.values)
        if Move(("confirm", "accept")[phase], round_, value) in allowed:
            return
        record = SignRecord.decode(self.desks[number].record.raw)
        desk = Desk(number, record=record, saved=self.blocks, chain=self.chain)
        for block in self.blocks:
            self._hold(desk, block)
        self._enter(desk, round_)
        for quorum_round in range(SHAPE.rounds):
            bit = SHAPE.bit(quorum_round, CONFIRM, value)
            if quorum_round == round_ and phase == CONFIRM:
                continue
            if shown.quorum & bit or self.dice.random() < 0.5:
                self._show(desk, quorum_round, value)
        if phase == CONFIRM:
            if round_ != desk.standing.round or not self._may_be_shown(desk, shown, value):
                return
            voting.advance_valid(desk.machine, desk.now)
            signed = self._confirm(desk, value)
        else:
            signed = self._accept(desk, round_, value)
        if (KIND[phase], round_, self.blocks[value].id) in signed:
            raise Drift(f"the model forbids {phase, round_, value} to slot {number + 1}: signed")
        self.count.refused += 1

    def _may_be_shown(self, desk: Desk, shown: Shown, value: int) -> bool:
        """Whether what this machine counts as quorums are quorums of the model too."""
        found = desk.standing.votes.confirmed()
        return all(shown.quorum & SHAPE.bit(r, CONFIRM, value) for r, _ in found)

    def _compare(self, number: int) -> None:
        slot, record = self.slots[number], self.desks[number].record
        lock = record.lock_at(1)
        names = {block.id: value for value, block in enumerate(self.blocks)}
        held = None if lock is None else Lock(names[lock.block], lock.round)
        place = place_of(record.round, record.phase - 1) if record.height == 1 else 0
        if (held, place) != (slot.lock, slot.place):
            raise Drift(f"slot {number + 1}: {held}, {place}; the model: {slot.lock}, {slot.place}")
