"""Capability tokens: only the key's holder makes them, and they allow no more than they say."""

import pytest

from perper_core.capabilities import Issuer, Right
from perper_core.errors import Denied

KEY, NONCE = b"k" * 32, b"n" * 16


def test_scope() -> None:
    issuer = Issuer(KEY)
    token = issuer.issue("stream:blocks", Right.READ, NONCE)
    assert issuer.check(token, "stream:blocks", Right.READ).nonce == NONCE
    for resource, right in [
        ("stream:blocks", Right.WRITE),
        ("stream:block", Right.READ),
        ("stream:blocks2", Right.READ),
        ("state:blocks", Right.READ),
    ]:
        with pytest.raises(Denied):
            issuer.check(token, resource, right)
    every = issuer.issue("stream:*", Right.READ | Right.WRITE, NONCE)
    assert issuer.check(every, "stream:votes", Right.WRITE)
    with pytest.raises(Denied):
        issuer.check(every, "state:votes", Right.WRITE)


def test_forged_and_damaged_tokens() -> None:
    issuer = Issuer(KEY)
    token = issuer.issue("stream:blocks", Right.READ, NONCE)
    with pytest.raises(Denied):
        Issuer(b"x" * 32).opened(token)
    for at in range(5, len(token)):
        other = "a" if token[at] != "a" else "b"
        with pytest.raises(Denied):
            issuer.opened(token[:at] + other + token[at + 1 :])
    for text in ("", "pct1.", "pct1.!!!", "pct1." + "a" * 600, token[5:], token.upper(), "pct1.é"):
        with pytest.raises(Denied):
            issuer.opened(text)


def test_revoked() -> None:
    issuer = Issuer(KEY)
    token = issuer.issue("stream:blocks", Right.READ, NONCE)
    other = issuer.issue("stream:blocks", Right.READ, b"o" * 16)
    issuer.revoke(NONCE)
    with pytest.raises(Denied):
        issuer.check(token, "stream:blocks", Right.READ)
    assert issuer.check(other, "stream:blocks", Right.READ)
