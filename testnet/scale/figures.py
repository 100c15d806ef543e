"""The figures on record, and the same networks measured again.

They were measured before this model existed, with another program: 50/50 start, K = 20, one poll
per round, no weak settling; mean rounds until all honest nodes settled, 8 seeds and at most 1,500
rounds for 1,000 nodes, 6 seeds and at most 600 rounds for 500. They fit a preference that moves to
the last leader (Snowflake); the rounds with few adversaries tell it apart from counts (Snowball).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf, sqrt
from statistics import fmean, stdev

from testnet.scale.model import decide
from testnet.scale.networks import Adversary, Kind, Network

K = 20
WITHIN_SIGMA = 3.0
STALL = inf  # on record as a stall: some honest node did not settle in the rounds there were
_CAPS = {1_000: (8, 1_500), 500: (6, 600)}  # nodes → (seeds on record, rounds_max)


@dataclass(frozen=True, slots=True)
class Figure:
    """One cell: a network, and the rounds on record for it."""

    network: Network
    rounds: float
    seeds: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """A cell measured again; `rounds` and `deviation` of the runs, a stalled one at rounds_max."""

    figure: Figure
    rounds: float
    deviation: float
    stalls: int
    seeds: int

    @property
    def sigmas(self) -> float:
        """Distance from the record, in standard errors of the difference of both means."""
        error = self.deviation * sqrt(1 / self.figure.seeds + 1 / self.seeds)
        distance = self.rounds - self.figure.rounds
        return distance / error if error else (0.0 if not distance else inf)

    @property
    def within(self) -> bool:
        """Whether it is what the record says, up to noise."""
        if self.figure.rounds == STALL:
            return self.stalls == self.seeds
        return abs(self.sigmas) <= WITHIN_SIGMA

    # ---- as it is shown -------------------------------------------------------------------------

    @property
    def name(self) -> str:
        network = self.figure.network
        alphas = f"{network.alpha_preference}/{network.alpha_confidence}/{network.beta}"
        return f"{alphas} {network.adversary} n={network.nodes}"

    @property
    def _recorded(self) -> float | None:
        return None if self.figure.rounds == STALL else self.figure.rounds

    def record(self) -> dict[str, object]:
        """For the envelope; null rounds on record: a stall."""
        network = self.figure.network
        return {
            "nodes": network.nodes,
            "alpha_preference": network.alpha_preference,
            "alpha_confidence": network.alpha_confidence,
            "beta": network.beta,
            "adversary": str(network.adversary.kind),
            "share": float(network.adversary.share),
            "on_record": self._recorded,
            "rounds": self.rounds,
            "deviation": self.deviation,
            "stalls": self.stalls,
            "seeds": self.seeds,
            "within": self.within,
        }

    def cells(self) -> Sequence[object]:
        """For the table."""
        recorded = "stall" if self._recorded is None else f"{self._recorded:g}"
        sigmas = None if abs(self.sigmas) == inf else f"{self.sigmas:+.1f}"
        stalled, within = f"{self.stalls}/{self.seeds}", "yes" if self.within else "no"
        return self.name, recorded, f"{self.rounds:.1f}", stalled, sigmas, within


# (alpha_preference, alpha_confidence, beta, nodes) → kind → percent → rounds
_RECORD: dict[tuple[int, int, int, int], dict[Kind, dict[int, float]]] = {
    (15, 15, 20, 1_000): {
        Kind.MUTE: {0: 34, 5: 59, 10: 100, 15: 298, 20: STALL},
        Kind.BALANCING: {0: 34, 5: 615, 10: STALL, 15: STALL, 20: STALL},
    },
    (11, 15, 20, 1_000): {
        Kind.MUTE: {0: 24, 5: 38, 10: 72, 15: 219, 20: STALL},
        Kind.BALANCING: {0: 24, 5: 39, 10: 74, 15: 225, 20: STALL},
    },
    (11, 14, 24, 500): {
        Kind.MUTE: {5: 32, 10: 53, 15: 108, 20: 448},
        Kind.BALANCING: {5: 31, 10: 57, 15: 114, 20: 424},
    },
    (11, 13, 30, 500): {
        Kind.MUTE: {5: 34, 10: 54, 15: 88, 20: 231},
        Kind.BALANCING: {5: 33, 10: 49, 15: 86, 20: 190},
    },
}


def figures(*, memory: bool = False) -> Iterator[Figure]:
    """Every cell; `memory`: by the counts of protocol §6 instead of the rule on record."""
    for (preference, confidence, beta, nodes), kinds in _RECORD.items():
        seeds, rounds_max = _CAPS[nodes]
        for kind, cells in kinds.items():
            for percent, rounds in cells.items():
                network = Network(
                    nodes=nodes,
                    k=K,
                    alpha_preference=preference,
                    alpha_confidence=confidence,
                    beta=beta,
                    weakly=False,
                    memory=memory,
                    adversary=Adversary(kind, Fraction(percent, 100)),
                    rounds_max=rounds_max,
                )
                yield Figure(network, rounds, seeds)


def repeat(figure: Figure, seeds: range) -> Repeated:
    """Measure a cell again; at least two seeds."""
    decisions = [decide(figure.network, seed) for seed in seeds]
    rounds = [decision.rounds or figure.network.rounds_max for decision in decisions]
    stalls = sum([1 for decision in decisions if decision.rounds is None])
    return Repeated(figure, fmean(rounds), stdev(rounds), stalls, len(seeds))
