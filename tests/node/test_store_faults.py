"""The lmdb store among crashes, full disks, flipped bits and other processes."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from node.errors import Busy, Exit, StoreCorrupt, StoreFull
from node.store.lmdb import LmdbStore
from tests.node.store_writer import after, batch, is_durable

ROOT = Path(__file__).parents[2]


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def kill_while_it_writes(folder: Path, first: int, batches: int) -> int:
    """Kill the writer in mid-write after some durable batches; the last that it said is durable."""
    writer = start("store_writer.py", folder, first)
    assert writer.stdout is not None
    said = first - 1
    try:
        for _ in range(batches):
            said = int(writer.stdout.readline())
    finally:
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.stdout.close()
        writer.wait()
    return int(rest[-1]) if rest else said


@pytest.mark.slow
def test_a_kill_in_mid_write_leaves_a_batch_boundary(tmp_path: Path) -> None:
    dice = random.Random(11)
    first = 0
    for _ in range(12):
        said = kill_while_it_writes(tmp_path, first, dice.randrange(1, 30))
        store = LmdbStore(tmp_path)
        number = int(store.get(b"number") or b"-1")
        assert number >= said
        assert is_durable(number)  # a waiting batch goes down with a durable one or not at all
        assert dict(store.scan(b"")) == after(number)
        store.close()
        first = number + 1


@pytest.mark.slow
def test_a_full_disk_is_typed_and_nothing_is_lost(tmp_path: Path) -> None:
    writer = start("store_writer.py", tmp_path, 0, 3_000_000)
    out, _ = writer.communicate(timeout=60)
    assert writer.returncode == 0
    *_, error, number = out.split("\n")[:-1]
    assert error == f"store_full {Exit.SAFETY.value}"
    store = LmdbStore(tmp_path)
    state = {key: value for key, value in store.scan(b"") if not key.startswith(b"grown")}
    assert state == {**after(int(number)), b"room": b"again"}
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_flipped_bit_in_any_class_of_page_is_found_or_harmless(tmp_path: Path, seed: int) -> None:
    flips = start("store_flips.py", tmp_path, seed, 60)
    out, _ = flips.communicate(timeout=100)
    results = Counter(tuple(line.split()) for line in out.splitlines())
    assert flips.returncode == 0, results  # negative: a crash
    assert sum(results.values()) == 4 * 60
    for name in ("meta", "branch", "leaf", "overflow"):
        assert results[name, "store_corrupt"] > 0, results


def test_a_flipped_value_is_found_while_the_store_is_open(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.write({b"key": b"the value that lies on disk"}, durable=True)
    data = tmp_path / "data.mdb"
    place = data.read_bytes().index(b"the value")
    with data.open("r+b") as file:
        file.seek(place)
        file.write(b"T")
    with pytest.raises(StoreCorrupt, match=str(tmp_path)):
        store.get(b"key")
    with pytest.raises(StoreCorrupt):
        store.scan(b"k")
    store.close()


@pytest.mark.parametrize("content", [b"not a database", b"\x00" * 8192, os.urandom(16384)])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(StoreCorrupt, match=r"data\.mdb"):
        LmdbStore(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == content


def test_an_old_meta_page_does_not_come_back(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    for value in (b"old", b"new"):
        store.write({b"key": value}, durable=True)
    store.close()
    raw = bytearray((tmp_path / "data.mdb").read_bytes())
    numbers = [int.from_bytes(raw[at : at + 8], sys.byteorder) for at in (144, 4096 + 144)]
    assert sorted(numbers) == [1, 2]
    older = (144, 4096 + 144)[numbers.index(1)]
    raw[older] ^= 0x10  # transaction 1 says that it is 17: the newest, and of the right parity
    (tmp_path / "data.mdb").write_bytes(raw)
    with pytest.raises(StoreCorrupt, match="neighbours"):
        LmdbStore(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.write(batch(0), durable=True)
    store.close()
    data = tmp_path / "data.mdb"
    os.truncate(data, data.stat().st_size // 2 // 4096 * 4096)
    with pytest.raises(StoreCorrupt):
        LmdbStore(tmp_path)


def test_a_folder_that_another_process_holds_is_busy(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from node.store.lmdb import LmdbStore;"
    code += "s = LmdbStore(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipe = subprocess.PIPE
    holder = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT)
    assert holder.stdout is not None and holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Busy, match=f"process {holder.pid}") as caught:
            LmdbStore(tmp_path)
        assert caught.value.owner_pid == holder.pid
        assert caught.value.exit == Exit.BUSY
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    LmdbStore(tmp_path).close()  # the lock died with its holder


def test_the_same_process_cannot_open_it_twice(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    with pytest.raises(Busy, match=f"process {os.getpid()}"):
        LmdbStore(tmp_path)
    store.close()
    assert not (tmp_path / "lock").exists()


def test_the_map_grows_when_it_is_full(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_bytes=64 * 1024)
    store.write({b"waiting": b"w"}, durable=False)
    items: dict[bytes, bytes | None] = {b"k%d" % i: bytes(4000) for i in range(300)}
    store.write(items, durable=True)
    assert store.get_many([b"waiting", b"k299"]) == [b"w", bytes(4000)]
    store.close()
    reopened = LmdbStore(tmp_path, map_bytes=64 * 1024)
    assert len(reopened.scan(b"k")) == 300
    reopened.close()


def test_a_map_at_its_bound_is_full_and_stays_readable(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_bytes=64 * 1024, map_bytes_max=128 * 1024)
    store.write({b"a": b"1"}, durable=True)
    with pytest.raises(StoreFull) as caught:
        store.write({b"k%d" % i: bytes(4000) for i in range(300)}, durable=True)
    assert caught.value.exit == Exit.SAFETY
    assert store.scan(b"") == [(b"a", b"1")]
    store.write({b"b": b"2"}, durable=True)
    assert store.get(b"b") == b"2"
    store.close()


def test_waiting_batches_are_bounded(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    for number in range(50):
        store.write({b"k%d" % number: bytes(200_000)}, durable=False)
        assert store.pending_bytes <= 4 * 1024 * 1024
    assert len(store.scan(b"k")) == 50
    store.close()


def test_a_reader_beside_the_writer_sees_committed_batches(tmp_path: Path) -> None:
    # lmdb refuses the same file twice in one process, so the reader is another one.
    store = LmdbStore(tmp_path, map_bytes=64 * 1024)
    store.write({b"a": b"1"}, durable=True)
    code = "import sys; from pathlib import Path; from node.store.lmdb import LmdbStore\n"
    code += "s = LmdbStore(Path(sys.argv[1]), read_only=True, map_bytes=65536)\n"
    code += "for line in sys.stdin: print(s.get(b'a'), len(s.scan(b'k')), flush=True)\n"
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipe = subprocess.PIPE
    reader = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT, text=True)
    assert reader.stdin is not None and reader.stdout is not None
    try:
        for value, more in ((b"1", 0), (b"2", 300)):
            store.write({b"a": value}, durable=True)
            store.write({b"k%d" % i: bytes(4000) for i in range(more)}, durable=True)
            print("now", file=reader.stdin, flush=True)
            assert reader.stdout.readline() == f"{value} {more}\n"
        store.write({b"a": b"3"}, durable=False)
        print("now", file=reader.stdin, flush=True)
        assert reader.stdout.readline() == "b'2' 300\n"
    finally:
        reader.kill()
        reader.wait()
        reader.stdin.close()
        reader.stdout.close()
        store.close()
