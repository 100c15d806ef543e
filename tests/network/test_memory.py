"""The memory adapter under weather: what its hooks do to real traffic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from network.errors import Timeout
from network.ports import OK, Class, Gossip, LinkUp
from network.weather import Climate
from tests.network.netlab import TOPIC, MemoryLab, Node


@pytest.fixture
async def lab() -> AsyncIterator[MemoryLab]:
    lab = MemoryLab()
    yield lab
    await lab.close()


async def send(node: Node, count: int) -> None:
    for number in range(count):
        assert node.publish(b"%d" % number) is OK
    await asyncio.sleep(0)


def received(node: Node) -> list[int]:
    return [int(event.data) for event in node.log.all(Gossip) if event.data.isdigit()]


async def marker(ann: Node, bob: Node) -> list[int]:
    """Numbers that bob has got, once a last payload sent in calm weather is there."""
    ann.publish(b"marker")
    await bob.log.seen(Gossip, lambda event: event.data == b"marker")
    return received(bob)


async def test_loss_and_duplicates(lab: MemoryLab) -> None:
    ann, bob = await lab.line("ann", "bob")
    lab.hub.weather.climate = Climate(loss=300, duplicate=300)
    await send(ann, 1_000)
    lab.hub.weather.climate = Climate()
    got = await marker(ann, bob)
    assert 600 < len(got) < 800
    assert got == sorted(set(got))  # duplicates on the wire are not delivered twice


async def test_reordering_and_delay(lab: MemoryLab) -> None:
    ann, bob = await lab.line("ann", "bob")
    lab.hub.weather.climate = Climate(reorder=500, delay_ms_min=1, delay_ms_max=20)
    await send(ann, 200)
    lab.hub.weather.climate = Climate(delay_ms_min=40, delay_ms_max=40)
    got = await marker(ann, bob)
    assert got != sorted(got) and sorted(got) == list(range(200))


async def test_in_order_packets_stay_in_order_under_delay(lab: MemoryLab) -> None:
    ann, bob = await lab.line("ann", "bob")
    lab.hub.weather.climate = Climate(delay_ms_max=10)
    await send(ann, 200)
    assert await marker(ann, bob) == list(range(200))


async def test_a_partition_that_heals(lab: MemoryLab) -> None:
    ann, bob = await lab.line("ann", "bob")
    bob.net.serve("echo/1", 10, 10, lambda peer, data: data)
    lab.hub.weather.partition([[ann.peer], [bob.peer]])
    await send(ann, 10)
    deadline = asyncio.get_running_loop().time() + 0.05
    with pytest.raises(Timeout):
        await ann.net.query(bob.peer, "echo/1", b"", Class.POLL, deadline, 10)
    lab.hub.weather.heal()
    assert await marker(ann, bob) == []
    assert await ann.ask(bob, b"back") == b"back"


async def test_nobody_links_across_a_partition(lab: MemoryLab) -> None:
    ann, bob = await lab.node("ann"), await lab.node("bob")
    lab.hub.weather.partition([[ann.peer], [bob.peer]])
    ann.net.connect([bob.address], True)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not ann.log.all(LinkUp)
    lab.hub.weather.heal()
    await ann.log.wait(LinkUp)


async def transcript() -> list[bytes]:
    """What the last node of a line hears in bad weather; a function of the dice alone."""
    lab = MemoryLab()
    try:
        ann, bob = await lab.line("ann", "bob")
        lab.hub.weather.climate = Climate(loss=300, duplicate=200, reorder=300)
        for number in range(300):
            ann.net.publish(TOPIC, b"%d" % number, Class.MESSAGE, b"%d" % number, ann.soon())
            await asyncio.sleep(0)
        lab.hub.weather.climate = Climate()
        await marker(ann, bob)
        return [event.data for event in bob.log.all(Gossip)]
    finally:
        await lab.close()


async def test_gossip_reaches_everybody_through_a_ring_of_strangers(lab: MemoryLab) -> None:
    """16 nodes, each linked with two neighbours and one across; all accept what they get."""
    nodes = [await lab.node(f"n{number}") for number in range(16)]
    for number, node in enumerate(nodes):
        node.net.connect([nodes[(number + step) % 16].address for step in (1, 5)], True)
    for node in nodes:
        await node.log.seen(LinkUp, lambda _: True)
        node.log.on_gossip = node.accept
    small, large = b"small", bytes(100_000)
    for cls in (Class.VOTE, Class.MESSAGE):
        for data in (small, large):
            payload = cls.name.encode() + data
            assert nodes[0].publish(payload, cls) is OK
            for node in nodes[1:]:
                await node.log.gossip(payload)


async def test_above_eight_takers_everybody_still_gets_everything(lab: MemoryLab) -> None:
    nodes = [await lab.node(f"n{number:02}") for number in range(14)]
    for number, node in enumerate(nodes):
        node.net.connect([other.address for other in nodes[number + 1 :]], True)
    for node in nodes:
        for other in nodes:
            if other is not node:
                await node.log.seen(LinkUp, lambda event, peer=other.peer: event.peer == peer)
        node.log.on_gossip = node.accept
    for number, node in enumerate(nodes):
        payload = bytes([number]) * (100 if number % 2 else 50_000)
        assert node.publish(payload) is OK
        for other in nodes:
            if other is not node:
                await other.log.gossip(payload)


async def test_equal_dice_give_equal_runs() -> None:
    assert await transcript() == await transcript()
