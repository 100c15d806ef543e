"""Servers that crash again and again over the rough weak store, by seed: no acknowledged item is
lost, none comes twice."""

import asyncio
from dataclasses import replace
from random import Random

import pytest

from perper_core.errors import Conflict, Exhausted, FabricError, OutcomeUnknown
from perper_core.ports import OLDEST, Producer
from tests.contracts.fabric_worlds import Servers, settled, take
from tests.contracts.weak_store import ROUGH, Crashed

ITEMS = 25
SEEDS = 60


async def append_all(servers: Servers, dice: Random, *, keyed: bool) -> None:
    """One producer goes through however many servers it takes."""
    number = 0
    while number < ITEMS:
        store, fabric = servers.stores[-1], servers.fabrics[-1]
        if store.crash_in is None and dice.random() < 0.3:
            store.crash_in = dice.randint(0, 25)
        keys = [number] if keyed else None
        try:
            producer = Producer("p", number + 1)
            await fabric.append("s", [b"%d" % number], producer=producer, keys=keys)
            number += 1
        except Crashed:
            await servers.open()
        except (OutcomeUnknown, Exhausted, Conflict) as error:
            if "skipped" in str(error):
                raise
            servers.clocks[-1].now_s += 1  # until the dead owner's ttl is over
            beats = servers.fabrics[-1]._beats
            assert beats is not None
            await beats.beat()


async def run(seed: int) -> int:
    faults = replace(ROUGH, unknown_applied=0.15, unknown_lost=0.1, unknown_late=0.1)
    servers = Servers(faults, seed)
    try:
        first = await servers.open()
        await settled(lambda: first.create_stream("s"))
        await append_all(servers, Random(seed), keyed=bool(seed % 2))
        servers.stores[-1].crash_in = None
        reader = servers.fabrics[-1]
        assert (await reader.stream_info("s")).committed == ITEMS
        for start in (1, 3, 9):
            listener = await reader.listen("s", first=max(start, OLDEST))
            items = await take(listener, ITEMS - start + 1)
            assert [item.raw for item in items] == [b"%d" % n for n in range(start - 1, ITEMS)]
        return len(servers.fabrics)
    finally:
        await servers.close()


@pytest.mark.slow
async def test_crashing_servers_lose_nothing() -> None:  # contract 2, 3, 4, 7, 23
    opened = 0
    for seed in range(SEEDS):
        try:
            opened += await asyncio.wait_for(run(seed), 30)
        except (AssertionError, FabricError, TimeoutError) as error:
            error.add_note(f"seed {seed}")
            raise
    assert opened > 2 * SEEDS, "hardly any server crashed"
