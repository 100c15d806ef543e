"""Spread: gossip over the links of a registry.

A payload waits here for its verdict; what `gossip.Router` decides becomes frames. It knows topics
as names and payloads as bytes. network §3
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from network.carrier import Link
from network.envelope import (
    Kind,
    decode_ids,
    decode_topics,
    encode_ids,
    encode_topics,
    gossip_prefix,
    split_gossip,
)
from network.errors import LocalError
from network.gossip import Router, gossip_id
from network.limits import (
    BEAT_S,
    BLAME_REJECT,
    FORWARD_EXPIRES_S,
    GOSSIP_BYTES_MAX,
    PENDING_BYTES_MAX,
    PENDING_VERDICTS_MAX,
    TOPICS_MAX,
)
from network.ports import (
    OK,
    Admit,
    Admitted,
    Class,
    Full,
    Gossip,
    Origin,
    PeerId,
    Topic,
    Verdict,
)
from network.records import malformed
from network.registry import Registry
from network.seen import Sighting

FOR_EVER = float("inf")


@dataclass(frozen=True, slots=True)
class _Subscription:
    topic: Topic
    max_bytes: int


@dataclass(frozen=True, slots=True)
class _Pending:
    """A gossip that waits for its verdict."""

    peer: PeerId
    id: bytes
    frame: bytes
    cls: Class


class Spread:
    """The gossip half of the port."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._router: Router | None = None
        self._subscriptions: dict[bytes, _Subscription] = {}
        self._prefixes: dict[Topic, bytes] = {}
        self._pending: OrderedDict[int, _Pending] = OrderedDict()  # oldest first
        self._pending_bytes = 0
        self._token = 0  # never reused, also not after a restart: late verdicts find nothing
        self._beat: asyncio.TimerHandle | None = None

    def start(self, router: Router) -> None:
        self._router = router

    def stop(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
        self._pending.clear()
        self._pending_bytes = 0
        self._router = None

    # -- ours -------------------------------------------------------------------------------------

    @property
    def topics(self) -> list[Topic]:
        return [subscription.topic for subscription in self._subscriptions.values()]

    def subscribe(self, topic: Topic, max_bytes: int) -> None:
        if not 0 < max_bytes <= GOSSIP_BYTES_MAX:
            raise LocalError(f"0 < max_bytes <= {GOSSIP_BYTES_MAX} does not hold")
        prefix = self._prefix(topic)
        if prefix not in self._subscriptions and len(self._subscriptions) >= TOPICS_MAX:
            raise LocalError(f"more than {TOPICS_MAX} topics")
        self._subscriptions[prefix] = _Subscription(topic, max_bytes)
        self._tell_topics()

    def unsubscribe(self, topic: Topic) -> None:
        if self._subscriptions.pop(self._prefix(topic), None) is not None:
            self._tell_topics()

    def publish(
        self, topic: Topic, data: bytes, cls: Class, logical: bytes, expires: float
    ) -> Admit:
        if len(data) > GOSSIP_BYTES_MAX:
            return Admitted.TOO_BIG
        if self._router is None or not self._router.takers(topic):
            return Admitted.NO_LINK
        now = self._registry.now()
        if expires <= now:
            self._registry.drop(cls, "expired")
            return OK
        frame = self._prefix(topic) + data
        eager = self._router.publish(gossip_id(frame), topic, cls, frame, logical, now)
        sent = self._registry.send_all(eager, frame, cls, expires)
        self._arm_beat()
        return Full(cls) if eager and not sent else OK

    def verdict(self, token: int, v: Verdict, logical: bytes | None, cause: str) -> None:
        pending = self._pending.pop(token, None)
        if pending is None or self._router is None:
            return
        self._pending_bytes -= len(pending.frame)
        if v is Verdict.ACCEPT:
            now = self._registry.now()
            eager = self._router.accepted(pending.id, pending.frame, logical, now)
            if eager:
                expires = now + FORWARD_EXPIRES_S
                self._registry.send_all(eager, pending.frame, pending.cls, expires)
            self._arm_beat()
        elif v is Verdict.IGNORE:
            self._router.ignored(pending.id)
        else:
            self._router.rejected(pending.id)
            self._registry.judge(pending.peer, BLAME_REJECT, cause, malformed=False)

    # -- theirs -----------------------------------------------------------------------------------

    def link_up(self, link: Link, topics: list[Topic]) -> None:
        assert self._router is not None
        self._router.link_up(link.peer, link.outbound)
        self._router.set_topics(link.peer, topics)

    def link_down(self, peer: PeerId) -> None:
        if self._router is not None:
            self._router.link_down(peer)

    def bound(self, head: bytes) -> int:
        """Most bytes of a gossip frame that starts with `head`; 0 if nobody here wants it."""
        prefix = head[: split_gossip(head)]
        subscription = self._subscriptions.get(prefix)
        return 0 if subscription is None else len(prefix) + subscription.max_bytes

    def on_gossip(self, link: Link, cls: Class, frame: bytes) -> None:
        if self._router is None or not self._registry.may_send(link.peer):
            return
        start = split_gossip(frame)
        subscription = self._subscriptions.get(frame[:start])
        if subscription is None:
            return  # unsubscribed while it was on its way
        if len(frame) - start > subscription.max_bytes:
            raise malformed("gossip beyond the bound of its topic")
        id = gossip_id(frame)
        now = self._registry.now()
        sighting = self._router.arrived(link.peer, id, subscription.topic, cls, now)
        if sighting is Sighting.QUOTA:
            self._registry.flooded(link.peer)
        if sighting is not Sighting.NEW:
            return
        self._token += 1
        self._pending[self._token] = _Pending(link.peer, id, frame, cls)
        self._pending_bytes += len(frame)
        while len(self._pending) > PENDING_VERDICTS_MAX or self._pending_bytes > PENDING_BYTES_MAX:
            # A verdict that never comes means ignore. network §1
            self.verdict(next(iter(self._pending)), Verdict.IGNORE, None, "")
        origin = Origin(link.peer, None)
        event = Gossip(self._token, subscription.topic, frame[start:], origin, now, cls)
        self._registry.tell(event)

    def on_announce(self, link: Link, frame: bytes) -> None:
        ids = decode_ids(frame)
        if self._router is None or not self._registry.may_send(link.peer):
            return
        pull = self._router.announced(link.peer, ids, self._registry.now())
        if pull:
            self._send_ids(link, Kind.PULL, pull)
        self._arm_beat()

    def on_pull(self, link: Link, frame: bytes) -> None:
        ids = decode_ids(frame)
        if self._router is None:
            return
        expires = self._registry.now() + FORWARD_EXPIRES_S
        for id in ids:
            held = self._router.pulled(link.peer, id)
            if held is not None and held.frame is not None:
                self._registry.send(link, held.frame, held.cls, expires)

    def on_topics(self, link: Link, frame: bytes) -> None:
        topics = decode_topics(frame)
        if self._router is not None:
            self._router.set_topics(link.peer, topics)

    # -- inside -----------------------------------------------------------------------------------

    def _arm_beat(self) -> None:
        if self._beat is None and self._router is not None and self._router.beating:
            self._beat = self._registry.loop.call_later(BEAT_S, self._on_beat)

    def _on_beat(self) -> None:
        self._beat = None
        if self._router is None:
            return
        beat = self._router.beat(self._registry.now())
        for peer, ids in beat.announces:
            self._send_ids(self._registry.links[peer].link, Kind.ANNOUNCE, ids)
        for peer, id in beat.pulls:
            self._send_ids(self._registry.links[peer].link, Kind.PULL, [id])
        self._arm_beat()

    def _send_ids(self, link: Link, kind: Kind, ids: list[bytes]) -> None:
        expires = self._registry.now() + FORWARD_EXPIRES_S
        self._registry.send(link, encode_ids(kind, ids), Class.PROPOSAL, expires)

    def _tell_topics(self) -> None:
        frame = encode_topics(self.topics)
        for linked in list(self._registry.links.values()):
            if not linked.link.send(frame, Class.VOTE, 0, FOR_EVER):
                linked.link.close("queue full")  # it would never learn our topics

    def _prefix(self, topic: Topic) -> bytes:
        prefix = self._prefixes.get(topic)
        if prefix is None:
            prefix = gossip_prefix(topic)
            if len(self._prefixes) < TOPICS_MAX:
                self._prefixes[topic] = prefix
        return prefix
