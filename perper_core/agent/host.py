"""A host: runs agents as instances of a fabric, in this process.

A call from one hosted instance to another is an awaited function call; everything else goes
through the fabric, so that instances can move to another process without a change in their code.
"""

import asyncio
import logging
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from perper_core.agent.agent import START, STOP, Agent, Delegate
from perper_core.agent.handles import Context
from perper_core.agent.instance import Instance
from perper_core.agent.limits import (
    CALL_DEPTH_MAX,
    CANCEL_S_MAX,
    GRACE_S_DEFAULT,
    GROUP_DEFAULT,
    INSTANCES_MAX,
    THREADS_MAX,
)
from perper_core.agent.worker import Worker, failure_from
from perper_core.agent.writer import Trace
from perper_core.errors import Conflict, Exhausted, FabricError, Failed, NotFound
from perper_core.failures import error_of
from perper_core.limits import VALUE_BYTES_MAX
from perper_core.ports import ExecutionOptions, Fabric
from perper_core.values import Value, decode_value, encode_value

log = logging.getLogger("perper.agent")

IN_MEMORY = ExecutionOptions(durable=False)
FREE_BYTES_MAX = VALUE_BYTES_MAX - 5  # tag and length are counted too
OUTSIDE = ""
"""Instance of the host's own context: callers that are no agent."""


class Host:
    """Hosted instances by name. Make it on the loop that runs it."""

    def __init__(
        self, fabric: Fabric, *, group: str = GROUP_DEFAULT, trace: Trace | None = None
    ) -> None:
        self.fabric = fabric
        self.loop = asyncio.get_running_loop()
        self.trace = trace
        self.context = Context(self, OUTSIDE)
        """For callers that are no agents."""
        self._group = group
        self._instances: dict[str, Instance] = {}
        self._workers: dict[str, list[Worker]] = {}
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="agent")
        self._ended: asyncio.Future[None] = self.loop.create_future()

    # ---------------------------------------------------------------- instances

    async def start(self, agent: Agent, instance: str, *, serve: bool = True) -> Context:
        """Run the agent's Start, then take work for the instance (unless not `serve`: then only
        this host's instances can call it). Conflict if the name is taken here."""
        if instance == OUTSIDE or instance in self._instances:
            raise Conflict("the instance is hosted here", instance=instance)
        if len(self._instances) >= INSTANCES_MAX:
            raise Exhausted("too many instances", instances_max=INSTANCES_MAX)
        hosted = Instance(agent, instance, threads=self._threads, crash=self._on_crash)
        self._instances[instance] = hosted
        self._workers[instance] = []
        context = Context(self, instance)
        try:
            await hosted.run_lifecycle(START, context)
            if serve:
                await self._serve(hosted)
        except BaseException:
            await self.stop_instance(instance, grace_s=0.0)
            raise
        return context

    async def _serve(self, hosted: Instance) -> None:
        """One session for the delegates that share places, one for each with its own bound."""
        shared = [spec for spec in hosted.delegates.values() if not spec.parallel]
        sessions = [([spec], spec.parallel) for spec in hosted.delegates.values() if spec.parallel]
        if shared:
            sessions.append((shared, hosted.agent.parallel))
        for delegates, parallel in sessions:
            worker = Worker(self, hosted, delegates, group=self._group, parallel=parallel)
            self._workers[hosted.name].append(worker)
            await worker.open()
            worker.task.add_done_callback(self._on_worker_done)

    async def stop_instance(self, instance: str, *, grace_s: float = GRACE_S_DEFAULT) -> None:
        """No new work; drain for `grace_s`; cancel the rest (given back where it has a record);
        Stop; cancel background tasks. Unknown: NotFound."""
        hosted = self._instances.get(instance)
        if hosted is None:
            raise NotFound("not hosted here", instance=instance)
        hosted.closing = True
        workers = self._workers[instance]
        await asyncio.gather(*(worker.stop_taking() for worker in workers))
        drained = await _within(hosted.idle(), grace_s)
        if not drained:
            hosted.cancel_calls()
        await asyncio.gather(*(worker.close() for worker in workers))
        if not await _within(hosted.idle(), CANCEL_S_MAX):
            log.warning("%s: %d handlers ignore their cancellation", instance, hosted.running)
        try:
            await hosted.run_lifecycle(STOP, Context(self, instance))
        finally:
            await hosted.cancel_background()
            del self._instances[instance], self._workers[instance]

    async def stop(self, *, grace_s: float = GRACE_S_DEFAULT) -> None:
        """Stop all instances, the last started first. The fabric stays open. Idempotent; raises
        the first error of a Stop handler after all are stopped."""
        failed: Exception | None = None
        for instance in reversed(list(self._instances)):
            try:
                await self.stop_instance(instance, grace_s=grace_s)
            except Exception as error:
                failed = failed or error
                log.error("%s: Stop failed", instance, exc_info=error)
        self._threads.shutdown(wait=False, cancel_futures=True)
        if not self._ended.done():
            self._ended.set_result(None)
        if failed is not None:
            raise failed

    async def run(self) -> None:
        """Wait until `stop`, or raise what crashed: a background task, or taking work."""
        await asyncio.shield(self._ended)

    def spawn(
        self, instance: str, coroutine: Coroutine[Any, Any, None], name: str
    ) -> asyncio.Task[None]:
        """See Context.spawn."""
        hosted = self._instances.get(instance)
        if hosted is None:
            coroutine.close()
            raise NotFound("not hosted here", instance=instance)
        return hosted.spawn(coroutine, name)

    def delegate_of(self, instance: str, delegate: str) -> Delegate | None:
        """How a hosted instance declares a delegate."""
        hosted = self._instances.get(instance)
        return None if hosted is None else hosted.delegates.get(delegate)

    # ---------------------------------------------------------------- calls

    async def call(
        self,
        caller: Context,
        instance: str,
        delegate: str,
        argument: Value,
        *,
        name: str,
        deadline_s: float,
    ) -> Value:
        """See Context.call."""
        if self.trace is not None:
            self.trace("call", f"{instance}.{delegate}", name)
        hosted = self._instances.get(instance)
        if hosted is not None:
            spec = hosted.delegates.get(delegate)
            if spec is None:
                raise NotFound("no such delegate", instance=instance, delegate=delegate)
            if not name and spec.direct and caller.depth < CALL_DEPTH_MAX:
                return await self._call_direct(caller, hosted, spec, argument, deadline_s)
        return await self.fabric.call(
            instance,
            delegate,
            argument,
            id=caller.child_id(name) if name else "",
            deadline_s=deadline_s,
            parent=caller.fence,
            options=ExecutionOptions() if name else IN_MEMORY,
        )

    async def _call_direct(
        self, caller: Context, hosted: Instance, spec: Delegate, argument: Value, deadline_s: float
    ) -> Value:
        """The same meaning as through the fabric: values are copied, errors are typed; the callee
        acts under its caller's reservation."""
        context = Context(
            self,
            hosted.name,
            execution=caller.execution,
            fence=caller.fence,
            depth=caller.depth + 1,
        )
        try:
            result = await hosted.call(
                spec.name, context, _carried(argument), deadline_s=deadline_s
            )
        except FabricError:
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise Failed(str(error), type="CancelledError") from error  # the handler's own
        except Exception as error:
            raise error_of(failure_from(error, spec)) from error
        return _carried(result)

    # ---------------------------------------------------------------- crashes

    def _on_worker_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_crash(error)

    def _on_crash(self, error: BaseException) -> None:
        if self._ended.done():
            log.error("crashed after another crash", exc_info=error)
        else:
            self._ended.set_exception(error)
            self._ended.exception()  # looked at: run() may never be called


def _carried(value: Value) -> Value:
    """The value as it comes out of the fabric on the other side. Bytes cannot be changed: within
    their bound they are themselves."""
    if value is None or (type(value) is bytes and len(value) <= FREE_BYTES_MAX):
        return value
    return decode_value(encode_value(value))


async def _within(waiting: Coroutine[Any, Any, None], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return False
    return True
