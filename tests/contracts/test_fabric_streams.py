"""Streams of the fabric, one suite over memory, lmdb, the weak store, and the weak store with
every fault at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perper_core import limits
from perper_core.errors import (
    AlreadyFinished,
    Cancelled,
    Conflict,
    Failed,
    Invalid,
    KeyExists,
    NotFound,
    ProducerLost,
    TooLarge,
)
from perper_core.ports import (
    LIVE,
    OLDEST,
    ExecutionOptions,
    Failure,
    Kind,
    Producer,
    StreamOptions,
)
from tests.contracts.fabric_worlds import KINDS, World, Writer, opened_world, settled, take


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async for world in opened_world(request.param, tmp_path):
        yield world


EPHEMERAL = StreamOptions(kind=Kind.EPHEMERAL)


async def test_offsets_are_dense_and_order_is_one(world: World) -> None:  # contract 4, 5
    fabric = await world.open()
    await fabric.create_stream("s")
    write = Writer(fabric, "s")
    assert (await write(b"a", b"b"))[:2] == (1, 2)
    assert (await write(b"c"))[:2] == (3, 3)
    one = await fabric.listen("s", first=OLDEST)
    two = await fabric.listen("s", first=1, batch_items=1)
    expected = [(1, None, b"a"), (2, None, b"b"), (3, None, b"c")]
    assert await take(one, 3) == expected
    assert await take(two, 3) == expected


async def test_replay_is_inclusive(world: World) -> None:  # contract 5
    fabric = await world.open()
    await fabric.create_stream("s")
    write = Writer(fabric, "s")
    for number in range(1, 8):
        await write(*(b"%d.%d" % (number, part) for part in range(number)))
    for first in (1, 2, 3, 9, 28):
        listener = await fabric.listen("s", first=first)
        items = await take(listener, 29 - first)
        assert [item.offset for item in items] == list(range(first, 29))
    assert items[-1].raw == b"7.6"


async def test_live_is_attached_before_the_call_returns(world: World) -> None:  # contract 5
    fabric = await world.open()
    await fabric.create_stream("s")
    write = Writer(fabric, "s")
    await write(b"before")
    listener = await fabric.listen("s", first=LIVE)
    await write(b"after")
    assert await take(listener, 1) == [(2, None, b"after")]


async def test_waiting_listener_is_woken(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s")
    listener = await fabric.listen("s")
    waiting = asyncio.create_task(take(listener, 2))
    await asyncio.sleep(0)
    write = Writer(fabric, "s")
    await write(b"a")
    await write(b"b")
    assert [item.raw for item in await waiting] == [b"a", b"b"]


async def test_acknowledged_items_survive_a_restart(world: World) -> None:  # contract 2, 4
    if not world.lasts:
        pytest.skip("the memory store keeps nothing")
    fabric = await world.open()
    await fabric.create_stream("s")
    write = Writer(fabric, "s")
    for number in range(20):
        await write(b"%d" % number)
    fabric = await world.reopen()
    write.fabric = fabric
    await write(b"20")
    listener = await fabric.listen("s", first=OLDEST)
    items = await take(listener, 21)
    assert [item.raw for item in items] == [b"%d" % number for number in range(21)]
    assert (await fabric.stream_info("s")).epoch == 2


async def test_pipelined_appends_share_commits_and_keep_order(world: World) -> None:  # contract 4
    fabric = await world.open()
    await fabric.create_stream("s")
    writers = [Writer(fabric, "s", f"w{number}") for number in range(5)]

    async def write(writer: Writer) -> None:
        for number in range(20):
            await writer(b"%s:%d" % (writer.session.encode(), number))

    await asyncio.gather(*(write(writer) for writer in writers))
    items = await take(await fabric.listen("s", first=OLDEST), 100)
    assert [item.offset for item in items] == list(range(1, 101))
    for writer in writers:
        prefix = writer.session.encode() + b":"
        mine = [item.raw for item in items if item.raw.startswith(prefix)]
        assert mine == [prefix + b"%d" % number for number in range(20)]


async def test_producer_session_deduplicates(world: World) -> None:  # contract 7
    fabric = await world.open()
    await fabric.create_stream("s")
    write = Writer(fabric, "s", "p")
    await write(b"a")
    await write(b"b", b"c")
    again = await fabric.append("s", [b"b", b"c"], producer=Producer("p", 2))
    assert (again.duplicates, again.last) == (2, 3)
    older = await fabric.append("s", [b"a"], producer=Producer("p", 1))
    assert older.duplicates == 1
    with pytest.raises(Conflict) as gap:
        await fabric.append("s", [b"d"], producer=Producer("p", 4))
    assert gap.value.details["expected"] == 3
    assert (await fabric.stream_info("s")).committed == 3
    if world.lasts:
        fabric = await world.reopen()
        again = await fabric.append("s", [b"b", b"c"], producer=Producer("p", 2))
        assert again.duplicates == 2


async def test_live_producer_sessions_are_bounded(world: World) -> None:  # contract 7
    if world.kind == "rough":
        pytest.skip("the number of commits matters here")
    fabric = await world.open()
    await fabric.create_stream("s")
    for number in range(limits.PRODUCERS_MAX + 1):
        await fabric.append("s", [b"x"], producer=Producer(f"p{number}", 1))
    newest = Producer(f"p{limits.PRODUCERS_MAX}", 1)
    assert (await fabric.append("s", [b"x"], producer=newest)).duplicates == 1
    forgotten = await fabric.append("s", [b"x"], producer=Producer("p0", 1))
    assert forgotten.duplicates == 0


async def test_keyed_append(world: World) -> None:  # contract 6
    fabric = await world.open()
    await fabric.create_stream("s")

    async def append(keys: list[int], items: list[bytes]) -> None:
        await settled(lambda: fabric.append("s", items, keys=keys))

    await append([1, 2, -5], [b"a", b"b", b"c"])
    await append([9], [b"d"])
    await append([2, 10], [b"b", b"e"])
    info = await fabric.stream_info("s")
    assert (info.committed, info.last_key) == (5, 10)
    again = await fabric.append("s", [b"d"], keys=[9])
    assert (again.first, again.last, again.duplicates) == (6, 5, 1)
    with pytest.raises(KeyExists):
        await fabric.append("s", [b"f", b"other"], keys=[11, 2])
    assert (await fabric.stream_info("s")).committed == 5
    items = await take(await fabric.listen("s", first=OLDEST), 5)
    assert [(item.key, item.raw) for item in items] == [
        (1, b"a"),
        (2, b"b"),
        (-5, b"c"),
        (9, b"d"),
        (10, b"e"),
    ]


async def test_named_listener_goes_on_where_it_acknowledged(world: World) -> None:  # contract 8
    fabric = await world.open()
    await fabric.create_stream("s")
    write = Writer(fabric, "s")
    await write(b"a", b"b", b"c", b"d")
    listener = await fabric.listen("s", name="reader", first=OLDEST, batch_items=3)
    batch = await anext(listener)
    assert len(batch) == 3
    await listener.ack(2)
    await listener.ack(1)  # only forwards
    if world.lasts:
        fabric = await world.reopen()
    else:
        await listener.close()
    listener = await fabric.listen("s", name="reader", first=OLDEST)
    assert [item.raw for item in await take(listener, 2)] == [b"c", b"d"]


async def test_newer_listener_of_a_name_takes_over(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s")
    write = Writer(fabric, "s")
    await write(b"a")
    older = await fabric.listen("s", name="reader", first=OLDEST)
    newer = await fabric.listen("s", name="reader", first=OLDEST)
    with pytest.raises(Conflict):
        await anext(older)
    assert [item.raw for item in await take(newer, 1)] == [b"a"]
    info = await fabric.stream_info("s")
    assert (info.listeners, info.named) == (1, ("reader",))


async def test_ack_without_a_listener_and_forget(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s")
    await Writer(fabric, "s")(b"a", b"b")
    with pytest.raises(NotFound):
        await fabric.ack("s", "reader", 1)
    await (await fabric.listen("s", name="reader", first=OLDEST)).close()
    await fabric.ack("s", "reader", 1)
    listener = await fabric.listen("s", name="reader")
    assert [item.raw for item in await take(listener, 1)] == [b"b"]
    await listener.close()
    await settled(lambda: fabric.forget("s", "reader"))
    assert (await fabric.stream_info("s")).named == ()


async def test_ack_of_what_was_not_delivered(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s")
    listener = await fabric.listen("s", name="reader")
    with pytest.raises(Invalid):
        await listener.ack(1)


async def test_end_mark(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s")
    listener = await fabric.listen("s")
    write = Writer(fabric, "s")
    await write(b"a")
    await settled(lambda: fabric.end("s"))
    await settled(lambda: fabric.end("s"))
    assert [batch.raws for batch in [b async for b in listener]] == [[b"a"]]
    with pytest.raises(AlreadyFinished):
        await fabric.append("s", [b"b"])
    assert (await fabric.append("s", [b"a"], producer=Producer("writer", 1))).duplicates == 1
    assert (await fabric.stream_info("s")).state == "ended"


async def test_error_mark(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s")
    write = Writer(fabric, "s")
    await write(b"a")
    failure = Failure("ValueError", "no more", (("line", 3),))
    try:
        await fabric.break_stream("s", failure)
    except AlreadyFinished:
        assert world.kind == "rough"  # its own, after an unknown outcome
    listener = await fabric.listen("s", first=OLDEST)
    assert await take(listener, 1) == [(1, None, b"a")]
    with pytest.raises(Failed) as failed:
        await anext(listener)
    assert (failed.value.type, failed.value.message) == ("ValueError", "no more")
    assert failed.value.details["line"] == 3
    with pytest.raises(StopAsyncIteration):
        await anext(listener)
    assert (await fabric.stream_info("s")).error == "ValueError"


async def test_stream_of_a_lost_producer_fails(world: World) -> None:  # contract 9
    fabric = await world.open()
    options = ExecutionOptions(attempts_max=1)
    await fabric.create("body", instance="i", delegate="d", options=options)
    await fabric.create_stream("s", StreamOptions(producer="body"))
    listener = await fabric.listen("s")
    workers = await fabric.reserve("group")
    await asyncio.wait_for(anext(workers), 10)
    await workers.lose()
    with pytest.raises(ProducerLost):
        await asyncio.wait_for(anext(listener), 10)


async def test_ephemeral_stream_ends_with_its_server(world: World) -> None:
    if world.kind != "lmdb":
        pytest.skip("a shared store keeps it, the memory store nothing")
    fabric = await world.open()
    await fabric.create_stream("s", EPHEMERAL)
    await fabric.append("s", [b"x"])
    fabric = await world.reopen()
    with pytest.raises(NotFound):
        await fabric.listen("s")


async def test_create_is_put_if_absent(world: World) -> None:
    fabric = await world.open()
    options = StreamOptions(keep_items=3, producer="p")
    await fabric.create_stream("s", options)
    await Writer(fabric, "s")(b"a")
    assert (await fabric.create_stream("s", options)).committed == 1
    with pytest.raises(Conflict):
        await fabric.create_stream("s", StreamOptions(keep_items=4))
    if world.lasts:
        fabric = await world.reopen()
        assert (await fabric.create_stream("s", options)).options == options
        with pytest.raises(Conflict):
            await fabric.create_stream("s")


async def test_remove_and_create_again(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s")
    await Writer(fabric, "s")(b"a")
    listener = await fabric.listen("s")
    await fabric.remove_stream("s")
    await fabric.remove_stream("s")
    with pytest.raises(NotFound):
        await anext(listener)
    with pytest.raises(NotFound):
        await fabric.append("s", [b"b"])
    await fabric.create_stream("s")
    assert (await fabric.stream_info("s")).committed == 0
    assert (await Writer(fabric, "s", "other")(b"b")).first == 1


async def test_list_streams(world: World) -> None:
    fabric = await world.open()
    for name in ("b", "a", "ab"):
        await fabric.create_stream(name, EPHEMERAL if name == "b" else StreamOptions())
    names = [info.name for info in await fabric.list_streams()]
    assert names == ["a", "ab", "b"]
    assert [info.name for info in await fabric.list_streams("a", after="a")] == ["ab"]
    assert [info.name for info in await fabric.list_streams(limit=1)] == ["a"]


async def test_bad_input(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s")
    with pytest.raises(NotFound):
        await fabric.append("nowhere", [b"x"])
    with pytest.raises(NotFound):
        await fabric.listen("nowhere")
    with pytest.raises(Invalid):
        await fabric.create_stream("")
    with pytest.raises(Invalid):
        await fabric.create_stream("a\nb")
    with pytest.raises(TooLarge):
        await fabric.create_stream("x" * (limits.NAME_BYTES_MAX + 1))
    with pytest.raises(Invalid):
        await fabric.create_stream("t", StreamOptions(window_items=0))
    with pytest.raises(TooLarge):
        await fabric.append("s", [b"x"] * (limits.APPEND_ITEMS_MAX + 1))
    with pytest.raises(TooLarge):
        await fabric.append("s", [bytes(limits.ITEM_BYTES_MAX + 1)])
    with pytest.raises(Invalid):
        await fabric.append("s", [b"x"], keys=[1, 2])
    with pytest.raises(Invalid):
        await fabric.append("s", [b"x"], keys=[1 << 63])
    with pytest.raises(Invalid):
        await fabric.append("s", [b"x", b"y"], keys=[1, 1])
    with pytest.raises(Invalid):
        await fabric.append("s", [b"x"], producer=Producer("p", 0))
    with pytest.raises(Invalid):
        await fabric.listen("s", first=-2)


async def test_large_appends_are_cut_into_chunks(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s")
    write = Writer(fabric, "s")
    items = [b"%d" % number for number in range(3000)]
    await write(*items)
    await write(*(bytes([n]) * 100_000 for n in range(10)))
    listener = await fabric.listen("s", first=1500)
    rest = await take(listener, 1511)
    assert [item.raw for item in rest[:1501]] == items[1499:]
    assert rest[-1].raw == bytes([9]) * 100_000


async def test_close_tells_listeners(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s")
    listener = await fabric.listen("s")
    waiting = asyncio.create_task(anext(listener))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await fabric.close()
    with pytest.raises(Cancelled):
        await waiting
    with pytest.raises(Cancelled):
        await fabric.append("s", [b"x"])
