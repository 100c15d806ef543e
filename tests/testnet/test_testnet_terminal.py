"""`testnet up` on a person's terminal: the live table, and Ctrl-C as the terminal sends it."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.testnet.nets import Home

pytestmark = pytest.mark.slow


def read_until(terminal: int, words: tuple[bytes, ...], timeout_s: float) -> bytes:
    """Everything until all of the words were seen."""
    found, deadline = b"", time.monotonic() + timeout_s
    while not all(word in found for word in words):
        left = deadline - time.monotonic()
        assert left > 0, f"no {words} in {found[-2000:]!r}"
        ready, _, _ = select.select([terminal], [], [], left)
        if ready:
            found += os.read(terminal, 65_536)
    return found


def test_live_table_and_ctrl_c(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        environment = {**home.environment, "TERM": "xterm-256color"}
        for name in ("CI", "NO_COLOR", "COLUMNS", "LINES"):
            environment.pop(name, None)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        words = ("testnet", "up", "-n", "2", "--net", "t", "--port", "0", "--demo", "pingpong")
        process = subprocess.Popen(
            [sys.executable, "-m", "apocryph", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        try:
            seen = read_until(ours, (b"settled", b"n2", b"ready "), 30)
            assert b"messages/s" in seen
            assert len(home.processes()) == 3
            os.write(ours, b"\x03")
            read_until(ours, (b"stopping",), 10)
            assert process.wait(10) == 0
            assert home.processes() == []
            assert not (home.folder() / "supervisor.pid").exists()
        finally:
            process.kill()
            process.wait()
            os.close(ours)
