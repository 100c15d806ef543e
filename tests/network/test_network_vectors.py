"""Every byte format of links against the files in tests/vectors/network (docs/wire-network.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from network import content, linkkey
from network.envelope import (
    Kind,
    Query,
    Status,
    decode_ids,
    decode_query,
    decode_reply,
    decode_topics,
    encode_ids,
    encode_query,
    encode_reply,
    encode_topics,
    gossip_prefix,
    split_gossip,
)
from network.errors import RemoteError
from network.gossip import gossip_id
from network.mesh.chunks import HEADER, read_chunk
from network.mesh.hello import Hello, decode_hello, encode_hello
from network.mesh.noise import public_key

FOLDER = Path(__file__).parent.parent / "vectors" / "network"


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


FRAMES = load("frames")["frames"]


def test_link_key() -> None:
    vector = load("link_key")
    raw = {name: bytes.fromhex(text) for name, text in vector.items() if _is_hex(name)}
    assert public_key(raw["static_private"]) == raw["static"]
    statement = linkkey.unsigned(raw["network"], raw["peer"], raw["static"], vector["not_after_ms"])
    assert statement == raw["unsigned"]
    slot_key = Ed25519PrivateKey.from_private_bytes(raw["slot_private"])
    assert slot_key.sign(raw["domain"] + statement) == raw["signature"]
    assert linkkey.signed(statement, raw["signature"]) == raw["record"]
    parsed = linkkey.parse(raw["record"])
    assert (parsed.network, parsed.peer) == (raw["network"], raw["peer"])
    assert (parsed.static, parsed.not_after_ms) == (raw["static"], vector["not_after_ms"])
    Ed25519PublicKey.from_public_bytes(parsed.peer).verify(
        parsed.signature, raw["domain"] + parsed.unsigned
    )


def _is_hex(name: str) -> bool:
    return name not in ("about", "not_after_ms")


@pytest.mark.parametrize("vector", FRAMES, ids=[frame["kind"] for frame in FRAMES])
def test_frames(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["frame"])
    assert Kind[vector["kind"].upper()] == frame[0]
    encoded, decoded, expected = CODECS[vector["kind"]](vector, frame)
    assert encoded == frame
    assert decoded == expected


def hello(vector: dict[str, Any], frame: bytes) -> tuple[bytes, object, object]:
    expected = Hello(
        vector["wire_min"],
        vector["wire_max"],
        bytes.fromhex(vector["network"]),
        tuple(map(bytes.fromhex, vector["chains"])),
        tuple(vector["features"]),
        bytes.fromhex(vector["instance"]),
    )
    return encode_hello(expected), decode_hello(frame), expected


def topics(vector: dict[str, Any], frame: bytes) -> tuple[bytes, object, object]:
    return encode_topics(vector["topics"]), decode_topics(frame), vector["topics"]


def gossip(vector: dict[str, Any], frame: bytes) -> tuple[bytes, object, object]:
    encoded = gossip_prefix(vector["topic"]) + bytes.fromhex(vector["data"])
    decoded = (frame[split_gossip(frame) :].hex(), gossip_id(frame).hex())
    return encoded, decoded, (vector["data"], vector["id"])


def ids(vector: dict[str, Any], frame: bytes) -> tuple[bytes, object, object]:
    expected = [bytes.fromhex(id) for id in vector["ids"]]
    return encode_ids(Kind(frame[0]), expected), decode_ids(frame), expected


def query(vector: dict[str, Any], frame: bytes) -> tuple[bytes, object, object]:
    data = bytes.fromhex(vector["data"])
    expected = Query(vector["proto"], vector["max_reply"], vector["timeout_ms"], data)
    return encode_query(expected), decode_query(frame), expected


def reply(vector: dict[str, Any], frame: bytes) -> tuple[bytes, object, object]:
    expected = (Status(vector["status"]), bytes.fromhex(vector["data"]))
    return encode_reply(*expected), decode_reply(frame), expected


CODECS = {
    "hello": hello,
    "topics": topics,
    "gossip": gossip,
    "announce": ids,
    "pull": ids,
    "query": query,
    "reply": reply,
}


def test_chunks() -> None:
    for vector in load("chunks")["chunks"]:
        payload, raw = bytes.fromhex(vector["payload"]), bytes.fromhex(vector["chunk"])
        head = (vector["class"], vector["stream"], vector["flags"])
        assert HEADER.pack(*head, len(payload)) + payload == raw
        cls, stream, flags, start, end = read_chunk(raw, 0)
        assert ((cls, stream, flags), raw[start:end]) == (head, payload)


def test_content() -> None:
    vector = load("content")
    wanted = [bytes.fromhex(id) for id in vector["ids"]]
    request = bytes.fromhex(vector["request"])
    assert content.encode_request(vector["max_bytes"], wanted) == request
    assert content.decode_request(request) == (vector["max_bytes"], wanted)
    answers = content.decode_reply(bytes.fromhex(vector["reply"]), len(wanted))
    assert [a.hex() if isinstance(a, bytes) else int(a) for a in answers] == vector["answers"]
    reply_bytes = bytes.fromhex(vector["reply"])
    for length in range(len(reply_bytes)):
        with pytest.raises(RemoteError):
            content.decode_reply(reply_bytes[:length], len(wanted))
    with pytest.raises(RemoteError):
        content.decode_reply(reply_bytes + b"\x01", len(wanted))
