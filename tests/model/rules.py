"""Confirm, accept, lock and restart as transitions of a small model (protocol §7).

What each transition mirrors in the code, and why the model leaves out what it leaves out:

- **Votes are a soup.** A vote once shown is seen by anybody, at any time later, or never; nobody
  unsees it. So "this peer was shown a quorum" becomes "a quorum exists": every real order of
  deliveries, losses and repetitions is some run of the model. The Byzantine slots sign everything
  to everybody, so they weigh in every tally (`Votes.add` counts one vote of theirs per place and
  receiver; the model grants them all at once).
- **Confirm** (`voting.advance_confirm`, `lock_allows`): Snowball is reduced to *any preference*: a
  slot may settle on any value in any round, at any time. `lock_allows` asks for the *highest*
  valid value only; the page, and the model, for any quorum from the lock's round on.
- **Accept** (`voting.advance_valid`, `accept_confirmed`, `accept_certified`): a quorum of confirms
  of that round, confirmed or not; sets the lock. `accept_certified` asks for a certificate, whose
  honest signers had the quorum of confirms: the property "certificates are proven" is checked.
- **Rounds advance freely and nil votes are dropped** (`advance_accept_nil`, `advance_round`,
  `enter_round`): nil never counts for a block, and a real run without its nil votes is a run of the
  model in which rounds were skipped. `SignRecord.allows` still forbids to go back. So there are
  more runs here than in the code, and agreement here implies agreement there.
- **Restart** (`Engine(record=…)`, `voting.resume`): round, polls, tallies, settled value are free
  in the model anyway; what is left is the record. With the whole record durable before the
  signature (`effects.Sign`), a crash changes nothing. A crash between record and signature leaves
  the same record and fewer votes: no guard asks for the absence of a vote, so it can do no more.
- **A peer of several slots** is as many slots that do the same one after another: no guard that
  held for the first fails for the second.

**Dense runs.** With `dense`, a slot votes nowhere before it has confirmed in every earlier round.
Nothing is lost: take a run in which a slot skips the confirm of round r and votes later. Just
before that later vote, insert Confirm(x, r), x = its lock's value, or any if it has no lock: its
record allows it (the place is not passed yet), `lock_allows` too, the lock stays, and its place is
overwritten by the later vote. All guards and the violation are monotone in votes, so the rest of
the run stays possible. (Argued for the protocol's clauses; for a weakened clause any run found is a
real run, dense or not.)
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, assert_never

from tests.model.clauses import Clauses
from tests.model.slots import ACCEPT, CONFIRM, Lock, Shape, Slot, place_of

# What of the code each part of the model mirrors; a test looks that the names are there.
MIRRORS = {
    "Rules.is_quorum": ("consensus.votes:Votes.is_quorum", "consensus.certificates:check_weight"),
    "Rules.shown_by_total": ("consensus.votes:Votes.add", "consensus.votes:Votes.quorum"),
    "Rules.allows": (
        "consensus.signing:SignRecord.allows",
        "consensus.signing:SignRecord.with_own",
    ),
    "Rules.restarted": ("consensus.signing:SignRecord.decode", "consensus.voting:resume"),
    "Rules.lock_allows": ("consensus.voting:lock_allows", "consensus.voting:advance_confirm"),
    "Rules.is_proven": (
        "consensus.voting:advance_valid",
        "consensus.voting:accept_confirmed",
        "consensus.voting:accept_certified",
    ),
    "Rules.locked": ("consensus.signing:SignRecord.with_lock",),
    "Rules.certified": ("consensus.votes:Votes.accepted", "consensus.certificates:Certificate.of"),
    "rounds advance freely": (
        "consensus.voting:advance_round",
        "consensus.voting:enter_round",
        "consensus.voting:advance_accept_nil",
        "consensus.votes:Votes.join_round",
    ),
    "any preference": ("consensus.polling:settle", "consensus.polling:advance_settling"),
    "Habits.valid_first": ("consensus.polling:advance_settling",),
    "Habits.passed_on": ("consensus.voting:advance_resend",),
    "Habits.highest_kept": ("consensus.voting:raise_valid",),
    "Habits.valid_durable": ("consensus.signing:SignRecord.with_valid",),
}

CRASH = "crash"
CAST = {CONFIRM: "confirm", ACCEPT: "accept"}
LOST = {CONFIRM: "confirm, then crash", ACCEPT: "accept, then crash"}  # before the record is kept


class Move(NamedTuple):
    """One step of one slot: confirm or accept a value in a round, or crash and restart."""

    kind: str
    round: int = 0
    value: int = 0


class Shown(NamedTuple):
    """What the votes of the whole cluster can show to anybody, as bits of places.

    `quorum`: enough weight. `nearly`: enough with one's own vote counted twice. `third`: more than
    a third.
    """

    quorum: int
    nearly: int
    third: int


class Rules:
    """The transitions under given clauses, for a cluster of a given shape."""

    def __init__(self, shape: Shape, clauses: Clauses, *, dense: bool = False) -> None:
        self.shape, self.clauses, self.dense = shape, clauses, dense
        self._places = list(shape.places())

    # ---- tallies: votes.Votes ---------------------------------------------------------------

    def is_quorum(self, weight: int) -> bool:
        """Mirrors `Votes.is_quorum` and `certificates.check_weight`."""
        slots = self.shape.slots
        match self.clauses.quorum:
            case "3w > 2n":
                return 3 * weight > 2 * slots
            case "3w >= 2n":
                return 3 * weight >= 2 * slots
            case "3(w + 1) > 2n":
                return 3 * (weight + 1) > 2 * slots
            case "2w > n":
                return 2 * weight > slots

    @property
    def counts_rounds_apart(self) -> bool:
        """Whether sums over slots suffice: no signer has to be told from another."""
        return self.clauses.confirm_tally == self.clauses.accept_tally == "one round"

    def shown_by_total(self, total: int) -> Shown:
        """From the sum of `Shape.counters` of all honest slots."""
        return self._shown([self.shape.count(total, i) for i in range(self.shape.bits)])

    def shown_by_slots(self, slots: Sequence[Slot]) -> Shown:
        """Where tallies mix rounds: each signer once, in any round that is counted."""
        weights = []
        for round_, phase, value in self._places:
            tally = self.clauses.confirm_tally if phase == CONFIRM else self.clauses.accept_tally
            first = {"one round": round_, "this and the last round": max(0, round_ - 1)}
            rounds = range(first.get(tally, 0), round_ + 1)
            bits = sum(self.shape.bit(r, phase, value) for r in rounds)
            weights.append(sum(1 for slot in slots if slot.votes & bits))
        return self._shown(weights)

    def _shown(self, weights: Sequence[int]) -> Shown:
        quorum = nearly = third = 0
        for i, honest in enumerate(weights):
            weight = honest + self.shape.byzantine
            quorum |= self.is_quorum(weight) << i
            nearly |= (honest > 0 and self.is_quorum(weight + 1)) << i
            third |= (3 * weight > self.shape.slots) << i
        return Shown(quorum, nearly, third)

    def is_shown(self, shown: Shown, slot: Slot, bit: int) -> bool:
        """Whether this slot can hold the votes of that place for a quorum."""
        if self.clauses.own_twice and slot.votes & bit:
            return bool(shown.nearly & bit)
        return bool(shown.quorum & bit)

    # ---- the sign record: signing.SignRecord -------------------------------------------------

    def allows(self, slot: Slot, round_: int, phase: int) -> bool:
        """Mirrors `SignRecord.allows`; dense runs skip no confirm (see the module)."""
        place, newest = place_of(round_, phase), slot.place
        match self.clauses.places:
            case "after the newest":
                allowed = place > newest
            case "the newest again":
                allowed = place >= newest
            case "any phase of the newest round":
                fresh = not self._voted(slot, round_, phase)
                allowed = fresh and (newest == 0 or round_ >= (newest - 1) // 2)
            case "anywhere":
                allowed = not self._voted(slot, round_, phase)
            case _:
                assert_never(self.clauses.places)
        if not self.dense or not allowed:
            return allowed
        return place <= newest + (2 if newest % 2 else 1)

    def _voted(self, slot: Slot, round_: int, phase: int) -> bool:
        values = range(self.shape.values)
        return any(slot.votes & self.shape.bit(round_, phase, value) for value in values)

    def restarted(self, slot: Slot) -> Slot:
        """Mirrors `SignRecord.raw` and `decode`: what a crash leaves of the record."""
        match self.clauses.restart:
            case "whole record":
                return slot
            case "record without lock":
                return slot._replace(lock=None)
            case "lock without place":
                return slot._replace(place=0)
            case "nothing":
                return slot._replace(lock=None, place=0)

    # ---- confirm and accept: voting ----------------------------------------------------------

    def lock_allows(self, slot: Slot, shown: Shown, round_: int, value: int) -> bool:
        """Mirrors `voting.lock_allows`, and `advance_confirm` in asking for it."""
        lock, clauses = slot.lock, self.clauses
        if lock is None or lock.value == value or not clauses.confirm_lock:
            return True
        if clauses.release == "on a later round" and round_ > lock.round:
            return True
        if clauses.release == "two rounds later" and round_ >= lock.round + 2:
            return True
        first, held = lock.round, shown.quorum
        match clauses.unlock:
            case "always":
                return True
            case "never":
                return False
            case "quorum of any round":
                first = 0
            case "quorum from the round before the lock's on":
                first = max(0, lock.round - 1)
            case "any third of confirms":
                held = shown.third
            case "quorum from the lock's round on":
                pass
        seen = shown._replace(quorum=held)
        rounds = range(first, self.shape.rounds)
        return any(self.is_shown(seen, slot, self.shape.bit(r, CONFIRM, value)) for r in rounds)

    def is_proven(self, slot: Slot, shown: Shown, round_: int, value: int) -> bool:
        """Mirrors `voting.advance_valid`: what Accept(value) of this round asks for."""
        bit = self.shape.bit(round_, CONFIRM, value)
        match self.clauses.proof:
            case "quorum of this round's confirms":
                return self.is_shown(shown, slot, bit)
            case "a third of this round's confirms":
                return bool(shown.third & bit)
            case "own confirm":
                return bool(slot.votes & bit)
            case "none":
                return True
            case "quorum of any earlier round's confirms":
                bits = [self.shape.bit(r, CONFIRM, value) for r in range(round_ + 1)]
                return any(self.is_shown(shown, slot, each) for each in bits)

    def locked(self, slot: Slot, round_: int, value: int) -> Lock | None:
        """Mirrors `SignRecord.with_lock` as `voting.accept_confirmed` calls it."""
        match self.clauses.relock:
            case "newest accept":
                return Lock(value, round_)
            case "first accept":
                return slot.lock or Lock(value, round_)
            case "never":
                return None

    def moves(self, slot: Slot, shown: Shown) -> Iterator[tuple[Move, Slot]]:
        """All that one slot may do next, and what it is then."""
        for round_, phase, value in self._places:
            if not self.allows(slot, round_, phase):
                continue
            lock = slot.lock
            if phase == CONFIRM:
                if not self.lock_allows(slot, shown, round_, value):
                    continue
            elif self.is_proven(slot, shown, round_, value):
                lock = self.locked(slot, round_, value)
            else:
                continue
            votes = slot.votes | self.shape.bit(round_, phase, value)
            place = max(slot.place, place_of(round_, phase))
            yield Move(CAST[phase], round_, value), Slot(votes, place, lock)
            if self.clauses.late_record and votes != slot.votes:
                yield Move(LOST[phase], round_, value), slot._replace(votes=votes)
        yield Move(CRASH), self.restarted(slot)

    # ---- what must never be: protocol §12 ----------------------------------------------------

    def certified(self, shown: Shown) -> list[tuple[int, int]]:
        """(round, value) of every certificate that can be shown."""
        mask = shown.nearly if self.clauses.own_twice else shown.quorum
        return [
            (round_, value)
            for i, (round_, phase, value) in enumerate(self._places)
            if phase == ACCEPT and mask >> i & 1
        ]

    def broken_by_votes(self, shown: Shown) -> tuple[str, ...]:
        """Names of the properties of the whole cluster that do not hold."""
        broken = []
        certified = self.certified(shown)
        if len({value for _, value in certified}) > 1:
            broken.append("agreement")
        unproven = [p for p in certified if not shown.quorum & self.shape.bit(p[0], CONFIRM, p[1])]
        if unproven:
            broken.append("certificates are proven")
        for round_ in range(self.shape.rounds):
            bits = [self.shape.bit(round_, CONFIRM, value) for value in range(self.shape.values)]
            if sum(1 for bit in bits if shown.quorum & bit) > 1:
                broken.append("one quorum of confirms a round")
                break
        return tuple(broken)

    def broken_by_slot(self, slot: Slot) -> tuple[str, ...]:
        """Names of the properties of one honest slot that do not hold."""
        broken = []
        newest = -1
        for round_ in range(self.shape.rounds):
            for phase in (CONFIRM, ACCEPT):
                cast = [v for v in range(self.shape.values) if self._cast(slot, round_, phase, v)]
                if len(cast) > 1:
                    broken.append("one vote a place")
                if phase == ACCEPT and cast:
                    newest = round_
        if newest >= 0:
            lock = slot.lock
            if (
                lock is None
                or lock.round < newest
                or not self._cast(slot, lock.round, ACCEPT, lock.value)
            ):
                broken.append("no lock lost")
        return tuple(sorted(set(broken)))

    def _cast(self, slot: Slot, round_: int, phase: int, value: int) -> bool:
        return bool(slot.votes & self.shape.bit(round_, phase, value))
