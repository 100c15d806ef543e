"""The states of a round, of a proposal and of a whole height, as the real engine goes through them.

One engine of four owners with three slots each (`Desk`) is put through every input in every state;
what it does is written down. Time and the other three are the walk's. Nothing of the engine is
replaced, and no edge is written by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from consensus import voting
from consensus.block import Block
from consensus.certificates import Vote, append_signature
from consensus.effects import Ask, Build, Commit, Effect, Execute, Gossip
from consensus.events import (
    AnswerReceived,
    BlockExecuted,
    Event,
    ExecutionFaulted,
    VotesReceived,
    Woke,
)
from consensus.ids import MessageId, Round
from consensus.signatures import ACCEPT, CONFIRM
from consensus.signing import ACCEPT as ACCEPT_PHASE
from consensus.signing import CONFIRM as CONFIRM_PHASE
from consensus.signing import SignRecord
from consensus.standing import EXECUTING, HELD
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_engine import SETTLE, VOTE, Desk

BLOCK, NIL = "a block", "nil"
WAITING, POLLING, DECIDED, NEXT = "waiting", "polling", "decided", "next round"
STATES_MAX = 32


class Edge(NamedTuple):
    """What an input does in a state: the state after it, and the effects it orders, each once."""

    before: str
    cause: str
    after: str
    orders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Input:
    """Something that may happen; `holds` null: in every state that is not an end."""

    name: str
    act: Callable[[Desk], Desk | None]  # another desk: the same peer after a restart
    holds: tuple[str, ...] | None = None


# ---- one round ----------------------------------------------------------------------------------


def _chain() -> MiniChain:
    return MiniChain(make_spec(4, small()))


def _desk(chain: MiniChain) -> Desk:
    """An owner that is not the first of round 0, which has not proposed yet."""
    me = next(n for n in range(4) if Desk(n, chain=chain).my_rank() != 0)
    desk = Desk(me, chain=chain)
    desk.held = (Build, Commit)
    desk.due()
    return desk


def _the_block(desk: Desk) -> Block:
    return desk.block(0, 0)


def _cast(phase: str, value: str, count: int = 3, later: int = 0) -> Callable[[Desk], None]:
    def act(desk: Desk) -> None:
        block = _the_block(desk) if value == BLOCK else None
        desk.votes(phase, desk.others()[:count], block, later)

    return act


def _divided(phase: str) -> Callable[[Desk], None]:
    """Three votes for three values, then the timeout."""

    def act(desk: Desk) -> None:
        other = desk.block(2, 0)
        blocks = (_the_block(desk), other, None)
        cast = [
            (0, desk.vote(phase, peer, block))
            for peer, block in zip(desk.others(), blocks, strict=True)
        ]
        desk.send(VotesReceived(tuple(cast)))
        desk.wait(VOTE)

    return act


def _restart(desk: Desk) -> Desk:
    record = desk.record.decode(desk.record.raw)
    saved = [c.block for c in desk.standing.candidates.values() if c.persisted]
    again = Desk(desk.peers.index(desk.me), chain=desk.chain, record=record, saved=saved)
    again.held = (Build, Commit)
    again.due()
    return again


def _propose(desk: Desk) -> None:
    desk.propose(0, 0)


def _polls(desk: Desk) -> None:
    desk.settle_on(_the_block(desk))


def _settle_timeout(desk: Desk) -> None:
    desk.fail_polls()
    desk.wait(SETTLE)


def _faults(desk: Desk) -> None:
    """The host fails on the only proposal as often as it is tried."""
    desk.held = (Build, Commit, Execute)
    block = desk.propose(0, 0)
    desk.send(ExecutionFaulted(block.id, "a worker died"))
    desk.wait(SETTLE)


def _certified(desk: Desk) -> None:
    desk.certify(desk.others(), _the_block(desk))


INPUTS = (
    Input("a valid proposal", _propose, (WAITING,)),
    Input("a proposal on which this host fails, then settle_timeout", _faults, (WAITING,)),
    Input("polls settle on it", _polls, (POLLING,)),
    Input("settle_timeout", _settle_timeout, (POLLING,)),
    Input("a quorum of Confirm(b)", _cast(CONFIRM, BLOCK)),
    Input("a quorum of Confirm(nil)", _cast(CONFIRM, NIL)),
    Input("confirms of any value, then vote_timeout", _divided(CONFIRM)),
    Input("a quorum of Accept(b), or a certificate", _certified),
    Input("a quorum of Accept(nil)", _cast(ACCEPT, NIL)),
    Input("accepts of any value, then vote_timeout", _divided(ACCEPT)),
    Input("more than a third of the slots votes in a later round", _cast(CONFIRM, NIL, 2, 1)),
    Input("crash and restart", _restart),
)


def _word(desk: Desk, phase: int) -> str | None:
    unsigned = desk.record.signed(1, 0, phase)
    if unsigned is None:
        return None
    vote = Vote.decode(append_signature(unsigned, bytes(64)))
    return NIL if vote.block is None else BLOCK


def stage(desk: Desk) -> str:
    """The name of the state that the engine is in, of its first round."""
    if any(isinstance(effect, Commit) for effect in desk.all):
        return DECIDED
    if desk.standing.round > 0:
        return NEXT
    for phase, said in ((ACCEPT_PHASE, "accepted"), (CONFIRM_PHASE, "confirmed")):
        word = _word(desk, phase)
        if word is not None:
            return f"{said} {word}"
    return POLLING if desk.standing.polling else WAITING


def _replay(chain: MiniChain, path: tuple[Input, ...]) -> tuple[Desk, list[Effect]]:
    """An engine after a row of inputs, and what it ordered since the last of them began."""
    desk = _desk(chain)
    since = 0
    for each in path:
        since = len(desk.all)
        again = each.act(desk)
        if again is not None:
            desk, since = again, 0
    return desk, desk.all[since:]


@cache
def round_edges() -> list[Edge]:
    """Every input in every state that the engine reaches in its first round."""
    chain = _chain()
    paths: dict[str, tuple[Input, ...]] = {stage(_desk(chain)): ()}
    edges: list[Edge] = []
    waiting = list(paths)
    while waiting:
        before = waiting.pop(0)
        assert len(paths) <= STATES_MAX, "a round has fewer states"
        for each in INPUTS:
            if each.holds is not None and before not in each.holds:
                continue
            path = (*paths[before], each)
            desk, effects = _replay(chain, path)
            after = stage(desk)
            edges.append(Edge(before, each.name, after, _names(effects)))
            here = _the_block(desk).id in desk.standing.candidates  # without it states are walked
            if here and after not in paths and after not in (DECIDED, NEXT):  # later, with it
                paths[after] = path
                waiting.append(after)
    return edges


def _names(effects: list[Effect]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([type(effect).__name__ for effect in effects]))


# ---- one proposal -------------------------------------------------------------------------------


@cache
def proposal_edges() -> list[Edge]:
    """How a proposal that came by gossip becomes a candidate, or not."""
    chain = _chain()
    edges = []
    for before, cause, outcome in _PROPOSAL_CAUSES:
        desk = _desk(chain)
        desk.held = (Build, Commit, Execute)
        block = _the_block(desk)
        if before != EXECUTING:
            desk.pool.missing = (MessageId(block.body.messages[0]),)
        if before != _NEW:
            desk.propose(0, 0)
        since = len(desk.all)
        if before == HELD:
            desk.pool.missing = ()
        if outcome is None:
            desk.propose(0, 0) if before == _NEW else desk.send(Woke())
        else:
            desk.send(outcome(desk, block))
        candidate = desk.standing.candidates[block.id]
        edges.append(Edge(before, cause, candidate.status, _names(desk.all[since:])))
    return edges


def _refuted(desk: Desk, block: Block) -> Event:
    return BlockExecuted(block.id, None, None, "state_root")


def _faulted(desk: Desk, block: Block) -> Event:
    return ExecutionFaulted(block.id, "a worker died")


_NEW = "new"
_PROPOSAL_CAUSES: tuple[tuple[str, str, Callable[[Desk, Block], Event] | None], ...] = (
    (_NEW, "bodies are missing", None),
    (HELD, "the bodies have come", None),
    (EXECUTING, "it executes", Desk.executed),
    (EXECUTING, "it breaks a rule", _refuted),
    (EXECUTING, "the host fails, it is ordered again", _faulted),
)


# ---- the lock -----------------------------------------------------------------------------------

LOCK_ROUND, HERE_ROUND = 1, 3
A, B = "A", "B"


class Freedom(NamedTuple):
    """What a peer that is locked on A since round 1 confirms in round 3."""

    shown: str  # the quorum of confirms that it was shown
    settled_on: str
    confirms: str


@cache
def lock_table() -> list[Freedom]:
    """Asked of `voting.lock_allows`, for every quorum that may be shown."""
    desk = _desk(_chain())
    machine = desk.machine
    names = {A: desk.block(0, 0), B: desk.block(2, 0)}
    shown = [None, *[(name, round_) for name in names for round_ in range(HERE_ROUND)]]
    rows = []
    for quorum in shown:
        record = SignRecord.fresh(desk.spec.id, desk.me).with_lock(1, names[A].id, LOCK_ROUND)
        if quorum is not None:
            name, round_ = quorum
            proof = desk.aggregate(desk.others(), names[name], round_)
            record = record.with_valid(1, names[name].id, round_, proof.raw)
        machine.record = record
        said = "none" if quorum is None else f"{quorum[0]} in round {quorum[1]}"
        for name, block in names.items():
            allowed = voting.lock_allows(machine, block.id)
            rows.append(Freedom(said, name, name if allowed else NIL))
    return rows


# ---- one height ---------------------------------------------------------------------------------


class Line(NamedTuple):
    """One arrow of the story of a height: who tells whom what, so many times in a row."""

    sender: str
    receiver: str
    text: str
    times: int = 1


class Story(Desk):
    """A desk that writes down what passes between peers, engine and host."""

    def __init__(self, chain: MiniChain, me: int) -> None:
        self.lines: list[Line] = []
        super().__init__(me, chain=chain)

    def send(self, event: Event) -> list[Effect]:
        waiting, self.out = [event], []
        while waiting:
            coming = waiting.pop(0)
            self._tell("Peers" if coming is event else "Host", "Engine", type(coming).__name__)
            effects = self.engine.handle(coming, self.now)
            self.out += effects
            for effect in effects:
                self._tell("Engine", *_towards(effect))
                waiting += self._perform(effect)
        self.all += self.out
        return self.out

    def _tell(self, sender: str, receiver: str, text: str) -> None:
        if self.lines and self.lines[-1][:3] == (sender, receiver, text):
            self.lines[-1] = self.lines[-1]._replace(times=self.lines[-1].times + 1)
        else:
            self.lines.append(Line(sender, receiver, text))


def _towards(effect: Effect) -> tuple[str, str]:
    name = type(effect).__name__
    if isinstance(effect, Ask):
        return "Peers", f"Ask {effect.proto}"
    if isinstance(effect, Gossip):
        return "Peers", f"Gossip {effect.topic}"
    kind = getattr(effect, "kind", "")
    return "Host", f"{name} {kind}".strip()


@cache
def height_story() -> list[Line]:
    """One height at an owner that does not propose: from the proposal to the next height."""
    chain = _chain()
    me = next(n for n in range(4) if Desk(n, chain=chain).my_rank() != 0)
    desk = Story(chain, me)
    block = desk.propose(0, 0)
    while not desk.standing.settled:
        ask = desk.polls()[0]
        desk.send(AnswerReceived(ask.ask, ask.peer, block.height, Round(0), block.id))
    desk.confirms(desk.others(), block)
    desk.accepts(desk.others(), block)
    assert desk.standing.height == 2, "a height was decided"
    return [line for line in desk.lines if "Woke" not in line.text]
