"""Canonical DAG-CBOR against dag-cbor, an independent pure-Python library (protocol §2)."""

import hashlib
import unicodedata

import dag_cbor
import libipld
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.encoding import (
    BOOL,
    DEPTH_MAX,
    HASH,
    ID,
    UINT,
    VALUE,
    H,
    Schema,
    blob,
    decode,
    encode,
    head,
    list_of,
    optional,
    row,
    text,
    without_signature,
)
from consensus.errors import EncodingError
from consensus.ids import content_id
from tests.vectors.refused import NOT_CANONICAL

BOUND = 1 << 16
INTS = st.integers(-(2**64), 2**64 - 1)
TEXTS = st.text(max_size=40).map(lambda text: unicodedata.normalize("NFC", text))
SCALARS = st.none() | st.booleans() | INTS | st.binary(max_size=80) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=20,
)


def depth_of(value) -> int:
    items = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth_of, items), default=0) if isinstance(value, dict | list) else 0


@given(VALUES.filter(lambda value: depth_of(value) <= DEPTH_MAX))
def test_the_encoder_writes_what_dag_cbor_writes_and_the_decoder_reads_it(value):
    raw = encode(value)
    assert raw == dag_cbor.encode(value)
    assert decode(raw, max_bytes=BOUND) == value


@given(st.binary(max_size=60))
def test_bytes_that_are_taken_are_the_one_encoding_of_what_they_say(raw):
    try:
        value = decode(raw, max_bytes=BOUND)
    except EncodingError:
        return
    assert dag_cbor.encode(value) == raw


@given(VALUES.filter(lambda value: depth_of(value) <= DEPTH_MAX), st.data())
def test_no_second_encoding_of_a_value_is_taken(value, data):
    raw = bytearray(encode(value))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(raw), max_bytes=BOUND)
    except EncodingError:
        return
    # True == 1 in Python, so equality alone would not tell two values apart.
    assert dag_cbor.encode(other) == bytes(raw) != dag_cbor.encode(value)


@pytest.mark.parametrize("raw", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_what_is_not_canonical_is_refused(raw):
    with pytest.raises(EncodingError):
        decode(bytes.fromhex(raw), max_bytes=BOUND)
    with pytest.raises(EncodingError):  # also where it is a part of something good
        decode(b"\x82\x00" + bytes.fromhex(raw), max_bytes=BOUND)


def test_links_are_refused_everywhere():
    link = b"\xd8\x2a\x58\x25\x00" + content_id(b"anything")
    assert libipld.decode_dag_cbor(link) == content_id(b"anything")  # the library takes it
    for raw in (link, b"\x81" + link, b"\xa1\x61a" + link):
        with pytest.raises(EncodingError, match="not canonical"):
            decode(raw, max_bytes=BOUND)
    with pytest.raises(EncodingError):
        _RECORD.decode(_RECORD.encode(FIELDS).replace(ID.write(FIELDS[0]), link))


def test_byte_strings_that_parse_as_a_cid_stay_byte_strings():
    # libipld's encoder turns such bytes into links; any signature may happen to be one.
    looks_like_cids = [content_id(b"x"), b"\x12\x20" + bytes(32), b"\x01\x00\x00\x00"]
    for number in range(2000):
        digest = hashlib.sha256(b"%d" % number).digest()
        looks_like_cids.append(digest[:2] + digest + digest[:30])
    changed = 0
    for raw in looks_like_cids:
        assert encode(raw) == dag_cbor.encode(raw)
        assert decode(encode(raw), max_bytes=BOUND) == raw
        changed += libipld.encode_dag_cbor(raw) != encode(raw)
    assert changed > 1, "the trap is gone from libipld: this test can go too"


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x61a"], ids=["lists", "maps"])
def test_depth_is_bounded(opening):
    deepest = opening * DEPTH_MAX + b"\x00"
    assert encode(decode(deepest, max_bytes=BOUND)) == deepest
    for depth in (DEPTH_MAX + 1, 1_000, 100_000, 1_000_000):
        raw = opening * depth + b"\x00"
        with pytest.raises(EncodingError):
            decode(raw, max_bytes=len(raw))
    value = None
    for _ in range(DEPTH_MAX + 1):
        value = [value]
    with pytest.raises(EncodingError, match="deeper"):
        encode(value)


@pytest.mark.parametrize("major", [2, 3, 4, 5])
def test_a_length_beyond_the_bytes_costs_nothing(major):
    for number in (2**16, 2**31, 2**32, 2**63, 2**64 - 1):
        with pytest.raises(EncodingError):
            decode(head(major, number) + b"\x00", max_bytes=BOUND)


def test_size_is_judged_before_the_bytes():
    raw = encode(bytes(100))
    assert decode(raw, max_bytes=len(raw)) == bytes(100)
    with pytest.raises(EncodingError, match="at most 101"):
        decode(b"\xff" * 102, max_bytes=101)


@pytest.mark.parametrize(
    "value",
    [1.0, 2**64, -(2**64) - 1, {1, 2}, {1: 2}, {b"a": 1}, object(), "e\u0301", "\ud800", [0.5]],
    ids=["float", "great", "small", "set", "int", "bytes", "object", "NFD", "lone", "inner"],
)
def test_what_has_no_canonical_form_is_not_encoded(value):
    with pytest.raises(EncodingError):
        encode(value)


@given(TEXTS, st.lists(SCALARS, max_size=4))
def test_h_is_sha256_of_the_tagged_list(tag, items):
    assert H(tag, *items) == hashlib.sha256(dag_cbor.encode([tag, *items])).digest()


# ---- schemas ------------------------------------------------------------------------------------

_KINDS = {
    "id": (ID, content_id(b""), [b"", bytes(36), content_id(b"")[:-1], 1, None, [1]]),
    "hash": (HASH, bytes(32), [bytes(31), bytes(33), "0" * 32, None]),
    "uint": (UINT, 2**64 - 1, [-1, True, None, b"", "1"]),
    "bool": (BOOL, True, [1, 0, None]),
    "value": (VALUE, {"a": [1, None]}, []),
    "blob": (blob(3), b"abc", [b"abcd", "abc", None]),
    "text": (text(3), "\u20ac", ["\u20aca", b"abc", None]),
    "optional": (optional(UINT), None, [False, -1]),
    "list": (list_of(UINT, 2), (1, 2), [[1, 2, 3], [1, None], {"a": 1}, 1]),
    "row": (row(UINT, BOOL), (1, False), [[1], [1, False, 0], [True, False], None]),
}
_RECORD = Schema("record", 7, [kind for kind, _, _ in _KINDS.values()], max_bytes=512)
FIELDS = [good for _, good, _ in _KINDS.values()]


def plain(value):
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def test_a_record_is_the_list_of_tag_version_and_fields():
    raw = _RECORD.encode(FIELDS)
    assert raw == dag_cbor.encode(["record", 7, *plain(FIELDS)])
    assert _RECORD.decode(raw) == tuple(FIELDS)


@pytest.mark.parametrize(
    ("place", "bad"),
    [(place, bad) for place, (_, _, bads) in enumerate(_KINDS.values()) for bad in bads],
    ids=repr,
)
def test_a_field_of_another_kind_is_refused(place, bad):
    fields = plain(FIELDS)
    fields[place] = bad
    with pytest.raises(EncodingError):
        _RECORD.decode(dag_cbor.encode(["record", 7, *fields]))


@pytest.mark.parametrize(
    "value",
    [
        ["recorD", 7, *plain(FIELDS)],
        ["record", 8, *plain(FIELDS)],
        ["record", True, *plain(FIELDS)],
        ["record", 7, *plain(FIELDS)[:-1]],
        ["record", 7, *plain(FIELDS), 0],
        plain(FIELDS),
        [],
        {"record": 7},
        "record",
    ],
    ids=["tag", "version", "version true", "short", "long", "no tag", "empty", "map", "text"],
)
def test_another_shape_is_refused(value):
    with pytest.raises(EncodingError, match="record: expected"):
        _RECORD.decode(dag_cbor.encode(value))


def test_a_record_is_bounded_before_it_is_parsed():
    with pytest.raises(EncodingError, match="record: 513 bytes, at most 512"):
        _RECORD.decode(b"\xff" * 513)


def test_true_is_not_version_one():
    schema = Schema("t", 1, [], max_bytes=16)
    assert schema.decode(dag_cbor.encode(["t", 1])) == ()
    with pytest.raises(EncodingError):
        schema.decode(dag_cbor.encode(["t", True]))


def test_a_signed_record_covers_the_list_without_its_signature():
    schema = Schema("s", 1, [UINT, HASH], max_bytes=256, signed=True)
    fields = (5, bytes(32), bytes(64))
    assert schema.encode(fields) == dag_cbor.encode(["s", 1, *fields])
    assert without_signature(schema.encode(fields)) == schema.encode_unsigned(fields[:-1])
    assert schema.encode_unsigned(fields[:-1]) == dag_cbor.encode(["s", 1, 5, bytes(32)])
