"""Kills at every durable effect, and faults of the sign record that the same checks must catch.

A failure names its seed; `APOCRYPH_SIM_SEED=N pytest tests/sim/test_sim_kills.py` runs it alone.
"""

from collections import Counter
from collections.abc import Callable

import pytest

from testnet.sim.cluster import Cluster, Weather
from testnet.sim.keys import SimSigner
from tests.sim.planted_signers import (
    ForgetfulSigner,
    LateSigner,
    LocklessSigner,
    StaleSigner,
    signers,
    unchecked_places,
)
from tests.sim.scenes import MODES, POINTS, ROUGH, kill_run, lock_run, seeds

KILLS_A_SEED = 18
SEEDS = 4
KILLS_MIN = 40
KILLS_S = 180.0  # at most: who starts again waits for tips, which get lost as all else
SLOW = Weather(loss=20, jitter_ms=800, duplicate=5)  # rounds fail: locks, valid values, Remember


def judged(seed: int, weather: Weather, down_max: int) -> Counter[tuple[str, str]]:
    """Kills, then peace: nothing broken, all at one height, and the chain goes on."""
    scene, killer = kill_run(
        seed, kills=KILLS_A_SEED, weather=weather, down_max=down_max, seconds=KILLS_S
    )
    scene.cluster.check()
    scene.climb(2, within_s=180)
    scene.settle()
    return Counter(killer.kills)


@pytest.mark.slow
def test_kills_lose_no_lock_and_sign_nothing_twice() -> None:
    """Of nodes under traffic, now and then, for seconds; `test_sim_cycles`: one after the other."""
    found: Counter[tuple[str, str]] = Counter()
    for seed in seeds(SEEDS):
        found += judged(seed, ROUGH, 1)
    if len(seeds(SEEDS)) == SEEDS:
        assert found.total() >= KILLS_MIN, found
        for point in POINTS:
            if point.__name__ != "Remember":  # rare here: the next test
                assert any(found[point.__name__, mode] for mode in MODES), point


@pytest.mark.slow
def test_kills_where_rounds_fail_and_two_of_four_are_down_at_once() -> None:
    found: Counter[tuple[str, str]] = Counter()
    for seed in seeds(3):
        found += judged(100 + seed, SLOW, 2)
    if len(seeds(3)) == 3:
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
@pytest.mark.parametrize("kind", [LateSigner, ForgetfulSigner, StaleSigner])
def test_a_planted_fault_of_the_record_is_caught(kind: type[SimSigner]) -> None:
    broken = broken_by_kills(signers(kind))
    assert any("two signed values" in each or "signed (" in each for each in broken), broken


@pytest.mark.slow
def test_a_place_that_is_not_checked_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    unchecked_places(monkeypatch)
    assert any("signed (" in each for each in broken_by_kills(signers(SimSigner)))


@pytest.mark.slow
def test_a_record_without_lock_is_caught() -> None:
    broken: list[str] = []
    for seed in range(1, 5):
        scene, _ = lock_run(seed, plant=signers(LocklessSigner))
        scene.cluster.run(12.0)
        broken += scene.cluster.history.broken
    assert any("lock broken" in each for each in broken), broken


def test_a_lost_lock_is_seen_when_the_node_starts() -> None:
    def plant(cluster: Cluster) -> None:
        for host in cluster.hosts.values():
            host.signer_class = LocklessSigner

    scene, _ = lock_run(1, plant=plant)
    assert any("lock lost" in each for each in scene.cluster.history.broken)
