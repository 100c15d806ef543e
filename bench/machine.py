"""On what a figure was taken: processor, cores, Python, and whether the machine was busy."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

BUSY_LOAD_PER_CORE = 0.5
_CPU_FILE = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Machine:
    cpu: str
    cores: int
    python: str
    system: str

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, Python {self.python}, {self.system}"


def this_machine() -> Machine:
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        system=platform.system(),
    )


def busy_warning() -> str | None:
    """A sentence for the reader when others were using the machine already, else None."""
    load = os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0))
    if load <= BUSY_LOAD_PER_CORE * cores:
        return None
    return f"the machine was busy before the run (load {load:.1f} on {cores} cores)"


def _cpu_model() -> str:
    try:
        lines = _CPU_FILE.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
