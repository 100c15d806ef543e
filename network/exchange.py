"""Exchange: the network port over whatever links a carrier brings.

Gossip (`spread.py`), queries (`service.py`) and content (`content.py`) over one registry of links.
It knows frames and links, never sockets, and nothing of what payloads mean. network §1
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from network.carrier import Carrier, Link
from network.content import PROTO as CONTENT_PROTO
from network.content import REQUEST_MAX, Content, MemoryStore
from network.envelope import Kind
from network.errors import LocalError, RemoteError, Unreachable
from network.gossip import Router
from network.limits import (
    ANNOUNCE_IDS_MAX,
    CONTENT_INFLIGHT_PER_PEER,
    FRAME_OVERHEAD_MAX,
    GOSSIP_BYTES_MAX,
    GOSSIP_ID_BYTES,
    OBJECT_BYTES_MAX,
    QUERY_BYTES_MAX,
    REPLY_BYTES_MAX,
    TOPICS_BYTES_MAX,
)
from network.peers import Book, Conduct
from network.ports import (
    Admit,
    Caps,
    Class,
    ContentStore,
    Draw,
    Got,
    Handler,
    Health,
    Id,
    LinkIdentity,
    Missing,
    PeerAddress,
    PeerId,
    PeerInfo,
    PinScope,
    RandomBytes,
    Sink,
    Subnet,
    Topic,
    Verdict,
)
from network.records import malformed
from network.registry import Registry
from network.service import Service
from network.spread import Spread

CAPS: Final = Caps(
    max_gossip=GOSSIP_BYTES_MAX,
    max_query=QUERY_BYTES_MAX,
    max_reply=REPLY_BYTES_MAX,
    max_object=OBJECT_BYTES_MAX,
    verdict_gates_forward=True,
    author_proven=False,
    hop_bannable=True,
)
SEEN_KEY_BYTES: Final = 32


class Exchange:
    """A `Network`. Made by `memory.memory_network` or `mesh.mesh.mesh_network`."""

    def __init__(
        self,
        carrier: Carrier,
        *,
        draw: Draw,
        random_bytes: RandomBytes,
        store: ContentStore | None = None,
    ) -> None:
        self._carrier = carrier
        self._draw = draw
        self._random_bytes = random_bytes
        self._registry = Registry()
        self._spread = Spread(self._registry)
        self._service = Service()
        self._content = Content(store or MemoryStore(), self.query, self.blame)
        self.serve(CONTENT_PROTO, REQUEST_MAX, CONTENT_INFLIGHT_PER_PEER, self._content.serve)

    @property
    def caps(self) -> Caps:
        return CAPS

    # -- life -------------------------------------------------------------------------------------

    async def start(self, identity: LinkIdentity, sink: Sink) -> None:
        if self._registry.started:
            raise LocalError("network is already started")
        loop = asyncio.get_running_loop()
        self._registry.start(loop, sink)
        self._spread.start(
            Router(self._random_bytes(SEEN_KEY_BYTES), self._draw, loop.time()),
        )
        try:
            await self._carrier.start(identity, self)
        except BaseException:
            self._spread.stop()
            self._registry.stop()
            raise
        self.health(Health(self._carrier.name, "up", ""))

    async def close(self, drain_s: float) -> None:
        if not self._registry.started:
            return
        links = [linked.link for linked in self._registry.links.values()]
        for link in links:
            link.finish("closing")
        if links and drain_s > 0:
            await asyncio.wait([link.closed for link in links], timeout=drain_s)
        await self._carrier.close()
        await self._service.close()
        self._spread.stop()
        self.health(Health(self._carrier.name, "down", "closed"))
        self._registry.stop()

    # -- the port ---------------------------------------------------------------------------------

    def subscribe(self, topic: Topic, max_bytes: int) -> None:
        self._spread.subscribe(topic, max_bytes)

    def unsubscribe(self, topic: Topic) -> None:
        self._spread.unsubscribe(topic)

    def publish(
        self, topic: Topic, data: bytes, cls: Class, logical: bytes, expires: float
    ) -> Admit:
        return self._spread.publish(topic, data, cls, logical, expires)

    def verdict(self, token: int, v: Verdict, logical: bytes | None, cause: str) -> None:
        self._spread.verdict(token, v, logical, cause)

    async def query(
        self, peer: PeerId, proto: str, data: bytes, cls: Class, deadline: float, max_reply: int
    ) -> bytes:
        linked = self._registry.links.get(peer)
        if linked is None:
            raise Unreachable("no link to this peer")
        return await self._service.query(linked.link, proto, data, cls, deadline, max_reply)

    def serve(
        self, proto: str, max_request: int, max_inflight_per_peer: int, handler: Handler
    ) -> None:
        if not 0 <= max_request <= QUERY_BYTES_MAX:
            raise LocalError(f"0 <= max_request <= {QUERY_BYTES_MAX} does not hold")
        self._service.serve(proto, max_request, max_inflight_per_peer, handler)

    async def put(self, objects: Sequence[tuple[Id, bytes]], pin: PinScope | None) -> None:
        await self._content.put(objects, pin)

    async def has(self, ids: Sequence[Id]) -> set[Id]:
        return await self._content.has(ids)

    def get(
        self, ids: Sequence[Id], max_bytes: int, sources: Sequence[PeerId], deadline: float
    ) -> AsyncIterator[Got | Missing]:
        return self._content.get(ids, max_bytes, sources, deadline)

    async def unpin(self, scope: PinScope) -> None:
        await self._content.unpin(scope)

    def connect(self, addresses: Sequence[PeerAddress], keep: bool) -> None:
        now = self._registry.now() if self._registry.started else 0.0
        self._registry.book.add(addresses, keep, now)
        if self._registry.started:
            self._carrier.wake()

    def peers(self) -> list[PeerInfo]:
        return self._registry.infos()

    def blame(self, peer: PeerId, points: int, cause: str) -> None:
        self._registry.judge(peer, points, cause, malformed=False)

    def ban(self, peer_or_subnet: PeerId | Subnet, until: float | None) -> None:
        self._registry.ban(peer_or_subnet, until)

    # -- what carriers and links say (carrier.Switch) ---------------------------------------------

    @property
    def book(self) -> Book:
        return self._registry.book

    @property
    def conduct(self) -> Conduct:
        return self._registry.conduct

    @property
    def topics(self) -> list[Topic]:
        return self._spread.topics

    def linked(self) -> list[PeerId]:
        return list(self._registry.links)

    def health(self, event: Health) -> None:
        self._registry.tell(event)

    def link_up(self, link: Link, topics: Sequence[Topic]) -> None:
        self._spread.link_up(link, list(topics))
        self._registry.add(link, self._carrier.name)

    def link_down(self, link: Link, cause: str) -> None:
        if self._registry.holds(link):  # else another link has taken its place
            self._spread.link_down(link.peer)
            self._service.link_down(link.peer)
            self._registry.remove(link, cause)

    def on_frame(self, link: Link, cls: Class, stream: int, frame: bytes) -> None:
        """A whole frame. What is wrong in itself is blamed, and ends the link."""
        try:
            kind = frame[0] if frame else 0
            if kind == Kind.GOSSIP:
                self._spread.on_gossip(link, cls, frame)
            elif kind == Kind.QUERY:
                self._service.on_query(link, cls, stream, frame)
            elif kind == Kind.REPLY:
                self._service.on_reply(link, stream, frame)
            elif kind == Kind.ANNOUNCE:
                self._spread.on_announce(link, frame)
            elif kind == Kind.PULL:
                self._spread.on_pull(link, frame)
            elif kind == Kind.TOPICS:
                self._spread.on_topics(link, frame)
            else:
                raise malformed("unknown kind of frame")
        except RemoteError as error:
            self.on_malformed(link, error)

    def frame_bound(self, link: Link, stream: int, head: bytes) -> int:
        kind = head[0] if head else 0
        if kind == Kind.GOSSIP:
            return self._spread.bound(head)
        if kind == Kind.QUERY:
            return QUERY_BYTES_MAX + FRAME_OVERHEAD_MAX
        if kind == Kind.REPLY:
            return self._service.reply_bound(link.peer, stream)
        if kind in (Kind.ANNOUNCE, Kind.PULL):
            return 1 + ANNOUNCE_IDS_MAX * GOSSIP_ID_BYTES
        if kind == Kind.TOPICS:
            return TOPICS_BYTES_MAX
        raise malformed("unknown kind of frame")

    def on_oversize(self, link: Link, stream: int) -> None:
        self._service.on_oversize(link, stream)

    def on_reset(self, link: Link, stream: int) -> None:
        self._service.on_reset(link, stream)

    def on_malformed(self, link: Link, error: RemoteError) -> None:
        self._registry.judge(link.peer, error.points, error.cause, malformed=True)
        link.close(error.cause)
