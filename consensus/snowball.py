"""One Snowball decision from poll results (protocol §6). Knows nothing of peers, time or blocks.

A poll's result is the weight that each value got, in slots drawn; nulls and timeouts are absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consensus.ids import BlockId


@dataclass(slots=True)
class Snowball:
    """One instance per height and round.

    Invariant: `settled` never changes once set; `streak` ≤ beta until settled; only polls move
    `preference` after the first poll.
    """

    alpha_preference: int
    alpha_confidence: int
    beta: int
    preference: BlockId | None = None
    yields: bool = True  # settles weakly too: not where nothing follows that is safe by itself
    counts: dict[BlockId, int] = field(default_factory=dict)
    winner: BlockId | None = None  # of the last alpha_confidence poll
    streak: int = 0
    leader: BlockId | None = None  # of the last alpha_preference poll
    leading: int = 0  # polls in a row that `leader` led
    polls: int = 0
    settled: BlockId | None = None
    weakly: bool = False

    def record_poll(self, weights: Mapping[BlockId, int]) -> None:
        """Take in the result of one finished poll."""
        self.polls += 1
        value, weight = _best(weights)
        if weight >= self.alpha_preference:
            assert value is not None
            self._record_leader(value)
        else:
            self.leader, self.leading = None, 0
        if weight >= self.alpha_confidence:
            self.streak = self.streak + 1 if value == self.winner else 1
            self.winner = value
        else:
            self.winner, self.streak = None, 0
        if self.settled is None:
            self._settle()

    def _record_leader(self, value: BlockId) -> None:
        self.counts[value] = self.counts.get(value, 0) + 1
        held = self.counts.get(self.preference, 0) if self.preference is not None else -1
        if value != self.preference and self.counts[value] > held:
            self.preference = value
        self.leading = self.leading + 1 if value == self.leader else 1
        self.leader = value

    def _settle(self) -> None:
        if self.streak >= self.beta:
            self.settled = self.winner
        elif self.yields and self.leading >= 2 * self.beta:
            # Snowball must never cost liveness that the certificate has, protocol §6 ‡
            self.settled, self.weakly = self.leader, True


def _best(weights: Mapping[BlockId, int]) -> tuple[BlockId | None, int]:
    best: BlockId | None = None
    most = 0
    for value, weight in weights.items():
        if weight > most:
            best, most = value, weight
    return best, most
