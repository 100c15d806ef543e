"""The simulated disk: what survives a crash, what is refused, what is found by its checksum."""

from collections.abc import Callable

import pytest

from consensus.dice import Dice
from node.errors import SignRecordCorrupt, StoreCorrupt, StoreFull
from node.signfile import SignFile
from testnet.sim.disk import Crash, Disk, SimFile, SimStore
from testnet.sim.simulator import Chance


def chance() -> Chance:
    return Chance(Dice(bytes(32)))


def test_a_store_gives_back_what_was_written_in_order_of_keys() -> None:
    store = SimStore()
    store.write({b"Sb": b"2", b"Sa": b"1", b"Ba": b"x"}, durable=True)
    store.write({b"Sb": None, b"Sc": b"3"}, durable=True)
    assert store.scan(b"S") == [(b"Sa", b"1"), (b"Sc", b"3")]
    assert store.get_many([b"Sb", b"Ba", b"Zz"]) == [None, b"x", None]


def test_a_full_store_refuses_the_whole_batch_and_goes_on_when_there_is_room() -> None:
    disk = Disk()
    disk.store.write({b"Sa": b"1"}, durable=True)
    disk.set_full(True)
    with pytest.raises(StoreFull):
        disk.store.write({b"Sa": b"2", b"Sb": b"2"}, durable=True)
    assert disk.store.scan(b"S") == [(b"Sa", b"1")]
    disk.set_full(False)
    disk.store.write({b"Sa": b"3"}, durable=True)
    assert disk.store.get(b"Sa") == b"3"


def test_a_flipped_bit_is_found_when_read_and_when_opened_and_gone_when_written() -> None:
    store = SimStore()
    store.write({b"Sa": b"1", b"Sb": b"2"}, durable=True)
    store.open()
    store.flip(1)
    assert store.get(b"Sa") == b"1"
    for touch in (lambda: store.get(b"Sb"), lambda: store.scan(b"S"), store.open):
        with pytest.raises(StoreCorrupt):
            touch()
    store.write({b"Sb": b"4"}, durable=True)
    store.open()


def test_a_copy_of_a_disk_goes_its_own_way() -> None:
    disk = Disk()
    disk.store.write({b"Sa": b"1"}, durable=True)
    SignFile(disk.signs, name="one", create=True).save(b"record")
    copy = disk.copy()
    disk.store.write({b"Sa": b"2"}, durable=True)
    assert copy.store.get(b"Sa") == b"1"
    assert SignFile(copy.signs, name="two", create=False).record == b"record"


# ---- the sign record's file ---------------------------------------------------------------------


def test_a_sign_record_survives_a_crash_in_any_operation_with_any_sectors() -> None:
    """The record before, or the one that was being saved; after 2,000 crashes both were seen."""
    below, found = chance().below, {"old": 0, "new": 0}
    disk = SimFile()
    record = bytes(3_000)
    SignFile(disk, name="s", create=True).save(record)
    for number in range(2_000):
        file, coming = SignFile(disk, name="s", create=False), number.to_bytes(4, "big") * 900
        assert file.record == record
        disk.stop_after(below(5))
        try:
            file.save(coming)
        except Crash:
            pass
        disk.crash(below)
        after = SignFile(disk, name="s", create=False).record
        assert after in (record, coming), f"crash {number}: neither"
        found["old" if after == record else "new"] += 1
        record = coming if after == coming else record
    assert min(found.values()) > 200, found


def test_what_was_synced_is_there_whatever_is_torn_after_it() -> None:
    below = chance().below
    disk = SimFile()
    disk.replace(bytes(4_096))
    disk.write(0, b"\x01" * 1_024)
    disk.sync()
    torn: dict[bytes, None] = {}
    for _ in range(64):
        disk.write(1_024, b"\x02" * 1_024)
        disk.crash(below)
        raw = disk.read()
        assert raw is not None and raw[:1_024] == b"\x01" * 1_024
        torn[raw[1_024:2_048]] = None
        disk.replace(b"\x01" * 1_024 + bytes(3_072))
    assert len(torn) == 4, "two sectors, each old or new"


@pytest.mark.parametrize("flips", [1, 2])
def test_one_rotten_copy_is_repaired_and_two_are_refused(flips: int) -> None:
    disk = SimFile()
    SignFile(disk, name="s", create=True).save(b"record")
    raw = disk.read()
    assert raw is not None
    places = [20, len(raw) // 2 + 20][:flips]
    for place in places:
        disk.flip(place)
    if flips == 1:
        assert SignFile(disk, name="s", create=False).record == b"record"
        assert SignFile(disk, name="s", create=False).record == b"record"
    else:
        with pytest.raises(SignRecordCorrupt):
            SignFile(disk, name="s", create=False)


def test_a_full_file_system_is_a_typed_error_and_keeps_the_record() -> None:
    disk = SimFile()
    file = SignFile(disk, name="s", create=True)
    file.save(b"one")
    disk.full = True
    fails: Callable[[], None] = lambda: file.save(b"two")  # noqa: E731
    with pytest.raises(StoreFull):
        fails()
    disk.full = False
    assert SignFile(disk, name="s", create=False).record == b"one"
