"""Pictures of runs (matplotlib, extra `research`): heights over time with faults, many seeds.

Drawn without a display, for a file (SVG, PNG, PDF by suffix) or as SVG inside a page; the same runs
give the same bytes. Knows no run, only outcomes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator

from testnet.sim.scenario import Phases
from testnet.sim.trial import Outcome
from testnet.simulate.curves import Band, Curve, banded, curve
from testnet.simulate.themes import LIGHT, PAGE, Theme, with_variables

DOTS_PER_INCH: Final = 150
WIDE_INCHES: Final = 9.2
COURSE_INCHES: Final = 2.9
LANE_INCHES: Final = 0.17
SPREAD_INCHES: Final = 3.0
SHORTEST: Final = 0.004  # of the whole span: a fault is never narrower
SECOND_MS: Final = 1_000
BEHIND: Final = 1  # heights that a node may end below the highest without being named
ALL_LANE: Final = "all"
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "network": ("partition", "deaf", "dumb", "apart", "lossy", "slow_links"),
    "process": ("crash", "crash_at", "pause", "rolling", "copied_key"),
    "disk": ("slow_disk", "full_disk", "bit_flip"),
    "clock": ("skew", "drift"),
    "executor": ("slow_executor", "host_fault"),
}
_METADATA: Final[dict[str, dict[str, str | None]]] = {".svg": {"Date": None, "Creator": None}}
_DROPPED: Final = re.compile(r"<(style|metadata)\b[^>]*>.*?</\1>", re.S)
_ID: Final = re.compile(r'(\bid="|href="#|url\(#)')


def draw(outcomes: Sequence[Outcome], curves: Sequence[Curve], phases: Phases, path: Path) -> None:
    """One course a given outcome, and the spread of all curves. Raises OSError, ValueError."""
    with style(LIGHT):
        parts: list[tuple[str, float]] = [("course", course_inches(each)) for each in outcomes]
        if len(curves) > 1:
            parts.append(("spread", SPREAD_INCHES))
        heights = [height for _, height in parts]
        figure = Figure(figsize=(WIDE_INCHES, sum(heights)), layout="constrained")
        rows = figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False)[:, 0]
        for row, outcome in zip(rows, outcomes, strict=False):
            _course(row, outcome, phases, LIGHT)
        if len(curves) > 1:
            _spread(rows[-1].add_subplot(), curves, LIGHT)
        figure.savefig(path, dpi=DOTS_PER_INCH, metadata=_METADATA.get(path.suffix.lower()))


def course_svg(outcome: Outcome, phases: Phases, name: str) -> str:
    """The course of one seed, to be put into a page. `name`: of this picture alone there."""
    with style(PAGE):
        figure = Figure(figsize=(WIDE_INCHES, course_inches(outcome)), layout="constrained")
        _course(figure, outcome, phases, PAGE)
        return inline(figure, name)


def spread_svg(curves: Sequence[Curve], name: str) -> str:
    """Heights of many seeds, to be put into a page."""
    with style(PAGE):
        figure = Figure(figsize=(WIDE_INCHES, SPREAD_INCHES), layout="constrained")
        _spread(figure.add_subplot(), curves, PAGE)
        return inline(figure, name)


# ---- one seed -----------------------------------------------------------------------------------


def course_inches(outcome: Outcome) -> float:
    """How tall the course of a seed is: a lane for each node."""
    return COURSE_INCHES + LANE_INCHES * (_nodes(outcome) + 1)


def _nodes(outcome: Outcome) -> int:
    """Those that own slots, and those that joined."""
    return max([outcome.nodes, *[node + 1 for _, node, _ in outcome.timeline]])


def _course(figure: FigureBase, outcome: Outcome, phases: Phases, theme: Theme) -> None:
    """Heights of each node above, a lane of faults for each node below."""
    lanes = LANE_INCHES * (_nodes(outcome) + 1)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[COURSE_INCHES - 0.9, lanes])
    until_s = max(outcome.simulated_ms / SECOND_MS, 1e-3)
    for axes in (upper, lower):
        _phases(axes, phases, until_s, theme)
        axes.set_xlim(0, until_s)
    _heights(upper, outcome, until_s, theme)
    _healed(upper, phases, until_s, theme)
    _lanes(lower, outcome, phases, until_s, theme)
    _failures(upper, outcome, theme)
    state = "clean" if outcome.clean else "failed: " + ", ".join(_checkers(outcome))
    upper.set_title(
        f"{outcome.scenario}, seed {outcome.seed}: {outcome.heights} heights, {state}",
        loc="left",
        color=theme.ink if outcome.clean else theme.bad,
    )
    lower.set_xlabel("simulated seconds")


def _checkers(outcome: Outcome) -> list[str]:
    return list(dict.fromkeys([failure.checker for failure in outcome.failures]))


def _phases(axes: Axes, phases: Phases, until_s: float, theme: Theme) -> None:
    """Shaded as long as faults happen."""
    if 0 < phases.faults_s < until_s:
        axes.axvspan(0, phases.faults_s, color=theme.shade, zorder=0, linewidth=0)
        axes.axvline(phases.faults_s, color=theme.faint, linewidth=0.8, linestyle=(0, (2, 2)))


def _healed(axes: Axes, phases: Phases, until_s: float, theme: Theme) -> None:
    if 0 < phases.faults_s < until_s:
        axes.annotate(
            "faults end",
            (phases.faults_s, 0),
            xytext=(-4, 4),
            textcoords="offset points",
            color=theme.faint,
            ha="right",
            fontsize=8,
        )


def _heights(axes: Axes, outcome: Outcome, until_s: float, theme: Theme) -> None:
    """A faint line a node, the highest in colour; who ends below the others is named."""
    top = max([height for _, _, height in outcome.timeline], default=0)
    behind: dict[int, list[str]] = {}
    for node in range(_nodes(outcome)):
        points = [(ms / SECOND_MS, height) for ms, who, height in outcome.timeline if who == node]
        heights = [0, *[height for _, height in points]]
        times = [0.0, *[at for at, _ in points], until_s]
        _steps(axes, times, [*heights, heights[-1]], color=theme.faint, linewidth=1.0, alpha=0.65)
        if heights[-1] < top - BEHIND:
            behind.setdefault(heights[-1], []).append(f"n{node}")
    highest = curve(outcome)
    times = [0.0, *[ms / SECOND_MS for ms in highest.times_ms], until_s]
    heights = [0, *highest.heights]
    _steps(axes, times, [*heights, heights[-1]], color=theme.lines[0], linewidth=1.8)
    for height, names in behind.items():
        place = (until_s, height)
        axes.annotate(" ".join(names), place, ha="right", va="bottom", color=theme.faint)
    axes.set_ylabel("height")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _steps(axes: Axes, times: Sequence[float], heights: Sequence[int], **look: Any) -> None:
    axes.plot(times, heights, drawstyle="steps-post", **look)


def _lanes(axes: Axes, outcome: Outcome, phases: Phases, until_s: float, theme: Theme) -> None:
    nodes = _nodes(outcome)
    end_ms = SECOND_MS * phases.faults_s
    shown: dict[str, None] = {}
    for fault in outcome.faults:
        if fault.at_ms >= end_ms:
            continue
        group = _group(fault.kind)
        span = max((min(fault.duration_ms, end_ms - fault.at_ms)) / SECOND_MS, SHORTEST * until_s)
        colour = theme.lines[list(GROUPS).index(group)]
        for lane in fault.targets or (nodes,):
            axes.broken_barh(
                [(fault.at_ms / SECOND_MS, span)],
                (lane - 0.38, 0.76),
                facecolor=colour,
                alpha=0.85,
                linewidth=0,
                label=None if group in shown else group,
            )
            shown[group] = None
    names = [f"n{node}" for node in range(nodes)]
    everybody = any(not fault.targets for fault in outcome.faults)
    axes.set_yticks(range(nodes + everybody), [*names, ALL_LANE][: nodes + everybody])
    axes.set_ylim(nodes + everybody - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_ylabel("faults")
    if shown:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(shown), handlelength=0.9)


def _group(kind: str) -> str:
    found = [group for group, kinds in GROUPS.items() if kind in kinds]
    assert found, f"{kind} is in no group of colours"
    return found[0]


def _failures(axes: Axes, outcome: Outcome, theme: Theme) -> None:
    """A line where each checker failed first."""
    told: dict[str, None] = {}
    for failure in outcome.failures:
        if failure.checker not in told and failure.at_ms:
            told[failure.checker] = None
            axes.axvline(failure.at_ms / SECOND_MS, color=theme.bad, linewidth=1.4)
            axes.annotate(
                failure.checker,
                (failure.at_ms / SECOND_MS, 1),
                xycoords=("data", "axes fraction"),
                xytext=(-4, -6),
                textcoords="offset points",
                color=theme.bad,
                ha="right",
                va="top",
            )


# ---- many seeds ---------------------------------------------------------------------------------


def _spread(axes: Axes, curves: Sequence[Curve], theme: Theme) -> None:
    """Of each size: the middle of its seeds, where most are, and where all are."""
    for place, band in enumerate(banded(curves)):
        _band(axes, band, theme.lines[place % len(theme.lines)])
    axes.set_xlabel("simulated seconds")
    axes.set_ylabel("height")
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, max(each.end_ms for each in curves) / SECOND_MS)
    axes.set_title(f"{len(curves):,} seeds: median, 10–90 %, all", loc="left")
    axes.legend(loc="upper left")


def _band(axes: Axes, band: Band, colour: str) -> None:
    label = f"{band.nodes} nodes, {band.seeds:,} seed{'s' if band.seeds > 1 else ''}"
    for low, high, alpha in ((band.least, band.most, 0.10), (band.low, band.high, 0.22)):
        axes.fill_between(
            band.times, low, high, color=colour, alpha=alpha, linewidth=0, step="post"
        )
    _steps(axes, band.times, band.middle, color=colour, linewidth=1.6, label=label)


# ---- forms --------------------------------------------------------------------------------------


@contextmanager
def style(theme: Theme) -> Iterator[None]:
    settings: Any = {
        "svg.hashsalt": "apocryph",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.facecolor": theme.paper,
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "axes.edgecolor": theme.grid,
        "axes.labelcolor": theme.faint,
        "axes.titlecolor": theme.ink,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": theme.grid,
        "grid.linewidth": 0.7,
        "text.color": theme.ink,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "legend.labelcolor": theme.ink,
    }
    with matplotlib.rc_context(settings):
        yield


def inline(figure: Figure, name: str) -> str:
    """The `<svg>` element; ids are its own in the page, sizes follow the page's width."""
    file = StringIO()
    figure.savefig(file, format="svg", metadata=_METADATA[".svg"])
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = _DROPPED.sub("", svg)  # a style would reach the whole page
    svg = _ID.sub(lambda found: f"{found.group(1)}{name}-", svg)
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return with_variables(f'{head} class="plot">{rest}')
