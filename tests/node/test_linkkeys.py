"""The link key is renewed long before a peer would refuse it."""

from __future__ import annotations

import hashlib
from itertools import count

from nacl.signing import SigningKey

from network import linkkey
from network.limits import LINK_AGE_S, LINK_KEY_S_MAX
from network.mesh.noise import public_key
from network.ports import LinkSecret
from node.linkkeys import LINK_KEY_MS, LinkKeys

KEY = SigningKey(bytes(32))
NETWORK = b"\x01\x71\x12\x20" + bytes(32)
HOUR_MS = 3600 * 1000
START_MS = 1_700_000_000_000


class World:
    """A clock, dice, and a peer that judges what it is shown."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.signed = 0
        dice = count()
        self.keys = LinkKeys(
            NETWORK,
            bytes(KEY.verify_key),
            sign=self._sign,
            clock_ms=lambda: self.now_ms,
            random_bytes=lambda size: hashlib.sha256(b"%d" % next(dice)).digest()[:size],
        )

    def _sign(self, statement: bytes) -> bytes:
        self.signed += 1
        return KEY.sign(statement).signature

    def good_for(self, secret: LinkSecret, *, peer_ahead_ms: int = 0) -> bool:
        """As a peer judges it whose clock is off by so much; raises what is wrong."""
        peer = linkkey.check(
            secret.link_key,
            network=NETWORK,
            static=public_key(secret.static_private),
            now_ms=self.now_ms + peer_ahead_ms,
            verify=lambda peer, statement, signature: bool(
                SigningKey(bytes(32)).verify_key.verify(statement, signature)
            ),
        )
        return peer == bytes(KEY.verify_key)


def test_a_month_of_handshakes_finds_a_good_key_at_each() -> None:
    world = World()
    for _ in range(30 * 24):
        world.now_ms += HOUR_MS
        secret = world.keys()
        for ahead_ms in (-24 * HOUR_MS, 0, 24 * HOUR_MS):
            assert world.good_for(secret, peer_ahead_ms=ahead_ms)
    assert 15 <= world.signed <= 31, "the slot key signs about once a day"


def test_a_key_stays_until_half_of_its_life_is_gone() -> None:
    world = World()
    first = world.keys()
    world.now_ms += LINK_KEY_MS // 2
    assert world.keys() is first
    world.now_ms += 1
    second = world.keys()
    assert second.static_private != first.static_private
    assert world.good_for(second)


def test_a_clock_set_back_makes_a_key_that_peers_take() -> None:
    world = World()
    world.now_ms += 60 * 24 * HOUR_MS
    world.keys()
    world.now_ms = START_MS
    assert world.good_for(world.keys())


def test_a_key_outlives_the_links_that_it_makes() -> None:
    assert 2 * LINK_AGE_S * 1000 <= LINK_KEY_MS < LINK_KEY_S_MAX * 1000
