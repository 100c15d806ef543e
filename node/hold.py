"""Nothing is signed before it is known where the chain stands (protocol §7, ADR 0024).

Then no own signature of a later height can be unknown here, however old the sign record is
(node.recall). Pure: the real runtime and the simulated host both hold by it. Knows no disk.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from consensus.effects import Remember, Sign
from consensus.events import Event, PollReceived, TipReceived
from consensus.ids import Peer
from node.catchup import TIPS_MAX
from node.core import NodeCore

HELD_MAX: Final = 16  # signatures that wait until the chain's tip is known
# Of so many equal owners that all links together reach too few of them, this many speak for all:
# as many slots as so many owners have on average, and more than half of what spoke is believed.
TELLERS_MIN: Final = 64
LINKS_MAX: Final = 128  # inward and outward together, as `network` has them


class Horizon(NamedTuple):
    """`height`: certified here. `known`: the newest height that the chain is known to have.

    `sure`: peers with more than two thirds of the slots told their tips, or with those of
    TELLERS_MIN average owners.
    """

    height: int
    known: int
    sure: bool

    @property
    def behind(self) -> int:
        return self.known - self.height


def horizon(core: NodeCore) -> Horizon:
    """Own height, and that of the chain as peers tell it; no single peer can raise it.

    Tips are claims, so a height counts once peers with more than a third of the slots have it.
    """
    return _horizon(core, core.catchup.told)


def _horizon(core: NodeCore, told: Mapping[Peer, int]) -> Horizon:
    height, heard = int(core.engine.machine.tip.header.height), _Heard.of(core, told)
    known = next((tip for tip, weight in heard.from_highest() if heard.is_believed(weight)), height)
    return Horizon(height, max(height, known), heard.many or heard.is_most(heard.weight))


def _is_level(core: NodeCore, told: Mapping[Peer, int]) -> bool:
    """Whether enough of those who told their tips are not ahead of ours.

    Who is ahead is no word for it, believed or not: a liar that says that we are there and one
    honest peer that says otherwise would be two of the three in four that open the hold.
    """
    height, heard = int(core.engine.machine.tip.header.height), _Heard.of(core, told)
    here = sum([weight for tip, weight in heard.claims if tip <= height])
    return 2 * here > heard.weight if heard.many else heard.is_most(here)


class _Heard(NamedTuple):
    """`claims`: (tip, slots) of owners, this one included. `weight`: their slots, out of `total`.
    `many`: links reach too few slots, but average owners enough have told."""

    claims: list[tuple[int, int]]
    weight: int
    total: int
    many: bool

    @classmethod
    def of(cls, core: NodeCore, told: Mapping[Peer, int]) -> "_Heard":
        machine = core.engine.machine
        weights = machine.standing.votes.weights
        claims = [(tip, weights[peer]) for peer, tip in told.items() if peer in weights]
        others, total = sum([weight for _, weight in claims]), sum(weights.values())
        own = weights.get(machine.peer, 0)
        claims.append((int(machine.tip.header.height), own))
        # Not by heads: many owners of one slot each are not what the chain says.
        many = others * len(weights) >= TELLERS_MIN * total and not _within_reach(weights)
        return cls(claims, others + own, total, many and 3 * (others + own) <= 2 * total)

    def is_most(self, weight: int) -> bool:
        return 3 * weight > 2 * self.total

    def is_believed(self, weight: int) -> bool:
        return 2 * weight > self.weight if self.many else 3 * weight > self.total

    def from_highest(self) -> Iterator[tuple[int, int]]:
        """(tip, slots of those who have it)."""
        gathered = 0
        for tip, weight in sorted(self.claims, reverse=True):
            gathered += weight
            yield tip, gathered


def _within_reach(weights: Mapping[Peer, int]) -> bool:
    """Whether links to the heaviest owners can reach more than two thirds of the slots."""
    heaviest = sorted(weights.values(), reverse=True)[:LINKS_MAX]
    return 3 * sum(heaviest) > 2 * sum(weights.values())


class Hold:
    """What the core would have signed, until peers with more than two thirds of the slots, this one
    included, have told tips since the start that are not ahead of ours.

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
            weights = self._core.engine.machine.standing.votes.weights
            strangers = (each for each in self._told if each not in weights)
            del self._told[next(strangers, next(iter(self._told)))]  # keys are free

    @property
    def is_open(self) -> bool:
        """Once open, always: who falls behind later remembers what it has signed."""
        if not self._open:
            level = _is_level(self._core, self._told)
            self._open = level and horizon(self._core).behind <= 0
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
