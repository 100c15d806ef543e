"""Frames: what two linked peers say to each other, as bytes.

A frame is one kind byte and its fields; chunks (`mesh/chunks.py`) carry it, this module only writes
and reads it. It refuses what is wrong in itself with `RemoteError` and knows neither links nor
topics that anyone has subscribed to.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from network.limits import (
    ANNOUNCE_IDS_MAX,
    CAUSE_BYTES_MAX,
    GOSSIP_ID_BYTES,
    PROTO_BYTES_MAX,
    TOPIC_BYTES_MAX,
    TOPICS_MAX,
)
from network.ports import Topic
from network.records import decode, encode, malformed, printable


class Kind(IntEnum):
    """First byte of a frame. wire"""

    HELLO = 1
    TOPICS = 2
    PING = 3
    PONG = 4
    GOODBYE = 5
    GOSSIP = 16
    ANNOUNCE = 17
    PULL = 18
    QUERY = 32
    REPLY = 33


class Status(IntEnum):
    """Second byte of a reply. wire"""

    OK = 0
    REFUSED = 1
    BUSY = 2
    REQUEST_TOO_BIG = 3
    REPLY_TOO_BIG = 4
    NOT_SERVED = 5


PING_BYTES: Final = 8
_QUERY_BOUNDS = struct.Struct(">II")


@dataclass(frozen=True, slots=True)
class Query:
    """A question: `max_reply` bytes and `timeout_ms` are what the asker will wait for."""

    proto: str
    max_reply: int
    timeout_ms: int
    data: bytes


def gossip_prefix(topic: Topic) -> bytes:
    """kind, length of topic u8, topic; the payload follows to the end of the frame."""
    name = topic.encode("ascii")
    assert printable(name) and len(name) <= TOPIC_BYTES_MAX, topic
    return bytes((Kind.GOSSIP, len(name))) + name


def split_gossip(frame: bytes) -> int:
    """Where the payload of a gossip frame starts: `frame[:n]` is the prefix of its topic."""
    if len(frame) < 2 or len(frame) < 2 + frame[1]:
        raise malformed("gossip frame is cut off")
    return 2 + frame[1]


def encode_ids(kind: Kind, ids: list[bytes]) -> bytes:
    """ANNOUNCE or PULL: kind, then ids of 20 bytes."""
    assert 0 < len(ids) <= ANNOUNCE_IDS_MAX
    return bytes((kind,)) + b"".join(ids)


def decode_ids(frame: bytes) -> list[bytes]:
    """The ids of an ANNOUNCE or PULL frame, each once."""
    count, rest = divmod(len(frame) - 1, GOSSIP_ID_BYTES)
    if rest or not 0 < count <= ANNOUNCE_IDS_MAX:
        raise malformed("list of gossip ids has a wrong length")
    ids = [frame[at : at + GOSSIP_ID_BYTES] for at in range(1, len(frame), GOSSIP_ID_BYTES)]
    if len(dict.fromkeys(ids)) != count:
        raise malformed("list of gossip ids repeats one")
    return ids


def encode_topics(topics: list[Topic]) -> bytes:
    """TOPICS: kind, then the record ["topics", 1, [name, …]], sorted. Replaces the earlier list."""
    return bytes((Kind.TOPICS,)) + encode(("topics", 1, tuple(sorted(topics))))


def decode_topics(frame: bytes) -> list[Topic]:
    match decode(frame[1:]):
        case ("topics", 1, tuple() as names) if len(names) <= TOPICS_MAX:
            topics = [name for name in names if isinstance(name, str)]
            short = all(len(topic) <= TOPIC_BYTES_MAX for topic in topics)
            if short and len(topics) == len(names) and topics == sorted(dict.fromkeys(topics)):
                return topics
    raise malformed("list of topics")


def encode_query(query: Query) -> bytes:
    """kind, length of proto u8, proto, max_reply u32, timeout_ms u32, data."""
    name = query.proto.encode("ascii")
    assert printable(name) and len(name) <= PROTO_BYTES_MAX, query.proto
    bounds = _QUERY_BOUNDS.pack(query.max_reply, query.timeout_ms)
    return b"".join((bytes((Kind.QUERY, len(name))), name, bounds, query.data))


def decode_query(frame: bytes) -> Query:
    start = 2 + frame[1] if len(frame) > 1 else 0
    if start == 0 or len(frame) < start + _QUERY_BOUNDS.size:
        raise malformed("query frame is cut off")
    name = frame[2:start]
    if len(name) > PROTO_BYTES_MAX or not printable(name):
        raise malformed("name of a query's protocol")
    max_reply, timeout_ms = _QUERY_BOUNDS.unpack_from(frame, start)
    return Query(name.decode("ascii"), max_reply, timeout_ms, frame[start + _QUERY_BOUNDS.size :])


def encode_reply(status: Status, data: bytes) -> bytes:
    """kind, status u8, data (a reply's bytes, or the text of a cause)."""
    return bytes((Kind.REPLY, status)) + data


def decode_reply(frame: bytes) -> tuple[Status, bytes]:
    if len(frame) < 2:
        raise malformed("reply frame is cut off")
    try:
        status = Status(frame[1])
    except ValueError as error:
        raise malformed("status of a reply") from error
    return status, frame[2:]


def encode_cause(cause: str) -> bytes:
    """Text of a refusal or goodbye: printable ASCII, cut to its bound."""
    text = cause.encode("ascii", "replace")[:CAUSE_BYTES_MAX]
    return bytes(byte if 0x20 <= byte <= 0x7E else 0x3F for byte in text)


def decode_cause(data: bytes) -> str:
    """The same, from a peer: never refused, only cleaned."""
    return encode_cause(data[:CAUSE_BYTES_MAX].decode("ascii", "replace")).decode("ascii")
