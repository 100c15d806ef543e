"""Token buckets: how often something may happen. Pure; the caller gives the time."""

from __future__ import annotations


class Bucket:
    """`burst` at once, `per_s` in the long run. Times in monotonic seconds."""

    __slots__ = ("_at", "_burst", "_per_s", "_tokens")

    def __init__(self, burst: float, per_s: float, now: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> bool:
        """True, and one token less, if there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def full(self, now: float) -> bool:
        """Nothing was taken lately: the bucket may be forgotten."""
        return self._tokens + (now - self._at) * self._per_s >= self._burst
