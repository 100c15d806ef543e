"""`apocryph block`, `tx`, `proof`: reading the chain."""

import sys

import click

from node.cli import words
from node.cli.net import Net, net_options
from node.cli.output import Output, with_output
from node.codes import Exit


@click.command()
@click.argument("height", required=False, default="latest")
@net_options
@with_output
def block(height: str, net: Net, output: Output) -> Exit:
    """The block of HEIGHT (or of an id); the newest without one."""
    with net.client() as client:
        found = client.block(height)
    return output.result(found, words.block_text(found))


@click.command()
@click.argument("message", metavar="ID")
@click.option("--wait", "wait_s", type=click.FloatRange(0, 60), default=0, help="seconds")
@net_options
@with_output
def tx(message: str, wait_s: float, net: Net, output: Output) -> Exit:
    """What became of a message: pending, included with its receipt, or refused."""
    with net.client() as client:
        found = client.tx(message, wait_s=wait_s)
        name = words.names_of(client, net.wallet())
    return output.result(found, words.tx_text(found, name))


@click.command()
@click.argument("what", metavar="ID")
@click.option("--of", type=click.Choice(["receipt", "message"]), default="receipt")
@net_options
@with_output
def proof(what: str, of: str, net: Net, output: Output) -> Exit:
    """A proof of a message's receipt, of the message, or of an account's balance (@name, apx1…).

    Redirect it: `apocryph proof ID > p.json`, then `apocryph light verify p.json --chain …`.
    """
    from node.prooffile import file_text

    if what.startswith("@"):
        from consensus.ids import account_text

        what = account_text(net.wallet().account(what))
    with net.client() as client:
        raw = client.proof(what, of=of)
    text = file_text(raw)
    if output.json:
        return output.result({"bytes": len(raw), "file": text})
    sys.stdout.write(text)
    sys.stdout.flush()
    return Exit.OK
