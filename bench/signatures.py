"""How many Ed25519 signatures one thread verifies: the two libraries that the product has.

This bounds the transfers of a network from above: every validator verifies every message.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from bench.figures import Figure, Measurement

MESSAGE_BYTES = 304  # a signed token transfer
SIGNATURES = 2_000
RUNS = 5


def _rate(verify: Callable[[bytes, bytes], object], rows: list[tuple[bytes, bytes]]) -> float:
    rates = []
    for _ in range(RUNS):
        start = time.perf_counter()
        for signature, message in rows:
            verify(signature, message)
        rates.append(len(rows) / (time.perf_counter() - start))
    return median(rates)


def _signed() -> tuple[bytes, list[tuple[bytes, bytes]]]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    messages = [number.to_bytes(MESSAGE_BYTES, "big") for number in range(SIGNATURES)]
    return key.public_key().public_bytes_raw(), [(key.sign(m), m) for m in messages]


def with_cryptography() -> Measurement:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public, rows = _signed()
    return Measurement(_rate(Ed25519PublicKey.from_public_bytes(public).verify, rows))


def with_pynacl() -> Measurement:
    from nacl.bindings import crypto_sign_open

    public, rows = _signed()
    return Measurement(_rate(lambda s, m: crypto_sign_open(s + m, public), rows))


FIGURES = (
    Figure(
        name="ed25519",
        what=f"Ed25519 verifications on one thread, {MESSAGE_BYTES}-byte messages, `cryptography`",
        unit="verifications/s",
        goal=None,
        run=with_cryptography,
        peer=with_pynacl,
        peer_name="PyNaCl",
    ),
)
