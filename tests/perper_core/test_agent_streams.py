"""Stream bodies, handles and writers."""

import asyncio
from collections.abc import Sequence

import pytest

from perper_core.agent.limits import WRITER_ITEMS_MAX
from perper_core.agent.writer import Writer
from perper_core.errors import (
    AlreadyFinished,
    Conflict,
    FabricError,
    Failed,
    Invalid,
    NotFound,
    OutcomeUnknown,
)
from perper_core.fabric import LocalFabric
from perper_core.ports import OLDEST, Appended, Fence, Item, Producer
from perper_core.stores.memory import MemoryStore
from tests.perper_core.agent_worlds import opened_host


async def test_an_async_generator_is_a_stream() -> None:
    async with opened_host() as (host, _):
        stream = await host.context.produce("shop", "Count", 10, name="numbers")
        items = [item async for item in stream.items(first=OLDEST)]
        assert items == [Item(n + 1, None, b"%d" % n) for n in range(10)]
        assert (await stream.info()).state == "ended"
        assert await host.fabric.result("numbers") is None


async def test_two_readers_get_the_same() -> None:
    async with opened_host() as (host, _):
        stream = await host.context.produce("shop", "Count", 300, name="numbers")

        async def read() -> list[bytes]:
            return [item.raw async for item in stream.items(first=OLDEST)]

        one, two = await asyncio.gather(read(), read())
        assert one == two == [b"%d" % n for n in range(300)]


async def test_a_body_that_raises_breaks_its_stream() -> None:
    async with opened_host() as (host, _):
        stream = await host.context.produce("shop", "Break", name="broken")
        items = stream.items(first=OLDEST)
        assert (await anext(items)).raw == b"last"
        with pytest.raises(Failed) as failed:
            await anext(items)
        assert (failed.value.type, failed.value.details["line"]) == ("Mishap", 9)
        with pytest.raises(Failed):
            await host.fabric.result("broken")


async def test_a_cancelled_body_ends_for_its_readers() -> None:
    async with opened_host() as (host, _):
        stream = await host.context.produce("shop", "Endless", name="endless")
        async with await stream.listen(first=OLDEST) as listener:
            await anext(listener)
            await host.fabric.cancel("endless")

            async def rest() -> None:
                async for _ in listener:
                    pass

            with pytest.raises(FabricError):
                await asyncio.wait_for(rest(), 1)


async def test_a_body_is_resumed_behind_its_last_key() -> None:  # contract 9
    async with opened_host() as (host, agent):
        stream = await host.context.produce("shop", "Resumed", name="resumed")
        await agent.begun.wait()
        await host.stop_instance("shop", grace_s=0)  # gives it back
        assert (await stream.info()).last_key == 2
        agent.open.set()
        await host.start(agent, "shop")
        items = [(item.key, item.raw) async for item in stream.items(first=OLDEST)]
        assert items == [(key, b"%d" % key) for key in range(6)]


async def test_producing_again_attaches() -> None:
    async with opened_host() as (host, _):
        one = await host.context.produce("shop", "Count", 3, name="numbers")
        two = await host.context.produce("shop", "Count", 3, name="numbers")
        assert one.name == two.name
        assert len([item async for item in two.items(first=OLDEST)]) == 3


async def test_handles_travel_as_references() -> None:
    async with opened_host() as (host, _):
        context = host.context
        stream = await context.open_stream("s")
        passed = await context.call("shop", "Echo", stream.reference)
        assert context.stream(passed).name == "s"  # type: ignore[arg-type]
        with pytest.raises(Invalid):
            context.dictionary(stream.reference)


async def test_dictionary() -> None:
    async with opened_host() as (host, _):
        state = host.context.dictionary("state")
        assert await state.get("k", 5) == 5
        version = await state.put("k", 1)
        with pytest.raises(Conflict):
            await state.put("k", 2, version=version + 1)
        assert await state.update("k", lambda value: [value]) == [1]
        assert await state.update("new", lambda value: value, default="d") == "d"
        assert [(e.key, e.value) async for e in state.items()] == [("k", [1]), ("new", "d")]
        assert await state.remove("k")
        assert await state.entry("k") is None


async def test_updates_lose_nothing() -> None:
    async with opened_host() as (host, _):
        state = host.context.dictionary("state")

        async def add() -> None:
            await state.update("n", lambda n: n + 1 if isinstance(n, int) else 1)

        await asyncio.gather(*(add() for _ in range(10)))
        assert await state.get("n") == 10


# ------------------------------------------------------------------ writers


class Appends(LocalFabric):
    """A fabric whose appends are counted, held, and whose outcomes may be lost."""

    batches: list[int]
    unknown: int
    held: asyncio.Event

    async def append(  # type: ignore[override]
        self,
        stream: str,
        items: Sequence[bytes],
        *,
        keys: Sequence[int] | None = None,
        fields: Sequence[int] | int | None = None,
        producer: Producer | None = None,
        fence: Fence | None = None,
        wait: bool = True,
    ) -> Appended:
        await self.held.wait()
        self.batches.append(len(items))
        appended = await super().append(
            stream, items, keys=keys, fields=fields, producer=producer, fence=fence, wait=wait
        )
        if self.unknown:
            self.unknown -= 1
            raise OutcomeUnknown("lost on the way", id="x")
        return appended


async def opened_appends() -> Appends:
    fabric = await Appends.open(MemoryStore())
    fabric.batches, fabric.unknown, fabric.held = [], 0, asyncio.Event()
    fabric.held.set()
    await fabric.create_stream("s")
    return fabric


async def test_a_writer_puts_items_together() -> None:
    fabric = await opened_appends()
    writer = Writer(fabric, "s")
    for number in range(1000):
        assert writer.offer(b"%d" % number)
    await writer.close()
    assert fabric.batches == [512, 488]
    assert (await fabric.stream_info("s")).committed == 1000
    with pytest.raises(AlreadyFinished):
        writer.offer(b"late")
    await fabric.close()


async def test_a_writer_keeps_shapes_apart() -> None:
    fabric = await opened_appends()
    writer = Writer(fabric, "s")
    for number in range(4):
        await writer.write(b"k", key=number, field=number)
    await writer.write(b"u")
    await writer.write(b"f", field=9)
    await writer.flush()
    assert fabric.batches == [4, 1, 1]
    info = await fabric.stream_info("s")
    assert (info.last_key, info.last_field) == (3, 9)
    await fabric.close()


async def test_a_full_writer_refuses_and_never_waits() -> None:
    fabric = await opened_appends()
    fabric.held.clear()
    writer = Writer(fabric, "s")
    taken = 0
    while writer.offer(b"x"):
        taken += 1
    assert taken == writer.pending == WRITER_ITEMS_MAX
    waiting = asyncio.create_task(writer.write(b"y"))
    await asyncio.sleep(0)
    assert not waiting.done()
    fabric.held.set()
    await waiting
    await writer.close()
    assert (await fabric.stream_info("s")).committed == WRITER_ITEMS_MAX + 1
    await fabric.close()


async def test_unknown_outcomes_are_healed_in_a_session() -> None:  # contract 7
    fabric = await opened_appends()
    fabric.unknown = 3
    writer = Writer(fabric, "s", session="w")
    for number in range(5):
        await writer.write(b"%d" % number)
        await writer.flush()
    assert (await fabric.stream_info("s")).committed == 5
    await fabric.close()


async def test_unknown_outcomes_are_told_without_a_session() -> None:
    fabric = await opened_appends()
    fabric.unknown = 1
    writer = Writer(fabric, "s")
    await writer.write(b"a")
    with pytest.raises(OutcomeUnknown):
        await writer.flush()
    with pytest.raises(OutcomeUnknown):
        writer.offer(b"b")
    await fabric.close()


async def test_errors_end_a_writer() -> None:
    fabric = await opened_appends()
    writer = Writer(fabric, "absent")
    writer.offer(b"a")
    with pytest.raises(NotFound):
        await writer.close()
    await fabric.close()


async def test_a_dropped_writer_waits_for_nothing() -> None:
    fabric = await opened_appends()
    fabric.held.clear()
    writer = Writer(fabric, "s")
    writer.offer(b"a")
    await asyncio.sleep(0)
    await writer.drop()
    with pytest.raises(AlreadyFinished):
        await writer.flush()
    await fabric.close()
