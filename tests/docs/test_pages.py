"""All pages: links lead somewhere, decisions are in their index, a word is explained once."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "adr").glob("*.md")),
)
ADRS = sorted(path for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))
_FENCE = re.compile(r"```.*?```", re.DOTALL)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = _FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.split("#")[0]).exists(), target


def test_every_decision_is_in_the_index_in_order() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    listed = re.findall(r"^\| \[(\d{4})\]\((\S+)\)", index, re.MULTILINE)
    assert [file for _, file in listed] == [path.name for path in ADRS]
    assert [number for number, _ in listed] == [f"{n:04}" for n in range(1, len(ADRS) + 1)]


@pytest.mark.parametrize("adr", ADRS, ids=name)
def test_a_decision_says_what_was_chosen_under_its_number(adr: Path) -> None:
    title, *rest = adr.read_text().splitlines()
    assert title.startswith(f"# {adr.name[:4]} ")
    assert any(line.startswith(("**Chosen", "- ")) for line in rest)


@pytest.mark.parametrize("adr", ADRS[14:], ids=name)
def test_tests_that_a_decision_names_are_there(adr: Path) -> None:
    """From 0015 on decisions say what shows them."""
    text = adr.read_text()
    assert "**Shown by**" in text
    files = re.findall(r"`(tests/[\w/]+\.py)", text)
    assert files
    for file in files:
        assert (ROOT / file).is_file(), file
    named = re.findall(r"(?:::|`)(test_\w+)`", text)
    sources = "".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))
    for test in named:
        assert f"def {test}(" in sources, test


def test_a_word_of_the_glossary_is_explained_once() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    words = re.findall(r"^\| \*\*([^|]+?) \|", text, re.MULTILINE)
    assert len(words) > 100
    assert len(words) == len(dict.fromkeys(words))
