"""What a figure starts does not outlive it."""

import os
import sys
import time
from pathlib import Path

import pytest

from bench.figures import Failed, Unavailable
from bench.network_life import children_of, processor_seconds
from bench.processes import Children, complete, free_ports

# Says the id of its own child and waits; the child ignores what may be ignored.
PARENT = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True);"
    "signal.pause()"], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
signal.pause()
"""


def alive(process: int) -> bool:
    """Whether it still runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def first_line(path: Path) -> str:
    while not (text := path.read_text()).endswith("\n"):
        os.sched_yield()
    return text


def wait_until_gone(process: int) -> None:
    """A killed process that is not our child ends a moment after the signal."""
    deadline = time.monotonic() + 10
    while alive(process):
        assert time.monotonic() < deadline, f"{process} is still there"
        os.sched_yield()


def broken_figure(log: Path, started: list[int]) -> None:
    with Children() as children:
        child = children.start([sys.executable, "-c", PARENT], log=log)
        grandchild = int(first_line(log))
        started += [child.pid, grandchild]
        assert alive(child.pid) and alive(grandchild)
        assert children_of(child.pid) == [grandchild]
        assert processor_seconds(child.pid) >= 0
        raise RuntimeError("the figure broke")


def test_children_and_theirs_are_gone_when_the_figure_breaks(tmp_path: Path) -> None:
    started: list[int] = []
    with pytest.raises(RuntimeError, match="the figure broke"):
        broken_figure(tmp_path / "log", started)
    child, grandchild = started
    assert not alive(child)
    wait_until_gone(grandchild)


def test_the_time_of_a_process_that_is_gone_is_a_failure() -> None:
    with pytest.raises(Failed, match="ended while it was measured"):
        processor_seconds(2**22 + 1)


def test_a_program_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no-such-program"), Children() as children:
        children.start(["no-such-program"], log=tmp_path / "log")
    with pytest.raises(Unavailable, match="no-such-program"):
        complete(["no-such-program"], timeout_s=5)


@pytest.mark.parametrize(
    ("code", "timeout_s", "reason"),
    [
        ("import sys; sys.exit('no luck')", 20, "ended with 1: no luck"),
        ("import signal; signal.pause()", 0.2, "took more than 0.2 s"),
    ],
)
def test_a_command_that_does_not_end_well_is_a_failure(
    code: str, timeout_s: float, reason: str
) -> None:
    with pytest.raises(Failed, match=reason):
        complete([sys.executable, "-c", code], timeout_s=timeout_s)


def test_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20
