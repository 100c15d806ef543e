"""Hello: the first encrypted frame of a link, each way. network §2

{wire_min, wire_max, network, chains, features, instance}. It is protected by the handshake, and
still only the peer's word: nothing here is signed.
"""

from __future__ import annotations

from dataclasses import dataclass

from network.envelope import Kind
from network.errors import HandshakeError
from network.limits import (
    CHAINS_MAX,
    FEATURE_BYTES_MAX,
    FEATURES_MAX,
    HELLO_BYTES_MAX,
    ID_BYTES,
    INSTANCE_BYTES,
)
from network.ports import LinkIdentity
from network.records import decode, encode, malformed

WIRE_VERSION_MAX = 0xFFFF


@dataclass(frozen=True, slots=True)
class Hello:
    """`wire_min`..`wire_max`: versions of the wire that the peer speaks."""

    wire_min: int
    wire_max: int
    network: bytes
    chains: tuple[bytes, ...]
    features: tuple[str, ...]
    instance: bytes


def hello_of(identity: LinkIdentity) -> Hello:
    return Hello(
        identity.wire_min,
        identity.wire_max,
        identity.network,
        identity.chains,
        identity.features,
        identity.instance,
    )


def encode_hello(hello: Hello) -> bytes:
    """kind, then ["hello", 1, wire_min, wire_max, network, chains, features, instance]."""
    fields = (
        hello.wire_min,
        hello.wire_max,
        hello.network,
        hello.chains,
        hello.features,
        hello.instance,
    )
    frame = bytes((Kind.HELLO,)) + encode(("hello", 1, *fields))
    assert len(frame) <= HELLO_BYTES_MAX
    return frame


def decode_hello(frame: bytes) -> Hello:
    """`RemoteError` for a wrong form."""
    if not frame or frame[0] != Kind.HELLO or len(frame) > HELLO_BYTES_MAX:
        raise malformed("first frame is no hello")
    match decode(frame[1:]):
        case (
            "hello",
            1,
            int() as wire_min,
            int() as wire_max,
            bytes() as network,
            tuple() as chains,
            tuple() as features,
            bytes() as instance,
        ) if (
            wire_min <= wire_max <= WIRE_VERSION_MAX
            and len(instance) == INSTANCE_BYTES
            and len(chains) <= CHAINS_MAX
            and len(features) <= FEATURES_MAX
        ):
            ids = tuple(chain for chain in chains if isinstance(chain, bytes))
            names = tuple(name for name in features if isinstance(name, str))
            good = len(ids) == len(chains) and len(names) == len(features)
            good = good and all(len(chain) == ID_BYTES for chain in ids)
            if good and all(len(name) <= FEATURE_BYTES_MAX for name in names):
                return Hello(wire_min, wire_max, network, ids, names, instance)
    raise malformed("hello")


def agree(ours: Hello, theirs: Hello) -> int:
    """The highest wire version both speak. `HandshakeError` if there is none."""
    if theirs.network != ours.network:
        raise HandshakeError("hello is for another network")
    wire = min(ours.wire_max, theirs.wire_max)
    if wire < max(ours.wire_min, theirs.wire_min):
        raise HandshakeError("no common version of the wire")
    return wire
