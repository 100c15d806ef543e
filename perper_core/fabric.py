"""The fabric in process: a `Fabric` over a store. Puts the parts together and keeps no truth of
its own."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import Self

from perper_core import limits
from perper_core.access import WRITER_BYTES, Access
from perper_core.appends import checked
from perper_core.beats import Beats
from perper_core.channels import Channels
from perper_core.delivery import Positions, StreamListener, attach
from perper_core.dictionaries import Dictionaries
from perper_core.errors import (
    AlreadyFinished,
    Cancelled,
    FabricError,
    Invalid,
    NotFound,
    OutcomeUnknown,
    fabric_closed,
)
from perper_core.following import Following
from perper_core.groups import Worker
from perper_core.metrics import Counters
from perper_core.ports import (
    ANY_VERSION,
    DEFAULT_EXECUTION,
    DEFAULT_STREAM,
    LIVE,
    Appended,
    ExecutionInfo,
    ExecutionOptions,
    ExecutionState,
    Failure,
    Fence,
    Producer,
    StateEntry,
    StreamInfo,
    StreamOptions,
)
from perper_core.records import named_key
from perper_core.retention import Retention
from perper_core.stores.memory import MemoryStore
from perper_core.stores.ports import Store
from perper_core.streams import End
from perper_core.values import Value
from perper_core.work import Work, info_of

_LOST = Failure("ProducerLost", "the stream's producer is gone")


class LocalFabric:
    """A server of the fabric. Make it with `open`; one per store, unless the store is shared."""

    def __init__(
        self,
        store: Store,
        *,
        volatile: Store,
        clock: Callable[[], float],
        dice: Callable[[int], bytes],
    ) -> None:
        writer = dice(WRITER_BYTES)
        durable = Access(store, writer, dice)
        self.writer = writer
        self._store = store
        self._volatile = volatile
        self._dice = dice
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        volatile_access = durable if volatile is store else Access(volatile, writer, dice)
        shared = not store.exclusive
        self._beats = Beats(durable, clock) if shared else None
        self.counters = Counters()
        self.retention = Retention(clock)
        self._positions = Positions(clock)
        self._channels = Channels(
            durable,
            volatile_access,
            self._positions,
            dice=dice,
            on_turn=self.retention.turn,
            owner_lives=self._beats.lives if self._beats is not None else None,
            may_write=self._beats.may_write if self._beats is not None else None,
            counters=self.counters,
        )
        self._work = Work(
            durable,
            volatile_access,
            clock=clock,
            dice=dice,
            on_lost=self._on_producer_lost,
            owner_lives=self._beats.lives if self._beats is not None else None,
            counters=self.counters,
        )
        self._states = Dictionaries(durable)
        self._following = (
            Following(store, self._channels.known, self._work.follow) if shared else None
        )

    @classmethod
    async def open(
        cls,
        store: Store,
        *,
        volatile: Store | None = None,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """Open a fabric and take up what the store holds. `volatile` keeps ephemeral streams and
        executions that need not last: memory by default, the store itself when it is shared."""
        if volatile is None:
            volatile = MemoryStore() if store.exclusive and not store.immediate else store
        fabric = cls(store, volatile=volatile, clock=clock, dice=dice)
        if fabric._beats is not None:
            await fabric._beats.start()
        await fabric._work.recover(everything=store.exclusive)
        if fabric._following is not None:
            fabric._following.start()
        return fabric

    def _need_open(self) -> None:
        if self._closed:
            raise fabric_closed()

    # ------------------------------------------------------------------ streams

    async def create_stream(
        self, name: str, options: StreamOptions = DEFAULT_STREAM, *, fence: Fence | None = None
    ) -> StreamInfo:
        await self._check(fence)
        return (await self._channels.create(name, options)).info()

    async def append(
        self,
        stream: str,
        items: Sequence[bytes],
        *,
        keys: Sequence[int] | None = None,
        fields: Sequence[int] | int | None = None,
        producer: Producer | None = None,
        fence: Fence | None = None,
        wait: bool = True,
    ) -> Appended:
        await self._check(fence)
        channel = await self._channels.open(stream)
        pending = checked(items, keys, fields, producer)
        return await self._channels.appender(channel).append(pending, wait=wait)

    async def listen(
        self,
        stream: str,
        *,
        name: str = "",
        first: int = LIVE,
        flow: bool = False,
        batch_items: int = limits.BATCH_ITEMS_DEFAULT,
        batch_bytes: int = limits.BATCH_BYTES_DEFAULT,
        local: bool = True,
    ) -> StreamListener:
        """See the port. `local`: the reader is in this process, and not behind a wire (gates)."""
        self._need_open()
        channel = await self._channels.open(stream)
        if not channel.owned:
            await channel.reload()
        return await attach(
            channel,
            self._positions,
            name=name,
            first=first,
            flow=flow,
            local=local,
            batch_items=batch_items,
            batch_bytes=batch_bytes,
        )

    async def ack(self, stream: str, name: str, offset: int) -> None:
        self._need_open()
        channel = await self._channels.open(stream)
        position = channel.named.get(name)
        if position is None:
            raise NotFound("no such listener", stream=stream, listener=name)
        if offset > channel.head.committed:
            raise Invalid("acknowledged what was not delivered", offset=offset)
        if position.attached is not None:
            await position.attached.ack(offset)
        else:
            self._positions.acked(channel, name, offset)
        await self._positions.save(channel, name)
        channel.turned()

    async def forget(self, stream: str, name: str) -> None:
        self._need_open()
        channel = await self._channels.open(stream)
        position = channel.named.pop(name, None)
        if position is not None and position.attached is not None:
            position.attached.displace()
        await channel.access.remove_all([named_key(channel.head.uid, name)])
        channel.turned()

    async def end(self, stream: str, *, fence: Fence | None = None) -> None:
        await self._end(stream, End(None), fence)

    async def break_stream(
        self, stream: str, failure: Failure, *, fence: Fence | None = None
    ) -> None:
        await self._end(stream, End(failure), fence)

    async def _end(self, stream: str, command: End, fence: Fence | None) -> None:
        await self._check(fence)
        channel = await self._channels.open(stream)
        await self._channels.appender(channel).drain()
        async with channel.writing:
            await channel.change_head(command)
        channel.wake()

    async def remove_stream(self, stream: str) -> None:
        self._need_open()
        await self._channels.remove(stream)

    async def stream_info(self, stream: str) -> StreamInfo:
        self._need_open()
        channel = await self._channels.open(stream)
        if not channel.owned:
            await channel.reload()
            channel.need()
        return channel.info()

    async def list_streams(
        self, prefix: str = "", *, after: str = "", limit: int = limits.LIST_ITEMS_MAX
    ) -> list[StreamInfo]:
        self._need_open()
        return await self._channels.page(prefix, after, _limit(limit))

    def _on_producer_lost(self, execution: str) -> None:
        task = asyncio.get_running_loop().create_task(self._fail_streams_of(execution))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fail_streams_of(self, execution: str) -> None:
        """Contract 9: consumers see that the stream's body will not go on."""
        try:
            for stream in await self._channels.produced_by(execution):
                await self._end(stream, End(_LOST), None)
        except (AlreadyFinished, NotFound, Cancelled):
            return

    # ------------------------------------------------------------------ executions

    async def create(
        self,
        id: str,
        *,
        instance: str,
        delegate: str,
        argument: Value = None,
        parent: Fence | None = None,
        detached: bool = False,
        options: ExecutionOptions = DEFAULT_EXECUTION,
    ) -> ExecutionInfo:
        self._need_open()
        return await self._work.create(
            id,
            instance=instance,
            delegate=delegate,
            argument=argument,
            parent=parent,
            detached=detached,
            options=options,
        )

    async def reserve(
        self,
        group: str,
        *,
        instance: str = "",
        delegates: Sequence[str] = (),
        parallel: int = 1,
    ) -> Worker:
        self._need_open()
        return await self._work.dispatch.reserve(
            group, instance=instance, delegates=delegates, parallel=parallel
        )

    async def finish(self, id: str, token: int, result: Value = None) -> None:
        self._need_open()
        await self._work.finish(id, token, result)

    async def fail(self, id: str, token: int, failure: Failure) -> None:
        self._need_open()
        await self._work.fail(id, token, failure)

    async def cancel(self, id: str, *, reason: str = "") -> bool:
        self._need_open()
        return await self._work.cancel(id, reason=reason)

    async def retry(self, id: str) -> None:
        self._need_open()
        await self._work.retry(id)

    async def result(self, id: str, *, deadline_s: float = limits.DEADLINE_S_DEFAULT) -> Value:
        self._need_open()
        if not 0 <= deadline_s <= limits.DEADLINE_S_MAX:
            raise Invalid(f"0 <= deadline_s <= {limits.DEADLINE_S_MAX}")
        return await self._work.result(id, deadline_s)

    async def call(
        self,
        instance: str,
        delegate: str,
        argument: Value = None,
        *,
        id: str = "",
        deadline_s: float = limits.DEADLINE_S_DEFAULT,
        parent: Fence | None = None,
        options: ExecutionOptions = DEFAULT_EXECUTION,
    ) -> Value:
        own = not id
        name = id or f"call-{self._dice(12).hex()}"
        try:
            await self.create(
                name,
                instance=instance,
                delegate=delegate,
                argument=argument,
                parent=parent,
                options=options,
            )
            return await self.result(name, deadline_s=deadline_s)
        except asyncio.CancelledError:
            if own and not self._closed:
                await self._give_up(name, "the caller was cancelled")
            raise
        except OutcomeUnknown:
            if not own or not await self._give_up(name, "the deadline passed"):
                raise
            raise Cancelled("the deadline passed", id=name) from None

    async def _give_up(self, id: str, reason: str) -> bool:
        try:
            return await self._work.cancel(id, reason=reason)
        except FabricError:
            return False

    async def execution(self, id: str) -> ExecutionInfo:
        self._need_open()
        return info_of(id, await self._work.load(id))

    async def list_executions(
        self,
        *,
        instance: str = "",
        states: Sequence[ExecutionState] = (),
        after: str = "",
        limit: int = limits.LIST_ITEMS_MAX,
    ) -> list[ExecutionInfo]:
        self._need_open()
        return await self._work.page(instance, states, after, _limit(limit))

    # ------------------------------------------------------------------ states

    async def get(self, state: str, key: str) -> StateEntry | None:
        self._need_open()
        return await self._states.get(state, key)

    async def put(
        self,
        state: str,
        key: str,
        value: Value,
        *,
        version: int = ANY_VERSION,
        fence: Fence | None = None,
    ) -> int:
        await self._check(fence)
        return await self._states.put(state, key, value, version)

    async def remove(
        self,
        state: str,
        key: str,
        *,
        version: int = ANY_VERSION,
        fence: Fence | None = None,
    ) -> bool:
        await self._check(fence)
        return await self._states.remove(state, key, version)

    async def list_state(
        self, state: str, *, after: str = "", limit: int = limits.LIST_ITEMS_MAX
    ) -> list[StateEntry]:
        self._need_open()
        return await self._states.page(state, after, _limit(limit))

    # ------------------------------------------------------------------ the end

    def gauges(self) -> dict[str, int]:
        """What is the case now, for an exporter; `counters` are what has happened."""
        channels = self._channels.known()
        return {
            "streams_open": len(channels),
            "listeners": sum(len(channel.listeners) for channel in channels),
            "bytes_kept": sum(channel.head.bytes_kept for channel in channels),
            "executions_open": len(self._work.dispatch),
            "backlog": self._work.dispatch.waiting,
            "trim_errors": self.retention.errors,
        }

    async def _check(self, fence: Fence | None) -> None:
        """Contract 11: what a handler writes, it writes under its newest token."""
        self._need_open()
        if fence is not None:
            await self._work.check(fence)

    async def close(self) -> None:
        """See the port. Closes the store, too."""
        if self._closed:
            return
        self._closed = True
        await self._work.close()
        if self._following is not None:
            await self._following.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._positions.close()
        await self.retention.close()
        await self._channels.close(fabric_closed())
        if self._beats is not None:
            await self._beats.close()
        if self._volatile is not self._store:
            await self._volatile.close()
        await self._store.close()


def _limit(limit: int) -> int:
    if not 1 <= limit <= limits.LIST_ITEMS_MAX:
        raise Invalid(f"1 <= limit <= {limits.LIST_ITEMS_MAX}")
    return limit
