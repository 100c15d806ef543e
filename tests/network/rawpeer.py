"""A peer that keeps the handshake and breaks every other rule a test wants broken."""

from __future__ import annotations

import asyncio
import time
from hashlib import sha256
from typing import ClassVar

from network.envelope import encode_topics
from network.mesh.chunks import HEADER, WHOLE, read_chunk
from network.mesh.handshake import Handshake
from network.mesh.hello import encode_hello, hello_of
from network.mesh.noise import Cipher
from network.ports import LinkIdentity, Topic
from tests.network.netlab import TOPIC, WAIT_S, Node


class RawPeer:
    """Dials `node` and speaks whatever it is told to. `close_all` ends what a test left open."""

    opened: ClassVar[list[RawPeer]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.send: Cipher | None = None
        self.receive: Cipher | None = None
        self._frames: list[tuple[int, bytes]] = []

    @classmethod
    async def dial(cls, node: Node) -> RawPeer:
        """Only the connection."""
        address = node.address
        peer = cls(*await asyncio.open_connection(address.host, address.port))
        cls.opened.append(peer)
        return peer

    @classmethod
    async def close_all(cls) -> None:
        while cls.opened:
            await cls.opened.pop().close()

    @classmethod
    async def link(
        cls,
        node: Node,
        identity: LinkIdentity,
        *,
        first: bytes | None = None,
        topics: tuple[Topic, ...] = (TOPIC,),
    ) -> RawPeer:
        """A whole link: handshake, hello (or `first` in its place), topics."""
        peer = await cls.dial(node)
        handshake = Handshake(
            identity,
            expected=node.peer,
            ephemeral=sha256(identity.instance).digest(),
            now_ms=int(time.time() * 1000),
        )
        peer.write(handshake.start())
        answer = handshake.receive(await peer.read())
        assert answer is not None
        peer.write(answer)
        peer.send, peer.receive = handshake.split()
        peer.frame(encode_hello(hello_of(identity)) if first is None else first)
        peer.frame(encode_topics(list(topics)))
        return peer

    def write(self, record: bytes) -> None:
        self.writer.write(len(record).to_bytes(2, "big") + record)

    async def read(self) -> bytes:
        async with asyncio.timeout(WAIT_S):
            size = int.from_bytes(await self.reader.readexactly(2), "big")
            return await self.reader.readexactly(size)

    def record(self, plain: bytes) -> bytes:
        """Seal and send; the record as it went out."""
        assert self.send is not None
        sealed = self.send.seal(plain)
        self.write(sealed)
        return sealed

    def chunk(self, cls: int, stream: int, flags: int, payload: bytes) -> bytes:
        return self.record(HEADER.pack(cls, stream, flags, len(payload)) + payload)

    def frame(self, frame: bytes, cls: int = 0, stream: int = 0) -> bytes:
        return self.chunk(cls, stream, WHOLE, frame)

    async def next_frame(self, kind: int) -> tuple[int, bytes]:
        """(stream, frame) of the next frame of that kind that came in one chunk."""
        assert self.receive is not None
        while True:
            while self._frames:
                stream, frame = self._frames.pop(0)
                if frame[0] == kind:
                    return stream, frame
            plain = self.receive.open(await self.read())
            at = 0
            while at < len(plain):
                _, stream, flags, start, at = read_chunk(plain, at)
                if flags == WHOLE:
                    self._frames.append((stream, plain[start:at]))

    async def closed(self) -> bytes:
        """What still comes until the other end closes."""
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass
