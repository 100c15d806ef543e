"""What a height costs on the network, by number of peers and by topic: sums over seeds.

Knows no run; pictures only where matplotlib is.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from testnet.simulate.report import has_plots
from testnet.simulate.sections import Table
from testnet.simulate.seeds import Ran
from testnet.simulate.totals import shown, shown_bytes

GOSSIP_TOLD: Final = (
    "Everything that all peers send, divided by heights. Votes and messages of accounts are "
    "gossiped: each peer passes each once to its mesh neighbours, so they grow with the number of "
    "peers times the number of voters. Polls grow with the number of peers alone: a peer asks a "
    "sample of bounded size."
)
TOPICS_DRAWN: Final = 4


@dataclass(slots=True)
class Cost:
    """Of one size of network. `packets`, `bytes`: by topic or query, over all heights."""

    heights: int = 0
    packets: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def of(self, topic: str, in_bytes: bool) -> int:
        return (self.bytes if in_bytes else self.packets).get(topic, 0)


class Costs:
    """Sums by number of peers."""

    def __init__(self) -> None:
        self._sizes: dict[int, Cost] = {}

    @property
    def sizes(self) -> dict[int, Cost]:
        """Rising."""
        return dict(sorted(self._sizes.items()))

    def add(self, done: Ran) -> None:
        outcome = done.outcome
        cost = self._sizes.setdefault(outcome.nodes, Cost())
        cost.heights += outcome.heights
        for sums, found in ((cost.packets, outcome.messages), (cost.bytes, outcome.bytes)):
            for name, count in found:
                sums[name] = sums.get(name, 0) + count

    @property
    def topics(self) -> list[str]:
        """Those that cost most first."""
        sums: dict[str, int] = {}
        for cost in self._sizes.values():
            for name, count in cost.bytes.items():
                sums[name] = sums.get(name, 0) + count
        return sorted(sums, key=lambda name: (-sums[name], name))

    def tables(self) -> list[Table]:
        columns = ["topic or query", *[f"{size} peers" for size in self.sizes]]
        return [
            Table("Messages a height", columns, self._rows(in_bytes=False)),
            Table("Bytes a height", columns, self._rows(in_bytes=True)),
        ]

    def _rows(self, *, in_bytes: bool) -> list[tuple[str, ...]]:
        costs = list(self.sizes.values())
        rows = [
            (topic, *[_cell(each, each.of(topic, in_bytes), in_bytes) for each in costs])
            for topic in self.topics
        ]
        sums = [sum((each.bytes if in_bytes else each.packets).values()) for each in costs]
        totals = [_cell(each, found, in_bytes) for each, found in zip(costs, sums, strict=True)]
        return [*rows, ("all", *totals)]

    def record(self) -> dict[str, Any]:
        """A height's, by size and topic."""
        return {
            str(size): {
                "heights": cost.heights,
                "messages": {name: round(n / cost.heights, 1) for name, n in cost.packets.items()},
                "bytes": {name: round(n / cost.heights) for name, n in cost.bytes.items()},
            }
            for size, cost in self.sizes.items()
            if cost.heights
        }

    def pictures(self) -> list[tuple[str, str]]:
        """(SVG, caption)."""
        costs = [(size, cost) for size, cost in self.sizes.items() if cost.heights]
        if len(costs) < 2 or not has_plots():
            return []
        from testnet.simulate.charts import lines_svg

        found = []
        for name, what in (("packets", "messages a height"), ("bytes", "bytes a height")):
            lines = {
                "all": [(size, sum(getattr(c, name).values()) / c.heights) for size, c in costs]
            }
            for topic in self.topics[:TOPICS_DRAWN]:
                points = [(size, getattr(c, name).get(topic, 0) / c.heights) for size, c in costs]
                lines[topic] = [point for point in points if point[1]]
            svg = lines_svg(f"gossip-{name}", lines, x="peers", y=what, log_x=True, log_y=True)
            found.append((svg, f"{what.capitalize()}, of all peers together."))
        return found


def _cell(cost: Cost, found: int, in_bytes: bool) -> str:
    if not cost.heights:
        return "-"
    return shown_bytes(found / cost.heights) if in_bytes else shown(found / cost.heights, 1)
