"""LinkKey: a peer's word that a static X25519 key speaks for it on links.

The peer's slot key signs it about once a day, under a domain of its own, so a handshake never asks
the slot key for anything. This module builds and parses the record; signing and verifying belong to
the caller (`LinkIdentity.verify`), who knows the domain. network §2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from network.errors import HandshakeError, RemoteError
from network.limits import LINK_KEY_S_MAX, PEER_BYTES
from network.ports import PeerId, VerifyLink
from network.records import decode, encode

TAG: Final = "link_key"
VERSION: Final = 1
STATIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class LinkKey:
    """The fields of a parsed record; `unsigned` are the bytes that `signature` covers."""

    network: bytes
    peer: PeerId
    static: bytes
    not_after_ms: int
    unsigned: bytes
    signature: bytes


def unsigned(network: bytes, peer: PeerId, static: bytes, not_after_ms: int) -> bytes:
    """Canonical ["link_key", 1, network, peer, static, not_after_ms]: what the slot key signs."""
    assert len(peer) == PEER_BYTES and len(static) == STATIC_BYTES
    return encode((TAG, VERSION, network, peer, static, not_after_ms))


def signed(statement: bytes, signature: bytes) -> bytes:
    """The record as sent: the statement's list with the signature as its last item."""
    assert len(signature) == SIGNATURE_BYTES
    return encode((*decode(statement), signature))


def parse(raw: bytes) -> LinkKey:
    """A record as received. `RemoteError` for a wrong form; nothing is verified here."""
    match decode(raw):
        case (
            "link_key",
            1,
            bytes() as network,
            bytes() as peer,
            bytes() as static,
            int() as not_after_ms,
            bytes() as signature,
        ) if (
            len(peer) == PEER_BYTES
            and len(static) == STATIC_BYTES
            and len(signature) == SIGNATURE_BYTES
        ):
            statement = encode((TAG, VERSION, network, peer, static, not_after_ms))
            return LinkKey(network, peer, static, not_after_ms, statement, signature)
        case _:
            raise HandshakeError("payload is no link key")


def check(raw: bytes, *, network: bytes, static: bytes, now_ms: int, verify: VerifyLink) -> PeerId:
    """The peer that vouches for `static`, or `HandshakeError` with what is wrong. network §2

    Cheap checks first, the signature last.
    """
    try:
        key = parse(raw)
    except RemoteError as error:
        raise HandshakeError(f"link key: {error.cause}") from error
    if key.network != network:
        raise HandshakeError("link key is for another network")
    if key.static != static:
        raise HandshakeError("link key vouches for another static key")
    if key.not_after_ms <= now_ms:
        raise HandshakeError("link key has expired")
    if key.not_after_ms > now_ms + LINK_KEY_S_MAX * 1000:
        raise HandshakeError("link key lives too long")
    if not verify(key.peer, key.unsigned, key.signature):
        raise HandshakeError("link key is not signed by its peer")
    return key.peer
