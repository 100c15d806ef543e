"""`apocryph node run` as a real process: started, watched, killed by its id whatever happens."""

from __future__ import annotations

import base64
import json
import os
import queue
import resource
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from consensus.ids import Height, Peer
from consensus.messages import Draft, Reference, encode_data
from consensus.spec import ChainSpec
from node.folder import write_testnet_node
from node.settings import Address, KnownPeer
from tests.hostile.hostilelab import (
    account,
    account_of,
    free_port,
    make_spec,
    peer_of,
    secret,
)

WAIT_S: Final = 30.0
COMMAND: Final = [sys.executable, "-P", "-m", "apocryph", "node", "run"]
FLAGS: Final = ["--testnet-keys", "--json"]
ANY: Final = Address("127.0.0.1", 0)


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APOCRYPH_")}
    return {**kept, "XDG_DATA_HOME": str(home), "XDG_RUNTIME_DIR": str(runtime(home))}


def runtime(home: Path) -> Path:
    """Where this test's machine keeps its locks of keys."""
    place = home / "run"
    place.mkdir(exist_ok=True, mode=0o700)
    return place


def write_net(home: Path, names: Sequence[str], **changes: int) -> tuple[ChainSpec, list[Path]]:
    """Folders of the validators of one chain, each knowing the others' ports."""
    spec = make_spec(list(names), name="real", **changes)
    ports = {name: free_port() for name in names}
    folders = []
    for name in names:
        others = [
            KnownPeer(Peer(peer_of(other)), "127.0.0.1", port)
            for other, port in ports.items()
            if other != name
        ]
        write_testnet_node(
            home / name,
            spec=spec.raw,
            secret=secret(name),
            name=name,
            listen=Address("127.0.0.1", ports[name]),
            api=ANY,
            fabric=ANY,
            peers=others,
            values={"journal.keep": "off", "node.mining": False},
        )
        folders.append(home / name)
    return spec, folders


class Ended(Exception):
    """The process ended before it listened. `code`, `error` (of its envelope), `stderr`."""

    def __init__(self, code: int, error: dict[str, Any], stderr: str) -> None:
        super().__init__(f"exit {code}: {error} {stderr}")
        self.code, self.error, self.stderr = code, error, stderr


class NodeProcess:
    """One run of a node. `start` returns when it listens, or raises Ended."""

    def __init__(self, home: Path, folder: Path, *, file_bytes_max: int = 0) -> None:
        limit: Callable[[], None] | None = None
        if file_bytes_max:

            def limit() -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))

        self.folder = folder
        self._log = home / f"{folder.name}.log"
        log = self._log.open("ab")
        self.child = subprocess.Popen(
            [*COMMAND, str(folder), *FLAGS],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(home),
            preexec_fn=limit,
        )
        log.close()
        self._lines: queue.Queue[str] = queue.Queue()
        self.told: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.api = ""

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self._lines.put(line)
        self._lines.put("")

    def listening(self) -> NodeProcess:
        return self.wait_for("listening")

    def ready(self) -> NodeProcess:
        return self.wait_for("ready")

    def wait_for(self, event: str) -> NodeProcess:
        while True:
            line = self._lines.get(timeout=WAIT_S)
            if not line:
                raise self.ended()
            said = json.loads(line)
            self.told.append(said)
            if not said["ok"]:
                raise self.ended()
            self.api = said["data"].get("api", self.api)
            if said["data"]["event"] == event:
                return self

    def ended(self) -> Ended:
        """Waits for the end and tells of it; no traceback is allowed in any log."""
        code = self.child.wait(WAIT_S)
        self._reader.join(WAIT_S)
        while not self._lines.empty():
            line = self._lines.get()
            if line:
                self.told.append(json.loads(line))
        failed = [said["errors"][0] for said in self.told if not said["ok"]]
        text = self._log.read_text()
        assert "Traceback" not in text, text[-4000:]
        for error in failed:
            words = f"{error['message']} {error['hint']}".lower()
            assert "delete" not in words and "rm -" not in words, error
        return Ended(code, failed[-1] if failed else {}, text)

    def stop(self) -> int:
        self.child.terminate()
        return self.child.wait(WAIT_S)

    def kill(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait(WAIT_S)

    # ---- its API --------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.api + path, timeout=WAIT_S) as answer:
            return json.load(answer)

    def status(self, *, above: int | None = None) -> Any:
        """With `above`: once the height is greater, or 10 s have passed."""
        wait = "" if above is None else f"?after={above}&wait_ms=10000"
        return self.get(f"/v1/status{wait}")

    def post(self, raws: Sequence[bytes]) -> int:
        """How many messages it took."""
        body = json.dumps({"messages": [base64.b64encode(raw).decode() for raw in raws]})
        request = urllib.request.Request(self.api + "/v1/messages", body.encode())
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
                taken: int = json.load(answer)["accepted"]
        except urllib.error.HTTPError as error:
            with error:
                taken = json.load(error)["data"]["accepted"]
        return taken


@contextmanager
def running(home: Path, folder: Path, *, file_bytes_max: int = 0) -> Iterator[NodeProcess]:
    node = NodeProcess(home, folder, file_bytes_max=file_bytes_max)
    try:
        yield node
    finally:
        node.kill()
        node._reader.join(WAIT_S)
        assert node.child.stdout is not None
        node.child.stdout.close()


def refused(home: Path, folder: Path, *, file_bytes_max: int = 0) -> Ended:
    """A node that must not come up."""
    with running(home, folder, file_bytes_max=file_bytes_max) as node:
        try:
            node.listening()
        except Ended as ended:
            return ended
        raise AssertionError(f"it came up: {node.told}")


def transfers(spec: ChainSpec, first: int, count: int, height: int) -> list[bytes]:
    """So many transfers, never twice the same for different `first`."""
    made = []
    for number in range(first, first + count):
        sender = number % 4
        draft = Draft(
            spec.id,
            account_of(sender),
            Reference(spec.id, spec.agent_named("token"), None),
            encode_data("Transfer", {"to": bytes(account_of(5)), "amount": 1}),
            number.to_bytes(16, "big"),
            Height(height + 100),
            1000,
        )
        made.append(draft.signed(account(sender).sign(draft.to_sign()).signature))
    return made
