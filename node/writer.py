"""The one writer thread: durable things happen here, in the order in which they were ordered.

Knows neither what is written nor why. The first failure stops the writer: what comes after a failed
write must not happen.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

JOBS_MAX = 4_096  # ordered and not yet done; the core orders a few at a time


class Writer:
    """Jobs run in a thread of their own; `done(result)` runs on the loop, in the same order."""

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_failure = on_failure
        self._jobs: deque[tuple[Callable[[], Any], Callable[[Any], None]] | None] = deque()
        self._ready = threading.Semaphore(0)
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def order(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run `job` after all jobs ordered before it."""
        assert len(self._jobs) < JOBS_MAX, "the core orders more than it waits for"
        self._jobs.append((job, done))
        self._ready.release()

    async def close(self) -> None:
        """Finish what was ordered, then end the thread."""
        self._jobs.append(None)
        self._ready.release()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            self._ready.acquire()
            job = self._jobs.popleft()
            if job is None:
                return
            if self._failed:
                continue
            try:
                result = job[0]()
            except BaseException as error:  # handed to the loop, whatever it is
                self._failed = True
                self._loop.call_soon_threadsafe(self._on_failure, error)
                continue
            self._loop.call_soon_threadsafe(job[1], result)
