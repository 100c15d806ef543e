"""Many networks measured: a row each, for the table, the envelope and the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from time import process_time

from testnet.scale.model import Decision, decide
from testnet.scale.networks import Network

MOST = 0.99  # share of the honest nodes in `rounds_most`


@dataclass(frozen=True, slots=True)
class Row:
    """What the seeds of one network gave. `rounds`: of each run in which all settled, rising."""

    network: Network
    seeds: int
    rounds: tuple[int, ...]
    rounds_most: float | None  # mean until 99 % of the honest nodes settled
    split: int  # runs in which honest nodes settled on different values
    cpu_s: float  # of the slowest run, on one core

    @property
    def stalls(self) -> int:
        """Runs in which some honest node did not settle in time."""
        return self.seeds - len(self.rounds)

    @property
    def mean(self) -> float | None:
        return fmean(self.rounds) if self.rounds else None

    @property
    def span(self) -> tuple[int | None, int | None]:
        """Fewest and most rounds; nulls when every run stalled."""
        return min(self.rounds, default=None), max(self.rounds, default=None)

    def record(self) -> dict[str, object]:
        """For the envelope."""
        network, (least, most) = self.network, self.span
        return {
            "nodes": network.nodes,
            "adversary": str(network.adversary.kind) if network.hostile else None,
            "share": float(network.adversary.share),
            "seeds": self.seeds,
            "stalls": self.stalls,
            "split": self.split,
            "rounds": self.mean,
            "rounds_min": least,
            "rounds_max": most,
            "rounds_most": self.rounds_most,
            "cpu_s": round(self.cpu_s, 3),
        }

    def cells(self) -> Sequence[object]:
        """For the table."""
        means = [
            None if value is None else f"{value:.1f}" for value in (self.mean, self.rounds_most)
        ]
        stalled, split = f"{self.stalls}/{self.seeds}", f"{self.split}/{self.seeds}"
        network = self.network
        shown = (network.nodes, network.adversary, means[0], *self.span, means[1])
        return *shown, stalled, split, f"{self.cpu_s:.2f} s"


def measure(network: Network, seeds: Sequence[int]) -> Row:
    """Decide once per seed."""
    decisions: list[Decision] = []
    slowest = 0.0
    for seed in seeds:
        started = process_time()
        decisions.append(decide(network, seed))
        slowest = max(slowest, process_time() - started)
    rounds = [decision.rounds for decision in decisions if decision.rounds is not None]
    most = [found for d in decisions if (found := d.rounds_until(MOST)) is not None]
    return Row(
        network,
        seeds=len(decisions),
        rounds=tuple(sorted(rounds)),
        rounds_most=fmean(most) if most else None,
        split=sum([1 for decision in decisions if not decision.agreed]),
        cpu_s=slowest,
    )
