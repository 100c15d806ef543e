"""What a part of a soak is given and what it leaves: time and workers; verdict, tables, pictures.

Knows no part.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from node.cli.output import Output
from testnet.simulate.findings import Finding

Cells = Sequence[object]
NO_TIME: Final = "no time for any of it"


class Table(NamedTuple):
    """`caption`: one line of what it shows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Cells]


@dataclass(slots=True, kw_only=True)
class Section:
    """`told`: one line of what came out. `complete`: what it set out to do is done; else time was
    up, or it could not run here, and `told` says so."""

    good: bool
    told: str
    complete: bool = True
    record: dict[str, Any] = field(default_factory=dict)  # for JSON
    texts: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)  # (SVG, caption)
    findings: list[Finding] = field(default_factory=list)
    about: str = ""  # of its part
    wall_s: float = 0.0


class Interrupted(Exception):
    """Ctrl-C in a part; what it had found by then."""

    def __init__(self, section: Section) -> None:
        super().__init__("interrupted")
        self.section = section


@dataclass(frozen=True, slots=True, kw_only=True)
class Stint:
    """A part's share of a soak. `deadline`: of time.monotonic(); nothing is begun after it."""

    jobs: int
    deadline: float
    first_seed: int
    out: Path
    output: Output

    @property
    def left_s(self) -> float:
        return max(0.0, self.deadline - time.monotonic())


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`share`: of the minutes, against those of the other parts."""

    name: str
    about: str
    share: int
    run: Callable[[Stint], Section]
