"""Runs every figure, each in a process of its own, and collects the rows of the table.

A process each, so that the memory, threads and crashes of one figure do not touch the next.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from bench.figures import MODULES, Goal
from bench.table import Row

FIGURE_SECONDS_MAX = 1_200  # the first run builds the peer
TAIL_CHARACTERS = 200
_ROOT = Path(__file__).parents[1]


def run_all(*, with_peers: bool, report: Callable[[Row], None], today: date) -> list[Row]:
    rows = []
    for name in MODULES:
        row = row_of(name, run_one(name, with_peer=with_peers), today)
        report(row)
        rows.append(row)
    return rows


def run_one(name: str, *, with_peer: bool) -> dict[str, Any]:
    """The envelope of `python -m bench NAME --json`, or one that says why there is none."""
    command = [sys.executable, "-m", "bench", name, "--json"]
    if not with_peer:
        command.append("--no-peer")
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FIGURE_SECONDS_MAX,
            cwd=_ROOT,
        )
    except subprocess.TimeoutExpired:
        return silent(f"no answer in {FIGURE_SECONDS_MAX} s")
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.decode(errors="replace").strip()[-TAIL_CHARACTERS:]
        return silent(f"ended with {done.returncode}: {said}")
    return answer


def silent(reason: str) -> dict[str, Any]:
    """The envelope of a figure that left none."""
    return {"data": None, "errors": [{"message": reason}]}


def row_of(name: str, answer: dict[str, Any], today: date) -> Row:
    data = answer["data"] or {}
    taken = "value" in data
    peer = data.get("peer") if taken else None
    problem = "; ".join(str(one["message"]) for one in answer["errors"])
    return Row(
        name=name,
        what=data.get("what", name),
        unit=data.get("unit", ""),
        goal=_goal(data.get("goal")),
        value=data.get("value"),
        problem=f"not available: {problem}" if problem else "",
        peer_name="" if peer is None else peer["name"],
        peer=None if peer is None else peer["value"],
        ratio=data.get("ratio"),
        taken=today,
    )


def _goal(value: Any) -> str:
    """As text already where the figure was refused."""
    if value is None or isinstance(value, str):
        return value or ""
    return str(Goal(value["value"], value["better"]))
