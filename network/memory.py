"""Memory: the asyncio twin of a real network, for tests and for the contract suite.

A `Hub` carries frames between networks of one process, under the weather that it is given: loss,
delay, reordering, duplicates, partitions, stalled peers. With equal dice and equal calls it decides
equally. It knows frames as bytes; handshakes and chunks belong to the mesh.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush

from network.carrier import Switch
from network.dialler import Dialler
from network.errors import TransportError
from network.exchange import Exchange
from network.limits import LINK_QUEUE_BYTES, LINK_QUEUE_ITEMS
from network.peers import Standing
from network.ports import (
    Class,
    ContentStore,
    Draw,
    LinkIdentity,
    PeerAddress,
    PeerId,
    RandomBytes,
)
from network.queries import StreamIds
from network.weather import CALM, Climate, Weather

MS_PER_S = 1_000
FOR_EVER = float("inf")


@dataclass(frozen=True, slots=True)
class _Packet:
    """A frame under way. `frame` None: a reset of `stream`."""

    cls: Class
    stream: int
    frame: bytes | None
    expires: float


class MemoryLink:
    """One end of a link; a `carrier.Link`."""

    rtt_ms: float | None = None

    def __init__(self, carrier: MemoryCarrier, other: LinkIdentity, *, outbound: bool) -> None:
        loop = asyncio.get_running_loop()
        self.own = carrier.identity.peer
        self.peer = other.peer
        self.host, self.port = "memory", 0
        self.outbound = outbound
        self.wire = other.wire_max
        self.instance = other.instance
        self.chains = other.chains
        self.since = loop.time()
        self.sent_bytes = self.received_bytes = 0
        self.closed: asyncio.Future[None] = loop.create_future()
        self.far: MemoryLink | None = None
        self.parked: deque[_Packet] = deque()  # for a stalled peer
        self.last_due = 0.0
        self._carrier = carrier
        self._streams = StreamIds(outbound)
        self._bytes = [0 for _ in Class]
        self._items = [0 for _ in Class]
        self._finishing: str | None = None

    def queued_bytes(self) -> tuple[int, ...]:
        return tuple(self._bytes)

    def take_stream(self) -> int:
        return self._streams.take()

    def send(self, frame: bytes, cls: Class, stream: int, expires: float) -> bool:
        if self.closed.done():
            return False
        beyond = self._bytes[cls] + len(frame) > LINK_QUEUE_BYTES[cls]
        if self._items[cls] and (beyond or self._items[cls] >= LINK_QUEUE_ITEMS[cls]):
            return False
        self._bytes[cls] += len(frame)
        self._items[cls] += 1
        self._carrier.hub.carry(self, _Packet(cls, stream, frame, expires))
        return True

    def cancel(self, stream: int) -> None:
        if not self.closed.done():
            self._carrier.hub.carry(self, _Packet(Class.VOTE, stream, None, FOR_EVER))

    def left(self, packet: _Packet) -> None:
        """A packet of ours is no longer under way."""
        if packet.frame is not None:
            self._bytes[packet.cls] -= len(packet.frame)
            self._items[packet.cls] -= 1
            self.sent_bytes += len(packet.frame)
        if self._finishing is not None and not any(self._items):
            self.close(self._finishing)

    def receive(self, packet: _Packet) -> None:
        """A packet of the far end arrives."""
        if packet.frame is None:
            self._carrier.switch.on_reset(self, packet.stream)
        else:
            self.received_bytes += len(packet.frame)
            self._carrier.switch.on_frame(self, packet.cls, packet.stream, packet.frame)

    def finish(self, cause: str) -> None:
        self._finishing = cause
        if not any(self._items):
            self.close(cause)

    def close(self, cause: str) -> None:
        if self.closed.done():
            return
        self.closed.set_result(None)
        far, self.far = self.far, None
        self.parked.clear()
        self._carrier.gone(self, cause)
        if far is not None:
            far.close(f"closed by the peer: {cause}")


class MemoryCarrier:
    """Links of one network over a hub; a `carrier.Carrier`."""

    name = "memory"
    identity: LinkIdentity
    switch: Switch

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.links: dict[MemoryLink, None] = {}
        self._dialler: Dialler | None = None

    async def start(self, identity: LinkIdentity, switch: Switch) -> None:
        self.identity, self.switch = identity, switch
        self.hub.register(self)
        self._dialler = Dialler(identity.peer, switch, self.hub.draw, self._dial)
        self._dialler.wake()

    async def close(self) -> None:
        self.hub.unregister(self)
        if self._dialler is not None:
            await self._dialler.stop()
            self._dialler = None
        for link in list(self.links):
            link.close("closing")

    def wake(self) -> None:
        if self._dialler is not None:
            self._dialler.wake()

    def gone(self, link: MemoryLink, cause: str) -> None:
        self.links.pop(link, None)
        self.switch.link_down(link, cause)
        if self._dialler is not None:
            self._dialler.lost(link)

    async def _dial(self, address: PeerAddress) -> None:
        """Link with whoever started last under that identity."""
        await asyncio.sleep(0)  # a dial never completes in the turn that asked for it
        other = self.hub.find(address.peer)
        if other is None or not self.hub.linkable(self.identity.peer, address.peer):
            raise TransportError("nobody answers")
        if other.identity.network != self.identity.network:
            raise TransportError("another network")
        now = asyncio.get_running_loop().time()
        if other.switch.conduct.standing(self.identity.peer, now) is Standing.BANNED:
            raise TransportError("banned")
        for link in list(other.links):
            if link.peer == self.identity.peer:
                if link.instance == self.identity.instance:
                    return
                link.close("replaced by a newer link")
        near = MemoryLink(self, other.identity, outbound=True)
        far = MemoryLink(other, self.identity, outbound=False)
        near.far, far.far = far, near
        self.links[near] = None
        other.links[far] = None
        self.switch.link_up(near, other.switch.topics)
        other.switch.link_up(far, self.switch.topics)


class Hub:
    """All memory networks of a test. `weather` may be changed at any time."""

    def __init__(self, *, draw: Draw, climate: Climate = CALM) -> None:
        self.weather = Weather(draw, climate)
        self.draw = draw
        self._carriers: dict[PeerId, MemoryCarrier] = {}
        self._stalled: dict[PeerId, None] = {}
        self._flying: list[tuple[float, int, _Flight]] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None

    # -- hooks ------------------------------------------------------------------------------------

    def stall(self, peer: PeerId) -> None:
        """`peer` reads nothing any more, like a stopped process; its links stay."""
        self._stalled[peer] = None

    def resume(self, peer: PeerId) -> None:
        self._stalled.pop(peer, None)
        for link in self._links_of(peer):
            if link.far is not None:
                parked, link.far.parked = link.far.parked, deque()
                for packet in parked:
                    self.carry(link.far, packet)

    def break_link(self, one: PeerId, other: PeerId) -> None:
        """Cut their link as a dead connection would be; kept peers dial again."""
        for link in self._links_of(one):
            if link.peer == other:
                link.close("broken")

    # -- for carriers and links -------------------------------------------------------------------

    def register(self, carrier: MemoryCarrier) -> None:
        self._carriers[carrier.identity.peer] = carrier

    def unregister(self, carrier: MemoryCarrier) -> None:
        if self._carriers.get(carrier.identity.peer) is carrier:
            del self._carriers[carrier.identity.peer]

    def find(self, peer: PeerId) -> MemoryCarrier | None:
        return self._carriers.get(peer)

    def linkable(self, one: PeerId, other: PeerId) -> bool:
        """Would a handshake between them succeed now?"""
        stalled = one in self._stalled or other in self._stalled
        both = self.weather.reaches(one, other) and self.weather.reaches(other, one)
        return both and not stalled

    def carry(self, link: MemoryLink, packet: _Packet) -> None:
        """Give a packet to the weather."""
        if link.peer in self._stalled:
            link.parked.append(packet)
            return
        now = asyncio.get_running_loop().time()
        fates = self.weather.fates(link.own, link.peer)
        if not fates:
            self._fly(now, _Flight(link, packet, arrives=False, last=True))
        for number, fate in enumerate(fates):
            due = now + fate.delay_ms / MS_PER_S
            if fate.in_order:
                due = link.last_due = max(due, link.last_due)
            last = number == len(fates) - 1
            self._fly(due, _Flight(link, packet, arrives=True, last=last))

    def _links_of(self, peer: PeerId) -> list[MemoryLink]:
        carrier = self._carriers.get(peer)
        return [] if carrier is None else list(carrier.links)

    def _fly(self, due: float, flight: _Flight) -> None:
        self._number += 1
        heappush(self._flying, (due, self._number, flight))
        if self._flying[0][1] == self._number:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._flying:
            loop = asyncio.get_running_loop()
            due = self._flying[0][0]
            if due <= loop.time():
                self._timer = loop.call_soon(self._land)
            else:
                self._timer = loop.call_at(due, self._land, due)

    def _land(self, due: float = 0.0) -> None:
        """Deliver what is due; what that sends comes in the next turn."""
        self._timer = None
        now = max(asyncio.get_running_loop().time(), due)
        landing: list[_Flight] = []
        while self._flying and self._flying[0][0] <= now:
            landing.append(heappop(self._flying)[2])
        for flight in landing:
            link, packet = flight.link, flight.packet
            far = link.far
            expired = packet.expires <= now
            if far is not None and flight.arrives and not expired and not far.closed.done():
                far.receive(packet)
            if flight.last:
                link.left(packet)
        self._arm()


@dataclass(frozen=True, slots=True)
class _Flight:
    """One arrival of a packet; `last` of its copies, `arrives` or is lost."""

    link: MemoryLink
    packet: _Packet
    arrives: bool
    last: bool


def memory_network(
    hub: Hub, *, random_bytes: RandomBytes, store: ContentStore | None = None
) -> Exchange:
    """A network on `hub`. Addresses need only the peer; host and port are not looked at."""
    carrier = MemoryCarrier(hub)
    return Exchange(carrier, draw=hub.draw, random_bytes=random_bytes, store=store)
