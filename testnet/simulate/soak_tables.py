"""Parts of a soak that are tables: mute and balancing slots, contended epochs.

What is run is `testnet.sim.tables`; here: many seeds of it, and what they mean.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from math import sqrt
from statistics import fmean
from typing import Any, Final

from testnet.sim import tables
from testnet.sim.tables import BalancingRow, HillTable, MuteRow
from testnet.simulate.limits import TABLE_WALL_S
from testnet.simulate.pool import Task, work_off
from testnet.simulate.progress import progress
from testnet.simulate.report import has_plots
from testnet.simulate.sections import NO_TIME, Interrupted, Section, Stint, Table

TABLE_SEEDS: Final = 3
MUTE_PERCENTS: Final = (0, 10, 20, 30)
MUTE_SIMULATED_S: Final = 30
BALANCING_HEIGHTS: Final = 40
MINERS_PERCENT: Final = (50, 30, 20)
MINERS_EPOCHS: Final = 60
MINERS_SEEDS: Final = 5
SIGMAS: Final = 3
PERCENT: Final = 100
ROUNDS_SHOWN: Final = 3  # 0, 1, and all later ones together

Call = tuple[Callable[..., Any], tuple[Any, ...]]  # what a worker is asked


class Answers:
    """What workers said, in the order of the questions; those that were not asked are missing."""

    def __init__(self, asked: int) -> None:
        self._asked = asked
        self._values: dict[int, Any] = {}
        self.lost: list[str] = []
        self.interrupted = False

    def take(self, key: int, value: Any) -> None:
        self._values[key] = value

    @property
    def values(self) -> list[Any]:
        return [self._values[key] for key in sorted(self._values)]

    @property
    def complete(self) -> bool:
        return len(self._values) == self._asked and not self.interrupted

    def judged(self, section: Section) -> Section:
        """A part that lost an answer failed. Raises Interrupted."""
        section.complete = self.complete
        if self.lost:
            section.good = False
            section.told = self.lost[0].splitlines()[0]
            section.texts += self.lost
        elif not self._values:
            section.good, section.told = True, NO_TIME
        if self.interrupted:
            raise Interrupted(section)
        return section


def ask(stint: Stint, title: str, calls: Sequence[Call]) -> Answers:
    """All that can be begun before the deadline."""
    answers = Answers(len(calls))

    def tasks() -> Iterator[Task]:
        for key, (work, arguments) in enumerate(calls):
            if time.monotonic() < stint.deadline:
                yield Task(key, work, arguments)

    with progress(stint.output, title, len(calls)) as told:
        try:
            with closing(work_off(tasks(), jobs=stint.jobs, wall_s=TABLE_WALL_S)) as results:
                for done in results:
                    if done.lost:
                        answers.lost.append(done.lost)
                    else:
                        answers.take(done.key, done.value)
                    told.step()
        except KeyboardInterrupt:
            answers.interrupted = True
    return answers


def seeds_of(stint: Stint, wanted: int) -> range:
    return range(stint.first_seed, stint.first_seed + wanted)


# ---- mute slots ---------------------------------------------------------------------------------


def mute(stint: Stint) -> Section:
    """Blocks a minute with so many percent of the slots mute."""
    calls = [
        (_mute, (percent, MUTE_SIMULATED_S, seed))
        for seed in seeds_of(stint, TABLE_SEEDS)
        for percent in MUTE_PERCENTS
    ]
    answers = ask(stint, "mute", calls)
    by_percent: dict[int, list[MuteRow]] = {}
    for row in answers.values:
        by_percent.setdefault(row.percent, []).append(row)
    rates = {
        percent: [row.blocks_per_minute for row in rows]
        for percent, rows in sorted(by_percent.items())
    }
    rows = [
        (
            f"{percent} %",
            len(found),
            f"{fmean(found):.0f}",
            min(found),
            max(found),
            *_round_shares([row.rounds for row in by_percent[percent]]),
        )
        for percent, found in rates.items()
    ]
    columns = ("mute", "seeds", "blocks a minute", "least", "most", *ROUND_COLUMNS)
    means = {percent: fmean(found) for percent, found in rates.items()}
    section = Section(
        good=all(min(found) > 0 for found in rates.values()),
        told="blocks a minute: "
        + ", ".join([f"{rate:.0f} at {percent} %" for percent, rate in means.items()]),
        record={"blocks_per_minute": {str(percent): found for percent, found in rates.items()}},
        tables=[Table(MUTE_TOLD, columns, rows)],
    )
    if has_plots() and len(means) > 1:
        from testnet.simulate.charts import lines_svg

        svg = lines_svg("mute", {"": list(means.items())}, x="percent mute", y="blocks a minute")
        section.pictures.append((svg, "Mean of the seeds."))
    return answers.judged(section)


MUTE_TOLD: Final = (
    f"{tables.NODES} nodes with equal slots, constant load, {MUTE_SIMULATED_S} simulated seconds a "
    "seed"
)
ROUND_COLUMNS: Final = ("in round 0", "in round 1", "later")


def _mute(percent: int, seconds: int, seed: int) -> MuteRow:
    (row,) = tables.mute_table(percents=(percent,), seconds=seconds, seed=seed)
    return row


def _round_shares(found: Sequence[Sequence[int]]) -> list[str]:
    """Of all heights: decided in round 0, in round 1, later."""
    counts = round_counts(found)
    heights = sum(counts)
    return [f"{PERCENT * count / heights:.1f} %" if heights else "-" for count in counts]


def round_counts(found: Sequence[Sequence[int]]) -> list[int]:
    """Heights in round 0, in round 1, later, summed over seeds."""
    counts = [0] * ROUNDS_SHOWN
    for rounds in found:
        for round_, heights in enumerate(rounds):
            counts[min(round_, ROUNDS_SHOWN - 1)] += heights
    return counts


# ---- balancing slots ----------------------------------------------------------------------------


def balancing(stint: Stint) -> Section:
    """Rounds of a height with 20 % of the slots balancing, and what feeds on it."""
    calls = [
        (_balancing, (attack, BALANCING_HEIGHTS, seed))
        for seed in seeds_of(stint, TABLE_SEEDS)
        for attack in tables.ATTACKS
    ]
    answers = ask(stint, "balancing", calls)
    by_attack: dict[str, list[BalancingRow]] = {}
    for row in answers.values:
        by_attack.setdefault(row.attack, []).append(row)
    rows, means = [], {}
    for attack, found in by_attack.items():
        means[attack] = _mean_rounds([row.rounds for row in found])
        heights = sum([row.heights for row in found])
        ms = sum([row.ms_per_height * row.heights for row in found]) / heights
        shares = _round_shares([row.rounds for row in found])
        acts = sum([row.acts for row in found])
        rows.append(
            (attack, len(found), heights, f"{means[attack]:.2f}", *shares, f"{ms:.0f}", f"{acts:,}")
        )
    columns = (
        "attack",
        "seeds",
        "heights",
        "rounds a height",
        *ROUND_COLUMNS,
        "ms a height",
        "acts",
    )
    section = Section(
        good=all(row.heights >= BALANCING_HEIGHTS for row in answers.values),
        told=f"{sum([row.heights for row in answers.values]):,} heights, "
        + f"at most {max(means.values(), default=0):.2f} rounds of a height on average",
        record={"rows": [row._asdict() for row in answers.values], "rounds_per_height": means},
        tables=[
            Table(
                f"{tables.NODES} nodes with equal slots, {BALANCING_HEIGHTS} heights a seed",
                columns,
                rows,
            )
        ],
    )
    if has_plots() and means:
        section.pictures.append(_balancing_picture(by_attack))
    return answers.judged(section)


BALANCING_TOLD: Final = (
    f"{tables.NODES} nodes with equal slots, {BALANCING_HEIGHTS} heights a seed; rounds of a height"
)


def _balancing(attack: tables.Attack, heights: int, seed: int) -> BalancingRow:
    (row,) = tables.balancing_table(heights=heights, seed=seed, attacks=(attack,))
    return row


def _mean_rounds(found: Sequence[Sequence[int]]) -> float:
    weighed = sum([(place + 1) * n for rounds in found for place, n in enumerate(rounds)])
    return weighed / sum([n for rounds in found for n in rounds])


def _balancing_picture(by_attack: dict[str, list[BalancingRow]]) -> tuple[str, str]:
    from testnet.simulate.charts import bars_svg

    counts = {name: round_counts([row.rounds for row in rows]) for name, rows in by_attack.items()}
    bars = {
        label: [PERCENT * found[place] / sum(found) for found in counts.values()]
        for place, label in enumerate(ROUND_COLUMNS)
    }
    svg = bars_svg("balancing", list(counts), bars, x="percent of heights", stacked=True)
    return svg, "In which round heights are decided."


# ---- epochs under contention --------------------------------------------------------------------


def shares(stint: Stint) -> Section:
    """Miners with 50, 30 and 20 % of the hashes: their slots, within 3 σ."""
    answers = ask(
        stint,
        "shares",
        [(_shares, (MINERS_EPOCHS, seed)) for seed in seeds_of(stint, MINERS_SEEDS)],
    )
    found: list[HillTable] = answers.values
    rows, good = [], True
    for place, percent in enumerate(MINERS_PERCENT):
        miners = [table.rows[place] for table in found]
        claims = _binomial(
            sum([row.claims_won for row in miners]),
            sum([each.claims_won for table in found for each in table.rows]),
            percent,
        )
        slots = _binomial(
            sum([row.slots for row in miners]),
            sum([each.slots for table in found for each in table.rows]),
            percent,
        )
        good &= abs(claims[1]) <= SIGMAS and abs(slots[1]) <= SIGMAS
        rows.append((percent, *claims, *slots))
    heights, late = sum([table.heights for table in found]), sum([table.late for table in found])
    wanted = sum([table.epochs for table in found])
    section = Section(
        good=good,
        told=f"{wanted} epochs, {heights:,} heights, none lost, {late} in a later round; slots "
        + ", ".join([f"{PERCENT * row[3]:.1f} %" for row in rows]),
        record={
            "miners": [dict(zip(MINER_KEYS, row, strict=True)) for row in rows],
            "epochs": wanted,
            "heights": heights,
            "late": late,
            "changes": sum([table.changes for table in found]),
        },
        tables=[Table(MINERS_TOLD, MINER_COLUMNS, [_miner_cells(row) for row in rows])],
    )
    if has_plots() and found:
        from testnet.simulate.charts import bars_svg

        bars = {
            "hashes": [float(percent) for percent in MINERS_PERCENT],
            "claims": [PERCENT * row[1] for row in rows],
            "slots": [PERCENT * row[3] for row in rows],
        }
        groups = [f"miner {place}" for place in range(1, 1 + len(rows))]
        section.pictures.append(
            (bars_svg("shares", groups, bars, x="percent"), "Shares of hashes, claims and slots.")
        )
    return answers.judged(section)


MINER_KEYS: Final = ("hashes_percent", "claims", "claims_sigmas", "slots", "slots_sigmas")
MINER_COLUMNS: Final = ("hashes", "best claims", "σ off", "slots at the end", "σ off")
MINERS_TOLD: Final = (
    f"{MINERS_EPOCHS} epochs a seed, {tables.HILL_SLOTS} slots, dealt evenly at first; shares of "
    "all seeds together"
)


def _shares(epochs: int, seed: int) -> HillTable:
    return tables.hill_table(percents=MINERS_PERCENT, epochs=epochs, seed=seed)


def _binomial(found: int, throws: int, percent: int) -> tuple[float, float]:
    """(share, how many σ it is off)."""
    share = percent / PERCENT
    if not throws:
        return 0.0, 0.0
    return found / throws, (found - throws * share) / sqrt(throws * share * (1 - share))


def _miner_cells(row: tuple[int, float, float, float, float]) -> tuple[str, ...]:
    percent, claims, claims_sigmas, slots, slots_sigmas = row
    return (
        f"{percent} %",
        f"{PERCENT * claims:.2f} %",
        f"{claims_sigmas:+.2f}",
        f"{PERCENT * slots:.2f} %",
        f"{slots_sigmas:+.2f}",
    )
