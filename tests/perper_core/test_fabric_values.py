"""Values: what goes in comes out, and nothing else is taken for a value."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perper_core.errors import FabricError, Invalid, TooLarge
from perper_core.values import Record, Value, decode_value, encode_value

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.binary(max_size=20),
    st.uuids(),
    st.datetimes(timezones=st.just(UTC)),
    st.decimals(allow_nan=False, allow_infinity=False),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda values: st.one_of(
        st.lists(values, max_size=4),
        st.dictionaries(SCALARS, values, max_size=4),
        st.builds(Record, TEXTS, st.dictionaries(TEXTS, values, max_size=3)),
    ),
    max_leaves=20,
)


@given(VALUES)
def test_round_trip(value: Value) -> None:
    again = decode_value(encode_value(value))
    assert again == value
    assert encode_value(again) == encode_value(value)


def types_of(value: Value) -> list[type]:
    found: list[type] = [type(value)]
    if isinstance(value, list):
        for element in value:
            found += types_of(element)
    return found


def test_types_are_kept_apart() -> None:
    value: Value = [1, 1.0, True, "1", b"1", Decimal(1), UUID(int=1), None]
    assert types_of(decode_value(encode_value(value))) == types_of(value)


def test_documented_bytes() -> None:
    """Vectors: the encoding is stored, so it does not change unnoticed."""
    moment = datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)
    for value, raw in [
        (None, "6e"),
        (True, "74"),
        (False, "66"),
        (-2, "69fffffffffffffffe"),
        (1.5, "643ff8000000000000"),
        ("é", "7300000002c3a9"),
        (b"\0\1", "62000000020001"),
        (UUID(int=1), "7500000000000000000000000000000001"),
        (moment, "5400000000000f4245"),
        (Decimal("-1.20"), "44000000052d312e3230"),
        ([1], "6c00000001690000000000000001"),
        ({"a": None}, "6d000000017300000001616e"),
        (Record("P", {"x": True}), "7200000001500000000173000000017874"),
    ]:
        assert encode_value(value).hex() == raw  # type: ignore[arg-type]
        assert decode_value(bytes.fromhex(raw)) == value


@given(st.binary(max_size=60))
def test_garbage_is_refused_with_a_typed_error(raw: bytes) -> None:
    try:
        value = decode_value(raw)
    except FabricError:
        return
    assert encode_value(value)


@given(VALUES, st.data())
def test_truncation_is_refused(value: Value, data: st.DataObject) -> None:
    raw = encode_value(value)
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(Invalid):
        decode_value(raw[:cut])
    with pytest.raises(Invalid):
        decode_value(raw + b"n")


@pytest.mark.parametrize(
    "value",
    [1 << 63, object(), {1, 2}, datetime(2026, 1, 1), Decimal("NaN"), "\ud800", {(1,): 2}],  # noqa: DTZ001
    ids=lambda value: type(value).__name__,
)
def test_foreign_types(value: Value) -> None:
    with pytest.raises(Invalid):
        encode_value(value)


def test_count_beyond_the_bytes_allocates_nothing() -> None:
    with pytest.raises(Invalid):
        decode_value(b"l" + b"\xff\xff\xff\xff")


def test_depth_is_bounded_both_ways() -> None:
    raw = b"l\0\0\0\1" * 40 + b"n"
    with pytest.raises(TooLarge):
        decode_value(raw)


def test_a_map_key_comes_once() -> None:
    with pytest.raises(Invalid):
        decode_value(b"m\0\0\0\2" + b"nn" * 2)
