"""A node that cannot start, or is told to end while it starts or stops: it ends, and says why.

Real validators with live peers, on uvloop as in production.
"""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from consensus.spec import ChainSpec
from network.ports import PeerAddress
from node.errors import PortBusy
from node.process import AT_ONCE, STOP_S
from node.validator import NodeOptions, Validator
from tests.node.gateway_lab import SECRET, lab_spec, running, transfer
from tests.node.process_lab import apocryph, environment, write_node

pytestmark = pytest.mark.slow

PEERS = 3
TRIES = 5
END_S = 5.0
JOINER = bytes((99,)) * 32


def options(folder: Path, spec: ChainSpec, secret: bytes, **more: object) -> NodeOptions:
    values: dict[str, object] = {"mining": False, "journal": "off", **more}
    return NodeOptions(folder=folder, spec=spec, secret=secret, **values)  # type: ignore[arg-type]


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[tuple[ChainSpec, tuple[PeerAddress, ...]]]:
    """Three live validators of one chain, in a thread of their own."""
    spec, addresses = lab_spec(), []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        secrets = [SECRET, *[bytes((n,)) * 32 for n in range(1, PEERS)]]
        nodes = [Validator(options(tmp_path / f"p{n}", spec, s)) for n, s in enumerate(secrets)]
        try:
            for node in nodes:
                await node.start()
                addresses.append(PeerAddress(node.peer, *(node.carrier.listening or ("", 0))))
            ready.set()
            await asyncio.to_thread(done.wait)
        finally:
            for node in nodes:
                await node.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield spec, tuple(addresses)
    finally:
        done.set()
        thread.join()


def test_a_busy_api_port_ends_a_start_with_live_peers(
    tmp_path: Path, peers: tuple[ChainSpec, tuple[PeerAddress, ...]]
) -> None:
    spec, addresses = peers

    async def start_and_stop(folder: Path, port: int) -> None:
        places = {"api_host": "127.0.0.1", "api_port": port, "peers": addresses}
        node = Validator(options(folder, spec, JOINER, **places))
        try:
            with pytest.raises(PortBusy):
                await node.start()
        finally:
            async with asyncio.timeout(END_S):
                await node.stop()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for number in range(TRIES):
            uvloop.run(start_and_stop(tmp_path / f"x{number}", taken.getsockname()[1]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_that_starts_ends_at_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    """Genesis is held up; a later signal than that of a person who waits would find it running."""
    script = (
        "import sys, time\n"
        "from node.validator import Validator\n"
        "genesis = Validator._commit_genesis\n"
        "def slow(self):\n"
        "    print('starting', flush=True)\n"
        "    time.sleep(0.5)\n"
        "    genesis(self)\n"
        "Validator._commit_genesis = slow\n"
        "from apocryph.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    code, out, err = signalled(tmp_path, script, number)
    assert code == 0
    assert '"event":"stopped"' in out
    assert '"event":"listening"' not in out
    assert "Traceback" not in err


def test_a_node_that_hangs_while_it_stops_ends_in_time(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from node.validator import Validator\n"
        "stop = Validator.stop\n"
        "async def hang(self):\n"
        "    await asyncio.Event().wait()\n"
        "Validator.stop = hang\n"
        "print('starting', flush=True)\n"
        "from apocryph.__main__ import main\n"
        "import node.process\n"
        f"node.process.STOP_S = {STOP_S / 10}\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    code, _, err = signalled(tmp_path, script, signal.SIGTERM, after="ready")
    assert code == AT_ONCE
    assert "not stopped in" in err


def signalled(
    tmp_path: Path, script: str, number: signal.Signals, *, after: str = "starting"
) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `node run` by a script that gets a signal after a line."""
    folder = write_node(tmp_path / "n1")
    words = apocryph("node", "run", str(folder), "--testnet-keys", "--json")
    process = subprocess.Popen(
        [sys.executable, "-c", script, *words[3:]],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            while line and after not in line:
                line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            process.send_signal(number)
            out, err = process.communicate(timeout=STOP_S + END_S)
        finally:
            process.kill()
    return process.returncode, out, err


async def test_a_node_that_stops_while_it_writes_leaves_no_error(tmp_path: Path) -> None:
    """As Ctrl-C during catch-up, where a block is being written most of the time."""
    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: told.append(context))
    begun, go = threading.Event(), threading.Event()
    async with running(tmp_path / "n1") as node:
        commit = node.chain.commit

        def slow(**values: Any) -> None:
            begun.set()
            assert go.wait(END_S)
            commit(**values)

        node.chain.commit = slow  # type: ignore[method-assign]
        await node.submit([transfer(node)])
        assert await asyncio.to_thread(begun.wait, END_S)
        loop.call_later(0.2, go.set)  # by then it is stopping
    await asyncio.sleep(0)
    assert not told
