"""Targets of what people write: scenarios, schedules, seeds, addresses, arguments, tokens."""

import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

from node.cli.messages import named
from node.cli.words import fields_text
from node.errors import MessageInvalid, UsageError
from node.forms import Edge, read_address, read_named
from node.settings import Address, KnownPeer, parse_address, parse_peer
from perper_core.capabilities import Capability, Issuer, Right
from perper_core.errors import Denied
from testnet.scale.networks import Unreadable, read_adversaries, read_nodes
from testnet.sim import faults
from testnet.sim.scenario import ScenarioError, builtin, parse
from testnet.simulate.seeds import read_seeds, seeds_text
from tests.fuzz.fuzz_consensus import VECTORS
from tests.fuzz.fuzz_target import Target

DECLARED = {"to": "Address", "amount": "int", "note": "str | None", "many": "list[int]"}
SCENARIOS = ("calm", "storm", "copied_key")
ISSUER = Issuer(bytes(32))


def words(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def again(read: Callable[[str], Any], write: Callable[[Any], str]) -> Callable[[bytes, Any], None]:
    """What was read is read again from what it is written as."""

    def check(raw: bytes, value: Any) -> None:
        assert read(write(value)) == value, f"written as {write(value)!r}"

    return check


# ---- simulator ----------------------------------------------------------------------------------


def _scenarios() -> Iterable[bytes]:
    for name in SCENARIOS:
        yield builtin(name).encode()


def _schedules() -> Iterable[bytes]:
    yield b"4000 crash 0,2 500 0\n# so\n\n9000 lossy - 1000 30\n"


def _scale(raw: bytes) -> Any:
    """The first byte chooses between sizes and adversaries."""
    read = (read_nodes, read_adversaries)[raw[0] % 2] if raw else read_nodes
    return read(words(raw[1:]))


# ---- addresses and arguments --------------------------------------------------------------------


def _address(raw: bytes) -> Address:
    found = parse_address(words(raw))
    assert parse_address(found.text) == found, f"written as {found.text!r}"
    return found


def _peer(raw: bytes) -> KnownPeer:
    return parse_peer(words(raw))


def _peers() -> Iterable[bytes]:
    document = json.loads((VECTORS / "texts.json").read_text())
    yield document["peers"][0]["text"].encode() + b"@[::1]:7360"
    yield document["peers"][0]["text"].encode() + b"@host:1"


def _arguments(raw: bytes) -> Any:
    """Fields of a command line, one a line."""
    given = named(words(raw).split("\n"))
    return read_named(given, DECLARED, Edge(read_address, lambda raw: raw.hex()), what="message")


def _shown(raw: bytes) -> str:
    """JSON of a node, as commands show it."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _NotJson from error
    return fields_text(value, lambda key: key.hex())


class _NotJson(Exception):
    """Bytes that no JSON reader takes."""


# ---- tokens -------------------------------------------------------------------------------------


def _tokens() -> Iterable[bytes]:
    for resource, rights in (("stream:a", Right.READ), ("execution:*", Right.READ)):
        yield ISSUER.issue(resource, rights, sha256(resource.encode()).digest()[:16]).encode()


def _token(raw: bytes) -> Any:
    return ISSUER.opened(words(raw))


def _same_token(raw: bytes, found: Capability) -> None:
    """One token, one spelling, and nothing that was not issued."""
    assert ISSUER.issue(found.resource, found.rights, found.nonce).encode() == raw


TARGETS = [
    Target("scenario", lambda raw: parse(words(raw), "s"), (ScenarioError,), _scenarios),
    Target(
        "schedule",
        lambda raw: faults.from_lines(words(raw)),
        (faults.FaultError,),
        _schedules,
        check=again(faults.from_lines, faults.lines),
    ),
    Target(
        "seeds",
        lambda raw: read_seeds(words(raw)),
        (UsageError,),
        lambda: [b"7", b"1..50", b"1..10,99"],
        check=again(read_seeds, seeds_text),
    ),
    Target(
        "scale_words",
        _scale,
        (Unreadable,),
        lambda: [b"\x001000,5000", b"\x001000..1000000", b"\x01mute:0.1,0.2", b"\x01none"],
    ),
    Target(
        "address",
        _address,
        (ValueError,),
        lambda: [b"127.0.0.1:7360", b"[::1]:0", b"node.example:65535"],
    ),
    Target("peer_place", _peer, (ValueError,), _peers),
    Target(
        "arguments",
        _arguments,
        (UsageError, MessageInvalid),
        lambda: [b"amount=5\nnote=null", b"many=[1, 2]\nto=0x" + b"00" * 32],
    ),
    Target(
        "shown_json",
        _shown,
        (_NotJson,),
        lambda: [b'{"a": {"/": {"bytes": "AA"}}, "b": [1, "x", null]}', b'"text"', b"[[[1.5e3]]]"],
    ),
    Target(
        "capability",
        _token,
        (Denied,),
        _tokens,
        check=lambda raw, value: _same_token(raw, value),
    ),
]
