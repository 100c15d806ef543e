"""The table of codes, the classes that name its rows, explain."""

import pytest

from node import errors
from node.codes import CODES, Exit
from node.errors import NodeError, NotFound, explain, suggestion


def classes(root: type[NodeError] = NodeError) -> list[type[NodeError]]:
    found = [root]
    for kind in root.__subclasses__():
        found += classes(kind)
    return found


MINE = [kind for kind in classes() if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", MINE, ids=lambda kind: kind.__name__)
def test_every_error_has_a_row_and_speaks_in_one_line(kind: type[NodeError]) -> None:
    error = kind("the cause")
    assert str(error) == error.cause == "the cause"
    assert error.row is CODES[kind.code]
    assert (error.exit, error.hint, error.retryable) == (
        error.row.exit,
        error.row.hint,
        error.row.retryable,
    )
    assert kind("x", hint="do that").hint == "do that"


def test_every_row_is_used_and_complete() -> None:
    used = {kind.code for kind in MINE}
    assert used == set(CODES)
    for row in CODES.values():
        assert row.exit is not Exit.OK
        assert row.hint and row.text and "\n" not in row.hint


@pytest.mark.parametrize("word", ["delete", "remove", " rm ", "erase", "wipe"])
def test_no_text_ever_asks_to_delete_data(word: str) -> None:
    for row in CODES.values():
        assert word not in (row.hint + row.text).lower()


def test_explain_tells_exit_text_and_hint() -> None:
    told = explain("store_full")
    assert told.startswith("store_full (exit 7; the same command may work later)")
    assert CODES["store_full"].text in told and CODES["store_full"].hint in told
    with pytest.raises(NotFound, match=r"did you mean store_full\?"):
        explain("stor_full")


def test_a_suggestion_is_the_nearest_word_or_nothing() -> None:
    assert suggestion("lisen", ("listen", "peers")) == " (did you mean listen?)"
    assert suggestion("zzz", ("listen", "peers")) == ""
