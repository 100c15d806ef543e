"""Declared types: one encoding per value, checked both ways (execution §2, §3)."""

from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.encoding import decode, encode
from node.sdk.fields import Address, AgentError, FieldError, Reference, field_type
from node.sdk.shapes import message, record

KEY = bytes(range(32))


@record
class Point:
    x: int
    label: str = "here"


@record
class Line:
    ends: list[Point]
    name: str | None = None


@message
class Sent:
    x: int


VALUES = [
    (bool, True, True),
    (int, 0, 0),
    (int, -(2**63), -(2**63)),
    (int, 2**63, [1, b"\x80" + bytes(7)]),
    (int, -(2**63) - 1, [-1, b"\x80" + bytes(6) + b"\x01"]),
    (int, 2**256 - 1, [1, b"\xff" * 32]),
    (str, "é", "é"),
    (bytes, b"x", b"x"),
    (None, None, None),
    (int | None, None, None),
    (Optional[int], 3, 3),  # noqa: UP045  both spellings are Python
    (list[int], [1, 2], [1, 2]),
    (dict[str, int], {"b": 1, "a": 2}, [["b", 1], ["a", 2]]),
    (dict[Address, bool], {Address(KEY): True}, [[KEY, True]]),
    (dict[int, list[str]], {2**64: ["x"]}, [[[1, b"\x01" + bytes(8)], ["x"]]]),
    (tuple[int, str], (1, "x"), [1, "x"]),
    (Address, Address(KEY), KEY),
    (Reference, Reference(Address(KEY)), [None, KEY, None]),
    (Reference, Reference(Address(KEY), bytes(36), KEY), [bytes(36), KEY, KEY]),
    (Point, Point(x=1), [1, "here"]),
    (Line, Line(ends=[Point(x=1), Point(x=2, label="b")]), [[[1, "here"], [2, "b"]], None]),
]


@pytest.mark.parametrize(("annotation", "value", "encoded"), VALUES)
def test_a_value_and_its_encoding(annotation, value, encoded):
    declared = field_type(annotation)
    assert declared.to_value(value) == encoded
    assert declared.from_value(encoded) == value
    raw = encode(declared.to_value(value))
    assert declared.from_value(decode(raw, max_bytes=1000)) == value


NOT_OF_TYPE = [
    (int, True),
    (int, 1.0),
    (int, "1"),
    (int, 2**256),
    (bool, 1),
    (str, b"x"),
    (bytes, "x"),
    (bytes, bytearray(b"x")),
    (None, 0),
    (int | None, "x"),
    (list[int], (1,)),
    (list[int], ["x"]),
    (dict[str, int], {1: 1}),
    (dict[str, int], [["a", 1]]),
    (tuple[int, str], (1,)),
    (tuple[int, str], [1, "x"]),
    (Address, KEY),
    (Reference, Address(KEY)),
    (Reference, Reference(KEY)),
    (Reference, Reference(Address(KEY), bytes(35))),
    (Point, Line(ends=[])),
    (Point, {"x": 1}),
    (Point, Point(x="1")),
]


@pytest.mark.parametrize(("annotation", "value"), NOT_OF_TYPE)
def test_what_may_not_be_stored(annotation, value):
    with pytest.raises(FieldError):
        field_type(annotation).to_value(value)


NOT_AN_ENCODING = [
    (int, [1, b"\x01"]),
    (int, [1, b"\x00\x80" + bytes(7)]),
    (int, [0, b"\x80" + bytes(7)]),
    (int, [True, b"\x80" + bytes(7)]),
    (int, [1, b"\x01" + bytes(32)]),
    (int, [1]),
    (int, 2**63),
    (int, False),
    (bool, 0),
    (list[int], {"a": 1}),
    (dict[str, int], {"a": 1}),
    (dict[str, int], [["a", 1], ["a", 2]]),
    (dict[str, int], [["a"]]),
    (tuple[int, str], [1, "x", 2]),
    (Address, bytes(31)),
    (Address, "x"),
    (Reference, [None, KEY]),
    (Reference, [bytes(3), KEY, None]),
    (Reference, [None, bytes(31), None]),
    (Point, [1]),
    (Point, [1, 2]),
    (Point, {"x": 1}),
]


@pytest.mark.parametrize(("annotation", "encoded"), NOT_AN_ENCODING)
def test_what_may_not_be_loaded(annotation, encoded):
    with pytest.raises(FieldError):
        field_type(annotation).from_value(encoded)


@pytest.mark.parametrize(
    "annotation",
    [
        Any,
        float,
        list,
        dict,
        set[int],
        object,
        int | str,
        int | str | None,
        dict[bool, int],
        dict[tuple[int, int], int],
        tuple[int, ...],
        list[float],
        Sent,
        "int",
    ],
)
def test_what_the_language_does_not_have(annotation):
    with pytest.raises(AgentError):
        field_type(annotation)


@given(st.integers(-(2**256) + 1, 2**256 - 1))
def test_every_int_has_one_encoding(number):
    declared = field_type(int)
    value = declared.to_value(number)
    assert declared.from_value(value) == number
    assert (type(value) is int) == (-(2**63) <= number < 2**63)


def test_copies_share_nothing():
    declared = field_type(list[list[int]])
    value = [[1], [2]]
    copy = declared.copy(value)
    copy[0].append(5)
    assert value == [[1], [2]]


def test_a_list_within_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(FieldError):
        field_type(list[list[int]]).to_value(loop)


@pytest.mark.parametrize("raw", [bytes(31), bytes(33), "x" * 32, None])
def test_an_address_has_32_bytes(raw):
    with pytest.raises(FieldError):
        Address(raw)
