"""The one acceptance rule for signatures: libsodium's, by PyNaCl (protocol §2).

Canonical S and A, neither A nor R of small order. Verdicts are cached by (key, digest, signature);
batches are spread over threads, libsodium runs without the interpreter's lock. Knows no records.
"""

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from consensus.ids import KEY_BYTES, SIGNATURE_BYTES

VERDICTS_MAX: Final = 65_536  # about 10 MB
THREADS: Final = 2
_SPREAD_MIN: Final = 16  # smaller batches are verified where they are
Item = tuple[bytes, bytes, bytes]  # key, signed bytes, signature


def digest_of(signed: bytes) -> bytes:
    """sha256 of signed bytes: names them in caches and in the sign record."""
    return hashlib.sha256(signed).digest()


class SodiumVerifier:
    """Implements consensus' `Verifier`; any thread may call it."""

    def __init__(self, *, verdicts_max: int = VERDICTS_MAX, threads: int = THREADS) -> None:
        # Two generations: when the young one is full it becomes the old one, which is dropped.
        self._young: dict[bytes, bool] = {}
        self._old: dict[bytes, bool] = {}
        self._generation_max = max(1, verdicts_max // 2)
        self._lock = threading.Lock()
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self.verified_count = 0  # signatures that were computed, not remembered

    def verify(self, key: bytes, signed: bytes, signature: bytes) -> bool:
        """Whether `signature` of `key` covers `signed`. Wrong lengths are a plain no."""
        if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
            return False
        place = key + signature + digest_of(signed)
        known = self._known(place)
        if known is None:
            known = verify_once(key, signed, signature)
            self._remember(((place, known),))
        return known

    def verify_many(self, items: Sequence[Item]) -> list[bool]:
        """A verdict for each (key, signed, signature), in order. Blocks: call it in a thread."""
        if len(items) < _SPREAD_MIN or self._threads < 2:
            return [self.verify(*item) for item in items]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="verify")
        size = -(-len(items) // self._threads)
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        verdicts: list[bool] = []
        for part in self._pool.map(self._verify_part, parts):
            verdicts += part
        return verdicts

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    @property
    def verdict_count(self) -> int:
        """Verdicts in the cache."""
        return len(self._young) + len(self._old)

    def _verify_part(self, items: Sequence[Item]) -> list[bool]:
        return [self.verify(*item) for item in items]

    def _known(self, place: bytes) -> bool | None:
        known = self._young.get(place)
        return self._old.get(place) if known is None else known

    def _remember(self, verdicts: Sequence[tuple[bytes, bool]]) -> None:
        with self._lock:
            self.verified_count += len(verdicts)
            self._young.update(verdicts)
            if len(self._young) >= self._generation_max:
                self._young, self._old = {}, self._young


def verify_once(key: bytes, signed: bytes, signature: bytes) -> bool:
    """One verification by libsodium, nothing remembered."""
    try:
        crypto_sign_open(signature + signed, key)
    except BadSignatureError:
        return False
    return True
