"""The node's link key, renewed long before it expires: what `LinkIdentity.secret` asks for.

A handshake takes the key of the moment, so a node that runs for months has a young one at each of
them. Links that are open do not depend on it. Knows the signer as a function, and no network. §2
"""

from collections.abc import Callable
from typing import Final

from network import linkkey
from network.limits import LINK_AGE_S, LINK_KEY_S_MAX
from network.mesh.noise import KEY_BYTES, public_key
from network.ports import LinkSecret, RandomBytes

# Renewed at half of it, so at any handshake one and a half days are left for clocks that run fast,
# and five are left below the bound for clocks that run slow.
LINK_KEY_MS: Final = 3 * 24 * 3600 * 1000
assert LINK_KEY_MS >= 2 * LINK_AGE_S * 1000, "a link outlives its key"
assert LINK_KEY_MS < LINK_KEY_S_MAX * 1000, "peers refuse a key that lives so long"


class LinkKeys:
    """Makes and renews the static key of links; call it for the secret to use now.

    `sign`: the peer's signature over the bytes of an unsigned LinkKey. `clock_ms`: wall clock.
    """

    def __init__(
        self,
        network: bytes,
        peer: bytes,
        *,
        sign: Callable[[bytes], bytes],
        clock_ms: Callable[[], int],
        random_bytes: RandomBytes,
        life_ms: int = LINK_KEY_MS,
    ) -> None:
        self._network, self._peer, self._sign = network, peer, sign
        self._clock_ms, self._random_bytes, self._life_ms = clock_ms, random_bytes, life_ms
        self._not_after_ms = 0
        self._secret = self._fresh(clock_ms())

    def __call__(self) -> LinkSecret:
        now_ms = self._clock_ms()
        # More than its life left: the clock was set back, and peers would refuse the key.
        if not self._life_ms // 2 <= self._not_after_ms - now_ms <= self._life_ms:
            self._secret = self._fresh(now_ms)
        return self._secret

    def _fresh(self, now_ms: int) -> LinkSecret:
        static = self._random_bytes(KEY_BYTES)
        self._not_after_ms = now_ms + self._life_ms
        public = public_key(static)
        statement = linkkey.unsigned(self._network, self._peer, public, self._not_after_ms)
        return LinkSecret(static, linkkey.signed(statement, self._sign(statement)))
