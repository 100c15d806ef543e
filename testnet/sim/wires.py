"""The simulated network: what happens to one packet between two nodes, and what was sent in all.

Loss, delay, order, duplicates, replays, cuts and bandwidth, all from one seed. Hosts are reached by
peer; bytes are opaque. How gossip goes on from node to node: `relays`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from consensus.dice import Dice
from consensus.effects import (
    BLOCK,
    BODIES,
    CERT,
    FACTS,
    MESSAGES,
    POLL,
    PROPOSALS,
    TIP,
    VOTES,
    Ask,
)
from consensus.ids import Peer
from testnet.sim.scenario import Weather
from testnet.sim.simulator import Chance, Simulator

FRAME_BYTES: Final = 100  # topic with the chain id, chunk header, record tag, about
TAIL_DOUBLINGS_MAX: Final = 6  # of a long tail: up to 64 times the jitter
CHUNK_BYTES: Final = 16_000  # what a more urgent packet waits for at most
_US: Final = 1_000

# Classes of traffic as on real links, the most urgent first (network §2).
LEVEL: Final = {
    VOTES: 0,
    POLL: 0,
    CERT: 0,
    TIP: 0,
    "announce": 0,
    "pull": 0,
    PROPOSALS: 1,
    BLOCK: 1,
    BODIES: 1,
    MESSAGES: 2,
    FACTS: 2,
}
LEVELS: Final = 3


class Packet(NamedTuple):
    """One packet on its way: `kind` gossip | ask | reply, `name` the topic or query."""

    source: Peer
    target: Peer
    kind: str
    name: str
    data: bytes
    at_ms: int


class Node(Protocol):
    """What the network needs of a host."""

    up: bool

    def hear(self, topic: str, record: bytes, source: Peer) -> str: ...

    def serve(
        self, proto: str, data: bytes, source: Peer, reply: Callable[[bytes], None]
    ) -> None: ...


class Pipe:
    """Bytes that leave one after the other, the urgent ones first; times in µs.

    The backlog of a class is seen by itself and by all less urgent ones, which it pushes back; an
    urgent packet waits for the chunk that is being sent at most.
    """

    __slots__ = ("_free_us",)

    def __init__(self) -> None:
        self._free_us = [0] * LEVELS

    def depart_us(self, now_us: int, size: int, bytes_per_ms: int, level: int) -> int:
        """When the last byte has left."""
        free = self._free_us
        cost = size * _US // bytes_per_ms
        chunk = CHUNK_BYTES * _US // bytes_per_ms
        busy = max(free)
        start = max(now_us, *free[: level + 1])
        if busy > start:
            start = min(busy, start + chunk)
        for other in range(level + 1, LEVELS):
            if free[other] > now_us:
                free[other] += cost
        free[level] = start + cost
        return start + cost


class Wires:
    """Carries packets between hosts. Tests and adversaries set `cut`, `lose`, `scheduler`."""

    def __init__(self, simulator: Simulator, dice: Dice, weather: Weather) -> None:
        self.simulator, self.weather = simulator, weather
        self.chance = Chance(dice)
        self.hosts: dict[Peer, Node] = {}
        self.doubles: dict[Peer, list[Node]] = {}  # copies: further nodes with a peer's key
        self.order: list[Peer] = []
        self.cut: Callable[[Peer, Peer], bool] = _never
        self.lose: Callable[[Peer, Peer, str, bytes], bool] = _keep
        self.scheduler: Callable[[Packet], Sequence[int] | None] | None = None
        self.rates: dict[Peer, int] = {}  # bytes per ms of a node, where not the weather's
        self.packets: dict[str, int] = {}  # sent, by topic or query
        self.bytes: dict[str, int] = {}
        self._nodes: dict[Peer, Pipe] = {}
        self._links: dict[tuple[Peer, Peer], Pipe] = {}

    def add(self, peer: Peer, host: Node) -> None:
        """A host that can be reached."""
        self.hosts[peer] = host
        self.order.append(peer)

    def add_copy(self, peer: Peer, host: Node) -> None:
        """A second node with the same key: it hears all that the first does, is asked nothing."""
        self.doubles.setdefault(peer, []).append(host)

    def remove_copy(self, peer: Peer, host: Node) -> None:
        self.doubles[peer].remove(host)

    # ---- what hosts say -------------------------------------------------------------------------

    def gossip(self, source: Peer, topic: str, record: bytes) -> None:
        """To everybody, one packet each."""
        for peer in self.order:
            if peer != source:
                self.say(source, peer, topic, record)
        for copy in self.doubles.get(source, ()):
            self._between(copy, source, topic, record)

    def gossip_of_copy(self, source: Peer, topic: str, record: bytes) -> None:
        """What a second node with the key of `source` says: to everybody, the first one too."""
        for peer in self.order:
            if peer != source:
                self.say(source, peer, topic, record)
        self._between(self.hosts[source], source, topic, record)

    def _between(self, host: Node, peer: Peer, topic: str, record: bytes) -> None:
        """Two nodes of one key hear each other, over others."""
        packet = Packet(peer, peer, "gossip", topic, record, self.simulator.now_ms)
        self._carry(packet, _hearing(host, topic, record, peer))

    def say(self, source: Peer, target: Peer, topic: str, record: bytes) -> None:
        """One record to one peer."""
        if self.lose is not _keep and self.lose(source, target, topic, record):
            return
        packet = Packet(source, target, "gossip", topic, record, self.simulator.now_ms)
        self._carry(packet, _hearing(self.hosts[target], topic, record, source))
        for copy in self.doubles.get(target, ()):
            self._carry(packet, _hearing(copy, topic, record, source))

    def ask(self, source: Peer, target: Peer, ask: Ask, done: Callable[[bytes], None]) -> None:
        """A query; `done` with the reply, if one comes: none from a key that nobody runs."""
        host, name = self.hosts.get(target), ask.proto
        if host is None:  # it won slots, as keys that an adversary makes may
            return

        def reply(raw: bytes) -> None:
            packet = Packet(target, source, "reply", name, raw, self.simulator.now_ms)
            self._carry(packet, lambda: done(raw))

        packet = Packet(source, target, "ask", name, ask.data, self.simulator.now_ms)
        self._carry(packet, lambda: host.serve(name, ask.data, source, reply))

    # ---- one packet -----------------------------------------------------------------------------

    def carry(self, packet: Packet, arrive: Callable[[], None]) -> None:
        """Anything that somebody else delivers."""
        self._carry(packet, arrive)

    def _carry(self, packet: Packet, arrive: Callable[[], None]) -> None:
        name, size = packet.name, len(packet.data) + FRAME_BYTES
        self.packets[name] = self.packets.get(name, 0) + 1
        self.bytes[name] = self.bytes.get(name, 0) + size
        after, weather, chance = self.simulator.after, self.weather, self.chance
        if self.scheduler is not None:
            delays = self.scheduler(packet)
            if delays is not None:
                for delay in delays:
                    after(delay, arrive)
                return
        if self.cut is not _never and self.cut(packet.source, packet.target):
            return
        waited = self._waited_ms(packet, size)
        if weather.loss and chance.below(100) < weather.loss:
            return
        after(waited + self._delay_ms(), arrive)
        if weather.duplicate and chance.below(100) < weather.duplicate:
            after(waited + self._delay_ms(), arrive)
        if weather.replay and chance.below(100) < weather.replay:
            after(waited + chance.below(weather.replay_ms + 1), arrive)

    def _delay_ms(self) -> int:
        weather, chance = self.weather, self.chance
        delay, jitter = weather.delay_ms, weather.jitter_ms
        if weather.delay == "uniform":
            delay += chance.below(jitter + 1)
        elif weather.delay == "long_tail":
            doublings = 0
            while doublings < TAIL_DOUBLINGS_MAX and chance.below(3) == 0:
                doublings += 1
            delay += chance.below((jitter << doublings) + 1)
        if weather.reorder and chance.below(100) < weather.reorder:
            delay += chance.below(weather.reorder_ms + 1)
        return delay

    def _waited_ms(self, packet: Packet, size: int) -> int:
        """How long it stands in queues before its last byte leaves."""
        weather, source = self.weather, packet.source
        node_rate = self.rates.get(source, weather.node_bytes_per_ms)
        if not node_rate and not weather.link_bytes_per_ms:
            return 0
        now_us = self.simulator.now_ms * _US
        left_us, level = now_us, LEVEL.get(packet.name, LEVELS - 1)
        if node_rate:
            pipe = self._nodes.setdefault(source, Pipe())
            left_us = pipe.depart_us(left_us, size, node_rate, level)
        if weather.link_bytes_per_ms:
            link = self._links.setdefault((source, packet.target), Pipe())
            left_us = link.depart_us(left_us, size, weather.link_bytes_per_ms, level)
        return (left_us - now_us) // _US

    # ---- changes of weather ---------------------------------------------------------------------

    def heal(self) -> None:
        """No cuts, no losses, nobody who schedules; the replays and delays of the weather stay."""
        self.cut, self.lose, self.scheduler = _never, _keep, None
        self.rates.clear()

    def calm(self) -> None:
        """Good weather, with the same delays and bandwidth."""
        self.weather = replace(self.weather, loss=0, duplicate=0, reorder=0, replay=0)


class CopyWires:
    """The wires of a second node with somebody's key."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires

    def gossip(self, source: Peer, topic: str, record: bytes) -> None:
        self.wires.gossip_of_copy(source, topic, record)

    def ask(self, source: Peer, target: Peer, ask: Ask, done: Callable[[bytes], None]) -> None:
        self.wires.ask(source, target, ask, done)


def _never(source: Peer, target: Peer) -> bool:
    return False


def _keep(source: Peer, target: Peer, topic: str, record: bytes) -> bool:
    return False


def _hearing(host: Node, topic: str, record: bytes, source: Peer) -> Callable[[], None]:
    def arrive() -> None:
        host.hear(topic, record, source)

    return arrive
