"""The states of a round, as the real engine goes through them.

One engine of four owners with three slots each (`Walker`) is put through the inputs of a walk in
each state that the walk reaches; what it does is written down. Time and the other three are the
walk's. Nothing of the engine is replaced, and no edge is written by hand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from consensus.block import Block
from consensus.certificates import Vote, append_signature
from consensus.effects import Build, Commit, Effect, Execute, Sign
from consensus.events import (
    ExecutionFaulted,
    VotesReceived,
)
from consensus.ids import BlockId
from consensus.signatures import ACCEPT, CONFIRM
from consensus.signing import ACCEPT as ACCEPT_PHASE
from consensus.signing import CONFIRM as CONFIRM_PHASE
from consensus.signing import SignRecord
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_engine import Desk

BLOCK, NIL = "a block", "nil"
A, B = "A", "B"
WAITING, POLLING, DECIDED, NEXT = "waiting", "polling", "decided", "next round"
EARLIER = "an earlier round"
CONFIRMED, ACCEPTED = "confirmed", "accepted"
ENDS = (DECIDED, NEXT, EARLIER)
LATER = 1  # the later round that is walked
STATES_MAX = 32


class Edge(NamedTuple):
    """What an input does in a state: the state after it, the effects it orders, each once, and
    what it has signed: (phase, value) in order."""

    before: str
    cause: str
    after: str
    orders: tuple[str, ...]
    signs: tuple[tuple[str, str], ...] = ()


class Walker(Desk):
    """An engine in a walk: `at` is the round that is walked, `names` what its blocks are called."""

    at: int = 0

    def __init__(
        self,
        chain: MiniChain,
        me: int,
        *,
        record: SignRecord | None = None,
        saved: Sequence[Block] = (),
    ) -> None:
        super().__init__(me, chain=chain, record=record, saved=saved)
        self.names: dict[BlockId, str] = {}
        self.held = (Build, Commit)

    def name(self, block: BlockId | None) -> str:
        return NIL if block is None else self.names.get(block, BLOCK)


@dataclass(frozen=True, slots=True)
class Input:
    """Something that may happen; `holds` null: in every state that is not an end."""

    name: str
    act: Callable[[Walker], Walker | None]  # another desk: the same peer after a restart
    holds: tuple[str, ...] | None = None


# ---- where a walk starts -------------------------------------------------------------------------


def fresh_chain() -> MiniChain:
    return MiniChain(make_spec(4, small()))


def _me(chain: MiniChain) -> int:
    """An owner that is not the first of the rounds that are walked."""
    desks = [(number, Desk(number, chain=chain)) for number in range(4)]
    return next(n for n, desk in desks if desk.my_rank(0) and desk.my_rank(LATER))


def first_desk(chain: MiniChain) -> Walker:
    """In round 0, which has not proposed yet."""
    desk = Walker(chain, _me(chain))
    desk.due()
    return desk


def _later_desk(chain: MiniChain) -> Walker:
    """In a later round, because all others accepted nil; nothing is locked."""
    desk = first_desk(chain)
    desk.at = LATER
    desk.to_round(LATER)
    return desk


def _locked_desk(chain: MiniChain) -> Walker:
    """In a later round, locked on A since round 0; another block, B, is proposed and valid here."""
    desk = first_desk(chain)
    locked = desk.propose(0, 0)
    desk.confirms(desk.others(), locked)
    desk.at = LATER
    desk.to_round(LATER)
    other = desk.propose(0, LATER)
    desk.names = {locked.id: A, other.id: B}
    return desk


def block_here(desk: Walker) -> Block:
    return desk.block(0, desk.at)


def _locked_block(desk: Walker) -> Block:
    return desk.block(0, 0)


Chosen = Callable[[Walker], Block]


def _cast(
    phase: str, chosen: Chosen | None = None, count: int = 3, later: int = 0
) -> Callable[[Walker], None]:
    """So many others vote for it, nil by default, so many rounds above the one that is walked."""

    def act(desk: Walker) -> None:
        block = None if chosen is None else chosen(desk)
        desk.votes(phase, desk.others()[:count], block, desk.at + later)

    return act


def _divided(phase: str) -> Callable[[Walker], None]:
    """Three votes for three values, then the timeout."""

    def act(desk: Walker) -> None:
        other = desk.block(2, desk.at)
        blocks = (block_here(desk), other, None)
        cast = [
            (0, desk.vote(phase, peer, block, desk.at))
            for peer, block in zip(desk.others(), blocks, strict=True)
        ]
        desk.send(VotesReceived(tuple(cast)))
        desk.wait(desk.spec.parameters.vote_timeout_ms(desk.at))

    return act


def _again(desk: Walker) -> Walker:
    record = desk.record.decode(desk.record.raw)
    saved = [c.block for c in desk.standing.candidates.values() if c.persisted]
    again = Walker(desk.chain, desk.peers.index(desk.me), record=record, saved=saved)
    again.at, again.names = desk.at, desk.names
    return again


def _restart(desk: Walker) -> Walker:
    again = _again(desk)
    again.due()
    return again


def _restart_without_a(desk: Walker) -> Walker:
    """Its host does not come to execute A again; the others take it to this round, B is valid."""
    again = _again(desk)
    again.held = (Build, Commit, Execute)
    again.due()
    again.to_round(again.at)
    again.send(again.executed(again.propose(0, again.at)))
    return again


def _propose(desk: Walker) -> None:
    desk.propose(0, desk.at)


def _polls(desk: Walker) -> None:
    desk.settle_on(block_here(desk))


def _settle_timeout(desk: Walker) -> None:
    desk.fail_polls()
    desk.wait(desk.spec.parameters.settle_timeout_ms(desk.at))


def _nobody(desk: Walker) -> None:
    desk.wait(4 * desk.spec.parameters.window_ms(desk.at))
    desk.wait(desk.spec.parameters.settle_timeout_ms(desk.at))


def _faults(desk: Walker) -> None:
    """The host fails on the only proposal as often as it is tried."""
    desk.held = (Build, Commit, Execute)
    block = desk.propose(0, desk.at)
    desk.send(ExecutionFaulted(block.id, "a worker died"))
    desk.wait(desk.spec.parameters.settle_timeout_ms(desk.at))


def _certified(chosen: Chosen) -> Callable[[Walker], None]:
    def act(desk: Walker) -> None:
        desk.certify(desk.others(), chosen(desk), desk.at)

    return act


def _led(chosen: Chosen | None) -> Callable[[Walker], None]:
    """The round's first owner confirms it."""

    def act(desk: Walker) -> None:
        block = None if chosen is None else chosen(desk)
        desk.confirms([desk.ranked(0, desk.at)], block, desk.at)

    return act


def _window(desk: Walker) -> None:
    desk.wait(desk.spec.parameters.window_ms(desk.at))


OF_EVERY_WALK = (
    Input("a quorum of Confirm(nil)", _cast(CONFIRM)),
    Input("confirms of any value, then vote_timeout", _divided(CONFIRM)),
    Input("a quorum of Accept(nil)", _cast(ACCEPT)),
    Input("accepts of any value, then vote_timeout", _divided(ACCEPT)),
    Input("more than a third of the slots votes in a later round", _cast(CONFIRM, None, 2, 1)),
    Input("crash and restart", _restart),
)
INPUTS = (
    Input("a valid proposal", _propose, (WAITING,)),
    Input("a proposal on which this host fails, then settle_timeout", _faults, (WAITING,)),
    Input("4 windows and settle_timeout without a proposal", _nobody, (WAITING,)),
    Input("polls settle on it", _polls, (POLLING,)),
    Input("settle_timeout", _settle_timeout, (POLLING,)),
    Input("a quorum of Confirm(b)", _cast(CONFIRM, block_here)),
    Input("a quorum of Accept(b), or a certificate", _certified(block_here)),
    *OF_EVERY_WALK,
)
LOCKED_INPUTS = (
    Input("a window without the first owner's Confirm", _window, (WAITING,)),
    Input("the first owner confirms A", _led(_locked_block), (WAITING,)),
    Input("the first owner confirms B", _led(block_here), (WAITING,)),
    Input("the first owner confirms nil", _led(None), (WAITING,)),
    Input("crash and restart, A is not executed again", _restart_without_a, (WAITING,)),
    Input("polls settle on B", _polls, (POLLING,)),
    Input("settle_timeout", _settle_timeout, (POLLING,)),
    Input("a quorum of Confirm(A)", _cast(CONFIRM, _locked_block)),
    Input("a quorum of Confirm(B)", _cast(CONFIRM, block_here)),
    Input("a quorum of Accept(A), or a certificate", _certified(_locked_block)),
    *OF_EVERY_WALK,
)


def _said(desk: Walker, phase: int) -> str | None:
    unsigned = desk.record.signed(1, desk.at, phase)
    if unsigned is None:
        return None
    return desk.name(Vote.decode(append_signature(unsigned, bytes(64))).block)


def stage(desk: Walker) -> str:
    """The name of the state that the engine is in, of the round that is walked."""
    if any(isinstance(effect, Commit) for effect in desk.all):
        return DECIDED
    if desk.standing.round != desk.at:
        return NEXT if desk.standing.round > desk.at else EARLIER
    for phase, said in ((ACCEPT_PHASE, ACCEPTED), (CONFIRM_PHASE, CONFIRMED)):
        word = _said(desk, phase)
        if word is not None:
            return f"{said} {word}"
    return POLLING if desk.standing.polling else WAITING


Start = Callable[[MiniChain], Walker]


def _replay(start: Start, chain: MiniChain, path: tuple[Input, ...]) -> tuple[Walker, list[Effect]]:
    """An engine after a row of inputs, and what it ordered since the last of them began."""
    desk = start(chain)
    since = 0
    for each in path:
        since = len(desk.all)
        again = each.act(desk)
        if again is not None:
            desk, since = again, 0
    return desk, desk.all[since:]


def _walk(start: Start, inputs: tuple[Input, ...]) -> list[Edge]:
    """Every input in every state that the engine reaches from this start by these inputs."""
    chain = fresh_chain()
    paths: dict[str, tuple[Input, ...]] = {stage(start(chain)): ()}
    edges: list[Edge] = []
    waiting = list(paths)
    while waiting:
        before = waiting.pop(0)
        assert len(paths) <= STATES_MAX, "a round has fewer states"
        for each in inputs:
            if each.holds is not None and before not in each.holds:
                continue
            path = (*paths[before], each)
            desk, effects = _replay(start, chain, path)
            after = stage(desk)
            edges.append(Edge(before, each.name, after, names_of(effects), _signs(desk, effects)))
            here = block_here(desk).id in desk.standing.candidates  # without it states are walked
            if here and after not in paths and after not in ENDS:  # later, with it
                paths[after] = path
                waiting.append(after)
    return edges


@cache
def round_edges() -> list[Edge]:
    """Round 0."""
    return _walk(first_desk, INPUTS)


@cache
def later_edges() -> list[Edge]:
    """A later round of a peer that has no lock and no valid value."""
    return _walk(_later_desk, INPUTS)


@cache
def locked_edges() -> list[Edge]:
    """A later round of a peer that is locked on A, its valid value, where B is proposed."""
    return _walk(_locked_desk, LOCKED_INPUTS)


def names_of(effects: list[Effect]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([type(effect).__name__ for effect in effects]))


def _signs(desk: Walker, effects: list[Effect]) -> tuple[tuple[str, str], ...]:
    """The votes ordered, of the round that is walked; after a restart old ones come again."""
    found = []
    for effect in effects:
        if isinstance(effect, Sign) and effect.kind in (CONFIRM, ACCEPT):
            vote = Vote.decode(append_signature(effect.unsigned, bytes(64)))
            if vote.round == desk.at:
                found.append((vote.phase, desk.name(vote.block)))
    return tuple(found)
