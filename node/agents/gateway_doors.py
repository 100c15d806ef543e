"""The doors of the gateway: how many connections, from where, and how long one may hold its place.

A connection that asks for nothing keeps nobody out: where a bound is reached, the oldest one
without an open request gives way; and a head that does not end in time ends its connection.
Knows no HTTP: the gateway says when a request begins and ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, cast

from node.agents.gateway_limits import CONNECTIONS_MAX, CONNECTIONS_OF_ONE_MAX, HEAD_S

_V6_NETWORK_SHIFT: Final = 64  # one household has a /64


def place_of(host: str) -> str:
    """Whom a connection counts for: an IPv4 address, an IPv6 /64; this machine is one place."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return "?"
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return "loopback"
    shift = _V6_NETWORK_SHIFT if address.version == 6 else 0
    return f"{address.version}:{int(address) >> shift:x}"


class Doors:
    """All connections of one gateway. On loopback only the bound in all holds: a proxy of this
    machine speaks for many."""

    def __init__(
        self,
        *,
        most: int = CONNECTIONS_MAX,
        most_of_one: int = CONNECTIONS_OF_ONE_MAX,
        head_s: float = HEAD_S,
    ) -> None:
        self._most, self._most_of_one, self.head_s = most, most_of_one, head_s
        self._places: dict[str, dict[Door, None]] = {}  # oldest first
        self._inner: dict[asyncio.Protocol, Door] = {}
        self.open = 0
        self.refused = 0  # connections that found no place
        self.cut = 0  # of those that asked for nothing: gave way, or took too long

    def door(self, inner: asyncio.Protocol) -> Door:
        """The protocol to be given to the loop in the place of `inner`."""
        return Door(self, inner)

    def enter(self, door: Door) -> bool:
        """Whether there is room, made by cutting another if need be."""
        mine = self._places.get(door.place, {})
        if door.place != "loopback" and len(mine) >= self._most_of_one:
            crowd = mine
        elif self.open >= self._most:
            crowd = max(self._places.values(), key=len)
        else:
            crowd = {}
        if crowd:
            idle = next((each for each in crowd if not each.requests), None)
            if idle is None:
                self.refused += 1
                return False
            idle.cut()
        self._places.setdefault(door.place, {})[door] = None
        self._inner[door.inner] = door
        self.open += 1
        return True

    def leave(self, door: Door) -> None:
        """Idempotent."""
        if self._inner.pop(door.inner, None) is None:
            return
        self.open -= 1
        del self._places[door.place][door]
        if not self._places[door.place]:
            del self._places[door.place]

    def began(self, inner: asyncio.BaseProtocol) -> None:
        """A request's head is whole and it is being answered."""
        door = self._inner.get(cast(asyncio.Protocol, inner))
        if door is not None:
            door.requests += 1
            door.wait_no_more()

    def ended(self, inner: asyncio.BaseProtocol) -> None:
        door = self._inner.get(cast(asyncio.Protocol, inner))
        if door is not None:
            door.requests -= 1


class Door(asyncio.Protocol):
    """One connection; what comes goes to `inner`."""

    def __init__(self, doors: Doors, inner: asyncio.Protocol) -> None:
        self._doors, self.inner = doors, inner
        self.place = ""
        self.requests = 0  # being answered
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inside = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.place = place_of(str(peer[0]) if peer else "")
        if not self._doors.enter(self):
            self._transport.abort()
            return
        self._inside = True
        self._wait()
        self.inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._inside:
            if not self.requests and self._timer is None:
                self._wait()
            self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received() if self._inside else None

    def pause_writing(self) -> None:
        if self._inside:
            self.inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inside:
            self.inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self.wait_no_more()
        if self._inside:
            self._inside = False
            self._doors.leave(self)
            self.inner.connection_lost(error)

    def _wait(self) -> None:
        """For a head: from its first byte, or from the connection's beginning, to its last."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._doors.head_s, self.cut)

    def wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def cut(self) -> None:
        """End it at once: nobody is answered on it."""
        self.wait_no_more()
        self._doors.cut += 1
        self._doors.leave(self)
        if self._transport is not None:
            self._transport.abort()


def bounded(doors: Doors, make: Callable[[], asyncio.Protocol]) -> Callable[[], Door]:
    """A factory of doors from one of protocols."""
    return lambda: doors.door(make())
