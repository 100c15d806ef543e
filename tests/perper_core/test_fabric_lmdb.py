"""What only the lmdb store promises: durability, one owner, damage and full disks as typed errors,
growth."""

import asyncio
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import lmdb
import pytest

from perper_core import limits
from perper_core.errors import Conflict, Corrupt, Exhausted
from perper_core.fabric import LocalFabric
from perper_core.ports import OLDEST, StreamOptions
from perper_core.records import CHUNK, HEAD, STATE
from perper_core.stores.lmdb import DATA_FILE, LmdbStore
from perper_core.stores.lmdb_pages import check_pages
from perper_core.stores.ports import Outcome, Removal, Write

ROOT = Path(__file__).parents[2]
PAGE = 4096


def record(text: bytes) -> bytes:
    return (1).to_bytes(8, "big") + text


async def test_folder_has_one_owner(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    with pytest.raises(Conflict) as taken:
        LmdbStore(tmp_path)
    assert taken.value.details == {"path": str(tmp_path), "pid": str(os.getpid())}
    await store.close()
    await LmdbStore(tmp_path).close()


async def test_other_process_is_refused(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from perper_core.stores.lmdb import LmdbStore\n"
        "from perper_core.errors import Conflict\n"
        "try: LmdbStore(Path(sys.argv[1]))\n"
        "except Conflict as error: print(error.details['pid'])\n"
    )
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.stdout.strip() == str(os.getpid()), ran.stderr
    await store.close()


async def test_waiting_writes_share_a_commit(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    writes = [
        store.cas_many([Write(CHUNK + n.to_bytes(2, "big"), None, record(b"x"))])
        for n in range(500)
    ]
    assert await asyncio.gather(*writes) == [[Outcome.OK]] * 500
    assert store.commits <= 50
    await store.close()


async def test_only_the_writer_thread_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    transact = LmdbStore._transact

    def seen(self: LmdbStore, jobs: list[object]) -> object:
        threads.add(threading.get_ident())
        return transact(self, jobs)  # type: ignore[arg-type]

    monkeypatch.setattr(LmdbStore, "_transact", seen)
    store = LmdbStore(tmp_path)
    await store.cas_many([Write(HEAD, None, record(b"x"))])
    await store.close()
    assert threads
    assert threading.get_ident() not in threads


async def test_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perper_core.stores.lmdb.LMDB_MAP_FIRST_BYTES", 1 << 20)
    store = LmdbStore(tmp_path)
    raw = record(bytes(100_000))
    for n in range(60):
        await store.cas_many([Write(CHUNK + bytes([n]), None, raw)])
        assert await store.get_many([CHUNK + bytes([n])]) == [raw]
    assert (tmp_path / DATA_FILE).stat().st_size > 5 << 20
    await store.close()


async def test_full_map_is_typed_and_recovers(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_max_bytes=1 << 20)
    raw = record(bytes(100_000))
    written = 0

    async def fill() -> None:
        nonlocal written
        for n in range(60):
            await store.cas_many([Write(CHUNK + bytes([n]), None, raw)])
            written += 1

    with pytest.raises(Exhausted):
        await fill()
    assert await store.get_many([CHUNK + bytes([written])]) == [None]
    await store.remove_many([Removal(CHUNK + bytes([n]), None) for n in range(written)])
    for n in range(3):  # lmdb reuses pages two commits later
        await store.cas_many([Write(HEAD + bytes([n]), None, record(b"small"))])
    for n in range(3):
        await store.cas_many([Write(CHUNK + bytes([n]), None, raw)])
    await store.close()


FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from perper_core.errors import Exhausted
from perper_core.fabric import LocalFabric
from perper_core.stores.lmdb import LmdbStore

async def main():
    fabric = await LocalFabric.open(LmdbStore(Path(sys.argv[1])))
    await fabric.create_stream("s")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    appended = 0
    try:
        for _ in range(1000):
            await fabric.append("s", [bytes(20_000)])
            appended += 1
    except Exhausted as error:
        info = await fabric.stream_info("s")
        assert info.committed == appended, (info, appended)
        print("full", appended, error.details["path"] == sys.argv[1])
    await fabric.close()

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
asyncio.run(main())
"""


async def test_full_disk_is_typed(tmp_path: Path) -> None:
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert not ran.stderr
    word, appended, path = ran.stdout.split()
    assert (word, path, ran.returncode) == ("full", "True", 0)
    fabric = await LocalFabric.open(LmdbStore(tmp_path))  # all that was acknowledged is there
    assert (await fabric.stream_info("s")).committed == int(appended)
    await fabric.append("s", [b"x"])
    await fabric.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from perper_core.fabric import LocalFabric
from perper_core.ports import StreamOptions
from perper_core.stores.lmdb import LmdbStore

async def main():
    fabric = await LocalFabric.open(LmdbStore(Path(sys.argv[1])))
    info = await fabric.create_stream("s", StreamOptions(keep_items=100_000))
    number = info.committed
    while True:
        items = [b"%d" % (number + n) for n in range(50)]
        reply = await fabric.append("s", items)
        number = reply.last
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_kill_loses_nothing_acknowledged(tmp_path: Path) -> None:  # contract 2, 23
    acknowledged = 0
    for round_number in range(5):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(tmp_path), cwd=ROOT, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            for _ in range(3 + 17 * round_number):
                acknowledged = int(await process.stdout.readline())
        finally:
            process.send_signal(signal.SIGKILL)
            rest, _ = await process.communicate()
        lines = [line for line in rest.split(b"\n")[:-1] if line]
        acknowledged = int(lines[-1]) if lines else acknowledged
        fabric = await LocalFabric.open(LmdbStore(tmp_path))
        info = await fabric.stream_info("s")
        assert info.committed >= acknowledged
        listener = await fabric.listen("s", first=OLDEST)
        seen = 0
        while seen < info.committed:
            for item in await anext(listener):
                assert item.raw == b"%d" % (item.offset - 1)
                seen = item.offset
        await fabric.close()


# ------------------------------------------------------------------ damage


async def filled(folder: Path) -> bytes:
    """A store with every class of page: branches, leaves, overflow pages, a free list. Returns its
    file."""
    store = LmdbStore(folder)
    for part in range(20):
        await store.cas_many(
            [Write(STATE + b"%d-%d" % (part, n), None, record(bytes(60))) for n in range(150)]
        )
    for n in range(20):
        await store.cas_many([Write(CHUNK + bytes([n]), None, record(bytes([n]) * 10_000))])
    await store.remove_many([Removal(CHUNK + bytes([n]), None) for n in range(10)])
    await store.close()
    return (folder / DATA_FILE).read_bytes()


def newest_meta(data: bytes) -> int:
    """Number of the meta page in force."""
    txns = [struct.unpack_from("<Q", data, n * PAGE + 16 + 24 + 96 + 8)[0] for n in (0, 1)]
    return txns.index(max(txns))


def pages_of(data: bytes) -> dict[str, list[int]]:
    """Live pages by class, found from the two roots."""
    meta = newest_meta(data) * PAGE + 16 + 24
    free_root, main_root = (struct.unpack_from("<Q", data, meta + 48 * n + 40)[0] for n in (0, 1))
    pages: dict[str, list[int]] = {"branch": [], "leaf": [], "overflow": [], "free": [free_root]}
    todo = [main_root]
    while todo:
        number = todo.pop()
        at = number * PAGE
        flags, lower = struct.unpack_from("<HH", data, at + 10)
        pages["branch" if flags == 1 else "leaf"].append(number)
        for node in struct.unpack_from(f"<{(lower - 16) // 2}H", data, at + 16):
            low, high, node_flags, key = struct.unpack_from("<HHHH", data, at + node)
            if flags == 1:
                todo.append(low | high << 16 | node_flags << 32)
            elif node_flags & 1:
                pages["overflow"].append(struct.unpack_from("<Q", data, at + node + 8 + key)[0])
    return pages


def used_bytes(data: bytes, kind: str, page: int) -> list[int]:
    """Offsets in the file of bytes that mean something in a page: header and pointers, nodes,
    contents."""
    at = page * PAGE
    if kind == "overflow":
        return [at, at + 10, at + 12, at + 16, at + 5000]
    lower, upper = struct.unpack_from("<HH", data, at + 12)
    nodes = struct.unpack_from(f"<{(lower - 16) // 2}H", data, at + 16)
    inside = [at + node + part for node in nodes[:3] + nodes[-3:] for part in (0, 2, 6)]
    if kind in ("leaf", "branch"):
        inside += [at + node + 8 for node in nodes[1:4]]
    if kind == "free":  # contents: count and page numbers of each list
        inside = [at + node + 16 for node in nodes] + [at + node + 24 for node in nodes]
    assert upper < PAGE
    return [at, at + 10, at + 12, at + 14, at + 16, *inside]


@pytest.mark.parametrize("kind", ["branch", "leaf", "overflow", "free"])
async def test_flipped_byte_in_a_page(kind: str, tmp_path: Path) -> None:
    data = await filled(tmp_path)
    pages = pages_of(data)
    assert all(pages.values()), {name: len(found) for name, found in pages.items()}
    file = tmp_path / DATA_FILE
    missed = []
    for page in pages[kind][:3] + pages[kind][-2:]:
        for at in used_bytes(data, kind, page):
            damaged = bytearray(data)
            damaged[at] ^= 0x55
            file.write_bytes(damaged)
            try:
                check_pages(file, b"\0txn")
            except Corrupt:
                continue
            missed.append(at - page * PAGE)
    assert not missed
    file.write_bytes(data)
    await LmdbStore(tmp_path).close()


async def test_flipped_byte_in_the_meta_page(tmp_path: Path) -> None:
    data = await filled(tmp_path)
    file = tmp_path / DATA_FILE
    start = newest_meta(data) * PAGE
    databases = start + 16 + 24
    names = {
        "page number": start,
        "flags": start + 10,
        "magic": start + 16,
        "version": start + 20,
        "page size": databases,
        "flags of free": databases + 4,
        "flags of main": databases + 52,
        "depth": databases + 54,
        "branch pages": databases + 56,
        "leaf pages": databases + 64,
        "overflow pages": databases + 72,
        "entries": databases + 80,
        "root of free": databases + 40,
        "root of main": databases + 88,
        "last page": databases + 96,
        "transaction": databases + 104,
    }
    missed = []
    for name, at in names.items():
        damaged = bytearray(data)
        damaged[at] ^= 0x15
        file.write_bytes(damaged)
        try:
            await LmdbStore(tmp_path).close()
        except Corrupt:
            continue
        missed.append(name)
    assert not missed


async def test_truncated_file(tmp_path: Path) -> None:
    data = await filled(tmp_path)
    for size in (100, PAGE, 3 * PAGE, len(data) // 2):
        (tmp_path / DATA_FILE).write_bytes(data[:size])
        with pytest.raises(Corrupt):
            LmdbStore(tmp_path)
    assert (tmp_path / DATA_FILE).stat().st_size == len(data) // 2  # nothing is deleted


async def test_damage_under_a_running_store(tmp_path: Path) -> None:
    """A record whose bytes changed behind lmdb's back is refused when it is read."""
    store = LmdbStore(tmp_path)
    key = CHUNK + b"a"
    await store.cas_many([Write(key, None, record(b"needle" * 1000))])
    file = tmp_path / DATA_FILE
    at = file.read_bytes().find(b"needleneedle")
    with file.open("r+b") as handle:
        handle.seek(at + 50)
        handle.write(b"!")
    with pytest.raises(Corrupt):
        await store.get_many([key])
    await store.close()


async def test_healthy_files_pass_the_check(tmp_path: Path) -> None:
    """After every commit of a mixed load, with growth, deletions and reuse of pages."""
    store = LmdbStore(tmp_path)
    for round_number in range(40):
        writes = [
            Write(STATE + b"%d-%d" % (round_number, n), None, record(bytes(n * n * 7)))
            for n in range(30)
        ]
        await store.cas_many(writes)
        if round_number >= 3:
            old = round_number - 3
            doomed = [STATE + b"%d-%d" % (old, n) for n in range(round_number % 30)]
            await store.remove_many([Removal(key, None) for key in doomed])
        check_pages(tmp_path / DATA_FILE, b"\0txn")
    await store.close()


async def test_dead_readers_do_not_pin_pages(tmp_path: Path) -> None:
    await filled(tmp_path)
    code = (
        "import lmdb, sys, os\n"
        "env = lmdb.open(sys.argv[1], map_size=1 << 30)\n"
        "txn = env.begin(); txn.get(b'x'); os._exit(0)\n"
    )
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, str(tmp_path)], check=True, timeout=30
    )
    store = LmdbStore(tmp_path)
    readers = store._env.readers()
    assert "no active readers" in readers
    await store.close()
    assert lmdb.version()[0] == 0, "lmdb_pages knows format version 1"


async def test_long_scans_resume_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LmdbStore(tmp_path)
    keys = [STATE + b"%04d" % n for n in range(200)]
    await store.cas_many([Write(key, None, record(b"")) for key in keys])
    monkeypatch.setattr("perper_core.stores.lmdb.LMDB_READ_MS_MAX", -1)
    found = await store.scan(STATE, b"", 150)
    assert [key for key, _ in found] == keys[:150]
    await store.close()


async def test_idle_fabric_does_nothing(tmp_path: Path) -> None:
    fabric = await LocalFabric.open(LmdbStore(tmp_path))
    await fabric.create_stream("s", StreamOptions(keep_items=5))
    await fabric.append("s", [b"x"] * 20)
    listener = await fabric.listen("s", name="reader")
    await asyncio.sleep(limits.TRIM_EVERY_S * 1.5)
    loop = asyncio.get_running_loop()
    handles = [h for h in loop._scheduled if not h.cancelled()]  # type: ignore[attr-defined]
    assert handles == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await listener.close()
    await fabric.close()
