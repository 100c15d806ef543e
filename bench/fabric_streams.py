"""Items per second through a stream in process: one writer, one `flow` listener, credits on.

Items of 200 bytes, appends of 100. `memory_items_per_s` awaits each append; `lmdb_items_per_s` is
durable (an fsync per group commit) and keeps a few appends in flight.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from perper_core.fabric import LocalFabric
from perper_core.ports import OLDEST, StreamOptions
from perper_core.stores.lmdb import LmdbStore
from perper_core.stores.memory import MemoryStore
from perper_core.stores.ports import Store

ITEM_BYTES = 200
BATCH_ITEMS = 100
MEMORY_ITEMS = 200_000
LMDB_ITEMS = 60_000
LMDB_IN_FLIGHT = 8
RUNS = 3
_KEEP = StreamOptions(keep_items=50_000)


async def _read(fabric: LocalFabric, count: int) -> None:
    listener = await fabric.listen("bench", first=OLDEST, flow=True)
    assert listener.flow, "the listener must gate the writer"
    seen = 0
    async for batch in listener:
        seen += len(batch.raws)
        await listener.ack(batch.last)
        if seen >= count:
            break
    await listener.close()


async def _through(store: Store, items: int, in_flight: int) -> float:
    """Seconds until the listener has everything."""
    fabric = await LocalFabric.open(store)
    await fabric.create_stream("bench", _KEEP)
    batch = [bytes([n % 256]) * ITEM_BYTES for n in range(BATCH_ITEMS)]
    appends = items // BATCH_ITEMS

    async def write(share: int) -> None:
        for _ in range(share):
            await fabric.append("bench", batch)

    reader = asyncio.create_task(_read(fabric, items))
    await asyncio.sleep(0)
    began = time.perf_counter()
    shares = [appends // in_flight + (n < appends % in_flight) for n in range(in_flight)]
    await asyncio.gather(*(write(share) for share in shares))
    await reader
    took = time.perf_counter() - began
    await fabric.close()
    return took


def _median(run: Callable[[], Coroutine[Any, Any, float]], items: int) -> float:
    return statistics.median(items / asyncio.run(run()) for _ in range(RUNS))


def memory_items_per_s() -> float:
    """One writer that awaits each append of 100, memory store."""
    return _median(lambda: _through(MemoryStore(), MEMORY_ITEMS, 1), MEMORY_ITEMS)


def lmdb_items_per_s(in_flight: int = LMDB_IN_FLIGHT) -> float:
    """Durable appends of 100 on lmdb, `in_flight` of them at a time."""

    async def run() -> float:
        with tempfile.TemporaryDirectory(prefix="fabric-bench-", dir=".") as folder:
            return await _through(LmdbStore(Path(folder)), LMDB_ITEMS, in_flight)

    return _median(run, LMDB_ITEMS)


if __name__ == "__main__":
    print(f"memory: {memory_items_per_s():,.0f} items/s")
    print(f"lmdb, {LMDB_IN_FLIGHT} appends in flight: {lmdb_items_per_s():,.0f} items/s")
    print(f"lmdb, one append at a time: {lmdb_items_per_s(1):,.0f} items/s")
