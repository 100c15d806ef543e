"""Work groups in one server: which open executions wait, which workers have room (contract 13). No
store, no records."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, NamedTuple, Self

from perper_core.errors import Exhausted, Invalid
from perper_core.limits import PARALLEL_MAX, WORKERS_MAX
from perper_core.ports import Reserved, Stopped


class Address(NamedTuple):
    """Where an execution wants to run."""

    instance: str
    delegate: str


class Worker:
    """A worker's session: Reservations in the server's process."""

    def __init__(
        self,
        id: bytes,
        group: "Group",
        *,
        instance: str,
        delegates: Sequence[str],
        parallel: int,
        give_back: Callable[["Worker", bool], Awaitable[None]],
    ) -> None:
        self.id = id
        self.group = group
        self.free = parallel
        self.held: dict[str, int] = {}
        """Token of each execution that is out."""
        self._instance = instance
        self._delegates = frozenset(delegates)
        self._give_back = give_back
        self._queue: deque[Reserved | Stopped] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False

    def wants(self, address: Address) -> bool:
        """Whether such an execution is for this worker."""
        if self._instance and address.instance != self._instance:
            return False
        return not self._delegates or address.delegate in self._delegates

    def give(self, work: Reserved) -> None:
        """Hand out a reservation that is recorded. Its place was taken before."""
        self.held[work.id] = work.token
        self._queue.append(work)
        self._wake()

    def release(self, id: str, token: int) -> bool:
        """The reservation is over: its place is free. False if it was not this one's."""
        if self.held.get(id) != token:
            return False
        del self.held[id]
        self.free += 1
        return True

    def stop(self, id: str, token: int, reason: Literal["cancelled", "lost"]) -> None:
        """Tell the handler that it is not wanted any more; if it has not begun, it never will."""
        if not self.release(id, token):
            return
        for work in self._queue:
            if isinstance(work, Reserved) and work.id == id and work.token == token:
                self._queue.remove(work)
                return
        self._queue.append(Stopped(id, token, reason))
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reserved | Stopped:
        while True:
            if self.closed:
                raise StopAsyncIteration
            if self._queue:
                return self._queue.popleft()
            if self._waiter is not None:
                raise Invalid("one task iterates over reservations")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def close(self) -> None:
        """Give unfinished work back; it does not count as an attempt."""
        await self._end(lost=False)

    async def lose(self) -> None:
        """The worker behind this session crashed: its work is lost, and counts (contract 22)."""
        await self._end(lost=True)

    async def _end(self, *, lost: bool) -> None:
        if self.closed:
            return
        self.closed = True
        self._wake()
        if self in self.group.workers:
            self.group.workers.remove(self)
        await self._give_back(self, lost)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


@dataclass(slots=True)
class Group:
    """A work group: each execution goes to one of its workers at a time."""

    name: str
    workers: deque[Worker] = field(default_factory=deque)
    waiting: dict[Address, dict[str, None]] = field(default_factory=dict)
    """Ids that can be reserved, in order of offer."""

    def offer(self, id: str, address: Address) -> None:
        self.waiting.setdefault(address, {})[id] = None

    def withdraw(self, id: str, address: Address) -> None:
        ids = self.waiting.get(address)
        if ids is not None:
            ids.pop(id, None)
            if not ids:
                del self.waiting[address]

    def next_pair(self) -> tuple[Worker, str] | None:
        """A worker with room and an execution for it; its place is taken with this."""
        for _ in range(len(self.workers)):
            worker = self.workers[0]
            self.workers.rotate(-1)
            if worker.free < 1:
                continue
            for address, ids in self.waiting.items():
                if worker.wants(address):
                    id = next(iter(ids))
                    self.withdraw(id, address)
                    worker.free -= 1
                    return worker, id
        return None


def checked_worker(group: Group, parallel: int) -> None:
    """Raises Invalid, Exhausted."""
    if not 1 <= parallel <= PARALLEL_MAX:
        raise Invalid(f"1 <= parallel <= {PARALLEL_MAX}")
    if len(group.workers) >= WORKERS_MAX:
        raise Exhausted("too many workers in the group", workers_max=WORKERS_MAX)
