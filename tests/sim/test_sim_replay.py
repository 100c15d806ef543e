"""Same seed, same trace; the same events into a restored core give the same effects (§12)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from consensus.dice import Dice
from consensus.effects import WakeAt
from consensus.events import Woke
from node import codec
from node.core import NodeCore
from node.replay import digest
from testnet.sim.cluster import Cluster, Weather, small_parameters
from testnet.sim.host import Host
from tests.sim.scenes import Scene, calm_parameters, seeds
from tests.sim.trace import traced

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trace_and_another_another() -> None:
    one, scene = traced(3)
    assert traced(3)[0] == one
    assert traced(4)[0] != one
    assert scene.height() >= 5, scene.told()


@pytest.mark.slow
def test_the_trace_does_not_depend_on_the_hash_seed() -> None:
    """Two processes that hash strings and bytes differently."""
    found = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.sim.trace", "5"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        found.append(done.stdout)
    assert found[0] == found[1] != ""


# ---- replay -------------------------------------------------------------------------------------


def replay(snapshot: bytes, host: Host, start: int) -> int:
    """Feed the recorded events from `start` into a restored core; how many there were."""
    core = NodeCore.restore(snapshot)
    assert core.snapshot() == snapshot, "a restored core is the same"
    assert host.records is not None
    for place, step in enumerate(host.records[start:], start):
        event = codec.from_bytes(codec.to_bytes(step.event))
        answer = core.handle(event, step.now)
        assert digest(answer) == digest(step.effects), (place, type(event).__name__)
    assert host.core is not None
    assert core.snapshot() == host.core.snapshot(), "and ends the same"
    return len(host.records) - start


@pytest.mark.slow
def test_a_journal_replays_from_snapshots_taken_at_any_moment() -> None:
    """Loss, partitions, epochs and mined claims on the way."""
    replayed = 0
    for seed in seeds(1):
        cluster = Cluster(
            nodes=4,
            seed=seed,
            parameters=small_parameters(facts_max=64),
            weather=Weather(loss=12, jitter_ms=80, duplicate=5),
            hill_nonces=128,
        )
        scene, dice = Scene(cluster, seed), Dice(seed.to_bytes(32, "big")).child("snapshots")
        for host in scene.hosts:
            host.records = []
        cluster.start()
        taken: list[tuple[bytes, Host, int]] = []
        peers = list(cluster.hosts)
        for step in range(24):
            if step == 8:
                cluster.isolate(peers[:2], peers[2:])
            if step == 14:
                cluster.heal()
            scene.send()
            cluster.run(0.2 + dice.uint(1_000) / 1_000)
            host = scene.hosts[dice.uint(4)]
            if step % 2:
                continue
            assert host.core is not None and host.records is not None
            taken.append((host.core.snapshot(), host, len(host.records)))
        cluster.heal()
        scene.traffic(6.0)
        replayed += sum(replay(*each) for each in taken)
        assert scene.height() >= 10, scene.told()
    assert replayed > 5_000


# ---- timers -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_moves_by_time_that_did_not_ask_to_be_woken() -> None:
    """Woken every seven milliseconds without having asked, a core does nothing."""
    for seed in seeds(2):
        cluster = Cluster(
            nodes=4,
            seed=seed,
            parameters=calm_parameters(),
            weather=Weather(loss=15, jitter_ms=200),
        )
        scene = Scene(cluster, seed)
        asleep = 0

        def nudge(host: Host) -> int:
            core, now = host.core, cluster.simulator.now()  # noqa: B023
            if core is None or (core.wake_ms is not None and core.wake_ms <= now.monotonic_ms):
                return 0
            wake = core.wake_ms
            effects = core.handle(Woke(), now)
            assert [e for e in effects if type(e) is not WakeAt] == [], scene.told()  # noqa: B023
            assert core.wake_ms == wake, "nor does it want another time"
            return 1

        cluster.start()
        for _ in range(8):
            scene.send()
            for _ in range(250):
                cluster.run(0.007)
                asleep += sum(nudge(host) for host in scene.hosts)
        assert asleep > 3_000 and scene.height() >= 3, scene.told()
