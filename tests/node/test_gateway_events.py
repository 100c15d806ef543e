"""Server-sent events: dense cursors, resuming, slow readers told and not served less."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from node.agents import gateway_events
from node.agents.gateway_limits import EVENT_CLIENTS_MAX
from node.validator import Validator
from tests.node.gateway_lab import message, running, transfer

Event = tuple[str, str, Any]


class Reader:
    """Server-sent events of one connection, as an independent reader parses them."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> Event:
        """(id, event, data) of the next one; comments are passed over."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for raw in self._response.content:
                line = raw.decode().rstrip("\n")
                if not line and "data" in fields:
                    return fields.get("id", ""), fields["event"], json.loads(fields["data"])
                name, _, value = line.partition(": ")
                if name in ("id", "event", "data"):
                    fields[name] = value
        raise AssertionError("the stream ended")

    async def take(self, count: int) -> list[Event]:
        return [await self.next() for _ in range(count)]


class Listening:
    """A connection to `/v1/events`, past its `open`."""

    def __init__(self, node: Validator, query: str = "", last: str = "") -> None:
        self._url = f"{node.gateway.url}/v1/events{query}"
        self._headers = {"Last-Event-ID": last} if last else {}
        self._session = aiohttp.ClientSession()

    async def __aenter__(self) -> Reader:
        response = await self._session.get(self._url, headers=self._headers)
        self._response = response
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        reader = Reader(response)
        self.opened = await reader.next()
        assert self.opened[1] == "open"
        return reader

    async def __aexit__(self, *args: object) -> None:
        self._response.close()
        await self._session.close()


async def heights(node: Validator, count: int) -> None:
    """So many blocks more, one transfer each."""
    for _ in range(count):
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        listener = _once(reached)
        node.committed_listeners.append(listener)
        await node.submit([transfer(node)])
        await reached
        node.committed_listeners.remove(listener)


def _once(future: asyncio.Future[None]) -> Any:
    return lambda effect, outcome: None if future.done() else future.set_result(None)


async def test_live_events_come_in_order_with_their_cursors(tmp_path: Path) -> None:
    async with running(tmp_path) as node, Listening(node) as reader:
        await heights(node, 2)
        found = await reader.take(6)
        assert [event[:2] for event in found] == [
            ("1.0", "block"),
            ("1.1", "receipt"),
            ("1.2", "event"),
            ("2.0", "block"),
            ("2.1", "receipt"),
            ("2.2", "event"),
        ]
        assert found[0][2]["height"] == 1
        assert found[1][2]["status"] == "ok"
        assert (found[2][2]["agent"], found[2][2]["type"]) == ("token", "Paid")
        assert found[2][2]["message"] == found[1][2]["message"]


@pytest.mark.parametrize("place", range(7))
async def test_whoever_resumes_gets_exactly_what_it_lacks(tmp_path: Path, place: int) -> None:
    async with running(tmp_path) as node:
        await heights(node, 2)
        async with Listening(node, "?after=0.0") as reader:
            every = await reader.take(6)
        cursor = ["0.0", *[event[0] for event in every]][place]
        async with Listening(node, last=cursor) as reader:
            await heights(node, 1)
            rest = await reader.take(6 - place + 3)
        assert rest[: 6 - place] == every[place:]
        assert [event[0] for event in rest[6 - place :]] == ["3.0", "3.1", "3.2"]


async def test_the_first_cursor_resumes_where_the_connection_began(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await heights(node, 1)
        listening = Listening(node)
        async with listening:
            pass
        await heights(node, 1)
        async with Listening(node, last=listening.opened[0]) as reader:
            assert (await reader.next())[0] == "2.0"


async def test_filters_by_type_and_agent(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await node.submit([message(node, "counter", "Add", {"by": 2}), transfer(node)])
        await heights(node, 1)
        async with Listening(node, "?after=0.0&types=block") as reader:
            assert [event[:2] for event in await reader.take(1)] == [("1.0", "block")]
        async with Listening(node, "?after=0.0&agent=counter&types=event,receipt") as reader:
            receipt, event = await reader.take(2)
        assert receipt[1] == "receipt"
        assert event[2]["data"] == {"value": 2}
        assert receipt[2]["events"][0]["type"] == "Changed"


async def test_a_cursor_ahead_of_the_node_waits_for_it(tmp_path: Path) -> None:
    """As after a change to a node that is behind: nothing comes twice, nothing is left out."""
    async with running(tmp_path) as node, Listening(node, last="2.1") as reader:
        await heights(node, 3)
        assert [event[0] for event in await reader.take(2)] == ["2.2", "3.0"]


async def test_a_reader_that_is_behind_is_told_and_gets_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_events, "LAGGED_HEIGHTS", 3)
    gate = asyncio.Event()
    gate.set()
    write = gateway_events._write

    async def slowly(response: Any, text: str) -> None:
        await gate.wait()  # the socket of a reader that does not read
        await write(response, text)

    monkeypatch.setattr(gateway_events, "_write", slowly)
    async with running(tmp_path) as node, Listening(node, "?types=block") as reader:
        await heights(node, 1)
        assert (await reader.next())[0] == "1.0"
        gate.clear()
        await heights(node, 6)
        gate.set()
        assert (await reader.next())[0] == "2.0"
        _, kind, told = await reader.next()
        assert (kind, told) == ("lagged", {"at": 2, "tip": 7, "behind": 5})
        assert [event[0] for event in await reader.take(5)] == [f"{h}.0" for h in range(3, 8)]
        assert node.gateway.counters()["api_event_clients_lagged_total"] == 1


async def test_a_reader_that_takes_nothing_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(response: Any, text: str) -> None:
        raise TimeoutError

    async with running(tmp_path) as node, Listening(node) as reader:
        monkeypatch.setattr(gateway_events, "_write", stuck)
        await heights(node, 1)
        with pytest.raises(AssertionError, match="the stream ended"):
            await reader.next()
        assert node.gateway.counters()["api_event_clients"] == 0


async def test_a_quiet_connection_is_shown_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_events, "EVENT_PING_S", 0.01)
    async with running(tmp_path) as node, aiohttp.ClientSession() as session:
        async with session.get(node.gateway.url + "/v1/events") as response:
            lines = [await response.content.readline() for _ in range(6)]
        assert b": ping\n" in lines


async def test_readers_are_bounded_and_stop_with_the_node(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        readers = [Listening(node) for _ in range(EVENT_CLIENTS_MAX)]
        opened = [await reader.__aenter__() for reader in readers]
        url = node.gateway.url + "/v1/events"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 503
            assert (await response.json())["errors"][0]["code"] == "Busy"
        await node.host.stop_instance("gateway")
        with pytest.raises(AssertionError, match="the stream ended"):
            await opened[0].next()
        for reader in readers:
            await reader.__aexit__()
