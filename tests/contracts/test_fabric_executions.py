"""Executions of the fabric, one suite over all stores."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from perper_core import limits
from perper_core.errors import (
    AlreadyFinished,
    Cancelled,
    FabricError,
    Failed,
    Invalid,
    KeyExists,
    NotFound,
    OutcomeUnknown,
    StaleToken,
    TooLarge,
)
from perper_core.fabric import LocalFabric
from perper_core.groups import Worker
from perper_core.ports import (
    ExecutionOptions,
    ExecutionState,
    Failure,
    Fence,
    Reserved,
    Stopped,
    StreamOptions,
)
from tests.contracts.fabric_worlds import KINDS, World, opened_world, settled, until

VOLATILE = ExecutionOptions(durable=False)
QUICK = ExecutionOptions(attempts_max=3, backoff_ms=1)


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async for world in opened_world(request.param, tmp_path):
        yield world


async def work_of(worker: Worker) -> Reserved:
    work = await asyncio.wait_for(anext(worker), 10)
    assert isinstance(work, Reserved)
    return work


async def stop_of(worker: Worker) -> Stopped:
    stop = await asyncio.wait_for(anext(worker), 10)
    assert isinstance(stop, Stopped)
    return stop


async def serve(fabric: LocalFabric, count: int) -> None:
    """A worker that doubles numbers."""
    async with await fabric.reserve("workers", parallel=2) as worker:
        for _ in range(count):
            work = await work_of(worker)
            assert isinstance(work.argument, int)
            await settled(partial(fabric.finish, work.id, work.token, 2 * work.argument))


@pytest.mark.parametrize("options", [ExecutionOptions(), VOLATILE], ids=["durable", "volatile"])
async def test_call(world: World, options: ExecutionOptions) -> None:  # contract 10
    fabric = await world.open()
    serving = asyncio.create_task(serve(fabric, 5))
    calls = [fabric.call("i", "Double", number, options=options) for number in range(5)]
    assert await asyncio.gather(*calls) == [0, 2, 4, 6, 8]
    await serving


async def test_token_counts_reservations(world: World) -> None:  # contract 10, 11
    fabric = await world.open()
    await fabric.create("e", instance="i", delegate="d", argument=[1, "x"])
    first = await fabric.reserve("g")
    older = await work_of(first)
    assert (older.token, older.attempt, older.argument) == (1, 1, [1, "x"])
    await first.close()
    second = await fabric.reserve("g")
    newer = await work_of(second)
    assert newer.token == 2
    with pytest.raises(StaleToken):
        await fabric.finish("e", older.token, "late")
    with pytest.raises(StaleToken):
        await fabric.put("state", "key", 1, fence=Fence("e", older.token))
    await fabric.create_stream("s")
    with pytest.raises(StaleToken):
        await fabric.append("s", [b"x"], fence=Fence("e", older.token))
    with pytest.raises(StaleToken):
        await fabric.create("e.1", instance="i", delegate="d", parent=Fence("e", older.token))
    await settled(lambda: fabric.put("state", "key", 1, fence=Fence("e", newer.token)))
    await settled(lambda: fabric.finish("e", newer.token, "done"))
    assert await fabric.result("e") == "done"


async def test_outcome_is_recorded_once(world: World) -> None:  # contract 11, 13, 24
    fabric = await world.open()
    await fabric.create("e", instance="i", delegate="d")
    work = await work_of(await fabric.reserve("g"))
    await settled(lambda: fabric.finish("e", work.token, 1))
    await fabric.finish("e", work.token, 1)  # re-sent
    with pytest.raises(AlreadyFinished):
        await fabric.finish("e", work.token, 2)
    with pytest.raises(AlreadyFinished):
        await fabric.fail("e", work.token, Failure("E", "late"))
    assert not await fabric.cancel("e")
    assert await fabric.result("e") == 1


async def test_two_groups_first_completion_wins(world: World) -> None:  # contract 13
    fabric = await world.open()
    one, two = await fabric.reserve("one"), await fabric.reserve("two")
    await fabric.create("e", instance="i", delegate="d")
    work_one, work_two = await work_of(one), await work_of(two)
    assert work_one.token != work_two.token
    await settled(lambda: fabric.finish("e", work_two.token, "two"))
    with pytest.raises(AlreadyFinished):
        await fabric.finish("e", work_one.token, "one")
    assert await fabric.result("e") == "two"
    assert (await stop_of(one)).token == work_one.token


async def test_create_is_put_if_absent(world: World) -> None:  # contract 12
    fabric = await world.open()
    await fabric.create("e", instance="i", delegate="d", argument=1)
    assert (await fabric.create("e", instance="i", delegate="d", argument=1)).id == "e"
    with pytest.raises(KeyExists):
        await fabric.create("e", instance="i", delegate="d", argument=2)
    asyncio.get_running_loop().create_task(serve(fabric, 1))
    assert await fabric.call("i", "d", 1, id="e") == 2
    again = await fabric.create("e", instance="i", delegate="d", argument=1)
    assert (again.state, again.result) == (ExecutionState.FINISHED, 2)
    assert await fabric.call("i", "d", 1, id="e") == 2


async def test_children_are_cancelled_with_their_parent(world: World) -> None:  # contract 12
    fabric = await world.open()
    await fabric.create("p", instance="i", delegate="Parent")
    parents = await fabric.reserve("g", delegates=["Parent"])
    parent = await work_of(parents)
    fence = Fence("p", parent.token)
    for child in ("p.1", "other"):
        await fabric.create(child, instance="i", delegate="Child", parent=fence)
    await fabric.create("p.2", instance="i", delegate="Child", parent=fence, detached=True)
    await fabric.create("p.1.1", instance="i", delegate="Leaf")
    assert await fabric.cancel("p", reason="enough") or world.kind == "rough"
    states = {info.id: info.state for info in await fabric.list_executions()}
    assert states == {
        "p": ExecutionState.CANCELLED,
        "p.1": ExecutionState.CANCELLED,
        "other": ExecutionState.CANCELLED,
        "p.2": ExecutionState.CREATED,
        "p.1.1": ExecutionState.CREATED,
    }
    assert await stop_of(parents) == Stopped("p", parent.token, "cancelled")


async def test_cancel_reaches_the_handler(world: World) -> None:  # contract 16
    fabric = await world.open()
    worker = await fabric.reserve("g", parallel=2)
    await fabric.create("e", instance="i", delegate="d")
    work = await work_of(worker)
    waiting = asyncio.create_task(fabric.result("e"))
    await asyncio.sleep(0)
    await settled(lambda: fabric.cancel("e", reason="changed my mind"))
    assert await stop_of(worker) == Stopped("e", work.token, "cancelled")
    with pytest.raises(Cancelled, match="changed my mind"):
        await waiting
    with pytest.raises(AlreadyFinished):
        await fabric.finish("e", work.token, 1)


async def test_call_gives_up_at_its_deadline(world: World) -> None:
    fabric = await world.open()
    with pytest.raises(Cancelled):
        await fabric.call("i", "d", deadline_s=0.02)
    with pytest.raises(OutcomeUnknown) as unknown:
        await fabric.call("i", "d", id="named", deadline_s=0.02)
    assert unknown.value.id == "named"
    states = {info.id: info.state for info in await fabric.list_executions()}
    assert states.pop("named") is ExecutionState.CREATED
    assert list(states.values()) == [ExecutionState.CANCELLED]


async def test_cancelled_caller_cancels_its_call(world: World) -> None:
    fabric = await world.open()
    calling = asyncio.create_task(fabric.call("i", "d"))
    worker = await fabric.reserve("g")
    work = await work_of(worker)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert (await stop_of(worker)).id == work.id


async def test_typed_failure(world: World) -> None:
    fabric = await world.open()
    await fabric.create("e", instance="i", delegate="d")
    work = await work_of(await fabric.reserve("g"))
    failure = Failure("ZeroDivisionError", "division by zero", (("line", 7),))
    await settled(lambda: fabric.fail("e", work.token, failure))
    with pytest.raises(Failed) as failed:
        await fabric.result("e")
    assert (failed.value.type, failed.value.details["line"]) == ("ZeroDivisionError", 7)
    assert (await fabric.execution("e")).failure == failure


async def test_error_of_the_closed_set_keeps_its_class(world: World) -> None:  # contract 25
    fabric = await world.open()
    await fabric.create("e", instance="i", delegate="d")
    work = await work_of(await fabric.reserve("g"))
    failure = Failure("TooLarge", "too much", (("bytes", 9),))
    await settled(lambda: fabric.fail("e", work.token, failure))
    with pytest.raises(TooLarge) as failed:
        await fabric.result("e")
    assert failed.value.details == {"bytes": 9}


async def test_retries_with_pauses_then_dead_letter(world: World) -> None:  # contract 22
    fabric = await world.open()
    await fabric.create("e", instance="i", delegate="d", options=QUICK)
    worker = await fabric.reserve("g")
    failure = Failure("Busy", "later", retry=True)
    for attempt in range(1, 4):
        work = await work_of(worker)
        assert (work.attempt, work.token) == (attempt, attempt)
        try:
            await fabric.fail("e", work.token, failure)
        except StaleToken:
            assert world.kind == "rough"  # its own, after an unknown outcome
    assert (await fabric.execution("e")).state is ExecutionState.DEAD
    with pytest.raises(Failed):
        await fabric.result("e")
    await fabric.retry("e")
    work = await work_of(worker)
    assert (work.attempt, work.token) == (1, 4)
    await settled(lambda: fabric.finish("e", work.token, "at last"))
    assert await fabric.result("e") == "at last"
    with pytest.raises(AlreadyFinished):
        await fabric.retry("e")


async def test_crash_loop_ends_in_a_dead_letter(world: World) -> None:  # contract 22
    fabric = await world.open()
    await fabric.create("e", instance="i", delegate="d", options=QUICK)
    for _ in range(3):
        worker = await fabric.reserve("g")
        await work_of(worker)
        await worker.lose()
    info = await fabric.execution("e")
    assert (info.state, info.attempts) == (ExecutionState.DEAD, 3)
    assert info.failure is not None
    assert info.failure.type == "WorkerLost"


async def test_work_given_back_does_not_count(world: World) -> None:
    fabric = await world.open()
    await fabric.create("e", instance="i", delegate="d", options=QUICK)
    for token in range(1, 8):
        worker = await fabric.reserve("g")
        work = await work_of(worker)
        assert (work.token, work.attempt) == (token, 1)
        await worker.close()


async def test_bounded_concurrency_and_filters(world: World) -> None:
    fabric = await world.open()
    mine = await fabric.reserve("g", instance="mine", delegates=["a", "b"], parallel=2)
    rest = await fabric.reserve("rest", parallel=limits.PARALLEL_MAX)
    for number, (instance, delegate) in enumerate(
        [("mine", "a"), ("mine", "b"), ("mine", "a"), ("mine", "c"), ("other", "a")]
    ):
        await fabric.create(f"e{number}", instance=instance, delegate=delegate)
    first, second = await work_of(mine), await work_of(mine)
    assert {first.id, second.id} <= {"e0", "e1", "e2"}
    waiting = asyncio.create_task(work_of(mine))
    assert len({(await work_of(rest)).id for _ in range(5)}) == 5
    assert not waiting.done()
    await settled(lambda: fabric.finish(first.id, first.token))
    third = await waiting
    assert {first.id, second.id, third.id} == {"e0", "e1", "e2"}


async def test_competing_workers_share_the_work(world: World) -> None:  # contract 13
    fabric = await world.open()
    workers = [await fabric.reserve("g", parallel=3) for _ in range(3)]
    for number in range(9):
        await fabric.create(f"e{number}", instance="i", delegate="d")
    taken = [(await work_of(worker)).id for worker in workers for _ in range(3)]
    assert sorted(taken) == [f"e{number}" for number in range(9)]


async def test_delayed_start(world: World) -> None:
    fabric = await world.open()
    worker = await fabric.reserve("g")
    options = ExecutionOptions(delay_ms=30)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await fabric.create("e", instance="i", delegate="d", options=options)
    await work_of(worker)
    assert loop.time() - began >= 0.029


async def test_executions_survive_a_restart(world: World) -> None:  # contract 2, 10
    if not world.lasts:
        pytest.skip("the memory store keeps nothing")
    fabric = await world.open()
    await fabric.create("done", instance="i", delegate="d")
    await fabric.create("open", instance="i", delegate="d", argument={"a": 1})
    worker = await fabric.reserve("g")
    work = await work_of(worker)
    await settled(lambda: fabric.finish(work.id, work.token, 5))
    fabric = await world.reopen()
    assert await fabric.result("done") == 5
    worker = await fabric.reserve("g")
    work = await work_of(worker)
    assert (work.id, work.argument) == ("open", {"a": 1})


async def test_volatile_executions_end_with_their_server(world: World) -> None:
    if world.kind != "lmdb":
        pytest.skip("a shared store keeps them, the memory store nothing")
    fabric = await world.open()
    await fabric.create("e", instance="i", delegate="d", options=VOLATILE)
    fabric = await world.reopen()
    with pytest.raises(NotFound):
        await fabric.execution("e")


async def test_outcomes_expire(world: World) -> None:  # contract 20
    fabric = await world.open()
    for id in ("read", "unread"):
        await fabric.create(id, instance="i", delegate="d", argument=1)
    await serve(fabric, 2)
    expiry = fabric._work.expiry
    assert await fabric.result("read") == 2
    world.clock.now_s += limits.READ_KEEP_S + 1
    await expiry.sweep()
    with pytest.raises(NotFound):
        await fabric.result("read")
    assert await fabric.result("unread") == 2
    with pytest.raises(KeyExists):  # its id is still taken
        await fabric.create("read", instance="i", delegate="d", argument=2)
    assert (await fabric.create("read", instance="i", delegate="d", argument=1)).state == "finished"
    world.clock.now_s += limits.ID_KEEP_S
    await expiry.sweep()
    with pytest.raises(NotFound):
        await fabric.execution("read")
    await fabric.create("read", instance="i", delegate="d", argument=2)


async def test_list_executions(world: World) -> None:
    fabric = await world.open()
    for number, instance in enumerate("aabb"):
        options = VOLATILE if number % 2 else ExecutionOptions()
        await fabric.create(f"e{number}", instance=instance, delegate="d", options=options)
    await settled(lambda: fabric.cancel("e2"))

    async def ids(**query: object) -> list[str]:
        return [info.id for info in await fabric.list_executions(**query)]  # type: ignore[arg-type]

    assert await ids() == ["e0", "e1", "e2", "e3"]
    assert await ids(after="e1", limit=1) == ["e2"]
    assert await ids(instance="b") == ["e2", "e3"]
    assert await ids(states=[ExecutionState.CANCELLED]) == ["e2"]


async def test_close_gives_leases_back(world: World) -> None:
    if not world.lasts:
        pytest.skip("the memory store keeps nothing")
    fabric = await world.open()
    await fabric.create("e", instance="i", delegate="d", options=QUICK)
    worker = await fabric.reserve("g")
    await work_of(worker)
    waiting = asyncio.create_task(fabric.result("e"))
    await asyncio.sleep(0)
    fabric = await world.reopen()
    with pytest.raises(Cancelled):
        await waiting
    assert [work async for work in worker] == []
    work = await work_of(await fabric.reserve("g"))
    assert (work.token, work.attempt) == (2, 1)


async def test_bad_input(world: World) -> None:
    fabric = await world.open()
    for command, error in [
        (fabric.create("", instance="i", delegate="d"), Invalid),
        (fabric.create("e", instance="", delegate="d"), Invalid),
        (fabric.create("x" * 400, instance="i", delegate="d"), TooLarge),
        (fabric.create("e", instance="i", delegate="d", argument=1 << 64), Invalid),
        (fabric.create("e", instance="i", delegate="d", argument=bytes(1 << 20)), TooLarge),
        (fabric.reserve("g", parallel=0), Invalid),
        (fabric.finish("e", 1), NotFound),
        (fabric.cancel("e"), NotFound),
        (fabric.result("e", deadline_s=-1), Invalid),
        (fabric.result("e"), NotFound),
        (fabric.list_executions(limit=0), Invalid),
    ]:
        kind: type[FabricError] = error
        with pytest.raises(kind):
            await command  # type: ignore[misc]


async def test_no_stream_of_a_finished_body_fails(world: World) -> None:  # contract 9
    fabric = await world.open()
    await fabric.create("body", instance="i", delegate="d")
    await fabric.create_stream("s", StreamOptions(producer="body"))
    work = await work_of(await fabric.reserve("g"))
    await settled(lambda: fabric.finish("body", work.token))
    await until(lambda: not fabric._tasks)
    assert (await fabric.stream_info("s")).state == "open"
