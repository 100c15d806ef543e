"""The gRPC server in front of a fabric: sessions, and unary calls for convenience.

Runs on the loop of the fabric it serves. Loopback or a unix socket, or TLS with tokens. Knows
nothing of what is served: `served` and `dispatch` do.
"""

import asyncio
import logging
import os
from typing import NoReturn

import grpc
import grpc.aio

from perper_core.errors import Conflict, Denied, Exhausted, FabricError, Invalid
from perper_core.ports import Fabric
from perper_core.wire import codec
from perper_core.wire import frames as f
from perper_core.wire.access import Access, Grant
from perper_core.wire.dispatch import authorize, error_reply, perform
from perper_core.wire.limits import (
    MESSAGE_BYTES_MAX,
    PING_GAP_MS,
    PING_TIMEOUT_MS,
    PROTOCOL_VERSION,
    RESUME_S,
    SERVER_PING_MS,
    SESSION_BYTES,
    SESSIONS_MAX,
    STOP_GRACE_S_DEFAULT,
)
from perper_core.wire.served import Session, open_listener

log = logging.getLogger("perper.wire")

SERVICE = "perper.session.v1.FabricSession"
ERROR_METADATA = "perper-error-bin"
UNIX = "unix:"
OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", SERVER_PING_MS),
    ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_GAP_MS),
    ("grpc.keepalive_permit_without_calls", 1),
)

Context = grpc.aio.ServicerContext[bytes, bytes]
OPEN = Access()


class FabricServer:
    """Serves one fabric on one address."""

    def __init__(self, fabric: Fabric, *, access: Access = OPEN) -> None:
        self._fabric = fabric
        self._access = access
        self._server: grpc.aio.Server | None = None
        self._sessions: dict[bytes, Session] = {}
        self._connections: dict[bytes, asyncio.Task[None]] = {}
        self._expiries: dict[bytes, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.address = ""
        """Where it listens, once started."""

    async def start(
        self, address: str, *, credentials: grpc.ServerCredentials | None = None
    ) -> str:
        """Listen on `host:port` (port 0: any) or `unix:PATH`; the address with its port. Invalid
        for one that access does not allow, Conflict for one that is in use."""
        self._access.check_address(address, tls=credentials is not None)
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((self._handlers(),))
        try:
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise Conflict("the address cannot be bound", address=address) from error
        await server.start()
        self._server = server
        if address.startswith(UNIX):
            os.chmod(address.removeprefix(UNIX), 0o600)
            self.address = address
        else:
            self.address = f"{address.rpartition(':')[0]}:{port}"
        return self.address

    async def stop(self, *, grace_s: float = STOP_GRACE_S_DEFAULT) -> None:
        """Close the sessions and the socket. The fabric stays open. Idempotent."""
        for expiry in self._expiries.values():
            expiry.cancel()
        if self._closing:
            await asyncio.wait(self._closing)
        for session in list(self._sessions.values()):
            await session.close()
        self._sessions.clear()
        for connection in list(self._connections.values()):
            connection.cancel()
        if self._server is not None:
            await self._server.stop(grace_s)
            self._server = None

    @property
    def sessions(self) -> int:
        """Sessions it knows, connected or awaited."""
        return len(self._sessions)

    def _handlers(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Run": grpc.stream_stream_rpc_method_handler(self._run),
                "Do": grpc.unary_unary_rpc_method_handler(self._do),
                "Tail": grpc.unary_stream_rpc_method_handler(self._tail),
            },
        )

    # ---------------------------------------------------------------- the session

    async def _run(self, _: object, context: Context) -> None:
        try:
            grant, token = self._grant(context)
            first = await context.read()
            if not isinstance(first, bytes):  # EOF
                return
            frame = codec.decode_commands(first)
            session, resumed = self._session(frame, grant, token)
        except FabricError as error:
            await _refuse(context, error)
        connection = asyncio.current_task()
        assert connection is not None, "grpc.aio runs handlers as tasks"
        previous = self._connections.get(session.id)
        self._connections[session.id] = connection
        if previous is not None:  # half-open: the client knows better
            previous.cancel()
            await asyncio.wait([previous])
        hello = frame.commands[0]
        assert isinstance(hello.op, f.Hello), "checked when the session was looked up"
        session.attach(f.Welcome(resumed, PROTOCOL_VERSION), hello.nonce, hello.op)
        rest = f.CommandFrame(frame.commands[1:], frame.received)
        await self._converse(session, rest, context)

    async def _converse(self, session: Session, frame: f.CommandFrame, context: Context) -> None:
        """Read and write until either side ends; then keep the session for RESUME_S."""
        sender = asyncio.create_task(session.send(context.write), name="send frames")
        said_bye = False
        try:
            while session.on_frame(frame):
                await session.ready()
                raw = await context.read()
                if not isinstance(raw, bytes):  # EOF
                    break
                frame = codec.decode_commands(raw)
            else:
                said_bye = True
        except FabricError as error:
            said_bye = True
            log.warning("a client breaks the rules: %s", error)
            await _refuse(context, error)
        finally:
            sender.cancel()
            session.detach()
            if self._connections.get(session.id) is asyncio.current_task():
                del self._connections[session.id]
                if said_bye:  # even if the client does not wait for it
                    await asyncio.shield(self._forget_later(session, 0.0, lost=False))
                elif not session.closed:
                    self._forget_later(session, RESUME_S, lost=True)

    def _session(self, frame: f.CommandFrame, grant: Grant, token: str) -> tuple[Session, bool]:
        """The session that the first frame asks for, and whether it was there."""
        if not frame.commands or not isinstance(frame.commands[0].op, f.Hello):
            raise Invalid("a session begins with hello")
        hello = frame.commands[0].op
        if len(hello.session) != SESSION_BYTES:
            raise Invalid(f"a session's id has {SESSION_BYTES} bytes")
        if hello.version != PROTOCOL_VERSION:
            raise Invalid("not this version", version=hello.version, spoken=PROTOCOL_VERSION)
        known = self._sessions.get(hello.session)
        if known is not None and not known.closed:
            if known.token != token:
                raise Denied("the session belongs to another token")
            expiry = self._expiries.pop(hello.session, None)
            if expiry is not None:
                expiry.cancel()
            return known, True
        if len(self._sessions) >= SESSIONS_MAX:
            raise Exhausted("too many sessions", sessions_max=SESSIONS_MAX)
        session = Session(hello.session, self._fabric, grant, token)
        self._sessions[hello.session] = session
        return session, False

    def _forget_later(self, session: Session, after_s: float, *, lost: bool) -> asyncio.Task[None]:
        """Close a session unless its client comes back before."""

        async def forget() -> None:
            if after_s:
                await asyncio.sleep(after_s)
            self._expiries.pop(session.id, None)
            if self._sessions.get(session.id) is session:
                del self._sessions[session.id]
            await session.close(lost=lost)

        task = asyncio.create_task(forget(), name="forget a session")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        if after_s:
            self._expiries[session.id] = task
        return task

    # ---------------------------------------------------------------- unary

    async def _do(self, raw: bytes, context: Context) -> bytes:
        try:
            grant, _ = self._grant(context)
            command = codec.decode_command(raw)
            op = command.op
            if isinstance(op, f.SessionOp):
                raise Invalid("only in a session", op=type(op).__name__)
            await authorize(self._fabric, grant, op)
            return codec.encode_reply(f.Reply(command.nonce, await perform(self._fabric, op)))
        except FabricError as error:
            await _refuse(context, error)

    async def _tail(self, raw: bytes, context: Context) -> None:
        try:
            grant, _ = self._grant(context)
            listen = codec.decode_listen(raw)
            await authorize(self._fabric, grant, listen)
            async with await open_listener(self._fabric, listen) as listener:
                async for batch in listener:
                    items = f.Items(0, batch.first, batch.raws, batch.keys)
                    await context.write(codec.encode_items(items))
                    await listener.ack(batch.last)
        except FabricError as error:
            await _refuse(context, error)

    def _grant(self, context: Context) -> tuple[Grant, str]:
        """What the call's bearer token allows."""
        token = ""
        for name, text in context.invocation_metadata() or ():
            if name == "authorization":
                scheme, _, token = str(text).partition(" ")
                if scheme.lower() != "bearer":
                    raise Denied("authorization is a bearer token")
        return self._access.grant(token.strip()), token


async def _refuse(context: Context, error: FabricError) -> NoReturn:
    """End the call with the error's status, and the error itself in the trailing metadata."""
    raw = codec.encode_error(error_reply(error))
    await context.abort(grpc.StatusCode[error.status], str(error), ((ERROR_METADATA, raw),))
    raise AssertionError("abort raises")
