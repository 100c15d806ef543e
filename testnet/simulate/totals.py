"""Sums over the runs of one scenario: by size of the cluster, and by what failed. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from testnet.simulate.seeds import Ran

COLUMNS: Final = (
    "NODES",
    "SEEDS",
    "CLEAN",
    "HEIGHTS",
    "ROUNDS",
    "POLLS",
    "SIGNATURES",
    "CRASHES",
    "MESSAGES/HEIGHT",
    "BYTES/HEIGHT",
    "HEIGHTS/S/CORE",
)
SECOND_MS: Final = 1_000
KIB: Final = 1024
MINUTE_S: Final = 60
HOUR_S: Final = 60 * MINUTE_S
DAY_S: Final = 24 * HOUR_S
SPANS: Final = (
    (DAY_S, "d", HOUR_S, "h"),
    (HOUR_S, "h", MINUTE_S, "min"),
    (MINUTE_S, "min", 1, "s"),
)


@dataclass(slots=True)
class Totals:
    """Sums of some runs; what is derived from them are properties, None without a height."""

    seeds: int = 0
    clean: int = 0
    heights: int = 0
    polls: int = 0
    signatures: int = 0
    crashes: int = 0
    included: int = 0
    packets: int = 0
    bytes: int = 0
    simulated_ms: int = 0
    steps: int = 0
    cpu_s: float = 0.0
    rounds: dict[int, int] = field(default_factory=dict)  # round of the certificate: heights
    liveness_ms: int = 0  # the longest

    def add(self, ran: Ran) -> None:
        outcome = ran.outcome
        self.seeds += 1
        self.clean += outcome.clean
        self.heights += outcome.heights
        self.polls += outcome.polls
        self.signatures += outcome.signatures
        self.crashes += outcome.crashes
        self.included += outcome.included
        self.packets += sum([count for _, count in outcome.messages])
        self.bytes += sum([count for _, count in outcome.bytes])
        self.simulated_ms += outcome.simulated_ms
        self.steps += outcome.steps
        self.cpu_s += ran.cpu_s
        for round_, heights in outcome.rounds:
            self.rounds[round_] = self.rounds.get(round_, 0) + heights
        self.liveness_ms = max(self.liveness_ms, outcome.counts.get("liveness_ms", 0))

    def merge(self, other: "Totals") -> None:
        """Add the sums of other runs."""
        for each in fields(self):
            name = each.name
            if name not in ("rounds", "liveness_ms"):
                setattr(self, name, getattr(self, name) + getattr(other, name))
        for round_, heights in other.rounds.items():
            self.rounds[round_] = self.rounds.get(round_, 0) + heights
        self.liveness_ms = max(self.liveness_ms, other.liveness_ms)

    @property
    def mean_rounds(self) -> float | None:
        """Rounds a height took: 1.0 if all were decided in round 0."""
        weighed = sum([(round_ + 1) * heights for round_, heights in self.rounds.items()])
        return _over(weighed, sum(self.rounds.values()))

    @property
    def packets_per_height(self) -> float | None:
        return _over(self.packets, self.heights)

    @property
    def bytes_per_height(self) -> float | None:
        return _over(self.bytes, self.heights)

    @property
    def heights_per_core_s(self) -> float | None:
        return _over(self.heights, self.cpu_s)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "seeds": self.seeds,
            "clean": self.clean,
            "heights": self.heights,
            "rounds": {str(round_): self.rounds[round_] for round_ in sorted(self.rounds)},
            "rounds_per_height": _rounded(self.mean_rounds),
            "polls": self.polls,
            "signatures": self.signatures,
            "crashes": self.crashes,
            "included": self.included,
            "messages_per_height": _rounded(self.packets_per_height),
            "bytes_per_height": _rounded(self.bytes_per_height),
            "simulated_s": self.simulated_ms / SECOND_MS,
            "cpu_s": round(self.cpu_s, 3),
            "heights_per_cpu_s": _rounded(self.heights_per_core_s),
            "liveness_ms_max": self.liveness_ms,
        }

    def cells(self, name: object) -> tuple[str, ...]:
        """In the order of COLUMNS."""
        return (
            str(name),
            f"{self.seeds:,}",
            f"{self.clean:,}",
            f"{self.heights:,}",
            shown(self.mean_rounds, 2),
            f"{self.polls:,}",
            f"{self.signatures:,}",
            f"{self.crashes:,}",
            shown(self.packets_per_height),
            shown_bytes(self.bytes_per_height),
            shown(self.heights_per_core_s, 1),
        )


@dataclass(slots=True)
class Course:
    """All runs of a scenario as they come: totals, failing seeds, and what pictures need."""

    scenario: str
    total: Totals = field(default_factory=Totals)
    sizes: dict[int, Totals] = field(default_factory=dict)
    failing: list[Ran] = field(default_factory=list)
    checkers: dict[str, list[int]] = field(default_factory=dict)  # checker: [seeds, failures]
    memory: dict[str, int] = field(default_factory=dict)  # table of a core: largest size seen
    counts: dict[str, int] = field(default_factory=dict)  # what was done, by kind

    def add(self, ran: Ran) -> None:
        outcome = ran.outcome
        self.total.add(ran)
        self.sizes.setdefault(outcome.nodes, Totals()).add(ran)
        if not outcome.clean:
            self.failing.append(ran)
        for checker in dict.fromkeys([failure.checker for failure in outcome.failures]):
            found = self.checkers.setdefault(checker, [0, 0])
            found[0] += 1
            found[1] += sum([failure.checker == checker for failure in outcome.failures])
        for table, size in outcome.memory:
            self.memory[table] = max(self.memory.get(table, 0), size)
        for what, count in outcome.counts.items():
            if not what.endswith("_ms"):
                self.counts[what] = self.counts.get(what, 0) + count

    def settle(self) -> None:
        """Put what came in any order into the order of seeds and names."""
        self.failing.sort(key=lambda ran: ran.seed)
        self.sizes = dict(sorted(self.sizes.items()))
        self.checkers = dict(sorted(self.checkers.items()))
        self.memory = dict(sorted(self.memory.items()))
        self.counts = dict(sorted(self.counts.items()))

    def rows(self) -> list[Sequence[str]]:
        """A row a size, and one of all if there are several."""
        rows: list[Sequence[str]] = [total.cells(size) for size, total in self.sizes.items()]
        if len(rows) != 1:
            rows.append(self.total.cells("all"))
        return rows

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "total": self.total.record(),
            "sizes": {str(size): total.record() for size, total in self.sizes.items()},
            "checkers": {
                name: {"seeds": seeds, "failures": failures}
                for name, (seeds, failures) in self.checkers.items()
            },
            "memory": self.memory,
            "done": self.counts,
        }


# ---- forms --------------------------------------------------------------------------------------


def _over(value: float, by: float) -> float | None:
    return value / by if by else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def shown(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def shown_bytes(value: float | None) -> str:
    """In KiB or MiB."""
    if value is None:
        return "-"
    if value < KIB * KIB:
        return f"{value / KIB:,.0f} KiB"
    return f"{value / KIB / KIB:,.1f} MiB"


def shown_s(seconds: float) -> str:
    """A span of time for people: `3.1 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = round(seconds)
    for size, large, unit, small in SPANS:
        if seconds >= size:
            return f"{whole // size} {large} {whole % size // unit} {small}"
    return f"{seconds:.1f} s"
