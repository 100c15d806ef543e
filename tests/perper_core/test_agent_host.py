"""Calls, errors, cancellation, places, lifecycle: in process and through the fabric."""

import asyncio
import time

import pytest

from perper_core.agent.agent import Agent, on
from perper_core.agent.handles import Context
from perper_core.agent.host import Host
from perper_core.errors import Cancelled, Conflict, Failed, Invalid, NotFound
from perper_core.fabric import LocalFabric
from perper_core.ports import ExecutionOptions, ExecutionState
from perper_core.stores.memory import MemoryStore
from perper_core.values import Value
from tests.perper_core.agent_worlds import Mishap, opened_host

CANCEL_S = 1.0  # contract 16


async def test_a_direct_call_leaves_no_record() -> None:
    async with opened_host() as (host, _):
        assert await host.context.call("shop", "Echo", {"a": [1, b"2"]}) == {"a": [1, b"2"]}
        assert await host.fabric.list_executions() == []


async def test_a_call_through_the_fabric_means_the_same() -> None:
    async with opened_host() as (host, _):
        assert await host.fabric.call("shop", "Echo", [1, "x"]) == [1, "x"]
        assert await host.context.call("shop", "Echo", (1, 2), name="named") == [1, 2]
        info = await host.fabric.execution("/named")
        assert info.state is ExecutionState.FINISHED


async def test_values_are_copied_on_both_ways() -> None:
    async with opened_host() as (host, _):
        argument: Value = {"list": [1]}
        result = await host.context.call("shop", "Echo", argument)
        assert result == argument
        assert result is not argument
        assert await host.context.call("shop", "Echo", (1,)) == [1]  # as the fabric has it
        with pytest.raises(Invalid):
            await host.context.call("shop", "Echo", 1 << 70)


@pytest.mark.parametrize("direct", [True, False])
async def test_errors_are_typed(*, direct: bool) -> None:
    async with opened_host() as (host, _):
        call = host.context.call if direct else host.fabric.call
        with pytest.raises(Failed) as failed:
            await call("shop", "Fail")
        assert (failed.value.type, failed.value.message) == ("Mishap", "it broke")
        assert failed.value.details["line"] == 3
        if direct:
            assert isinstance(failed.value.__cause__, Mishap)


async def test_a_result_that_is_no_value() -> None:
    async with opened_host() as (host, _):
        with pytest.raises(Invalid):
            await host.context.call("shop", "NoValue")
        with pytest.raises(Invalid):
            await host.fabric.call("shop", "NoValue")


@pytest.mark.parametrize("direct", [True, False])
async def test_a_handler_that_raises_cancelled_has_failed(*, direct: bool) -> None:
    async with opened_host() as (host, _):
        call = host.context.call if direct else host.fabric.call
        with pytest.raises(Failed) as failed:
            await call("shop", "OwnCancel", deadline_s=5)
        assert failed.value.type == "CancelledError"


async def test_unknown_delegates() -> None:
    async with opened_host() as (host, _):
        with pytest.raises(NotFound):
            await host.context.call("shop", "Nonsense")
        with pytest.raises(NotFound):  # lifecycle is nobody's to call
            await host.context.call("shop", "Start")
        with pytest.raises(Cancelled):  # elsewhere there may be somebody: wait until the deadline
            await host.context.call("nobody", "Echo", deadline_s=0.02)


@pytest.mark.parametrize("direct", [True, False])
async def test_the_deadline_cancels_the_handler(*, direct: bool) -> None:
    async with opened_host() as (host, agent):
        call = host.context.call if direct else host.fabric.call
        with pytest.raises(Cancelled):
            await call("shop", "Wait", deadline_s=0.02)
        await _until_logged(agent.log, "cancelled")


@pytest.mark.parametrize("direct", [True, False])
async def test_a_cancelled_caller_cancels_the_handler(*, direct: bool) -> None:
    async with opened_host() as (host, agent):
        call = host.context.call if direct else host.fabric.call
        caller = asyncio.create_task(call("shop", "Wait"))
        await agent.begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await _until_logged(agent.log, "cancelled")


async def test_cancel_reaches_the_handler_within_a_second() -> None:  # contract 16
    async with opened_host() as (host, agent):
        call = await host.context.start("shop", "Wait", name="job")
        await agent.begun.wait()
        began = time.monotonic()
        assert await call.cancel(reason="enough")
        await _until_logged(agent.log, "cancelled")
        assert time.monotonic() - began < CANCEL_S
        with pytest.raises(Cancelled):
            await call.result()
        assert (await call.info()).state is ExecutionState.CANCELLED


async def test_a_thread_runs_beside_the_loop_and_can_use_the_fabric() -> None:
    async with opened_host() as (host, _):
        await host.fabric.put("shop", "k", "value")
        assert await host.context.call("shop", "Thread") == [False, "value"]


@pytest.mark.parametrize("direct", [True, False])
async def test_a_thread_sees_its_cancellation(*, direct: bool) -> None:
    async with opened_host() as (host, agent):
        call = host.context.call if direct else host.fabric.call
        with pytest.raises(Cancelled):
            await call("shop", "Block", deadline_s=0.02)
        await _until_logged(agent.log, "thread saw its cancellation")


async def test_places_bound_direct_and_reserved_runs_together() -> None:
    async with opened_host() as (host, agent):
        calls = [host.context.call("shop", "Narrow") for _ in range(10)]
        calls += [host.fabric.call("shop", "Narrow") for _ in range(10)]
        await asyncio.gather(*calls)
        assert agent.most == 2


async def test_deep_calls_go_through_the_fabric() -> None:
    async with opened_host() as (host, _):
        assert await host.context.call("shop", "Deep", 3) == 4
        assert await host.context.call("shop", "Deep", 40) == 8  # 33rd: a fresh start


async def test_retried_handlers_have_a_record() -> None:
    async with opened_host() as (host, _):
        options = ExecutionOptions(backoff_ms=1)
        call = await host.context.start("shop", "Flaky", name="flaky", options=options)
        assert await call.result() == 3


async def test_a_second_run_finds_its_children() -> None:  # contract 12
    async with opened_host() as (host, agent):
        options = ExecutionOptions(backoff_ms=1)
        await host.context.start("shop", "Family", name="parent", options=options)
        result = await host.fabric.result("/parent")
        assert result == ["/parent/1", "one", "two"]
        assert agent.failures == 2
        children = [info.id for info in await host.fabric.list_executions()]
        assert sorted(children) == ["/parent", "/parent/1", "/parent/second"]


async def test_start_and_stop_and_names() -> None:
    async with opened_host() as (host, agent):
        assert agent.log == ["start"]
        with pytest.raises(Conflict):
            await host.start(agent, "shop")
        await host.stop_instance("shop")
        assert agent.log == ["start", "stop"]
        with pytest.raises(NotFound):
            await host.stop_instance("shop")


async def test_stop_drains_what_runs() -> None:
    async with opened_host() as (host, agent):
        direct = asyncio.create_task(host.context.call("shop", "Wait"))
        recorded = asyncio.create_task(host.fabric.call("shop", "Wait"))
        await asyncio.sleep(0.01)
        stopping = asyncio.create_task(host.stop(grace_s=5))
        await asyncio.sleep(0)
        with pytest.raises(Cancelled):
            await host.context.call("shop", "Echo")
        agent.open.set()
        await stopping
        assert await direct == "opened"
        assert await recorded == "opened"
        assert agent.log == ["start", "stop"]


async def test_stop_cancels_what_does_not_end_and_gives_it_back() -> None:
    async with opened_host() as (host, agent):
        direct = asyncio.create_task(host.context.call("shop", "Wait"))
        call = await host.context.start("shop", "Wait", name="job")
        await asyncio.sleep(0.01)
        await host.stop(grace_s=0.01)
        with pytest.raises(Cancelled):
            await direct
        assert agent.log == ["start", "cancelled", "cancelled", "stop"]
        info = await call.info()
        assert info.state is ExecutionState.CREATED  # for the next worker
        assert info.attempts == 0  # it was given back, not tried


class Crashing(Agent):
    @on("Start")
    async def start(self, context: Context, argument: Value) -> None:
        async def pump() -> None:
            raise Mishap("the pump broke")

        context.spawn(pump(), name="pump")


async def test_a_crash_in_the_background_ends_the_run() -> None:
    fabric = await LocalFabric.open(MemoryStore())
    host = Host(fabric)
    await host.start(Crashing(), "crashing")
    with pytest.raises(Mishap, match="pump"):
        await asyncio.wait_for(host.run(), 1)
    await host.stop()
    await fabric.close()


async def test_background_tasks_end_with_the_instance() -> None:
    async with opened_host() as (host, _):
        forever = asyncio.Event()

        async def wait() -> None:
            await forever.wait()

        task = host.spawn("shop", wait(), "forever")
        await host.stop_instance("shop")
        assert task.cancelled()


class BadStart(Agent):
    @on("Start")
    async def start(self, context: Context, argument: Value) -> None:
        raise Mishap("no")


async def test_a_failed_start_leaves_nothing() -> None:
    async with opened_host() as (host, _):
        with pytest.raises(Mishap):
            await host.start(BadStart(), "bad")
        with pytest.raises(NotFound):
            await host.stop_instance("bad")


async def test_hops_can_be_traced() -> None:
    fabric = await LocalFabric.open(MemoryStore())
    seen: list[tuple[str, str, str]] = []
    host = Host(fabric, trace=lambda *hop: seen.append(hop))
    stream = await host.context.open_stream("blocks")
    await stream.append([b"a", b"b"])
    with pytest.raises(Cancelled):
        await host.context.call("nobody", "Execute", deadline_s=0.001)
    assert seen == [("append", "blocks", "2"), ("call", "nobody.Execute", "")]
    await host.stop()
    await fabric.close()


async def _until_logged(log: list[str], entry: str) -> None:
    for _ in range(1000):
        if entry in log:
            return
        await asyncio.sleep(CANCEL_S / 1000)
    raise AssertionError(f"{entry!r} did not come")
