"""Items per second through the fabric's gRPC session: server, writer and `flow` listener, each
a process of its own. Items of 200 bytes, credits on, uvloop everywhere.

Appends of 100 items, a few of them under way at a time; the clock runs from the writer's start
signal until the listener has seen every item and says so.
"""

import asyncio
import statistics
import sys
import time

import uvloop

from perper_core.fabric import LocalFabric
from perper_core.ports import OLDEST, Gate, StreamOptions
from perper_core.stores.memory import MemoryStore
from perper_core.wire.client import connect
from perper_core.wire.server import FabricServer

ITEM_BYTES = 200
BATCH_ITEMS = 100
ITEMS = 400_000
IN_FLIGHT = 16
RUNS = 3
LINE_S_MAX = 60.0
_STREAM = "bench"
_OPTIONS = StreamOptions(gate=Gate.ANY, keep_items=50_000)
_CHILD = (sys.executable, "-m", "bench.fabric_grpc")


async def serve() -> None:
    """The server's process: prints its address, ends with its standard input."""
    fabric = await LocalFabric.open(MemoryStore())
    await fabric.create_stream(_STREAM, _OPTIONS)
    server = FabricServer(fabric)
    print(await server.start("127.0.0.1:0"), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await server.stop()
    await fabric.close()


async def write(address: str) -> None:
    """The writer's process: says when it is ready, starts at a line on its standard input."""
    fabric = await connect(address)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    batch = [bytes([n % 256]) * ITEM_BYTES for n in range(BATCH_ITEMS)]

    async def share(appends: int) -> None:
        for _ in range(appends):
            await fabric.append(_STREAM, batch)

    total = ITEMS // BATCH_ITEMS
    shares = [total // IN_FLIGHT + (n < total % IN_FLIGHT) for n in range(IN_FLIGHT)]
    await asyncio.gather(*map(share, shares))
    await fabric.close()


async def read(address: str) -> None:
    """The listener's process: says when it is attached, and when it has everything."""
    fabric = await connect(address)
    listener = await fabric.listen(_STREAM, first=OLDEST, flow=True)
    assert listener.flow, "the listener must gate the writer"
    print("ready", flush=True)
    following = 1
    async for batch in listener:
        assert batch.first == following, "offsets are dense"
        following = batch.last + 1
        await listener.ack(batch.last)
        if batch.last >= ITEMS:
            break
    print("done", flush=True)
    await listener.close()
    await fabric.close()


async def measure() -> float:
    """Items per second of one run."""
    children: list[asyncio.subprocess.Process] = []
    try:
        server = await _spawn(children, "serve")
        address = await _line(server)
        writer = await _spawn(children, "write", address)
        reader = await _spawn(children, "read", address)
        await _line(writer)
        await _line(reader)
        began = time.perf_counter()
        _tell(writer)
        await _line(reader)
        took = time.perf_counter() - began
        _tell(server)
        for child in children:
            await asyncio.wait_for(child.wait(), LINE_S_MAX)
        return ITEMS / took
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                await child.wait()


async def _spawn(
    children: list[asyncio.subprocess.Process], *arguments: str
) -> asyncio.subprocess.Process:
    child = await asyncio.create_subprocess_exec(
        *_CHILD, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    children.append(child)
    return child


async def _line(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None, "its output is a pipe"
    line = await asyncio.wait_for(child.stdout.readline(), LINE_S_MAX)
    if not line:
        raise RuntimeError("a process of the measurement has ended early")
    return line.decode().strip()


def _tell(child: asyncio.subprocess.Process) -> None:
    assert child.stdin is not None, "its input is a pipe"
    child.stdin.write(b"go\n")


def grpc_items_per_s() -> float:
    """Median of RUNS."""
    return statistics.median(uvloop.run(measure()) for _ in range(RUNS))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            uvloop.run(serve())
        case ["write", where]:
            uvloop.run(write(where))
        case ["read", where]:
            uvloop.run(read(where))
        case _:
            print(f"gRPC session: {grpc_items_per_s():,.0f} items/s")
