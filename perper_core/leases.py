"""Leases (pure): who is still there, seen by somebody else (contract 14, 15).

A session is a counter in the store that its owner raises while it lives. An observer does not
compare clocks: a session is gone when its counter stood still for the whole ttl of the observer's
own monotonic time. A lease chooses who tries; safety comes from tokens and epochs.
"""

from typing import NamedTuple

from perper_core.errors import Corrupt
from perper_core.limits import LEASE_TTL_S


class Sighting(NamedTuple):
    """A counter and when it was first seen like this, in seconds of the observer's monotonic
    time."""

    counter: int | None
    since_s: float


def seen(before: Sighting | None, counter: int | None, now_s: float) -> Sighting:
    """The sighting after reading a session's counter (None: it has no record)."""
    if before is not None and before.counter == counter:
        return before
    return Sighting(counter, now_s)


def gone(sighting: Sighting, now_s: float, ttl_s: float = LEASE_TTL_S) -> bool:
    """Whether the session may be taken over from."""
    return now_s - sighting.since_s >= ttl_s


def may_write(confirmed_s: float, now_s: float, ttl_s: float = LEASE_TTL_S) -> bool:
    """Whether a holder may still write: its last confirmed beat began less than ttl ago (contract
    15)."""
    return now_s - confirmed_s < ttl_s


def encode_session(counter: int) -> bytes:
    return counter.to_bytes(8, "big")


def decode_session(body: bytes) -> int:
    """The counter. Raises Corrupt."""
    if len(body) != 8:
        raise Corrupt("a session does not decode")
    return int.from_bytes(body, "big")
