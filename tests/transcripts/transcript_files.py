"""Reading the transcripts in `cases/`: JSON lines, one case each, written from protocol §6.

A poll is text: `a4 b1` (four slots answered a, one b), `-` (nothing). Values are letters.
"""

import json
from pathlib import Path
from typing import Any

from consensus.ids import BlockId

CASES = Path(__file__).resolve().parent / "cases"
Case = dict[str, Any]


def cases(name: str) -> list[Case]:
    """The cases of one file, in its order; every one has a name of its own and a reason."""
    found = [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text().splitlines()]
    names = [case["case"] for case in found]
    assert len(names) == len({*names}), "two cases of one name"
    assert all(case["why"] for case in found)
    return found


def called(case: Case) -> str:
    return str(case["case"])


def block(name: str | None) -> BlockId | None:
    return None if name is None else BlockId(name.encode() * 36)


def named(value: BlockId | None) -> str | None:
    return None if value is None else value[:1].decode()


def votes(text: str) -> dict[str, int]:
    """`a4 b1` → {"a": 4, "b": 1}, in that order; `-` is empty."""
    return {} if text == "-" else {part[0]: int(part[1:]) for part in text.split(" ")}


def told(weights: dict[BlockId, int]) -> str:
    """The inverse of `votes`, with the values in order."""
    parts = sorted([f"{named(value)}{weight}" for value, weight in weights.items()])
    return " ".join(parts) or "-"
