"""An event loop whose clock jumps over every wait: seconds of sleeping cost a test nothing."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Hurried(selectors.DefaultSelector):
    """Files first; when none is ready, the time that it should wait has passed."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0 if timeout is None or timeout > 0 else timeout)
        if found or (timeout is not None and timeout <= 0):
            return found
        if timeout is None:  # a thread works: only it can go on
            return super().select(None)
        self.skipped += timeout
        return []


class HurriedLoop(asyncio.SelectorEventLoop):
    """Work takes no time at all. None may be under way in a thread while something sleeps."""

    def __init__(self) -> None:
        self._hurried = _Hurried()
        super().__init__(self._hurried)

    def time(self) -> float:
        return self._hurried.skipped

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Without a time-out (3.12 has one): it would have passed before a thread ends."""
        await super().shutdown_default_executor()


def run_hurried(work: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=HurriedLoop) as runner:
        return runner.run(work)
