"""A testnet as its user has it: commands in, JSON out, processes that are surely gone at the end.

Everything goes through the command line and the HTTP API; nothing is imported from the product.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

COMMAND = [sys.executable, "-P", "-m", "apocryph"]
COMMAND_S = 60.0
WAIT_S = 60.0
LONG_POLL_MS = 5_000
LOOK_S = 0.02  # between looks at what has no event: a file, a process that dies


class Answer(NamedTuple):
    """What a command said. `told`: its envelope, null where it printed no single JSON object."""

    code: int
    out: str
    err: str
    told: Any

    @property
    def data(self) -> Any:
        return self.told["data"]

    @property
    def error(self) -> dict[str, Any]:
        return self.told["errors"][0]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Ours without any setting of the person who runs the tests; their own data folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APOCRYPH_")}
    return {**kept, "XDG_DATA_HOME": str(home), **more}


def run(
    home: Path,
    *words: object,
    cwd: Path | None = None,
    before: tuple[str, ...] = (),
    **more: str,
) -> Answer:
    """One command to its end. `before`: what starts it, such as another network namespace."""
    done = subprocess.run(
        [*before, *COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        stdin=subprocess.DEVNULL,
        cwd=cwd or home,
        env=environment(home, **more),
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Answer(done.returncode, done.stdout, done.stderr, _json(done.stdout))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def until(condition: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
    """The first true value. For what announces itself by no event."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(LOOK_S)
    return value


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("latin1").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pid: int, mark: str) -> bool:
    """SIGKILL to a process whose command line or folder holds `mark`; ids are used again."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text("latin1")
        if mark not in words and mark not in os.readlink(f"/proc/{pid}/cwd"):
            return False
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return False
    return True


class Cluster:
    """One testnet, detached, in a data folder of its own. Use as a context manager."""

    def __init__(self, home: Path, *up: object, **env: str) -> None:
        self.home, self.name = home, "e2e"
        self.folder = home / "apocryph" / "testnets" / self.name
        self._up, self._env = up, env
        self._started: set[int] = set()

    def __enter__(self) -> "Cluster":
        try:
            self.up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        left = self.close()
        assert not left or error[0], f"`testnet down` left processes {left}"

    # ---- life -----------------------------------------------------------------------------------

    def up(self) -> None:
        answer = self.command("testnet", "up", "--detach", "--port", 0, *self._up)
        assert answer.code == 0, answer
        self.about = json.loads((self.folder / "testnet.json").read_text())
        self._note_pids()

    def down(self) -> None:
        self._note_pids()
        answer = self.command("testnet", "down")
        assert answer.code == 0, answer

    def close(self) -> list[int]:
        """Stop it; kill and return what `down` left."""
        self._note_pids()
        try:
            self.command("testnet", "down")
        except subprocess.TimeoutExpired:
            pass
        left = [pid for pid in sorted(self._started) if kill(pid, str(self.folder))]
        for pid in left:
            until(lambda pid=pid: not alive(pid), f"the end of process {pid}")
        return left

    def _note_pids(self) -> None:
        """Remember every process of this testnet while its files name it."""
        for path in self.folder.glob("*/endpoints.json"):
            self._started.add(json.loads(path.read_text())["pid"])
        for path in self.folder.glob("supervisor.pid"):
            words = path.read_text().split()
            self._started |= {int(word) for word in words[:1] if word.isdigit()}

    # ---- asking ---------------------------------------------------------------------------------

    def command(self, *words: object, **env: str) -> Answer:
        """`apocryph … --net e2e --json`."""
        more = {**self._env, **env}
        return run(self.home, *words, "--net", self.name, "--json", **more)

    def ok(self, *words: object) -> Any:
        """The data of a command that succeeds."""
        answer = self.command(*words)
        assert answer.code == 0, answer
        return answer.data

    @property
    def nodes(self) -> list[str]:
        return [node["name"] for node in self.about["nodes"]]

    def node(self, name: str) -> Mapping[str, Any]:
        """What the files say of a node now: a restart may move it."""
        path = self.folder / name / "endpoints.json"
        place: Mapping[str, Any] = json.loads(path.read_text())
        return place

    def get(self, path: str, node: str = "n1") -> Any:
        """A GET of one node's API that succeeds."""
        status, body = http(self.node(node)["api"] + path)
        assert status == 200, (path, status, body)
        return body

    def height(self, node: str = "n1") -> int:
        return int(self.get("/v1/status", node)["height"])

    def above(self, height: int, node: str = "n1", timeout_s: float = WAIT_S) -> int:
        """The height of a node once it is above `height`: the node's own long poll."""
        deadline = time.monotonic() + timeout_s
        while True:
            path = f"/v1/status?after={height}&wait_ms={LONG_POLL_MS}"
            found = int(self.get(path, node)["height"])
            if found > height:
                return found
            assert time.monotonic() < deadline, f"{node} stays at {found}, not above {height}"

    def everywhere(self, height: int) -> None:
        """Until every node has `height`."""
        for name in self.nodes:
            self.above(height - 1, name)

    # ---- sending --------------------------------------------------------------------------------

    def send(self, ref: str, message: str, *words: object) -> Any:
        """An included message's data."""
        return self.ok("send", ref, message, *words, "--wait")

    def play(self, delay_ms: int, rounds: int = 0) -> int:
        """A new game of ping and pong, which ends the one before; the height of its start."""
        fields = (f"delay_ms={delay_ms}", f"rounds={rounds}")
        return int(self.send("ping", "Start", *fields, "--pay", 10**8)["height"])


def http(url: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of a GET, or of a POST where there is a body."""
    raw = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, raw, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _json(error.read().decode())
