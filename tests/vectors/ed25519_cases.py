"""Signatures on which Ed25519 libraries differ, with the verdict of the one rule (protocol §2).

The classes are those of "Taming the many EdDSAs" (eprint.iacr.org/2020/1244); the bytes are made
here from fixed seeds. The rule is libsodium's: canonical S and A, neither A nor R of small order,
and S·B = R + h·A without the cofactor.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from tests.vectors.edwards import BASE, L, P, add, challenge, multiply, pack, torsion


class Case(NamedTuple):
    name: str
    key: bytes
    message: bytes
    signature: bytes
    valid: bool


def scalar(name: str) -> int:
    return int.from_bytes(hashlib.sha512(name.encode()).digest(), "little") % L


SECRET, NONCE = scalar("secret"), scalar("nonce")
HONEST_A, HONEST_R = multiply(SECRET, BASE), multiply(NONCE, BASE)
SMALL = torsion()


def scalar_bytes(number: int) -> bytes:
    return number.to_bytes(32, "little")


def message_where(test: Callable[[bytes], bool]) -> bytes:
    """The first of a row of messages for which the test holds."""
    number = 0
    while not test(b"message %d" % number):
        number += 1
    return b"message %d" % number


def honest(name: str = "honest", message: bytes = b"message", extra: int = 0) -> Case:
    """A right signature; `extra` times the group order is added to S."""
    a, r = pack(HONEST_A), pack(HONEST_R)
    s = (NONCE + challenge(r, a, message) * SECRET) % L
    return Case(name, a, message, r + scalar_bytes(s + extra * L), extra == 0)


def non_canonical(packed: bytes) -> list[bytes]:
    """Other spellings of a point: y + P where that fits, and the sign of x where x is 0."""
    number = int.from_bytes(packed, "little")
    y, sign = number & (1 << 255) - 1, number >> 255
    spellings = [y | (sign ^ 1) << 255] if y in (1, P - 1) else []
    if y < 19:
        spellings += [y + P | sign << 255]
        spellings += [y + P | (sign ^ 1) << 255] if y in (1, P - 1) else []
    return [spelling.to_bytes(32, "little") for spelling in spellings]


def small_key_cases() -> list[Case]:
    """A of small order: with S and R fitting, one signature would hold for many messages."""
    found = []
    for number, point in enumerate(SMALL):
        for spelling, a in enumerate([pack(point), *non_canonical(pack(point))]):
            r = pack(HONEST_R)

            def holds(message: bytes, a: bytes = a, r: bytes = r, number: int = number) -> bool:
                return challenge(r, a, message) * number % 8 == 0

            message = message_where(holds)
            name = f"A of small order {number}, spelling {spelling}"
            found.append(Case(name, a, message, r + scalar_bytes(NONCE), False))
    return found


def small_nonce_cases() -> list[Case]:
    """R of small order: only the neutral point satisfies the equation without the cofactor."""
    a = pack(HONEST_A)
    found = []
    for number, point in enumerate(SMALL):
        for spelling, r in enumerate([pack(point), *non_canonical(pack(point))]):
            s = challenge(r, a, b"message") * SECRET % L
            name = f"R of small order {number}, spelling {spelling}"
            found.append(Case(name, a, b"message", r + scalar_bytes(s), False))
    return found


def mixed_key_case(name: str, *, cofactorless: bool) -> Case:
    """A = a·B + a point of order 8: no small order, so the equation alone decides."""
    a, r = pack(add(HONEST_A, SMALL[1])), pack(HONEST_R)
    message = message_where(lambda text: (challenge(r, a, text) % 8 == 0) == cofactorless)
    s = (NONCE + challenge(r, a, message) * SECRET) % L
    return Case(name, a, message, r + scalar_bytes(s), cofactorless)


def cases() -> list[Case]:
    right = honest()
    flipped = bytes((right.signature[0] ^ 1,)) + right.signature[1:]
    both = Case("S = 0, A and R neutral", pack(SMALL[0]), b"any", pack(SMALL[0]) + bytes(32), False)
    return [
        right,
        honest("honest, empty message", b""),
        Case("another message", right.key, b"another", right.signature, False),
        Case("another R", right.key, right.message, flipped, False),
        honest("S + L", extra=1),
        honest("S + 8·L", extra=8),
        honest("S + 14·L", extra=14),
        mixed_key_case("mixed order A, h divisible by 8", cofactorless=True),
        mixed_key_case("mixed order A, holds only with the cofactor", cofactorless=False),
        Case("A is no point", scalar_bytes(2), b"message", right.signature, False),
        Case("A all ones", b"\xff" * 32, b"message", right.signature, False),
        both,
        *small_key_cases(),
        *small_nonce_cases(),
    ]
