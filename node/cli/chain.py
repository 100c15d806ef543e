"""`apocryph block`, `tx`, `proof`, `chain show`: reading the chain."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.cli import words
from node.cli.net import Net, net_options
from node.cli.output import Output, with_output
from node.codes import Exit

if TYPE_CHECKING:
    from node.client import Client

EVERYWHERE: Final = ("0.0.0.0", "::")  # listens on all addresses, and can be dialled at neither


@click.command()
@click.argument("height", required=False, default="latest")
@net_options
@with_output
def block(height: str, net: Net, output: Output) -> Exit:
    """The block of HEIGHT (or of an id); the newest without one."""
    with net.client(output) as client:
        found = client.block(height)
    return output.result(found, words.block_text(found))


@click.command()
@click.argument("message", metavar="ID")
@click.option("--wait", "wait_s", type=click.FloatRange(0, 60), default=0, help="seconds")
@net_options
@with_output
def tx(message: str, wait_s: float, net: Net, output: Output) -> Exit:
    """What became of a message: pending, included with its receipt, or refused."""
    with net.client(output) as client:
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
    with net.client(output) as client:
        raw = client.proof(what, of=of)
    text = file_text(raw)
    if output.json:
        return output.result({"bytes": len(raw), "file": text})
    sys.stdout.write(text)
    sys.stdout.flush()
    return Exit.OK


# ---- how to join it -----------------------------------------------------------------------------


@click.group()
def chain() -> None:
    """The chain that a node or a testnet runs."""


@chain.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="write what `apocryph node init --join FILE` needs",
)
@click.option("--host", metavar="HOST", help="how others reach a node that listens everywhere")
@net_options
@with_output
def show(out: Path | None, host: str | None, net: Net, output: Output) -> Exit:
    """What who joins has to know: the chain's id, its newest block as checkpoint, peers to dial."""
    from node.folder import write_file
    from node.forms import base64_bytes
    from node.joining import join_text, spec_of

    with net.client(output) as client:
        found = client.chain()
        peers = _peers(net, client, host, output)
    spec = spec_of(found["chain"], base64_bytes(found.pop("spec")["/"]["bytes"]))
    if out is not None:
        write_file(out, join_text(spec, found["checkpoint"], peers).encode())
        output.note(f"{out} says which chain and block is meant: give it to those who trust you")
    data = {**found, "peers": peers, "file": None if out is None else str(out.resolve())}
    return output.result(data, words.chain_text(data))


def _peers(net: Net, client: "Client", host: str | None, output: Output) -> list[str]:
    """Those of the testnet, or the node that was asked and the peers that it dialled."""
    from node.settings import parse_address

    if not net.api_given:
        nodes = net.about.get("nodes", ())
        return [f"{one['peer']}@{one['listen']}" for one in nodes if one.get("listen")]
    status = client.status()
    found = [
        f"{link['peer']}@{link['address']}" for link in client.peers()["peers"] if link["outbound"]
    ]
    if not status["listen"]:
        return found
    place = parse_address(status["listen"])
    if host is not None:
        place = place._replace(host=host)
    elif place.host in EVERYWHERE:
        output.warn(f"{client.url} listens on all addresses: --host says how others reach it")
        return found
    return [f"{status['peer']}@{place.text}", *found]
