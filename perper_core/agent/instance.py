"""A hosted instance: an agent object, its places, and what runs in it.

Runs handlers, whoever asks: a caller in process or a reservation. Knows nothing of reservations
and records: `worker` does.
"""

import asyncio
import contextvars
from asyncio import Semaphore
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, cast

from perper_core.agent.agent import LIFECYCLE, Agent, Delegate, HandlerKind
from perper_core.agent.handles import CURRENT, Context
from perper_core.agent.limits import BACKGROUND_MAX, CALLS_OPEN_MAX, CANCEL_S_MAX
from perper_core.errors import Cancelled, Exhausted, NotFound
from perper_core.values import Value

TaskHandler = Callable[[Context, Value], Coroutine[Any, Any, Value]]
ThreadHandler = Callable[[Context, Value], Value]
BodyHandler = Callable[[Context, Value], AsyncIterator[object]]
Crash = Callable[[BaseException], None]


class Instance:
    """One agent object under one instance name."""

    def __init__(self, agent: Agent, name: str, *, threads: Executor, crash: Crash) -> None:
        self.agent = agent
        self.name = name
        self.delegates: dict[str, Delegate] = {
            delegate.name: delegate
            for delegate in agent.delegates.values()
            if delegate.name not in LIFECYCLE
        }
        self.closing = False
        self._threads = threads
        self._crash = crash
        self._handlers = {
            delegate.name: getattr(agent, delegate.attribute)
            for delegate in agent.delegates.values()
        }
        shared = Semaphore(agent.parallel)
        self._places: dict[str, Semaphore] = {
            name: Semaphore(delegate.parallel) if delegate.parallel else shared
            for name, delegate in self.delegates.items()
        }
        self._calls: set[asyncio.Timeout] = set()
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._background: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """Handlers that run or wait for a place."""
        return self._running

    # ---------------------------------------------------------------- calls in process

    async def call(
        self, delegate: str, context: Context, argument: Value, *, deadline_s: float
    ) -> Value:
        """Run a handler in the caller's task, without a record. Errors as it raised them;
        Cancelled at the deadline or when the instance stops."""
        if self.closing:
            raise Cancelled("the instance is stopping", instance=self.name)
        if len(self._calls) >= CALLS_OPEN_MAX:
            raise Exhausted("too many calls", instance=self.name, calls_max=CALLS_OPEN_MAX)
        scope = asyncio.timeout(deadline_s)
        self._calls.add(scope)
        try:
            async with scope:
                return await self.run(delegate, context, argument)
        except TimeoutError as error:
            if not scope.expired():  # the handler's own
                raise
            raise Cancelled(self._why(), instance=self.name, delegate=delegate) from error
        finally:
            self._calls.discard(scope)

    def _why(self) -> str:
        return "the instance is stopping" if self.closing else "no outcome by the deadline"

    def cancel_calls(self) -> None:
        """Cancel what runs in callers' tasks."""
        now = asyncio.get_running_loop().time()
        for scope in list(self._calls):
            if not scope.expired():
                scope.reschedule(now)

    # ---------------------------------------------------------------- handlers

    async def run(self, delegate: str, context: Context, argument: Value) -> Value:
        """Run a handler when it has a place."""
        spec = self.delegates.get(delegate)
        if spec is None:
            raise NotFound("no such delegate", instance=self.name, delegate=delegate)
        handler = self._handlers[delegate]
        place = self._places[delegate]
        self._enter()
        try:
            if spec.kind is HandlerKind.THREAD:
                return await self._run_thread(handler, place, context, argument)
            async with place:
                token = CURRENT.set(context)
                try:
                    return await cast(TaskHandler, handler)(context, argument)
                finally:
                    CURRENT.reset(token)
        finally:
            self._leave()

    async def run_body(
        self,
        delegate: str,
        context: Context,
        argument: Value,
        consume: Callable[[AsyncIterator[object]], Coroutine[Any, Any, None]],
    ) -> None:
        """Run a stream body when it has a place; `consume` takes what it yields."""
        handler = cast(BodyHandler, self._handlers[delegate])
        self._enter()
        try:
            async with self._places[delegate]:
                token = CURRENT.set(context)
                try:
                    await consume(handler(context, argument))
                finally:
                    CURRENT.reset(token)
        finally:
            self._leave()

    async def run_lifecycle(self, delegate: str, context: Context) -> None:
        """Run Start or Stop, if the agent has it."""
        handler = self._handlers.get(delegate)
        if handler is None:
            return
        token = CURRENT.set(context)
        try:
            await cast(TaskHandler, handler)(context, None)
        finally:
            CURRENT.reset(token)

    async def _run_thread(
        self, handler: ThreadHandler, place: Semaphore, context: Context, argument: Value
    ) -> Value:
        """A thread cannot be stopped: a cancelled one keeps its place until it looks and
        returns."""
        await place.acquire()
        token = CURRENT.set(context)
        try:
            variables = contextvars.copy_context()
        finally:
            CURRENT.reset(token)
        loop = asyncio.get_running_loop()
        try:
            future = loop.run_in_executor(self._threads, variables.run, handler, context, argument)
        except RuntimeError as error:  # the pool is shut down
            place.release()
            raise Cancelled("the host is stopping", instance=self.name) from error
        future.add_done_callback(lambda _: place.release())
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            context.cancelled = True
            # nobody waits for its outcome any more: look at it, so that it is not "never retrieved"
            future.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise

    def _enter(self) -> None:
        self._running += 1
        if self._running == 1:
            self._idle.clear()

    def _leave(self) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no handler runs."""
        await self._idle.wait()

    # ---------------------------------------------------------------- background tasks

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task that ends with the instance at the latest. Its crash is the host's."""
        if self.closing or len(self._background) >= BACKGROUND_MAX:
            coroutine.close()
            if self.closing:
                raise Cancelled("the instance is stopping", instance=self.name)
            raise Exhausted("too many tasks", instance=self.name, tasks_max=BACKGROUND_MAX)
        task = asyncio.create_task(coroutine, name=f"{self.name}: {name}")
        self._background.add(task)
        task.add_done_callback(self._on_background_done)
        return task

    def _on_background_done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash(error)

    async def cancel_background(self) -> None:
        """Cancel the background tasks and wait for them, at most CANCEL_S_MAX."""
        tasks = list(self._background)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_S_MAX)
