"""Dispatch: hands open executions of one server to its workers (contract 13, 14, 22).

Queues, places and pauses only: every reservation is recorded first, by the `change` that it is
given. Does not know stores or outcomes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from perper_core.errors import AlreadyFinished, Conflict, FabricError, NotFound
from perper_core.executions import Command, Effect, Execution, Lease, Release, Reply, Reserve
from perper_core.groups import Address, Group, Worker, checked_worker
from perper_core.limits import BACKOFF_MAX_MS
from perper_core.ports import ExecutionState, Reserved
from perper_core.records import Step, name_bytes
from perper_core.values import decode_value

Change = Callable[[str, Command], Awaitable[Step[Execution, Reply, Effect]]]


class Dispatch:
    """Which executions wait, who works."""

    def __init__(self, writer: bytes, change: Change, jitter: Callable[[], float]) -> None:
        self._writer = writer
        self._change = change
        self._jitter = jitter
        self._open: dict[str, tuple[Address, set[str]]] = {}
        """Open executions: where they want to run, and the groups that hold a lease."""
        self._groups: dict[str, Group] = {}
        self._workers: dict[bytes, Worker] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers_made = 0
        self._closed = False

    def __len__(self) -> int:
        """How many executions are open."""
        return len(self._open)

    def __contains__(self, id: str) -> bool:
        return id in self._open

    @property
    def waiting(self) -> int:
        """How many of them no group has reserved: the backlog."""
        return sum(not leased for _, leased in self._open.values())

    async def reserve(
        self, group: str, *, instance: str, delegates: Sequence[str], parallel: int
    ) -> Worker:
        """See the port."""
        name_bytes(group, "group name")
        joined = self._groups.get(group)
        if joined is None:
            joined = Group(group)
            for id, (address, leased) in self._open.items():
                if group not in leased and id not in self._timers:
                    joined.offer(id, address)
        checked_worker(joined, parallel)
        self._groups[group] = joined
        self._workers_made += 1
        worker = Worker(
            self._writer + self._workers_made.to_bytes(4, "big"),
            joined,
            instance=instance,
            delegates=delegates,
            parallel=parallel,
            give_back=self._give_back,
        )
        self._workers[worker.id] = worker
        joined.workers.append(worker)
        self._dispatch(joined)
        return worker

    async def _give_back(self, worker: Worker, lost: bool) -> None:
        for id, token in list(worker.held.items()):
            worker.release(id, token)
            try:
                await self._change(id, Release(token, lost, self._jitter()))
            except FabricError:
                continue  # concluded meanwhile, or the store fails: the lease ends with this server
        self._workers.pop(worker.id, None)

    def free(self, id: str, token: int) -> None:
        """A reservation ended by its own worker: there is room for the next."""
        for worker in self._workers.values():
            if worker.release(id, token):
                self._dispatch(worker.group)
                return

    def offer(self, id: str, record: Execution, after_ms: int) -> None:
        address = Address(record.instance, record.delegate)
        self._open[id] = (address, {lease.group for lease in record.leases})
        if after_ms > 0:
            loop = asyncio.get_running_loop()
            self._timers[id] = loop.call_later(after_ms / 1000, self._offer_now, id)
        else:
            self._offer_now(id)

    def _offer_now(self, id: str) -> None:
        self._timers.pop(id, None)
        entry = self._open.get(id)
        if entry is None or self._closed:
            return
        address, leased = entry
        for group in list(self._groups.values()):
            if group.name not in leased:
                group.offer(id, address)
                self._dispatch(group)

    def _dispatch(self, group: Group) -> None:
        while not self._closed and (pair := group.next_pair()) is not None:
            worker, id = pair
            task = asyncio.get_running_loop().create_task(self._hand_out(worker, id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _hand_out(self, worker: Worker, id: str) -> None:
        """Record a reservation, then give it to the worker."""
        try:
            done = await self._change(id, Reserve(worker.group.name, worker.id))
        except FabricError as error:
            worker.free += 1
            if isinstance(error, NotFound | AlreadyFinished):
                self._open.pop(id, None)
            elif isinstance(error, Conflict) and id in self._open:
                self._open[id][1].add(worker.group.name)  # another worker was first
            else:  # the store fails: it is not lost, but offered again later
                self._again_soon(id)
            self._dispatch(worker.group)
            return
        record, token = done.record, done.reply
        if id in self._open:
            self._open[id][1].add(worker.group.name)
        if worker.held.get(id) == token:  # offered twice, by a stale look at its record
            worker.free += 1
            self._dispatch(worker.group)
        elif worker.closed:
            await self._change(id, Release(token, False, 0.0))
        else:
            argument = decode_value(record.argument)
            address = record.instance, record.delegate
            worker.give(Reserved(id, token, *address, argument, record.attempts))

    def _again_soon(self, id: str) -> None:
        if id not in self._timers and not self._closed:
            loop = asyncio.get_running_loop()
            self._timers[id] = loop.call_later(BACKOFF_MAX_MS / 1000, self._offer_now, id)

    def recall(self, id: str, lease: Lease, reason: Literal["cancelled", "lost"]) -> None:
        """Tell a worker here that its handler is not wanted any more."""
        worker = self._workers.get(lease.worker)
        if worker is not None:
            worker.stop(id, lease.token, reason)
            self._dispatch(worker.group)

    def conclude(self, id: str) -> None:
        """The execution has its outcome: nobody gets it any more."""
        entry = self._open.pop(id, None)
        if entry is not None:
            for group in self._groups.values():
                group.withdraw(id, entry[0])
        timer = self._timers.pop(id, None)
        if timer is not None:
            timer.cancel()

    def paused(self, id: str) -> bool:
        """Whether it waits for its time."""
        return id in self._timers

    async def look_after(
        self, id: str, record: Execution, newest: Callable[[str], Awaitable[Execution]]
    ) -> None:
        """Another server may have cancelled what a worker here holds, or taken it. The record at
        hand may be older than the reservation, so it is read again before the worker is told."""
        for worker in list(self._workers.values()):
            token = worker.held.get(id)
            if token is None or any(lease.token == token for lease in record.leases):
                continue
            now = await newest(id)
            if not any(lease.token == token for lease in now.leases):
                cancelled = now.state is ExecutionState.CANCELLED
                worker.stop(id, token, "cancelled" if cancelled else "lost")
                self._dispatch(worker.group)

    async def close(self) -> None:
        """Reservations end, leases are given back."""
        for worker in list(self._workers.values()):
            await worker.close()
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks)
        for timer in self._timers.values():
            timer.cancel()
