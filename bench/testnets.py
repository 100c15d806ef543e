"""A testnet of ours for a figure: started, asked and stopped by the command line, as a user would.

It lives in a folder of its own, so that no testnet of the user is met, touched or counted.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.commands import apocryph
from bench.figures import BenchError, Failed
from bench.processes import complete, free_ports

NAME = "bench"
UP_SECONDS_MAX = 120.0
COMMAND_SECONDS_MAX = 60.0
AGREE_SECONDS_MAX = 20.0
AGREE_POLL_SECONDS = 0.05


class Testnet:
    """A context manager: N validators are ready inside it, and gone after it."""

    def __init__(self, validators: int) -> None:
        self.validators = validators
        self._temporary = tempfile.TemporaryDirectory(prefix="apocryph-bench-")
        self.home = Path(self._temporary.name)
        self.port = free_ports(1)[0]
        # platformdirs reads these: data, configuration and cache of the bench alone.
        self.environment = {
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "APOCRYPH_NET": NAME,
        }

    @property
    def url(self) -> str:
        """The gateway."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def folder(self) -> Path:
        """Where the testnet keeps its spec, accounts and nodes (wire: Folders)."""
        return self.home / "data" / "apocryph" / "testnets" / NAME

    def __enter__(self) -> Testnet:
        arguments = ("testnet", "up", "-n", str(self.validators), "--detach")
        try:
            self.command(*arguments, "--port", str(self.port), timeout_s=UP_SECONDS_MAX)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def command(self, *arguments: str, timeout_s: float = COMMAND_SECONDS_MAX) -> Any:
        """`data` of the command's JSON envelope; Failed with its first error."""
        line = [apocryph(), "--net", NAME, *arguments, "--json"]
        answer = complete(line, timeout_s=timeout_s, environment=self.environment)
        try:
            envelope = json.loads(answer)
        except ValueError as error:
            raise Failed(f"{' '.join(line)} did not answer with JSON") from error
        if not envelope["ok"]:
            raise Failed(f"{' '.join(line)}: {envelope['errors'][0]['message']}")
        return envelope["data"]

    def nodes(self) -> list[dict[str, Any]]:
        """One row per validator: name, height, block, state_root, slots, …"""
        nodes: list[dict[str, Any]] = self.command("testnet", "status")["nodes"]
        return nodes

    def wait_for_height(self, height: int) -> None:
        """Return when every validator has certified the height; Failed after AGREE_SECONDS_MAX."""
        deadline = time.monotonic() + AGREE_SECONDS_MAX
        while True:
            heights = [int(node["height"]) for node in self.nodes()]
            if len(heights) == self.validators and min(heights) >= height:
                return
            if time.monotonic() > deadline:
                raise Failed(f"heights {heights} after {AGREE_SECONDS_MAX:g} s, wanted {height}")
            time.sleep(AGREE_POLL_SECONDS)

    def supervisor(self) -> int:
        """The id of the process whose children the validators are."""
        try:
            return int((self.folder / "supervisor.pid").read_text())
        except (OSError, ValueError) as error:
            raise Failed("the testnet has no supervisor.pid") from error

    def _stop(self) -> None:
        try:
            supervisor: int | None = self.supervisor()
        except Failed:
            supervisor = None
        try:
            self.command("testnet", "down")
        except BenchError:
            # What does not stop when asked is ended: its children die with their parent.
            if supervisor is not None:
                _kill(supervisor)
        finally:
            self._temporary.cleanup()


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        pass
