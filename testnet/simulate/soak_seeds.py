"""Parts of a soak that run scenarios over many seeds: storms, adversaries, gossip.

Each goes on until its goal is reached or its time is up.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, combinations, count
from pathlib import Path
from typing import Final

from testnet.sim import scenario
from testnet.sim.scenario import Scenario, Villain
from testnet.sim.sieges import Decisions, KindRow, siege
from testnet.simulate.curves import Curve, curve
from testnet.simulate.findings import Finding
from testnet.simulate.limits import CURVES_MAX, SOAK_SEED_WALL_S, TOLD_MAX
from testnet.simulate.pool import Task, work_off
from testnet.simulate.progress import progress
from testnet.simulate.report import pictures_of, verdict
from testnet.simulate.sections import NO_TIME, Interrupted, Section, Stint, Table
from testnet.simulate.seeds import Ran, Trial, ran, run_trial
from testnet.simulate.soak_costs import GOSSIP_TOLD, Costs
from testnet.simulate.sources import Source, looks_like_file
from testnet.simulate.toml import scenario_toml
from testnet.simulate.totals import COLUMNS, Course, Totals

STORM_SEEDS: Final = 2_000
ADVERSARY_POLLS: Final = 1_000_000
WEATHER_SEEDS: Final = 20  # of each scenario that is not a part of its own
GOSSIP_SEEDS: Final = 2
GOSSIPS: Final = ("gossip_4", "gossip_16", "gossip_64")
OWN_PARTS: Final = (*GOSSIPS, "storm", "mute_0", "mute_10", "mute_20", "mute_30")
ALONE: Final = ("poison", "forged_chain")  # act only where a test asks them to
STAGE: Final = """
name = "adversaries"
about = "liars among 4 or 7 nodes on mild links, short epochs"
nodes = [4]

[parameters]
epoch_blocks = 16
facts_max = 64

[weather]
loss = 3
jitter_ms = 20

[machines]
hill_nonces = 64

[load]
every_ms = 300

[phases]
faults_s = 15
heal_s = 2
liveness_s = 240
heights = 3
"""

Plan = Iterable[tuple[Source, int]]
Each = Callable[[Source, Ran], None]


@dataclass(slots=True)
class Runs:
    """What the seeds of a part came to, by scenario and in all."""

    course: Course
    by_name: dict[str, Course] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    interrupted: bool = False

    def add(self, source: Source, done: Ran) -> None:
        name = source.scenario.name
        self.course.add(done)
        self.by_name.setdefault(name, Course(name)).add(done)
        if not done.outcome.clean:
            self.findings.append(Finding(done, source.word))
        if len(self.curves) < CURVES_MAX and done.outcome.simulated_ms:
            self.curves.append(curve(done.outcome))
        done.outcome.timeline = ()

    @property
    def total(self) -> Totals:
        return self.course.total

    def settle(self) -> None:
        """Into an order in which nothing tells how many workers there were."""
        self.course.settle()
        for course in self.by_name.values():
            course.settle()
        self.findings.sort(key=lambda each: (each.word, each.ran.seed))
        self.curves.sort(key=lambda each: each.seed)


def run_plan(
    stint: Stint,
    title: str,
    plan: Plan,
    total: int,
    *,
    enough: Callable[[Runs], bool] = lambda runs: False,
    each: Each = lambda source, done: None,
    work: Trial = run_trial,
) -> Runs:
    """All of a plan, until enough is done or time is up. `total`: for the progress alone."""
    runs = Runs(Course(title))
    begun: dict[int, tuple[Source, int]] = {}

    def tasks() -> Iterator[Task]:
        for key, (source, seed) in enumerate(plan):
            if time.monotonic() >= stint.deadline or enough(runs):
                return
            begun[key] = source, seed
            yield Task(key, work, (source.scenario, seed, None, None))

    with progress(stint.output, title, total) as told:
        try:
            with closing(work_off(tasks(), jobs=stint.jobs, wall_s=SOAK_SEED_WALL_S)) as results:
                for done in results:
                    source, seed = begun.pop(done.key)
                    found = ran(source.scenario, replace(done, key=seed))
                    each(source, found)
                    runs.add(source, found)
                    if not found.outcome.clean and len(runs.findings) <= TOLD_MAX:
                        _keep(source)
                        told.say(runs.findings[-1].text())
                    told.step(f"{len(runs.findings)} failing" if runs.findings else "")
        except KeyboardInterrupt:
            runs.interrupted = True
    runs.settle()
    return runs


def _keep(source: Source) -> None:
    """A scenario that is not built in becomes the file by which a command names it."""
    path = Path(source.word)
    if looks_like_file(source.word) and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(scenario_toml(source.scenario), encoding="utf-8")


def _section(runs: Runs, told: str, *, complete: bool) -> Section:
    """Verdict, failures and the table of a scenario each. Raises Interrupted."""
    course = runs.course
    good = not course.failing
    told = told if course.total.seeds else NO_TIME
    rows = [each.total.cells(name) for name, each in sorted(runs.by_name.items())]
    if len(rows) > 1:
        rows.append(course.total.cells("all"))
    section = Section(
        good=good,
        told=told if good else f"{verdict(course)} ({told})",
        complete=complete and not runs.interrupted,
        record={
            **course.record(),
            "scenarios": {name: each.record() for name, each in sorted(runs.by_name.items())},
            "failing": [finding.record() for finding in runs.findings],
        },
        tables=[Table("", ("scenario", *[name.lower() for name in COLUMNS[1:]]), rows)],
        findings=runs.findings,
    )
    if runs.interrupted:
        raise Interrupted(section)
    return section


def _built_in(name: str) -> Source:
    return Source(name, scenario.parse(scenario.builtin(name), name))


# ---- storms and other weather -------------------------------------------------------------------


def storm(stint: Stint) -> Section:
    """The figure of clean seeds."""
    source = _built_in("storm")
    seeds = range(stint.first_seed, stint.first_seed + STORM_SEEDS)
    runs = run_plan(stint, "storm", [(source, seed) for seed in seeds], STORM_SEEDS)
    total = runs.total
    told = f"{total.clean:,} seeds clean of {STORM_SEEDS:,} wanted; {total.polls:,} polls decided"
    section = _section(runs, told, complete=total.seeds >= STORM_SEEDS)
    sizes = [each.cells(size) for size, each in runs.course.sizes.items()]
    section.tables = [Table("By size", [name.lower() for name in COLUMNS], sizes)]
    done = [(what, f"{times:,}") for what, times in runs.course.counts.items()]
    section.tables.append(Table("What was done to them", ("fault", "times"), done))
    section.pictures = pictures_of(runs.curves, "storm")
    return section


def weather(stint: Stint) -> Section:
    """Every other scenario that is built in, in turn."""
    sources = [_built_in(name) for name in scenario.names() if name not in OWN_PARTS]
    seeds = range(stint.first_seed, stint.first_seed + WEATHER_SEEDS)
    plan = [(source, seed) for seed in seeds for source in sources]
    runs = run_plan(stint, "weather", plan, len(plan))
    told = f"{runs.total.clean:,} seeds clean of {len(plan):,} wanted, {len(sources)} scenarios"
    return _section(runs, told, complete=runs.total.seeds >= len(plan))


# ---- adversaries --------------------------------------------------------------------------------


def casts(out: Path) -> list[Source]:
    """Each kind alone among four, twice among seven, and every pair of kinds among seven; of those
    who rule the network at most one at a time."""
    from testnet.sim.adversaries import NAMES

    names = [name for name in NAMES if name not in ALONE]
    casts_: list[tuple[int, tuple[str, ...]]] = [(4, (name,)) for name in names]
    casts_ += [(7, (name, name)) for name in names if NAMES[name].liar]
    casts_ += [
        (7, pair) for pair in combinations(names, 2) if any(NAMES[name].liar for name in pair)
    ]
    stage = scenario.parse(STAGE, "the stage")
    return [_cast(stage, nodes, cast, out) for nodes, cast in casts_]


def _cast(stage: Scenario, nodes: int, cast: Sequence[str], out: Path) -> Source:
    name = f"{'-'.join(cast)}-of-{nodes}"
    villains = tuple([Villain(kind=kind, node=node) for node, kind in enumerate(cast)])
    made = replace(stage, name=name, nodes=(nodes,), adversaries=villains)
    return Source(str(out / "scenarios" / f"{name}.toml"), made)


def sieges_from(seed: int, out: Path) -> Iterator[tuple[Source, int]]:
    """Drawn sieges of this seed and those after it, without end."""
    for each in count(seed):
        made = siege(each)
        yield Source(str(out / "scenarios" / f"siege-{each}.toml"), made), each


def adversaries(stint: Stint) -> Section:
    """Poll decisions under adversaries, and no disagreement: every cast once, then drawn sieges."""
    sources = casts(stint.out)
    plan = chain(
        [(source, stint.first_seed) for source in sources],
        sieges_from(stint.first_seed, stint.out),
    )
    decisions = Decisions()
    runs = run_plan(
        stint,
        "adversaries",
        plan,
        len(sources) + ADVERSARY_POLLS // SIEGE_POLLS,
        enough=lambda runs: (
            runs.total.polls >= ADVERSARY_POLLS and runs.total.seeds >= len(sources)
        ),
        each=lambda source, done: decisions.add(done.seed, source.scenario, done.outcome),
    )
    total = runs.total
    told = (
        f"{total.polls:,} poll decisions of {ADVERSARY_POLLS:,} wanted, {total.heights:,} heights, "
        f"{total.seeds:,} runs, {decisions.disagreements or 'no'} disagreements"
    )
    complete = total.polls >= ADVERSARY_POLLS and total.seeds >= len(sources)
    section = _section(runs, told, complete=complete)
    section.record["kinds"] = {row.kind: asdict(row) for row in _kinds(decisions)}
    del section.record["scenarios"]  # nearly as many as runs
    section.tables = [Table(CASTS_TOLD, CAST_COLUMNS, [_cells(row) for row in _kinds(decisions)])]
    sizes = [each.cells(size) for size, each in runs.course.sizes.items()]
    section.tables.append(Table("By size", [name.lower() for name in COLUMNS], sizes))
    return section


SIEGE_POLLS: Final = 3_000  # about: for the bar
CASTS_TOLD: Final = (
    "Each kind alone among four, twice among seven and with every other kind among seven, then the "
    "largest minority of drawn kinds among 4, 7 and 13, a quarter of them in the storm"
)
CAST_COLUMNS: Final = ("kind", "runs", "poll decisions", "heights", "acts", "failures")


def _kinds(decisions: Decisions) -> list[KindRow]:
    return [decisions.kinds[kind] for kind in sorted(decisions.kinds)]


def _cells(row: KindRow) -> tuple[str, ...]:
    counts = (row.sieges, row.polls, row.heights, row.lies, row.failures)
    return (row.kind.replace("_", " "), *[f"{each:,}" for each in counts])


# ---- what a height costs on the network ---------------------------------------------------------


def gossip(stint: Stint) -> Section:
    """Messages and bytes of a height with 4, 16 and 64 peers."""
    sources = [_built_in(name) for name in GOSSIPS]
    seeds = range(stint.first_seed, stint.first_seed + GOSSIP_SEEDS)
    plan = [(source, seed) for seed in seeds for source in sources]
    costs = Costs()
    runs = run_plan(stint, "gossip", plan, len(plan), each=lambda source, done: costs.add(done))
    peers = ", ".join([str(size) for size in costs.sizes])
    told = f"messages and bytes a height with {peers} peers"
    section = _section(runs, told, complete=runs.total.seeds >= len(plan))
    section.tables += costs.tables()
    section.record["costs"] = costs.record()
    section.pictures = costs.pictures()
    section.texts.append(GOSSIP_TOLD)
    return section
