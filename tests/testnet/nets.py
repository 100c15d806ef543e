"""Testnets for tests: in a folder of their own, by the command line, stopped whatever happens."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.request import urlopen

COMMAND_S = 90.0
WAIT_S = 30.0
LOOK_S = 0.02


class Done(NamedTuple):
    """A command that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def envelope(self) -> dict[str, Any]:
        (line,) = self.stdout.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    @property
    def data(self) -> dict[str, Any]:
        assert self.code == 0, (self.code, self.stdout, self.stderr)
        data: dict[str, Any] = self.envelope["data"]
        return data

    @property
    def error(self) -> dict[str, Any]:
        envelope = self.envelope
        assert not envelope["ok"]
        error: dict[str, Any] = envelope["errors"][0]
        return error


class Home:
    """A user's data folder, with the processes that were started for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("APOCRYPH_")},
            "APOCRYPH_HOME": str(path),
            "XDG_RUNTIME_DIR": str(path),
            "CI": "1",
        }
        self.running: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Home":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()  # its validators die with it
            process.communicate()
        for name in self.names():
            owner = self.owner(name)
            if owner is not None:
                os.kill(owner, signal.SIGKILL)

    # ---- commands -------------------------------------------------------------------------------

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on."""
        process = subprocess.Popen(
            [sys.executable, "-m", "apocryph", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            text=True,
        )
        self.running.append(process)
        return process

    def run(self, *arguments: str, timeout_s: float = COMMAND_S) -> Done:
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate()
            raise AssertionError(f"{arguments} took {timeout_s} s: {out} {err}") from None
        return Done(process.returncode, out, err)

    def testnet(self, *arguments: str, net: str = "t") -> Done:
        """`testnet ARGUMENTS --net NET --json`."""
        return self.run("testnet", *arguments, "--net", net, "--json")

    def up(self, count: int, *arguments: str, net: str = "t") -> dict[str, Any]:
        """A detached testnet; what `up` said."""
        words = ("up", "-n", str(count), "--detach", "--port", "0", *arguments)
        return self.testnet(*words, net=net).data

    # ---- looking --------------------------------------------------------------------------------

    def folder(self, net: str = "t") -> Path:
        return self.path / "testnets" / net

    def names(self) -> list[str]:
        return [path.parent.name for path in self.path.glob("testnets/*/testnet.json")]

    def owner(self, net: str = "t") -> int | None:
        """The process that its supervisor.pid names, when it lives and is one of ours."""
        try:
            process = int((self.folder(net) / "supervisor.pid").read_text())
            words = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return process if f"APOCRYPH_HOME={self.path}".encode() in words else None

    def processes(self) -> list[int]:
        """All live processes of this home."""
        mark, found = f"APOCRYPH_HOME={self.path}".encode(), []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                ours = mark in (path / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if ours and alive(int(path.name)):
                found.append(int(path.name))
        return found

    def pids(self, net: str = "t") -> dict[str, int]:
        """The process of each validator, by name."""
        return {node["name"]: node["pid"] for node in self.nodes(net)}

    def nodes(self, net: str = "t") -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self.testnet("status", net=net).data["nodes"]
        return nodes


def api_status(node: dict[str, Any]) -> dict[str, Any]:
    """What a validator says of itself, asked directly."""
    with urlopen(f"{node['api']}/v1/status", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """For what only another process can tell."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(LOOK_S)


def alive(process: int) -> bool:
    """Whether it runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
