"""Following: how a server learns of changes that another one made in the same store (contract 17).

A watch is a hint without data. After a hint all followed heads are read again at once; where hints
may get lost, also every SAFETY_READ_S. A store that only this server writes needs none of it.
"""

import asyncio
from collections.abc import Awaitable, Callable

from perper_core.channel import Channel
from perper_core.errors import FabricError, NotFound
from perper_core.heads import decode_head
from perper_core.limits import GET_MANY_MAX, SAFETY_READ_S
from perper_core.records import EXECUTION, HEAD, head_key, opened
from perper_core.stores.ports import Store


class Following:
    """Watches one shared store for the channels and executions of this server."""

    def __init__(
        self,
        store: Store,
        channels: Callable[[], list[Channel]],
        executions: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._channels = channels
        self._executions = executions
        self._heads_hinted = False
        self._executions_hinted = False
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unwatch: list[Callable[[], None]] = []

    def start(self) -> None:
        """Subscribe, then read (contract 17)."""
        self._unwatch = [
            self._store.watch(HEAD, self._on_head),
            self._store.watch(EXECUTION, self._on_execution),
        ]
        self._heads_hinted = self._executions_hinted = True
        self._event.set()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def _on_head(self) -> None:
        self._heads_hinted = True
        self._event.set()

    def _on_execution(self) -> None:
        self._executions_hinted = True
        self._event.set()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(SAFETY_READ_S):  # wait_for of 3.11 may swallow a cancel
                    await self._event.wait()
            except TimeoutError:
                self._heads_hinted = self._executions_hinted = True
            self._event.clear()
            try:
                await self.read()
            except FabricError:
                continue  # the store does not answer: the next hint or the safety read comes

    async def read(self) -> None:
        """Read what was hinted at."""
        if self._heads_hinted:
            self._heads_hinted = False
            await self._read_heads()
        if self._executions_hinted:
            self._executions_hinted = False
            await self._executions()

    async def _read_heads(self) -> None:
        followed = [
            channel
            for channel in self._channels()
            if channel.access.store is self._store and channel.gone is None and channel.listeners
        ]
        for start in range(0, len(followed), GET_MANY_MAX):
            part = followed[start : start + GET_MANY_MAX]
            found = await self._store.get_many([head_key(channel.name) for channel in part])
            for channel, raw in zip(part, found, strict=True):
                if channel.writing.locked():
                    continue  # its owner is this server and knows better
                if raw is None:
                    channel.abandon(NotFound("the stream was removed", stream=channel.name))
                    continue
                stamp, body = opened(raw)
                head = decode_head(body)
                if head.uid != channel.head.uid:
                    channel.abandon(NotFound("the stream was removed", stream=channel.name))
                elif (head.epoch, head.committed) >= (channel.head.epoch, channel.head.committed):
                    channel.seen(stamp, head)

    async def close(self) -> None:
        for unwatch in self._unwatch:
            unwatch()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
