"""Admission: who may cost us a key exchange. network §2

Before any DH: a token bucket per /24 or /48, a bound on half-open links. Pure; the caller gives
time and tells when a link is no longer half open.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from network.buckets import Bucket
from network.limits import (
    ADMISSION_BURST,
    ADMISSION_GROUPS_MAX,
    ADMISSION_PER_S,
    HALF_OPEN_MAX,
)

_V4_GROUP_SHIFT = 32 - 24
_V6_GROUP_SHIFT = 128 - 48


def group_of(host: str) -> str:
    """The /24 or /48 of an address, as text; the host itself if it is no address."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    shift = _V4_GROUP_SHIFT if address.version == 4 else _V6_GROUP_SHIFT
    return f"{address.version}:{int(address) >> shift:x}"


class Admission:
    """State for one listener."""

    def __init__(
        self,
        *,
        burst: int = ADMISSION_BURST,
        per_s: int = ADMISSION_PER_S,
        half_open: int = HALF_OPEN_MAX,
    ) -> None:
        self._burst = burst
        self._per_s = per_s
        self._half_open_max = half_open
        self._half_open = 0
        self._groups: dict[str, Bucket] = {}

    def admit(self, host: str, now: float) -> str | None:
        """None, and one more half-open link; or why not."""
        if self._half_open >= self._half_open_max:
            return "too many half-open links"
        group = group_of(host)
        bucket = self._groups.get(group)
        if bucket is None:
            if len(self._groups) >= ADMISSION_GROUPS_MAX and not self._forget(now):
                return "too many address groups"
            bucket = self._groups[group] = Bucket(self._burst, self._per_s, now)
        if not bucket.take(now):
            return "too many handshakes from this address group"
        self._half_open += 1
        return None

    def settled(self) -> None:
        """An admitted link is authenticated, or gone."""
        assert self._half_open > 0
        self._half_open -= 1

    def _forget(self, now: float) -> bool:
        full = [group for group, bucket in self._groups.items() if bucket.full(now)]
        for group in full:
            del self._groups[group]
        return bool(full)
