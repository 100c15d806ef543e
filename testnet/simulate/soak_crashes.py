"""The part of a soak that crashes a node at each durable step in turn, a hundred thousand times."""

from dataclasses import dataclass, field
from typing import Final

from testnet.sim.cycles import Cycles, crash_cycles
from testnet.simulate.sections import Section, Stint, Table
from testnet.simulate.soak_tables import Call, ask

CYCLES: Final = 100_000
CYCLES_A_CALL: Final = 1_000
SEEDS_A_CALL: Final = 1_000  # more than the clusters of one call
TOLD: Final = (
    "Nodes of small live clusters are crashed at each of their durable effects in turn, before it, "
    "in its middle, when it is durable and when the core has heard of it, and start again. An "
    "observer that believes no record judges every signature. Locked: restarts of a node that held "
    "a lock on the height being decided."
)
AGAIN: Final = (
    "python -c 'from testnet.sim.cycles import crash_cycles; "
    "print(crash_cycles({count}, seed={seed}).failures)'"
)


@dataclass(slots=True)
class Sums:
    """Over all calls."""

    cycles: int = 0
    clusters: int = 0
    heights: int = 0
    signatures: int = 0
    locked_restarts: int = 0
    rounds_failed: int = 0
    points: dict[tuple[str, str], int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, found: Cycles) -> None:
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(found, name))
        for point, count in found.points.items():
            self.points[point] = self.points.get(point, 0) + count
        for seed, failure in found.failures:
            self.failures.append(f"seed {seed}: {failure.checker}: {failure.text}")
            self.failures.append(AGAIN.format(count=CYCLES_A_CALL, seed=seed))


COUNTED: Final = (
    "cycles",
    "clusters",
    "heights",
    "signatures",
    "locked_restarts",
    "rounds_failed",
)


def crashes(stint: Stint) -> Section:
    """Crash and restart at every durable step, and no second signature."""
    seeds = [stint.first_seed + SEEDS_A_CALL * place for place in range(CYCLES // CYCLES_A_CALL)]
    calls: list[Call] = [(_cycles, (CYCLES_A_CALL, seed)) for seed in seeds]
    answers = ask(stint, "crashes", calls)
    sums = Sums()
    for found in answers.values:
        sums.add(found)
    kept = "none against another" if not sums.failures else "NOT all kept"
    section = Section(
        good=not sums.failures,
        told=f"{sums.cycles:,} cycles of {CYCLES:,} wanted, {sums.locked_restarts:,} of them with "
        f"a lock; {sums.signatures:,} signatures, {kept}",
        record={
            **{name: getattr(sums, name) for name in COUNTED},
            "points": {f"{moment} {effect}": n for (effect, moment), n in _sorted(sums)},
            "failures": sums.failures,
        },
        texts=[TOLD, *sums.failures],
        tables=[
            Table(
                "Where they crashed",
                ("durable step", "moment", "times"),
                [(effect, moment, f"{n:,}") for (effect, moment), n in _sorted(sums)],
            )
        ],
    )
    return answers.judged(section)


def _sorted(sums: Sums) -> list[tuple[tuple[str, str], int]]:
    return sorted(sums.points.items())


def _cycles(count: int, seed: int) -> Cycles:
    return crash_cycles(count, seed=seed)
