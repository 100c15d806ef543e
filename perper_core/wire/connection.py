"""The client's side of a session: one connection at a time, made again when it is lost.

Open commands go again over a new connection; the server recognizes them by their nonces. Only when
the server has forgotten the session are there commands whose outcome nobody knows. Knows nothing
of streams and executions: `remote` and `client` do.
"""

import asyncio
import logging
import os
import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn, cast

import grpc
import grpc.aio

from perper_core.errors import Exhausted, FabricError, OutcomeUnknown, fabric_closed
from perper_core.wire import codec
from perper_core.wire import frames as f
from perper_core.wire.dispatch import error_from
from perper_core.wire.limits import (
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    CLIENT_BYTES_MAX,
    CLIENT_COMMANDS_MAX,
    CLIENT_PING_MS,
    DISCONNECT_S_MAX,
    FLUSH_S,
    GIVE_UP_EVERY_S,
    MESSAGE_BYTES_MAX,
    PING_TIMEOUT_MS,
    PROTOCOL_VERSION,
    SESSION_BYTES,
)
from perper_core.wire.session import CommandBook, Outbox, Part, split_append

log = logging.getLogger("perper.wire")

RUN = "/perper.session.v1.FabricSession/Run"
ERROR_METADATA = "perper-error-bin"
OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", CLIENT_PING_MS),
    ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.use_local_subchannel_pool", 1),  # a new connection is a new one
)
FATAL = (
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
)

Call = grpc.aio.StreamStreamCall[bytes, bytes]


class _Open(NamedTuple):
    """An open command: who waits for it, since when, and what it weighs."""

    reply: asyncio.Future[f.Payload]
    since_s: float
    bytes: int


class Connection:
    """A session with a server. `on_session(resumed)` is called at each welcome, `on_unasked` for
    each reply that nobody asked for, `on_lost` when a connection ends."""

    def __init__(
        self,
        address: str,
        *,
        token: str,
        credentials: grpc.ChannelCredentials | None,
        on_session: Callable[[bool], None],
        on_unasked: Callable[[f.Payload], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.address = address
        self.connected = asyncio.Event()
        self.settled = asyncio.Event()
        """Set when there was a connection, or there will be none."""
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._credentials = credentials
        self._on_session = on_session
        self._on_unasked = on_unasked
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._id = os.urandom(SESSION_BYTES)
        self._book = CommandBook()
        self._waiting: dict[int, _Open] = {}
        self._bytes = 0
        self._room = asyncio.Event()
        self._slots = asyncio.Semaphore(CLIENT_COMMANDS_MAX)
        self._outbox = Outbox()
        self._wake = asyncio.Event()
        self._fatal: FabricError | None = None
        self._lost_at_s = self._loop.time()
        self._task = asyncio.create_task(self._stay_connected(), name=f"session {address}")
        self._giving_up = asyncio.create_task(self._give_up(), name="give up")

    @property
    def fatal(self) -> FabricError | None:
        """Why there will be no connection any more."""
        return self._fatal

    # ---------------------------------------------------------------- commands

    async def ask(self, op: f.Op) -> f.Payload:
        """Send a command and wait for its reply. Raises the FabricError that it is; Exhausted if
        it could not be sent for DISCONNECT_S_MAX, OutcomeUnknown if it was sent and no answer came
        as long."""
        async with self._slots:
            while self._bytes > CLIENT_BYTES_MAX:
                self._room.clear()
                await self._room.wait()
            if self._fatal is not None:
                raise self._fatal
            nonce = self._book.open(op)
            try:
                payload = await self._answer(nonce, op)
            except asyncio.CancelledError:
                if self._book.settle(nonce) is not None:
                    self.tell(f.Abort(nonce))
                raise
            finally:
                self._book.settle(nonce)
        if isinstance(payload, f.Error):
            raise error_from(payload)
        return payload

    async def _answer(self, nonce: int, op: f.Op) -> f.Payload:
        parts = encoded(nonce, op)
        size = sum(len(part.raw) for part in parts)
        reply: asyncio.Future[f.Payload] = self._loop.create_future()
        self._waiting[nonce] = _Open(reply, self._loop.time(), size)
        self._bytes += size
        try:
            if self.connected.is_set():
                self._post(nonce, parts)
            return await reply
        finally:
            del self._waiting[nonce]
            self._bytes -= size
            self._room.set()

    def tell(self, op: f.Op) -> None:
        """Send what has no answer, unless there is no connection."""
        if self.connected.is_set():
            self._outbox.add(codec.encode_command(f.Command(0, op)))
            self._wake.set()

    def _post(self, nonce: int, parts: list[Part]) -> None:
        self._book.mark_sent(nonce)
        for part in parts:
            self._outbox.add(part.raw, part.items)
        self._wake.set()

    async def close(self) -> None:
        """Say goodbye, if there is somebody; open commands get Cancelled. Idempotent."""
        if self._fatal is None:
            self._fatal = fabric_closed()
            if self.connected.is_set():
                self.tell(f.Bye())  # the server closes the session, then ends the call
                await asyncio.wait([self._task], timeout=FLUSH_S)
        self._fail_all(self._fatal)
        for task in (self._task, self._giving_up):
            task.cancel()
        await asyncio.wait([self._task, self._giving_up])

    # ---------------------------------------------------------------- the connection

    async def _stay_connected(self) -> None:
        pause_s = BACKOFF_FIRST_S
        while self._fatal is None:
            try:
                if await self._connect_once():
                    pause_s = BACKOFF_FIRST_S
            except FabricError as error:
                self._fatal = error
            except Exception:  # our own bug must not leave callers waiting
                log.exception("session with %s", self.address)
            self._disconnected()
            if self._fatal is None:
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, BACKOFF_MAX_S)
        self.settled.set()
        self._fail_all(self._fatal)

    async def _connect_once(self) -> bool:
        """Connect and converse until the connection ends. Whether there was a welcome; raises what
        another try will not heal."""
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(self.address, options=OPTIONS)
        else:
            channel = grpc.aio.secure_channel(self.address, self._credentials, options=OPTIONS)
        welcomed = False
        async with channel:
            # None: bytes as they are
            run: Any = channel.stream_stream(RUN, None, None)
            call: Call = run(metadata=self._metadata)
            try:
                hello = f.Hello(
                    self._id, PROTOCOL_VERSION, [nonce for nonce, _ in self._book.unanswered()]
                )
                raw = codec.encode_command(f.Command(0, hello))
                await call.write(codec.join_commands([raw], []))
                welcome = await self._read(call)
                if not welcome or not isinstance(welcome[0].payload, f.Welcome):
                    return False
                welcomed = True
                self._welcomed(welcome[0].payload)
                await self._converse(call, welcome[1:])
            except grpc.aio.AioRpcError as error:
                self._judge(error)
            except asyncio.InvalidStateError:  # the call ended before the write
                pass
            finally:
                call.cancel()
        return welcomed

    async def _converse(self, call: Call, replies: list[f.Reply]) -> None:
        sender = asyncio.create_task(self._send(call), name="send frames")
        try:
            while True:
                for reply in replies:
                    self._on_reply(reply)
                replies = await self._read(call)
                if not replies:
                    return
        finally:
            sender.cancel()
            await asyncio.wait([sender])
            if not sender.cancelled():
                sender.exception()  # the reader has met the same end

    async def _send(self, call: Call) -> NoReturn:
        while True:
            frame = self._outbox.next_frame()
            if frame:
                await call.write(codec.join_commands(frame, self._book.take_received()))
            if not self._outbox:
                self._wake.clear()
                await self._wake.wait()

    async def _read(self, call: Call) -> list[f.Reply]:
        """Replies of the next frame; none at the end."""
        raw = await call.read()
        return codec.decode_replies(raw) if isinstance(raw, bytes) else []

    def _welcomed(self, welcome: f.Welcome) -> None:
        if not welcome.resumed:
            for nonce in self._book.lose_session():
                self._fail(nonce, self._unknown(nonce))
        self._outbox.clear()
        self.connected.set()
        self.settled.set()
        for nonce, op in self._book.unanswered():
            self._post(nonce, encoded(nonce, op))
        self._on_session(welcome.resumed)

    def _on_reply(self, reply: f.Reply) -> None:
        if reply.nonce == 0:
            self._on_unasked(reply.payload)
            return
        waiting = self._waiting.get(reply.nonce)
        if self._book.answer(reply.nonce) and waiting is not None and not waiting.reply.done():
            waiting.reply.set_result(reply.payload)

    def _disconnected(self) -> None:
        if self.connected.is_set():
            self.connected.clear()
            self._lost_at_s = self._loop.time()
            self._on_lost()
        self._outbox.clear()

    def _judge(self, error: grpc.aio.AioRpcError) -> None:
        """Raise what another try will not heal."""
        if error.code() not in FATAL:
            return
        raw = dict(cast(Iterable[tuple[str, bytes]], error.trailing_metadata() or ())).get(
            ERROR_METADATA
        )
        if isinstance(raw, bytes):
            raise error_from(codec.decode_error(raw)) from error
        raise Exhausted(f"not a fabric server: {error.details()}", address=self.address) from error

    # ---------------------------------------------------------------- giving up

    async def _give_up(self) -> NoReturn:
        """Commands do not wait for a lost server for ever (contract 24)."""
        while True:
            await asyncio.sleep(GIVE_UP_EVERY_S)
            if self.connected.is_set():
                continue
            now_s = self._loop.time()
            for nonce, waiting in list(self._waiting.items()):
                if now_s - max(waiting.since_s, self._lost_at_s) >= DISCONNECT_S_MAX:
                    sent = self._book.was_sent(nonce)
                    self._fail(nonce, self._unknown(nonce) if sent else self._unreachable())

    def _fail(self, nonce: int, error: FabricError) -> None:
        waiting = self._waiting.get(nonce)
        if waiting is not None and not waiting.reply.done():
            waiting.reply.set_exception(error)
        self._book.settle(nonce)

    def _fail_all(self, error: FabricError) -> None:
        for nonce in list(self._waiting):
            self._fail(nonce, error)

    def _unknown(self, nonce: int) -> OutcomeUnknown:
        op = dict(self._book.unanswered()).get(nonce)
        name = getattr(op, "id", "") or f"{self._id.hex()}:{nonce}"
        return OutcomeUnknown("the connection was lost", id=name)

    def _unreachable(self) -> Exhausted:
        return Exhausted(
            "no fabric server answers", address=self.address, retry_ms=int(BACKOFF_MAX_S * 1000)
        )


def encoded(nonce: int, op: f.Op) -> list[Part]:
    """A command in parts that fit frames. Raises Invalid or TooLarge."""
    if not isinstance(op, f.Append):
        return [Part(codec.encode_command(f.Command(nonce, op)), 1)]
    return [
        Part(codec.encode_command(f.Command(nonce, part)), max(1, len(part.items)))
        for part in split_append(op)
    ]
