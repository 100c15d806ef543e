"""`apocryph sim scale`: Snowball alone on networks of up to millions of nodes.

Only words and options; numpy and matplotlib are imported when used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from consensus.parameters import Parameters
from node.cli.output import Output, with_output
from node.codes import Exit
from node.errors import Interrupted
from testnet.scale.networks import (
    NETWORKS_MAX,
    ROUNDS_MAX,
    Adversary,
    Network,
    Unreadable,
    read_adversaries,
    read_nodes,
)
from testnet.scale.research import require

SEEDS_MAX = 10_000
PICTURES = (".svg", ".png", ".pdf")
PUBLIC = Parameters.public()
COLUMNS = ("NODES", "ADVERSARY", "ROUNDS", "MIN", "MAX", "99 %", "STALLED", "SPLIT", "CPU")
FIGURE_COLUMNS = ("NETWORK", "ON RECORD", "ROUNDS", "STALLED", "SIGMAS", "WITHIN")


def nodes_option(context: click.Context, option: click.Parameter, value: str) -> tuple[int, ...]:
    """Sizes of networks."""
    try:
        return read_nodes(value)
    except Unreadable as error:
        raise click.BadParameter(str(error)) from None


def adversary_option(
    context: click.Context, option: click.Parameter, values: Sequence[str]
) -> tuple[Adversary, ...]:
    """Adversaries; none when the option is not given."""
    try:
        found = [adversary for value in values for adversary in read_adversaries(value)]
    except Unreadable as error:
        raise click.BadParameter(str(error)) from None
    return tuple(dict.fromkeys(found)) or (Adversary(),)


def start_option(context: click.Context, option: click.Parameter, value: str) -> tuple[int, ...]:
    """`50/50`: percent of the honest nodes that start with each value."""
    parts = value.split("/")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise click.BadParameter(f"{value!r}: expected percents like 50/50 or 40/30/30")
    return tuple([int(part) for part in parts])


def picture_option(
    context: click.Context, option: click.Parameter, value: Path | None
) -> Path | None:
    """A file whose suffix says what picture it is."""
    if value is not None and value.suffix.lower() not in PICTURES:
        raise click.BadParameter(f"{value}: expected a name that ends in {', '.join(PICTURES)}")
    return value


@click.command()
@click.option(
    "--nodes",
    default="1000..1000000",
    show_default=True,
    callback=nodes_option,
    metavar="N|N,N|LOW..HIGH",
    help="sizes; a range goes times ten",
)
@click.option(
    "--adversary",
    "adversaries",
    multiple=True,
    callback=adversary_option,
    metavar="KIND:SHARE",
    help="none, or mute, balancing, split, echo with a share (0.1), shares (0.1,0.2) or a range "
    "(0..0.3, steps of 0.05); may be given more than once",
)
@click.option("--k", type=click.IntRange(1), default=PUBLIC.k, show_default=True)
@click.option(
    "--alpha-preference",
    type=click.IntRange(1),
    default=PUBLIC.alpha_preference,
    show_default=True,
)
@click.option(
    "--alpha-confidence",
    type=click.IntRange(1),
    default=PUBLIC.alpha_confidence,
    show_default=True,
)
@click.option("--beta", type=click.IntRange(1), default=PUBLIC.beta, show_default=True)
@click.option(
    "--concurrent-polls",
    type=click.IntRange(1),
    default=PUBLIC.concurrent_polls,
    show_default=True,
    help="polls of a node in one round",
)
@click.option("--weak/--no-weak", "weakly", default=True, help="whether weak settling counts")
@click.option(
    "--rule",
    type=click.Choice(["snowball", "snowflake"]),
    help="what moves the preference: counts (by default), or the last poll that was led (by "
    "default with --figures)",
)
@click.option(
    "--start",
    default="50/50",
    show_default=True,
    callback=start_option,
    metavar="P/P",
    help="percent of the honest nodes that start with each value",
)
@click.option("--seeds", type=click.IntRange(1, SEEDS_MAX), default=4, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="the first")
@click.option("--rounds-max", type=click.IntRange(1), default=ROUNDS_MAX, show_default=True)
@click.option(
    "--plot",
    callback=picture_option,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="draw it: .svg, .png or .pdf",
)
@click.option("--figures", is_flag=True, help="measure the figures on record again, nothing else")
@with_output
def scale(
    *,
    nodes: tuple[int, ...],
    adversaries: tuple[Adversary, ...],
    rule: str | None,
    seeds: int,
    seed: int,
    plot: Path | None,
    figures: bool,
    output: Output,
    **numbers: object,
) -> Exit:
    """Snowball alone, in lockstep: rounds until every honest node settled.

    Exact for networks in which each node owns one slot; one core. A stall is a run in which some
    honest node did not settle within --rounds-max; a split one in which two settled differently.
    """
    require("numpy", *(["matplotlib"] if plot is not None else []))
    chosen = range(seed, seed + seeds)
    if figures:
        return _figures(output, chosen, memory=rule == "snowball")
    if len(nodes) * len(adversaries) > NETWORKS_MAX:
        raise click.UsageError(f"more than {NETWORKS_MAX} networks in one command")
    first = Network(nodes=nodes[0], memory=rule != "snowflake", **numbers)  # type: ignore[arg-type]
    networks = [
        replace(first, nodes=size, adversary=adversary)
        for adversary in adversaries
        for size in nodes
    ]
    return _networks(output, networks, chosen, plot)


def _networks(output: Output, networks: Sequence[Network], seeds: range, plot: Path | None) -> Exit:
    from testnet.scale.measure import Row, measure

    rows: list[Row] = []
    interrupted = False
    try:
        for network in networks:
            rows.append(measure(network, seeds))
            output.note(f"{network.nodes:,} nodes, {network.adversary}: {rows[-1].cpu_s:.2f} s")
    except KeyboardInterrupt:  # what is known by then is told
        interrupted = True
    split = sum([row.split for row in rows])
    if split:
        output.warn(f"honest nodes settled on different values in {split} runs")
    drawn = plot if rows else None
    if drawn is not None:
        from testnet.scale.plots import draw

        draw(rows, drawn)
    data = {
        "rule": _rule(networks[0]),
        "first_seed": seeds[0],
        "rows": [row.record() for row in rows],
        "plot": None if drawn is None else str(drawn),
    }
    table = output.table(COLUMNS, [row.cells() for row in rows])
    if interrupted:
        return _interrupted(output, data, table, len(rows), len(networks))
    return output.result(data, table)


def _interrupted(
    output: Output, data: Mapping[str, object], table: str, done: int, wanted: int
) -> Exit:
    said = f"{done:,} of {wanted:,} networks, interrupted"
    output.result(data, f"{table}\n{said}", ok=False, errors=[Interrupted(said)])
    return Exit.INTERRUPTED


def _rule(network: Network) -> dict[str, object]:
    names = ("k", "alpha_preference", "alpha_confidence", "beta", "concurrent_polls", "rounds_max")
    return {name: getattr(network, name) for name in names} | {
        "rule": "snowball" if network.memory else "snowflake",
        "weak": network.weakly,
        "start": list(network.start),
    }


# ---- the figures on record ----------------------------------------------------------------------


def _figures(output: Output, seeds: range, *, memory: bool) -> Exit:
    """Exit 1 when a figure is not what the record says, up to noise."""
    if len(seeds) < 2:
        raise click.UsageError("--figures needs at least two seeds, to know the noise")
    from testnet.scale.figures import Repeated, figures, repeat

    found: list[Repeated] = []
    wanted, interrupted = list(figures(memory=memory)), False
    try:
        for figure in wanted:
            found.append(repeat(figure, seeds))
            output.note(f"{found[-1].name}: {found[-1].rounds:.1f} rounds")
    except KeyboardInterrupt:
        interrupted = True
    differing = [item for item in found if not item.within]
    data = {
        "rule": "snowball" if memory else "snowflake",
        "within": len(found) - len(differing),
        "of": len(found),
        "figures": [item.record() for item in found],
    }
    text = output.table(FIGURE_COLUMNS, [item.cells() for item in found])
    if interrupted:
        return _interrupted(output, data, text, len(found), len(wanted))
    said = f"{len(found) - len(differing)} of {len(found)} are what the record says, up to noise"
    return output.result(data, f"{text}\n{said}", ok=not differing)
