"""How a figure is shown: lines for people, one JSON envelope for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from bench.figures import BenchError, Figure, Taken
from bench.machine import Machine

SCHEMA = "apocryph/bench/1"
Value = dict[str, object]


def number(value: float) -> str:
    """Three or more significant digits, thousands apart: 12,345 · 123 · 1.23 · 0.0123."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def as_value(taken: Taken, machine: Machine) -> Value:
    figure = taken.figure
    goal = figure.goal
    peer: Value | None = None
    if taken.peer is not None:
        peer = {
            "name": figure.peer_name,
            "value": taken.peer.value,
            "details": dict(taken.peer.details),
        }
    return {
        "name": figure.name,
        "what": figure.what,
        "value": taken.ours.value,
        "unit": figure.unit,
        "goal": None if goal is None else {"value": goal.value, "better": goal.better},
        "goal_met": None if goal is None else goal.met_by(taken.ours.value),
        "details": dict(taken.ours.details),
        "peer": peer,
        "ratio": taken.ratio,
        "machine": asdict(machine),
    }


def listed(figure: Figure) -> Value:
    return {
        "name": figure.name,
        "what": figure.what,
        "unit": figure.unit,
        "goal": None if figure.goal is None else str(figure.goal),
        "peer": figure.peer_name or None,
    }


def envelope(data: object, *, errors: Iterable[BenchError] = (), warnings: Iterable[str]) -> str:
    """The one JSON form of every command; `ok` is the absence of errors."""
    problems = [
        {"code": one.code, "message": one.reason, "hint": one.hint, "retryable": False}
        for one in errors
    ]
    return json.dumps(
        {
            "schema": SCHEMA,
            "ok": not problems,
            "data": data,
            "errors": problems,
            "warnings": list(warnings),
        },
        ensure_ascii=False,
    )


def as_text(taken: Taken, machine: Machine) -> str:
    figure = taken.figure
    lines = [f"{figure.name}: {number(taken.ours.value)} {figure.unit}", f"  {figure.what}"]
    lines += _details(taken.ours.details)
    if figure.goal is not None:
        word = "met" if figure.goal.met_by(taken.ours.value) else "missed"
        lines.append(f"  goal {figure.goal} {figure.unit}: {word}")
    if taken.peer is not None:
        lines.append(f"  {figure.peer_name}: {number(taken.peer.value)} {figure.unit}")
        lines += _details(taken.peer.details)
        if taken.ratio is not None:
            lines.append(f"  ratio {taken.ratio:.2f}")
    lines.append(f"  {machine}")
    return "\n".join(lines)


def _details(details: Mapping[str, float | str]) -> list[str]:
    return [
        f"    {name} {value if isinstance(value, str) else number(value)}"
        for name, value in details.items()
    ]
