"""State dictionaries of the fabric, one suite over all stores (contract 21)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from perper_core.errors import Conflict, Invalid, OutcomeUnknown, TooLarge
from perper_core.ports import ABSENT
from perper_core.values import Record, Value
from tests.contracts.fabric_worlds import KINDS, World, opened_world, settled


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async for world in opened_world(request.param, tmp_path):
        yield world


ALL_TYPES: Value = {
    "null": None,
    "bools": [True, False],
    "i64": [-(1 << 63), 0, (1 << 63) - 1],
    "f64": [0.5, -1e300],
    "bytes": b"\0\xff",
    "uuid": UUID(int=5),
    "time": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "decimal": Decimal("1.10"),
    "record": Record("Point", {"x": 1, "y": {b"k": "v"}}),
    7: "int key",
}


async def test_values_of_every_type(world: World) -> None:
    fabric = await world.open()
    await settled(lambda: fabric.put("state", "key", ALL_TYPES))
    if world.lasts:
        fabric = await world.reopen()
    entry = await fabric.get("state", "key")
    assert entry is not None
    assert entry.value == ALL_TYPES
    assert isinstance(entry.value, dict)
    assert isinstance(entry.value["bools"], list)
    assert entry.value["bools"][0] is True


async def test_compare_and_set(world: World) -> None:
    if world.kind == "rough":
        pytest.skip("exact outcomes")
    fabric = await world.open()
    first = await fabric.put("s", "k", 1, version=ABSENT)
    with pytest.raises(Conflict):
        await fabric.put("s", "k", 2, version=ABSENT)
    second = await fabric.put("s", "k", 2, version=first)
    assert second != first
    with pytest.raises(Conflict):
        await fabric.put("s", "k", 3, version=first)
    with pytest.raises(Conflict):
        await fabric.remove("s", "k", version=first)
    third = await fabric.put("s", "k", 3)
    assert (await fabric.get("s", "k")) == ("k", 3, third)
    assert await fabric.remove("s", "k", version=third)
    assert not await fabric.remove("s", "k")
    assert await fabric.get("s", "k") is None
    with pytest.raises(Conflict):
        await fabric.put("s", "k", 4, version=third)


async def test_versions_never_come_back(world: World) -> None:
    fabric = await world.open()
    versions = set()
    for number in range(5):
        await settled(lambda: fabric.put("s", "k", 0))
        entry = await fabric.get("s", "k")
        assert entry is not None
        versions.add(entry.version)
        await settled(lambda: fabric.remove("s", "k"))
        assert len(versions) == number + 1


async def test_concurrent_counters_lose_nothing(world: World) -> None:
    fabric = await world.open()
    await settled(lambda: fabric.put("s", "count", 0))

    async def count() -> int:
        """Returns how many of its increments may or may not have happened."""
        doubtful = 0
        for _ in range(10):
            while True:
                entry = await fabric.get("s", "count")
                assert entry is not None
                assert isinstance(entry.value, int)
                try:
                    await fabric.put("s", "count", entry.value + 1, version=entry.version)
                except Conflict:
                    continue
                except OutcomeUnknown:
                    doubtful += 1
                break
        return doubtful

    doubtful = sum(await asyncio.gather(*(count() for _ in range(4))))
    entry = await fabric.get("s", "count")
    assert entry is not None
    assert isinstance(entry.value, int)
    assert 40 - doubtful <= entry.value <= 40
    assert doubtful == 0 or world.kind == "rough"


async def test_list_in_order_of_keys(world: World) -> None:
    fabric = await world.open()
    for key in ("b", "a", "ü", "ab"):
        await settled(lambda key=key: fabric.put("s", key, key))  # type: ignore[misc]
    await settled(lambda: fabric.put("st", "x", 1))
    entries = await fabric.list_state("s")
    assert [(entry.key, entry.value) for entry in entries] == [
        (key, key) for key in ("a", "ab", "b", "ü")
    ]
    assert [entry.key for entry in await fabric.list_state("s", after="ab", limit=1)] == ["b"]
    assert await fabric.list_state("nothing") == []


async def test_bounds(world: World) -> None:
    fabric = await world.open()
    with pytest.raises(TooLarge):
        await fabric.put("s", "k", bytes(1 << 20))
    with pytest.raises(TooLarge):
        await fabric.put("s", "k" * 201, 1)
    with pytest.raises(TooLarge):
        await fabric.put("s" * 201, "k", 1)
    with pytest.raises(Invalid):
        await fabric.put("s", "", 1)
    deep: Value = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(TooLarge):
        await fabric.put("s", "k", deep)
    await settled(lambda: fabric.put("s" * 200, "k" * 200, bytes((1 << 20) - 5)))
