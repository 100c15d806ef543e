"""One Snowball decision of a whole network in lockstep, up to a million nodes and more.

The model. Every node owns one slot and polls all slots, its own too. Time is rounds: in a round
every node that has not settled makes `concurrent_polls` polls, and all polls of a round see the
answers of its beginning; a node that has settled goes on answering with what it settled on. The
adversary knows all answers and never settles.

Why it is exact, though no slot is drawn. In lockstep a poll's result depends on the slots drawn
only through how many of them answer with each value: a multivariate hypergeometric draw from the
counts of answers over all slots. Those counts are fixed during a round and the draws of different
nodes (and polls) are independent, so each poll is one independent throw over the few outcomes that
the rule tells apart, with the chances of `chances`. An adversary that answers askers differently
gives each group of askers counts of its own. What the model leaves out: delay and loss, owners with
several slots (whose answers come together), early end (which changes no outcome).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testnet.scale.chances import steps
from testnet.scale.crowd import NONE, Crowd, Flags, Small
from testnet.scale.networks import Kind, Network


@dataclass(frozen=True, slots=True)
class Decision:
    """How it went. `curve[r]`: nodes settled after r + 1 rounds; `settled[v]`: on value v."""

    seed: int
    honest: int
    settled: tuple[int, ...]
    curve: tuple[int, ...]

    @property
    def rounds(self) -> int | None:
        """Rounds until every honest node settled; null when they did not (a stall)."""
        return len(self.curve) if sum(self.settled) == self.honest else None

    @property
    def agreed(self) -> bool:
        """Whether no two honest nodes settled on different values."""
        return sum([1 for count in self.settled if count]) <= 1

    def rounds_until(self, share: float) -> int | None:
        """Rounds until that share of the honest nodes settled; null when it never did."""
        needed = share * self.honest
        return next((done for done, count in enumerate(self.curve, 1) if count >= needed), None)


def decide(network: Network, seed: int) -> Decision:
    """Run a network until all honest nodes settled, or for rounds_max rounds."""
    rng = np.random.Generator(np.random.SFC64([seed, network.nodes]))
    values, hostile, kind = len(network.start), network.hostile, network.adversary.kind
    crowd = Crowd.starting(
        starting_preferences(network.honest, network.start),
        values=values,
        beta=network.beta,
        weakly=network.weakly,
        memory=network.memory,
    )
    settled, draw = np.zeros(values, np.int64), network.draw
    curve: list[int] = []
    while len(crowd) and len(curve) < network.rounds_max:
        answers = settled + np.bincount(crowd.preference, minlength=values)
        told = supports(kind, hostile, [int(count) for count in answers])
        bounds = np.array([steps(draw, support) for support in told])
        if kind is Kind.ECHO:
            crowd.side = crowd.preference.copy()
        for _ in range(network.concurrent_polls):  # all see the answers of the round's beginning
            crowd.record_polls(*throw(rng, bounds, crowd.side))
            settled += crowd.take_settled()
        curve.append(int(settled.sum()))
    return Decision(seed, network.honest, tuple([int(count) for count in settled]), tuple(curve))


def starting_preferences(nodes: int, start: Sequence[int]) -> Small:
    """Each node's first preference; the last value takes what rounding leaves."""
    edges = [nodes * sum(start[:value]) // 100 for value in range(1, len(start))]
    return np.searchsorted(np.array(edges), np.arange(nodes), side="right").astype(np.int8)


def supports(kind: Kind, hostile: int, answers: Sequence[int]) -> list[list[int]]:
    """Slots that answer with each value: one row for all askers, or one for each side."""
    if kind is Kind.MUTE:
        return [list(answers)]
    if kind is Kind.BALANCING:
        fewest = min(range(len(answers)), key=lambda value: answers[value])
        return [_with(answers, fewest, hostile)]
    return [_with(answers, side, hostile) for side in range(len(answers))]


def _with(answers: Sequence[int], value: int, hostile: int) -> list[int]:
    return [count + hostile * (each == value) for each, count in enumerate(answers)]


def throw(
    rng: np.random.Generator, bounds: NDArray[np.float64], side: Small
) -> tuple[Small, Flags]:
    """One poll of every node: (its leader or NONE, whether that won).

    `bounds`: the steps of `chances`, one row for all or one row per side.
    """
    thrown = rng.random(len(side))
    outcome = np.zeros(len(side), np.int8)
    for step in bounds.T:
        outcome += thrown >= (step[side] if len(step) > 1 else step[0])
    led = outcome < bounds.shape[1]
    leader = np.where(led, outcome >> 1, NONE).astype(np.int8)
    return leader, led & (outcome & 1 == 0)
