"""Records of docs/wire.md §3, §6, §7: positions, kinds, bounds. Nothing is judged but form."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.naive.naive_cbor import Bad, decode, encode, id_of

Kind = Callable[[Any], None]
U64 = 2**64 - 1


def uint(value: Any) -> None:
    if type(value) is not int or not 0 <= value <= U64:
        raise Bad("not a uint")


def voted_height(value: Any) -> None:
    """Nobody votes on the genesis."""
    if type(value) is not int or not 1 <= value < 2**63:
        raise Bad("not a height that is voted on")


def round_(value: Any) -> None:
    if type(value) is not int or not 0 <= value <= 65535:
        raise Bad("not a round")


def flag(value: Any) -> None:
    if type(value) is not bool:
        raise Bad("not a bool")


def sized(size: int) -> Kind:
    def check(value: Any) -> None:
        if type(value) is not bytes or len(value) != size:
            raise Bad(f"not {size} bytes")

    return check


def ident(value: Any) -> None:
    sized(36)(value)
    if value[:4] != b"\x01\x71\x12\x20":
        raise Bad("not an id")


def at_most(size: int) -> Kind:
    def check(value: Any) -> None:
        if type(value) is not bytes or len(value) > size:
            raise Bad(f"more than {size} bytes")

    return check


def maybe(kind: Kind) -> Kind:
    def check(value: Any) -> None:
        if value is not None:
            kind(value)

    return check


def many(kind: Kind, limit: int) -> Kind:
    def check(value: Any) -> None:
        if type(value) is not list or len(value) > limit:
            raise Bad("not a list, or too long")
        for item in value:
            kind(item)

    return check


def row(*kinds: Kind) -> Kind:
    def check(value: Any) -> None:
        if type(value) is not list or len(value) != len(kinds):
            raise Bad("a row of another length")
        for kind, item in zip(kinds, value, strict=True):
            kind(item)

    return check


hash_, key, nonce, signature = sized(32), sized(32), sized(16), sized(64)


def fields(raw: bytes, tag: str, kinds: list[Kind], bound: int) -> list[Any]:
    """The fields behind tag and version 1."""
    if len(raw) > bound:
        raise Bad("above its bound")
    value = decode(raw)
    if type(value) is not list or len(value) != len(kinds) + 2:
        raise Bad("not a record of this length")
    if value[0] != tag or type(value[1]) is not int or value[1] != 1:
        raise Bad("another tag or version")
    row(*kinds)(value[2:])
    return value[2:]


def record(tag: str, *items: Any) -> bytes:
    return encode([tag, 1, *items])


def unsigned(raw: bytes) -> bytes:
    """The canonical bytes of a signed record without its signature."""
    return encode(decode(raw)[:-1])


def covered(kind: str, chain: bytes, canonical: bytes) -> bytes:
    """What a signature covers (wire §2)."""
    return b"apocryph/1/" + kind.encode() + b"\x00" + chain + canonical


# ---- header and body ----------------------------------------------------------------------------


class Header(NamedTuple):
    chain: bytes
    height: int
    round: int
    epoch: int
    parent: bytes
    parent_certificate: bytes | None
    proposer_slot: int
    rank: int
    time_ms: int
    reveal: bytes | None
    randomness: bytes
    next_table: bytes
    inputs_root: bytes
    outputs_root: bytes
    receipts_root: bytes
    state_root: bytes
    facts_root: bytes
    gas_used: int
    skipped: list[bytes]
    main_ref: int | None

    def raw(self) -> bytes:
        return record("header", *self)


_HEADER: list[Kind] = [
    *(ident, uint, uint, uint, ident, maybe(ident), uint, uint, uint, maybe(hash_)),
    *(hash_, hash_, hash_, hash_, hash_, hash_, hash_),
    *(uint, many(ident, 4096), maybe(uint)),
]


def header_of(raw: bytes) -> Header:
    return Header(*fields(raw, "header", _HEADER, 160 * 1024))


class Body(NamedTuple):
    parent_certificate: bytes
    facts: list[bytes]
    chain_inputs: list[bytes]
    messages: list[bytes]

    def raw(self) -> bytes:
        return record("body", *self)


def body_of(raw: bytes) -> Body:
    kinds = [at_most(128 * 1024), many(at_most(512), 64), many(ident, 8192), many(ident, 8192)]
    return Body(*fields(raw, "body", kinds, 1024 * 1024))


# ---- votes and certificates ---------------------------------------------------------------------


class Vote(NamedTuple):
    phase: str
    chain: bytes
    epoch: int
    height: int
    round: int
    block: bytes | None
    peer: bytes
    signature: bytes
    raw: bytes


_VOTE = [ident, uint, voted_height, round_, maybe(ident), key, signature]


def vote_of(raw: bytes) -> Vote:
    value = decode(raw) if len(raw) <= 256 else None
    phase = value[0] if type(value) is list and value else None
    if phase not in ("confirm", "accept"):
        raise Bad("not a vote")
    items: Any = [phase, *fields(raw, phase, _VOTE, 256), raw]
    return Vote(*items)


class Certificate(NamedTuple):
    chain: bytes
    epoch: int
    height: int
    round: int
    block: bytes
    signatures: list[tuple[bytes, bytes]]


def certificate_of(raw: bytes) -> Certificate:
    kinds = [ident, uint, voted_height, round_, ident, many(row(key, signature), 1024)]
    chain, epoch, height, which, block, signatures = fields(raw, "certificate", kinds, 128 * 1024)
    keys = [each[0] for each in signatures]
    if keys != sorted(set(keys)):
        raise Bad("signers not in order, or twice")
    return Certificate(chain, epoch, height, which, block, [(a, b) for a, b in signatures])


# ---- facts --------------------------------------------------------------------------------------


class Claim(NamedTuple):
    chain: bytes
    epoch: int
    peer: bytes
    nonce: bytes
    commitment: bytes
    signature: bytes
    raw: bytes


class Renew(NamedTuple):
    chain: bytes
    epoch: int
    peer: bytes
    commitment: bytes
    signature: bytes
    raw: bytes


class Late(NamedTuple):
    vote: Vote


class Evidence(NamedTuple):
    one: Vote
    other: Vote


class Double(NamedTuple):
    chain: bytes
    epoch: int
    height: int
    round: int
    slot: int
    peer: bytes
    block: bytes
    signature: bytes
    other_block: bytes
    other_signature: bytes


Fact = Claim | Renew | Late | Evidence | Double


def fact_of(raw: bytes) -> Fact:
    if len(raw) > 512:
        raise Bad("above its bound")
    value = decode(raw)
    tag = value[0] if type(value) is list and value else None
    if tag == "claim":
        kinds = [ident, uint, key, nonce, hash_, signature]
        items: Any = [*fields(raw, tag, kinds, 512), raw]
        return Claim(*items)
    if tag == "renew":
        items = [*fields(raw, tag, [ident, uint, key, hash_, signature], 512), raw]
        return Renew(*items)
    if tag == "late":
        vote = vote_of(fields(raw, tag, [at_most(256)], 512)[0])
        if vote.phase != "accept" or vote.block is None:
            raise Bad("not an accept of a block")
        return Late(vote)
    if tag == "evidence":
        one, other = fields(raw, tag, [at_most(256)] * 2, 512)
        return _evidence(vote_of(one), vote_of(other))
    if tag == "double":
        kinds = [ident, uint, voted_height, round_, uint, key, ident, signature, ident, signature]
        double = Double(*fields(raw, tag, kinds, 512))
        if not double.block < double.other_block:
            raise Bad("blocks equal or not in order")
        return double
    raise Bad("no such fact")


def _evidence(one: Vote, other: Vote) -> Evidence:
    def place(vote: Vote) -> tuple[object, ...]:
        return (vote.phase, vote.chain, vote.epoch, vote.height, vote.round, vote.peer)

    if place(one) != place(other) or one.block == other.block or not one.raw < other.raw:
        raise Bad("not two values in one place, in order")
    return Evidence(one, other)


# ---- chain --------------------------------------------------------------------------------------


class Spec(NamedTuple):
    """What the rules of blocks read; `parameters` by their names, as the page lists them."""

    parameters: dict[str, Any]
    genesis_time_ms: int
    genesis_slots: list[tuple[bytes, bytes] | None]
    id: bytes
    seed: bytes
    consensus: str = "snowball"

    @property
    def votes(self) -> bool:
        """A `probabilistic` chain has none: no certificates, only round 0 (wire §7)."""
        return self.consensus != "probabilistic"


def spec_of(raw: bytes, parameter_names: list[str]) -> Spec:
    """The names of the parameters are not on the page (“in order”): the caller tells them."""
    value = decode(raw)
    _, _, _, _, consensus, parameters, time_ms, slots, *_ = value
    numbers = decode(parameters)
    if numbers[:2] != ["parameters", 1] or len(numbers) != len(parameter_names) + 2:
        raise Bad("not parameters")
    seedless = [*value[:7], [], *value[8:]]
    return Spec(
        dict(zip(parameter_names, numbers[2:], strict=True)),
        time_ms,
        [None if slot is None else (slot[0], slot[1]) for slot in slots],
        id_of(raw),
        id_of(encode(seedless)),
        consensus,
    )


class Message(NamedTuple):
    chain: bytes
    sender: bytes
    to: list[Any]
    data: bytes
    nonce: bytes
    expires_height: int
    gas_max: int
    pay: int
    after: bytes | None
    signature: bytes
    id: bytes
    raw: bytes


def message_of(raw: bytes) -> Message:
    to = row(ident, hash_, maybe(hash_))
    kinds = [ident, key, to, at_most(8192), nonce, uint, uint, uint, maybe(ident), signature]
    items: Any = [*fields(raw, "message", kinds, 16 * 1024), id_of(unsigned(raw)), raw]
    return Message(*items)
