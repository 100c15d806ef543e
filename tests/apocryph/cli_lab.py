"""A node in a thread, and a testnet folder that names it: what client commands need."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from apocryph.__main__ import main
from consensus.ids import id_text, peer_text
from node.keystore import ACCOUNT, write_plain
from node.validator import Validator
from tests.node.gateway_lab import running

NET = "lab"
ACCOUNTS = ("alice", "bob", "carol", "dave")  # as gateway_lab.account numbers them


class Said(NamedTuple):
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> Any:
        """The one envelope; every command with --json says exactly one."""
        told = json.loads(self.out)
        assert set(told) == {"schema", "ok", "data", "errors", "warnings"}
        assert told["schema"] == "apocryph/1"
        assert told["ok"] is not bool(told["errors"]) or self.code == 1
        return told

    @property
    def data(self) -> Any:
        assert self.code == 0, self
        return self.envelope["data"]

    @property
    def error(self) -> Any:
        (error,) = self.envelope["errors"]
        return error


class Commands:
    """Runs command lines in this process, as `apocryph` does."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Said:
        self._capsys.readouterr()
        code = main(list(arguments))
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        return Said(int(code), out, err)

    def json(self, *arguments: str) -> Said:
        said = self(*arguments, "--json")
        assert said.err == ""
        return said


@contextmanager
def node_in_thread(folder: Path) -> Iterator[Validator]:
    """A validator on an event loop of its own."""
    started: list[Validator] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        try:
            async with running(folder) as node:
                started.append(node)
                ready.set()
                await asyncio.to_thread(done.wait)
        finally:
            ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield started[0]
    finally:
        done.set()
        thread.join()


def write_testnet(home: Path, node: Validator) -> None:
    """As the testnet's driver writes it."""
    folder = home / "testnets" / NET
    about = {
        "name": NET,
        "api": node.gateway.url,
        "chain": id_text(node.chain_id),
        "nodes": [
            {
                "name": "n1",
                "peer": peer_text(node.peer),
                "api": node.gateway.url,
                "fabric": "127.0.0.1:1",
                "listen": "127.0.0.1:2",
            }
        ],
    }
    folder.mkdir(parents=True)
    (folder / "testnet.json").write_text(json.dumps(about))
    for number, name in enumerate(ACCOUNTS):
        secret = bytes((number + 1, *[1] * 31))
        write_plain(folder / "accounts" / f"{name}.json", secret, name=name, kind=ACCOUNT)
