"""What a handler holds: its context, and typed handles on streams, calls and dictionaries.

A handle is a name and a fabric; making one costs nothing and checks nothing. Handles travel in
arguments and results as their `reference`. Knows nothing of how handlers are run: `Home` is what
it needs from the host.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from perper_core import limits
from perper_core.agent.agent import Delegate
from perper_core.agent.limits import UPDATE_RETRIES_MAX
from perper_core.agent.writer import Trace, Writer
from perper_core.errors import Conflict, Invalid
from perper_core.ports import (
    ABSENT,
    ANY_VERSION,
    DEFAULT_EXECUTION,
    DEFAULT_STREAM,
    LIVE,
    Appended,
    ExecutionInfo,
    ExecutionOptions,
    Fabric,
    Fence,
    Item,
    Kind,
    Listener,
    StateEntry,
    StreamInfo,
    StreamOptions,
)
from perper_core.values import Record, Value

T = TypeVar("T")

EPHEMERAL = StreamOptions(kind=Kind.EPHEMERAL)
ONE_TRY = ExecutionOptions(attempts_max=1)


class Home(Protocol):
    """What a context needs from the host that runs its instance."""

    fabric: Fabric
    loop: asyncio.AbstractEventLoop
    trace: Trace | None

    async def call(
        self,
        caller: "Context",
        instance: str,
        delegate: str,
        argument: Value,
        *,
        name: str,
        deadline_s: float,
    ) -> Value: ...

    def spawn(
        self, instance: str, coroutine: Coroutine[Any, Any, None], name: str
    ) -> asyncio.Task[None]: ...

    def delegate_of(self, instance: str, delegate: str) -> Delegate | None: ...


class Stream:
    """A stream by name. Bytes go in and come out under dense offsets from 1."""

    __slots__ = ("_fabric", "_fence", "_trace", "name")

    def __init__(
        self, fabric: Fabric, name: str, fence: Fence | None = None, trace: Trace | None = None
    ) -> None:
        self._fabric = fabric
        self._fence = fence
        self._trace = trace
        self.name = name

    @property
    def reference(self) -> Record:
        """Itself as a Value: `context.stream(reference)` on the other side."""
        return Record("Stream", {"name": self.name})

    async def append(
        self,
        raws: Sequence[bytes],
        *,
        keys: Sequence[int] | None = None,
        fields: Sequence[int] | int | None = None,
        wait: bool = True,
    ) -> Appended:
        """As `Fabric.append`, under this handler's fence."""
        if self._trace is not None:
            self._trace("append", self.name, str(len(raws)))
        return await self._fabric.append(
            self.name, raws, keys=keys, fields=fields, fence=self._fence, wait=wait
        )

    def writer(self, session: str = "") -> Writer:
        """A buffer in front of `append`, for one item at a time from a hot path. With a `session`,
        unique to this writer, items are appended exactly once even if an outcome was unknown."""
        return Writer(self._fabric, self.name, session, self._fence, self._trace)

    async def listen(
        self,
        *,
        name: str = "",
        first: int = LIVE,
        flow: bool = False,
        batch_items: int = limits.BATCH_ITEMS_DEFAULT,
        batch_bytes: int = limits.BATCH_BYTES_DEFAULT,
    ) -> Listener:
        """As `Fabric.listen`: `async with await stream.listen() as listener`, then ack yourself."""
        return await self._fabric.listen(
            self.name,
            name=name,
            first=first,
            flow=flow,
            batch_items=batch_items,
            batch_bytes=batch_bytes,
        )

    async def items(
        self, *, name: str = "", first: int = LIVE, flow: bool = False
    ) -> AsyncIterator[Item]:
        """Item by item. A batch is acknowledged when its last item has been processed. Truncated
        ends it: call again with `first=error.first`."""
        async with await self.listen(name=name, first=first, flow=flow) as listener:
            async for batch in listener:
                for item in batch:
                    yield item
                await listener.ack(batch.last)

    async def end(self) -> None:
        """No more items."""
        await self._fabric.end(self.name, fence=self._fence)

    async def info(self) -> StreamInfo:
        return await self._fabric.stream_info(self.name)

    async def remove(self) -> None:
        await self._fabric.remove_stream(self.name)


class Call:
    """An execution by id."""

    __slots__ = ("_fabric", "id")

    def __init__(self, fabric: Fabric, id: str) -> None:
        self._fabric = fabric
        self.id = id

    @property
    def reference(self) -> Record:
        """Itself as a Value."""
        return Record("Call", {"name": self.id})

    async def result(self, *, deadline_s: float = limits.DEADLINE_S_DEFAULT) -> Value:
        """Wait for it. Errors: Failed, Cancelled, OutcomeUnknown at the deadline, NotFound."""
        return await self._fabric.result(self.id, deadline_s=deadline_s)

    async def cancel(self, *, reason: str = "") -> bool:
        """True if this cancelled it."""
        return await self._fabric.cancel(self.id, reason=reason)

    async def info(self) -> ExecutionInfo:
        return await self._fabric.execution(self.id)


class Dictionary:
    """A state by name: keys to Values, linearizable per key, nothing across keys."""

    __slots__ = ("_fabric", "_fence", "name")

    def __init__(self, fabric: Fabric, name: str, fence: Fence | None = None) -> None:
        self._fabric = fabric
        self._fence = fence
        self.name = name

    @property
    def reference(self) -> Record:
        """Itself as a Value."""
        return Record("Dictionary", {"name": self.name})

    async def get(self, key: str, default: Value = None) -> Value:
        entry = await self._fabric.get(self.name, key)
        return default if entry is None else entry.value

    async def entry(self, key: str) -> StateEntry | None:
        """The value with its version, for a conditional put."""
        return await self._fabric.get(self.name, key)

    async def put(self, key: str, value: Value, *, version: int = ANY_VERSION) -> int:
        """The new version. Conflict unless `version` is there (ABSENT: nothing is there)."""
        return await self._fabric.put(self.name, key, value, version=version, fence=self._fence)

    async def remove(self, key: str, *, version: int = ANY_VERSION) -> bool:
        """Whether it was there."""
        return await self._fabric.remove(self.name, key, version=version, fence=self._fence)

    async def update(
        self, key: str, function: Callable[[Value], Value], default: Value = None
    ) -> Value:
        """Replace the value by `function(value)`, atomically; the new value. The function may run
        more than once. Conflict after UPDATE_RETRIES_MAX lost races."""
        for _ in range(UPDATE_RETRIES_MAX):
            entry = await self._fabric.get(self.name, key)
            value = function(default if entry is None else entry.value)
            try:
                await self.put(key, value, version=ABSENT if entry is None else entry.version)
            except Conflict:
                continue
            return value
        raise Conflict("lost every race", state=self.name, key=key, retries=UPDATE_RETRIES_MAX)

    async def items(self) -> AsyncIterator[StateEntry]:
        """All entries in order of keys; what changes meanwhile may be seen or not."""
        after = ""
        while True:
            page = await self._fabric.list_state(self.name, after=after)
            for entry in page:
                yield entry
            if len(page) < limits.LIST_ITEMS_MAX:
                return
            after = page[-1].key


class Context:
    """One run of a handler, or (with an empty `execution`) a hosted instance itself."""

    __slots__ = (
        "_home",
        "_ordinal",
        "attempt",
        "cancelled",
        "depth",
        "execution",
        "fence",
        "instance",
        "resume_key",
    )

    def __init__(
        self,
        home: Home,
        instance: str,
        *,
        execution: str = "",
        fence: Fence | None = None,
        attempt: int = 1,
        depth: int = 0,
        resume_key: int | None = None,
    ) -> None:
        self._home = home
        self._ordinal = 0
        self.instance = instance
        self.execution = execution
        self.fence = fence
        """Under which reservation it acts; None where there is no record."""
        self.attempt = attempt
        self.depth = depth
        self.resume_key = resume_key
        """Last committed key of the stream, for a stream body that is called again."""
        self.cancelled = False
        """Set when it is not wanted any more; for handlers in threads, which must look."""

    @property
    def fabric(self) -> Fabric:
        return self._home.fabric

    # ---------------------------------------------------------------- executions

    async def call(
        self,
        instance: str,
        delegate: str,
        argument: Value = None,
        *,
        name: str = "",
        deadline_s: float = limits.DEADLINE_S_DEFAULT,
    ) -> Value:
        """Call and wait.

        Without a `name` the call belongs to its caller: cancelled with it and at the deadline
        (Cancelled); an instance of this host is called as a function, without a record. With a
        name it is recorded as a child `{execution}/{name}`, and a second run of this handler
        finds it again; at the deadline OutcomeUnknown. Errors of the handler: Failed, or the
        fabric error it raised.
        """
        return await self._home.call(
            self, instance, delegate, argument, name=name, deadline_s=deadline_s
        )

    async def start(
        self,
        instance: str,
        delegate: str,
        argument: Value = None,
        *,
        name: str = "",
        detached: bool = False,
        options: ExecutionOptions = DEFAULT_EXECUTION,
    ) -> Call:
        """Start without waiting. The child's id is `{execution}/{name}`, or numbered in order of
        the starts; a second run of this handler attaches to the same children (contract 12)."""
        id = self.child_id(name)
        self._trace("call", f"{instance}.{delegate}", id)
        await self.fabric.create(
            id,
            instance=instance,
            delegate=delegate,
            argument=argument,
            parent=self.fence,
            detached=detached,
            options=options,
        )
        return Call(self.fabric, id)

    async def produce(
        self,
        instance: str,
        delegate: str,
        argument: Value = None,
        *,
        name: str,
        options: StreamOptions | None = None,
    ) -> Stream:
        """Start a stream body; its stream, already open for listeners. `name` is the stream's and
        the execution's. Options: as given, as declared by the agent if it is hosted here, else
        ephemeral. Starting it again attaches to it."""
        declared = self._home.delegate_of(instance, delegate)
        wanted = options or (declared.output if declared is not None else None) or EPHEMERAL
        resume = declared is not None and declared.resume
        self._trace("call", f"{instance}.{delegate}", name)
        await self.fabric.create_stream(name, replace(wanted, producer=name))
        await self.fabric.create(
            name,
            instance=instance,
            delegate=delegate,
            argument=argument,
            parent=self.fence,
            options=DEFAULT_EXECUTION if resume else ONE_TRY,
        )
        return self.stream(name)

    def child_id(self, name: str = "") -> str:
        """Id of a child execution, the same on every run of this handler (contract 12)."""
        parent = self.execution or self.instance
        if name:
            return f"{parent}/{name}"
        if not self.execution:
            raise Invalid("an instance has no order of starts: name the execution")
        self._ordinal += 1
        return f"{parent}/{self._ordinal}"

    # ---------------------------------------------------------------- streams and states

    def stream(self, name: str | Record) -> Stream:
        """A handle by name or reference. No I/O."""
        return Stream(self.fabric, _named(name, "Stream"), fence=self.fence, trace=self._home.trace)

    async def open_stream(self, name: str, options: StreamOptions = DEFAULT_STREAM) -> Stream:
        """Create unless it is there; Conflict if it is there with other options."""
        await self.fabric.create_stream(name, options, fence=self.fence)
        return self.stream(name)

    @property
    def state(self) -> Dictionary:
        """The instance's own dictionary, named like it."""
        return Dictionary(self.fabric, self.instance, self.fence)

    def dictionary(self, name: str | Record) -> Dictionary:
        """A free-standing dictionary by name or reference."""
        return Dictionary(self.fabric, _named(name, "Dictionary"), self.fence)

    def execution_named(self, id: str | Record) -> Call:
        """A handle on any execution by id or reference."""
        return Call(self.fabric, _named(id, "Call"))

    # ---------------------------------------------------------------- tasks and threads

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """A background task of the instance: cancelled when it stops; its crash ends
        `Host.run`."""
        return self._home.spawn(self.instance, coroutine, name)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """From a handler in a thread: run a coroutine on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._home.loop).result()

    def _trace(self, kind: str, name: str, detail: str) -> None:
        if self._home.trace is not None:
            self._home.trace(kind, name, detail)


CURRENT: ContextVar[Context] = ContextVar("perper_context")


def current_context() -> Context:
    """The context of the handler that runs here. LookupError outside of handlers."""
    return CURRENT.get()


def _named(name: str | Record, kind: str) -> str:
    if isinstance(name, str):
        return name
    text = name.fields.get("name")
    if name.name != kind or not isinstance(text, str):
        raise Invalid(f"no reference of a {kind}")
    return text
