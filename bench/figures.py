"""What a figure is, and the register of all of them.

Knows names and modules, not how anything is measured. A module that holds figures defines
`FIGURES` and imports what it measures inside its functions: so a listing stays quick, and a part
of the product that is missing makes its figures unavailable instead of breaking the others.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

MODULES: Mapping[str, str] = {
    "cold-start": "bench.network_life",
    "transfers": "bench.transfers",
    "finality": "bench.finality",
    "idle-cpu": "bench.network_life",
    "fabric-memory": "bench.fabric",
    "fabric-lmdb": "bench.fabric",
    "fabric-grpc": "bench.fabric",
    "fabric-calls": "bench.fabric",
    "fabric-recorded-calls": "bench.fabric",
    "help": "bench.commands",
    "ed25519": "bench.signatures",
    "statemap": "bench.statemap",
    "execution": "bench.execution",
    "sim-heights": "bench.simulation",
}


class BenchError(Exception):
    """A figure could not be taken, for a reason that its reader can act upon."""

    code = "bench.failed"

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class Unavailable(BenchError):
    """What the figure measures, or a tool that it needs, is not there."""

    code = "bench.unavailable"


class Failed(BenchError):
    """What the figure measures is there and did not do its work."""


class UnknownFigure(BenchError):
    """No figure has this name."""

    code = "bench.unknown"


@dataclass(frozen=True, slots=True)
class Goal:
    """The figure wanted: at least so much, or at most so much, in the figure's unit."""

    value: float
    better: Literal["more", "less"]

    def met_by(self, value: float) -> bool:
        return value >= self.value if self.better == "more" else value <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.better == 'more' else '≤'} {self.value:,g}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value in the figure's unit, and whatever else was seen on the way, by name."""

    value: float
    details: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """Something worth measuring. `run` and `peer` raise BenchError when they cannot."""

    name: str
    what: str
    unit: str
    goal: Goal | None
    run: Callable[[], Measurement]
    peer: Callable[[], Measurement] | None = None
    peer_name: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """A figure after its run. `peer` is None where the peer did not run in this command."""

    figure: Figure
    ours: Measurement
    peer: Measurement | None

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's."""
        if self.peer is None or not self.peer.value:
            return None
        return self.ours.value / self.peer.value


def find(name: str) -> Figure:
    """The figure of that name; UnknownFigure, or Unavailable where its module does not load."""
    module_name = MODULES.get(name)
    if module_name is None:
        raise UnknownFigure(f"no figure is called {name!r}", hint="python -m bench --list")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise Unavailable(f"{module_name} does not load: {error}") from error
    figures: tuple[Figure, ...] = module.FIGURES
    for figure in figures:
        if figure.name == name:
            return figure
    raise AssertionError(f"{module_name} is registered for {name} and does not define it")


def take(figure: Figure, *, with_peer: bool) -> Taken:
    """Run the figure, then its peer; a part that does not import is Unavailable."""
    ours = _measure(figure.run)
    peer = _measure(figure.peer) if with_peer and figure.peer is not None else None
    return Taken(figure, ours, peer)


def _measure(run: Callable[[], Measurement]) -> Measurement:
    try:
        return run()
    except ImportError as error:
        raise Unavailable(str(error), hint="make env") from error
