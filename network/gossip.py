"""Who gets which gossip next: deliver, wait for the verdict, forward by logical key.

The router is told of links, arrivals and verdicts, and answers with peers; it never sees a socket
and reads no payload. Up to 8 takers of a topic everybody is linked with everybody, so a publisher
reaches all of them itself and a forward of messages is only announced. Above, four links get what
is small unasked and all others an announcement. network §3
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from network.limits import (
    ANNOUNCE_IDS_MAX,
    ANNOUNCE_QUEUE_MAX,
    DEGREE,
    DEGREE_MAX,
    DEGREE_MIN,
    DEGREE_OUTBOUND_MIN,
    EAGER_BYTES_MAX,
    FULL_MESH_PEERS,
    GOSSIP_ID_BYTES,
    HELD_BYTES_MAX,
    HELD_ITEMS_MAX,
    HELD_S,
    PULL_NEXT_SOURCE_S,
    PULL_SOURCES_MAX,
    PULLS_OPEN_MAX,
    PULLS_PER_LINK_MAX,
    SERVED_PER_PEER_MAX,
)
from network.ports import Class, Draw, PeerId, Topic
from network.seen import Seen, Sighting


def gossip_id(frame: bytes) -> bytes:
    """Name of a payload on links: of the sha256 over its whole frame (kind, topic, payload)."""
    return sha256(frame).digest()[:GOSSIP_ID_BYTES]


@dataclass(slots=True)
class Held:
    """A payload that went by. `frame` is None until it may be handed on."""

    topic: Topic
    cls: Class
    at: float
    frame: bytes | None = None
    holders: dict[PeerId, None] = field(default_factory=dict)
    served: dict[PeerId, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Link:
    outbound: bool
    topics: dict[Topic, None] = field(default_factory=dict)
    announce: dict[bytes, None] = field(default_factory=dict)
    pulls: int = 0


@dataclass(slots=True)
class _Pull:
    sources: list[PeerId]
    turn: int
    asked_at: float


@dataclass(frozen=True, slots=True)
class Beat:
    """What one beat sends: ids to announce, and the ids to pull from their next source."""

    announces: list[tuple[PeerId, list[bytes]]]
    pulls: list[tuple[PeerId, bytes]]


class Router:
    """State of gossip for one adapter. `key`: secret bytes for the seen cache."""

    def __init__(self, key: bytes, draw: Draw, now: float) -> None:
        self._draw = draw
        self._seen = Seen(key, now)
        self._said = Seen(key, now)  # logical keys that were published or forwarded
        self._links: dict[PeerId, _Link] = {}
        self._takers: dict[Topic, list[PeerId]] = {}
        self._eager: dict[Topic, list[PeerId]] = {}
        self._held: OrderedDict[bytes, Held] = OrderedDict()  # oldest first
        self._held_bytes = 0
        self._pulls: dict[bytes, _Pull] = {}

    # -- links ------------------------------------------------------------------------------------

    def link_up(self, peer: PeerId, outbound: bool) -> None:
        self._links[peer] = _Link(outbound)

    def link_down(self, peer: PeerId) -> None:
        if self._links.pop(peer, None) is not None:
            self._forget_choice(peer)

    def set_topics(self, peer: PeerId, topics: Sequence[Topic]) -> None:
        """The whole list of topics that `peer` takes."""
        link = self._links.get(peer)
        if link is not None:
            link.topics = dict.fromkeys(topics)
            self._forget_choice(peer)

    def takers(self, topic: Topic) -> list[PeerId]:
        """Links that take `topic`, in the order they came up."""
        found = self._takers.get(topic)
        if found is None:
            found = [peer for peer, link in self._links.items() if topic in link.topics]
            if found:
                self._takers[topic] = found
        return found

    # -- payloads ---------------------------------------------------------------------------------

    def publish(
        self, id: bytes, topic: Topic, cls: Class, frame: bytes, logical: bytes, now: float
    ) -> list[PeerId]:
        """Own payload: the peers to send it to at once. Others get an announcement."""
        self._seen.add(id, None, now)
        self._said.add(logical, None, now)
        takers = self.takers(topic)
        small = len(frame) <= EAGER_BYTES_MAX
        if len(takers) <= FULL_MESH_PEERS or (small and cls <= Class.PROPOSAL):
            return takers  # own votes, polls and proposals go directly to all links
        # Nobody else can have it yet, so even a large payload goes unasked to the eager links.
        eager = self._eager_links(topic, takers)
        held = self._hold(id, topic, cls, frame, now)
        held.holders.update(dict.fromkeys(eager))
        self._announce(id, held, takers)
        return eager

    def arrived(self, peer: PeerId, id: bytes, topic: Topic, cls: Class, now: float) -> Sighting:
        """A payload came over a link. Deliver it only if NEW."""
        self._pulls_done(id)
        sighting = self._seen.add(id, peer, now)
        if sighting is Sighting.NEW:
            self._expire(now)
            self._held[id] = Held(topic, cls, now, holders={peer: None})
        elif sighting is Sighting.KNOWN:
            self._note_holder(peer, id)
        return sighting

    def accepted(self, id: bytes, frame: bytes, logical: bytes | None, now: float) -> list[PeerId]:
        """Verdict accept: the peers to forward to at once. network §3: by logical key, once."""
        held = self._held.get(id)
        if held is None or self._said.add(logical or id, None, now) is not Sighting.NEW:
            return []
        takers = [peer for peer in self.takers(held.topic) if peer not in held.holders]
        if not takers:
            return []
        full = len(self.takers(held.topic)) <= FULL_MESH_PEERS
        eager: list[PeerId] = []
        if len(frame) <= EAGER_BYTES_MAX:
            if not full:
                chosen = self._eager_links(held.topic, self.takers(held.topic))
                eager = [peer for peer in chosen if peer not in held.holders]
            elif held.cls <= Class.PROPOSAL:
                eager = takers
        held.holders.update(dict.fromkeys(eager))
        if len(eager) < len(takers):
            self._keep(held, frame)
            self._announce(id, held, takers)
        return eager

    def ignored(self, id: bytes) -> None:
        """Verdict ignore, or none in time: the same bytes may come again, without blame."""
        self._seen.forget(id)
        self._drop_held(id)

    def rejected(self, id: bytes) -> None:
        """Verdict reject: it stays seen, and is handed to nobody."""
        self._drop_held(id)

    def held(self, id: bytes) -> Held | None:
        return self._held.get(id)

    # -- announcements and pulls ------------------------------------------------------------------

    def announced(self, peer: PeerId, ids: Sequence[bytes], now: float) -> list[bytes]:
        """A link has these: the ids to pull from it now."""
        pull: list[bytes] = []
        link = self._links.get(peer)
        if link is None:
            return pull
        for id in ids:
            if self._seen.knows(id):
                self._note_holder(peer, id)
                continue
            open_pull = self._pulls.get(id)
            if open_pull is None:
                if len(self._pulls) < PULLS_OPEN_MAX and link.pulls < PULLS_PER_LINK_MAX:
                    self._pulls[id] = _Pull([peer], 0, now)
                    link.pulls += 1
                    pull.append(id)
            elif len(open_pull.sources) < PULL_SOURCES_MAX and peer not in open_pull.sources:
                open_pull.sources.append(peer)
        return pull

    def pulled(self, peer: PeerId, id: bytes) -> Held | None:
        """A link asks for `id`: what to send, or None (gone, or served often enough)."""
        held = self._held.get(id)
        if held is None or held.frame is None:
            return None
        served = held.served.get(peer, 0)
        if served >= SERVED_PER_PEER_MAX:
            return None
        held.served[peer] = served + 1
        held.holders[peer] = None
        return held

    @property
    def beating(self) -> bool:
        """Is there anything for the next beat?"""
        return bool(self._pulls) or any(link.announce for link in self._links.values())

    def beat(self, now: float) -> Beat:
        announces: list[tuple[PeerId, list[bytes]]] = []
        for peer, link in self._links.items():
            ids = list(link.announce)[:ANNOUNCE_IDS_MAX]
            for id in ids:
                del link.announce[id]
            ids = [id for id in ids if id in self._held]
            if ids:
                announces.append((peer, ids))
        pulls: list[tuple[PeerId, bytes]] = []
        for id in [id for id, p in self._pulls.items() if now - p.asked_at >= PULL_NEXT_SOURCE_S]:
            source = self._next_source(id, now)
            if source is not None:
                pulls.append((source, id))
        return Beat(announces, pulls)

    # -- inside -----------------------------------------------------------------------------------

    def _next_source(self, id: bytes, now: float) -> PeerId | None:
        pull = self._pulls[id]
        self._count_pull(pull.sources[pull.turn], -1)
        pull.turn += 1
        while pull.turn < len(pull.sources):
            source = pull.sources[pull.turn]
            link = self._links.get(source)
            if link is not None and link.pulls < PULLS_PER_LINK_MAX:
                pull.asked_at = now
                link.pulls += 1
                return source
            pull.turn += 1
        del self._pulls[id]
        return None

    def _pulls_done(self, id: bytes) -> None:
        pull = self._pulls.pop(id, None)
        if pull is not None:
            self._count_pull(pull.sources[pull.turn], -1)

    def _count_pull(self, peer: PeerId, change: int) -> None:
        link = self._links.get(peer)
        if link is not None:
            link.pulls = max(0, link.pulls + change)

    def _note_holder(self, peer: PeerId, id: bytes) -> None:
        held = self._held.get(id)
        if held is not None:
            held.holders[peer] = None
        link = self._links.get(peer)
        if link is not None:
            link.announce.pop(id, None)

    def _announce(self, id: bytes, held: Held, takers: Sequence[PeerId]) -> None:
        for peer in takers:
            link = self._links[peer]
            if peer not in held.holders and len(link.announce) < ANNOUNCE_QUEUE_MAX:
                link.announce[id] = None

    def _hold(self, id: bytes, topic: Topic, cls: Class, frame: bytes, now: float) -> Held:
        self._expire(now)
        self._drop_held(id)
        held = self._held[id] = Held(topic, cls, now)
        self._keep(held, frame)
        return held

    def _keep(self, held: Held, frame: bytes) -> None:
        if held.frame is None:
            held.frame = frame
            self._held_bytes += len(frame)

    def _expire(self, now: float) -> None:
        """Drop what is old, and the oldest beyond the bounds, before one more is held."""
        while self._held:
            id = next(iter(self._held))
            full = len(self._held) >= HELD_ITEMS_MAX or self._held_bytes > HELD_BYTES_MAX
            if not full and now - self._held[id].at < HELD_S:
                return
            self._drop_held(id)

    def _drop_held(self, id: bytes) -> None:
        held = self._held.pop(id, None)
        if held is not None and held.frame is not None:
            self._held_bytes -= len(held.frame)

    def _forget_choice(self, peer: PeerId) -> None:
        self._takers = {}
        for topic, chosen in self._eager.items():
            self._eager[topic] = [
                other
                for other in chosen
                if other in self._links and (other != peer or topic in self._links[peer].topics)
            ]

    def _eager_links(self, topic: Topic, takers: Sequence[PeerId]) -> list[PeerId]:
        """The links that get this topic unasked: 4, refilled below 3. network §3"""
        chosen = self._eager.setdefault(topic, [])
        if len(chosen) >= DEGREE_MIN:
            return chosen
        rest = [peer for peer in takers if peer not in chosen]
        outbound = sum(self._links[peer].outbound for peer in chosen)
        while rest and len(chosen) < DEGREE:
            wanted = [peer for peer in rest if self._links[peer].outbound]
            pool = wanted if wanted and outbound < DEGREE_OUTBOUND_MIN else rest
            pick = pool[self._draw(len(pool))]
            rest.remove(pick)
            chosen.append(pick)
            outbound += self._links[pick].outbound
        assert len(chosen) <= DEGREE_MAX
        return chosen
