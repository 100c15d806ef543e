"""Capability tokens (pure): references that leave the process.

A token says which resource and which rights, and carries a keyed hash, so that nobody can make or
widen one without the server's key. It is checked where the wire meets the fabric; in process a
reference is a name. Dice are arguments.

Text: `pct1.` + lowercase base32 of nonce 16 | rights u8 | resource UTF-8 | first 16 bytes of
HMAC-SHA256.
"""

import hmac
from base64 import b32decode, b32encode
from binascii import Error as NotBase32
from collections import OrderedDict
from enum import IntFlag
from hashlib import sha256
from typing import NamedTuple

from perper_core.errors import Denied, Exhausted, TooLarge
from perper_core.limits import NAME_BYTES_MAX, REVOKED_MAX, TOKEN_BYTES_MAX

KEY_BYTES = 32
NONCE_BYTES = 16
_MAC_BYTES = 16
_PREFIX = "pct1."
_DOMAIN = b"perper capability 1\0"


class Right(IntFlag):
    """What a token allows."""

    READ = 1
    WRITE = 2
    CALL = 4
    DESTROY = 8


class Capability(NamedTuple):
    """A checked token. `resource` is `stream:NAME`, `instance:NAME`, `state:NAME` or a prefix of
    one ending in `*`."""

    nonce: bytes
    rights: Right
    resource: str

    def allows(self, resource: str, right: Right) -> bool:
        if right not in self.rights:
            return False
        if self.resource.endswith("*"):
            return resource.startswith(self.resource[:-1])
        return resource == self.resource


class Issuer:
    """Makes, checks and revokes tokens under one secret key. Revoked nonces are bounded: at
    REVOKED_MAX no more can be revoked but by a new key, rather than an old one coming back to
    life."""

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES, "a capability key has 32 bytes"
        self._key = key
        self._revoked: OrderedDict[bytes, None] = OrderedDict()

    def issue(self, resource: str, rights: Right, nonce: bytes) -> str:
        """A token; `nonce` are 16 fresh random bytes."""
        assert len(nonce) == NONCE_BYTES, "a nonce has 16 bytes"
        name = resource.encode()
        if len(name) > NAME_BYTES_MAX + 16:
            raise TooLarge("resource name too long", bytes=len(name))
        body = nonce + bytes([rights]) + name
        return self._text(body + self._mac(body))

    @staticmethod
    def _text(raw: bytes) -> str:
        return _PREFIX + b32encode(raw).decode().rstrip("=").lower()

    def opened(self, token: str) -> Capability:
        """The capability. Raises Denied for anything that this key did not issue, or that is
        revoked."""
        if len(token) > TOKEN_BYTES_MAX or not token.startswith(_PREFIX):
            raise Denied("no capability token")
        text = token.removeprefix(_PREFIX).upper()
        try:
            raw = b32decode(text + "=" * (-len(text) % 8))
        except (NotBase32, ValueError) as error:
            raise Denied("no capability token") from error
        if self._text(raw) != token:  # other case or padding bits: one token, one spelling
            raise Denied("no capability token")
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if len(body) <= NONCE_BYTES or not hmac.compare_digest(mac, self._mac(body)):
            raise Denied("the capability token is not genuine")
        nonce = body[:NONCE_BYTES]
        if nonce in self._revoked:
            raise Denied("the capability token is revoked")
        return Capability(nonce, Right(body[NONCE_BYTES]), body[NONCE_BYTES + 1 :].decode())

    def check(self, token: str, resource: str, right: Right) -> Capability:
        """Raises Denied unless the token allows it."""
        capability = self.opened(token)
        if not capability.allows(resource, right):
            raise Denied("the capability token is too narrow", resource=resource)
        return capability

    def revoke(self, nonce: bytes) -> None:
        """From now on tokens with this nonce are refused. Raises Exhausted when the list is
        full."""
        if nonce not in self._revoked and len(self._revoked) >= REVOKED_MAX:
            raise Exhausted("too many revoked tokens: change the key", revoked_max=REVOKED_MAX)
        self._revoked[nonce] = None

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, _DOMAIN + body, sha256)[:_MAC_BYTES]
