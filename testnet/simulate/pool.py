"""Worker processes that take tasks one by one: a bound on the time of each, deaths told, Ctrl-C.

A worker dies with its parent, whatever ended that. Knows nothing of simulations.
"""

import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Final, NamedTuple

from node.errors import NodeError
from testnet.simulate.limits import DEATHS_MAX, KILL_WALL_S, START_WALL_S

_SPAWN: Final = get_context("spawn")  # a fork would copy the threads of a progress bar half
_READY: Final = "ready"
_ORPHAN_EXIT: Final = 70


class Task(NamedTuple):
    """`work(*arguments)` in some worker; `work` is importable, so that it can be sent."""

    key: int
    work: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a task. `lost`: why there is no value ("" if there is one)."""

    key: int
    value: Any = None
    lost: str = ""
    cause: str = ""  # of a loss: time, worker, raised
    wall_s: float = 0.0
    cpu_s: float = 0.0


class WorkersDie(NodeError):
    """Workers end one after the other before they do anything."""

    code = "bug"


def work_off(tasks: Iterable[Task], *, jobs: int, wall_s: float) -> Generator[Done, None, None]:
    """Results as they come, of workers of their own. Raises WorkersDie."""
    with Pool(jobs) as pool:
        yield from pool.results(tasks, wall_s=wall_s)


class _Worker:
    """One process and the pipe to it; what it does since when."""

    def __init__(self) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self._lifeline, held = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_serve, args=(theirs, held), daemon=True)
        self.process.start()
        theirs.close()
        held.close()
        self.task: Task | None = None
        self.stale = False  # nobody waits for its answer any more
        self.ready = False
        self.deadline = time.monotonic() + START_WALL_S

    def give(self, task: Task, wall_s: float) -> None:
        self.task, self.stale = task, False
        self.deadline = time.monotonic() + wall_s
        self.pipe.send((task.work, task.arguments))

    def end(self) -> None:
        """Kill it; nothing of it is left."""
        self.process.kill()
        self.process.join(KILL_WALL_S)
        self.pipe.close()
        self._lifeline.close()


class Pool:
    """At most `jobs` workers, started when there is work, ended with the block."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._workers: list[_Worker] = []
        self._tasks: Iterator[Task] = iter(())
        self._next: deque[Task] = deque()  # at most `jobs` are drawn before they are begun
        self._wall_s = 0.0
        self._deaths = 0

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def results(self, tasks: Iterable[Task], *, wall_s: float) -> Generator[Done, None, None]:
        """Results as they come; `wall_s`: real time of each. Whoever leaves early is not told of
        what is under way; its workers are free when they are through. Raises WorkersDie."""
        self._tasks, self._wall_s = iter(tasks), wall_s
        self._next.clear()
        self._hire()
        for worker in self._workers:
            if worker.ready and worker.task is None:
                self._feed(worker)
        try:
            while self._awaited() or self._peek():
                yield from self._step()
        finally:
            self._tasks = iter(())
            self._next.clear()
            for worker in self._workers:
                worker.stale = worker.task is not None

    def _awaited(self) -> bool:
        return any(worker.task is not None and not worker.stale for worker in self._workers)

    def _hire(self) -> None:
        self._reserve(self._jobs)
        while len(self._workers) < min(self._jobs, len(self._next)):
            self._workers.append(_Worker())

    def _reserve(self, count: int) -> None:
        while len(self._next) < count:
            task = next(self._tasks, None)
            if task is None:
                return
            self._next.append(task)

    def _peek(self) -> bool:
        """Whether there is a task that nobody does."""
        self._reserve(1)
        return bool(self._next)

    def _feed(self, worker: _Worker) -> None:
        if self._peek():
            worker.give(self._next.popleft(), self._wall_s)

    def _step(self) -> Iterator[Done]:
        """Wait until a worker says something, ends or runs out of time."""
        now = time.monotonic()
        waiting = [worker for worker in self._workers if worker.task or not worker.ready]
        soonest = min([worker.deadline for worker in waiting], default=now)
        heard = wait([worker.pipe for worker in waiting], timeout=max(0.0, soonest - now))
        for worker in waiting:
            if worker.pipe in heard:
                yield from self._hear(worker)
            elif time.monotonic() >= worker.deadline:
                what = f"no end within {self._wall_s:g} s of real time"
                yield from self._replace(worker, "time", what)

    def _hear(self, worker: _Worker) -> Iterator[Done]:
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError):
            yield from self._died(worker)
            return
        worker.ready = True
        task, stale = worker.task, worker.stale
        worker.task = None
        self._feed(worker)  # before the result is looked at: that may take a while
        if said != _READY and not stale:
            assert task is not None, "a worker answers tasks only"
            self._deaths = 0
            value, cause, lost, wall_s, cpu_s = said
            yield Done(task.key, value, lost, cause, wall_s, cpu_s)

    def _died(self, worker: _Worker) -> Iterator[Done]:
        worker.process.join(KILL_WALL_S)
        code = worker.process.exitcode
        by = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with {code}"
        self._deaths += 1
        if self._deaths >= DEATHS_MAX:
            raise WorkersDie(f"{self._deaths} worker processes in a row ended {by}")
        yield from self._replace(worker, "worker", f"the worker process ended {by}")

    def _replace(self, worker: _Worker, cause: str, lost: str) -> Iterator[Done]:
        """The worker's task is lost; another worker takes its place if there is work."""
        task, stale = worker.task, worker.stale
        worker.end()
        self._workers.remove(worker)
        if self._peek():
            self._workers.append(_Worker())
        if task is not None and not stale:
            yield Done(task.key, None, lost, cause, self._wall_s if cause == "time" else 0.0)


# ---- in the worker ------------------------------------------------------------------------------


def _serve(pipe: Connection, lifeline: Connection) -> None:
    """Take tasks until the pipe closes. Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True).start()
    pipe.send(_READY)
    while True:
        try:
            work, arguments = pipe.recv()
        except EOFError:
            return
        wall, cpu = time.perf_counter(), time.process_time()
        value, cause, lost = None, "", ""
        try:
            value = work(*arguments)
        except Exception as error:
            where = traceback.format_exc(limit=-6)
            cause, lost = "raised", f"{type(error).__name__}: {error}\n{where}"
        took = (time.perf_counter() - wall, time.process_time() - cpu)
        pipe.send((value, cause, lost, *took))


def _die_with_parent(lifeline: Connection) -> None:
    """Nothing ever comes; the end of the other side does."""
    with suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(_ORPHAN_EXIT)
