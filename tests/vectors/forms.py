"""How vectors are written as JSON, and how anybody reads them back with no code of ours."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def to_json(value: Any) -> Any:
    """Values as in DAG-JSON, but bytes as {"hex": …}: easy to read and to compare."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def from_json(value: Any) -> Any:
    """The inverse of `to_json`."""
    if isinstance(value, dict):
        if list(value) == ["hex"]:
            return bytes.fromhex(value["hex"])
        return {key: from_json(item) for key, item in value.items()}
    return [from_json(item) for item in value] if isinstance(value, list) else value


def text_of(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def load(name: str) -> dict[str, Any]:
    """The vector file of that name."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return document
