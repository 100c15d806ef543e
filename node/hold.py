"""Nothing is signed before it is known where the chain stands (protocol §7, ADR 0024).

Then no own signature of a later height can be unknown here, however old the sign record is
(node.recall). Pure: the real runtime and the simulated host both hold by it. Knows no disk.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from consensus.effects import Remember, Sign
from consensus.events import Event, PollReceived, TipReceived
from consensus.ids import Peer
from node.catchup import TIPS_MAX
from node.core import NodeCore

HELD_MAX: Final = 16  # signatures that wait until the chain's tip is known
# Of so many equal owners that all links together reach too few of them, this many speak for all:
# then a third of those who spoke is believed.
TELLERS_MIN: Final = 64


class Horizon(NamedTuple):
    """`height`: certified here. `known`: the newest height that the chain is known to have."""

    height: int
    known: int
    sure: (
        bool  # peers with more than two thirds of the slots told their tips, or TELLERS_MIN owners
    )

    @property
    def behind(self) -> int:
        return self.known - self.height


def horizon(core: NodeCore) -> Horizon:
    """Own height, and that of the chain as peers tell it; no single peer can raise it.

    Tips are claims, so a height counts once peers with more than a third of the slots have it.
    """
    return _horizon(core, core.catchup.told)


def _horizon(core: NodeCore, told: Mapping[Peer, int]) -> Horizon:
    machine = core.engine.machine
    height = int(machine.tip.header.height)
    weights = machine.standing.votes.weights
    claims = [(tip, weights[peer]) for peer, tip in told.items() if peer in weights]
    tellers = len(claims)
    claims.append((height, weights.get(machine.peer, 0)))
    total, heard = sum(weights.values()), sum([weight for _, weight in claims])
    most = 3 * heard > 2 * total
    if not most and tellers >= TELLERS_MIN:
        total = heard
    gathered, known = 0, height
    for tip, weight in sorted(claims, reverse=True):
        gathered += weight
        if 3 * gathered > total:
            known = max(height, tip)
            break
    return Horizon(height, known, most or tellers >= TELLERS_MIN)


class Hold:
    """What the core would have signed, until enough peers have told their tips since the start, and
    none is ahead of ours: see `Horizon`.

    What a peer says itself over its link is of now; votes may have been said long ago, and anybody
    may say them again. `is_open`: nothing waits.
    """

    def __init__(self, core: NodeCore, *, is_open: bool = False) -> None:
        self._core, self._open = core, is_open
        self._told: dict[Peer, int] = {}
        self._held: list[Sign | Remember] = []

    def hear(self, event: Event) -> None:
        """An event that the core takes in: who tells its tip."""
        if self._open:
            return
        match event:
            case TipReceived():
                self._tell(event.peer, event.height)
            case PollReceived():  # asked for the height after its tip
                self._tell(event.peer, event.height - 1)
            case _:
                pass

    def _tell(self, peer: Peer, tip: int) -> None:
        before = self._told.pop(peer, 0)
        self._told[peer] = max(before, tip)
        if len(self._told) > TIPS_MAX:
            del self._told[next(iter(self._told))]

    @property
    def is_open(self) -> bool:
        """Once open, always: who falls behind later remembers what it has signed."""
        if not self._open:
            seen = _horizon(self._core, self._told)
            self._open = seen.sure and seen.behind <= 0 and horizon(self._core).behind <= 0
        return self._open

    def keeps(self, effect: Sign | Remember) -> bool:
        """Whether it has to wait; then it comes out of `freed`, in its order."""
        if not self._held and self.is_open:
            return False
        if type(effect) is Sign:
            # Its record holds what was to be remembered; other heights are of no use any more.
            kept = [each for each in self._held if type(each) is Sign]
            self._held = [each for each in kept if each.height == effect.height]
        self._held = [*self._held, effect][-HELD_MAX:]
        return True

    def freed(self) -> list[Sign | Remember]:
        """What may be signed now, as far as it is of the height being decided."""
        if not self._held or not self.is_open:
            return []
        held, self._held = self._held, []
        here = self._core.height
        return [each for each in held if isinstance(each, Remember) or each.height >= here]
