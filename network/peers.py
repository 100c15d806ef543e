"""Peers as we judge and find them: scores with a cause, bans for a time, addresses to dial.

Scores are local, decay, and are never gossiped. An owner of the table (a kept peer) is throttled
where another would be banned, unless its bytes are malformed. network §3

It knows no sockets and no clock; times are monotonic seconds given by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, TypeVar

from network.errors import LocalError
from network.limits import (
    ADDRESSES_MAX,
    BAN_AT,
    BAN_FIRST_S,
    BAN_MAX_S,
    BANS_MAX,
    BLAME_DECAY_PER_S,
    DIAL_BACKOFF_FIRST_S,
    DIAL_BACKOFF_MAX_S,
    DIAL_TRIES_UNKEPT,
    LINK_STABLE_S,
    SCORES_MAX,
)
from network.ports import Draw, PeerAddress, PeerId, Subnet

_K = TypeVar("_K")

FOR_EVER: Final = float("inf")
JITTER_STEPS: Final = 1_000


class Standing(Enum):
    GOOD = "good"
    THROTTLED = "throttled"
    BANNED = "banned"


@dataclass(slots=True)
class _Score:
    points: int = 0
    at: float = 0.0
    cause: str = ""
    bans: int = 0

    def decayed(self, now: float) -> int:
        return max(0, self.points - int((now - self.at) * BLAME_DECAY_PER_S))


class Conduct:
    """Scores and bans."""

    def __init__(self) -> None:
        self._scores: dict[PeerId, _Score] = {}
        self._bans: dict[PeerId, float] = {}
        self._throttles: dict[PeerId, float] = {}
        self._subnets: dict[IPv4Network | IPv6Network, float] = {}

    def blame(
        self, peer: PeerId, points: int, cause: str, now: float, *, kept: bool, malformed: bool
    ) -> Standing:
        """Add points. At `limits.BAN_AT` the peer is banned, twice as long each time."""
        if peer not in self._scores and len(self._scores) >= SCORES_MAX:
            self._forget_best(now)
        score = self._scores.setdefault(peer, _Score())
        score.points = max(0, score.decayed(now) + points)
        score.at = now
        score.cause = cause
        if score.points < BAN_AT:
            return self.standing(peer, now)
        until = now + min(BAN_FIRST_S * 2**score.bans, BAN_MAX_S)
        score.bans = min(score.bans + 1, 32)
        score.points = 0
        if kept and not malformed:
            self._throttles[peer] = until
        else:
            self._set_ban(self._bans, peer, until, now)
        return self.standing(peer, now)

    def ban(self, target: PeerId | Subnet, until: float | None, now: float) -> None:
        """`until` None: for ever; past: lift."""
        end = FOR_EVER if until is None else until
        if isinstance(target, bytes):
            self._set_ban(self._bans, target, end, now)
            return
        try:
            subnet = ip_network(target, strict=False)
        except ValueError as error:
            raise LocalError(f"no subnet: {target}") from error
        self._set_ban(self._subnets, subnet, end, now)

    def standing(self, peer: PeerId, now: float) -> Standing:
        if self._bans.get(peer, 0.0) > now:
            return Standing.BANNED
        if self._throttles.get(peer, 0.0) > now:
            return Standing.THROTTLED
        return Standing.GOOD

    def host_banned(self, host: str, now: float) -> bool:
        if not self._subnets:
            return False
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(until > now and address in net for net, until in self._subnets.items())

    def score(self, peer: PeerId, now: float) -> tuple[int, str]:
        """(points left, cause of the last blame)."""
        score = self._scores.get(peer)
        return (0, "") if score is None else (score.decayed(now), score.cause)

    def _forget_best(self, now: float) -> None:
        best = min(self._scores, key=lambda peer: self._scores[peer].decayed(now))
        del self._scores[best]

    @staticmethod
    def _set_ban(bans: dict[_K, float], key: _K, until: float, now: float) -> None:
        for old in [other for other, end in bans.items() if end <= now]:
            del bans[old]
        if until <= now:
            bans.pop(key, None)
            return
        if key not in bans and len(bans) >= BANS_MAX:
            del bans[min(bans, key=lambda other: bans[other])]
        bans[key] = until


@dataclass(slots=True)
class Entry:
    """A peer we may dial. `host` empty: only a place is kept for it."""

    address: PeerAddress
    keep: bool
    tries: int = 0
    due: float = 0.0
    dialling: bool = False
    yielded: bool = False  # the other side was given its time to dial us


class Book:
    """Addresses to dial, minimal: peer exchange and buckets come with the address book proper."""

    def __init__(self) -> None:
        self._entries: dict[PeerId, Entry] = {}

    def add(self, addresses: Sequence[PeerAddress], keep: bool, now: float) -> None:
        for address in addresses:
            entry = self._entries.get(address.peer)
            if entry is None:
                if len(self._entries) >= ADDRESSES_MAX and not self._forget_one():
                    continue
                self._entries[address.peer] = Entry(address, keep, due=now)
                continue
            if address.host or not entry.address.host:
                entry.address = address
            entry.keep = keep
            entry.tries = 0
            entry.due = now

    def kept(self, peer: PeerId) -> bool:
        entry = self._entries.get(peer)
        return entry is not None and entry.keep

    def known(self) -> int:
        return len(self._entries)

    def forget(self, peer: PeerId) -> None:
        self._entries.pop(peer, None)

    def reset(self, now: float) -> None:
        """The adapter starts again: dial everybody afresh."""
        for entry in self._entries.values():
            entry.dialling, entry.yielded, entry.tries, entry.due = False, False, 0, now

    def due(self, now: float, linked: Sequence[PeerId]) -> list[Entry]:
        """Entries to dial now, kept ones first; the caller marks them `dialling`."""
        have = dict.fromkeys(linked)
        ready = [
            entry
            for entry in self._entries.values()
            if entry.address.host
            and not entry.dialling
            and entry.due <= now
            and entry.address.peer not in have
        ]
        return sorted(ready, key=lambda entry: not entry.keep)

    def next_due(self, linked: Sequence[PeerId]) -> float | None:
        have = dict.fromkeys(linked)
        waiting = [
            entry.due
            for entry in self._entries.values()
            if entry.address.host and not entry.dialling and entry.address.peer not in have
        ]
        return min(waiting, default=None)

    def failed(self, peer: PeerId, now: float, draw: Draw) -> None:
        """A dial failed or a link broke: again after a backoff with full jitter."""
        entry = self._entries.get(peer)
        if entry is None:
            return
        entry.dialling = False
        entry.tries += 1
        if not entry.keep and entry.tries >= DIAL_TRIES_UNKEPT:
            del self._entries[peer]
            return
        ceiling = min(DIAL_BACKOFF_FIRST_S * 2 ** min(entry.tries, 16), DIAL_BACKOFF_MAX_S)
        entry.due = now + ceiling * (draw(JITTER_STEPS) + JITTER_STEPS) / (2 * JITTER_STEPS)

    def lost(self, peer: PeerId, now: float, lived_s: float, draw: Draw) -> None:
        """A link broke. One that lived long starts a fresh backoff, so that a peer which throws us
        out at once is not dialled all the time."""
        entry = self._entries.get(peer)
        if entry is not None:
            if lived_s >= LINK_STABLE_S:
                entry.tries = 0
            self.failed(peer, now, draw)

    def delay(self, peer: PeerId, until: float) -> None:
        """Do not dial `peer` before then."""
        entry = self._entries.get(peer)
        if entry is not None:
            entry.dialling = False
            entry.due = max(entry.due, until)

    def _forget_one(self) -> bool:
        for peer, entry in self._entries.items():
            if not entry.keep:
                del self._entries[peer]
                return True
        return False
