"""The command line: nouns and everyday verbs, each in its own module, imported when it is used."""

import importlib
import os
import sys
from typing import NamedTuple

import click


class Entry(NamedTuple):
    """Where a command lives, and its line in `--help`."""

    module: str
    name: str
    help: str


COMMANDS = {
    "testnet": Entry("testnet.cli", "testnet", "several validators on this machine"),
    "send": Entry("node.cli.messages", "send", "send a message to an agent"),
    "query": Entry("node.cli.messages", "query", "ask an agent; no view: what it understands"),
    "watch": Entry("node.cli.messages", "watch", "blocks, receipts and events as they come"),
    "tx": Entry("node.cli.chain", "tx", "what became of a message"),
    "block": Entry("node.cli.chain", "block", "a block, the newest without a height"),
    "proof": Entry("node.cli.chain", "proof", "a proof of a receipt, message or balance"),
    "agent": Entry("node.cli.agent", "agent", "the agents of a chain"),
    "chain": Entry("node.cli.chain", "chain", "the chain itself, and how to join it"),
    "light": Entry("node.cli.light", "light", "check proofs with the chain's id alone"),
    "node": Entry("node.cli.node", "node", "one node: its folder, its process, its journal"),
    "key": Entry("node.cli.key", "key", "keys, always encrypted"),
    "sim": Entry("testnet.simulate.cli", "sim", "simulated clusters over many seeds"),
    "fabric": Entry("node.cli.fabric", "fabric", "streams of a node, read from outside"),
    "explain": Entry("node.cli.about", "explain", "what an error code means"),
    "version": Entry("node.cli.about", "version", "versions of this installation"),
}


class Nouns(click.Group):
    """Imports a command's module only when it runs: `--help` shows the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.name)
        assert isinstance(command, click.Command), "the table names commands"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from node.errors import suggestion

            ctx.fail(f"no command {args[0]!r}{suggestion(args[0], list(COMMANDS))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def _version(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        from node.cli.about import versions, versions_text

        click.echo(versions_text(versions()))
        context.exit()


@click.group(cls=Nouns)
@click.option("--net", metavar="NAME", help="which testnet; also after the command")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
def root(net: str | None) -> None:
    """Apocryph: a blockchain for autonomous agents."""
    if net is not None:
        os.environ["APOCRYPH_NET"] = net  # where every command looks for it


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; the exit code."""
    from node.cli.output import run

    return run(root, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
