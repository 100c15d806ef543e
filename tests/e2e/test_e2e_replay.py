"""The journal of a stopped node replays to the same effects; what was changed in it is found."""

import shutil
import struct
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import libipld
import pytest

from tests.e2e.cluster import Answer, Cluster, run

pytestmark = pytest.mark.slow

EXIT_OK, EXIT_NEGATIVE, EXIT_SAFETY = 0, 1, 7
FRAME = struct.Struct(">II")  # length, crc32 (docs/wire.md: journal)
HEIGHTS = 30
NODE, KILLED = "n1", "n2"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A testnet that talked, lost a node, saw a refusal, got it back, and is stopped."""
    with Cluster(tmp_path_factory.mktemp("e2e"), "-n", 4, "--slots", 40) as cluster:
        cluster.play(delay_ms=0)
        cluster.above(HEIGHTS)
        cluster.ok("testnet", "node", "kill", KILLED)
        cluster.send("token", "Transfer", "to=@bob", "amount=5")
        refused = cluster.command("send", "token", "Transfer", "to=@bob", f"amount={10**15}")
        assert refused.code == EXIT_OK, "handed in; its receipt says no"
        cluster.ok("testnet", "node", "restart", KILLED)
        cluster.everywhere(cluster.height() + 2)
        cluster.down()
        yield cluster


class Record(NamedTuple):
    """One record of a journal's file."""

    at: int  # of its frame
    raw: bytes

    @property
    def event(self) -> list:
        """[sequence, [monotonic_ms, clock_ms], event, digest of effects]."""
        return libipld.decode_dag_cbor(self.raw)


def records(path: Path) -> list[Record]:
    content, found, at = path.read_bytes(), [], 0
    while at + FRAME.size <= len(content):
        length, checksum = FRAME.unpack_from(content, at)
        raw = content[at + FRAME.size : at + FRAME.size + length]
        assert crc32(raw) == checksum, "a stopped node leaves whole records"
        found.append(Record(at, raw))
        at += FRAME.size + length
    return found


def of_class(path: Path, name: str) -> list[Record]:
    """Events of one class: their bytes are ["o", class, field, …]."""
    events = records(path)[1:]
    return [one for one in events if libipld.decode_dag_cbor(one.event[2])[1] == name]


def replay(folder: Path) -> Answer:
    return run(folder, "node", "replay", folder, "--json")


@pytest.fixture
def copy(stopped, tmp_path):
    """The node's folder, to be spoiled; and its journal's newest file."""
    folder = tmp_path / NODE
    shutil.copytree(stopped.folder / NODE, folder)
    return folder, max((folder / "journal").iterdir())


def write(path: Path, record: Record, raw: bytes) -> None:
    """Another record of the same length in its place, with a checksum that fits."""
    assert len(raw) == len(record.raw)
    with path.open("r+b") as file:
        file.seek(record.at)
        file.write(FRAME.pack(len(raw), crc32(raw)) + raw)


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


@pytest.mark.parametrize("node", [NODE, KILLED, "n3", "n4"])
def test_the_same_events_give_the_same_effects(stopped, node):
    answer = replay(stopped.folder / node)
    assert answer.code == EXIT_OK, answer
    assert answer.data["identical"] is True and answer.data["difference"] is None
    assert answer.data["height"] >= HEIGHTS
    assert answer.data["segments"] == (2 if node == KILLED else 1)
    kept = sum(len(records(p)) - 1 for p in (stopped.folder / node / "journal").iterdir())
    assert answer.data["events"] == kept > HEIGHTS


def test_another_digest_of_effects_is_found(copy):
    folder, path = copy
    record = records(path)[-5]
    digest = record.event[3]
    assert len(digest) == 32 and record.raw.endswith(digest)
    write(path, record, flipped(record.raw, len(record.raw) - 1))
    answer = replay(folder)
    assert answer.code == EXIT_NEGATIVE, answer
    assert answer.data["identical"] is False
    assert answer.data["difference"]["sequence"] == record.event[0]
    assert answer.data["difference"]["segment"] == path.name


@pytest.mark.parametrize("nth", [0, 10, 20])
def test_another_event_is_found(copy, nth):
    """A signature that the node never made: what it would have sent is not what it sent."""
    folder, path = copy
    record = of_class(path, "Signed")[nth]
    event = record.event[2]
    write(path, record, flipped(record.raw, record.raw.index(event) + len(event) - 1))
    answer = replay(folder)
    assert answer.code == EXIT_NEGATIVE, answer
    assert answer.data["difference"]["event"] == "Signed"
    assert answer.data["difference"]["sequence"] == record.event[0]


def test_what_is_no_event_is_found(copy):
    folder, path = copy
    record = of_class(path, "VotesReceived")[0]
    write(path, record, record.raw.replace(b"VotesReceived", b"VotesReceiveX"))
    answer = replay(folder)
    assert answer.code == EXIT_SAFETY, answer
    assert answer.error["code"] == "journal_corrupt"
    assert f"event {record.event[0]}" in answer.error["message"]


def test_a_damaged_record_is_found_by_its_checksum(copy):
    folder, path = copy
    record = records(path)[-5]
    with path.open("r+b") as file:
        file.seek(record.at + FRAME.size + len(record.raw) // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    answer = replay(folder)
    assert answer.code == EXIT_SAFETY, answer
    assert f"byte {record.at}" in answer.error["message"]
    assert "delete" not in answer.error["hint"]
