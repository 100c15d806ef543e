"""How far a long run is: a bar for people at a terminal, now and then a line elsewhere.

Knows no simulation.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from node.cli.output import Output
from testnet.simulate.limits import LINE_EVERY_S

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Progress(Protocol):
    """What a run tells while it goes."""

    def step(self, text: str = "") -> None:
        """One more is done."""

    def say(self, text: str) -> None:
        """Something worth a line of its own, or the state of what has no count."""


class Lines:
    """At most one line every LINE_EVERY_S, for logs."""

    def __init__(self, output: Output, title: str, total: int) -> None:
        self._output, self._title, self._total = output, title, total
        self._done = 0
        self._began = self._told = time.monotonic()

    def step(self, text: str = "") -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._told < LINE_EVERY_S:
            return
        self._told = now
        rate = self._done / (now - self._began)
        more = f", {text}" if text else ""
        self._output.note(f"{self._title}: {self._done}/{self._total}, {rate:.1f}/s{more}")

    def say(self, text: str) -> None:
        self._output.note(f"{self._title}: {text}")


class Bar:
    """A bar on stderr."""

    def __init__(self, bar: "RichProgress", task: "TaskID") -> None:
        self._bar, self._task = bar, task

    def step(self, text: str = "") -> None:
        self._bar.update(self._task, advance=1, text=text)

    def say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False)


def is_terminal(output: Output) -> bool:
    """Whether a person watches stderr."""
    if output.json or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        return False
    return output.stderr.isatty()


@contextmanager
def progress(output: Output, title: str, total: int) -> Iterator[Progress]:
    """Shown as long as the block runs; nothing with --json."""
    if not is_terminal(output):
        yield Lines(output, title, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Rich

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    console = Console(file=output.stderr)
    with Rich(*columns, console=console, transient=True) as bar:
        yield Bar(bar, bar.add_task(title, total=total, text=""))
