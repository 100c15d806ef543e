"""Frames from a hostile peer: refused with an error, never with a crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.envelope import (
    Kind,
    decode_cause,
    decode_ids,
    decode_query,
    decode_reply,
    decode_topics,
    encode_cause,
    encode_topics,
    split_gossip,
)
from network.errors import HandshakeError, RemoteError
from network.limits import ANNOUNCE_IDS_MAX, BLAME_MALFORMED, CAUSE_BYTES_MAX
from network.linkkey import parse
from network.mesh.hello import decode_hello
from network.records import encode

DECODERS = {
    Kind.HELLO: decode_hello,
    Kind.TOPICS: decode_topics,
    Kind.GOSSIP: split_gossip,
    Kind.ANNOUNCE: decode_ids,
    Kind.PULL: decode_ids,
    Kind.QUERY: decode_query,
    Kind.REPLY: decode_reply,
}


@given(st.sampled_from(sorted(DECODERS)), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_blame(kind: Kind, rest: bytes) -> None:
    blame = BLAME_MALFORMED
    try:
        DECODERS[kind](bytes((kind,)) + rest)
    except RemoteError as error:
        blame = error.points
    assert blame == BLAME_MALFORMED


@given(st.binary(max_size=200))
def test_any_bytes_are_a_link_key_or_refused(raw: bytes) -> None:
    with pytest.raises((RemoteError, HandshakeError)):
        parse(raw)


IDS = b"".join(b"%020d" % number for number in range(ANNOUNCE_IDS_MAX + 1))


@pytest.mark.parametrize("ids", [b"", IDS[:19], IDS[:41], IDS, IDS[:20] * 2])
def test_lists_of_ids_that_are_wrong(ids: bytes) -> None:
    with pytest.raises(RemoteError):
        decode_ids(bytes((Kind.ANNOUNCE,)) + ids)
    assert len(decode_ids(bytes((Kind.PULL,)) + IDS[: 20 * ANNOUNCE_IDS_MAX])) == ANNOUNCE_IDS_MAX


@pytest.mark.parametrize(
    "names",
    [("b", "a"), ("a", "a"), ("a", 1), ("x" * 129,), tuple(f"{n:03}" for n in range(65))],
)
def test_lists_of_topics_that_are_wrong(names: tuple[str | int, ...]) -> None:
    with pytest.raises(RemoteError):
        decode_topics(bytes((Kind.TOPICS,)) + encode(("topics", 1, names)))


def test_topics_are_sorted_on_the_wire() -> None:
    assert decode_topics(encode_topics(["b", "a"])) == ["a", "b"]


@given(st.binary(max_size=400))
def test_causes_are_cleaned_and_cut(data: bytes) -> None:
    text = decode_cause(data)
    assert len(text) <= CAUSE_BYTES_MAX and text.isprintable()
    assert decode_cause(encode_cause(text)) == text
