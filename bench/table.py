"""The table of figures in `bench/README.md`, between two markers; the rest of the page is prose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bench.report import number

README = Path(__file__).with_name("README.md")
BEGIN = "<!-- figures: written by `python -m bench --all --write` -->"
END = "<!-- end of figures -->"
_HEAD = (
    "| what | command | figure | goal | peer | ratio | date |",
    "|---|---|---|---|---|---|---|",
)


class TableError(Exception):
    """The page has no place for the table."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `problem` stands in the figure's place where it could not be taken."""

    name: str
    what: str
    unit: str
    goal: str
    value: float | None
    problem: str
    peer_name: str
    peer: float | None  # None where the peer did not run in this command
    ratio: float | None
    taken: date

    def line(self) -> str:
        figure = self.problem if self.value is None else f"{number(self.value)} {self.unit}"
        peer = "" if self.peer is None else f"{self.peer_name}: {number(self.peer)}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        command = f"`python -m bench {self.name}`"
        cells = (self.what, command, figure, self.goal, peer, ratio, self.taken.isoformat())
        return "| " + " | ".join(cell(each) for each in cells) + " |"


def render(rows: Sequence[Row], machine: str) -> str:
    return "\n".join([*_HEAD, *(row.line() for row in rows), "", f"Machine: {machine}."])


def rewrite(page: str, table: str, begin: str = BEGIN, end: str = END) -> str:
    """The page with the table between its markers; TableError where a marker is missing."""
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise TableError(f"the page lacks the lines {begin} and {end}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def write(rows: Sequence[Row], machine: str, page: Path = README) -> None:
    text = page.read_text(encoding="utf-8")
    page.write_text(rewrite(text, render(rows, machine)), encoding="utf-8")


def cell(text: str) -> str:
    """One line, and no bar that would begin another cell."""
    return " ".join(text.split()).replace("|", "\\|")
