"""The table of a soak: from its data, between two markers; other files are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import soaked
from bench.__main__ import EXIT_UNAVAILABLE, main
from bench.soaked import BEGIN, END, NoSoak

PAGE = f"before\n{BEGIN}\nold\n{END}\nafter\n"


def data(tmp_path: Path, **changes: Any) -> Path:
    parts = {
        "storm": {"good": True, "complete": True, "told": "7 seeds | clean"},
        "model": {"good": False, "complete": False, "told": "two blocks"},
    }
    record = {"commit": "v1", "python": "3.11.7", "cores": 2, "wall_s": 121.0, "parts": parts}
    file = tmp_path / "soak.json"
    file.write_text(json.dumps(record | changes))
    return file


def test_a_part_is_a_row(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    table = soaked.write([data(tmp_path)], page)
    lines = table.splitlines()
    assert lines[2] == "| storm | `apocryph sim soak --only storm` | 7 seeds \\| clean | yes |"
    assert lines[3] == "| model | `apocryph sim soak --only model` | FAILED: two blocks | no |"
    assert lines[-1].startswith("Commit v1, Python 3.11.7, 2 cores, 2 minutes, 20")
    assert page.read_text() == f"before\n{BEGIN}\n{table}\n{END}\nafter\n"


def test_two_soaks_are_two_tables(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    file = data(tmp_path)
    assert soaked.write([file, file], page).count("Commit v1") == 2


@pytest.mark.parametrize("text", ["{}", "[]", "nothing", '{"parts": 3}', "[" * 10_000])
def test_other_files_are_refused_and_change_nothing(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    file = tmp_path / "soak.json"
    file.write_text(text)
    with pytest.raises(NoSoak) as refused:
        soaked.write([file], page)
    assert "make soak" in refused.value.hint
    assert page.read_text() == PAGE


def test_a_missing_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--soak", str(tmp_path / "none.json")]) == EXIT_UNAVAILABLE
    assert "bench.no_soak" in capsys.readouterr().err


def test_the_page_has_a_place_for_it() -> None:
    text = soaked.README.read_text(encoding="utf-8")
    assert BEGIN in text and END in text
