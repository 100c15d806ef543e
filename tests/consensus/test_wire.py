"""The closed set: what is spoken, where, and how long it may be (protocol §2)."""

import dag_cbor
import pytest

from consensus.errors import EncodingError
from consensus.facts import SlotClaim
from consensus.messages import MESSAGE_BYTES_MAX
from consensus.wire import (
    BATCH_BYTES_MAX,
    BATCH_ITEMS_MAX,
    SPOKEN,
    TOPICS,
    Batch,
    decode_record,
    spoken_type,
    tag_of,
)
from tests.vectors import records
from tests.vectors.records import samples

ALL = tuple(SPOKEN)
SAMPLES = [sample for sample in samples() if sample.tag in SPOKEN]


def test_every_spoken_type_has_a_sample_and_a_bound():
    assert {sample.tag for sample in SAMPLES} | {"batch"} == set(SPOKEN)
    assert all(spoken.tag == tag and spoken.bytes_max > 0 for tag, spoken in SPOKEN.items())


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.tag}: {sample.name}")
def test_records_are_decoded_where_they_are_wanted(sample):
    assert tag_of(sample.raw) == sample.tag
    assert decode_record(sample.raw, ALL) == SPOKEN[sample.tag].decode(sample.raw)
    for tags in TOPICS.values():
        if sample.tag in tags:
            assert decode_record(sample.raw, tags).raw == sample.raw
        else:
            with pytest.raises(EncodingError, match="not spoken here"):
                decode_record(sample.raw, tags)


@pytest.mark.parametrize("tag", ALL)
def test_too_long_is_refused_before_anything_is_decoded(tag, monkeypatch):
    bound = SPOKEN[tag].bytes_max
    start = b"\x83" + dag_cbor.encode(tag) + b"\x01"
    longest = start + bytes(bound - len(start))
    assert spoken_type(longest, ALL).tag == tag
    with pytest.raises(EncodingError, match=f"at most {bound}"):
        decode_record(longest + b"\x00", ALL)


def test_another_version_is_refused():
    for version in (0, 2, 23, 24, 300):
        raw = dag_cbor.encode(["claim", version, *dag_cbor.decode(records.claim().raw)[2:]])
        with pytest.raises(EncodingError, match="only version 1"):
            decode_record(raw, ALL)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x80",
        b"\x81",
        b"\x83\x60",
        b"\x83\x41claim",
        b"\x98\x05\x65claim\x01",
        b"\x9f\x65claim\x01\xff",
        b"\xa1\x65claim\x01",
        b"\x83\x78\x05claim\x01",
        b"\x83\x65cl\xc3\xa9m\x01",
        b"\x65claim",
    ],
)
def test_what_is_no_record_is_refused(raw):
    with pytest.raises(EncodingError, match="not a record"):
        decode_record(raw, ALL)


@pytest.mark.parametrize("raw", [b"\x83\x65clai", b"\x83\x65claix\x01", b"\x83\x61c\x01"])
def test_an_unknown_tag_is_refused(raw):
    with pytest.raises(EncodingError, match="not spoken here"):
        decode_record(raw, ALL)


def test_a_cut_version_is_refused():
    with pytest.raises(EncodingError, match="only version 1"):
        decode_record(b"\x83\x65claim", ALL)


def test_a_batch_holds_whole_messages():
    raws = [records.message(bytes(15) + bytes((number,))).raw for number in range(3)]
    batch = decode_record(Batch.encode(raws), TOPICS["messages"])
    assert isinstance(batch, Batch)
    assert [message.raw for message in batch.messages] == raws
    for bad in (b"", raws[0][:-1], records.claim().raw, bytes(MESSAGE_BYTES_MAX + 1)):
        with pytest.raises(EncodingError):
            Batch.decode(Batch.encode([raws[0], bad]))
    many = Batch.encode([b""] * (BATCH_ITEMS_MAX + 1))
    assert len(many) < BATCH_BYTES_MAX
    with pytest.raises(EncodingError, match="at most 1024"):
        Batch.decode(many)


def test_facts_are_bounded_like_facts():
    assert {SPOKEN[tag].bytes_max for tag in TOPICS["facts"] if tag != "aggregate"} == {512}
    assert isinstance(decode_record(records.claim().raw, TOPICS["facts"]), SlotClaim)
