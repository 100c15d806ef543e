"""`apocryph node init|run|status|replay`: one node on this machine, in a folder of its own."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click

from node.cli.init import init
from node.cli.output import Output, envelope, with_output
from node.cli.password import password_option
from node.codes import Exit

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
TRACED: Final = "fabric"  # APOCRYPH_TRACE
folder_argument = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.group()
def node() -> None:
    """One node: its folder, its process, its journal."""


node.add_command(init)

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
    """Run the node in FOLDER until SIGTERM or Ctrl-C.

    Says a line when it listens, while it waits for peers or catches up, and when it is ready.
    """
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
            print(f"listening {event['name']} {' '.join(words)}", flush=True)
        elif event["event"] == "catching_up":
            print(f"catching up, {event['height']} of {event['of']}", flush=True)
        elif event["event"] == "waiting":
            print(_waiting(event), flush=True)
        elif event["event"] == "ready":
            print(f"ready {event['name']} height={event['height']}", flush=True)

    return tell


def _waiting(event: Mapping[str, object]) -> str:
    missing = event["missing"]
    assert isinstance(missing, list), "as the process tells it"
    words = f"waiting, linked to {event['slots_linked']} of {event['slots']} slots"
    if not event["clock"]:
        words += "; the newest block is ahead of this machine's clock: one of them is wrong"
    if not event["enough"] and not missing:
        words += "; more than two thirds are needed: name more peers in network.peers"
    return words + (f"; no link to {', '.join(missing)}" if missing else "")


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
    if found["peer"] != place["peer"]:  # it was killed, and its port went to another
        raise Unreachable(
            f"no node runs in {folder}: {place['api']} answers as {found['name']!r}, another peer",
            hint=f"apocryph node run {folder}",
        )
    kept = {key: place[key] for key in ("pid", "api", "fabric", "listen")}
    told = {**found, **kept, "folder": str(folder.resolve())}
    return output.result(told, status_text(told))


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
