"""What a signature covers, and the port through which it is judged (protocol §2).

No signature is valid in two places: the covered bytes name the version, the kind and the chain.
Holds no secret and picks no library; `node` verifies with libsodium, the simulator with a keyed
hash.
"""

from collections.abc import Sequence
from typing import Protocol

MESSAGE = "message"
PROPOSAL = "proposal"
CONFIRM = "confirm"
ACCEPT = "accept"
CLAIM = "claim"
RENEW = "renew"
KINDS = (MESSAGE, PROPOSAL, CONFIRM, ACCEPT, CLAIM, RENEW)
_DOMAIN = b"apocryph/1/"
_PREFIXES = {kind: _DOMAIN + kind.encode() + b"\x00" for kind in KINDS}


def coverage(kind: str, chain: bytes, unsigned: bytes) -> bytes:
    """`"apocryph/1/" ‖ kind ‖ 0x00 ‖ chain id ‖ canonical bytes`."""
    return _PREFIXES[kind] + chain + unsigned


class Verifier(Protocol):
    """The one acceptance rule, libsodium's: canonical S and A, neither A nor R of small order."""

    def verify(self, key: bytes, signed: bytes, signature: bytes) -> bool:
        """Whether `signature` (64 bytes) of `key` (32 bytes) covers `signed`."""
        ...


def verify_all(verifier: Verifier, items: Sequence[tuple[bytes, bytes, bytes]]) -> bool:
    """Whether each (key, signed, signature) verifies; stops at the first that does not."""
    return all(verifier.verify(key, signed, signature) for key, signed, signature in items)
