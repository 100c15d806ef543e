"""The table in bench/README.md: what a row says, and that nothing else of the page changes."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from bench import figures, table, whole
from bench.table import BEGIN, END, Row, TableError

DAY = date(2026, 11, 21)
FULL = Row(
    name="transfers",
    what="transfers | finalized",
    unit="transfers/s",
    goal="≥ 900",
    value=1234.5,
    problem="",
    peer_name="CometBFT",
    peer=3600.0,
    ratio=0.3429,
    taken=DAY,
)
PAGE = f"before\n{BEGIN}\nan old table\n{END}\nafter\n"


def cells(row: Row) -> list[str]:
    return [cell.strip() for cell in row.line().strip("| ").replace("\\|", "¦").split("|")]


def test_a_row_has_what_command_figure_goal_peer_ratio_and_date() -> None:
    assert cells(FULL) == [
        "transfers ¦ finalized",
        "`python -m bench transfers`",
        "1,234 transfers/s",
        "≥ 900",
        "CometBFT: 3,600",
        "0.34",
        "2026-11-21",
    ]


def test_the_peer_is_empty_where_it_did_not_run() -> None:
    assert cells(replace(FULL, peer_name="", peer=None, ratio=None))[4:6] == ["", ""]


def test_a_figure_that_was_not_taken_says_why() -> None:
    row = replace(FULL, value=None, problem="not available: no such part\nat all")
    assert cells(row)[2] == "not available: no such part at all"


def test_only_what_stands_between_the_markers_is_rewritten(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(PAGE, encoding="utf-8")
    table.write([FULL], "a machine", page)
    once = page.read_text(encoding="utf-8")
    assert once.startswith(f"before\n{BEGIN}\n| what |")
    assert once.endswith(f"Machine: a machine.\n{END}\nafter\n")
    assert FULL.line() in once
    assert "an old table" not in once
    table.write([FULL], "a machine", page)
    assert page.read_text(encoding="utf-8") == once


@pytest.mark.parametrize("lost", [BEGIN, END])
def test_a_page_without_a_marker_is_left_alone(tmp_path: Path, lost: str) -> None:
    page = tmp_path / "README.md"
    page.write_text(PAGE.replace(lost, ""), encoding="utf-8")
    with pytest.raises(TableError):
        table.write([FULL], "a machine", page)
    assert page.read_text(encoding="utf-8") == PAGE.replace(lost, "")


def test_the_page_of_the_repository_has_a_place_for_the_table() -> None:
    assert table.rewrite(table.README.read_text(encoding="utf-8"), "the table")


ANSWER = {
    "ok": True,
    "data": {
        "what": "w",
        "value": 8.0,
        "unit": "s",
        "goal": {"value": 10, "better": "less"},
        "peer": {"name": "p", "value": 4.0},
        "ratio": 2.0,
    },
    "errors": [],
}


def test_a_row_is_made_of_an_envelope() -> None:
    row = whole.row_of("x", ANSWER, DAY)
    assert row == Row("x", "w", "s", "≤ 10", 8.0, "", "p", 4.0, 2.0, DAY)


def test_a_refused_figure_keeps_its_description() -> None:
    answer = {
        "ok": False,
        "data": {"name": "x", "what": "w", "unit": "s", "goal": "≤ 10", "peer": "p"},
        "errors": [{"code": "bench.unavailable", "message": "no wheels"}],
    }
    row = whole.row_of("x", answer, DAY)
    assert (row.what, row.goal, row.value) == ("w", "≤ 10", None)
    assert row.problem == "not available: no wheels"
    assert (row.peer, row.ratio) == (None, None)


def test_every_figure_has_a_row_and_one_that_crashes_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_one(name: str, *, with_peer: bool) -> dict[str, object]:
        return whole.silent("ended with 70: oh") if name == "b" else ANSWER

    monkeypatch.setattr(whole, "MODULES", {"a": "", "b": "", "c": ""})
    monkeypatch.setattr(whole, "run_one", run_one)
    shown: list[Row] = []
    rows = whole.run_all(with_peers=True, report=shown.append, today=DAY)
    assert rows == shown
    assert [row.value for row in rows] == [8.0, None, 8.0]
    assert rows[1].problem == "not available: ended with 70: oh"


def test_one_figure_is_run_by_the_command_itself() -> None:
    name = next(iter(figures.MODULES)) + "-not"
    answer = whole.run_one(name, with_peer=False)
    assert answer["errors"][0]["code"] == "bench.unknown"
