"""The one acceptance rule: PyNaCl's libsodium gives the verdict of the vectors (protocol §2)."""

import json
from pathlib import Path

import pytest
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "ed25519.json").read_text())["cases"]


def libsodium_takes(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        return crypto_sign_open(signature + message, key) == message
    except BadSignatureError:
        return False


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_verdict_is_libsodiums(case):
    key, message, signature = (
        bytes.fromhex(case[part]) for part in ("key", "message", "signature")
    )
    assert libsodium_takes(key, message, signature) is case["valid"]


def test_the_cases_cover_every_class():
    names = [case["name"] for case in CASES]
    assert sum(case["valid"] for case in CASES) == 3
    for points in ("A", "R"):
        assert sum(name.startswith(f"{points} of small order") for name in names) == 14
