"""The table of soaks in `bench/README.md`, from the data that each wrote beside its page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.figures import BenchError
from bench.table import README, cell, rewrite

BEGIN: Final = "<!-- soak: written by `python -m bench --soak soak/soak.json` -->"
END: Final = "<!-- end of the soak -->"
BYTES_MAX: Final = 64 << 20
_HEAD = ("| part | command | what came out | as far as wanted |", "|---|---|---|---|")


class NoSoak(BenchError):
    """The file is not there, or no soak wrote it."""

    code = "bench.no_soak"


def render(file: Path) -> str:
    """The table, and what it is of. Raises NoSoak."""
    record = _read(file)
    try:
        parts: dict[str, Any] = record["parts"]
        lines = [_line(name, part) for name, part in parts.items()]
        commit, python, cores = record["commit"], record["python"], record["cores"]
        minutes = round(record["wall_s"] / 60)
    except (KeyError, TypeError, AttributeError) as error:
        raise NoSoak(f"{file} is not the data of a soak", hint=_HINT) from error
    day = datetime.fromtimestamp(file.stat().st_mtime, UTC).date().isoformat()
    origin = f"Commit {commit}, Python {python}, {cores} cores, {minutes} minutes, {day}."
    return "\n".join([*_HEAD, *lines, "", origin])


def write(files: Sequence[Path], page: Path = README) -> str:
    """Put one after the other into the page; the tables. Raises NoSoak."""
    table = "\n\n".join([render(file) for file in files])
    text = page.read_text(encoding="utf-8")
    page.write_text(rewrite(text, table, BEGIN, END), encoding="utf-8")
    return table


_HINT: Final = 'run `make soak ARGS="--minutes 120"`, which writes soak/soak.json'


def _read(file: Path) -> Any:
    try:
        if file.stat().st_size > BYTES_MAX:
            raise NoSoak(f"{file} is larger than a soak's data", hint=_HINT)
        return json.loads(file.read_bytes())
    except OSError as error:
        raise NoSoak(f"{file}: {error.strerror}", hint=_HINT) from error
    except (ValueError, RecursionError) as error:
        raise NoSoak(f"{file} is not JSON", hint=_HINT) from error


def _line(name: str, part: dict[str, Any]) -> str:
    told = part["told"] if part["good"] else f"FAILED: {part['told']}"
    cells = (name, f"`apocryph sim soak --only {name}`", told, "yes" if part["complete"] else "no")
    return "| " + " | ".join(cell(str(each)) for each in cells) + " |"
