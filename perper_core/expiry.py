"""Expiry of concluded executions (contract 20): first their content goes, then their ids are free
again.

One timer, and only while there is something to expire. Times are counted anew after a restart.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from perper_core.errors import FabricError
from perper_core.limits import (
    FINISHED_MAX,
    ID_KEEP_S,
    READ_KEEP_S,
    RESULT_KEEP_S,
    SWEEP_EVERY_S,
)


class _Due(NamedTuple):
    at_s: float
    erase_at_s: float
    forgotten: bool


class Expiry:
    """Which concluded executions are due."""

    def __init__(
        self,
        forget: Callable[[str], Awaitable[None]],
        erase: Callable[[str], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._forget = forget
        self._erase = erase
        self._clock = clock
        self._due: dict[str, _Due] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def knows(self, id: str) -> bool:
        return id in self._due

    def concluded(self, id: str) -> None:
        """An execution got its outcome, or was found with one."""
        now_s = self._clock()
        self._due[id] = _Due(now_s + RESULT_KEEP_S, now_s + ID_KEEP_S, False)
        self._arm(0.0 if len(self._due) > 2 * FINISHED_MAX else SWEEP_EVERY_S)

    def read(self, id: str) -> None:
        """Its outcome was read; a reader whose answer got lost may come again for a while."""
        due = self._due.get(id)
        if due is not None and not due.forgotten:
            at_s = min(due.at_s, self._clock() + READ_KEEP_S)
            self._due[id] = due._replace(at_s=at_s)

    def revived(self, id: str) -> None:
        """It is open again."""
        self._due.pop(id, None)

    def _arm(self, after_s: float) -> None:
        if self._closed or self._timer is not None:
            return
        if self._task is None or self._task.done():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(after_s, self._start)

    def _start(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        await self.sweep()
        self._task = None
        if self._due:
            self._arm(SWEEP_EVERY_S)

    async def sweep(self) -> None:
        """Expire what is due now; beyond FINISHED_MAX the oldest are due."""
        now_s = self._clock()
        surplus = len(self._due) - FINISHED_MAX
        for number, (id, due) in enumerate(list(self._due.items())):
            try:
                if number < surplus or due.erase_at_s <= now_s:
                    self._due.pop(id, None)
                    await self._erase(id)
                elif not due.forgotten and due.at_s <= now_s:
                    self._due[id] = due._replace(forgotten=True)
                    await self._forget(id)
            except FabricError:
                continue  # the store fails, or it is gone: found again at the next start

    async def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])
