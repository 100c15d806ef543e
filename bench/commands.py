"""How long the command line takes to say something."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from bench.figures import Figure, Goal, Measurement, Unavailable
from bench.processes import complete

RUNS = 11
TIMEOUT_S = 20.0


def apocryph() -> str:
    """The path of the command, beside the interpreter that runs the bench."""
    script = Path(sys.executable).with_name("apocryph")
    if not script.exists() or find_spec("apocryph.__main__") is None:
        raise Unavailable("the command apocryph is not installed", hint="make env")
    return str(script)


def help_milliseconds() -> Measurement:
    command = [apocryph(), "--help"]
    complete(command, timeout_s=TIMEOUT_S)  # compiles and fills the page cache
    taken = []
    for _ in range(RUNS):
        start = time.perf_counter()
        complete(command, timeout_s=TIMEOUT_S)
        taken.append((time.perf_counter() - start) * 1000)
    return Measurement(median(taken), {"slowest_ms": max(taken)})


FIGURES = (
    Figure(
        name="help",
        what="`apocryph --help`, wall time",
        unit="ms",
        goal=Goal(200, "less"),
        run=help_milliseconds,
    ),
)
