"""Registry: the links that are up, what is dropped at them, and what their peers are blamed for.

Shared by the halves of the exchange (gossip, queries, content). It knows scores and queues, not
frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from network.buckets import Bucket
from network.carrier import Link
from network.limits import (
    BLAME_FLOOD,
    DROPS_REPORT_S,
    FLOOD_FRAMES_BURST,
    FLOOD_FRAMES_PER_S,
    THROTTLED_FRAMES_BURST,
    THROTTLED_FRAMES_PER_S,
)
from network.peers import Book, Conduct, Standing
from network.ports import (
    Class,
    Dropped,
    LinkDown,
    LinkUp,
    NetworkEvent,
    PeerId,
    PeerInfo,
    Sink,
    Subnet,
)

FLOOD_BLAME_S = 1.0  # a flood is blamed at most once in this time


@dataclass(slots=True)
class Linked:
    """A link and what it may send us."""

    link: Link
    bucket: Bucket
    throttled: bool = False
    dropped: int = 0
    flood_blamed_at: float = 0.0


class Registry:
    """State of one adapter's links. Belongs to the thread of `loop`."""

    def __init__(self) -> None:
        self.book = Book()
        self.conduct = Conduct()
        self.links: dict[PeerId, Linked] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sink: Sink | None = None
        self._drops: dict[tuple[Class, str], int] = {}
        self._drops_timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop, sink: Sink) -> None:
        self._loop, self._sink = loop, sink
        self.book.reset(loop.time())

    def stop(self) -> None:
        if self._drops_timer is not None:
            self._drops_timer.cancel()
            self._drops_timer = None
        self._drops = {}
        self._loop = None

    @property
    def started(self) -> bool:
        return self._loop is not None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "network is not started"
        return self._loop

    def now(self) -> float:
        """Monotonic seconds."""
        return self.loop.time()

    def tell(self, event: NetworkEvent) -> None:
        if self._sink is not None:
            self._sink.put(event)

    # -- links ------------------------------------------------------------------------------------

    def add(self, link: Link, via: str) -> None:
        assert link.peer not in self.links
        self.links[link.peer] = Linked(link, _bucket(self.now(), throttled=False))
        self.tell(LinkUp(link.peer, via, link.wire, link.chains, link.instance, link.outbound))

    def holds(self, link: Link) -> bool:
        """Is this very link up?"""
        linked = self.links.get(link.peer)
        return linked is not None and linked.link is link

    def remove(self, link: Link, cause: str) -> None:
        assert self.holds(link)
        del self.links[link.peer]
        self.tell(LinkDown(link.peer, cause))

    def infos(self) -> list[PeerInfo]:
        return [self._info(linked) for linked in self.links.values()]

    # -- sending and dropping ---------------------------------------------------------------------

    def send_all(self, peers: Sequence[PeerId], frame: bytes, cls: Class, expires: float) -> int:
        """To how many it was queued."""
        return sum(self.send(self.links[peer].link, frame, cls, expires) for peer in peers)

    def send(self, link: Link, frame: bytes, cls: Class, expires: float) -> bool:
        if link.send(frame, cls, 0, expires):
            return True
        linked = self.links.get(link.peer)
        if linked is not None:
            linked.dropped += 1
        self.drop(cls, "link queue full")
        return False

    def may_send(self, peer: PeerId) -> bool:
        """May `peer` send us one more gossip? False for a flood: dropped before costly work."""
        linked = self.links.get(peer)
        if linked is None:
            return False
        now = self.now()
        throttled = self.conduct.standing(peer, now) is Standing.THROTTLED
        if throttled is not linked.throttled:
            linked.throttled = throttled
            linked.bucket = _bucket(now, throttled=throttled)
        if linked.bucket.take(now):
            return True
        self.flooded(peer)
        return False

    def flooded(self, peer: PeerId) -> None:
        """`peer` sent more than it may: counted, and blamed a little now and then."""
        self.drop(Class.MESSAGE, "flood")
        linked = self.links.get(peer)
        if linked is None:
            return
        linked.dropped += 1
        now = self.now()
        if now - linked.flood_blamed_at >= FLOOD_BLAME_S:
            linked.flood_blamed_at = now
            self.judge(peer, BLAME_FLOOD, "flood", malformed=False)

    def drop(self, cls: Class, why: str) -> None:
        """Count a drop; the sink hears the sum a little later."""
        self._drops[cls, why] = self._drops.get((cls, why), 0) + 1
        if self._drops_timer is None and self._loop is not None:
            self._drops_timer = self._loop.call_later(DROPS_REPORT_S, self._report_drops)

    def _report_drops(self) -> None:
        self._drops_timer = None
        drops, self._drops = self._drops, {}
        for (cls, why), n in drops.items():
            self.tell(Dropped(cls, n, why))

    # -- blame ------------------------------------------------------------------------------------

    def judge(self, peer: PeerId, points: int, cause: str, *, malformed: bool) -> None:
        now = asyncio.get_running_loop().time()
        kept = self.book.kept(peer)
        standing = self.conduct.blame(peer, points, cause, now, kept=kept, malformed=malformed)
        linked = self.links.get(peer)
        if standing is Standing.BANNED and linked is not None:
            linked.link.close(f"banned: {cause}")

    def ban(self, target: PeerId | Subnet, until: float | None) -> None:
        now = asyncio.get_running_loop().time()
        self.conduct.ban(target, until, now)
        for peer, linked in list(self.links.items()):
            banned = self.conduct.standing(peer, now) is Standing.BANNED
            if banned or self.conduct.host_banned(linked.link.host, now):
                linked.link.close("banned")

    def _info(self, linked: Linked) -> PeerInfo:
        link = linked.link
        score, cause = self.conduct.score(link.peer, self.now())
        return PeerInfo(
            peer=link.peer,
            host=link.host,
            port=link.port,
            outbound=link.outbound,
            kept=self.book.kept(link.peer),
            wire=link.wire,
            instance=link.instance,
            chains=link.chains,
            since=link.since,
            rtt_ms=link.rtt_ms,
            score=score,
            cause=cause,
            queued_bytes=link.queued_bytes(),
            sent_bytes=link.sent_bytes,
            received_bytes=link.received_bytes,
            dropped=linked.dropped,
        )


def _bucket(now: float, *, throttled: bool) -> Bucket:
    if throttled:
        return Bucket(THROTTLED_FRAMES_BURST, THROTTLED_FRAMES_PER_S, now)
    return Bucket(FLOOD_FRAMES_BURST, FLOOD_FRAMES_PER_S, now)
