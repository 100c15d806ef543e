"""A buffer in front of a stream: items one by one in, batched appends out, one in flight.

Bounded; `offer` never waits, so that a slow store cannot slow its caller. Knows nothing of
handlers and hosts.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from perper_core.agent.limits import (
    WRITER_ATTEMPTS_MAX,
    WRITER_BATCH_BYTES,
    WRITER_BATCH_ITEMS,
    WRITER_BYTES_MAX,
    WRITER_ITEMS_MAX,
    WRITER_PAUSE_S,
)
from perper_core.errors import AlreadyFinished, Exhausted, FabricError, OutcomeUnknown
from perper_core.ports import Fabric, Fence, Producer

Trace = Callable[[str, str, str], None]
"""Told of each hop: kind ("call", "append"), name, detail."""


class Entry(NamedTuple):
    """An item to append: bytes, optional key (signed 64 bit), optional field of retention."""

    raw: bytes
    key: int | None = None
    field: int | None = None


class Writer:
    """Appends entries in order. The first error that cannot be healed ends it: it is raised by
    every later call.

    Invariant: at most one append is under way, so order holds and a session's sequence is dense.
    """

    def __init__(
        self,
        fabric: Fabric,
        stream: str,
        session: str = "",
        fence: Fence | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._fabric = fabric
        self._stream = stream
        self._session = session
        self._fence = fence
        self._trace = trace
        self._sequence = 0
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._taken = 0
        self._committed = 0
        self._pump: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._error: FabricError | None = None
        self._closed = False

    @property
    def pending(self) -> int:
        """Entries that are not committed yet."""
        return len(self._entries)

    def offer(self, raw: bytes, *, key: int | None = None, field: int | None = None) -> bool:
        """Take one item without waiting; False when the buffer is full and it was not taken.
        Raises the error that ended the writer."""
        self._check()
        full = len(self._entries) >= WRITER_ITEMS_MAX
        if full or (self._entries and self._bytes + len(raw) > WRITER_BYTES_MAX):
            return False
        self._entries.append(Entry(raw, key, field))
        self._bytes += len(raw)
        self._taken += 1
        if self._pump is None:
            self._pump = asyncio.create_task(self._append_all(), name=f"writer {self._stream}")
        return True

    async def write(self, raw: bytes, *, key: int | None = None, field: int | None = None) -> None:
        """Take one item, waiting while the buffer is full."""
        while not self.offer(raw, key=key, field=field):
            self._room.clear()
            await self._room.wait()

    async def flush(self) -> None:
        """Wait until everything taken before is committed. Raises the error that ended it."""
        target = self._taken
        while self._committed < target and self._error is None:
            self._room.clear()
            await self._room.wait()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Flush, then take no more. Idempotent."""
        self._closed = True
        await self.flush()

    async def drop(self) -> None:
        """Close without waiting for what is not committed."""
        self._closed = True
        if self._pump is not None:
            self._error = AlreadyFinished("the writer was dropped", stream=self._stream)
            self._pump.cancel()
            await asyncio.wait([self._pump])
        self._entries.clear()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise AlreadyFinished("the writer is closed", stream=self._stream)

    async def _append_all(self) -> None:
        try:
            while self._entries:
                batch = self._next_batch()
                await self._append(batch)
                for entry in batch:
                    self._entries.popleft()
                    self._bytes -= len(entry.raw)
                self._committed += len(batch)
                self._room.set()
        except FabricError as error:
            self._error = error
        finally:
            self._pump = None
            self._room.set()

    def _next_batch(self) -> list[Entry]:
        """As many entries of one shape (with or without key and field) as fit an append."""
        head = self._entries[0]
        shape = (head.key is None, head.field is None)
        batch: list[Entry] = []
        size = 0
        for entry in self._entries:
            size += len(entry.raw)
            full = len(batch) == WRITER_BATCH_ITEMS or (batch and size > WRITER_BATCH_BYTES)
            if full or (entry.key is None, entry.field is None) != shape:
                break
            batch.append(entry)
        return batch

    async def _append(self, batch: list[Entry]) -> None:
        keys = None if batch[0].key is None else [entry.key or 0 for entry in batch]
        fields = None if batch[0].field is None else [entry.field or 0 for entry in batch]
        raws = [entry.raw for entry in batch]
        producer = None
        if self._session:
            self._sequence += 1
            producer = Producer(self._session, self._sequence)
        # keyed and numbered appends are recognized when they come twice; others must not
        repeatable = keys is not None or producer is not None
        if self._trace is not None:
            self._trace("append", self._stream, str(len(raws)))
        for attempt in range(WRITER_ATTEMPTS_MAX):
            try:
                await self._fabric.append(
                    self._stream,
                    raws,
                    keys=keys,
                    fields=fields,
                    producer=producer,
                    fence=self._fence,
                )
                return
            except (OutcomeUnknown, Exhausted) as error:
                if attempt == WRITER_ATTEMPTS_MAX - 1:
                    raise
                if isinstance(error, OutcomeUnknown) and not repeatable:
                    raise
                await asyncio.sleep(WRITER_PAUSE_S)
