"""The pure rules of a session: nonces, parts, frames, windows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perper_core.errors import Exhausted, Invalid
from perper_core.ports import Producer
from perper_core.wire import frames as f
from perper_core.wire.limits import (
    COMMANDS_OPEN_MAX,
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    ITEM_WEIGHT,
    PARTS_BYTES_MAX,
)
from perper_core.wire.session import (
    Admission,
    CommandBook,
    Outbox,
    Parts,
    ReplyBook,
    Returns,
    Window,
    repeatable,
    split_append,
    weight,
)

GET = f.Get("s", "k")
PUT = f.Put("s", "k", 1, -1, None)


def append(*items: bytes, keys: tuple[int, ...] = (), producer: Producer | None = None) -> f.Append:
    return f.Append("s", items, keys, (), None, producer, None, True, False)


def test_what_may_be_repeated() -> None:
    assert repeatable(GET)
    assert not repeatable(PUT)
    assert not repeatable(append(b"a"))
    assert repeatable(append(b"a", keys=(1,)))
    assert repeatable(append(b"a", producer=Producer("w", 1)))
    assert repeatable(f.Finish("e", 1, None))
    assert not repeatable(f.CancelExecution("e", ""))


# ------------------------------------------------------------------ client


def test_open_commands_go_again_in_order() -> None:
    book = CommandBook()
    nonces = [book.open(op) for op in (GET, PUT, GET)]
    assert book.answer(nonces[1])
    assert [nonce for nonce, _ in book.unanswered()] == [nonces[0], nonces[2]]
    assert not book.answer(nonces[1])  # a second answer is nobody's


def test_only_what_the_server_remembers_is_confirmed() -> None:
    book = CommandBook()
    get, put = book.open(GET), book.open(PUT)
    book.answer(get)
    book.answer(put)
    assert book.take_received() == [put]
    assert book.take_received() == []


def test_a_lost_session_leaves_sent_unrepeatable_commands_unknown() -> None:
    book = CommandBook()
    get, put, unsent = book.open(GET), book.open(PUT), book.open(PUT)
    book.mark_sent(get)
    book.mark_sent(put)
    assert book.lose_session() == [put]
    assert book.was_sent(put)
    assert not book.was_sent(unsent)


# ------------------------------------------------------------------ server


def test_a_nonce_is_done_once() -> None:
    book = ReplyBook()
    assert book.admit(1) is Admission.NEW
    assert book.admit(1) is Admission.RUNNING
    book.settle(1, b"reply")
    assert book.admit(1) is Admission.ANSWERED
    assert book.reply(1) == b"reply"
    book.confirm([1, 99])
    assert len(book) == 0


def test_repeatable_replies_are_not_kept() -> None:
    book = ReplyBook()
    book.admit(1)
    book.settle(1, None)
    assert book.admit(1) is Admission.NEW


def test_a_returning_client_keeps_what_it_waits_for() -> None:
    book = ReplyBook()
    for nonce in (1, 2, 3):
        book.admit(nonce)
    book.settle(1, b"a")
    book.settle(2, b"b")
    book.keep([2])
    assert book.admit(2) is Admission.ANSWERED
    assert book.admit(3) is Admission.RUNNING  # it runs whoever waits
    assert len(book) == 2


def test_open_commands_are_bounded() -> None:
    book = ReplyBook()
    for nonce in range(1, COMMANDS_OPEN_MAX + 1):
        book.admit(nonce)
    with pytest.raises(Exhausted):
        book.admit(COMMANDS_OPEN_MAX + 1)
    book.settle(1, b"x")
    book.confirm([1])
    assert book.admit(COMMANDS_OPEN_MAX + 1) is Admission.NEW


# ------------------------------------------------------------------ parts


@given(
    st.lists(st.integers(0, FRAME_BYTES_MAX // 2), max_size=20),
    st.booleans(),
)
def test_parts_put_together_are_the_append(sizes: list[int], keyed: bool) -> None:
    items = [bytes([index]) * size for index, size in enumerate(sizes)]
    keys = tuple(range(len(items))) if keyed else ()
    whole = append(*items, keys=keys)
    parts = split_append(whole)
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    for part in parts:
        size = sum(map(len, part.items))
        assert len(part.items) <= 1 or size <= FRAME_BYTES_MAX
    server = Parts()
    results = [server.add(4, part) for part in parts]
    assert results[:-1] == [None] * (len(parts) - 1)
    last = results[-1]
    assert last is not None
    assert (list(last.items), list(last.keys)) == (items, list(keys))


def test_many_items_are_split() -> None:
    parts = split_append(append(*[b"x"] * 1200))
    assert [len(part.items) for part in parts] == [FRAME_ITEMS_MAX, FRAME_ITEMS_MAX, 176]


def test_unfinished_parts_are_bounded_and_forgotten() -> None:
    parts = Parts()
    piece = append(b"x" * (PARTS_BYTES_MAX // 2))._replace(more=True)
    parts.add(1, piece)
    with pytest.raises(Exhausted):
        parts.add(2, piece)
    assert parts.clear() == [1]
    assert parts.add(2, piece) is None


# ------------------------------------------------------------------ frames and windows


@given(st.lists(st.tuples(st.integers(0, FRAME_BYTES_MAX), st.integers(1, FRAME_ITEMS_MAX))))
def test_frames_hold_their_bounds_and_order(parts: list[tuple[int, int]]) -> None:
    box = Outbox()
    raws = [bytes(size) for size, _ in parts]
    for raw, (_, items) in zip(raws, parts, strict=True):
        box.add(raw, items)
    out: list[bytes] = []
    while frame := box.next_frame():
        if len(frame) > 1:
            assert sum(map(len, frame)) <= FRAME_BYTES_MAX
            assert sum(items for _, items in parts[len(out) : len(out) + len(frame)]) <= (
                FRAME_ITEMS_MAX
            )
        out += frame
    assert out == raws
    assert box.bytes == 0


def test_a_window_closes_and_opens() -> None:
    opened: list[bool] = []
    window = Window(100, lambda: opened.append(True))
    window.spend(150)  # the last batch may be larger than the room
    assert not window.is_open
    window.grant(50)
    assert not opened
    window.grant(1)
    assert opened == [True]
    with pytest.raises(Invalid):
        window.grant(0)


def test_credit_is_returned_in_quarters() -> None:
    returns = Returns(100)
    assert [returns.consume(10) for _ in range(5)] == [0, 0, 30, 0, 0]
    assert weight([b"abc", b""]) == 3 + 2 * ITEM_WEIGHT
