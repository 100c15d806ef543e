"""The report of one `sim run` as a page: verdict, failures with commands, tables, pictures.

Knows neither processes nor how to write files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final

from testnet.sim.scenario import Scenario
from testnet.sim.trial import Outcome
from testnet.simulate.curves import Curve
from testnet.simulate.findings import FAILURES_TOLD, Finding, code_version, python_version, told
from testnet.simulate.limits import TOLD_MAX
from testnet.simulate.page import Page
from testnet.simulate.themes import PAGE
from testnet.simulate.toml import scenario_toml
from testnet.simulate.totals import COLUMNS, SECOND_MS, Course, Totals, shown, shown_s

NO_PLOTS: Final = "Pictures need the extra: pip install 'apocryph[research]'"
MEMORY_SHOWN: Final = 40


@dataclass(slots=True)
class Told:
    """All that a report of one scenario is made of."""

    scenario: Scenario
    seeds: str  # as a command names them
    command: str
    jobs: int
    wall_s: float
    course: Course
    findings: list[Finding]
    drawn: list[Outcome] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    interrupted: bool = False


def has_plots() -> bool:
    """Whether pictures can be drawn here."""
    return find_spec("matplotlib") is not None


def page(told_: Told) -> str:
    """The whole HTML file."""
    scenario, course = told_.scenario, told_.course
    built = Page(f"Simulation: {scenario.name}")
    about = f"{scenario.about}. " if scenario.about else ""
    built.text(f"{about}{origin()}", faint=True)
    built.verdict(verdict(course), good=not course.failing)
    if told_.interrupted:
        built.verdict(f"interrupted: not all of {told_.seeds} ran", good=False)
    built.command(told_.command)
    built.tiles(tiles(course.total, told_.wall_s))
    findings(built, told_.findings, len(course.failing))
    built.section("Seeds by size of the cluster")
    built.table([name.lower() for name in COLUMNS], course.rows())
    _rounds(built, course)
    if has_plots():
        pictures(built, told_)
    else:
        built.text(NO_PLOTS, faint=True)
    _done(built, course)
    built.details("The scenario", scenario_toml(scenario))
    return built.html()


def origin() -> str:
    """Which code, on what."""
    return f"Commit {code_version()}, Python {python_version()}."


def verdict(course: Course) -> str:
    total = course.total
    if not course.failing:
        return f"all {total.seeds:,} seeds clean"
    names = ", ".join([f"{name} in {seeds}" for name, (seeds, _) in course.checkers.items()])
    return f"{len(course.failing):,} of {total.seeds:,} seeds failed: {names}"


def tiles(total: Totals, wall_s: float) -> list[tuple[str, str]]:
    return [
        (f"{total.seeds:,}", "seeds"),
        (f"{total.heights:,}", "heights"),
        (f"{total.polls:,}", "polls decided"),
        (f"{total.signatures:,}", "signatures"),
        (f"{total.crashes:,}", "crashes and restarts"),
        (shown_s(total.simulated_ms / SECOND_MS), "simulated"),
        (shown_s(total.cpu_s), f"of cores, {shown_s(wall_s)} of real time"),
        (shown(total.heights_per_core_s, 1), "heights a second and core"),
    ]


def findings(built: Page, found: Sequence[Finding], count: int) -> None:
    """The first failing seeds with the command that replays each."""
    if not found:
        return
    built.section("What failed")
    for each in found[:TOLD_MAX]:
        finding(built, each)
    if count > TOLD_MAX:
        built.text(f"and {count - TOLD_MAX:,} seeds more", faint=True)


def finding(built: Page, found: Finding) -> None:
    """One failing seed with the command that replays it."""
    outcome = found.ran.outcome
    lines = [
        f"{failure.checker} at {failure.at_ms / SECOND_MS:.3f} s: {told(failure.text)}"
        for failure in outcome.failures[:FAILURES_TOLD]
    ]
    if found.shrunk is not None:
        lines.append(found.shrunk.text())
    head = f"{outcome.scenario}, seed {found.ran.seed}, {outcome.nodes} nodes"
    built.finding(head, lines, found.replay)


def _rounds(built: Page, course: Course) -> None:
    rounds = course.total.rounds
    heights = sum(rounds.values())
    if not heights:
        return
    built.section("Rounds")
    built.text("In which round the certificate of a height is; 0: the first proposer's block.")
    rows = [
        (f"round {round_}", f"{count:,}", f"{100 * count / heights:.2f} %")
        for round_, count in sorted(rounds.items())
    ]
    built.table(("round", "heights", "share"), rows)


def pictures(built: Page, told_: Told) -> None:
    """Many seeds in one picture, then single ones."""
    from testnet.simulate import plots

    assert PAGE.paper == "none", "the page is behind the pictures"
    built.section("Heights over time")
    for svg, caption in pictures_of(told_.curves, "spread"):
        built.picture(svg, caption)
    for outcome in told_.drawn:
        svg = plots.course_svg(outcome, told_.scenario.phases, f"seed{outcome.seed}")
        caption = "Blue: the highest node; grey: the others. Below: faults by node and kind."
        built.picture(svg, caption)


def pictures_of(curves: Sequence[Curve], name: str) -> list[tuple[str, str]]:
    """(SVG, caption) of many seeds at once; none where nothing can be drawn."""
    if len(curves) < 2 or not has_plots():
        return []
    from testnet.simulate import plots

    caption = "The highest node of each seed. Dark: where 80 % of the seeds are."
    return [(plots.spread_svg(curves, name), caption)]


def _done(built: Page, course: Course) -> None:
    if course.counts:
        built.section("What was done to them")
        rows = [(what, f"{count:,}") for what, count in course.counts.items()]
        built.table(("fault", "times"), rows)
    if course.memory:
        built.details(
            "Largest tables of a core",
            "\n".join(
                [f"{size:>8}  {name}" for name, size in course.memory.items()][:MEMORY_SHOWN]
            ),
        )
