"""The part of a soak that is Snowball alone at scale: rounds against nodes and shares."""

from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from typing import Any, Final

from consensus.parameters import Parameters
from testnet.scale.networks import Adversary, Kind, Network
from testnet.scale.research import INSTALL_HINT
from testnet.simulate.report import has_plots
from testnet.simulate.sections import Section, Stint, Table
from testnet.simulate.soak_tables import Call, ask, seeds_of

NODES: Final = (1_000, 10_000, 100_000, 1_000_000)
LARGEST_CPU_S: Final = 5  # of one run of a million nodes
SHARES: Final = (5, 10, 15, 20, 25, 30)
SHARES_NODES: Final = 10_000
SEEDS: Final = 4
KINDS: Final = (Kind.MUTE, Kind.BALANCING)
ROUNDS_MAX: Final = 400  # where a stall is known to be one
PERCENT: Final = 100
COLUMNS: Final = (
    "network",
    "rounds",
    "least",
    "most",
    "99 % of nodes",
    "stalled",
    "split",
    "processor",
)
TOLD: Final = (
    "Rounds until every honest node settled, in lockstep, 50/50 at the start. Split: honest nodes "
    "settled on different values, which costs the chain a round, since votes decide."
)


def scale(stint: Stint) -> Section:
    """10³ … 10⁶ nodes, and shares of mute and balancing slots."""
    if find_spec("numpy") is None:
        return Section(good=True, complete=False, told=f"numpy is missing: {INSTALL_HINT}")
    seeds = seeds_of(stint, SEEDS)
    public = Parameters.public()
    networks = [Network.of_chain(public, nodes=size, rounds_max=ROUNDS_MAX) for size in NODES]
    networks += [
        Network.of_chain(
            public,
            nodes=SHARES_NODES,
            rounds_max=ROUNDS_MAX,
            adversary=Adversary(kind, Fraction(percent, PERCENT)),
        )
        for kind in KINDS
        for percent in SHARES
    ]
    calls: list[Call] = [(_measure, (network, seeds)) for network in networks]
    answers = ask(stint, "scale", calls)
    rows = answers.values
    largest = [row for row in rows if row.network.nodes == NODES[-1]]
    alone = [row for row in rows if not row.network.hostile]
    took = max([row.cpu_s for row in largest], default=None)
    section = Section(
        good=all(row.stalls == 0 for row in alone) and (took is None or took <= LARGEST_CPU_S),
        told=f"{NODES[-1]:,} nodes settle in {largest[0].mean:.1f} rounds, {took:.1f} s of one core"
        if largest and largest[0].mean is not None
        else f"{len(rows)} networks",
        record={"rows": [row.record() for row in rows]},
        texts=[TOLD],
        tables=[Table("", COLUMNS, [_cells(row) for row in rows])],
    )
    if has_plots() and rows:
        section.pictures = _pictures(rows)
    return answers.judged(section)


def _measure(network: Network, seeds: range) -> Any:
    from testnet.scale.measure import measure

    return measure(network, seeds)


def _cells(row: Any) -> Sequence[object]:
    nodes, adversary, *rest = row.cells()
    return f"{nodes:,} nodes, {adversary}", *rest


def _pictures(rows: Sequence[Any]) -> list[tuple[str, str]]:
    from testnet.simulate.charts import lines_svg

    sizes = sorted(
        {
            row.network.nodes: row.mean for row in rows if not row.network.hostile and row.mean
        }.items()
    )
    shares: dict[str, list[tuple[float, float]]] = {}
    for kind in KINDS:
        shares[str(kind)] = [
            (PERCENT * float(row.network.adversary.share), row.mean)
            for row in rows
            if row.network.nodes == SHARES_NODES
            and row.mean is not None
            and (not row.network.hostile or row.network.adversary.kind is kind)
        ]
    rounds = "rounds until all settled"
    by_share = lines_svg(
        "scale-shares",
        {kind: sorted(set(p)) for kind, p in shares.items()},
        x="percent of the slots",
        y=rounds,
    )
    return [
        (lines_svg("scale-nodes", {"": sizes}, x="nodes", y=rounds, log_x=True), "No adversary."),
        (by_share, f"{SHARES_NODES:,} nodes; where all runs stalled there is no point."),
    ]
