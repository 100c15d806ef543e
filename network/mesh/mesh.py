"""Mesh: dials, accepts, and keeps one authenticated link per peer over TCP.

A `carrier.Carrier`; gossip, queries and content are the exchange's. It decides who may cost a key
exchange, which of two links of one pair stays, and notices a link with ourselves. network §2
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import time_ns
from typing import Final

from network.carrier import Switch
from network.dialler import Dialler
from network.errors import HandshakeError, TransportError
from network.exchange import Exchange
from network.limits import (
    CROSS_DIAL_S,
    HANDSHAKE_S,
    HOUSEKEEPING_S,
    LINKS_INBOUND_MAX,
    LISTEN_BACKLOG,
)
from network.mesh.admission import Admission
from network.mesh.handshake import Handshake
from network.mesh.hello import Hello, hello_of
from network.mesh.link import Stage, TcpLink
from network.mesh.noise import KEY_BYTES
from network.peers import Standing
from network.ports import (
    ContentStore,
    Draw,
    Health,
    LinkIdentity,
    PeerAddress,
    PeerId,
    RandomBytes,
    Topic,
)

NS_PER_MS: Final = 1_000_000
REPLACED: Final = "replaced by a newer link"
ACCEPT_TURNS: Final = 3  # of the loop, from an accepted socket to its link
OTHER_INSTANCE: Final = "replaced by another instance"


def wall_ms() -> int:
    """The machine's clock; only expiry of link keys is measured with it."""
    return time_ns() // NS_PER_MS


class MeshCarrier:
    """Links over TCP. `host` None: dial only."""

    name = "mesh"
    switch: Switch
    hello: Hello

    def __init__(
        self,
        host: str | None,
        port: int,
        *,
        draw: Draw,
        random_bytes: RandomBytes,
        clock_ms: Callable[[], int] = wall_ms,
        admission: Admission[TcpLink] | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._draw = draw
        self._random_bytes = random_bytes
        self._clock_ms = clock_ms
        self._admission: Admission[TcpLink] = admission or Admission()
        self._identity: LinkIdentity | None = None
        self._server: asyncio.Server | None = None
        self._dialler: Dialler | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._all: dict[TcpLink, None] = {}
        self._open: dict[PeerId, TcpLink] = {}

    @property
    def listening(self) -> tuple[str, int] | None:
        """Where we accept links, after `start`."""
        if self._server is None or not self._server.sockets:
            return None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    @property
    def links(self) -> list[TcpLink]:
        """Links that are open."""
        return list(self._open.values())

    async def start(self, identity: LinkIdentity, switch: Switch) -> None:
        loop = asyncio.get_running_loop()
        self._identity, self.switch, self.hello = identity, switch, hello_of(identity)
        if self._host is not None:
            try:
                self._server = await loop.create_server(
                    lambda: TcpLink(self, None), self._host, self._port, backlog=LISTEN_BACKLOG
                )
            except OSError as error:
                where = f"{self._host}:{self._port}"
                raise TransportError(f"cannot listen on {where}: {error.strerror}") from error
        self._dialler = Dialler(identity.peer, switch, self._draw, self._dial)
        self._dialler.wake()
        self._timer = loop.call_later(HOUSEKEEPING_S, self._housekeeping)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._dialler is not None:
            dialler, self._dialler = self._dialler, None
            await dialler.stop()
        for _ in range(ACCEPT_TURNS):  # what the server accepted before it closed becomes a link
            await asyncio.sleep(0)
        links = list(self._all)
        for link in links:
            link.close("closing")
        if links:
            await asyncio.wait([link.closed for link in links])

    def wake(self) -> None:
        if self._dialler is not None:
            self._dialler.wake()

    # -- dialling and accepting -------------------------------------------------------------------

    async def _dial(self, address: PeerAddress) -> None:
        loop = asyncio.get_running_loop()
        link = TcpLink(self, self._handshake(address.peer))
        connected = False
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await loop.create_connection(lambda: link, address.host, address.port)
                connected = True
                cause = await link.ready
        except BaseException:
            if connected:
                link.close("given up")
            else:
                link.abandon("given up")
            raise
        if cause is not None:
            raise HandshakeError(cause)

    def _handshake(self, expected: PeerId | None) -> Handshake:
        assert self._identity is not None
        ephemeral = self._random_bytes(KEY_BYTES)
        return Handshake(
            self._identity, expected=expected, ephemeral=ephemeral, now_ms=self._clock_ms()
        )

    def attached(self, link: TcpLink) -> None:
        self._all[link] = None

    def detached(self, link: TcpLink) -> None:
        self._all.pop(link, None)

    def connected(self, link: TcpLink) -> Handshake | None:
        now = asyncio.get_running_loop().time()
        if self._server is None or self.switch.conduct.host_banned(link.host, now):
            return None
        entrance = self._admission.admit(link, link.host, now)
        if entrance.gives_way is not None:
            entrance.gives_way.close("too many half-open links")
        if entrance.refused:
            return None
        return self._handshake(None)

    def authenticated(self, link: TcpLink) -> None:
        self._admission.settled(link)
        now = asyncio.get_running_loop().time()
        if self.switch.conduct.standing(link.peer, now) is Standing.BANNED:
            raise HandshakeError("banned")
        if link.outbound or self.switch.book.kept(link.peer) or link.peer in self._open:
            return
        # Slots are kept for owners of the table: only others are counted. network §2
        inbound = sum(
            not other.outbound and not self.switch.book.kept(other.peer)
            for other in self._open.values()
        )
        if inbound >= LINKS_INBOUND_MAX:
            raise HandshakeError("no inbound slot is free")

    def opened(self, link: TcpLink, topics: list[Topic]) -> None:
        assert self._identity is not None
        if link.peer == self._identity.peer:
            self._met_ourselves(link)
            return
        old = self._open.get(link.peer)
        if old is not None:
            if not self._prefers(link, old):
                link.close("another link of this pair stays")
                return
            same = old.instance == link.instance
            old.close(REPLACED if same else OTHER_INSTANCE)
        self._open[link.peer] = link
        self.switch.link_up(link, topics)

    def _prefers(self, link: TcpLink, old: TcpLink) -> bool:
        """The newest authenticated link stays. Only of two that were dialled from both ends at
        once, the one that the smaller peer dialled, so that both ends keep the same one."""
        assert self._identity is not None
        crossed = link.outbound is not old.outbound and link.instance == old.instance
        if not crossed or link.since - old.since >= CROSS_DIAL_S:
            return True
        return link.outbound is (self._identity.peer < link.peer)

    def _met_ourselves(self, link: TcpLink) -> None:
        if link.instance == self.hello.instance:
            link.close("self-link")
            return
        # A hint only: the node challenges before it believes. network §2
        self.switch.health(Health(self.name, "twin", link.instance.hex()))
        link.close("twin")

    def gone(self, link: TcpLink, stage: Stage, cause: str) -> None:
        self._admission.settled(link)
        if stage is not Stage.OPEN or self._open.get(link.peer) is not link:
            return
        del self._open[link.peer]
        if OTHER_INSTANCE in cause and cause != OTHER_INSTANCE:
            # The peer closed us for a newer start under our own identity: a hint as well.
            self.switch.health(Health(self.name, "twin", f"reported by {link.peer.hex()}"))
        self.switch.link_down(link, cause)
        if self._dialler is not None:
            self._dialler.lost(link)

    def _housekeeping(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for link in list(self._open.values()):
            link.tick(now)
        self._timer = loop.call_later(HOUSEKEEPING_S, self._housekeeping)


def mesh_network(
    host: str | None,
    port: int,
    *,
    draw: Draw,
    random_bytes: RandomBytes,
    store: ContentStore | None = None,
) -> tuple[Exchange, MeshCarrier]:
    """A network over TCP, and its carrier (for the address it listens on)."""
    carrier = MeshCarrier(host, port, draw=draw, random_bytes=random_bytes)
    return Exchange(carrier, draw=draw, random_bytes=random_bytes, store=store), carrier
