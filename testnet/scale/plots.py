"""Pictures of measured rows: rounds against nodes, and against the adversary's share (matplotlib).

Drawn without a display; SVG, PNG or PDF by the file's suffix.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testnet.scale.measure import Row

PANEL_INCHES = (5.4, 3.8)
DOTS_PER_INCH = 140
LOG_FROM = 20  # most rounds over fewest: from there on the scale is logarithmic
_METADATA: dict[str, dict[str, str | None]] = {".svg": {"Date": None}}  # same rows, same bytes

Lines = dict[str, list[tuple[float, Row]]]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the picture. Raises OSError, ValueError for a suffix that is no picture."""
    by_nodes, by_share = _by_nodes(rows), _by_share(rows)
    panels = [lines for lines in (by_nodes, by_share) if any(len(p) > 1 for p in lines.values())]
    panels = panels or [by_nodes]
    width, height = PANEL_INCHES
    with matplotlib.rc_context({"svg.hashsalt": "apocryph", "svg.fonttype": "none"}):
        figure = Figure(figsize=(width * len(panels), height), layout="constrained")
        for place, lines in enumerate(panels, 1):
            axes = figure.add_subplot(1, len(panels), place)
            _panel(axes, lines)
            if lines is by_nodes:
                axes.set_xscale("log")
                axes.set_xlabel("nodes")
            else:
                axes.set_xlabel("the adversary's share of the slots")
        figure.savefig(path, dpi=DOTS_PER_INCH, metadata=_METADATA.get(path.suffix.lower()))


def _by_nodes(rows: Sequence[Row]) -> Lines:
    """A line per adversary."""
    lines: Lines = {}
    for row in sorted(rows, key=lambda row: row.network.nodes):
        lines.setdefault(str(row.network.adversary), []).append((row.network.nodes, row))
    return lines


def _by_share(rows: Sequence[Row]) -> Lines:
    """A line per kind, of the largest size; without adversary belongs to every kind."""
    largest = max([row.network.nodes for row in rows])
    kinds = list(dict.fromkeys([r.network.adversary.kind for r in rows if r.network.hostile]))
    lines: Lines = {}
    for kind in kinds:
        for row in sorted(rows, key=lambda row: row.network.adversary.share):
            network = row.network
            if network.nodes == largest and (not network.hostile or network.adversary.kind is kind):
                name = f"{kind}, {network.nodes:,} nodes"
                lines.setdefault(name, []).append((float(network.adversary.share), row))
    return lines


def _panel(axes: Axes, lines: Lines) -> None:
    """Mean rounds with the span of the seeds; a stall is a cross at the most rounds allowed."""
    for name, points in lines.items():
        settled = [(place, row.mean, row.rounds) for place, row in points if row.mean is not None]
        (line,) = axes.plot(
            [place for place, _, _ in settled],
            [mean for _, mean, _ in settled],
            marker="o",
            markersize=4,
            label=name,
        )
        colour = line.get_color()
        for place, _, rounds in settled:
            axes.vlines(place, rounds[0], rounds[-1], color=colour, alpha=0.4)
        stalled = [(place, row.network.rounds_max) for place, row in points if row.stalls]
        axes.plot(
            [place for place, _ in stalled],
            [rounds_max for _, rounds_max in stalled],
            color=colour,
            marker="x",
            linestyle="none",
        )
    axes.set_ylabel("rounds until all honest nodes settled")
    counts = [count for points in lines.values() for _, row in points for count in row.rounds]
    if max(counts, default=1) > LOG_FROM * min(counts, default=1):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
