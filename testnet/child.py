"""One validator as a process of the supervisor: its command, its output, its state.

`node run` says on stdout, a JSON line each, when it listens, is ready, has stopped or failed.
Knows no other validator.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from node.config import PREFIX
from node.errors import NodeError, TimedOut
from testnet.limits import LINE_BYTES_MAX, LOG_BYTES_MAX, STOP_S
from testnet.probe import told

log = logging.getLogger("apocryph.testnet")

# Settings of the user's own node must not reach those of a testnet; these are no settings.
_PASSED: Final = ("HOME", "TRACE", "DEBUG")


class State(StrEnum):
    """Where a validator is in its life."""

    STARTING = "starting"
    LISTENING = "listening"  # the API answers; not yet linked to two thirds
    READY = "ready"
    PAUSED = "paused"
    STOPPED = "stopped"  # was asked to, or killed by command
    FAILED = "failed"  # ended by itself


ALIVE: Final = (State.STARTING, State.LISTENING, State.READY, State.PAUSED)
ANSWERS: Final = (State.READY, State.LISTENING)


class Child:
    """A validator's process, and the next one after a restart."""

    def __init__(self, name: str, folder: Path, log_path: Path) -> None:
        self.name = name
        self.state = State.STOPPED
        self.api = ""
        self.fabric = ""
        self.listen = ""
        self.error: NodeError | None = None
        self._folder, self._log_path = folder, log_path
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._resumed = State.READY  # what a paused one was before
        self._ending = False  # it was asked to end

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.alive else None

    @property
    def alive(self) -> bool:
        return self.state in ALIVE

    @property
    def address(self) -> tuple[str, int] | None:
        """Where its API listens, when it answers."""
        place = urlsplit(self.api)
        if self.state not in ANSWERS or place.hostname is None or place.port is None:
            return None
        return place.hostname, place.port

    # ---- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start its process; `wait` waits for it."""
        assert not self.alive, "a validator is started once"
        self.api, self.error, self._ending = "", None, False
        keep_log_short(self._log_path)
        with self._log_path.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *node_command(self._folder),
                stdin=asyncio.subprocess.PIPE,  # its end tells systems without prctl
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                limit=LINE_BYTES_MAX,
                env=_environment(os.environ),
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C of the terminal is the supervisor's
            )
        await self._enter(State.STARTING)
        self._watch = asyncio.create_task(self._follow(self._process))

    async def wait(self, *states: State, timeout_s: float) -> None:
        """Until it is in one of the states.

        Raises its own error when it ends instead, TimedOut when it takes too long.
        """
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self.state in states or not self.alive)
        except TimeoutError as error:
            raise TimedOut(
                f"{self.name} is not {states[0]} after {timeout_s:g} s",
                hint=f"{self._log_path} has its words; on a busy machine fewer validators may do",
            ) from error
        if not self.alive:
            raise self.error or TimedOut(
                f"{self.name} was stopped before it was {states[0]}",
                hint="`apocryph testnet status` shows what each validator does",
            )

    async def failed(self) -> None:
        """Wait until it ends by itself, and raise its own error; a restart is none."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.state == State.FAILED)
        assert self.error is not None, "a failure has an error"
        raise self.error

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL to what is left after STOP_S. Returns when it is gone."""
        if not self.alive or self._process is None or self._watch is None:
            return
        self._ending = True
        self._send(signal.SIGTERM)
        self._send(signal.SIGCONT)
        await asyncio.wait([self._watch], timeout=STOP_S)
        if not self._watch.done():
            log.warning("%s did not stop in %g s and is killed", self.name, STOP_S)
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL. Returns when it is gone."""
        self._ending = True
        self._send(signal.SIGKILL)
        if self._watch is not None:
            await asyncio.wait([self._watch])

    async def pause(self) -> None:
        self._resumed = self.state
        self._send(signal.SIGSTOP)
        await self._enter(State.PAUSED)

    async def resume(self) -> None:
        self._send(signal.SIGCONT)
        await self._enter(self._resumed)

    def _send(self, number: signal.Signals) -> None:
        # The process is not reaped before returncode is set, so its id is still its own.
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _enter(self, state: State) -> None:
        async with self._changed:
            self.state = state
            self._changed.notify_all()

    # ---- what it says ---------------------------------------------------------------------------

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in _lines(process.stdout):
            await self._said(line)
        code = await process.wait()
        if self._ending or code == 0:
            await self._enter(State.STOPPED)
            return
        if self.error is None:
            self.error = told(_ended(self.name, code, self._log_path))
        log.error("%s ended: %s", self.name, self.error)
        await self._enter(State.FAILED)

    async def _said(self, line: bytes) -> None:
        try:
            envelope = json.loads(line)
            data, errors = envelope["data"] or {}, envelope["errors"]
        except (ValueError, KeyError, TypeError):
            log.warning("%s said %r", self.name, line[:200])
            return
        if errors:
            self.error = told(errors[0])
        elif data.get("event") == "listening":
            self.api, self.fabric, self.listen = data["api"], data["fabric"], data["listen"]
            await self._rise(State.LISTENING)
        elif data.get("event") == "ready":
            await self._rise(State.READY)

    async def _rise(self, state: State) -> None:
        if self.state == State.PAUSED:
            self._resumed = state  # said before the pause, read after it
        else:
            await self._enter(state)

    def row(self) -> dict[str, Any]:
        """As the control socket tells it."""
        return {
            "name": self.name,
            "state": str(self.state),
            "pid": self.pid,
            "api": self.api,
            "fabric": self.fabric,
            "listen": self.listen,
            "error": None if self.error is None else str(self.error),
        }


def node_command(folder: Path) -> list[str]:
    """`-P`: a folder that holds a `node/` of its own must not shadow ours."""
    words = ("node", "run", str(folder), "--testnet-keys", "--with-parent", "--json")
    return [sys.executable, "-P", "-m", "apocryph", *words]


def keep_log_short(path: Path) -> None:
    """Put a long log aside; one older is kept."""
    try:
        if path.stat().st_size > LOG_BYTES_MAX:
            path.replace(path.with_suffix(".log.1"))
    except FileNotFoundError:
        pass


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    passed = [PREFIX + name for name in _PASSED]
    return {k: v for k, v in environ.items() if not k.startswith(PREFIX) or k in passed}


async def _lines(reader: asyncio.StreamReader) -> Any:
    while True:
        try:
            line = await reader.readline()
        except ValueError:
            continue  # longer than LINE_BYTES_MAX: dropped
        if not line:
            return
        yield line


def _ended(name: str, code: int, log_path: Path) -> dict[str, str]:
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    others_did = -code in (signal.SIGKILL, signal.SIGTERM)  # somebody else, or lack of memory
    return {
        "code": "unreachable" if others_did else "bug",
        "message": f"{name} ended {how} before it said why",
        "hint": f"its last words are in {log_path}",
    }
