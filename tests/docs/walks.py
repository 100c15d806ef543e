"""The states of a proposal, the lock and a whole height, as the real engine goes through them.

As in `rounds`: time and the other three owners are the walk's, and nothing of the engine is
replaced.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from consensus import voting
from consensus.block import Block
from consensus.effects import Ask, Build, Commit, Effect, Execute, Gossip
from consensus.events import (
    AnswerReceived,
    BlockExecuted,
    Event,
    ExecutionFaulted,
    Woke,
)
from consensus.ids import MessageId, Round
from consensus.signing import SignRecord
from consensus.standing import EXECUTING, HELD
from tests.consensus.builders_chain import MiniChain
from tests.consensus.builders_engine import Desk
from tests.docs.rounds import NIL, A, B, Edge, block_here, first_desk, fresh_chain, names_of

# ---- one proposal -------------------------------------------------------------------------------


@cache
def proposal_edges() -> list[Edge]:
    """How a proposal that came by gossip becomes a candidate, or not."""
    chain = fresh_chain()
    edges = []
    for before, cause, outcome in _PROPOSAL_CAUSES:
        desk = first_desk(chain)
        desk.held = (Build, Commit, Execute)
        block = block_here(desk)
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
        edges.append(Edge(before, cause, candidate.status, names_of(desk.all[since:])))
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


class Freedom(NamedTuple):
    """What a peer that is locked on A since round 1 confirms in round 3."""

    shown: str  # the quorum of confirms that it was shown
    settled_on: str
    confirms: str


@cache
def lock_table() -> list[Freedom]:
    """Asked of `voting.lock_allows`, for every quorum that may be shown."""
    desk = first_desk(fresh_chain())
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
    chain = fresh_chain()
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
