"""Processes that a figure starts, and that do not outlive it.

Each child leads a process group of its own and asks the kernel to be killed with its parent, so
that even a bench that is killed leaves nothing behind. Only groups started here are ever signalled.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from bench.figures import Failed, Unavailable

STOP_SECONDS = 5.0
TAIL_CHARACTERS = 400
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Children:
    """A context manager: what was started inside is ended when it is left, whatever happens."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._logs: list[IO[bytes]] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command whose two outputs go to the file; Unavailable if it is not there."""
        output = log.open("wb")
        self._logs.append(output)
        try:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else {**os.environ, **environment},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        except FileNotFoundError as error:
            raise Unavailable(f"{command[0]} is not there") from error
        self._running.append(child)
        return child

    def stop(self) -> None:
        """SIGTERM to each group, SIGKILL to what is left after STOP_SECONDS."""
        for child in self._running:
            _signal_group(child, signal.SIGTERM)
        for child in self._running:
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            _signal_group(child, signal.SIGKILL)
            child.wait()
        self._running.clear()
        while self._logs:
            self._logs.pop().close()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The group's id stays taken while any member lives, so it cannot mean somebody else's group
    # unless the leader was reaped and its group is empty: then there is nobody to signal.
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        pass


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on; all are held until the last is found, so they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def complete(
    command: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None
) -> str:
    """The standard output of a command that must end well; Failed or Unavailable otherwise."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            text=True,
            env=None if environment is None else {**os.environ, **environment},
        )
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is not there") from error
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(command)} took more than {timeout_s:g} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-TAIL_CHARACTERS:]
        raise Failed(f"{' '.join(command)} ended with {done.returncode}: {said}")
    return done.stdout
