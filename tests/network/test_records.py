"""Canonical records: one spelling for each, everything else refused."""

from __future__ import annotations

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.errors import RemoteError
from network.records import DEPTH_MAX, INT_MAX, Item, decode, encode

TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1)
ITEMS = st.recursive(
    st.integers(0, INT_MAX) | st.binary() | TEXT,
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)


def depth(item: Item) -> int:
    return 1 + max(map(depth, item), default=0) if isinstance(item, tuple) else 0


def as_lists(item: Item) -> object:
    return [as_lists(inner) for inner in item] if isinstance(item, tuple) else item


@given(st.lists(ITEMS, max_size=6).map(tuple))
def test_records_come_back_and_are_dag_cbor(record: tuple[Item, ...]) -> None:
    raw = encode(record)
    assert raw == dag_cbor.encode(as_lists(record))  # type: ignore[arg-type]
    if depth(record) <= DEPTH_MAX:
        assert decode(raw) == record
    else:
        with pytest.raises(RemoteError, match="deep"):
            decode(raw)


@given(st.binary(max_size=40))
def test_whatever_is_accepted_is_canonical(raw: bytes) -> None:
    try:
        record = decode(raw)
    except RemoteError:
        return
    assert encode(record) == raw


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"", "cut off"),
        (b"\x01", "no list"),
        (b"\x80\x00", "after"),
        (b"\x81\x18\x17", "shortest"),
        (b"\x81\x19\x00\xff", "shortest"),
        (b"\x81\x1a\x00\x00\xff\xff", "shortest"),
        (b"\x81\x1b\x00\x00\x00\x00\xff\xff\xff\xff", "shortest"),
        (b"\x9f\xff", "indefinite"),
        (b"\x81\x20", "type"),
        (b"\x81\xa0", "type"),
        (b"\x81\xf6", "type"),
        (b"\x81\xfb" + bytes(8), "type|shortest"),
        (b"\x81\x60", "printable"),
        (b"\x81\x61\x00", "printable"),
        (b"\x81\x62\xc3\xa9", "printable"),
        (b"\x82\x01", "cut off"),
        (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "cut off"),
        (b"\x81\x5b\xff\xff\xff\xff\xff\xff\xff\xff", "cut off"),
        (b"\x81\x81\x81\x81\x81\x81\x00", "deep"),
    ],
)
def test_refused(raw: bytes, cause: str) -> None:
    with pytest.raises(RemoteError, match=cause):
        decode(raw)
