"""`apocryph node init|run|status|replay`: one node on this machine, in a folder of its own."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from node.cli.output import Output, envelope, with_output
from node.cli.password import password_option
from node.codes import Exit

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
NODE_KEY: Final = "key"  # of key.json, in the node's own folder
TRACED: Final = "fabric"  # APOCRYPH_TRACE
folder_argument = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.group()
def node() -> None:
    """One node: its folder, its process, its journal."""


# ---- init ---------------------------------------------------------------------------------------


@node.command()
@folder_argument
@click.option(
    "--spec", type=click.Path(path_type=Path), required=True, help="the chain's spec.cbor"
)
@click.option("--key", "key_name", help="a key of the keystore, made with `key new --peer`")
@click.option("--name", default="", help="how the node calls itself; else the folder's name")
@click.option("--peer", "peers", multiple=True, help="id@host:port of a peer to dial; repeatable")
@click.option("--listen", help="host:port for links of peers")
@click.option("--api", help="host:port for users' requests")
@password_option
@with_output
def init(
    folder: Path,
    spec: Path,
    key_name: str | None,
    name: str,
    peers: tuple[str, ...],
    listen: str | None,
    api: str | None,
    password_file: Path | None,
    output: Output,
) -> Exit:
    """Make FOLDER ready for a node: node.toml, key.json, spec.cbor."""
    from consensus.ids import id_text
    from node.cli.password import password_from
    from node.config import FILE_NAME, keys_folder
    from node.errors import ConfigError
    from node.folder import KEY_FILE, read_spec, write_settings
    from node.keystore import PEER, Keystore, entry_of, write_new

    if (folder / FILE_NAME).exists():
        raise ConfigError(f"{folder} is a node's folder already", hint="choose another folder")
    chain = read_spec(spec)
    name = name or folder.resolve().name
    given: dict[str, Any] = {"node.name": name, "network.listen": listen, "api.listen": api}
    settings = {key: value for key, value in given.items() if value}
    if peers:
        settings["network.peers"] = list(peers)
    if key_name is None:
        keys = Keystore(folder)
        keys.check_free(NODE_KEY)
        ask = password_from(output, password_file, of=f"the node {name}", confirm=True)
        entry = keys.new(NODE_KEY, ask(), kind=PEER)
    else:
        write_new(folder / KEY_FILE, Keystore(keys_folder()).export(key_name))
        entry = entry_of(folder / KEY_FILE)
    write_settings(folder, spec=chain.raw, settings=settings)
    output.note(f"edit {folder / FILE_NAME}, then: apocryph node run {folder}")
    data = {"folder": str(folder), "name": name, "peer": entry.text, "chain": id_text(chain.id)}
    return output.result(data, f"{entry.text}")


# ---- run ----------------------------------------------------------------------------------------


@node.command()
@folder_argument
@click.option("--testnet-keys", is_flag=True, hidden=True, help="accept a plain testnet key")
@click.option("--with-parent", is_flag=True, hidden=True, help="die with the parent process")
@password_option
@with_output
def run(
    folder: Path, testnet_keys: bool, with_parent: bool, password_file: Path | None, output: Output
) -> Exit:
    """Run the node in FOLDER until SIGTERM or Ctrl-C; one line when it listens."""
    import logging

    from node.cli.password import password_from
    from node.config import load
    from node.process import Start
    from node.process import run as run_process

    if with_parent:
        _die_with_parent()
    config = load(folder)
    name = config.node.name or folder.name
    logging.basicConfig(
        level=config.node.log.upper(),
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname).1s {name} %(name)s %(message)s",
    )
    file = password_file or (
        config.path(config.node.password_file) if config.node.password_file else None
    )
    password = password_from(output, file, of=str(config.key_path))
    start = Start(config, password, testnet_keys, _trace())
    run_process(start, _teller(output))
    return Exit.OK


def _teller(output: Output) -> Callable[[Mapping[str, object]], None]:
    def tell(event: Mapping[str, object]) -> None:
        if output.json:
            print(envelope(data=event, ok=True), flush=True)
        elif event["event"] == "listening":
            words = [f"{key}={event[key]}" for key in ("height", "api", "fabric", "listen", "peer")]
            print(f"ready {event['name']} {' '.join(words)}", flush=True)

    return tell


def _trace() -> Callable[[str, str, str], None] | None:
    """With APOCRYPH_TRACE=fabric each call and append of an agent is a line on stderr."""
    if os.environ.get("APOCRYPH_TRACE") != TRACED:
        return None

    def trace(kind: str, name: str, detail: str) -> None:
        print(f"trace {kind} {name} {detail}".rstrip(), file=sys.stderr, flush=True)

    return trace


def _die_with_parent() -> None:
    """A testnet's node never outlives its supervisor, however that ended.

    stdin is a pipe of the supervisor: its end says that it died, also before we asked to be told.
    """
    import select
    import signal
    import threading

    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        gone = select.poll()
        gone.register(0, select.POLLHUP)
        if gone.poll(0):
            os.kill(os.getpid(), signal.SIGKILL)
        return

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="watch the parent").start()


# ---- status, replay -----------------------------------------------------------------------------


@node.command()
@folder_argument
@with_output
def status(folder: Path, output: Output) -> Exit:
    """What the running node in FOLDER says of itself."""
    from node.cli.words import status_text
    from node.client import Client
    from node.errors import Unreachable
    from node.folder import read_endpoints

    place = read_endpoints(folder)
    if place is None:
        raise Unreachable(f"no node runs in {folder}", hint=f"apocryph node run {folder}")
    with Client(str(place["api"])) as client:
        found = client.status()
    return output.result({**found, "pid": place.get("pid")}, status_text(found))


@node.command()
@folder_argument
@with_output
def replay(folder: Path, output: Output) -> Exit:
    """Replay the journal of FOLDER: the same events must give the same effects, byte for byte."""
    from node.config import load
    from node.replay import replay as replay_journal

    journal = load(folder).journal_path
    found = replay_journal(journal, _progress(output))
    difference = found.difference
    data = {
        "segments": found.segments,
        "events": found.events,
        "effects": found.effects,
        "height": found.height - 1,
        "identical": difference is None,
        "difference": None if difference is None else difference._asdict(),
    }
    text = f"{found.events} events: {found.effects} effects, identical"
    if difference is not None:
        text = f"event {difference.sequence} ({difference.event}) of {difference.segment} differs"
    return output.result(data, text, ok=difference is None)


def _progress(output: Output) -> Callable[[int], None]:
    def progress(events: int) -> None:
        if events % 10_000 == 0:
            output.note(f"{events} events")

    return progress
