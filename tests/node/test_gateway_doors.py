"""Connections that ask for nothing: how many there may be, and how long."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from node.agents.gateway_doors import Door, Doors, place_of
from tests.node.gateway_lab import running
from tests.node.hurried import run_hurried

HALF = b"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "


class Inner(asyncio.Protocol):
    """What a door leads to: remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.told.append(data.decode())

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append("lost")


class Wire:
    """A transport that only ends."""

    def __init__(self, host: str) -> None:
        self.host, self.aborted = host, False

    def get_extra_info(self, name: str) -> Any:
        assert name == "peername"
        return (self.host, 1)

    def abort(self) -> None:
        self.aborted = True


def connect(doors: Doors, host: str) -> tuple[Door, Inner, Wire]:
    inner, wire = Inner(), Wire(host)
    door = doors.door(inner)
    door.connection_made(cast(asyncio.Transport, wire))
    return door, inner, wire


def test_one_address_has_so_many_and_its_oldest_idle_one_gives_way() -> None:
    async def body() -> None:
        doors = Doors(most=10, most_of_one=2)
        first, second = connect(doors, "192.0.2.1"), connect(doors, "192.0.2.1")
        other = connect(doors, "192.0.2.2")
        doors.began(first[1])
        third = connect(doors, "192.0.2.1")
        assert [each[2].aborted for each in (first, second, other, third)] == [
            False, True, False, False,
        ]  # fmt: skip
        doors.began(third[1])
        fourth = connect(doors, "192.0.2.1")
        assert fourth[2].aborted, "all of that address are answered just now"
        assert fourth[1].told == []
        assert (doors.open, doors.refused, doors.cut) == (3, 1, 1)
        doors.ended(first[1])
        fifth = connect(doors, "192.0.2.1")
        assert (first[2].aborted, fifth[2].aborted) == (True, False)

    run_hurried(body())


def test_in_all_there_are_so_many_and_the_largest_crowd_gives_way() -> None:
    async def body() -> None:
        doors = Doors(most=4, most_of_one=3)
        crowd = [connect(doors, "192.0.2.1") for _ in range(3)]
        lone = connect(doors, "192.0.2.2")
        late = connect(doors, "192.0.2.3")
        assert crowd[0][2].aborted
        assert not lone[2].aborted
        assert not late[2].aborted
        assert doors.open == 4

    run_hurried(body())


def test_this_machine_is_many() -> None:
    async def body() -> None:
        doors = Doors(most=4, most_of_one=1)
        mine = [connect(doors, host) for host in ("127.0.0.1", "127.0.0.1", "::1", "127.9.9.9")]
        assert not any(each[2].aborted for each in mine)

    run_hurried(body())


def test_a_head_has_its_time_and_a_request_as_long_as_it_takes() -> None:
    async def body() -> None:
        doors = Doors(head_s=10)
        silent, slow, busy = (connect(doors, "127.0.0.1") for _ in range(3))
        await asyncio.sleep(6)
        slow[0].data_received(b"half")
        doors.began(busy[1])
        await asyncio.sleep(5)
        assert silent[2].aborted
        assert slow[2].aborted, "bytes that trickle win no time"
        assert not busy[2].aborted
        await asyncio.sleep(100)
        doors.ended(busy[1])
        await asyncio.sleep(100)
        assert not busy[2].aborted, "between requests the server's own time is kept"
        busy[0].data_received(b"half of the next")
        await asyncio.sleep(11)
        assert busy[2].aborted

    run_hurried(body())


def test_a_cut_connection_is_forgotten_once() -> None:
    async def body() -> None:
        doors = Doors()
        door, inner, wire = connect(doors, "127.0.0.1")
        door.data_received(b"x")
        door.cut()
        assert wire.aborted
        door.connection_lost(None)
        door.data_received(b"too late")
        assert inner.told == ["made", "x", "lost"]
        assert doors.open == 0

    run_hurried(body())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "nonsense", True),
    ],
)
def test_who_counts_as_one(one: str, other: str, same: bool) -> None:
    assert (place_of(one) == place_of(other)) is same


async def ended(reader: asyncio.StreamReader) -> bool:
    with suppress(ConnectionError):
        return await reader.read() == b""
    return True


async def test_heads_that_never_end_keep_nobody_out(tmp_path: Path) -> None:
    """More of them than there are places, on real sockets; then their time is up."""
    async with running(tmp_path) as node, aiohttp.ClientSession() as session:
        doors = node.gateway.doors
        doors._most, doors.head_s = 8, 0.3
        port = int(node.gateway.url.rpartition(":")[2])
        held = []
        for _ in range(12):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HALF)
            held.append((reader, writer))
        for _ in range(3):
            async with session.get(node.gateway.url + "/v1/status") as response:
                assert response.status == 200
        async with asyncio.timeout(5):
            assert all(await asyncio.gather(*[ended(reader) for reader, _ in held]))
        for _, writer in held:
            writer.close()
        async with session.get(node.gateway.url + "/metrics") as response:
            text = await response.text()
        assert f"api_connections_cut_total {len(held)}" in text
        assert doors.open == 1, "the session's own connection"
