"""Targets of `consensus`: every record, the text forms, proofs."""

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from consensus import ids, leaves, wire
from consensus.block import (
    BODY_BYTES_MAX,
    HEADER_BYTES_MAX,
    PROPOSAL_BYTES_MAX,
    Body,
    Header,
    Proposal,
)
from consensus.certificates import (
    CERTIFICATE_BYTES_MAX,
    VOTE_BYTES_MAX,
    Aggregate,
    Certificate,
    Vote,
)
from consensus.dice import Dice
from consensus.encoding import decode, encode
from consensus.errors import (
    EncodingError,
    InvalidProof,
    ParameterError,
    SpecError,
    TextError,
)
from consensus.facts import decode_fact
from consensus.ids import ACCOUNT_TYPE, PEER_TYPE, Id, hash_from_text, id_from_text, key_from_text
from consensus.messages import MESSAGE_BYTES_MAX, Message, Queued, Receipt, decode_data, encode_data
from consensus.parameters import PARAMETERS_BYTES_MAX, Parameters
from consensus.proofs import (
    PROOF_BYTES_MAX,
    build,
    message_path,
    receipt_path,
    state_path,
    verify,
)
from consensus.signing import SignRecord
from consensus.spec import SPEC_BYTES_MAX, ChainSpec
from consensus.stateproof import STATE_PROOF_BYTES_MAX, Proof
from consensus.tables import TABLE_BYTES_MAX, Table
from tests.consensus.builders_keys import account_key
from tests.consensus.builders_proofs import ProvenChain, proven_chain
from tests.fuzz.fuzz_target import Target
from tests.vectors.records import CHAIN, PEERS, public

VECTORS = Path(__file__).parent.parent / "vectors"
VALUE_BYTES_MAX = 16 * 1024
FACT_BYTES_MAX = 512


def vectors(*names: str) -> Callable[[], Iterable[bytes]]:
    """The bytes of vector files."""

    def load() -> Iterable[bytes]:
        for name in names:
            for case in json.loads((VECTORS / f"{name}.json").read_text())["cases"]:
                yield bytes.fromhex(case["raw"])

    return load


def raw_of(value: Any) -> bytes:
    raw: bytes = value.raw
    return raw


def record(name: str, kind: Any, bound: int, *, seeds: str | None = None) -> Target:
    """A class with `decode` and `raw` whose only error is EncodingError."""
    return Target(
        name,
        kind.decode,
        (EncodingError,),
        vectors(seeds or name),
        write=raw_of,
        bound=bound,
        check=_fields_make_the_bytes,
    )


def _fields_make_the_bytes(raw: bytes, value: Any) -> None:
    """`raw` is kept as received; the library's reading of it, written again, must be the same."""
    assert encode(decode(raw, max_bytes=len(raw))) == raw


def leaf(name: str, read: Callable[[bytes], Any], write: Callable[[Any], bytes]) -> Target:
    return Target(name, read, (EncodingError,), vectors(name), write=write)


# ---- texts --------------------------------------------------------------------------------------


def _read_text(raw: bytes) -> tuple[str, str]:
    """The first byte chooses the form; (text, what is written for what was read)."""
    which, text = raw[0] % 5 if raw else 0, raw[1:].decode("utf-8", "replace")
    if which == 0:
        return text, ids.id_text(id_from_text(text))
    if which == 1:
        return text, ids.hash_text(hash_from_text(text))
    if which == 2:
        return text, ids.peer_text(key_from_text(text, PEER_TYPE))
    if which == 3:
        return text, ids.account_text(key_from_text(text, ACCOUNT_TYPE))
    return text, ids.checkpoint_text(ids.checkpoint_from_text(text))


def _one_spelling(raw: bytes, value: tuple[str, str]) -> None:
    assert value[0] == value[1], "two spellings of one value"


def _texts() -> Iterable[bytes]:
    document = json.loads((VECTORS / "texts.json").read_text())
    yield b"\x00" + document["ids"][0]["text"].encode()
    yield b"\x01" + document["hashes"][0]["text"].encode()
    yield b"\x02" + document["peers"][0]["text"].encode()
    yield b"\x03" + document["accounts"][0]["text"].encode()
    yield b"\x04" + b"4096:" + document["ids"][0]["text"].encode()
    for text in document["refused_accounts"]:
        yield b"\x03" + text.encode()


# ---- proofs -------------------------------------------------------------------------------------


class Trusting:
    """Takes every signature, so that inputs get further than an honest verifier would let them."""

    def verify(self, key: bytes, signed: bytes, signature: bytes) -> bool:
        return True


@cache
def _proven() -> ProvenChain:
    small = Parameters.local(slots=12, epoch_blocks=16, claim_close=4)
    return proven_chain(20, small)


def _proof(raw: bytes) -> Any:
    return verify(raw, _proven().spec.id, verifier=Trusting())


def proofs() -> Iterable[bytes]:
    chain = _proven()
    balance, absent = b"a/" + account_key(3), b"none"
    for path in (
        state_path(balance, chain.state.prove(balance)),
        state_path(absent, chain.state.prove(absent)),
        message_path([Id(each) for each in chain.inputs], chain.message),
        receipt_path(chain.receipts, 2),
    ):
        yield build(chain.spec, chain.links, chain.header, chain.certificate, path)


def _data(raw: bytes) -> tuple[str, dict[str, Any]]:
    return decode_data(raw)


def _heard(raw: bytes) -> Any:
    """Any record on any topic, as `consensus.wire` takes it."""
    topics = sorted(wire.TOPICS)
    topic = topics[raw[0] % len(topics)] if raw else topics[0]
    return wire.decode_record(raw[1:], wire.TOPICS[topic])


def _spoken() -> Iterable[bytes]:
    facts = ("claim", "renew", "late", "evidence", "double", "aggregate")
    for number, names in enumerate((facts, ("batch",), ("proposal",), ("accept", "confirm"))):
        for raw in vectors(*names)():
            yield bytes((number,)) + raw


def _sign_records() -> Iterable[bytes]:
    """Of a peer that has signed nothing, and of one in the middle of a height."""
    peer = public(PEERS[0])
    yield encode(["sign", 1, CHAIN, peer, 0, 0, 0, [], None, None])
    aggregate = next(iter(vectors("aggregate")()))
    own = [[7, 0, 0, b"\x80"], [7, 1, 1, b"\x80"]]
    held = [7, CHAIN, 1]
    yield encode(["sign", 1, CHAIN, peer, 7, 1, 2, own, held, [*held, aggregate]])


def _values() -> Iterable[bytes]:
    document = json.loads((VECTORS / "values.json").read_text())
    every = [decode(bytes.fromhex(case["raw"]), max_bytes=100) for case in document["cases"]]
    yield encode(every)
    yield encode({"a": every[:3], "b": {"c": every[-3:]}})
    yield from (bytes.fromhex(case["raw"]) for case in document["refused"][::6])


TARGETS = [
    Target(
        "value",
        lambda raw: decode(raw, max_bytes=VALUE_BYTES_MAX),
        (EncodingError,),
        _values,
        write=encode,
        bound=VALUE_BYTES_MAX,
    ),
    record("message", Message, MESSAGE_BYTES_MAX),
    record("vote", Vote, VOTE_BYTES_MAX, seeds="accept"),
    record("certificate", Certificate, CERTIFICATE_BYTES_MAX),
    record("aggregate", Aggregate, CERTIFICATE_BYTES_MAX),
    record("header", Header, HEADER_BYTES_MAX),
    record("body", Body, BODY_BYTES_MAX),
    record("proposal", Proposal, PROPOSAL_BYTES_MAX),
    record("table", Table, TABLE_BYTES_MAX),
    Target(
        "fact",
        decode_fact,
        (EncodingError,),
        vectors("claim", "renew", "late", "evidence", "double"),
        write=raw_of,
        bound=FACT_BYTES_MAX,
    ),
    Target("gossip_record", _heard, (EncodingError,), _spoken),
    Target(
        "parameters",
        Parameters.decode,
        (EncodingError, ParameterError),
        vectors("parameters"),
        write=Parameters.encode,
        bound=PARAMETERS_BYTES_MAX,
    ),
    Target(
        "spec",
        ChainSpec.decode,
        (EncodingError, ParameterError, SpecError),
        vectors("spec"),
        write=raw_of,
        bound=SPEC_BYTES_MAX,
    ),
    Target(
        "state_proof",
        Proof.decode,
        (EncodingError,),
        vectors("state_proof"),
        write=Proof.encode,
        bound=STATE_PROOF_BYTES_MAX,
    ),
    Target("proof", _proof, (InvalidProof,), proofs, bound=PROOF_BYTES_MAX),
    Target("sign_record", SignRecord.decode, (EncodingError,), _sign_records, write=raw_of),
    Target("receipt", Receipt.decode, (EncodingError,), vectors("receipt"), write=Receipt.encode),
    Target("queued", Queued.decode, (EncodingError,), vectors("queued"), write=Queued.encode),
    Target(
        "data",
        _data,
        (EncodingError,),
        vectors("data"),
        write=lambda value: encode_data(*value),
    ),
    Target("dice", Dice.restore, (EncodingError,), vectors("dice"), write=Dice.snapshot),
    Target("text", _read_text, (TextError,), _texts, check=_one_spelling),
    leaf("chains", leaves.decode_chains, leaves.encode_chains),
    leaf("signing", leaves.decode_signing, leaves.encode_signing),
    leaf("ends", leaves.decode_ends, leaves.encode_ends),
    leaf("bid", leaves.decode_bid, leaves.encode_bid),
    leaf("commitment", leaves.decode_commitment, leaves.encode_commitment),
    leaf("offence", leaves.decode_offence, leaves.encode_offence),
]
