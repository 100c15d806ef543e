"""Pressure and retention of streams, one suite over all stores: who may slow whom, and what is
kept (contract 18, 19)."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from perper_core.errors import Exhausted, Truncated
from perper_core.ports import OLDEST, Gate, Kind, StreamOptions
from tests.contracts.fabric_worlds import KINDS, World, Writer, opened_world, settled, take, until


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async for world in opened_world(request.param, tmp_path):
        yield world


EPHEMERAL = StreamOptions(kind=Kind.EPHEMERAL)


async def test_flow_listener_gates_the_producer(world: World) -> None:  # contract 18
    fabric = await world.open()
    await fabric.create_stream("s", StreamOptions(window_items=10))
    write = Writer(fabric, "s")
    listener = await fabric.listen("s", flow=True)
    assert listener.flow
    for _ in range(5):
        await write(b"a", b"b")
    with pytest.raises(Exhausted) as full:
        await fabric.append("s", [b"c"], wait=False)
    assert full.value.retry_ms > 0
    waiting = asyncio.create_task(fabric.append("s", [b"c"]))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    batch = await anext(listener)
    assert not waiting.done()
    await listener.ack(batch.first)
    await asyncio.wait([waiting], timeout=10)
    assert waiting.done()
    await listener.close()
    credit = (await write(b"d")).credit_items
    assert credit == 10


async def test_window_in_bytes(world: World) -> None:  # contract 18
    fabric = await world.open()
    await fabric.create_stream("s", StreamOptions(window_bytes=100))
    write = Writer(fabric, "s")
    listener = await fabric.listen("s", flow=True)
    await write(b"x" * 70)
    await write(b"x" * 70)
    with pytest.raises(Exhausted):
        await fabric.append("s", [b"c"], wait=False)
    items = await take(listener, 2)
    assert len(items) == 2
    assert (await write(b"c")).credit_bytes == 99


async def test_gate_none_is_never_slowed(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s", StreamOptions(gate=Gate.NONE, window_items=1))
    listener = await fabric.listen("s", flow=True)
    assert not listener.flow
    write = Writer(fabric, "s")
    for _ in range(10):
        await write(b"a")
    remote = await fabric.listen("s", flow=True, local=False)
    assert not remote.flow


async def test_gate_local_and_any(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("local", StreamOptions(gate=Gate.LOCAL))
    await fabric.create_stream("any", StreamOptions(gate=Gate.ANY))
    for stream, local, gates in (
        ("local", True, True),
        ("local", False, False),
        ("any", True, True),
        ("any", False, True),
    ):
        listener = await fabric.listen(stream, flow=True, local=local)
        assert listener.flow is gates


async def trimmed_to(world: World, stream: str, offset: int) -> None:
    """Let retention run until the stream begins behind an offset."""
    fabric = world.fabrics[-1]
    channel = await fabric._channels.open(stream)
    await settled(lambda: fabric.retention.trim(channel))
    assert (await fabric.stream_info(stream)).trimmed == offset


async def test_retention_by_field(world: World) -> None:  # contract 19
    fabric = await world.open()
    await fabric.create_stream("votes", StreamOptions(gate=Gate.NONE, keep_field=3))
    listener = await fabric.listen("votes", first=OLDEST)
    write = Writer(fabric, "votes")
    for height in range(1, 11):
        await write(*(b"%d-%d" % (height, vote) for vote in range(2)), fields=height)
    await trimmed_to(world, "votes", 14)
    with pytest.raises(Truncated) as late:
        await anext(listener)
    assert late.value.first == 15
    items = await take(listener, 6)
    assert [item.raw for item in items[::2]] == [b"8-0", b"9-0", b"10-0"]
    assert [item.offset for item in items] == list(range(15, 21))


async def test_retention_by_items_and_bytes(world: World) -> None:  # contract 19
    fabric = await world.open()
    await fabric.create_stream("items", StreamOptions(keep_items=4))
    await fabric.create_stream("bytes", StreamOptions(keep_bytes=40))
    for stream in ("items", "bytes"):
        write = Writer(fabric, stream)
        for _ in range(10):
            await write(b"x" * 10)
        await trimmed_to(world, stream, 6)
        assert (await fabric.stream_info(stream)).bytes_kept == 40


async def test_keys_are_the_field_when_none_is_given(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("blocks", StreamOptions(gate=Gate.NONE, keep_field=5))
    for height in range(1, 21):
        await settled(partial(fabric.append, "blocks", [b"block"], keys=[height]))
    await trimmed_to(world, "blocks", 15)
    with pytest.raises(Truncated):  # nobody can say whether it is the same
        await fabric.append("blocks", [b"block"], keys=[3])
    assert (await fabric.append("blocks", [b"block"], keys=[16])).duplicates == 1


async def test_flow_listener_holds_retention(world: World) -> None:  # contract 19
    fabric = await world.open()
    await fabric.create_stream("s", StreamOptions(keep_items=1))
    listener = await fabric.listen("s", flow=True)
    write = Writer(fabric, "s")
    for _ in range(5):
        await write(b"x")
    await trimmed_to(world, "s", 0)
    await anext(listener)
    await listener.ack(3)
    await trimmed_to(world, "s", 3)
    await listener.close()
    await trimmed_to(world, "s", 4)


async def test_named_listener_holds_for_a_time(world: World) -> None:  # contract 8
    fabric = await world.open()
    await fabric.create_stream("s", StreamOptions(keep_items=1, hold_s=60.0, hold_bytes=1000))
    await (await fabric.listen("s", name="reader")).close()
    write = Writer(fabric, "s")
    for _ in range(5):
        await write(b"x")
    await trimmed_to(world, "s", 0)
    world.clock.now_s += 61
    await trimmed_to(world, "s", 4)
    listener = await fabric.listen("s", name="reader")
    with pytest.raises(Truncated) as late:  # dropped, and told
        await anext(listener)
    assert late.value.first == 5


async def test_named_listener_holds_so_many_bytes(world: World) -> None:  # contract 8
    fabric = await world.open()
    await fabric.create_stream("s", StreamOptions(keep_items=1, hold_s=60.0, hold_bytes=25))
    await (await fabric.listen("s", name="reader")).close()
    write = Writer(fabric, "s")
    for _ in range(2):
        await write(b"x" * 10)
    await trimmed_to(world, "s", 0)
    await write(b"x" * 10)
    await trimmed_to(world, "s", 1)


async def test_nothing_is_left_behind_by_trims(world: World) -> None:  # contract 19
    fabric = await world.open()
    if world.kind in ("lmdb", "rough"):
        pytest.skip("records are counted in memory, outcomes known")
    await fabric.create_stream("s", StreamOptions(keep_items=10))
    write = Writer(fabric, "s")
    for number in range(600):
        await fabric.append("s", [b"x"], keys=[number])
    channel = await fabric._channels.open("s")
    await fabric.retention.trim(channel)
    records = world.cluster.records if world.kind == "weak" else fabric._store._records  # type: ignore[attr-defined]
    tables = [key[:1] for key in records]
    assert tables.count(b"i") == 10
    assert tables.count(b"k") == 10
    assert tables.count(b"l") <= 2
    await fabric.remove_stream("s")
    assert {key[:1] for key in records} <= {b"w"}
    assert write is not None


async def test_quota(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s", StreamOptions(quota_bytes=30))
    write = Writer(fabric, "s")
    await write(b"x" * 20)
    with pytest.raises(Exhausted):
        await fabric.append("s", [b"x" * 20])
    await write(b"x" * 10)
    assert (await fabric.stream_info("s")).bytes_kept == 30


async def test_ephemeral_items_go_when_all_have_them(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s", EPHEMERAL)
    one, two = await fabric.listen("s"), await fabric.listen("s")
    write = Writer(fabric, "s")
    for _ in range(4):
        await write(b"x")
    await take(one, 4)
    await trimmed_to(world, "s", 0)
    await anext(two)
    await two.ack(2)
    channel = await fabric._channels.open("s")
    await settled(lambda: fabric.retention.trim(channel))
    assert (await fabric.stream_info("s")).trimmed <= 2
    await two.close()
    await trimmed_to(world, "s", 4)


async def test_slow_reader_costs_no_memory(world: World) -> None:
    """A reader that never comes back: the server keeps what retention keeps, nothing for the
    reader."""
    if world.kind == "rough":
        pytest.skip("thousands of appends")
    fabric = await world.open()
    await fabric.create_stream("s", StreamOptions(gate=Gate.NONE, keep_field=4))
    listener = await fabric.listen("s", first=OLDEST, flow=True)
    for height in range(200):
        await fabric.append("s", [b"x" * 100] * 5, fields=height)
    channel = await fabric._channels.open("s")
    await fabric.retention.trim(channel)
    assert (await fabric.stream_info("s")).bytes_kept == 4 * 500
    assert len(channel.marks) == 4
    assert len(channel.tail._firsts) == 4
    assert not listener._delivered
    with pytest.raises(Truncated):
        await anext(listener)


async def test_retention_runs_by_itself(world: World) -> None:
    fabric = await world.open()
    await fabric.create_stream("s", StreamOptions(keep_items=2))
    write = Writer(fabric, "s")
    for _ in range(6):
        await write(b"x")
    channel = await fabric._channels.open("s")
    await until(lambda: channel.head.trimmed == 4)


async def test_failing_store_does_not_end_retention(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = await world.open()
    await fabric.create_stream("s", StreamOptions(keep_items=2))
    write = Writer(fabric, "s")
    for _ in range(6):
        await write(b"x")
    channel = await fabric._channels.open("s")

    async def full(command: object) -> None:
        raise Exhausted("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(
            "perper_core.channel.Channel.change_head", lambda self, command: full(command)
        )
        with pytest.raises(Exhausted):
            await fabric.retention.trim(channel)
    assert channel.head.trimmed == 0
    await trimmed_to(world, "s", 4)
    assert (await fabric.stream_info("s")).bytes_kept == 2
