"""Admission: who may cost us a key exchange. network §2

Before any DH: a token bucket per /24 or /48, and a bound on half-open links, in all and per group.
Where one is reached, the oldest half-open link of the largest group gives way: who says nothing
keeps nobody out. Pure; the caller gives time and tells when a link is no longer half open.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Generic, TypeVar

from network.buckets import Bucket
from network.limits import (
    ADMISSION_BURST,
    ADMISSION_GROUPS_MAX,
    ADMISSION_PER_S,
    HALF_OPEN_GROUP_MAX,
    HALF_OPEN_MAX,
)

_V4_GROUP_SHIFT = 32 - 24
_V6_GROUP_SHIFT = 128 - 48
_L = TypeVar("_L", bound=Hashable)


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


@dataclass(frozen=True, slots=True)
class Entrance(Generic[_L]):
    """What becomes of a connection. `refused`: why it is cut, "" if it came in. `gives_way`: the
    half-open link to cut in its favour, already forgotten here."""

    refused: str = ""
    gives_way: _L | None = None


class Admission(Generic[_L]):
    """State for one listener, over links of any kind."""

    def __init__(
        self,
        *,
        burst: int = ADMISSION_BURST,
        per_s: int = ADMISSION_PER_S,
        half_open: int = HALF_OPEN_MAX,
        half_open_group: int = HALF_OPEN_GROUP_MAX,
    ) -> None:
        self._burst = burst
        self._per_s = per_s
        self._half_open_max = half_open
        self._half_open_group_max = half_open_group
        self._half_open: dict[_L, str] = {}  # link → group, oldest first
        self._by_group: dict[str, dict[_L, None]] = {}
        self._groups: dict[str, Bucket] = {}

    @property
    def half_open(self) -> int:
        return len(self._half_open)

    def admit(self, link: _L, host: str, now: float) -> Entrance[_L]:
        """One more half-open link, perhaps in the place of another; or why not."""
        group = group_of(host)
        bucket = self._groups.get(group)
        if bucket is None:
            if len(self._groups) >= ADMISSION_GROUPS_MAX and not self._forget(now):
                return Entrance("too many address groups")
            bucket = self._groups[group] = Bucket(self._burst, self._per_s, now)
        if not bucket.take(now):
            return Entrance("too many handshakes from this address group")
        gives_way = None
        if len(self._by_group.get(group, ())) >= self._half_open_group_max:
            gives_way = next(iter(self._by_group[group]))
        elif len(self._half_open) >= self._half_open_max:
            gives_way = self._oldest_of_largest()
        if gives_way is not None:
            self.settled(gives_way)
        self._half_open[link] = group
        self._by_group.setdefault(group, {})[link] = None
        return Entrance("", gives_way)

    def settled(self, link: _L) -> None:
        """A link is authenticated, or gone; nothing happens if it was not half open."""
        group = self._half_open.pop(link, None)
        if group is not None:
            del self._by_group[group][link]
            if not self._by_group[group]:
                del self._by_group[group]

    def _oldest_of_largest(self) -> _L:
        """Of groups of one size, that of the oldest link."""
        most = max(len(links) for links in self._by_group.values())
        return next(
            link for link, group in self._half_open.items() if len(self._by_group[group]) == most
        )

    def _forget(self, now: float) -> bool:
        full = [group for group, bucket in self._groups.items() if bucket.full(now)]
        for group in full:
            del self._groups[group]
        return bool(full)
