"""Laboratories for networks: the same nodes over memory and over real TCP on loopback.

A lab starts networks with real identities, links them, stalls and restarts them. Tests await
events, never time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from network import linkkey
from network.content import MemoryStore
from network.exchange import Exchange
from network.memory import Hub, memory_network
from network.mesh.mesh import MeshCarrier, mesh_network
from network.mesh.noise import public_key
from network.ports import (
    Admit,
    Class,
    ContentStore,
    Full,
    Gossip,
    Got,
    LinkDown,
    LinkIdentity,
    LinkSecret,
    LinkUp,
    Missing,
    NetworkEvent,
    PeerAddress,
    PeerId,
    PeerInfo,
    Verdict,
)

NETWORK_ID = b"\x01\x71\x12\x20" + sha256(b"test network").digest()
CHAIN_ID = b"\x01\x71\x12\x20" + sha256(b"test chain").digest()
DOMAIN = b"apocryph/mesh/1 link\x00"
DAY_MS = 24 * 3600 * 1000
WAIT_S = 10.0
TOPIC = "apx/test/messages"
E = TypeVar("E")


def content_id(data: bytes) -> bytes:
    return b"\x01\x71\x12\x20" + sha256(data).digest()


def slot_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(b"slot" + name.encode()).digest())


def peer_of(name: str) -> PeerId:
    return slot_key(name).public_key().public_bytes_raw()


def verify(peer: PeerId, statement: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(peer).verify(signature, DOMAIN + statement)
    except (InvalidSignature, ValueError):
        return False
    return True


def make_secret(
    name: str,
    *,
    network: bytes = NETWORK_ID,
    static: bytes | None = None,
    vouched: bytes | None = None,
    not_after_ms: int | None = None,
    signer: str | None = None,
) -> LinkSecret:
    """A link key of `name`; the options make it wrong in one way."""
    private = static or sha256(b"static" + name.encode()).digest()
    until = int(time.time() * 1000) + DAY_MS if not_after_ms is None else not_after_ms
    statement = linkkey.unsigned(network, peer_of(name), vouched or public_key(private), until)
    signature = slot_key(signer or name).sign(DOMAIN + statement)
    return LinkSecret(private, linkkey.signed(statement, signature))


def make_identity(
    name: str,
    *,
    instance: bytes | None = None,
    network: bytes = NETWORK_ID,
    secret: LinkSecret | None = None,
    wire: tuple[int, int] = (1, 1),
) -> LinkIdentity:
    made = secret or make_secret(name, network=network)
    return LinkIdentity(
        peer=peer_of(name),
        network=network,
        secret=lambda: made,
        verify=verify,
        instance=instance or sha256(b"instance" + name.encode()).digest()[:16],
        chains=(CHAIN_ID,),
        wire_min=wire[0],
        wire_max=wire[1],
    )


class Log:
    """A sink that keeps everything and lets tests await what they look for."""

    def __init__(self) -> None:
        self.events: list[NetworkEvent] = []
        self.on_gossip: Callable[[Gossip], None] | None = None
        self._changed = asyncio.Event()

    def put(self, event: NetworkEvent) -> None:
        if isinstance(event, Gossip) and self.on_gossip is not None:
            self.on_gossip(event)
        self.events.append(event)
        self._changed.set()

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def wait(self, kind: type[E], found: Callable[[E], bool] = lambda _: True) -> E:
        """The first event of that kind; it and what came before it are taken away."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for number, event in enumerate(self.events):
                    if isinstance(event, kind) and found(event):
                        del self.events[: number + 1]
                        return event
                self._changed.clear()
                await self._changed.wait()

    async def seen(self, kind: type[E], found: Callable[[E], bool]) -> E:
        """The same, and nothing is taken away."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for event in self.all(kind):
                    if found(event):
                        return event
                self._changed.clear()
                await self._changed.wait()

    async def gossip(self, data: bytes) -> Gossip:
        return await self.wait(Gossip, lambda event: event.data == data)


@dataclass
class Node:
    name: str
    net: Exchange
    identity: LinkIdentity
    log: Log = field(default_factory=Log)
    carrier: MeshCarrier | None = None

    @property
    def peer(self) -> PeerId:
        return self.identity.peer

    @property
    def address(self) -> PeerAddress:
        if self.carrier is None or self.carrier.listening is None:
            return PeerAddress(self.peer, "memory", 1)
        return PeerAddress(self.peer, *self.carrier.listening)

    def publish(
        self, data: bytes, cls: Class = Class.MESSAGE, logical: bytes | None = None
    ) -> Admit:
        return self.net.publish(TOPIC, data, cls, logical or sha256(data).digest(), self.soon())

    def accept(self, event: Gossip, logical: bytes | None = None) -> None:
        self.net.verdict(event.token, Verdict.ACCEPT, logical, "")

    async def ask(
        self, other: Node, data: bytes = b"?", proto: str = "echo/1", max_reply: int = 1_000
    ) -> bytes:
        deadline = self.soon()
        return await self.net.query(other.peer, proto, data, Class.POLL, deadline, max_reply)

    def info(self, other: Node) -> PeerInfo | None:
        return next((info for info in self.net.peers() if info.peer == other.peer), None)

    @staticmethod
    def soon() -> float:
        return asyncio.get_running_loop().time() + WAIT_S


class Lab:
    """Base of the labs: names, seeds, cleanup."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def make(self, name: str, store: ContentStore | None, dice: random.Random) -> Node:
        raise NotImplementedError

    def stall(self, node: Node) -> None:
        raise NotImplementedError

    def resume(self, node: Node) -> None:
        raise NotImplementedError

    def break_link(self, one: Node, other: Node) -> None:
        raise NotImplementedError

    async def node(
        self,
        name: str,
        *,
        store: ContentStore | None = None,
        identity: LinkIdentity | None = None,
        max_bytes: int = 256 * 1024,
    ) -> Node:
        node = self.make(name, store, random.Random(name))
        node.identity = identity or node.identity
        node.net.subscribe(TOPIC, max_bytes)
        self.nodes.append(node)
        await node.net.start(node.identity, node.log)
        return node

    async def link(self, one: Node, other: Node, *, keep: bool = True) -> None:
        """`one` dials; both have their LinkUp when this returns. Both keep each other."""
        if keep:
            other.net.connect([PeerAddress(one.peer, "", 0)], True)
        one.net.connect([other.address], keep)
        await one.log.wait(LinkUp, lambda event: event.peer == other.peer)
        await other.log.wait(LinkUp, lambda event: event.peer == one.peer)

    async def line(self, *names: str) -> list[Node]:
        """Nodes linked in a line; the ends do not know each other."""
        nodes = [await self.node(name) for name in names]
        for one, other in pairwise(nodes):
            await self.link(one, other)
        return nodes

    async def restart(self, node: Node) -> None:
        await node.net.close(0.0)
        await node.net.start(node.identity, node.log)

    async def close(self) -> None:
        for node in self.nodes:
            await node.net.close(0.0)


class MemoryLab(Lab):
    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub(draw=random.Random("hub").randrange)

    def make(self, name: str, store: ContentStore | None, dice: random.Random) -> Node:
        net = memory_network(self.hub, random_bytes=dice.randbytes, store=store)
        return Node(name, net, make_identity(name))

    def stall(self, node: Node) -> None:
        self.hub.stall(node.peer)

    def resume(self, node: Node) -> None:
        self.hub.resume(node.peer)

    def break_link(self, one: Node, other: Node) -> None:
        self.hub.break_link(one.peer, other.peer)


class MeshLab(Lab):
    def make(self, name: str, store: ContentStore | None, dice: random.Random) -> Node:
        net, carrier = mesh_network(
            "127.0.0.1", 0, draw=dice.randrange, random_bytes=dice.randbytes, store=store
        )
        return Node(name, net, make_identity(name), carrier=carrier)

    def stall(self, node: Node) -> None:
        assert node.carrier is not None
        for link in node.carrier.links:
            link.pause_reading()

    def resume(self, node: Node) -> None:
        assert node.carrier is not None
        for link in node.carrier.links:
            link.resume_reading()

    def break_link(self, one: Node, other: Node) -> None:
        assert one.carrier is not None
        for link in one.carrier.links:
            if link.peer == other.peer:
                link.close("broken")


async def link_down(node: Node, other: Node) -> LinkDown:
    return await node.log.wait(LinkDown, lambda event: event.peer == other.peer)


async def fill(node: Node, cls: Class = Class.MESSAGE) -> int:
    """Publish until the queues are full; how many payloads of 200,000 bytes it took."""
    for number in range(1_000):
        if isinstance(node.publish(number.to_bytes(4, "big") * 50_000, cls), Full):
            return number
        await asyncio.sleep(0)
    raise AssertionError("the queues have no bound")


class Liar(MemoryStore):
    """Gives other bytes than the id names."""

    async def get(self, id: bytes) -> bytes | None:
        return b"something else"


class Slow(MemoryStore):
    """Its first answer never comes."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def get(self, id: bytes) -> bytes | None:
        if not self.asked.is_set():
            self.asked.set()
            await asyncio.Event().wait()
        return await super().get(id)


async def fetch(
    node: Node, ids: Sequence[bytes], sources: Sequence[Node], wait_s: float = WAIT_S
) -> dict[bytes, Got | Missing]:
    peers = [source.peer for source in sources]
    found = node.net.get(ids, 100_000, peers, asyncio.get_running_loop().time() + wait_s)
    return {item.id: item async for item in found}
