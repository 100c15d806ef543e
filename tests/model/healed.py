"""Rounds after the network healed: does an adversary with one slot keep the cluster from deciding?

One healed round (protocol §6, §7): every honest slot settles, confirms, accepts; all that honest
slots send arrives in that round. Snowball does its work: all that settle by polls settle on one
fresh proposal of the round. The Byzantine slot says what it likes to whom it likes, when it likes,
and is never needed. A start is any state that the model of agreement (`rules`) reaches: nothing is
assumed about what went before. A *play* is one choice of the adversary a round; it goes on for ever
exactly if it meets a state again (up to names of slots and values, and the distance of rounds): a
lasso. If there is no lasso, the longest play says within how many healed rounds a certificate is
certain.

Mirrors `polling.advance_settling` (valid value first), `voting.advance_confirm`, `lock_allows`,
`raise_valid` (highest kept), `advance_resend` (passed on), `accept_confirmed`.

`timely`: what one honest slot holds when it confirms, all hold when they confirm. Without it the
adversary shows a vote that it held back to some slots just before they confirm, and honest slots
pass it on too late for the others: the worst that a schedule within the bounds of delay can do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product
from typing import NamedTuple

from tests.model.slots import Lock

PROVEN_MAX = 4  # quorums of confirms the adversary may still show: older ones go
FRESH = 1000  # + round: the value of a proposal that nobody has seen before


@dataclass(frozen=True, slots=True)
class Habits:
    """Which rules honest slots keep after the network healed. `Habits()` is the protocol."""

    valid_first: bool = True  # polling.advance_settling
    passed_on: bool = True  # voting.advance_resend
    highest_kept: bool = True  # voting.raise_valid
    lock_moves: bool = True  # voting.lock_allows: quorum from the lock's round on
    valid_durable: bool = True  # voting.raise_valid: Remember; SignRecord.valid
    timely: bool = True
    led: bool = False  # follow the first rank's valid value, if it is proven and the lock allows


class Healed(NamedTuple):
    """A state between two rounds. `proven`: quorums of confirms that the adversary can complete."""

    round: int
    locks: tuple[Lock | None, ...]
    valids: tuple[Lock | None, ...]
    proven: tuple[Lock, ...]


class Play(NamedTuple):
    """What the adversary did in one round, and what came of it; `after` null: a certificate."""

    shown: tuple[tuple[int, Lock], ...]  # (slot, quorum shown to it before it confirms)
    confirms: tuple[int | None, ...]
    accepts: tuple[int | None, ...]
    after: Healed | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rounds`: the longest play, if none is endless. `stem` and `loop`: an endless one."""

    states: int
    plays: int
    rounds: int
    stem: tuple[tuple[Healed, Play], ...]
    loop: tuple[tuple[Healed, Play], ...]

    @property
    def decides(self) -> bool:
        return not self.loop


def _key(state: Healed) -> tuple[object, ...]:
    """The same for states that differ by names of slots or values, or by the distance of rounds."""
    held = [lock for lock in (*state.locks, *state.valids, *state.proven) if lock is not None]
    order = {round_: i for i, round_ in enumerate(sorted({lock.round for lock in held}))}
    best: tuple[object, ...] | None = None
    for slots in permutations(range(len(state.locks))):
        names: dict[int, int] = {}

        def named(lock: Lock | None, names: dict[int, int] = names) -> tuple[int, int]:
            if lock is None:
                return (-1, -1)
            return names.setdefault(lock.value, len(names)), order[lock.round]

        key = (
            *[named(state.locks[i]) for i in slots],
            *[named(state.valids[i]) for i in slots],
            *[named(lock) for lock in sorted(state.proven, key=lambda lock: lock.round)],
        )
        best = key if best is None or key < best else best
    assert best is not None
    return best


class Rounds:
    """All plays from given states, for `slots` slots of which `byzantine` are the adversary's."""

    def __init__(self, habits: Habits, slots: int = 4, byzantine: int = 1) -> None:
        self.habits, self.slots, self.byzantine = habits, slots, byzantine
        self.honest = slots - byzantine
        self.cut = False

    def is_quorum(self, weight: int) -> bool:
        return 3 * weight > 2 * self.slots

    # ---- one round ---------------------------------------------------------------------------

    def plays(self, state: Healed) -> Iterator[Play]:
        """Everything that the adversary may do in the next round."""
        for shown in self._showings(state):
            valids = list(state.valids)
            for i, quorum in shown:
                valids[i] = self._raised(valids[i], quorum)
            for leader in range(self.honest) if self.habits.led else (0,):
                confirms = self._confirms(state, valids, leader)
                yield from self._accepting(state, valids, shown, confirms)

    def _showings(self, state: Healed) -> Iterator[tuple[tuple[int, Lock], ...]]:
        """Which quorums become known to whom before they confirm."""
        yield ()
        everybody = range(self.honest)
        if self.habits.timely and self.habits.passed_on:
            for quorum in state.proven:
                yield tuple([(i, quorum) for i in everybody])
            return
        choices = product((None, *state.proven), repeat=self.honest)
        for choice in sorted(choices, key=lambda choice: self.honest - choice.count(None)):
            told = [(i, quorum) for i, quorum in enumerate(choice) if quorum is not None]
            if told:
                yield tuple(told)

    def _raised(self, valid: Lock | None, quorum: Lock) -> Lock:
        if valid is not None and self.habits.highest_kept and quorum.round <= valid.round:
            return valid
        return quorum

    def _confirms(
        self, state: Healed, valids: Sequence[Lock | None], leader: int
    ) -> tuple[int | None, ...]:
        fresh = FRESH + state.round
        cast = []
        for i, lock in enumerate(state.locks):
            valid = valids[i]
            if self.habits.led:
                valid = valids[leader]
            value = valid.value if valid is not None and self.habits.valid_first else fresh
            cast.append(value if self._lock_allows(lock, valid, value) else None)
        return tuple(cast)

    def _lock_allows(self, lock: Lock | None, valid: Lock | None, value: int) -> bool:
        if lock is None or lock.value == value:
            return True
        if not self.habits.lock_moves or valid is None:
            return False
        return valid.value == value and valid.round >= lock.round

    def _accepting(
        self,
        state: Healed,
        valids: Sequence[Lock | None],
        shown: tuple[tuple[int, Lock], ...],
        confirms: tuple[int | None, ...],
    ) -> Iterator[Play]:
        """The adversary completes a quorum of confirms for some slots, or for none."""
        everybody = tuple(range(self.honest))
        for value in sorted({v for v in confirms if v is not None}):
            weight = confirms.count(value)
            if self.is_quorum(weight):
                # Honest slots alone: all of them see it, lock and accept, and certify.
                yield Play(shown, confirms, tuple([value] * self.honest), None)
                return
        able = [
            value
            for value in sorted({v for v in confirms if v is not None})
            if self.is_quorum(confirms.count(value) + self.byzantine)
        ]
        proven = (*state.proven, *[Lock(value, state.round) for value in able])
        yield self._end(state, valids, shown, confirms, (), None, proven)
        for value in able:
            for group in _subsets(everybody):
                if group and not self.is_quorum(len(group)):
                    yield self._end(state, valids, shown, confirms, group, value, proven)

    def _end(
        self,
        state: Healed,
        valids: Sequence[Lock | None],
        shown: tuple[tuple[int, Lock], ...],
        confirms: tuple[int | None, ...],
        group: tuple[int, ...],
        value: int | None,
        proven: tuple[Lock, ...],
    ) -> Play:
        locks, after = list(state.locks), list(valids)
        for i in group:
            assert value is not None
            locks[i] = after[i] = Lock(value, state.round)
        if self.habits.passed_on:
            best = max([v for v in after if v is not None], key=lambda v: v.round, default=None)
            after = [best] * self.honest
        accepts = tuple([value if i in group else None for i in range(self.honest)])
        following = self.kept(Healed(state.round + 1, tuple(locks), tuple(after), proven))
        return Play(shown, confirms, accepts, following)

    def kept(self, state: Healed) -> Healed:
        """Without quorums that can move nothing any more."""
        proven = sorted(set(state.proven), key=lambda lock: lock.round)
        if self.habits.highest_kept:
            least = min([-1 if v is None else v.round for v in state.valids])
            proven = [quorum for quorum in proven if quorum.round > least]
        if len(proven) > PROVEN_MAX:  # fewer plays: an endless one is real, "decides" is not
            self.cut, proven = True, proven[-PROVEN_MAX:]
        return state._replace(proven=tuple(proven))

    # ---- all plays ---------------------------------------------------------------------------

    def judge(self, starts: Sequence[Healed]) -> Verdict:
        """The longest play from any of the starts, or an endless one."""
        longest: dict[object, int] = {}
        plays = 0
        for start in starts:
            first = self.kept(start)
            if _key(first) in longest:
                continue
            path: list[tuple[Healed, Play]] = []
            places = {_key(first): 0}
            stack = [(first, self.plays(first), 0)]
            while stack:
                state, coming, rounds = stack[-1]
                play = next(coming, None)
                if play is None:
                    longest[_key(state)] = rounds
                    del places[_key(state)]
                    stack.pop()
                    if stack:
                        path.pop()
                        above, rest, best = stack[-1]
                        stack[-1] = (above, rest, max(best, rounds + 1))
                    continue
                plays += 1
                after = play.after
                if after is None:
                    stack[-1] = (state, coming, max(rounds, 1))
                    continue
                key = _key(after)
                if key in places:
                    path.append((state, play))
                    turn = places[key]
                    return Verdict(
                        len(longest) + len(places),
                        plays,
                        -1,
                        tuple(path[:turn]),
                        tuple(path[turn:]),
                    )
                if key in longest:
                    stack[-1] = (state, coming, max(rounds, longest[key] + 1))
                    continue
                path.append((state, play))
                places[key] = len(path)
                stack.append((after, self.plays(after), 0))
        assert not self.cut, "plays were left out: nothing is certain"
        return Verdict(len(longest), plays, max(longest.values(), default=0), (), ())


def _subsets(slots: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [group for size in range(len(slots) + 1) for group in combinations(slots, size)]


# ---- in words -----------------------------------------------------------------------------------


def told(verdict: Verdict) -> list[str]:
    """An endless play, round by round."""
    names: dict[int, str] = {}
    lines = []
    for part, text in ((verdict.stem, ""), (verdict.loop, "again and again: ")):
        for state, play in part:
            lines.append(f"{text}round {state.round}: " + _round(state, play, names))
    return lines


def _name(value: int, names: dict[int, str]) -> str:
    return names.setdefault(value, chr(ord("A") + len(names) % 26) + "'" * (len(names) // 26))


def _round(state: Healed, play: Play, names: dict[int, str]) -> str:
    parts = []
    for i, (lock, valid) in enumerate(zip(state.locks, state.valids, strict=True), 1):
        held = f"valid {_name(valid.value, names)}@{valid.round}" if valid else "no valid value"
        locked = f", locked on {_name(lock.value, names)}@{lock.round}" if lock else ""
        parts.append(f"slot {i} ({held}{locked})")
    text = "; ".join(parts)
    for i, quorum in play.shown:
        text += f"; slot {i + 1} is shown the quorum {_name(quorum.value, names)}@{quorum.round}"
    said = [_name(v, names) if v is not None else "nil" for v in play.confirms]
    text += "; they confirm " + ", ".join(said)
    took = [str(i + 1) for i, v in enumerate(play.accepts) if v is not None]
    if took:
        value = next(v for v in play.accepts if v is not None)
        text += (
            f"; slots {', '.join(took)} are shown a quorum for {_name(value, names)} and lock it"
        )
    return text
