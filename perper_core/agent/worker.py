"""A worker: reserves executions for one instance, runs them, records their outcomes.

Waits on the fabric's reservations, never polls. Knows nothing of calls in process.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from perper_core.agent.agent import Delegate, HandlerKind
from perper_core.agent.handles import EPHEMERAL, Context, Home
from perper_core.agent.instance import Instance
from perper_core.agent.limits import (
    CANCEL_S_MAX,
    RECORD_ATTEMPTS_MAX,
    RECORD_PAUSE_S,
    RESERVE_FAILURES_MAX,
    RESERVE_PAUSE_S,
)
from perper_core.agent.writer import Entry, Writer
from perper_core.errors import (
    AlreadyFinished,
    Cancelled,
    Conflict,
    Exhausted,
    FabricError,
    Invalid,
    NotFound,
    OutcomeUnknown,
    StaleToken,
    TooLarge,
)
from perper_core.failures import failure_of
from perper_core.ports import Failure, Fence, Reservations, Reserved, Stopped, StreamOptions
from perper_core.values import Value

log = logging.getLogger("perper.agent")

TEXT_MAX = 1000  # characters of an exception's text that are recorded


class Worker:
    """One session of reservations: some delegates of one instance, `parallel` at a time."""

    def __init__(
        self,
        home: Home,
        instance: Instance,
        delegates: list[Delegate],
        *,
        group: str,
        parallel: int,
    ) -> None:
        self._home = home
        self._fabric = home.fabric
        self._instance = instance
        self._delegates = {delegate.name: delegate for delegate in delegates}
        self._group = group
        self._parallel = parallel
        self._reservations: Reservations | None = None
        self._running: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._loop_task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Join the work group; returns when work is offered to this worker."""
        self._reservations = await self._reserve()
        names = ",".join(self._delegates)
        self._loop_task = asyncio.create_task(
            self._take(), name=f"{self._instance.name}: reserve {names}"
        )

    @property
    def task(self) -> asyncio.Task[None]:
        """The loop that takes work; ends when the fabric is closed, raises when it is broken."""
        assert self._loop_task is not None, "open first"
        return self._loop_task

    async def stop_taking(self) -> None:
        """No new work; what runs goes on under its lease."""
        task = self._loop_task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        """Cancel what still runs and give it back."""
        await self.stop_taking()
        running = list(self._running.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CANCEL_S_MAX)
        if self._reservations is not None:
            await self._reservations.close()

    # ---------------------------------------------------------------- taking work

    async def _reserve(self) -> Reservations:
        return await self._fabric.reserve(
            self._group,
            instance=self._instance.name,
            delegates=tuple(self._delegates),
            parallel=self._parallel,
        )

    async def _take(self) -> None:
        failures = 0
        while True:
            try:
                if self._reservations is None:
                    self._reservations = await self._reserve()
                async for event in self._reservations:
                    failures = 0
                    self._on_event(event)
                return
            except Cancelled:
                return
            except FabricError as error:
                failures += 1
                if failures == RESERVE_FAILURES_MAX:
                    raise
                log.warning("%s: reserve failed: %s", self._instance.name, error)
                self._drop_all()
                self._reservations = None
                await asyncio.sleep(RESERVE_PAUSE_S * 2**failures)

    def _on_event(self, event: Reserved | Stopped) -> None:
        match event:
            case Reserved():
                task = asyncio.create_task(self._run(event), name=f"{event.delegate} {event.id}")
                key = (event.id, event.token)
                self._running[key] = task
                task.add_done_callback(lambda done: self._on_done(key, done))
            case Stopped():
                stopped = self._running.get((event.id, event.token))
                if stopped is not None:
                    stopped.cancel()

    def _on_done(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        self._running.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: %s was not recorded", self._instance.name, key[0], exc_info=error)

    def _drop_all(self) -> None:
        """The session is gone and its leases with it."""
        for task in self._running.values():
            task.cancel()

    # ---------------------------------------------------------------- running it

    async def _run(self, work: Reserved) -> None:
        spec = self._delegates.get(work.delegate)
        fence = Fence(work.id, work.token)
        context = Context(
            self._home, work.instance, execution=work.id, fence=fence, attempt=work.attempt
        )
        result: Value = None
        try:
            if spec is None:
                raise NotFound("no such delegate", delegate=work.delegate)
            if spec.kind is HandlerKind.STREAM:
                await self._run_body(spec, context, work)
            else:
                result = await self._instance.run(work.delegate, context, work.argument)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # it is not wanted any more: there is nothing to record
            await self._fail(work, Failure("CancelledError", str(error)))  # the handler's own
            return
        except Exception as error:
            await self._fail(work, failure_from(error, spec))
            return
        try:
            await self._record(lambda: self._fabric.finish(work.id, work.token, result))
        except (Invalid, TooLarge) as error:  # the handler's result is no Value
            await self._fail(work, failure_from(error, spec))

    async def _fail(self, work: Reserved, failure: Failure) -> None:
        await self._record(lambda: self._fabric.fail(work.id, work.token, failure))

    async def _record(self, command: Callable[[], Awaitable[None]]) -> None:
        """Record an outcome. Somebody else's outcome stands (contract 10, 16)."""
        for attempt in range(RECORD_ATTEMPTS_MAX):
            try:
                return await command()
            except (AlreadyFinished, StaleToken, NotFound, Cancelled):
                return None
            except (OutcomeUnknown, Exhausted):
                if attempt == RECORD_ATTEMPTS_MAX - 1:
                    raise
                await asyncio.sleep(RECORD_PAUSE_S)
        return None

    # ---------------------------------------------------------------- stream bodies

    async def _run_body(self, spec: Delegate, context: Context, work: Reserved) -> None:
        """Append what the body yields to the stream that has the execution's id (contract 9)."""
        options = spec.output or EPHEMERAL
        last_key = await self._open_stream(work.id, options)
        context.resume_key = last_key if work.attempt > 1 else None
        writer = Writer(
            self._fabric,
            work.id,
            f"{work.id}#{work.token}",  # each attempt is a session of its own
            context.fence,
            self._home.trace,
        )

        async def consume(body: AsyncIterator[object]) -> None:
            try:
                async for entry in body:
                    match entry:
                        case bytes():
                            await writer.write(entry)
                        case Entry(raw, key, field):
                            await writer.write(raw, key=key, field=field)
                        case _:
                            raise Invalid("a body yields bytes or Entry", delegate=spec.name)
            except Exception:
                await writer.close()  # what it yielded before is in the stream
                raise
            await writer.close()

        try:
            await self._instance.run_body(spec.name, context, work.argument, consume)
            await self._fabric.end(work.id, fence=context.fence)
        except BaseException as error:
            await writer.drop()
            if isinstance(error, Exception):
                await self._break(context, failure_from(error, spec))
            raise

    async def _open_stream(self, name: str, options: StreamOptions) -> int | None:
        """The stream's last key. Whoever started the body made the stream, as a rule."""
        try:
            info = await self._fabric.create_stream(name, replace(options, producer=name))
        except Conflict:  # its starter chose other options
            info = await self._fabric.stream_info(name)
        return info.last_key

    async def _break(self, context: Context, failure: Failure) -> None:
        try:
            await self._fabric.break_stream(context.execution, failure, fence=context.fence)
        except FabricError as error:
            log.info("%s: its stream is closed already: %s", context.execution, error)


def failure_from(error: Exception, spec: Delegate | None) -> Failure:
    """What is recorded of an exception: a fabric error as itself, another by its class's name,
    with the small facts in its `details`."""
    if isinstance(error, FabricError):
        return failure_of(error)
    facts = getattr(error, "details", None)
    details = facts.items() if isinstance(facts, dict) else ()
    return Failure(
        type(error).__name__,
        str(error)[:TEXT_MAX],
        tuple((str(k), v) for k, v in details if isinstance(v, int | str)),
        retry=spec is not None and isinstance(error, spec.retry_on),
    )
