"""Outstanding polls: whom each drew, what came back, when the outcome is certain (protocol §6).

A group of polls shares one query per owner. Knows nothing of Snowball's counters or of time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consensus.ids import BlockId, Peer


@dataclass(slots=True)
class Poll:
    """One draw of k slots, grouped by owner; an answer weighs as many slots as were drawn."""

    drawn: dict[Peer, int]
    outstanding: int
    weights: dict[BlockId, int] = field(default_factory=dict)

    def record_answer(self, peer: Peer, block: BlockId | None) -> None:
        """Once per peer: its slots are no longer outstanding. Null counts as no answer."""
        weight = self.drawn.pop(peer, 0)
        self.outstanding -= weight
        if block is not None and weight:
            self.weights[block] = self.weights.get(block, 0) + weight

    def certain(self, alpha_preference: int, alpha_confidence: int) -> bool:
        """Whether no answer still outstanding can change what the poll does."""
        best = max(self.weights.values(), default=0)
        reach = best + self.outstanding
        return (
            self.outstanding == 0
            or best >= alpha_confidence
            or reach < alpha_preference
            or (best >= alpha_preference and reach < alpha_confidence)
        )


@dataclass(slots=True)
class PollGroup:
    """Up to concurrent_polls polls opened together; finished ones are applied oldest first."""

    polls: list[Poll]
    asks: dict[int, Peer]  # ask number → owner, outstanding
    opened_ms: int
    deadline_ms: int
    asked_again: bool = False

    def record_answer(self, ask: int, peer: Peer, block: BlockId | None) -> bool:
        """Take the answer to one ask; False when it is unknown, doubled or of another peer."""
        if self.asks.get(ask) != peer:
            return False
        self.forget(peer)
        for poll in self.polls:
            poll.record_answer(peer, block)
        return True

    def record_silence(self, ask: int) -> None:
        """An ask failed: its owner counts as no answer unless another ask to it is open."""
        peer = self.asks.pop(ask, None)
        if peer is None or peer in self.asks.values():
            return
        for poll in self.polls:
            poll.record_answer(peer, None)

    def forget(self, peer: Peer) -> None:
        for ask in [number for number, owner in self.asks.items() if owner == peer]:
            del self.asks[ask]

    def expire(self) -> None:
        """The poll timeout: whoever has not answered counts as no answer."""
        self.asks.clear()
        for poll in self.polls:
            poll.drawn.clear()
            poll.outstanding = 0

    def moves(self, alpha_preference: int, alpha_confidence: int) -> bool:
        """Whether a poll can be applied, or none is left."""
        return not self.polls or self.polls[0].certain(alpha_preference, alpha_confidence)

    def take_finished(self, alpha_preference: int, alpha_confidence: int) -> list[Poll]:
        """Finished polls from the oldest on; a newer one waits for the older."""
        done: list[Poll] = []
        while self.polls and self.polls[0].certain(alpha_preference, alpha_confidence):
            done.append(self.polls.pop(0))
        return done


def draw_poll(owners: Sequence[Peer | None], drawn_slots: Sequence[int]) -> Poll:
    """A poll over the drawn slot numbers; `owners[slot]` is the owner."""
    drawn: dict[Peer, int] = {}
    for slot in drawn_slots:
        owner = owners[slot]
        assert owner is not None, "only occupied slots are drawn"
        drawn[owner] = drawn.get(owner, 0) + 1
    return Poll(drawn, len(drawn_slots))


def weights_text(weights: Mapping[BlockId, int]) -> str:
    """For traces: short ids and weights."""
    return " ".join(f"{block[4:8].hex()}:{weight}" for block, weight in weights.items())
