"""Gossip as real links carry it: each node asks the router of `network` whom to hand what.

A record goes on when its verdict is accept, once by what it says; small things unasked, large ones
announced and pulled. What is counted here is what a network of that size would send.
"""

from collections.abc import Callable, Sequence
from typing import Final

from consensus.dice import Dice
from consensus.effects import ACCEPT, FACTS, IGNORE, MESSAGES, PROPOSALS, VOTES
from consensus.ids import Peer
from network.gossip import Router, gossip_id
from network.limits import BEAT_S, GOSSIP_ID_BYTES
from network.ports import Class
from network.seen import Sighting
from testnet.sim.scenario import Weather
from testnet.sim.simulator import Simulator
from testnet.sim.wires import Node, Packet, Wires

CLASSES: Final = {
    VOTES: Class.VOTE,
    FACTS: Class.MESSAGE,
    PROPOSALS: Class.PROPOSAL,
    MESSAGES: Class.MESSAGE,
}
TOPICS: Final = tuple(CLASSES)
ANNOUNCE, PULL = "announce", "pull"
_SECOND_MS: Final = 1_000
_KEY_BYTES: Final = 16


class Relays(Wires):
    """Wires whose nodes forward. All nodes are linked, as up to 64 are."""

    def __init__(self, simulator: Simulator, dice: Dice, weather: Weather) -> None:
        super().__init__(simulator, dice, weather)
        self._routers: dict[Peer, Router] = {}
        self._beating: dict[Peer, None] = {}  # whose next beat is under way

    def add(self, peer: Peer, host: Node) -> None:
        super().add(peer, host)
        router = Router(bytes(peer)[:_KEY_BYTES], self.chance.below, self._now)
        for other, others in self._routers.items():
            router.link_up(other, True)
            router.set_topics(other, TOPICS)
            others.link_up(peer, False)
            others.set_topics(peer, TOPICS)
        self._routers[peer] = router

    @property
    def _now(self) -> float:
        return self.simulator.now_ms / _SECOND_MS

    def gossip(self, source: Peer, topic: str, record: bytes) -> None:
        """An own record: to whom the router says; others get an announcement."""
        frame = _frame(topic, record)
        router, id_ = self._routers[source], gossip_id(frame)
        for peer in router.publish(id_, topic, CLASSES[topic], frame, id_, self._now):
            self._hand(source, Peer(peer), topic, frame)
        self._beat_later(source)

    def say(self, source: Peer, target: Peer, topic: str, record: bytes) -> None:
        """One record to one peer, who may hand it on."""
        self._hand(source, target, topic, _frame(topic, record))

    def _hand(self, source: Peer, target: Peer, topic: str, frame: bytes) -> None:
        record = frame[len(topic) + 1 :]
        if self.lose(source, target, topic, record):
            return
        for host in (self.hosts[target], *self.doubles.get(target, ())):
            packet = Packet(source, target, "gossip", topic, record, self.simulator.now_ms)
            self.carry(packet, self._arriving(packet, host, frame))

    def _arriving(self, packet: Packet, host: Node, frame: bytes) -> Callable[[], None]:
        def arrive() -> None:
            if host.up:
                self._arrive(packet, host, frame)

        return arrive

    def _arrive(self, packet: Packet, host: Node, frame: bytes) -> None:
        source, peer, topic = packet.source, packet.target, packet.name
        router, id_ = self._routers[peer], gossip_id(frame)
        if router.arrived(source, id_, topic, CLASSES[topic], self._now) is not Sighting.NEW:
            return
        verdict = host.hear(topic, packet.data, source)
        if verdict == ACCEPT:
            for other in router.accepted(id_, frame, None, self._now):
                self._hand(peer, Peer(other), topic, frame)
            self._beat_later(peer)
        elif verdict == IGNORE:
            router.ignored(id_)
        else:
            router.rejected(id_)

    # ---- announcements and pulls ----------------------------------------------------------------

    def _beat_later(self, peer: Peer) -> None:
        if peer not in self._beating and self._routers[peer].beating:
            self._beating[peer] = None
            self.simulator.after(int(BEAT_S * _SECOND_MS), lambda: self._beat(peer))

    def _beat(self, peer: Peer) -> None:
        self._beating.pop(peer, None)
        if not self.hosts[peer].up:
            return
        beat = self._routers[peer].beat(self._now)
        for other, ids in beat.announces:
            self._ids(peer, Peer(other), ANNOUNCE, ids, self._announced)
        for other, id_ in beat.pulls:
            self._ids(peer, Peer(other), PULL, [id_], self._pulled)
        self._beat_later(peer)

    def _ids(
        self,
        source: Peer,
        target: Peer,
        name: str,
        ids: Sequence[bytes],
        arrive: Callable[[Peer, Peer, Sequence[bytes]], None],
    ) -> None:
        packet = Packet(source, target, name, name, b"".join(ids), self.simulator.now_ms)
        assert len(packet.data) == GOSSIP_ID_BYTES * len(ids), "ids of one size"
        self.carry(packet, lambda: arrive(source, target, ids) if self.hosts[target].up else None)

    def _announced(self, source: Peer, peer: Peer, ids: Sequence[bytes]) -> None:
        wanted = self._routers[peer].announced(source, ids, self._now)
        if wanted:
            self._ids(peer, source, PULL, wanted, self._pulled)
        self._beat_later(peer)

    def _pulled(self, source: Peer, peer: Peer, ids: Sequence[bytes]) -> None:
        for id_ in ids:
            held = self._routers[peer].pulled(source, id_)
            if held is not None and held.frame is not None:
                self._hand(peer, source, held.topic, held.frame)


def _frame(topic: str, record: bytes) -> bytes:
    return topic.encode() + b"\x00" + record
