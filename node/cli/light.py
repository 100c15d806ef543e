"""`apocryph light verify`: a proof, checked with the chain's id alone; no node, no network."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.output import Output, with_output
from node.codes import Exit

if TYPE_CHECKING:
    from consensus.ids import ChainId
    from consensus.proofs import Proved


@click.group()
def light() -> None:
    """What needs neither a node nor trust in one."""


@light.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--chain", metavar="ID|NAME", help="the chain that is trusted, or a testnet's name")
@click.option("--checkpoint", metavar="HEIGHT:ID", help="a recent block that is trusted")
@click.option("--net", envvar="APOCRYPH_NET", default="default", help="a testnet, without --chain")
@with_output
def verify(file: Path, chain: str | None, checkpoint: str | None, net: str, output: Output) -> Exit:
    """Check the proof in FILE against the chain. Exit 1 names the check that failed."""
    import time

    from consensus import proofs
    from consensus.ids import checkpoint_from_text
    from node.prooffile import TEXT_BYTES_MAX, read_file
    from node.verifier import SodiumVerifier

    trusted = _chain(chain, net)
    vouched = checkpoint_from_text(checkpoint) if checkpoint else None
    with file.open("rb") as source:
        content = source.read(TEXT_BYTES_MAX + 1)
    verifier = SodiumVerifier()
    try:
        raw = read_file(content)
        clock_ms = time.time_ns() // 1_000_000
        proved = proofs.verify(
            raw, trusted, verifier=verifier, clock_ms=clock_ms, checkpoint=vouched
        )
    finally:
        verifier.close()
    data = _data(proved)
    return output.result(data, _text(data))


def _chain(chain: str | None, net: str) -> "ChainId":
    """The id that is trusted: from the flag, or what the user's own testnet file says; never from
    the proof. Raises UsageError, NotFound."""
    from consensus.errors import TextError
    from consensus.ids import ChainId, id_from_text
    from node.cli.net import read_net, testnet_names
    from node.errors import NotFound, suggestion

    if chain is not None:
        try:
            return ChainId(id_from_text(chain))
        except TextError:
            net = chain  # a name
    about = read_net(net).about
    if not about:
        near = suggestion(net, testnet_names())
        raise NotFound(
            f"no chain id, and no testnet {net!r}{near}", hint="pass --chain ID or its name"
        )
    return ChainId(id_from_text(str(about["chain"])))


def _data(proved: "Proved") -> dict[str, Any]:
    from consensus.ids import id_text
    from consensus.proofs import Included, Receipted, StateEntry
    from node.execution.keys import BALANCE, decode_balance
    from node.forms import json_bytes, json_int
    from node.schema import Names, message_json, receipt_json

    names = Names(proved.spec)
    data: dict[str, Any] = {
        "chain": id_text(proved.spec.id),
        "chain_name": proved.spec.name,
        "height": proved.height,
        "block": id_text(proved.block),
        "epoch": proved.header.fields.epoch,
        "signatures": len(proved.certificate.signatures),
    }
    match proved.subject:
        case Receipted(receipt):
            return {**data, "of": "receipt", "receipt": receipt_json(receipt, names)}
        case Included(message, index):
            told = message_json(message, names)
            return {**data, "of": "message", "index": index, "message": told}
        case StateEntry(key, value) if key.startswith(BALANCE):
            from consensus.ids import account_text

            account = key[len(BALANCE) :]
            balance = json_int(decode_balance(value))
            return {
                **data,
                "of": "balance",
                "account": account_text(account),
                "balance": balance,
            }
        case StateEntry(key, value):
            shown = None if value is None else json_bytes(value)
            return {**data, "of": "state", "key": json_bytes(key), "value": shown}


def _text(data: Mapping[str, Any]) -> str:
    match data["of"]:
        case "receipt":
            receipt = data["receipt"]
            code = f"({receipt['code']})" if receipt["code"] else ""
            what = f"receipt of {receipt['message']}: {receipt['status']}{code}"
        case "message":
            what = f"message {data['message']['id']}"
        case "balance":
            what = f"balance of {data['account']}: {data['balance']}"
        case _:
            what = "an entry of the state"
    place = f"height {data['height']} of {data['chain_name']}, block {data['block']}"
    return f"valid: {what}\n{place}, {data['signatures']} signatures"
