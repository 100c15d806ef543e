"""Token buckets: how often something may happen, or how much of it. Pure; the caller gives time."""

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
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def spend(self, amount: float, now: float) -> None:
        """Take what something has cost, known only afterwards: into debt if need be."""
        self._fill(now)
        self._tokens -= amount

    def debt_s(self, now: float) -> float:
        """Seconds until nothing is owed; 0 when something may be spent."""
        self._fill(now)
        return max(0.0, -self._tokens / self._per_s)

    def full(self, now: float) -> bool:
        """Nothing was taken lately: the bucket may be forgotten."""
        return self._tokens + (now - self._at) * self._per_s >= self._burst

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s)
        self._at = now
