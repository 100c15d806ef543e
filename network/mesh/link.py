"""TcpLink: one connection, from its handshake to its end.

Records (length u16, then Noise ciphertext) in and out; the scheduler says what leaves next, and it
is sealed only then. At most 16 kB wait unsent below it. It knows its owner, the mesh, and nothing
of other links. network §2
"""

from __future__ import annotations

import asyncio
import socket
import struct
from enum import IntEnum
from typing import Final, Protocol, cast

from network.carrier import Switch
from network.envelope import (
    PING_BYTES,
    Kind,
    decode_cause,
    decode_topics,
    encode_cause,
    encode_topics,
)
from network.errors import HandshakeError, RemoteError
from network.limits import (
    CLOSE_GRACE_S,
    DEAD_S,
    FIRST_MESSAGE_S,
    FLUSH_RECORDS_MAX,
    HANDSHAKE_MESSAGE_MAX,
    HANDSHAKE_S,
    KEEPALIVE_S,
    LINK_AGE_S,
    NOTSENT_LOWAT,
    RECORD_BYTES_MAX,
    STALLED_S,
)
from network.mesh.chunks import HEADER, RESET, WHOLE, Assembler, Oversize, read_chunk
from network.mesh.handshake import Handshake
from network.mesh.hello import Hello, agree, decode_hello, encode_hello
from network.mesh.noise import Cipher
from network.mesh.scheduler import Scheduler
from network.ports import Class, PeerId, Topic
from network.queries import StreamIds
from network.records import malformed

LENGTH_BYTES: Final = 2
FOR_EVER: Final = float("inf")
_STAMP = struct.Struct(">Q")
_CLASSES: Final = tuple(Class)


class Stage(IntEnum):
    HANDSHAKE = 0
    HELLO = 1
    OPEN = 2
    CLOSED = 3


class Owner(Protocol):
    """What a link needs of the mesh."""

    @property
    def switch(self) -> Switch: ...
    @property
    def hello(self) -> Hello: ...
    def attached(self, link: TcpLink) -> None:
        """There is a socket."""

    def detached(self, link: TcpLink) -> None:
        """It is gone."""

    def connected(self, link: TcpLink) -> Handshake | None:
        """An inbound connection: its handshake, or None to cut it before any DH."""
        ...

    def authenticated(self, link: TcpLink) -> None:
        """The handshake is done. `HandshakeError` to refuse the peer."""

    def opened(self, link: TcpLink, topics: list[Topic]) -> None:
        """Hello and topics have come."""

    def gone(self, link: TcpLink, stage: Stage, cause: str) -> None:
        """The link has ended in `stage`."""


class TcpLink(asyncio.Protocol):
    """A `carrier.Link` once it is open. `ready` (outbound) ends with None or the cause."""

    def __init__(self, owner: Owner, handshake: Handshake | None) -> None:
        """`handshake`: the dialler's; None for an inbound connection."""
        self._owner = owner
        self._handshake = handshake
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._stage = Stage.HANDSHAKE
        self._paused_at: float | None = None
        self._flush_soon: asyncio.Handle | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._abort: asyncio.TimerHandle | None = None
        self._finishing: str | None = None
        self._seal: Cipher | None = None
        self._open: Cipher | None = None
        self._hello: Hello | None = None
        self.outbound = handshake is not None
        self._streams = StreamIds(self.outbound)
        self._scheduler = Scheduler(self._streams)
        self._assembler = Assembler(self._bound)
        self.ready: asyncio.Future[str | None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.peer: PeerId = b""  # proven by the handshake
        self.host, self.port = "", 0
        self.wire = 0
        self.since = self._heard_at = self._spoke_at = self._loop.time()
        self.rtt_ms: float | None = None
        self.sent_bytes = self.received_bytes = 0

    # -- what others read -------------------------------------------------------------------------

    @property
    def instance(self) -> bytes:
        return self._theirs.instance

    @property
    def chains(self) -> tuple[bytes, ...]:
        return self._theirs.chains

    @property
    def _theirs(self) -> Hello:
        assert self._hello is not None
        return self._hello

    def queued_bytes(self) -> tuple[int, ...]:
        return self._scheduler.queued_bytes()

    # -- sending ----------------------------------------------------------------------------------

    def take_stream(self) -> int:
        return self._streams.take()

    def send(self, frame: bytes, cls: Class, stream: int, expires: float) -> bool:
        if self._stage is Stage.CLOSED or not self._scheduler.push(frame, cls, stream, expires):
            return False
        self._wake()
        return True

    def cancel(self, stream: int) -> None:
        if self._stage is not Stage.CLOSED:
            self._scheduler.cancel(stream)
            self._wake()

    def finish(self, cause: str) -> None:
        self._finishing = cause
        self._wake()

    def _wake(self) -> None:
        """Flush at the end of this turn of the loop: what is queued in it shares records."""
        if self._flush_soon is None and self._paused_at is None:
            self._flush_soon = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_soon = None
        if self._seal is None or self._stage is Stage.CLOSED:
            return
        now = self._loop.time()
        for _ in range(FLUSH_RECORDS_MAX):
            if self._paused_at is not None:
                return
            plain = self._scheduler.take(now)
            if not plain:
                break
            self._write(self._seal.seal(plain))
            self._spoke_at = now
        if len(self._scheduler):
            self._wake()
        elif self._finishing is not None:
            self.close(self._finishing)

    def _write(self, record: bytes) -> None:
        assert self._transport is not None
        self.sent_bytes += LENGTH_BYTES + len(record)
        self._transport.write(len(record).to_bytes(LENGTH_BYTES, "big") + record)

    # -- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._stage is Stage.CLOSED:  # abandoned before the loop came to say so
            self._transport.abort()
            return
        self._owner.attached(self)
        self._transport.set_write_buffer_limits(high=0)
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT)
        self.host, self.port = (transport.get_extra_info("peername") or ("", 0))[:2]
        if self._handshake is not None:
            self._write(self._handshake.start())
        else:
            self._handshake = self._owner.connected(self)
            if self._handshake is None:
                self._stage = Stage.CLOSED
                self._transport.abort()
                return
        self._allow(HANDSHAKE_S if self.outbound else FIRST_MESSAGE_S)

    def _allow(self, seconds: float) -> None:
        """So much time for what is left of the handshake."""
        if self._limit is not None:
            self._limit.cancel()
        self._limit = self._loop.call_later(seconds, self._end, "handshake takes too long")

    def pause_writing(self) -> None:
        self._paused_at = self._loop.time()

    def resume_writing(self) -> None:
        self._paused_at = None
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("connection lost" if exc is None else f"connection lost: {exc}")
        self._detach()

    def abandon(self, cause: str) -> None:
        """The loop has given up the connection while it was made. Nothing can be written, and
        `connection_lost` may never come: uvloop closes such a transport without a word."""
        self._end(cause)
        self._detach()

    def _detach(self) -> None:
        if self.closed.done():
            return
        self._owner.detached(self)
        if self._abort is not None:
            self._abort.cancel()
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        self.received_bytes += len(data)
        self._heard_at = self._loop.time()
        at = 0
        try:
            while self._stage is not Stage.CLOSED and len(buffer) - at >= LENGTH_BYTES:
                size = buffer[at] << 8 | buffer[at + 1]
                in_clear = self._stage is Stage.HANDSHAKE
                if size > (HANDSHAKE_MESSAGE_MAX if in_clear else RECORD_BYTES_MAX):
                    raise HandshakeError("record too long")
                end = at + LENGTH_BYTES + size
                if end > len(buffer):
                    break
                record = bytes(buffer[at + LENGTH_BYTES : end])
                at = end
                self._on_record(record)
        except HandshakeError as error:
            self._end(error.cause)
        except Oversize as error:
            self._owner.switch.on_oversize(self, error.stream)
            self._owner.switch.on_malformed(self, error)
        except RemoteError as error:
            self._owner.switch.on_malformed(self, error)
        if self._stage is Stage.CLOSED:
            buffer.clear()
        else:
            del buffer[:at]

    # -- receiving --------------------------------------------------------------------------------

    def _on_record(self, record: bytes) -> None:
        if self._open is None:
            self._on_handshake(record)
            return
        plain = self._open.open(record)
        if not plain:
            raise malformed("empty record")
        at = 0
        while at < len(plain) and self._stage is not Stage.CLOSED:
            cls, stream, flags, start, at = read_chunk(plain, at)
            if flags == WHOLE:
                self._on_frame(cls, stream, plain[start:at])
            elif self._stage is not Stage.OPEN:
                raise malformed("first frames are whole chunks")
            elif flags == RESET:
                self._assembler.reset(stream)
                self._owner.switch.on_reset(self, stream)
            else:
                frame = self._assembler.add(cls, stream, flags, plain[start:at])
                if frame is not None:
                    self._on_frame(cls, stream, frame)

    def _on_handshake(self, message: bytes) -> None:
        assert self._handshake is not None
        answer = self._handshake.receive(message)
        if (
            not self.outbound and not self._handshake.done
        ):  # message 1: it does not only hold a place
            self._allow(HANDSHAKE_S)
        if answer is not None:
            self._write(answer)
        if not self._handshake.done:
            return
        self.peer = self._handshake.peer
        self._owner.authenticated(self)
        self._seal, self._open = self._handshake.split()
        self._stage = Stage.HELLO
        # Whatever is sent first is read first: hello, then topics.
        self.send(encode_hello(self._owner.hello), Class.VOTE, 0, FOR_EVER)
        self.send(encode_topics(self._owner.switch.topics), Class.VOTE, 0, FOR_EVER)

    def _on_frame(self, cls: int, stream: int, frame: bytes) -> None:
        if self._stage is Stage.OPEN:
            kind = frame[0] if frame else 0
            if kind == Kind.PING or kind == Kind.PONG:
                self._on_ping(kind, frame)
            elif kind == Kind.GOODBYE:
                self._end(f"closed by the peer: {decode_cause(frame[1:])}")
            else:
                self._owner.switch.on_frame(self, _CLASSES[cls], stream, frame)
        elif self._hello is None:
            if frame[:1] == bytes((Kind.GOODBYE,)):
                raise HandshakeError(f"refused by the peer: {decode_cause(frame[1:])}")
            self._hello = decode_hello(frame)
            self.wire = agree(self._owner.hello, self._hello)
        elif not frame or frame[0] != Kind.TOPICS:
            raise malformed("second frame is not the topics")
        else:
            self._open_up(decode_topics(frame))

    def _open_up(self, topics: list[Topic]) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        self._stage = Stage.OPEN
        self.since = self._loop.time()
        self._owner.opened(self, topics)
        if not self.ready.done() and self._stage is Stage.OPEN:
            self.ready.set_result(None)

    def _on_ping(self, kind: int, frame: bytes) -> None:
        if len(frame) != 1 + PING_BYTES:
            raise malformed("ping")
        if kind == Kind.PING:
            self.send(bytes((Kind.PONG,)) + frame[1:], Class.VOTE, 0, FOR_EVER)
            return
        sent_ms = _STAMP.unpack_from(frame, 1)[0]
        self.rtt_ms = max(0.0, self._loop.time() * 1000 - sent_ms / 1000)

    def _bound(self, stream: int, head: bytes) -> int:
        return self._owner.switch.frame_bound(self, stream, head)

    # -- time and end -----------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Called by the owner every few seconds: keepalive, and links that are dead."""
        if self._stage is not Stage.OPEN:
            return
        if now - self._heard_at >= DEAD_S:
            self._end("silent")
        elif self._paused_at is not None and now - self._paused_at >= STALLED_S:
            self._end("stalled")
        elif now - self.since >= LINK_AGE_S + (0 if self.outbound else HANDSHAKE_S):
            self.close("old")  # a new handshake after 24 h. network §2
        elif now - self._spoke_at >= KEEPALIVE_S and self._paused_at is None:
            stamp = _STAMP.pack(int(now * 1_000_000))
            self.send(bytes((Kind.PING,)) + stamp, Class.VOTE, 0, FOR_EVER)

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`: the peer sees us stopped."""
        assert self._transport is not None
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()

    def close(self, cause: str) -> None:
        if self._seal is not None and self._paused_at is None and self._stage is not Stage.CLOSED:
            frame = bytes((Kind.GOODBYE,)) + encode_cause(cause)
            chunk = HEADER.pack(Class.VOTE, 0, WHOLE, len(frame)) + frame
            self._write(self._seal.seal(chunk))
        self._end(cause)

    def _end(self, cause: str) -> None:
        if self._stage is Stage.CLOSED:
            return
        stage, self._stage = self._stage, Stage.CLOSED
        for handle in (self._limit, self._flush_soon):
            if handle is not None:
                handle.cancel()
        if self._transport is not None:
            # A peer that does not read would keep a polite close open for ever.
            self._transport.close()
            self._abort = self._loop.call_later(CLOSE_GRACE_S, self._transport.abort)
        if not self.ready.done():
            self.ready.set_result(cause)
        self._owner.gone(self, stage, cause)
