"""Targets of `network`: frames, records, the handshake, content."""

from collections.abc import Iterable
from typing import Any

from network import content, envelope, linkkey, records
from network.errors import HandshakeError, Refused, RemoteError
from network.limits import HELLO_BYTES_MAX, PARTIAL_BYTES_MAX
from network.mesh import chunks
from network.mesh.hello import Hello, decode_hello, encode_hello
from network.mesh.noise import Cipher, NoiseXX
from tests.fuzz.fuzz_target import Target

ID = b"\x01\x71\x12\x20" + bytes(32)
KEYS = [bytes((number,)) * 32 for number in range(1, 5)]
BOUND = 20_000  # of a frame in several chunks here
CONTENT_IDS = 3


def _records() -> Iterable[bytes]:
    yield records.encode(("tag", 1, b"bytes", ("inner", (0, 2**64 - 1))))
    yield records.encode(("topics", 1, ("a", "b")))


def _list(raw: bytes) -> Any:
    return records.decode(raw)


def _hello() -> bytes:
    return encode_hello(Hello(1, 2, ID, (ID,), ("one", "two"), bytes(16)))


def _link_key() -> bytes:
    return linkkey.signed(linkkey.unsigned(ID, KEYS[0], KEYS[1], 99), bytes(64))


def _parse_link_key(raw: bytes) -> linkkey.LinkKey:
    return linkkey.parse(raw)


def _link_key_bytes(key: linkkey.LinkKey) -> bytes:
    return linkkey.signed(key.unsigned, key.signature)


# ---- chunks -------------------------------------------------------------------------------------


def _assemble(raw: bytes) -> list[bytes]:
    """The frames of one record's plain bytes, as a link reads them."""
    assembler = chunks.Assembler(lambda stream, first: BOUND if stream % 3 else 0)
    frames, at = [], 0
    while at < len(raw):
        cls, stream, flags, start, end = chunks.read_chunk(raw, at)
        assert at < end, "a chunk moves on"
        at = end
        if flags == chunks.RESET:
            assembler.reset(stream)
        elif flags == chunks.WHOLE:
            frames.append(raw[start:end])
        else:
            frame = assembler.add(cls, stream, flags, raw[start:end])
            if frame is not None:
                frames.append(frame)
        assert 0 <= assembler._bytes <= PARTIAL_BYTES_MAX
        assert (assembler._bytes > 0) <= bool(assembler._partial), "bytes of nothing"
    return frames


def _chunked() -> Iterable[bytes]:
    def chunk(cls: int, stream: int, flags: int, data: bytes) -> bytes:
        return chunks.HEADER.pack(cls, stream, flags, len(data)) + data

    yield chunk(0, 0, 3, b"whole") + chunk(1, 0, 3, b"another")
    yield chunk(2, 1, 1, b"first") + chunk(2, 1, 0, b"middle") + chunk(2, 1, 2, b"last")
    yield chunk(2, 1, 1, b"a") + chunk(3, 2, 1, b"b") + chunk(2, 1, 2, b"c") + chunk(3, 2, 4, b"")


# ---- handshake ----------------------------------------------------------------------------------


def _side(*, initiator: bool) -> NoiseXX:
    static, ephemeral = KEYS[:2] if initiator else KEYS[2:]
    return NoiseXX(initiator=initiator, prologue=b"p", static=static, ephemeral=ephemeral)


def _messages() -> list[bytes]:
    dialler, acceptor = _side(initiator=True), _side(initiator=False)
    one = dialler.write(b"")
    acceptor.read(one)
    two = acceptor.write(b"payload")
    dialler.read(two)
    return [one, two, dialler.write(b"payload")]


def _shake(raw: bytes) -> Any:
    """The first byte says which message of the handshake the rest comes as."""
    which = raw[0] % 3 if raw else 0
    told = _messages()
    dialler, acceptor = _side(initiator=True), _side(initiator=False)
    if which == 0:
        return acceptor.read(raw[1:])
    if which == 1:
        dialler.write(b"")
        return dialler.read(raw[1:])
    acceptor.read(told[0])
    acceptor.write(b"payload")
    return acceptor.read(raw[1:])


def _open(raw: bytes) -> bytes:
    """A forged record never opens, and the right one still does after it."""
    cipher = Cipher(KEYS[0])
    try:
        plain = cipher.open(raw)
    except HandshakeError:
        assert cipher.open(Cipher(KEYS[0]).seal(b"plain")) == b"plain"
        raise
    return plain


def _query_frame() -> bytes:
    return envelope.encode_query(envelope.Query("tip/1", 64, 250, b"data"))


def _reply_frame(answer: tuple[envelope.Status, bytes]) -> bytes:
    return envelope.encode_reply(*answer)


def _content_reply() -> bytes:
    return b"\x00" + (4).to_bytes(4, "big") + b"here" + b"\x01" + b"\x02"


def _content_bytes(answers: list[content.State | bytes]) -> bytes:
    parts = []
    for answer in answers:
        if isinstance(answer, content.State):
            parts.append(bytes((answer,)))
        else:
            parts.append(b"\x00" + len(answer).to_bytes(4, "big") + answer)
    return b"".join(parts)


def _cause(raw: bytes) -> str:
    text = envelope.decode_cause(raw)
    assert text.isascii() and (text.isprintable() or not text) and len(text) <= 120
    return text


TARGETS = [
    Target("net_record", _list, (RemoteError,), _records, write=records.encode),
    Target(
        "net_topics",
        envelope.decode_topics,
        (RemoteError,),
        lambda: [envelope.encode_topics(["apx/b/votes", "apx/b/facts"])],
        write=lambda topics: envelope.encode_topics(topics),
        prepare=lambda raw: bytes((envelope.Kind.TOPICS,)) + raw[1:],
    ),
    Target(
        "net_ids",
        envelope.decode_ids,
        (RemoteError,),
        lambda: [envelope.encode_ids(envelope.Kind.PULL, [bytes(20), bytes(19) + b"\x01"])],
        write=lambda ids: envelope.encode_ids(envelope.Kind.PULL, ids),
        prepare=lambda raw: bytes((envelope.Kind.PULL,)) + raw[1:],
    ),
    Target(
        "net_query",
        envelope.decode_query,
        (RemoteError,),
        lambda: [_query_frame()],
        write=envelope.encode_query,
        prepare=lambda raw: bytes((envelope.Kind.QUERY,)) + raw[1:],
    ),
    Target(
        "net_reply",
        envelope.decode_reply,
        (RemoteError,),
        lambda: [envelope.encode_reply(envelope.Status.OK, b"data")],
        write=_reply_frame,
        prepare=lambda raw: bytes((envelope.Kind.REPLY,)) + raw[1:],
    ),
    Target("net_cause", _cause, (), lambda: [b"cause", b"\xff\x00\x1b"]),
    Target(
        "net_hello",
        decode_hello,
        (RemoteError,),
        lambda: [_hello()],
        write=encode_hello,
        bound=HELLO_BYTES_MAX,
    ),
    Target(
        "net_link_key",
        _parse_link_key,
        (RemoteError, HandshakeError),
        lambda: [_link_key()],
        write=_link_key_bytes,
    ),
    Target("net_chunks", _assemble, (RemoteError,), _chunked),
    Target(
        "net_noise",
        _shake,
        (HandshakeError,),
        lambda: [bytes((which,)) + raw for which, raw in enumerate(_messages())],
    ),
    Target("net_sealed", _open, (HandshakeError,), lambda: [Cipher(KEYS[0]).seal(b"plain")]),
    Target(
        "net_content_ask",
        content.decode_request,
        (Refused,),
        lambda: [content.encode_request(99, [ID, ID])],
        write=lambda asked: content.encode_request(*asked),
    ),
    Target(
        "net_content",
        lambda raw: content.decode_reply(raw, CONTENT_IDS),
        (RemoteError,),
        lambda: [_content_reply()],
        write=_content_bytes,
    ),
]
