"""What has been seen lately: a bounded set of keyed hashes in two generations.

The key is secret, so nobody can aim at one entry; a quota per link keeps one flooder from emptying
the set for all. It forgets by age and by size: loops end by the staleness check of the node, not
here. network §3
"""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b
from typing import Final

from network.limits import SEEN_GENERATION_S, SEEN_ITEMS_MAX, SEEN_PER_LINK
from network.ports import PeerId

DIGEST_BYTES: Final = 8


class Sighting(Enum):
    NEW = "new"
    KNOWN = "known"
    QUOTA = "quota"  # this link brought too much in this generation


class Seen:
    """`key`: 16 to 64 secret bytes. Times in monotonic seconds."""

    def __init__(
        self,
        key: bytes,
        now: float,
        *,
        per_link: int = SEEN_PER_LINK,
        items: int = SEEN_ITEMS_MAX,
        generation_s: float = SEEN_GENERATION_S,
    ) -> None:
        self._key = key
        self._per_link = per_link
        self._items = items
        self._generation_s = generation_s
        self._since = now
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        self._brought: dict[PeerId | None, int] = {}

    def add(self, item: bytes, link: PeerId | None, now: float) -> Sighting:
        """Remember `item`; `link` None for what is our own (no quota)."""
        if now - self._since >= self._generation_s or len(self._young) >= self._items:
            self._turn(now)
        mark = self._mark(item)
        if mark in self._young or mark in self._old:
            return Sighting.KNOWN
        brought = self._brought.get(link, 0)
        if link is not None and brought >= self._per_link:
            return Sighting.QUOTA
        self._brought[link] = brought + 1
        self._young.add(mark)
        return Sighting.NEW

    def knows(self, item: bytes) -> bool:
        mark = self._mark(item)
        return mark in self._young or mark in self._old

    def forget(self, item: bytes) -> None:
        """Let `item` be new again (it was ignored as early, late or unknown)."""
        mark = self._mark(item)
        self._young.discard(mark)
        self._old.discard(mark)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _mark(self, item: bytes) -> bytes:
        return blake2b(item, digest_size=DIGEST_BYTES, key=self._key).digest()

    def _turn(self, now: float) -> None:
        skipped = now - self._since >= 2 * self._generation_s
        self._old = set() if skipped else self._young
        self._young = set()
        self._brought = {}
        self._since = now
