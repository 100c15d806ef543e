"""A run as one digest. Same seed, same trace, on every Python.

`python -m tests.sim.trace SEED` prints that of a small cluster, `… SCENARIO SEED` that of a trial.
"""

import sys
from dataclasses import replace
from hashlib import sha256

from node import codec
from testnet.sim import scenario, trial
from testnet.sim.cluster import Cluster, Weather, small_parameters
from tests.sim.scenes import Killer, Scene


def traced(seed: int, *, seconds: float = 12.0) -> tuple[str, Scene]:
    """(digest of every event and effect of every host with its time, the scene)."""
    cluster = Cluster(
        nodes=4,
        seed=seed,
        parameters=small_parameters(facts_max=64),
        weather=Weather(loss=10, jitter_ms=60, duplicate=5),
        hill_nonces=64,
    )
    scene = Scene(cluster, seed)
    Killer(scene, kills_max=3, down_max=1, chance=40)
    for host in scene.hosts:
        host.records = []
    cluster.start()
    scene.traffic(seconds, step_s=0.5)
    digest = sha256()
    for host in scene.hosts:
        assert host.records is not None
        for step in host.records:
            digest.update(codec.to_bytes(tuple(step.now)))
            digest.update(codec.to_bytes(step.event))
            digest.update(codec.to_bytes(step.effects))
    return digest.hexdigest(), scene


def trial_lines(name: str, seed: int, *, faults_s: int = 6) -> list[str]:
    """The trace of a built-in scenario, its faults cut to some seconds."""
    chosen = scenario.parse(scenario.builtin(name), name)
    short = replace(chosen, nodes=(4,), phases=replace(chosen.phases, faults_s=faults_s))
    lines: list[str] = []
    outcome = trial.run(short, seed, trace=lines.append)
    assert outcome.clean, outcome.failures
    return lines


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(traced(int(sys.argv[1]))[0])
    else:
        text = "\n".join(trial_lines(sys.argv[1], int(sys.argv[2])))
        print(sha256(text.encode()).hexdigest(), text.count("\n") + 1)
