"""Charts of tables inside a page (matplotlib, extra `research`): lines, and bars in groups.

Knows no simulation.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from testnet.simulate.plots import inline, style
from testnet.simulate.themes import PAGE

WIDE_INCHES: Final = 5.6
TALL_INCHES: Final = 3.2
GROUP: Final = 0.8  # of the room between two groups is filled with bars
FILLED: Final = 0.92  # of a bar's own room
MARKER: Final = 4.5

Point = tuple[float, float]


def lines_svg(
    name: str,
    lines: Mapping[str, Sequence[Point]],
    *,
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """A line a key. `name`: of this chart alone in its page; `x`, `y`: what the axes show."""
    with style(PAGE):
        figure, axes = _begun(y)
        for place, (label, points) in enumerate(lines.items()):
            colour = PAGE.lines[place % len(PAGE.lines)]
            across, up = [at for at, _ in points], [value for _, value in points]
            axes.plot(across, up, color=colour, marker="o", markersize=MARKER, label=label)
        axes.set_xlabel(x)
        if log_x:
            _logarithmic(axes, sorted({at for points in lines.values() for at, _ in points}))
        if log_y:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        if len(lines) > 1:
            axes.legend(loc="best")
        return _chart(figure, name)


def bars_svg(
    name: str,
    groups: Sequence[str],
    bars: Mapping[str, Sequence[float]],
    *,
    x: str,
    stacked: bool = False,
) -> str:
    """For each group, from the top, a bar a key: below one another, or end to end."""
    with style(PAGE):
        figure, axes = _begun("")
        base = [0.0] * len(groups)
        thick = GROUP if stacked else GROUP / len(bars)
        for place, (label, values) in enumerate(bars.items()):
            shift = 0.0 if stacked else (place - (len(bars) - 1) / 2) * thick
            at = [row + shift for row in range(len(groups))]
            colour = PAGE.lines[place % len(PAGE.lines)]
            left = list(base) if stacked else None
            axes.barh(at, values, FILLED * thick, left=left, color=colour, label=label)
            base = [low + value for low, value in zip(base, values, strict=True)]
        axes.set_yticks(range(len(groups)), groups)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(x)
        if len(bars) > 1:
            figure.legend(loc="outside upper left", ncols=len(bars), handlelength=0.9)
        return _chart(figure, name)


def _logarithmic(axes: Axes, places: Sequence[float]) -> None:
    """Marked where the points are: there are few of them."""
    axes.set_xscale("log")
    axes.set_xticks(places, [f"{at:,.0f}" for at in places])
    axes.xaxis.set_minor_locator(NullLocator())


def _begun(y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDE_INCHES, TALL_INCHES), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylabel(y)
    return figure, axes


def _chart(figure: Figure, name: str) -> str:
    """Not wider in its page than it was drawn."""
    return inline(figure, name).replace('class="plot"', 'class="plot chart"', 1)
