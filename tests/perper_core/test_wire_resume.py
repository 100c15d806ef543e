"""Lost connections, lost servers, lost clients: what goes on, and what is told."""

import asyncio
from pathlib import Path

import pytest

from perper_core import limits
from perper_core.agent.host import Host
from perper_core.errors import Cancelled, Exhausted, NotFound, OutcomeUnknown, Truncated
from perper_core.ports import (
    OLDEST,
    ExecutionState,
    Gate,
    Kind,
    Producer,
    Reserved,
    Stopped,
    StreamOptions,
)
from perper_core.wire import connection, server
from perper_core.wire.client import connect
from tests.perper_core.agent_worlds import Workshop
from tests.perper_core.wire_worlds import eventually, opened_served, take, until

EPHEMERAL = StreamOptions(kind=Kind.EPHEMERAL)


async def test_unkeyed_appends_happen_once_across_cuts() -> None:  # contract 24
    async with opened_served() as served:
        fabric = await served.connect()
        await fabric.create_stream("s")

        async def write(writer: int) -> None:
            for number in range(20):
                await fabric.append("s", [b"%d.%d" % (writer, number)])

        writing = [asyncio.create_task(write(writer)) for writer in range(8)]
        for committed in (10, 50, 90, 130):
            for _ in range(10_000):
                if (await served.local.stream_info("s")).committed >= committed:
                    break
                await asyncio.sleep(0)
            await served.cut()
        await asyncio.gather(*writing)
        listener = await served.local.listen("s", first=OLDEST)
        raws = [item.raw for item in await take(listener, 160)]
        assert len(set(raws)) == 160
        assert (await served.local.stream_info("s")).committed == 160
        for writer in range(8):  # each in its own order
            own = [raw for raw in raws if raw.startswith(b"%d." % writer)]
            assert own == [b"%d.%d" % (writer, number) for number in range(20)]


@pytest.mark.parametrize("options", [StreamOptions(), EPHEMERAL], ids=["persistent", "ephemeral"])
@pytest.mark.parametrize("name", ["", "reader"], ids=["anonymous", "named"])
async def test_a_listener_is_dense_across_cuts(options: StreamOptions, name: str) -> None:
    async with opened_served() as served:
        fabric = await served.connect()
        await fabric.create_stream("s", options)
        listener = await fabric.listen("s", name=name, first=OLDEST, batch_items=7)
        seen = []
        for round_ in range(5):
            for number in range(40):
                await served.local.append("s", [b"%d" % (round_ * 40 + number)])
            seen += await take(listener, 20)
            await served.cut()
        seen += await take(listener, 200 - len(seen))
        assert [(item.offset, item.raw) for item in seen] == [
            (n + 1, b"%d" % n) for n in range(200)
        ]


async def test_an_ack_of_a_lost_connection_is_not_lost() -> None:
    async with opened_served() as served:
        fabric = await served.connect()
        await fabric.create_stream("s")
        await served.local.append("s", [b"x"] * 10)
        listener = await fabric.listen("s", name="reader", first=OLDEST)
        batch = await anext(listener)
        await served.cut()
        await listener.ack(batch.last)  # told to nobody
        await until(fabric._connection.connected.is_set)
        channel = await served.local._channels.open("s")
        await until(lambda: channel.named["reader"].acked == 10)


async def test_a_late_listener_is_told() -> None:  # contract 19
    async with opened_served() as served:
        fabric = await served.connect()
        await fabric.create_stream("s", StreamOptions(gate=Gate.NONE, keep_items=10))
        listener = await fabric.listen("s", first=OLDEST)
        await served.local.append("s", [b"0"])
        await take(listener, 1)
        served.wire.refusing = True
        await served.cut()
        for number in range(1, 100):
            await served.local.append("s", [b"%d" % number])

        async def trimmed() -> bool:
            return (await served.local.stream_info("s")).trimmed == 90

        await eventually(trimmed)
        served.wire.refusing = False
        with pytest.raises(Truncated) as late:
            await asyncio.wait_for(anext(listener), 10)
        assert late.value.first == 91
        items = await take(listener, 10)
        assert [item.offset for item in items] == list(range(91, 101))


async def test_a_restarted_server_goes_on(tmp_path: Path) -> None:
    async with opened_served(tmp_path) as served:
        fabric = await served.connect()
        await fabric.create_stream("s")
        await fabric.append("s", [b"a", b"b"])
        listener = await fabric.listen("s", first=OLDEST)
        await take(listener, 2)
        await served.stop()
        read = asyncio.create_task(fabric.stream_info("s"))
        keyed = asyncio.create_task(fabric.append("s", [b"c"], keys=[5]))
        numbered = asyncio.create_task(fabric.append("s", [b"d"], producer=Producer("w", 1)))
        await served.start()
        assert (await asyncio.wait_for(read, 10)).committed >= 2
        await asyncio.gather(keyed, numbered)
        items = await take(listener, 2)
        assert [item.offset for item in items] == [3, 4]
        assert {item.raw for item in items} == {b"c", b"d"}


async def test_what_nobody_can_know_is_told(tmp_path: Path) -> None:  # contract 24
    async with opened_served(tmp_path) as served:
        fabric = await served.connect()
        options = StreamOptions(window_items=1, gate=Gate.ANY)
        await fabric.create_stream("s", options)
        await fabric.listen("s", flow=True)
        await fabric.append("s", [b"fills the window"])
        sent = asyncio.create_task(fabric.append("s", [b"waits for credit"]))
        await until(lambda: fabric._connection._book.was_sent(4))
        await served.stop()
        await until(lambda: not fabric._connection.connected.is_set())
        unsent = asyncio.create_task(fabric.append("s", [b"was never sent"]))
        await asyncio.sleep(0)
        await served.start()
        with pytest.raises(OutcomeUnknown) as unknown:
            await asyncio.wait_for(sent, 10)
        assert unknown.value.id.endswith(":4")
        assert (await asyncio.wait_for(unsent, 10)).first == 2


async def test_without_a_server_commands_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "DISCONNECT_S_MAX", 0.05)
    monkeypatch.setattr(connection, "GIVE_UP_EVERY_S", 0.01)
    async with opened_served() as served:
        fabric = await served.connect()
        options = StreamOptions(window_items=1, gate=Gate.ANY)
        await fabric.create_stream("s", options)
        await fabric.listen("s", flow=True)
        await fabric.append("s", [b"fills the window"])
        sent = asyncio.create_task(fabric.append("s", [b"waits for credit"]))
        await until(lambda: fabric._connection._book.was_sent(4))
        served.wire.refusing = True
        await served.cut()
        with pytest.raises(OutcomeUnknown):
            await sent
        with pytest.raises(Exhausted):  # definite: it was never sent
            await fabric.append("s", [b"x"])
        monkeypatch.undo()  # now with patience
        served.wire.refusing = False
        assert (await fabric.stream_info("s")).state == "open"  # and it comes back


async def test_nobody_there() -> None:
    with pytest.raises(NotFound, match="no fabric server"):
        await connect("127.0.0.1:9", wait_s=0.1)


async def test_a_lost_client_gives_its_work_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "RESUME_S", 0.05)
    async with opened_served() as served:
        fabric = await served.connect()
        worker = await fabric.reserve("g", instance="i")
        await served.local.create("e", instance="i", delegate="d")
        work = await anext(worker)
        assert isinstance(work, Reserved)
        served.wire.refusing = True
        await served.cut()
        async with await served.local.reserve("g", instance="i") as other:
            again = await asyncio.wait_for(anext(other), 10)
        assert isinstance(again, Reserved)
        assert (again.id, again.token, again.attempt) == ("e", 2, 2)  # it counts (contract 22)
        assert served.server.sessions == 0


async def test_work_goes_on_across_a_cut() -> None:
    async with opened_served() as served:
        fabric = await served.connect()
        worker = await fabric.reserve("g", instance="i", parallel=2)
        await served.local.create("one", instance="i", delegate="d")
        one = await anext(worker)
        served.wire.refusing = True
        await served.cut()
        await served.local.create("two", instance="i", delegate="d")
        await served.local.cancel("one")
        served.wire.refusing = False
        told = [await asyncio.wait_for(anext(worker), 10) for _ in range(2)]
        assert isinstance(one, Reserved)
        assert Stopped("one", one.token, "lost") in told  # it is out no more, whyever
        two = next(event for event in told if isinstance(event, Reserved))
        await fabric.finish(two.id, two.token, "done")
        assert await served.local.result("two") == "done"


async def test_a_restarted_server_has_lost_the_leases(tmp_path: Path) -> None:
    async with opened_served(tmp_path) as served:
        fabric = await served.connect()
        worker = await fabric.reserve("g", instance="i")
        await fabric.create("e", instance="i", delegate="d")
        work = await anext(worker)
        assert isinstance(work, Reserved)
        await served.stop()
        await served.start()
        told = [await asyncio.wait_for(anext(worker), 10) for _ in range(2)]
        assert Stopped("e", work.token, "lost") in told
        again = next(event for event in told if isinstance(event, Reserved))
        await fabric.finish("e", again.token, 1)


async def test_a_silent_worker_loses_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE_TTL_S", 0.1)
    monkeypatch.setattr(limits, "LEASE_BEAT_S", 0.02)
    async with opened_served() as served:
        beating, mute = await served.connect(), await served.connect()
        mute._beating = asyncio.create_task(asyncio.sleep(0))  # it never beats
        worker = await mute.reserve("g", instance="i")
        await served.local.create("e", instance="i", delegate="d")
        work = await anext(worker)
        assert isinstance(work, Reserved)
        other = await beating.reserve("g", instance="i")
        again = await asyncio.wait_for(anext(other), 10)
        assert isinstance(again, Reserved)
        assert again.token == work.token + 1
        stopped = await asyncio.wait_for(anext(worker), 10)
        assert stopped == Stopped("e", work.token, "lost")


async def test_agents_serve_over_the_wire_and_survive_a_cut() -> None:
    async with opened_served() as served:
        fabric = await served.connect()
        host = Host(fabric)
        agent = Workshop()
        await host.start(agent, "shop")
        assert await served.local.call("shop", "Echo", [1]) == [1]
        waiting = asyncio.create_task(served.local.call("shop", "Wait"))
        await agent.begun.wait()
        await served.cut()
        agent.open.set()
        assert await asyncio.wait_for(waiting, 10) == "opened"
        assert agent.log == ["start"]  # it was not cancelled and ran once
        stream = await host.context.produce("shop", "Count", 50, name="numbers")
        assert len([item async for item in stream.items(first=OLDEST)]) == 50
        await host.stop()


async def test_cancel_reaches_a_remote_handler() -> None:  # contract 16
    async with opened_served() as served:
        fabric = await served.connect()
        host = Host(fabric)
        agent = Workshop()
        await host.start(agent, "shop")
        await served.local.create("job", instance="shop", delegate="Wait")
        await agent.begun.wait()
        await served.local.cancel("job")
        await until(lambda: "cancelled" in agent.log)
        await host.stop()


async def test_an_aborted_call_cancels_its_execution() -> None:
    async with opened_served() as served:
        fabric = await served.connect()
        calling = asyncio.create_task(fabric.call("nobody", "Echo"))

        async def there() -> bool:
            return bool(await served.local.list_executions())

        await eventually(there)
        (row,) = await served.local.list_executions()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

        async def cancelled() -> bool:
            return (await served.local.execution(row.id)).state is ExecutionState.CANCELLED

        await eventually(cancelled)


async def test_closing_ends_what_waits() -> None:
    async with opened_served() as served:
        fabric = await served.connect()
        await fabric.create_stream("s")
        listener = await fabric.listen("s")
        reading = asyncio.create_task(anext(listener))
        calling = asyncio.create_task(fabric.call("nobody", "Echo"))
        await asyncio.sleep(0.01)
        await fabric.close()
        with pytest.raises(Cancelled):
            await reading
        with pytest.raises(Cancelled):
            await calling
        with pytest.raises(Cancelled):
            await fabric.stream_info("s")
        assert served.server.sessions == 0
        assert (await served.local.stream_info("s")).listeners == 0
