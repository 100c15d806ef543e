"""Many Snowball instances as arrays, one element per node: the rule of protocol §6, vectorised.

The same counters as `consensus.snowball.Snowball`, which a test holds against this one poll by
poll. Knows nothing of sampling, rounds or adversaries.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NONE = -1  # no value: a poll without leader, a node that has not settled

Small = NDArray[np.int8]  # values
Count = NDArray[np.int32]
Flags = NDArray[np.bool_]


@dataclass(slots=True)
class Crowd:
    """Nodes that are still polling: arrays of one element per node, `counts` a row per value.

    `side`: whose answers a node is shown by an adversary that tells askers different things.
    """

    beta: int
    weakly: bool  # whether 2·beta polls led by one value settle too
    memory: bool  # whether the preference follows the counts, or just the last leader
    side: Small
    preference: Small
    counts: Count
    winner: Small
    streak: Count
    leader: Small
    leading: Count

    @classmethod
    def starting(
        cls, preference: Small, *, values: int, beta: int, weakly: bool, memory: bool
    ) -> "Crowd":
        """Nodes that have polled nothing; each starts with its preference, which is its side."""
        nodes = len(preference)
        nothing = np.full(nodes, NONE, np.int8)
        zero = np.zeros(nodes, np.int32)
        return cls(
            beta=beta,
            weakly=weakly,
            memory=memory,
            side=preference.copy(),
            preference=preference.copy(),
            counts=np.zeros((values, nodes), np.int32),
            winner=nothing,
            streak=zero,
            leader=nothing.copy(),
            leading=zero.copy(),
        )

    def __len__(self) -> int:
        return len(self.preference)

    def record_polls(self, leader: Small, won: Flags) -> None:
        """One finished poll of every node: who led it (NONE: nobody), and whether that also won."""
        led = leader != NONE
        if self.memory:
            self._follow_counts(leader)
        else:
            np.copyto(self.preference, leader, where=led)
        np.copyto(self.leading, np.where(leader == self.leader, self.leading + 1, 1))
        self.leading *= led
        self.leader = leader
        np.copyto(self.streak, np.where(leader == self.winner, self.streak + 1, 1))
        self.streak *= won
        self.winner = np.where(won, leader, NONE).astype(np.int8)

    def _follow_counts(self, leader: Small) -> None:
        """A value becomes the preference iff its count is strictly greater than the holder's."""
        held = np.zeros(len(self), np.int32)
        for value, counts in enumerate(self.counts):
            counts += leader == value
            held += counts * (self.preference == value)
        for value, counts in enumerate(self.counts):
            better = (leader == value) & (counts > held)
            self.preference[better] = value

    def take_settled(self) -> Count:
        """Take out the nodes that have settled; how many settled on each value."""
        strong = self.streak >= self.beta
        done = strong | (self.leading >= 2 * self.beta) if self.weakly else strong
        # A leader that won is the winner, so either way the value is the last leader.
        settled = np.bincount(self.leader[done], minlength=len(self.counts)).astype(np.int32)
        if settled.any():
            self._keep(~done)
        return settled

    def _keep(self, kept: Flags) -> None:
        self.counts = self.counts[:, kept]
        for name in ("side", "preference", "winner", "streak", "leader", "leading"):
            setattr(self, name, getattr(self, name)[kept])
