"""libsodium's acceptance rule, the cache of verdicts, batches in threads."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from node.verifier import SodiumVerifier, verify_once

VECTORS = Path(__file__).parents[1] / "vectors" / "ed25519.json"
CASES = json.loads(VECTORS.read_text())["cases"]
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def secret(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes((number,)) * 32)


def signed(number: int, message: bytes) -> tuple[bytes, bytes, bytes]:
    key = secret(number)
    return key.public_key().public_bytes_raw(), message, key.sign(message)


@pytest.fixture
def verifier() -> Iterator[SodiumVerifier]:
    made = SodiumVerifier()
    yield made
    made.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_edge_cases_are_judged_as_libsodium_does(
    verifier: SodiumVerifier, case: dict[str, str]
) -> None:
    item = [bytes.fromhex(case[name]) for name in ("key", "message", "signature")]
    assert verifier.verify(*item) is case["valid"]


def test_the_rule_is_stricter_than_that_of_openssl() -> None:
    accepted_by_openssl = 0
    for case in CASES:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(case["key"]))
        try:
            key.verify(bytes.fromhex(case["signature"]), bytes.fromhex(case["message"]))
            accepted_by_openssl += 1
        except InvalidSignature:
            pass
    assert accepted_by_openssl > sum(case["valid"] for case in CASES)


def test_a_signature_is_valid_for_its_key_and_bytes_alone(verifier: SodiumVerifier) -> None:
    key, message, signature = signed(1, b"message")
    assert verifier.verify(key, message, signature)
    assert not verifier.verify(key, b"other", signature)
    assert not verifier.verify(signed(2, b"")[0], message, signature)
    assert not verifier.verify(key, message, bytes(64))


def test_a_scalar_that_is_not_reduced_is_refused(verifier: SodiumVerifier) -> None:
    key, message, signature = signed(1, b"message")
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    assert not verifier.verify(key, message, signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize(("key_bytes", "signature_bytes"), [(31, 64), (33, 64), (32, 63), (32, 65)])
def test_wrong_lengths_are_a_plain_no(
    verifier: SodiumVerifier, key_bytes: int, signature_bytes: int
) -> None:
    assert not verifier.verify(bytes(key_bytes), b"", bytes(signature_bytes))
    assert verifier.verified_count == 0


def test_a_verdict_is_computed_once_whether_good_or_bad(verifier: SodiumVerifier) -> None:
    good = signed(1, b"message")
    bad = (good[0], b"other", good[2])
    for _ in range(3):
        assert verifier.verify(*good)
        assert not verifier.verify(*bad)
    assert verifier.verified_count == 2


def test_the_cache_is_bounded_and_keeps_the_newest() -> None:
    verifier = SodiumVerifier(verdicts_max=10)
    items = [signed(1, b"%d" % number) for number in range(30)]
    for item in items:
        assert verifier.verify(*item)
        assert verifier.verdict_count <= 10
    assert verifier.verify(*items[-1])
    assert verifier.verified_count == 30
    verifier.verify(*items[0])
    assert verifier.verified_count == 31


@pytest.mark.parametrize("count", [0, 1, 15, 16, 101])
def test_a_batch_gives_the_verdict_of_each_in_order(verifier: SodiumVerifier, count: int) -> None:
    items = [signed(1 + number % 3, b"%d" % number) for number in range(count)]
    for number in range(0, count, 4):
        key, message, signature = items[number]
        items[number] = (key, message + b"!", signature)
    assert verifier.verify_many(items) == [number % 4 != 0 for number in range(count)]
    assert verifier.verify_many(items) == [verify_once(*item) for item in items]
    assert verifier.verified_count == count
