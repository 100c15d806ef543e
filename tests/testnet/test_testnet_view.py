"""What people see: the board, its lines and table, and logs."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from node.cli.output import Output
from node.errors import NotFound
from testnet.board import Board
from testnet.driver import Asked, prepare
from testnet.folder import Member
from testnet.limits import TAIL_BYTES_MAX
from testnet.logs import show
from testnet.view import COLUMNS, cells, drawable, line, table

STATUS = {
    "height": 7,
    "known_height": 7,
    "catching_up": False,
    "slots": 150,
    "peers": 3,
    "settle_ms": 41,
    "deciding": {"preference": "bafyreiabcdefgh", "streak": 3},
}

BEHIND = {"known_height": 1_235_566, "catching_up": True}


def board() -> Board:
    states = {"n1": "ready", "n2": "paused"}
    return Board([Member("n1", "apx1"), Member("n2", "apx1")], states.__getitem__)


def test_a_row_shows_what_is_known() -> None:
    found = board()
    found.told("n1", STATUS)
    row = cells(found.rows["n1"], 0.0)
    assert row == (
        "n1", "ready", "7", "150", "…abcdefgh", "▮▮▮", "41 ms", "3", "0.0",
    )  # fmt: skip
    assert len(row) == len(COLUMNS)
    assert cells(found.rows["n2"], 0.0)[1:5] == ("paused", "0", "-", "-")


def test_one_that_catches_up_says_how_far_it_is_behind() -> None:
    found = board()
    found.told("n1", {**STATUS, "known_height": 1_207, "catching_up": True})
    assert cells(found.rows["n1"], 0.0)[1] == "behind 1,200"
    assert line(found).startswith("n1 7 behind 1,200 · ")
    found.told("n1", STATUS)
    assert cells(found.rows["n1"], 0.0)[1] == "ready"


def test_the_table_fits_a_narrow_terminal() -> None:
    found = board()
    found.told("n1", {**STATUS, "height": 1_234_567, "settle_ms": 12_345, **BEHIND})
    screen = io.StringIO()
    Console(file=screen, width=80, force_terminal=True, color_system=None).print(table(found, "t"))
    shown = screen.getvalue()
    assert "1,234,567" in shown
    assert "12345 ms" in shown
    assert all(name in shown for name in COLUMNS)
    assert "paused" in shown
    assert "behind 999" in shown


def test_blocks_raise_height_and_rate() -> None:
    found = board()
    for height in (1, 2):
        found.heard("n1", {"height": height, "messages": 10, "chain_inputs": 5})
    assert found.heights == (2, 0)
    assert found.rate() == pytest.approx(6.0)
    assert line(found) == "n1 2 · n2 0 paused · 6.0 messages/s"
    last = found.rows["n1"].recent[-1][0]
    assert found.rows["n1"].rate(last + 6) == 0


def test_no_table_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("CI", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert drawable(Output(stdout=Terminal()))
    assert not drawable(Output(stdout=io.StringIO()))
    assert not drawable(Output(stdout=Terminal(), json=True))
    monkeypatch.setenv("NO_COLOR", "")
    assert not drawable(Output(stdout=Terminal()))
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("CI", "true")
    assert not drawable(Output(stdout=Terminal()))


# ---- logs ----------------------------------------------------------------------------------------


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """n1 has three lines and the start of a fourth."""
    monkeypatch.setenv("APOCRYPH_HOME", str(tmp_path))
    folder, _ = prepare(Asked(name="t", validators=2))
    path = folder.node_log_path("n1")
    path.write_text("one\ntwo\nthree\nfou")
    return path


def said(node: str | None, lines: int, *, as_json: bool = False) -> list[str]:
    output = Output(json=as_json, stdout=io.StringIO(), stderr=io.StringIO())
    show("t", node, output, lines=lines, follow=False)
    assert isinstance(output.stdout, io.StringIO)
    return output.stdout.getvalue().splitlines()


def test_the_newest_whole_lines(logged: Path) -> None:
    assert said(None, 2) == ["n1 | two", "n1 | three"]
    assert said("n1", 0) == []
    assert said("n2", 5) == []
    found = [json.loads(text) for text in said("n1", 9, as_json=True)]
    assert [one["line"] for one in found] == ["one", "two", "three"]
    assert [one["cursor"] for one in found] == ["n1:4", "n1:8", "n1:14"]
    with pytest.raises(NotFound, match="did you mean n2"):
        said("n22", 1)


def test_only_the_end_of_a_long_log_is_read(logged: Path) -> None:
    rows = TAIL_BYTES_MAX // 10 + 100
    logged.write_text("".join([f"{number:09}\n" for number in range(rows)]))
    assert said("n1", 1) == [f"n1 | {rows - 1:09}"]
    assert len(said("n1", rows)) == TAIL_BYTES_MAX // 10
