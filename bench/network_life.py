"""A network's start, and what it costs when nobody asks it for anything."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.figures import Failed, Figure, Goal, Measurement
from bench.testnets import Testnet

VALIDATORS = 4
SETTLE_SECONDS = 5.0
IDLE_SECONDS = 60.0
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PROCESSES = Path("/proc")


def cold_start() -> Measurement:
    start = time.perf_counter()
    with Testnet(VALIDATORS) as net:
        ready = time.perf_counter()
        receipt = net.command(
            *("send", "token", "Transfer", "to=@bob", "amount=5", "--as", "alice", "--wait")
        )
        sent = time.perf_counter()
        net.wait_for_height(int(receipt["height"]))
        end = time.perf_counter()
    return Measurement(end - start, {"ready_s": ready - start, "transfer_s": sent - ready})


def idle_processor() -> Measurement:
    """Percent of one core that the busiest validator uses."""
    with Testnet(VALIDATORS) as net:
        time.sleep(SETTLE_SECONDS)  # the hill of the first epoch is mined by then
        supervisor = net.supervisor()
        validators = children_of(supervisor)
        if len(validators) < VALIDATORS:
            raise Failed(f"the supervisor has {len(validators)} children, not {VALIDATORS}")
        before = {process: processor_seconds(process) for process in [supervisor, *validators]}
        start = time.perf_counter()
        time.sleep(IDLE_SECONDS)
        elapsed = time.perf_counter() - start
        percent = {
            process: (processor_seconds(process) - seconds) / elapsed * 100
            for process, seconds in before.items()
        }
    of_validators = [percent[process] for process in validators]
    return Measurement(
        max(of_validators),
        {
            "mean_percent": sum(of_validators) / len(of_validators),
            "supervisor_percent": percent[supervisor],
        },
    )


def children_of(parent: int) -> list[int]:
    found = []
    for entry in _PROCESSES.iterdir():
        if entry.name.isdigit():
            try:
                if int(_fields(int(entry.name))[1]) == parent:
                    found.append(int(entry.name))
            except OSError:
                continue  # ended while we were looking
    return sorted(found)


def processor_seconds(process: int) -> float:
    """User and system time that a process has used; Failed when it is gone."""
    try:
        fields = _fields(process)
    except OSError as error:
        raise Failed(f"process {process} ended while it was measured") from error
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def _fields(process: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold spaces: state, parent, …"""
    text = (_PROCESSES / str(process) / "stat").read_text()
    return text.rpartition(")")[2].split()


FIGURES = (
    Figure(
        name="cold-start",
        what=f"{VALIDATORS} validators: cold start to all ready and one transfer certified on all",
        unit="s",
        goal=Goal(5, "less"),
        run=cold_start,
    ),
    Figure(
        name="idle-cpu",
        what=f"idle node without demo ({VALIDATORS} of them, the busiest), "
        f"{IDLE_SECONDS:.0f} s average, of one core",
        unit="%",
        goal=Goal(3, "less"),
        run=idle_processor,
    ),
)
