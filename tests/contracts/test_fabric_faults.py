"""What a distributed store may do, one fault after the other: the fabric stands it, and would not
without its protection.

Each scenario runs twice: as it is, and with one protection taken out ("planted"). The planted run
must fail; a suite that passed it would not notice a fabric that ignores the fault.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from perper_core import appends, executions, following, ownership, streams, work
from perper_core.access import Access
from perper_core.appends import Appender
from perper_core.beats import Beats
from perper_core.chunks import Chunk
from perper_core.errors import Conflict, Exhausted, FabricError, OutcomeUnknown, StaleToken
from perper_core.following import Following
from perper_core.ports import OLDEST, Fence, Producer, Reserved
from perper_core.records import opened, sealed
from perper_core.stores.ports import Outcome, Write
from tests.contracts.fabric_worlds import Servers, Writer, take
from tests.contracts.weak_store import CALM, ROUGH, Crashed, Faults

Scenario = Callable[[], Awaitable[None]]


async def read_all(servers: Servers, number: int, stream: str = "s") -> list[bytes]:
    """Every committed item, as a server sees it."""
    fabric = servers.fabrics[number]
    info = await fabric.stream_info(stream)
    if not info.committed:
        return []
    listener = await fabric.listen(stream, first=OLDEST)
    items = await take(listener, info.committed)
    assert [item.offset for item in items] == list(range(1, info.committed + 1))
    return [item.raw for item in items]


async def with_servers(
    run: Callable[[Servers], Awaitable[None]], faults: Faults, seed: int = 0
) -> None:
    servers = Servers(faults, seed)
    try:
        await asyncio.wait_for(run(servers), 20)
    finally:
        await asyncio.wait_for(servers.close(), 20)


# ------------------------------------------------------------------ unknown outcomes (contract 2,
# 7)


async def unknown_outcomes() -> None:
    """Appends again after an unknown outcome: each item once, in order."""

    async def run(servers: Servers) -> None:
        fabric = await servers.open()
        await fabric.create_stream("s")
        write = Writer(fabric, "s")
        for number in range(60):
            await write(b"%d" % number)
        assert await read_all(servers, 0) == [b"%d" % number for number in range(60)]

    for seed in range(5):
        await with_servers(run, replace(ROUGH, unknown_applied=0.2, unknown_lost=0.2), seed)


async def unknown_is_failed(self: Access, writes: Any) -> list[Outcome]:
    outcomes = await self.store.cas_many(writes)
    return [outcome if outcome is Outcome.OK else Outcome.CONFLICT for outcome in outcomes]


async def unknown_is_done(self: Access, writes: Any) -> list[Outcome]:
    outcomes = await self.store.cas_many(writes)
    return [Outcome.OK if outcome is Outcome.UNKNOWN else outcome for outcome in outcomes]


def append_without_session(head: Any, command: Any) -> Any:
    return streams._append(head, command._replace(producer=None))


def step_without_sessions(head: Any, command: Any) -> Any:
    if isinstance(command, streams.Append):
        return append_without_session(head, command)
    return streams.step(head, command)


async def doubtful_producer() -> None:
    """A producer whose answers get lost appends everything twice."""

    async def run(servers: Servers) -> None:
        fabric = await servers.open()
        await fabric.create_stream("s")
        for number in range(1, 20):
            for _ in range(2):
                await fabric.append("s", [b"%d" % number], producer=Producer("p", number))
        assert await read_all(servers, 0) == [b"%d" % number for number in range(1, 20)]

    await with_servers(run, CALM)


# ------------------------------------------------------------------ unordered writes, crash in
# mid-write (4, 19)


async def crash_at_every_write() -> None:
    """A server dies before its n-th single-key write; another one goes on with the same
    producer."""

    def run_at(crash_in: int) -> Callable[[Servers], Awaitable[None]]:
        async def run(servers: Servers) -> None:
            first, second = await servers.open(), await servers.open()
            await first.create_stream("s")
            write = Writer(first, "s")
            await write(b"0")
            servers.stores[0].crash_in = crash_in
            acknowledged = 1
            try:
                for number in range(1, 8):
                    await write(b"%d" % number)
                    acknowledged += 1
            except Crashed:
                pass
            await servers.see_silence(1, first.writer)
            write.fabric = second
            write.sequence = acknowledged
            for number in range(acknowledged, 8):
                await write(b"%d" % number)
            assert await read_all(servers, 1) == [b"%d" % number for number in range(8)]
            await chunks_are_exactly(servers, 1, 8)

        return run

    for crash_in in range(16):
        await with_servers(run_at(crash_in), CALM, seed=crash_in)


async def chunks_are_exactly(servers: Servers, number: int, items: int) -> None:
    """No record of items is left that nobody can reach."""
    channel = await servers.fabrics[number]._channels.open("s")
    chunks = [key for key in servers.cluster.records if key[:1] == b"i"]
    assert len(chunks) == items, "left-overs"
    assert channel.head.committed == items


async def commit_in_one_write(self: Appender, chunks: list[Chunk], epoch: int) -> None:
    """Planted: `committed` moves before the items are there."""
    channel = self.channel
    last = chunks[-1].last if chunks else channel.head.committed
    await channel.store_head(replace(channel.head, committed=last))
    channel.head = replace(channel.head, committed=chunks[0].first - 1)
    await appends_write(self, chunks, epoch)


appends_write = Appender._write


async def no_sweep(channel: Any) -> None:
    return


async def crash_with_left_overs() -> None:
    """Several chunks of one commit, of which some arrive before the crash: none is left behind."""

    def run_at(crash_in: int) -> Callable[[Servers], Awaitable[None]]:
        async def run(servers: Servers) -> None:
            first, second = await servers.open(), await servers.open()
            await first.create_stream("s")
            await first.append("s", [b"0"])
            servers.stores[0].crash_in = crash_in
            big = [bytes([n]) * 200_000 for n in range(5)]
            with pytest.raises(Crashed):
                await first.append("s", big)
            await servers.see_silence(1, first.writer)
            await second.append("s", [b"1"])
            await chunks_are_exactly(servers, 1, 2)

        return run

    for crash_in in range(5):
        await with_servers(run_at(crash_in), CALM, seed=crash_in)


# ------------------------------------------------------------------ stale owners (3, 4, 15)


async def stale_owner() -> None:
    """An owner stands still with an append under way, is deposed, and comes back: it loses, and
    says so."""

    async def run(servers: Servers) -> None:
        first, second = await servers.open(), await servers.open()
        await first.create_stream("s")
        await first.append("s", [b"0"])
        with pytest.raises(Conflict):  # its owner lives
            await second.append("s", [b"x"])
        servers.stores[0].pause()
        stale = asyncio.create_task(first.append("s", [b"stale"]))
        for _ in range(5):
            await asyncio.sleep(0)
        await servers.see_silence(1, first.writer)
        await second.append("s", [b"1"])
        servers.stores[0].resume()
        with pytest.raises((Conflict, OutcomeUnknown)):
            await stale
        await second.append("s", [b"2"])
        assert await read_all(servers, 1) == [b"0", b"1", b"2"]
        assert await read_all(servers, 0) == [b"0", b"1", b"2"]
        assert (await second.stream_info("s")).epoch == 2

    await with_servers(run, CALM)


async def overwrite_anything(self: Appender, writes: list[Write], epoch: int) -> list[Write]:
    """Planted: no look at the epoch."""
    found = await self.channel.access.store.get_many([write.key for write in writes])
    again = []
    for write, raw in zip(writes, found, strict=True):
        stamp, body = opened(write.raw)
        expected = None if raw is None else opened(raw)[0].version
        again.append(Write(write.key, expected, sealed(stamp, body)))
    return again


async def nobody_lives(self: object, owner: bytes) -> bool:
    return False


def always(self: object) -> bool:
    return True


async def one_owner_at_a_time() -> None:
    """As long as an owner beats, nobody takes its stream."""

    async def run(servers: Servers) -> None:
        first, second = await servers.open(), await servers.open()
        await first.create_stream("s")
        await first.append("s", [b"0"])
        for _ in range(3):
            assert first._beats is not None
            await first._beats.beat()
            with pytest.raises(Conflict):
                await second.append("s", [b"x"])
            servers.clocks[1].now_s += 6
            assert second._beats is not None
            await second._beats.beat()
        await first.append("s", [b"1"])
        assert (await first.stream_info("s")).epoch == 1

    await with_servers(run, CALM)


async def silent_owner_stops() -> None:
    """A server that could not confirm its session for the ttl does not write (contract 15)."""

    async def run(servers: Servers) -> None:
        first = await servers.open()
        await first.create_stream("s")
        servers.clocks[0].now_s += 11
        with pytest.raises(Exhausted):
            await first.append("s", [b"0"])
        assert first._beats is not None
        await first._beats.beat()
        await first.append("s", [b"0"])

    await with_servers(run, CALM)


# ------------------------------------------------------------------ watches (17)


async def lost_watches() -> None:
    """No hint arrives at all: the safety read finds what another server appended."""
    following.SAFETY_READ_S, before = 0.05, following.SAFETY_READ_S
    try:
        await with_servers(followed, replace(CALM, watch_lost=1.0))
    finally:
        following.SAFETY_READ_S = before


async def followed(servers: Servers) -> None:
    first, second = await servers.open(), await servers.open()
    await first.create_stream("s")
    listener = await second.listen("s", first=OLDEST)
    for number in range(20):
        await first.append("s", [b"%d" % number])
    items = await asyncio.wait_for(take(listener, 20), 2)
    assert [item.raw for item in items] == [b"%d" % number for number in range(20)]


async def doubled_and_late_watches() -> None:
    """Hints come twice and late: items come once."""
    for seed in range(5):
        await with_servers(followed, replace(CALM, watch_doubled=1.0, watch_late=0.5), seed)


async def never_safe(self: Following) -> None:
    while True:
        await self._event.wait()
        self._event.clear()
        await self.read()


def believe_the_hint(self: Following) -> None:
    """Planted: an event is taken for the news itself."""
    for channel in self._channels():
        channel.head = replace(channel.head, committed=channel.head.committed + 1)
        channel.wake()


# ------------------------------------------------------------------ executions (11, 13, 21)


async def stale_worker() -> None:
    """A worker that lost its reservation without knowing it cannot record anything."""

    async def run(servers: Servers) -> None:
        first, second = await servers.open(), await servers.open()
        await first.create("e", instance="i", delegate="d")
        older = await anext(await first.reserve("g"))
        assert isinstance(older, Reserved)
        servers.stores[0].pause()
        await servers.see_silence(1, first.writer)
        await second._work.follow()
        newer = await asyncio.wait_for(anext(await second.reserve("g")), 5)
        assert isinstance(newer, Reserved)
        servers.stores[0].resume()
        with pytest.raises(StaleToken):
            await first.finish("e", older.token, "stale")
        with pytest.raises(StaleToken):
            await first.put("state", "k", 1, fence=Fence("e", older.token))
        await second.finish("e", newer.token, "right")
        assert await first.result("e") == "right"

    await with_servers(run, CALM)


def any_lease(record: executions.Execution, token: int) -> executions.Lease:
    return record.leases[0]


def no_fence(record: executions.Execution, token: int) -> None:
    return


async def racing_writers() -> None:
    """Two servers count in one state: no increment is lost."""

    async def run(servers: Servers) -> None:
        fabrics = [await servers.open(), await servers.open()]
        await fabrics[0].put("s", "k", 0)

        async def count(fabric: Any) -> None:
            for _ in range(10):
                while True:
                    entry = await fabric.get("s", "k")
                    try:
                        await fabric.put("s", "k", entry.value + 1, version=entry.version)
                    except Conflict:
                        continue
                    break

        await asyncio.gather(*(count(fabric) for fabric in fabrics))
        entry = await fabrics[0].get("s", "k")
        assert entry is not None
        assert entry.value == 20

    await with_servers(run, CALM)


async def last_writer_wins(self: Access, writes: Any) -> list[Outcome]:
    for key, _, raw in writes:
        (found,) = await self.store.get_many([key])
        expected = None if found is None else opened(found)[0].version
        await self.store.cas_many([Write(key, expected, raw)])
    return [Outcome.OK] * len(writes)


SCENARIOS: list[Scenario] = [
    unknown_outcomes,
    doubtful_producer,
    crash_at_every_write,
    crash_with_left_overs,
    stale_owner,
    one_owner_at_a_time,
    silent_owner_stops,
    lost_watches,
    doubled_and_late_watches,
    stale_worker,
    racing_writers,
]


@dataclass(frozen=True)
class Plant:
    """A protection taken out, and the scenario that must notice."""

    scenario: Scenario
    place: Any
    name: str
    planted: Any


PLANTS = [
    Plant(unknown_outcomes, Access, "write", unknown_is_failed),
    Plant(unknown_outcomes, Access, "write", unknown_is_done),
    Plant(doubtful_producer, appends, "step", step_without_sessions),
    Plant(crash_at_every_write, Appender, "_write", commit_in_one_write),
    Plant(crash_with_left_overs, ownership, "_sweep_uncommitted", no_sweep),
    Plant(stale_owner, Appender, "_over_junk", overwrite_anything),
    Plant(one_owner_at_a_time, Beats, "lives", nobody_lives),
    Plant(silent_owner_stops, Beats, "may_write", always),
    Plant(lost_watches, Following, "_run", never_safe),
    Plant(doubled_and_late_watches, Following, "_on_head", believe_the_hint),
    Plant(stale_worker, executions, "_held", any_lease),
    Plant(stale_worker, work, "check_fence", no_fence),
    Plant(racing_writers, Access, "write", last_writer_wins),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_stands(scenario: Scenario) -> None:
    await scenario()


@pytest.mark.parametrize(
    "plant", PLANTS, ids=lambda plant: f"{plant.scenario.__name__}-{plant.planted.__name__}"
)
async def test_falls_without_its_protection(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plant.place, plant.name, plant.planted)
    with pytest.raises((AssertionError, FabricError, TimeoutError, pytest.fail.Exception)):
        await plant.scenario()
