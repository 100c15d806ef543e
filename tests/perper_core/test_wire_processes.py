"""Readers that are processes: killed, stopped, late. Commands and the sample."""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import libipld
import pytest

from perper_core.ports import Gate, StreamOptions
from perper_core.wire.access import READ_ONLY, Access
from tests.perper_core.wire_worlds import Served, eventually, opened_served, until

ROOT = Path(__file__).parents[2]
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
CLI = "from perper_core.cli import fabric; fabric()"
KEPT = StreamOptions(gate=Gate.NONE, keep_field=256)


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process, killed by its id in the end whatever happens."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


def reader(address: str, stream: str = "blocks") -> tuple[str, ...]:
    return ("-m", "tests.perper_core.reader_program", address, stream, "reader")


async def line(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    return (await asyncio.wait_for(child.stdout.readline(), 30)).decode().strip()


async def write_heights(served: Served, first: int, count: int) -> int:
    """Three items a height; the height behind the last."""
    for height in range(first, first + count):
        await served.local.append("blocks", [b"x" * 200] * 3, fields=height)
    return first + count


async def kill_readers(times: int, seed: int) -> None:
    dice = random.Random(seed)
    async with opened_served(access=Access(open_rights=READ_ONLY)) as served:
        await served.local.create_stream("blocks", KEPT)
        height, seen = 0, 0
        for _ in range(times):
            height = await write_heights(served, height, dice.randrange(1, 100))  # while away
            async with running(*reader(served.server.address)) as child:
                offsets: list[int] = []
                for number in range(dice.randrange(1, 100)):
                    if number % 10 == 0:
                        height = await write_heights(served, height, 1)
                    if offsets and offsets[-1] == 3 * height:
                        break
                    offsets.append(int(await line(child)))
                child.send_signal(signal.SIGKILL)
                assert child.stdout is not None
                offsets += map(int, (await child.stdout.read()).split())
            # from its acknowledged position, never beyond the next one, and dense
            assert offsets[0] <= seen + 1, f"seed {seed}: a gap before {offsets[0]}"
            assert offsets == list(range(offsets[0], offsets[-1] + 1)), f"seed {seed}"
            seen = max(seen, offsets[-1])
        await write_heights(served, height, 300)  # more than are kept

        async def trimmed() -> bool:
            return (await served.local.stream_info("blocks")).trimmed > seen

        await eventually(trimmed)
        async with running(*reader(served.server.address)) as child:
            text = await line(child)
            while not text.startswith("truncated"):
                seen = max(seen, int(text))
                text = await line(child)
            first = int(text.split()[1])
            assert first > seen + 1
            assert int(await line(child)) == first


@pytest.mark.slow
async def test_a_killed_reader_goes_on_where_it_was() -> None:
    await kill_readers(3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_reader_killed_twenty_times() -> None:
    await kill_readers(20, seed=2)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


async def stop_reader(seconds: float, pause_s: float) -> None:
    """Appends around a stopped reader: neither their rate nor memory may notice."""
    async with opened_served() as served:
        await served.local.create_stream("blocks", StreamOptions(gate=Gate.NONE, keep_items=5000))
        loop = asyncio.get_running_loop()

        async def rate(for_s: float) -> float:
            began, appends = loop.time(), 0
            while loop.time() < began + for_s:
                await served.local.append("blocks", [b"x" * 1000] * 20)
                appends += 1
                await asyncio.sleep(pause_s)
            return appends / (loop.time() - began)

        await rate(0.5)  # the store and its caches fill
        alone = await rate(1.0)
        async with running(*reader(served.server.address)) as child:
            await line(child)
            child.send_signal(signal.SIGSTOP)
            await rate(0.5)  # its window fills
            before = resident_bytes()
            stopped = await rate(seconds)
            grown = resident_bytes() - before
            assert grown < 16 * MIB, f"grown by {grown} bytes"
            assert stopped > 0.5 * alone, f"{stopped} against {alone} appends/s"
            for session in served.server._sessions.values():  # after a while it is given up
                assert session._outbox.bytes <= 2 * MIB
            child.send_signal(signal.SIGCONT)
            text = await line(child)
            while not text.startswith("truncated"):  # it is told what it missed
                text = await line(child)


@pytest.mark.slow
async def test_a_stopped_reader_is_not_noticed() -> None:
    await stop_reader(3.0, pause_s=0.001)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_reader_stopped_for_minutes_is_not_noticed() -> None:
    await stop_reader(120.0, pause_s=0.02)


# ------------------------------------------------------------------ commands


async def command(*arguments: str) -> tuple[int | None, str, str]:
    async with running("-c", CLI, *arguments) as child:
        out, error = await asyncio.wait_for(child.communicate(), 30)
        return child.returncode, out.decode(), error.decode()


@pytest.mark.slow
async def test_ls_and_tail() -> None:
    async with opened_served(access=Access(open_rights=READ_ONLY)) as served:
        address = served.server.address
        await served.local.create_stream("blocks", KEPT)
        await served.local.append("blocks", [b"abc", b"d"], keys=[7, 8], fields=[7, 8])
        status, out, _ = await command("ls", "--address", address, "--json")
        rows = json.loads(out)["data"]["streams"]
        assert status == 0
        assert [(row["name"], row["first"], row["last"]) for row in rows] == [("blocks", 1, 2)]
        _, out, _ = await command("ls", "--address", address)
        assert "blocks" in out

        where = ("--address", address, "--from", "oldest")
        status, out, _ = await command("tail", "blocks", *where, "--count", "2", "--json")
        lines = [json.loads(text) for text in out.splitlines()]
        assert status == 0
        assert lines[0] == {"cursor": 1, "offset": 1, "key": 7, "item": {"raw": "YWJj"}}
        await served.local.end("blocks")
        status, out, _ = await command("tail", "blocks", "--address", address, "--from", "2")
        assert (status, out) == (0, "2  key 8  1 B  64\n")


@pytest.mark.slow
async def test_help_imports_only_click() -> None:
    program = (
        "import sys; from perper_core.cli import fabric; fabric(['--help'], standalone_mode=False);"
        "assert not {'grpc', 'asyncio', 'google.protobuf', 'uvloop'} & set(sys.modules)"
    )
    async with running("-c", program) as child:
        _, error = await child.communicate()
        assert child.returncode == 0, error.decode()


@pytest.mark.slow
async def test_commands_say_what_is_wrong() -> None:
    async with opened_served(access=Access(operator="secret")) as served:
        address = served.server.address
        status, out, error = await command("tail", "absent", "--address", address)
        assert (status, out) == (5, "")
        assert "NotFound" in error
        assert "fabric ls" in error
        status, out, _ = await command("ls", "--address", address, "--token", "guess", "--json")
        failed = json.loads(out)
        assert (status, failed["ok"], failed["errors"][0]["code"]) == (3, False, "Denied")
        status, _, error = await command("tail", "s", "--address", address, "--from", "yesterday")
        assert status == 2
        assert "oldest, live" in error
        status, _, error = await command("ls")
        assert status == 2
        assert "--address" in error


@pytest.mark.slow
async def test_the_sample_reads_blocks_and_goes_on() -> None:
    async with opened_served(access=Access(open_rights=READ_ONLY)) as served:
        await served.local.create_stream("blocks", KEPT)
        await served.local.create_stream("votes", StreamOptions(gate=Gate.NONE, keep_field=256))

        async def block(height: int) -> None:
            raw = libipld.encode_dag_cbor([height, ["header", 1], None])
            await served.local.append("blocks", [raw], keys=[height], fields=height)

        sample = ("samples/tail_blocks/tail_blocks.py", served.server.address)
        for round_ in range(2):
            await block(round_)
            async with running(*sample) as child:
                assert (await line(child)).startswith(f"height {round_}:")
                channel = await served.local._channels.open("blocks")
                named = channel.named["tail_blocks"]
                await until(lambda named=named, acked=round_ + 1: named.acked == acked)  # type: ignore[misc]
