"""`apocryph node init`: the folder of a new node, made as a whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli.output import Output, with_output
from node.cli.password import password_option
from node.codes import Exit

if TYPE_CHECKING:
    from consensus.spec import ChainSpec
    from node.joining import Join

LISTENS: Final = {"listen": "network.listen", "api": "api.listen", "fabric": "fabric.listen"}


def _address(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    from node.settings import parse_address

    return _checked(parse_address, value)


def _peers(
    context: click.Context, option: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    from node.settings import parse_peer

    for peer in value:
        _checked(parse_peer, peer)
    return value


def _checkpoint(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    from consensus.ids import checkpoint_from_text

    return _checked(checkpoint_from_text, value)


def _checked(parse: Callable[[str], object], value: str | None) -> str | None:
    """The text, once it could be read. Raises click.BadParameter, which names the option."""
    from consensus.errors import TextError

    if value is not None:
        try:
            parse(value)
        except (ValueError, TextError) as error:
            raise click.BadParameter(str(error)) from error
    return value


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--join",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="spec, checkpoint and peers in one file: what `apocryph chain show --out FILE` wrote",
)
@click.option(
    "--spec", type=click.Path(path_type=Path), metavar="FILE", help="the chain's spec.cbor alone"
)
@click.option(
    "--key",
    "key_name",
    metavar="NAME",
    help="a peer's key of the keystore (`key new NAME --peer`), copied; else a new one is made",
)
@click.option("--name", default="", show_default=False, help="of this node; else the folder's")
@click.option(
    "--checkpoint",
    callback=_checkpoint,
    metavar="HEIGHT:ID",
    help="a recent block that is trusted",
)
@click.option(
    "--continues",
    type=click.Path(path_type=Path, file_okay=False),
    help="the folder of a node of the chain that the spec continues",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    callback=_peers,
    metavar="ID@HOST:PORT",
    help="a peer to dial; repeatable",
)
@click.option(
    "--listen",
    callback=_address,
    metavar="HOST:PORT",
    help="for links of peers, who must reach it  [default: 0.0.0.0:7360]",
)
@click.option(
    "--api",
    callback=_address,
    metavar="HOST:PORT",
    help="for users' requests  [default: 127.0.0.1:7358]",
)
@click.option(
    "--fabric",
    callback=_address,
    metavar="HOST:PORT",
    help="for readers of streams  [default: 127.0.0.1:7359]",
)
@password_option
@with_output
def init(
    folder: Path,
    join: Path | None,
    spec: Path | None,
    key_name: str | None,
    name: str,
    password_file: Path | None,
    output: Output,
    **given: Any,
) -> Exit:
    """Make FOLDER a node's: node.toml, key.json, spec.cbor; all of them or nothing.

    The key of a node is a peer's: it owns slots. Tokens are an account's, another key.
    """
    from consensus.ids import id_text
    from node.folder import check_new, create_node

    check_new(folder)
    joined = _joined(join, spec)
    _check_continues(joined.spec, given["continues"])
    name = name or folder.resolve().name
    settings = _settings(name, joined, given)
    key, peer = _key(key_name, name, password_file, output)
    create_node(folder, spec=joined.spec.raw, key=key, settings=settings)
    output.note(f"made {folder}; start it with: apocryph node run {folder}")
    if not settings.get("network.peers"):
        output.note(f"it dials nobody: network.peers in {folder / 'node.toml'} takes peers")
    chain = id_text(joined.spec.id)
    data = {"folder": str(folder.resolve()), "name": name, "peer": peer, "chain": chain}
    return output.result(data, peer)


def _joined(join: Path | None, spec: Path | None) -> "Join":
    """Raises UsageError where not exactly one of them is given."""
    from node.errors import UsageError
    from node.folder import read_spec
    from node.joining import Join, read_join

    if join is not None and spec is None:
        return read_join(join)
    if spec is not None and join is None:
        return Join(read_spec(spec), "", ())
    raise UsageError(
        "give either --join FILE or --spec FILE",
        hint="a node of the chain writes the file: apocryph chain show --out FILE",
    )


def _settings(name: str, joined: "Join", given: dict[str, Any]) -> dict[str, Any]:
    """By section.key; what a flag says counts before what the file says."""
    settings: dict[str, Any] = {"node.name": name}
    for option, key in LISTENS.items():
        if given[option]:
            settings[key] = given[option]
    if checkpoint := given["checkpoint"] or joined.checkpoint:
        settings["node.checkpoint"] = checkpoint
    if given["continues"]:
        settings["node.continues"] = str(given["continues"].resolve())
    if peers := [*joined.peers, *given["peers"]]:
        settings["network.peers"] = peers
    return settings


def _key(
    key_name: str | None, name: str, password_file: Path | None, output: Output
) -> tuple[str, str]:
    """(key file, peer's text). Raises KeyMissing, KeyKind, KeyPasswordWrong."""
    from node.cli.password import password_from
    from node.config import keys_folder
    from node.errors import KeyKind
    from node.keystore import PEER, SECRET_BYTES, Keystore, key_text_of, public_of, sealed_text

    if key_name is not None:
        keys = Keystore(keys_folder())
        entry = keys.entry(key_name)
        if entry.kind != PEER:
            raise KeyKind(f"{key_name!r} is the key of an account; a node needs that of a peer")
        return keys.export(key_name), entry.text
    ask = password_from(output, password_file, of=f"the node {name}", confirm=True)
    secret = os.urandom(SECRET_BYTES)
    text = sealed_text(secret, ask(), name=name, kind=PEER)
    return text, key_text_of(public_of(secret), PEER)


def _check_continues(chain: "ChainSpec", folder: Path | None) -> None:
    """Before anything is written: the state is there, and it is the one that the spec names."""
    from node.continuing import snapshot_for
    from node.errors import UsageError
    from node.execution.genesis import genesis
    from node.verifier import SodiumVerifier

    if chain.continues is None:
        if folder is not None:
            raise UsageError("--continues: the spec continues no chain")
        return
    verifier = SodiumVerifier()
    try:
        genesis(chain, snapshot_for(chain, folder, verifier))
    finally:
        verifier.close()
