"""States and overlays against a plain sorted dictionary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.state import MemoryState, Overlay

KEYS = st.binary(max_size=3) | st.sampled_from(
    [b"a/1", b"a/2", b"a\xff", b"a\xff\xff", b"\xff\xff"]
)
VALUES = st.binary(max_size=2)
CHANGES = st.dictionaries(KEYS, st.none() | VALUES, max_size=25)
SCANS = st.tuples(
    st.sampled_from([b"", b"a", b"a/", b"a\xff", b"\xff", b"\xff\xff", b"\x00"]) | KEYS,
    st.just(b"") | KEYS,
    st.integers(0, 12),
)


def merged(values, *layers):
    result = dict(values)
    for changes in layers:
        result |= changes
    return {key: value for key, value in result.items() if value is not None}


def expected_scan(values, prefix, after, limit):
    keys = [key for key in sorted(values) if key.startswith(prefix) and key > after]
    if b"" in values and prefix == after == b"":
        assert b"" not in keys  # the empty key is behind no key
    return [(key, values[key]) for key in keys][:limit]


@given(st.dictionaries(KEYS.filter(bool), VALUES), st.lists(CHANGES, max_size=3), st.lists(SCANS))
def test_overlays_read_like_one_dictionary(base, layers, scans):
    layers = [{key: item for key, item in layer.items() if key} for layer in layers]
    state = MemoryState(base)
    for changes in layers:
        state = Overlay(state)
        for key, value in changes.items():
            state.put(key, value)
            assert state.get(key) == value
    values = merged(base, *layers)
    assert {key: state.get(key) for key in values} == values
    for prefix, after, limit in scans:
        assert state.scan(prefix, after, limit) == expected_scan(values, prefix, after, limit)


@given(st.dictionaries(KEYS.filter(bool), VALUES), CHANGES, CHANGES, st.lists(SCANS, max_size=4))
def test_a_memory_state_takes_over_changes(base, first, second, scans):
    first.pop(b"", None)
    second.pop(b"", None)
    state = MemoryState(base)
    for changes in (first, second):
        state.apply(changes)
        for prefix, after, limit in scans:
            state.scan(prefix, after, limit)
    values = merged(base, first, second)
    assert state.items() == sorted(values.items())
    for prefix, after, limit in scans:
        assert state.scan(prefix, after, limit) == expected_scan(values, prefix, after, limit)


def test_scans_go_on_where_they_ended():
    state = Overlay(MemoryState({b"k%02d" % number: b"" for number in range(0, 60, 2)}))
    for number in range(1, 60, 2):
        state.put(b"k%02d" % number, b"")
    state.put(b"k10", None)
    found, after = [], b""
    while page := state.scan(b"k", after, 7):
        found += page
        after = page[-1][0]
    assert [key for key, _ in found] == [b"k%02d" % number for number in range(60) if number != 10]


def test_many_new_keys_between_scans_keep_the_order():
    state = Overlay(MemoryState())
    for number in (5, 3, 9, *range(100, 140), 1):
        state.put(b"%03d" % number, b"")
        if number in (9, 110):
            assert state.scan(b"") == sorted(state.changes.items())
    assert [key for key, _ in state.scan(b"")] == sorted(state.changes)


def test_the_base_stays_as_it_was():
    base = MemoryState({b"a": b"1"})
    overlay = Overlay(base, {b"a": None, b"b": b"2"})
    assert overlay.get(b"a") is None and base.get(b"a") == b"1"
    assert overlay.changes == {b"a": None, b"b": b"2"}
    assert base.items() == [(b"a", b"1")]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_page_of_removed_keys_is_not_the_end(limit):
    base = MemoryState({b"o/%d" % number: b"x" for number in range(6)})
    overlay = Overlay(base)
    for gone in range(5):
        overlay.put(b"o/%d" % gone, None)
    assert overlay.scan(b"o/", limit=limit) == [(b"o/5", b"x")]
    overlay.put(b"o/5", None)
    assert overlay.scan(b"o/", limit=limit) == []


@given(
    st.dictionaries(st.integers(0, 9), st.just(b"0"), max_size=10),
    st.dictionaries(st.integers(0, 9), st.none() | st.just(b"1"), max_size=10),
    st.integers(0, 11),
)
def test_crowded_scans(base, changes, limit):
    base = {b"k%d" % number: value for number, value in base.items()}
    changes = {b"k%d" % number: value for number, value in changes.items()}
    found = Overlay(MemoryState(base), changes).scan(b"k", limit=limit)
    assert found == expected_scan(merged(base, changes), b"k", b"", limit)
