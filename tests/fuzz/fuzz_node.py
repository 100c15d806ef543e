"""Targets of `node`: files, queries, the journal's codec, JSON forms, native agents."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

from consensus.block import Block, Body, Header
from consensus.dice import Dice
from consensus.effects import CERT, POLL, Ask
from consensus.encoding import encode
from consensus.errors import EncodingError, InvalidProof, SignatureInvalid
from consensus.events import VotesReceived
from consensus.facts import decode_fact
from consensus.ids import Agent, BlockId, Height, Id, MessageId, Now, hash_text
from consensus.messages import Message, Receipt, decode_data
from consensus.state import MemoryState
from node import codec, config, journal, keystore, prooffile, schema, signfile, speech
from node.agents.gateway_events import Cursor
from node.agents.gateway_messages import MessageHandlers
from node.agents.gateway_replies import Refuse
from node.errors import (
    ConfigError,
    JournalCorrupt,
    KeyFileError,
    NotFound,
    SignRecordCorrupt,
)
from node.execution import keys, transfers
from node.execution.genesis import genesis
from node.execution.ports import Batch, Input
from node.execution.registry import NATIVE, demo_agents
from node.forms import Edge, Misfit, form, read_address
from tests.consensus.builders_chain import make_spec
from tests.consensus.builders_keys import peer_key
from tests.fuzz.fuzz_consensus import Trusting, proofs, vectors
from tests.fuzz.fuzz_target import Target
from tests.node.builders_core import Bench, message

PROTOS = sorted(speech.PROTOS)
CHAIN = Id(b"\x01\x71\x12\x20" + bytes(32))
SCRYPT_N_SEED = 2**2
KEYSTORE_SLOW_S = 10.0  # the dearest function that is allowed takes seconds


# ---- queries ------------------------------------------------------------------------------------


class _Shelf:
    """A library that has one block and no bodies."""

    def __init__(self) -> None:
        block = Block(
            Header.decode(next(iter(vectors("header")()))),
            Body.decode(next(iter(vectors("body")()))),
        )
        self.held = speech.Held(block, b"", None)

    def tip(self) -> int:
        return 7

    def certified(self, height: int) -> speech.Held | None:
        return self.held if height == 7 else None

    def candidate(self, block: BlockId) -> speech.Held | None:
        return None

    def bodies(self, ids: Sequence[MessageId]) -> list[bytes]:
        return []


def _asked(raw: bytes) -> Any:
    """The first byte chooses the protocol."""
    proto, data = PROTOS[raw[0] % len(PROTOS)] if raw else "poll/1", raw[1:]
    if proto in (POLL, CERT):
        return speech.asked(proto, data, 1, peer_key(1), CHAIN)
    return speech.answer(_Shelf(), proto, data)


def _queries() -> Iterable[bytes]:
    certificate = next(iter(vectors("certificate")()))
    told = {
        "poll/1": [["poll", 1, CHAIN, 7]],
        "block/1": [["block", 1, 7, None], ["block", 1, 8, CHAIN]],
        "bodies/1": [["bodies", 1, [CHAIN, CHAIN]]],
        "tip/1": [["tip", 1]],
        "cert/1": [["push", 1, certificate]],
    }
    for proto, questions in told.items():
        for question in questions:
            yield bytes((PROTOS.index(proto),)) + encode(question)


def _reply(raw: bytes) -> Any:
    proto, data = PROTOS[raw[0] % len(PROTOS)] if raw else "poll/1", raw[1:]
    return speech.read_reply(proto, data, 1, peer_key(1), Trusting())


def _replies() -> Iterable[bytes]:
    header, body = next(iter(vectors("header")())), next(iter(vectors("body")()))
    certificate, sent = next(iter(vectors("certificate")())), next(iter(vectors("message")()))
    told = {
        "poll/1": [["answer", 1, 7, 0, CHAIN], ["past", 1, certificate], ["past", 1, b""]],
        "block/1": [
            ["block", 1, header, body, certificate, None, [sent]],
            ["block", 1, header, body, b"", [bytes(32), bytes(64)], []],
        ],
        "bodies/1": [["bodies", 1, [sent, sent]]],
        "tip/1": [["tip", 1, 7]],
        "cert/1": [["none", 1]],
    }
    for proto, answers in told.items():
        for answer in (*answers, ["none", 1]):
            yield bytes((PROTOS.index(proto),)) + encode(answer)


# ---- files --------------------------------------------------------------------------------------


def _file(raw: bytes, folder: str, name: str) -> Path:
    path = Path(folder) / name
    path.touch(mode=0o600)
    path.write_bytes(raw)
    return path


def _config(raw: bytes) -> Any:
    with TemporaryDirectory() as folder:
        _file(raw, folder, config.FILE_NAME)
        return config.load(Path(folder), environ={})


def _configs() -> Iterable[bytes]:
    yield config.render().encode()
    yield b'[node]\n[network]\nlisten = "127.0.0.1:0"\n[api]\n[fabric]\n[journal]\nkeep = "ring"\n'


def _key(raw: bytes) -> Any:
    with TemporaryDirectory() as folder:
        path = _file(raw, folder, "key.json")
        return keystore.load(path, lambda: "password", allow_testnet=True)


@cache
def _key_files() -> tuple[bytes, ...]:
    with TemporaryDirectory() as folder:
        store = keystore.Keystore(Path(folder), scrypt_n=SCRYPT_N_SEED)
        store.add("fuzzed", bytes(range(32)), "password")
        plain = Path(folder) / "plain.json"
        keystore.write_plain(plain, bytes(32), name="plain", kind=keystore.ACCOUNT)
        return store.path("fuzzed").read_bytes(), plain.read_bytes()


def _journal(raw: bytes) -> Any:
    with TemporaryDirectory() as folder:
        _file(raw, folder, "0000000000000000.journal")
        return [list(journal.entries(each)) for each in journal.segments(Path(folder))]


def _journals() -> Iterable[bytes]:
    head = encode(["journal", 1, "1.0", 5, b"snapshot"])
    events = [encode([5 + n, [n, 1000 + n], b"event", bytes(32)]) for n in range(3)]
    yield _framed([head, *events])
    yield _framed([head])


def _framed(records: Iterable[bytes]) -> bytes:
    parts = [len(each).to_bytes(4, "big") + crc32(each).to_bytes(4, "big") for each in records]
    return b"".join(part + each for part, each in zip(parts, records, strict=True))


def _mended(raw: bytes) -> bytes:
    """The same with the checksums of its records right, so that mutation gets behind them."""
    records, at = [], 0
    while at + 8 < len(raw):
        length = min(int.from_bytes(raw[at : at + 4], "big"), len(raw) - at - 8)
        records.append(raw[at + 8 : at + 8 + length])
        at += 8 + length
    return _framed(records)


class _OneFile:
    """A disk that holds these bytes."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def read(self) -> bytes | None:
        return self.data

    def replace(self, data: bytes) -> None:
        self.data = data

    def write(self, offset: int, data: bytes) -> None:
        assert self.data is not None and offset + len(data) <= len(self.data)
        self.data = self.data[:offset] + data + self.data[offset + len(data) :]

    def sync(self) -> None: ...

    def close(self) -> None: ...


def _signed(raw: bytes) -> Any:
    """Opened, written to, opened again: what was saved is there."""
    disk = _OneFile(raw)
    opened = signfile.SignFile(disk, name="sign.db", create=False)
    found = opened.record
    opened.save(b"another record")
    again = signfile.SignFile(disk, name="sign.db", create=False)
    assert again.record == b"another record"
    return found


def _sign_files() -> Iterable[bytes]:
    for record, size in ((b"", 80), (b"a record", 120), (bytes(60), 128)):
        for sequence in (0, 9):
            yield _copy(sequence, record, size) * 2
    yield _copy(8, b"old", 128) + _copy(9, b"new", 128)
    yield _copy(9, b"new", 128) + _copy(8, b"old", 128)


def _copy(sequence: int, record: bytes, size: int) -> bytes:
    disk = _OneFile(None)
    made = signfile._written(signfile._Copy(sequence, record))
    del disk
    return made.ljust(size, b"\x00")


# ---- the journal's codec ------------------------------------------------------------------------


def _snapshots() -> Iterable[bytes]:
    bench = Bench()
    vote = bench.chain.accept(peer_key(1), bench.chain.tip, height=1)
    yield codec.to_bytes(VotesReceived(((1, vote),)))
    yield codec.to_bytes(message(bench.spec, 1))
    yield codec.to_bytes([Ask(1, bench.peers[1], "tip/1", b"", 5), Dice(bytes(32)), Now(1, 2)])
    yield codec.to_bytes({"a": (1, [2, None]), "b": frozenset((b"x", b"y"))})
    yield codec.to_bytes(decode_fact(next(iter(vectors("claim")()))))


# ---- what HTTP and the command line take ---------------------------------------------------------

TYPES = ["int", "bool", "str", "bytes", "None", "Address", "Reference", "int | None"]
TYPES += ["list[int]", "dict[str, bytes]", "tuple[int, str]", "list[dict[int, Address]]", "Card"]


def _edge() -> Edge:
    return Edge(read_address, lambda raw: hash_text(raw))


def _typed(raw: bytes) -> Any:
    """The first byte chooses the type, the rest is text of a command line or JSON."""
    kind = _FORMS[raw[0] % len(TYPES)] if raw else _CARD
    text = raw[1:].decode("utf-8", "replace")
    value = kind.parse(text)
    encode(value)
    shown = kind.text(value)
    if kind is not _CARD:  # shown for people: the text of a text has no quotes
        assert kind.parse(shown) == value, f"shown as {shown!r}"
    return value


def _typed_texts() -> Iterable[bytes]:
    texts = ["5", "true", "text", "0x00ff", "null", "a" * 52, "x", "7", "[1, 2]", '{"a": 1}']
    texts += ['[1, "b"]', '[{"1": "apx1"}]', '{"/": {"bytes": "AA"}}', '"-1"', "-9" * 30]
    for index, text in enumerate(texts):
        yield bytes((index % len(TYPES),)) + text.encode()


class _Request:
    """As much of a request as the handler reads."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    async def json(self) -> Any:
        return json.loads(self.raw.decode())


def _posted(raw: bytes) -> Any:
    handlers = object.__new__(MessageHandlers)
    request: Any = _Request(raw)
    return asyncio.run(handlers._read(request))


def _posts() -> Iterable[bytes]:
    from base64 import b64encode

    sent = b64encode(next(iter(vectors("message")()))).decode()
    yield json.dumps({"messages": [sent]}).encode()
    yield json.dumps({"messages": [sent, "AA", None, 7], "more": {}}).encode()


def _told(raw: bytes) -> Any:
    """A message and a receipt as JSON that every reader takes."""
    names = schema.Names(make_spec())
    told: Any
    if raw[1:9] == b"\x67receipt":
        told = schema.receipt_json(Receipt.decode(raw), names)
    else:
        told = schema.message_json(Message.decode(raw), names)
    return json.dumps(told, allow_nan=False)


# ---- native agents ------------------------------------------------------------------------------

CODES = sorted(NATIVE.classes)


@cache
def _world() -> tuple[MemoryState, dict[str, Agent]]:
    spec = make_spec(genesis_agents=[tuple(each) for each in demo_agents()])
    pairs = {key: raw for key, raw in genesis(spec).changes.items() if raw is not None}
    named = {each.code: spec.agent_named(each.name) for each in demo_agents()}
    return MemoryState(pairs), {code: agent for code, agent in named.items() if agent is not None}


def _handled(raw: bytes) -> Any:
    """The first byte chooses the agent, the rest is the data of a message to it."""
    state, agents = _world()
    code = CODES[raw[0] % len(CODES)] if raw else CODES[0]
    item = Input(CHAIN, 0, "message", bytes(32), raw[1:], 10_000, 0)
    batch = Batch(
        chain=CHAIN,  # type: ignore[arg-type]
        agent=agents[code],
        code=code,
        height=Height(1),
        time_ms=1,
        balance=10**6,
        queue_room=100,
        inputs=(item,),
    )
    (result,) = NATIVE.run(batch, state)
    assert result.status in ("ok", "rejected", "failed", "out_of_gas"), result
    assert len(result.data) <= 256 and len(result.code) <= 64
    return result


def _inputs() -> Iterable[bytes]:
    told: list[tuple[str, Any]] = [
        ("token", ["Transfer", {"to": bytes(32), "amount": 5}]),
        ("counter", ["Add", {"amount": 2}]),
        ("pingpong", ["Start", {"delay_ms": 10, "rounds": 3}]),
        ("pingpong", ["Ping", {"game": 1, "number": 1, "delay_ms": 1, "rounds": 1}]),
    ]
    for name, data in told:
        index = next(i for i, code in enumerate(CODES) if f":{name}/" in code)
        yield bytes((index,)) + encode(data)


def _transfer(raw: bytes) -> tuple[bytes, int]:
    """What the short way reads is what the canonical decoder reads."""
    found = transfers.read_transfer(raw)
    if found is None:
        raise EncodingError("not a transfer")
    name, fields = decode_data(raw)
    assert (name, fields) == ("Transfer", {"to": found[0], "amount": found[1]})
    return found


_FORMS = [form(each, _edge()) for each in TYPES]
_CARD = _FORMS[-1]
TARGETS = [
    Target("query", _asked, (EncodingError,), _queries),
    Target("query_reply", _reply, (EncodingError, SignatureInvalid), _replies),
    Target("config", _config, (ConfigError,), _configs),
    Target("key_file", _key, (KeyFileError,), lambda: _key_files(), slow_s=KEYSTORE_SLOW_S),
    Target("journal", _journal, (JournalCorrupt, NotFound), _journals, prepare=_mended),
    Target("journal_torn", _journal, (JournalCorrupt, NotFound), _journals),
    Target("sign_file", _signed, (SignRecordCorrupt,), _sign_files),
    Target("codec", codec.from_bytes, (EncodingError,), _snapshots, inner=True),
    Target(
        "proof_file",
        prooffile.read_file,
        (InvalidProof,),
        lambda: [prooffile.file_text(raw[:99]).encode() for raw in proofs()],
        write=lambda raw: prooffile.file_text(raw).encode(),
    ),
    Target("typed_text", _typed, (Misfit, EncodingError), _typed_texts),
    Target("post_messages", _posted, (Refuse,), _posts),
    Target(
        "event_cursor",
        lambda raw: Cursor.parse(raw.decode("latin-1")),
        (Refuse,),
        lambda: [b"7.2", b"9"],
    ),
    Target("told_as_json", _told, (EncodingError,), vectors("message", "receipt")),
    Target("native_input", _handled, (), _inputs),
    Target("short_transfer", _transfer, (EncodingError,), vectors("data")),
    Target(
        "agent_record",
        keys.AgentRecord.decode,
        (EncodingError,),
        vectors("agent"),
        write=keys.AgentRecord.encode,
    ),
    Target(
        "seen",
        keys.decode_seen,
        (EncodingError,),
        vectors("seen"),
        write=lambda ids: keys.encode_seen(list(ids)),
    ),
]
