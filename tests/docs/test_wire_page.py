"""docs/wire.md names every record and every vector file: what is added has to be written there."""

import ast
from pathlib import Path

import pytest

from consensus.certificates import PHASES
from consensus.encoding import HEIGHT_MAX, ROUND_MAX

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "wire.md").read_text()
SOURCES = (*sorted((ROOT / "consensus").glob("*.py")), ROOT / "node" / "speech.py")


def tags() -> list[str]:
    """First items of all records that a Schema writes."""
    found = list(PHASES)
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Schema":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.append(str(first.value))
    return sorted(dict.fromkeys(found))


@pytest.mark.parametrize("tag", tags())
def test_a_record_is_on_the_page(tag: str) -> None:
    written = f'["{tag}"' in PAGE or f"`{tag}`" in PAGE
    assert written, f"docs/wire.md does not say what {tag!r} is"


def test_the_search_for_records_finds_them() -> None:
    assert {"header", "body", "claim", "spec", "poll", "sign", "confirm"} <= set(tags())


@pytest.mark.parametrize(
    "file", sorted(path.name for path in (ROOT / "tests/vectors").glob("*.json"))
)
def test_a_vector_file_is_named(file: str) -> None:
    pages = "".join(path.read_text() for path in sorted((ROOT / "docs").glob("wire*.md")))
    assert file in pages


def test_bounds_of_heights_and_rounds_are_those_of_the_code() -> None:
    assert (HEIGHT_MAX, ROUND_MAX) == (2**63 - 1, 65_535)
    assert "from 1 to 2^63 − 1" in PAGE and "from 0 to 65,535" in PAGE
