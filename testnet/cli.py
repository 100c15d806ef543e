"""`apocryph testnet …`: the commands that make, run, show and stop testnets of this machine.

Only words and options; what they do is `driver`, `session` and `supervisor`, imported when used.
"""

from collections.abc import Callable
from typing import Any

import click

from node.cli.output import Output, with_output
from node.codes import Exit

Command = Callable[..., Any]


def net_option(command: Command) -> Command:
    """`--net NAME`, which testnet is meant."""
    option = click.option(
        "--net", envvar="APOCRYPH_NET", default="default", metavar="NAME", help="which testnet"
    )
    return option(command)


def until_height(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """`height=H`."""
    if value is None:
        return None
    what, _, number = value.partition("=")
    if what != "height" or not number.isascii() or not number.isdigit() or not int(number):
        raise click.BadParameter(f"{value!r}: expected height=H with H ≥ 1")
    return int(number)


@click.group()
def testnet() -> None:
    """Local testnets: real validators, one process each, on this machine."""


@testnet.command()
@click.option(
    "-n", "--validators", type=click.IntRange(1, 64), help="how many validators  [default: 4]"
)
@click.option(
    "--slots", type=click.IntRange(1), help="slots of the chain, dealt evenly  [default: 600]"
)
@click.option("--epoch-blocks", type=click.IntRange(1), help="heights of an epoch  [default: 256]")
@click.option(
    "--seed", type=click.IntRange(0), help="keys that are the same every time  [default: random]"
)
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="of the visible gateway  [default: 7357]"
)
@click.option("--demo", metavar="NAME", help="start sample agents: pingpong")
@click.option(
    "--until",
    callback=until_height,
    metavar="height=H",
    help="stop when every validator certified this height",
)
@click.option("--detach", is_flag=True, help="leave it running, return when it is ready")
@net_option
@with_output
def up(
    demo: str | None, until: int | None, detach: bool, net: str, output: Output, **options: Any
) -> int:
    """Make a testnet, or resume the one of that name, and run it.

    With --until it ends by itself and tells what every validator certified at that height; with
    --until and --detach it goes on.
    """
    from testnet import up as work
    from testnet.driver import Asked

    return work.up(Asked(name=net, **options), demo, until, output, detached=detach)


@testnet.command()
@net_option
@with_output
def down(net: str, output: Output) -> Exit:
    """Stop a testnet; its data stays."""
    from testnet.driver import down as stop
    from testnet.folder import Folder

    folder = Folder(net)
    folder.require()
    stopped = stop(folder)
    if not stopped:
        output.warn(f"the testnet {net!r} was not running")
    return output.result({"net": net, "stopped": stopped}, f"{net} is stopped")


@testnet.command()
@net_option
@with_output
def rm(net: str, output: Output) -> Exit:
    """Delete a stopped testnet with all its data and keys."""
    from testnet.folder import Folder

    Folder(net).remove()
    return output.result({"net": net, "removed": True}, f"{net} is removed")


@testnet.command()
@with_output
def ls(output: Output) -> Exit:
    """List the testnets of this user."""
    from testnet import tell

    return tell.testnets(output)


@testnet.command()
@net_option
@with_output
def status(net: str, output: Output) -> Exit:
    """What every validator has certified, checked by certificates."""
    from testnet import tell

    return tell.status(net, output)


@testnet.command()
@net_option
@with_output
def accounts(net: str, output: Output) -> Exit:
    """The funded accounts of a testnet, with their balances while it runs."""
    from testnet import tell

    return tell.accounts(net, output)


@testnet.command()
@click.argument("node", required=False)
@click.option("-n", "--lines", type=click.IntRange(0, 10_000), default=20, help="newest of each")
@click.option("-f", "--follow", is_flag=True, help="go on as more is logged")
@net_option
@with_output
def logs(node: str | None, lines: int, follow: bool, net: str, output: Output) -> Exit:
    """What the validators (or one NODE, or `supervisor`) logged."""
    from testnet import logs as work

    return work.show(net, node, output, lines=lines, follow=follow)


# ---- one validator -------------------------------------------------------------------------------


@testnet.group()
def node() -> None:
    """One validator of a running testnet: kill, pause, resume, restart."""


def _operation(name: str, doc: str) -> None:
    @node.command(name, help=doc)
    @click.argument("node", metavar="NODE")
    @net_option
    @with_output
    def run(node: str, net: str, output: Output) -> Exit:
        from testnet import tell

        return tell.operate(net, name, node, output)


_operation("kill", "End it at once, as a crash would (SIGKILL).")
_operation("pause", "Stop its process where it is (SIGSTOP).")
_operation("resume", "Let a paused one go on (SIGCONT).")
_operation("restart", "Start it again from its disk; one that runs is stopped first.")
