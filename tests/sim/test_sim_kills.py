"""Kills at every durable effect, and faults of the sign record that the same checks must catch.

A failure names its seed; `APOCRYPH_SIM_SEED=N pytest tests/sim/test_sim_kills.py` runs it alone.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from consensus.ids import Height, Round
from consensus.signing import OWN_MAX, Own, SignRecord
from testnet.sim.cluster import Cluster, Weather
from testnet.sim.host import Disk
from tests.sim.scenes import MODES, POINTS, ROUGH, kill_run, lock_run, seeds

KILLS_A_SEED = 18
SEEDS = 14
SLOW = Weather(loss=20, jitter_ms=800, duplicate=5)  # rounds fail: locks, valid values, Remember


def judged(seed: int, weather: Weather, down_max: int) -> Counter[tuple[str, str]]:
    """Kills, then peace: nothing broken, all at one height, and the chain goes on."""
    scene, killer = kill_run(seed, kills=KILLS_A_SEED, weather=weather, down_max=down_max)
    scene.cluster.check()
    scene.climb(2, within_s=180)
    scene.settle()
    return Counter(killer.kills)


@pytest.mark.slow
@pytest.mark.parametrize("half", [0, 1])
def test_two_hundred_kills_lose_no_lock_and_sign_nothing_twice(half: int) -> None:
    """A hundred in each half."""
    found: Counter[tuple[str, str]] = Counter()
    for seed in seeds(SEEDS // 2):
        found += judged(half * SEEDS // 2 + seed, ROUGH, 1)
    if len(seeds(SEEDS // 2)) == SEEDS // 2:
        assert found.total() >= 100, found
        for point in POINTS:
            if point.__name__ != "Remember":  # rare here: the next test
                missing = [mode for mode in MODES if not found[point.__name__, mode]]
                assert not missing, (point, missing)


@pytest.mark.slow
def test_kills_where_rounds_fail_and_two_of_four_are_down_at_once() -> None:
    found: Counter[tuple[str, str]] = Counter()
    for seed in seeds(8):
        found += judged(100 + seed, SLOW, 2)
    if len(seeds(8)) == 8:
        assert any(point == "Remember" for point, _ in found), found


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1_000, 1_060))
def test_kills_over_many_seeds(seed: int) -> None:
    judged(seed, SLOW if seed % 2 else ROUGH, 1 + seed % 2)


@pytest.mark.slow
def test_a_lock_survives_a_kill_and_its_value_is_certified_or_disproved() -> None:
    locked = 0
    for seed in seeds(8):
        scene, _ = lock_run(seed)
        scene.cluster.run(12.0)
        scene.cluster.check()
        scene.cluster.heal()
        scene.climb(2, within_s=60)
        scene.settle()
        locked += scene.cluster.history.locked_restarts
    assert locked == len(seeds(8)), "every run restarts a locked peer"


# ---- planted faults -----------------------------------------------------------------------------


class LateDisk(Disk):
    """Fault: a signature leaves while its record is still on the way to the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: bytes | None = None

    def write_record(self, record: bytes) -> None:
        self.record, self.under_way = self.under_way or self.record, record


class LocklessDisk(Disk):
    """Fault: lock and valid value are not part of the record."""

    def write_record(self, record: bytes) -> None:
        self.record = replace(SignRecord.decode(record), lock=None, valid=None).raw


class ForgetfulDisk(Disk):
    """Fault: own bytes and their place are not kept: after a restart it decides anew."""

    def write_record(self, record: bytes) -> None:
        held = SignRecord.decode(record)
        fresh = SignRecord.fresh(held.chain, held.peer)
        self.record = replace(fresh, lock=held.lock, valid=held.valid).raw


class StaleDisk(Disk):
    """Fault: a restart finds an older record (a restored backup)."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write_record(self, record: bytes) -> None:
        self.written.append(record)

    def read_record(self) -> bytes | None:
        return self.written[-6] if len(self.written) >= 6 else None


def disks(kind: type[Disk]) -> Callable[[Cluster], None]:
    def plant(cluster: Cluster) -> None:
        cluster.history.starts_judged = False  # only what is signed may give it away
        for host in cluster.hosts.values():
            host.disk = kind()

    return plant


def unchecked_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault: anything not remembered may be signed, wherever it stands."""

    def allows(self: SignRecord, height: int, round_: int, phase: int) -> bool:
        return self.signed(height, round_, phase) is None

    def with_own(
        self: SignRecord, height: int, round_: int, phase: int, unsigned: bytes
    ) -> SignRecord:
        own = Own(Height(height), Round(round_), phase, unsigned)
        if own in self.own:
            return self
        here = replace(self, height=own.height, round=own.round, phase=phase)
        return replace(here, own=(*self.own, own)[-OWN_MAX:])

    monkeypatch.setattr(SignRecord, "allows", allows)
    monkeypatch.setattr(SignRecord, "with_own", with_own)


def broken_by_kills(plant: Callable[[Cluster], None]) -> list[str]:
    """What the kill suite says, over its first seeds."""
    for seed in range(1, 7):
        scene, _ = kill_run(seed, kills=30, plant=plant, weather=SLOW, down_max=2)
        if scene.cluster.history.broken:
            with pytest.raises(AssertionError, match="signed"):
                scene.cluster.check()
            return scene.cluster.history.broken
    return []


@pytest.mark.slow
@pytest.mark.parametrize("kind", [LateDisk, ForgetfulDisk, StaleDisk])
def test_a_planted_fault_of_the_record_is_caught(kind: type[Disk]) -> None:
    broken = broken_by_kills(disks(kind))
    assert any("two signed values" in each or "signed (" in each for each in broken), broken


@pytest.mark.slow
def test_a_place_that_is_not_checked_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    unchecked_places(monkeypatch)
    assert any("signed (" in each for each in broken_by_kills(disks(Disk)))


@pytest.mark.slow
def test_a_record_without_lock_is_caught() -> None:
    broken: list[str] = []
    for seed in range(1, 5):
        scene, _ = lock_run(seed, plant=disks(LocklessDisk))
        scene.cluster.run(12.0)
        broken += scene.cluster.history.broken
    assert any("lock broken" in each for each in broken), broken


def test_a_lost_lock_is_seen_when_the_node_starts() -> None:
    def plant(cluster: Cluster) -> None:
        for host in cluster.hosts.values():
            host.disk = LocklessDisk()

    scene, _ = lock_run(1, plant=plant)
    assert any("lock lost" in each for each in scene.cluster.history.broken)
