"""Calls per second from one agent to another in one process: as a function, and with a record.

200-byte arguments, one caller that waits for each answer, uvloop.
"""

import statistics
import time
from collections.abc import Awaitable, Callable

import uvloop

from perper_core.agent.agent import Agent, on
from perper_core.agent.handles import Context
from perper_core.agent.host import Host
from perper_core.fabric import LocalFabric
from perper_core.ports import ExecutionOptions
from perper_core.stores.memory import MemoryStore
from perper_core.values import Value

ARGUMENT = b"x" * 200
DIRECT_CALLS = 50_000
RECORDED_CALLS = 3_000
RUNS = 3
IN_MEMORY = ExecutionOptions(durable=False)


class Echo(Agent):
    @on("Echo")
    async def echo(self, context: Context, argument: Value) -> Value:
        return argument


async def _measure(calls: int, *, direct: bool) -> float:
    fabric = await LocalFabric.open(MemoryStore())
    host = Host(fabric)
    await host.start(Echo(), "echo")

    async def recorded() -> Value:
        return await fabric.call("echo", "Echo", ARGUMENT, options=IN_MEMORY)

    async def in_process() -> Value:
        return await host.context.call("echo", "Echo", ARGUMENT)

    call: Callable[[], Awaitable[Value]] = in_process if direct else recorded
    began = time.perf_counter()
    for _ in range(calls):
        await call()
    took = time.perf_counter() - began
    await host.stop()
    await fabric.close()
    return calls / took


def direct_calls_per_s() -> float:
    """Between two agents of one host: no record."""
    return statistics.median(uvloop.run(_measure(DIRECT_CALLS, direct=True)) for _ in range(RUNS))


def recorded_calls_per_s() -> float:
    """Through the fabric: an execution in memory, reserved and finished."""
    return statistics.median(
        uvloop.run(_measure(RECORDED_CALLS, direct=False)) for _ in range(RUNS)
    )


if __name__ == "__main__":
    print(f"in process: {direct_calls_per_s():,.0f} calls/s")
    print(f"with a record: {recorded_calls_per_s():,.0f} calls/s")
