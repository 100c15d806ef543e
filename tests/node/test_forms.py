"""Typed values at the edges: text and JSON to canonical values and back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.encoding import decode, encode
from consensus.ids import account_text, hash_text, id_of_hash, id_text
from node.errors import MessageInvalid
from node.forms import (
    Edge,
    Misfit,
    base64_bytes,
    form,
    json_bytes,
    json_value,
    read_address,
    read_named,
)
from node.sdk.fields import Address, Reference, field_type

EDGE = Edge(read_address, hash_text)
KEY = bytes(range(32))
CHAIN = id_of_hash(bytes(32))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "5", 5),
        ("int", "-7", -7),
        ("int", "1_000", 1000),
        ("int", str(2**63), [1, (2**63).to_bytes(8, "big")]),
        ("int", str(-(2**200)), [-1, (2**200).to_bytes(26, "big")]),
        ("bool", "true", True),
        ("bool", "No", False),
        ("str", "5", "5"),
        ("str", "null", "null"),
        ("bytes", "0x00ff", b"\x00\xff"),
        ("None", "null", None),
        ("int | None", "null", None),
        ("int | None", "3", 3),
        ("Address", account_text(KEY), KEY),
        ("Address", hash_text(KEY), KEY),
        ("list[int]", '[1, "2"]', [1, 2]),
        ("tuple[int, str]", '[1, "x"]', [1, "x"]),
        ("dict[str, int]", '{"a": 1}', [["a", 1]]),
        ("dict[int, list[bool]]", '{"7": [true]}', [[7, [True]]]),
        ("Reference", hash_text(KEY), [None, KEY, None]),
        ("Reference", f"{id_text(CHAIN)}/{hash_text(KEY)}#{hash_text(KEY)}", [CHAIN, KEY, KEY]),
        ("Move", '[1, {"/": {"bytes": "AAE"}}]', [1, b"\x00\x01"]),
    ],
)
def test_text_becomes_a_value_and_text_again(kind: str, text: str, value: Any) -> None:
    found = form(kind, EDGE)
    assert found.parse(text) == value
    assert found.parse(found.text(value)) == value
    assert found.read(json.loads(json.dumps(found.show(value)))) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", ""),
        ("int", "1.5"),
        ("int", "x"),
        ("int", "٣"),
        ("int", "9" * 100),
        ("int", str(2**256)),
        ("bool", "maybe"),
        ("bytes", "00"),
        ("bytes", "0xz"),
        ("None", "0"),
        ("Address", "bob"),
        ("Address", "apx1abc"),
        ("list[int]", "1"),
        ("list[int]", "[true]"),
        ("list[int]", "[1.5]"),
        ("list[int]", "{"),
        ("tuple[int, str]", "[1]"),
        ("dict[str, int]", "[]"),
        ("Reference", "x/y"),
        ("Move", "1.5"),
        ("Move", '{"a": 1}'),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, text: str) -> None:
    with pytest.raises(Misfit, match="expected"):
        form(kind, EDGE).parse(text)


ANNOTATIONS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers(-(2**255), 2**255)),
    (bool, st.booleans()),
    (str, st.text(st.characters(codec="ascii"))),
    (bytes, st.binary(max_size=40)),
    (int | None, st.none() | st.integers()),
    (Address, st.binary(min_size=32, max_size=32).map(Address)),
    (list[int], st.lists(st.integers(-(2**70), 2**70))),
    (dict[str, int], st.dictionaries(st.text(st.characters(codec="ascii")), st.integers())),
    (dict[int, bytes], st.dictionaries(st.integers(-(2**70), 2**70), st.binary())),
    (tuple[int, str], st.tuples(st.integers(), st.text(st.characters(codec="ascii")))),
    (
        Reference,
        st.binary(min_size=32, max_size=32).map(lambda raw: Reference(Address(raw))),
    ),
]


@pytest.mark.parametrize("index", range(len(ANNOTATIONS)))
@given(data=st.data())
def test_forms_agree_with_the_types_of_agents(index: int, data: st.DataObject) -> None:
    """The type text of an agent's field leads to the encoding that its type has."""
    annotation, values = ANNOTATIONS[index]
    kind = field_type(annotation)
    value = data.draw(values.filter(lambda v: not isinstance(v, int) or abs(v) < 2**255))
    canonical = kind.to_value(value)
    canonical = decode(encode(canonical), max_bytes=2**20)
    edge = form(kind.name, EDGE)
    assert edge.name == kind.name
    assert edge.read(json.loads(json.dumps(edge.show(canonical)))) == canonical
    assert edge.parse(edge.text(canonical)) == canonical


def test_json_of_any_value() -> None:
    value = {"n": 2**60, "b": b"\x01", "l": [None, True, 2**53 - 1, -(2**53)]}
    assert json_value(value) == {
        "n": str(2**60),
        "b": {"/": {"bytes": "AQ"}},
        "l": [None, True, 2**53 - 1, str(-(2**53))],
    }
    assert base64_bytes("AQ") == base64_bytes("AQ==") == b"\x01"
    assert json_bytes(b"") == {"/": {"bytes": ""}}


@pytest.mark.parametrize(
    ("given_text", "cause"),
    [
        (
            {"amout": "1"},
            r"no 'amout' \(did you mean amount\?\); it takes to: Address",
        ),
        ({"amount": "x"}, "amount=x: expected a whole number"),
    ],
)
def test_named_arguments_are_checked(given_text: dict[str, str], cause: str) -> None:
    with pytest.raises(MessageInvalid, match=cause):
        read_named(given_text, {"to": "Address", "amount": "int"}, EDGE, what="message Transfer")
