"""`apocryph sim …`: simulated clusters over many seeds. Only words and options.

What they do is `runs`, `soak` and `testnet.scale`, imported when used.
"""

import importlib
import os
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import click

from node.cli.output import Output, with_output
from node.codes import Exit
from testnet.simulate.limits import JOBS_MAX, MINUTES, SEED_WALL_S

SEEDS_DEFAULT = "1..20"
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class Elsewhere(NamedTuple):
    """A command of another module, and its line in `--help`."""

    module: str
    name: str
    help: str


ELSEWHERE = {
    "scale": Elsewhere(
        "testnet.scale.cli", "scale", "Snowball alone, on up to millions of nodes (numpy)"
    ),
}


class Simulations(click.Group):
    """The commands below, and those that other modules bring."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = ELSEWHERE.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        command = getattr(importlib.import_module(entry.module), entry.name)
        assert isinstance(command, click.Command), "the table names commands"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            from node.errors import suggestion

            ctx.fail(f"no command {args[0]!r}{suggestion(args[0], known)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, command.get_short_help_str(80)) for name, command in self.commands.items()]
        rows += [(name, entry.help) for name, entry in ELSEWHERE.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=Simulations)
def sim() -> None:
    """Simulated clusters: the real consensus and execution, everything else decided by a seed."""


def cores() -> int:
    """How many processes are worth it here."""
    if hasattr(os, "sched_getaffinity"):
        return min(JOBS_MAX, len(os.sched_getaffinity(0)))
    return min(JOBS_MAX, os.cpu_count() or 1)


jobs_option = click.option(
    "--jobs",
    type=click.IntRange(1, JOBS_MAX),
    help="worker processes; without it one a core",
)


@sim.command()
@click.argument("scenario")
@click.option("--seeds", default=SEEDS_DEFAULT, show_default=True, metavar="N|A..B|…,…")
@jobs_option
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=SEED_WALL_S,
    show_default=True,
    help="real seconds of one seed; beyond it, it failed",
)
@click.option("--shrink", is_flag=True, help="cut failing seeds down and write the least case")
@click.option("--out", type=FOLDER, default=Path(), help="where --shrink writes")
@click.option("--trace", metavar="FILE", help="of one seed; of several with {seed} in the name")
@click.option("--plot", type=FILE, help="heights over time: .svg, .png or .pdf")
@click.option("--report", type=FILE, help="one HTML file with everything")
@with_output
def run(
    *,
    scenario: str,
    seeds: str,
    jobs: int | None,
    timeout: float,
    shrink: bool,
    out: Path,
    trace: str | None,
    plot: Path | None,
    report: Path | None,
    output: Output,
) -> int:
    """Run SCENARIO (a built-in name or a .toml file) on many seeds and check each run.

    The same seed gives the same run, whatever the machine. Exit code 1 if a seed fails; each that
    fails is told with the one command that shows it again.
    """
    from testnet.simulate.runs import Wanted
    from testnet.simulate.runs import run as work
    from testnet.simulate.seeds import read_seeds
    from testnet.simulate.sources import read_scenario

    wanted = Wanted(
        source=read_scenario(scenario),
        seeds=read_seeds(seeds),
        jobs=jobs or cores(),
        wall_s=timeout,
        shrink=shrink,
        out=out,
        trace=trace or "",
        plot=plot,
        report=report,
        command=shlex.join(["apocryph", "sim", "run", scenario, "--seeds", seeds]),
    )
    return work(wanted, output)


@sim.command()
@click.argument("what")
@click.option("--seed", type=click.IntRange(0), help="of a scenario; a case has its own")
@click.option("--schedule", type=FILE, help="faults of a file instead of the seed's own")
@click.option("--trace", metavar="FILE", help="every event and effect; - is stdout")
@click.option("--plot", type=FILE, help="heights and faults over time: .svg, .png or .pdf")
@with_output
def replay(
    *,
    what: str,
    seed: int | None,
    schedule: Path | None,
    trace: str | None,
    plot: Path | None,
    output: Output,
) -> int:
    """Run one seed again, in this process: of a scenario, or a case that --shrink wrote.

    WHAT is a case file, a built-in name or a scenario file; the latter two need --seed. Exit code 1
    if it fails. The digest of the trace is the same on every machine and Python.
    """
    from testnet.simulate.replays import read_again
    from testnet.simulate.replays import replay as work

    again = read_again(what, seed=seed, schedule=schedule, trace=trace or "", plot=plot)
    return work(again, output)


@sim.command()
@with_output
def scenarios(output: Output) -> Exit:
    """List the scenarios that come with the product."""
    from testnet.sim.scenario import builtin, names, parse

    found = [parse(builtin(name), name) for name in names()]
    rows = [
        (each.name, ",".join([str(nodes) for nodes in each.nodes]), each.about) for each in found
    ]
    data = {
        "scenarios": [
            {"name": each.name, "nodes": list(each.nodes), "about": each.about} for each in found
        ]
    }
    return output.result(data, output.table(("SCENARIO", "NODES", "WHAT IT IS"), rows))


@sim.command()
@click.argument("name")
@with_output
def show(name: str, output: Output) -> Exit:
    """Print the TOML of a built-in scenario, to begin one of your own."""
    from testnet.simulate.sources import builtin_text

    text = builtin_text(name)
    return output.result({"name": name, "toml": text}, text.rstrip())


@sim.command()
@click.option(
    "--minutes",
    type=click.FloatRange(0.01),
    default=MINUTES,
    show_default=True,
    help="of real time; what is left undone then is said",
)
@click.option("--only", "parts", metavar="PART", multiple=True, help="may be given more than once")
@jobs_option
@click.option(
    "--out", type=FOLDER, default=Path("soak"), show_default=True, help="for report and data"
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="the first")
@click.option("--list", "listed", is_flag=True, help="the parts, and nothing runs")
@with_output
def soak(
    *,
    minutes: float,
    parts: tuple[str, ...],
    jobs: int | None,
    out: Path,
    seed: int,
    listed: bool,
    output: Output,
) -> int:
    """Everything that takes long: thousands of seeds, adversaries, tables, the model check.

    Writes soak.html and soak.json, also when it is ended by Ctrl-C. From a checkout it runs the
    model check, the planted faults and the fuzzer too. Exit code 1 if anything fails.
    """
    from testnet.simulate.soak import Soak, list_parts
    from testnet.simulate.soak import run as work

    if listed:
        return list_parts(output)
    chosen = Soak(minutes=minutes, parts=parts, jobs=jobs or cores(), out=out, first_seed=seed)
    return work(chosen, output)


if __name__ == "__main__":
    from node.cli.output import run as run_command

    sys.exit(run_command(sim, sys.argv[1:], name="apocryph sim"))
