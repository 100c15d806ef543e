"""A keyed hash in the place of Ed25519, for tests that judge thousands of signatures.

Anybody can forge these; the rule of the protocol is PyNaCl's, in `node`.
"""

import hashlib

from consensus.ids import Account, Peer, Signature


def peer_key(number: int) -> Peer:
    """Peer `number`: 32 bytes that differ for each number."""
    return Peer(hashlib.sha256(b"peer %d" % number).digest())


def account_key(number: int) -> Account:
    """Account `number`: 32 bytes that differ for each number."""
    return Account(hashlib.sha256(b"account %d" % number).digest())


def keyed_signature(key: bytes, signed: bytes) -> Signature:
    """64 bytes that only (key, signed) give."""
    return Signature(hashlib.sha512(b"keyed hash" + key + signed).digest())


class KeyedVerifier:
    """Satisfies `consensus.signatures.Verifier`; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def verify(self, key: bytes, signed: bytes, signature: bytes) -> bool:
        self.asked += 1
        return signature == keyed_signature(key, signed)
