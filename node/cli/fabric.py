"""`apocryph fabric ls|tail`: streams of a node of a testnet, read from outside over gRPC.

The commands are the fabric's own; here they learn where a testnet's nodes are, and what the
records in the node's streams say.
"""

import os
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli.net import NET_DEFAULT, read_net
from node.cli.output import SCHEMA
from node.errors import Denied, NodeError, NotFound, Rejected, TimedOut, Unreachable
from perper_core.cli import Host, fabric_commands

if TYPE_CHECKING:
    from perper_core.ports import Item

NODE: Final = "apocryph.node"  # in the context of a command
ITEM_BYTES_MAX: Final = 64 * 1024 * 1024


def find_address(context: click.Context) -> str:
    """The fabric of the node that `--net` and `--node` mean."""
    net = read_net(os.environ.get("APOCRYPH_NET") or NET_DEFAULT)
    return net.fabric(context.meta.get(NODE, ""))


def translate(error: Exception) -> NodeError:
    """What a user is told for what a fabric, or nobody, answered."""
    match getattr(error, "code", ""):
        case "NotFound":
            return NotFound(str(error), hint="`apocryph fabric ls` shows the streams there are")
        case "Denied":
            return Denied(str(error))
        case "OutcomeUnknown":
            return TimedOut(str(error), hint="the node went away: try again")
        case "":
            hint = "`apocryph testnet status` and `apocryph node status DIR` show addresses"
            return Unreachable(f"no fabric answers at {error}", hint=hint)
    return Rejected(str(error), reason=str(getattr(error, "code", "")))


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
            signers = len(Certificate.decode(certificate).signatures) if certificate else 0
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
            height, first, receipts, more = decode(raw, max_bytes=ITEM_BYTES_MAX)
            return {"height": height, "first": first, "receipts": len(receipts), "more": more}
        case "events":
            height, _, rows, more = decode(raw, max_bytes=ITEM_BYTES_MAX)
            events = [{"input": row[0], "agent": hash_text(row[1]), "type": row[2]} for row in rows]
            return {"height": height, "events": events, "more": more}
    return None


def _set_net(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        os.environ["APOCRYPH_NET"] = value


def _set_node(context: click.Context, option: click.Parameter, value: str | None) -> None:
    context.meta[NODE] = value or ""


fabric = fabric_commands(Host(find_address, describe, translate, SCHEMA))
for command in fabric.commands.values():
    command.params += [
        click.Option(
            ["--net"],
            metavar="NAME",
            help="which testnet; else APOCRYPH_NET, else default",
            expose_value=False,
            callback=_set_net,
        ),
        click.Option(
            ["--node"],
            metavar="NAME",
            help="which node; else the first",
            expose_value=False,
            callback=_set_node,
        ),
    ]
