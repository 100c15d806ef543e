"""A session on the server: its commands, listeners and workers, over one connection at a time.

Commands run as tasks, started in the order they came. Everything a client can make grow has a
bound. Knows nothing of gRPC: it is given frames and a `write`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

from perper_core import limits as core
from perper_core.errors import Exhausted, FabricError, Failed, Invalid
from perper_core.ports import Fabric, Gate, Listener
from perper_core.wire import frames as f
from perper_core.wire.access import Grant
from perper_core.wire.codec import encode_reply, join_replies
from perper_core.wire.dispatch import authorize, error_reply, perform
from perper_core.wire.limits import (
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    LISTENERS_MAX,
    OUTBOX_BYTES_MAX,
    READS_MAX,
    WINDOW_MAX,
    WINDOWS_SUM_MAX,
    WORKERS_MAX,
)
from perper_core.wire.serving import ServedListener, ServedWorker
from perper_core.wire.session import Admission, Outbox, Parts, ReplyBook, repeatable

log = logging.getLogger("perper.wire")

READS = (f.Get, f.ListState, f.GetExecution, f.ListExecutions, f.ListStreams)


class Session:
    """What the server knows of one client. Invariant: at most one connection writes."""

    def __init__(self, id: bytes, fabric: Fabric, grant: Grant, token: str) -> None:
        self.id = id
        self.token = token
        self.closed = False
        self._fabric = fabric
        self._grant = grant
        self._book = ReplyBook()
        self._parts = Parts()
        self._outbox = Outbox()
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._reads = asyncio.Semaphore(READS_MAX)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._listeners: dict[int, ServedListener] = {}
        self._workers: dict[int, ServedWorker] = {}
        self._connected = False
        self._heard = 0.0
        self._watch: asyncio.Task[None] | None = None

    # ---------------------------------------------------------------- connections

    def attach(self, welcome: f.Welcome, nonce: int, hello: f.Hello) -> None:
        """A connection begins; what the old one did not carry is sent again when asked for."""
        self._book.keep(hello.open)
        self._outbox.clear()
        self._drained.set()
        self._connected = True
        self._heard = asyncio.get_running_loop().time()
        self._send_reply(nonce, welcome)

    def detach(self) -> None:
        """The connection is lost. Commands go on; listeners and workers wait for a while."""
        self._connected = False
        self._outbox.clear()
        for nonce in self._parts.clear():
            self._book.settle(nonce, None)
        for listener in self._listeners.values():
            listener.pause()

    async def send(self, write: Callable[[bytes], Awaitable[None]]) -> NoReturn:
        """Write frames for ever; blocked only by its own reader."""
        while True:
            frame = self._outbox.next_frame()
            if frame:
                await write(join_replies(frame))
            if not self._outbox:
                self._drained.set()
                self._wake.clear()
                await self._wake.wait()

    async def ready(self) -> None:
        """Wait until more commands may be read."""
        await self._drained.wait()

    async def close(self, *, lost: bool = False) -> None:
        """Abort its commands, detach its listeners, give its work back. `lost`: the client is
        gone without a word."""
        if self.closed:
            return
        self.closed = True
        self._connected = False
        if self._watch is not None:
            self._watch.cancel()
        for task in self._tasks.values():
            task.cancel()
        listeners, workers = list(self._listeners.values()), list(self._workers.values())
        for closing in (
            *(listener.close() for listener in listeners),
            *(worker.close(lost=lost) for worker in workers),
        ):
            try:
                await closing
            except FabricError as error:
                log.info("closing a session: %s", error)
        self._listeners.clear()
        self._workers.clear()

    # ---------------------------------------------------------------- frames

    def on_frame(self, frame: f.CommandFrame) -> bool:
        """Take a frame in; False when the client said Bye. Raises Invalid or Exhausted for a
        client that breaks the rules."""
        self._heard = asyncio.get_running_loop().time()
        self._book.confirm(frame.received)
        for command in frame.commands:
            match command.op:
                case f.Append():
                    self._on_append(command.nonce, command.op)
                case f.Credit(listener, cost):
                    if (served := self._listeners.get(listener)) is not None:
                        served.grant(cost)
                case f.ListenerAck(listener, offset):
                    if (served := self._listeners.get(listener)) is not None:
                        served.ack(offset)
                case f.Abort(nonce):
                    if (task := self._tasks.get(nonce)) is not None:
                        task.cancel()
                case f.Beat():
                    pass
                case f.Bye():
                    return False
                case f.Hello():
                    raise Invalid("hello comes once")
                case _:
                    self._on_command(command.nonce, command.op)
        return True

    def _on_append(self, nonce: int, op: f.Append) -> None:
        if nonce in self._parts or self._admit(nonce):
            whole = self._parts.add(nonce, op)
            if whole is not None:
                self._start(nonce, whole)

    def _on_command(self, nonce: int, op: f.Op) -> None:
        if self._admit(nonce):
            self._start(nonce, op)

    def _admit(self, nonce: int) -> bool:
        """Whether it is to be done now."""
        if nonce <= 0:
            raise Invalid("a command with an answer needs a nonce")
        try:
            admission = self._book.admit(nonce)
        except Exhausted as error:
            self._send_reply(nonce, error_reply(error))
            return False
        if admission is Admission.ANSWERED:
            self._post(self._book.reply(nonce), 1)
        return admission is Admission.NEW

    def _start(self, nonce: int, op: f.Op) -> None:
        task = asyncio.create_task(self._run(nonce, op))
        self._tasks[nonce] = task
        task.add_done_callback(lambda _: self._tasks.pop(nonce, None))

    # ---------------------------------------------------------------- commands

    async def _run(self, nonce: int, op: f.Op) -> None:
        try:
            payload = await self._perform(op)
        except asyncio.CancelledError:
            self._book.settle(nonce, None)
            raise
        except FabricError as error:
            payload = error_reply(error)
        except Exception as error:  # our own bug must not leave the client waiting
            log.exception("%s", type(op).__name__)
            payload = error_reply(Failed("the server failed", type=type(error).__name__))
        if payload is not None:
            raw = encode_reply(f.Reply(nonce, payload))
            self._book.settle(nonce, None if repeatable(op) else raw)
            self._post(raw, 1)

    async def _perform(self, op: f.Op) -> f.Payload | None:
        """Do it; None when the answer has been sent."""
        await authorize(self._fabric, self._grant, op)
        match op:
            case f.Listen():
                return await self._listen(op)
            case f.Reserve():
                return await self._reserve(op)
            case f.Detach(listener):
                if (served := self._listeners.pop(listener, None)) is not None:
                    await served.close()
                return f.Done()
            case f.Leave(worker, lost):
                if (left := self._workers.pop(worker, None)) is not None:
                    await left.close(lost=lost)
                return f.Done()
            case f.Hello() | f.Bye() | f.Beat() | f.Abort() | f.Credit() | f.ListenerAck():
                raise Invalid("not a command with an answer")
            case f.Finish() | f.Fail():
                for holder in self._workers.values():
                    holder.conclude(op.id, op.token)
                return await perform(self._fabric, op)
            case _:
                if not isinstance(op, READS):
                    return await perform(self._fabric, op)
                async with self._reads:
                    await self._drained.wait()
                    return await perform(self._fabric, op)

    async def _listen(self, op: f.Listen) -> f.Payload:
        if not 0 < op.window <= WINDOW_MAX:
            raise Invalid(f"0 < window <= {WINDOW_MAX} does not hold", window=op.window)
        old = self._listeners.get(op.listener)
        others = sum(
            each.window_size for each in self._listeners.values() if each.id != op.listener
        )
        if old is None and len(self._listeners) >= LISTENERS_MAX:
            raise Exhausted("too many listeners", listeners_max=LISTENERS_MAX)
        if others + op.window > WINDOWS_SUM_MAX:
            raise Exhausted("windows of a session", sum_max=WINDOWS_SUM_MAX)
        listener = await open_listener(self._fabric, op)
        served = ServedListener(op.listener, listener, op.window, self._send_unasked)
        self._listeners[op.listener] = served
        if old is not None:  # attached anew first, so that nothing is dropped in between
            await old.close()
        if self._connected:
            # the reply is queued before the first item
            asyncio.get_running_loop().call_soon(self._start_listener, served)
        return served.attached

    def _start_listener(self, served: ServedListener) -> None:
        if self._connected and self._listeners.get(served.id) is served:
            served.start()

    async def _reserve(self, op: f.Reserve) -> f.Payload:
        known = self._workers.get(op.worker)
        if known is not None:
            known.resume(list(op.held))
            return f.Done()
        if len(self._workers) >= WORKERS_MAX:
            raise Exhausted("too many workers", workers_max=WORKERS_MAX)
        reservations = await self._fabric.reserve(
            op.group, instance=op.instance, delegates=op.delegates, parallel=op.parallel
        )
        worker = ServedWorker(op.worker, reservations, self._send_unasked)
        self._workers[op.worker] = worker
        for fence in op.held:
            self._send_unasked(f.Halt(op.worker, fence.execution, fence.token, "lost"), 0)
        worker.start()
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_beats(), name="beats")
        return f.Done()

    async def _watch_beats(self) -> None:
        """Contract 14: a worker session that is silent for a lease loses its work."""
        loop = asyncio.get_running_loop()
        while True:
            silent_s = loop.time() - self._heard
            if self._workers and silent_s >= core.LEASE_TTL_S:
                expired = list(self._workers.values())
                self._workers.clear()
                for worker in expired:
                    await worker.expire()
            await asyncio.sleep(max(core.LEASE_TTL_S - silent_s, core.LEASE_BEAT_S))

    # ---------------------------------------------------------------- sending

    def _send_reply(self, nonce: int, payload: f.Payload) -> None:
        self._post(encode_reply(f.Reply(nonce, payload)), 1)

    def _send_unasked(self, payload: f.Payload, items: int) -> None:
        self._post(encode_reply(f.Reply(0, payload)), max(1, items))

    def _post(self, raw: bytes, items: int) -> None:
        if not self._connected:
            return
        self._outbox.add(raw, items)
        if self._outbox.bytes > OUTBOX_BYTES_MAX:
            self._drained.clear()
        self._wake.set()


async def open_listener(fabric: Fabric, op: f.Listen) -> Listener:
    """Attach for a remote reader: batches fit frames, and a gate that is `local` is not its to
    hold (fabric page)."""
    flow = op.flow
    if flow:
        flow = (await fabric.stream_info(op.stream)).options.gate is Gate.ANY
    return await fabric.listen(
        op.stream,
        name=op.name,
        first=op.first,
        flow=flow,
        batch_items=max(1, min(op.batch_items, FRAME_ITEMS_MAX)),
        batch_bytes=max(1, min(op.batch_bytes, FRAME_BYTES_MAX)),
    )
