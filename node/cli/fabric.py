"""`apocryph fabric ls|tail`: streams of a node of a testnet, read from outside over gRPC.

The commands are the fabric's own; here they learn where a testnet's nodes are, and what the
records in the node's streams say.
"""

import os
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli.net import NET_DEFAULT, read_net
from perper_core.cli import fabric_commands

if TYPE_CHECKING:
    from perper_core.ports import Item

NODE: Final = "apocryph.node"  # in the context of a command
ITEM_BYTES_MAX: Final = 64 * 1024 * 1024


def find_address(context: click.Context) -> str:
    """The fabric of the node that `--net` and `--node` mean."""
    net = read_net(os.environ.get("APOCRYPH_NET") or NET_DEFAULT)
    return net.fabric(context.meta.get(NODE, ""))


def describe(stream: str, item: "Item") -> object:
    """What an item of one of the node's streams says; its bytes where the stream is another."""
    from consensus.errors import ConsensusError
    from node.forms import json_bytes

    try:
        told = _described(stream, item.raw)
    except (ConsensusError, ValueError, TypeError):
        told = None
    return told or {"raw": json_bytes(item.raw)}


def _described(stream: str, raw: bytes) -> dict[str, Any] | None:
    from consensus.block import Header
    from consensus.certificates import Certificate, Vote
    from consensus.encoding import decode
    from consensus.ids import hash_text, id_text, peer_text
    from node.schema import header_json

    match stream:
        case "blocks":
            _, header, certificate = decode(raw, max_bytes=ITEM_BYTES_MAX)
            told = header_json(Header.decode(header))
            signers = len(Certificate.decode(certificate).signatures)
            kept = ("height", "block", "round", "epoch", "time_ms", "state_root", "gas_used")
            return {**{key: told[key] for key in kept}, "signatures": signers}
        case "votes":
            vote = Vote.decode(raw)
            return {
                "phase": vote.phase,
                "height": vote.height,
                "round": vote.round,
                "block": None if vote.block is None else id_text(vote.block),
                "peer": peer_text(vote.peer),
            }
        case "receipts":
            height, receipts = decode(raw, max_bytes=ITEM_BYTES_MAX)
            return {"height": height, "receipts": len(receipts)}
        case "events":
            height, rows = decode(raw, max_bytes=ITEM_BYTES_MAX)
            events = [{"input": row[0], "agent": hash_text(row[1]), "type": row[2]} for row in rows]
            return {"height": height, "events": events}
    return None


def _set_net(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        os.environ["APOCRYPH_NET"] = value


def _set_node(context: click.Context, option: click.Parameter, value: str | None) -> None:
    context.meta[NODE] = value or ""


fabric = fabric_commands(find_address, describe)
for command in fabric.commands.values():
    command.params += [
        click.Option(
            ["--net"], metavar="NAME", help="Which testnet.", expose_value=False, callback=_set_net
        ),
        click.Option(
            ["--node"], metavar="NAME", help="Which node.", expose_value=False, callback=_set_node
        ),
    ]
