"""Bad weather: loss, delay, partitions, mute and late nodes; ends with equal roots (protocol §12).

A failure names its seed; `APOCRYPH_SIM_SEED=N pytest tests/sim/test_sim_weather.py` runs it alone.
"""

from itertools import pairwise

import pytest

from consensus.ids import MessageId, Peer
from consensus.parameters import Parameters
from node.execution.registry import demo_agents
from testnet.sim.cluster import Cluster, Weather, small_parameters
from tests.sim.scenes import ROUGH, Scene, calm_parameters, holding, seeds


def scene_of(seed: int, nodes: int = 4, *, weather: Weather | None = None, late: int = 0) -> Scene:
    parameters: Parameters = calm_parameters()
    cluster = Cluster(
        nodes=nodes, seed=seed, parameters=parameters, weather=weather or Weather(), late=late
    )
    return Scene(cluster, seed)


def end(scene: Scene) -> None:
    """Equal heights and roots, one certificate a height, no double signature, nobody blamed."""
    scene.settle()
    chains = [[block.id for block, _, _ in host.disk.chain] for host in scene.hosts if host.up]
    assert all(chain == chains[0] for chain in chains), scene.told()
    assert scene.cluster.blames() == [], (scene.seed, scene.cluster.blames()[:3])


def loss_and_partition(nodes: int, seed: int) -> None:
    """Rough weather; the net falls in two halves, none of which can certify; then it heals."""
    scene = scene_of(seed, nodes, weather=ROUGH)
    scene.cluster.start()
    scene.climb(3, within_s=60)
    peers = list(scene.cluster.hosts)
    scene.cluster.isolate(peers[: nodes // 2], peers[nodes // 2 :])
    before = scene.height()
    scene.traffic(8.0)
    if nodes == 4:  # two against two: what was under way may end, no more
        assert scene.height() <= before + 1, scene.told()
    scene.cluster.heal()
    scene.climb(3, within_s=90)
    end(scene)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [4, 7])
def test_loss_delay_duplicates_and_a_partition_that_heals(nodes: int) -> None:
    for seed in seeds(6 if nodes == 4 else 3):
        loss_and_partition(nodes, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(500, 560))
@pytest.mark.parametrize("nodes", [4, 7])
def test_partitions_over_many_seeds(nodes: int, seed: int) -> None:
    loss_and_partition(nodes, seed)


def test_calm_weather_certifies_every_height_in_round_0() -> None:
    scene = scene_of(1)
    scene.cluster.start()
    scene.climb(10, within_s=30)
    end(scene)
    rounds = [block.header.fields.round for block, _, _ in scene.hosts[0].disk.chain]
    assert not any(rounds)


def test_a_quiet_chain_stays_quiet() -> None:
    scene = scene_of(2)
    scene.cluster.start()
    scene.climb(2, within_s=20)
    scene.settle()
    height, signed = scene.height(), scene.cluster.history.signatures
    scene.cluster.run(10.0)
    steps = scene.cluster.simulator.steps
    scene.cluster.run(300.0)
    assert scene.height() == height
    assert scene.cluster.history.signatures == signed
    assert scene.cluster.simulator.steps - steps <= 8, "timers go on without a reason"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["deaf", "dumb"])
def test_a_one_way_partition_stops_nobody_else(way: str) -> None:
    """One node that hears and is not heard, or the other way; then it heals."""
    for seed in seeds(3):
        scene = scene_of(seed)
        scene.cluster.start()
        scene.climb(2, within_s=20)
        one = scene.hosts[seed % 4].peer

        def cut(source: Peer, target: Peer, one: Peer = one) -> bool:
            return (target if way == "deaf" else source) == one

        scene.cluster.cut = cut
        others = [host for host in scene.hosts if host.peer != one]
        before = len(others[0].disk.chain)
        for _ in range(20):
            scene.cluster.submit(others[0], scene.cluster.transfer(0, 1, 1))
            scene.cluster.run(2.0)
        assert min(len(host.disk.chain) for host in others) >= before + 8, scene.told()
        scene.cluster.heal()
        scene.climb(2, within_s=60)
        end(scene)


@pytest.mark.slow
def test_heights_go_on_with_a_quarter_of_the_slots_mute() -> None:
    """≥ 20 heights a minute with one of four paused; it catches up when it goes on."""
    scene = scene_of(3)
    scene.cluster.start()
    scene.climb(2, within_s=20)
    mute = scene.hosts[1]
    mute.paused = True
    awake = [host for host in scene.hosts if host is not mute]
    before, started = scene.height(), scene.cluster.simulator.now_ms
    while scene.cluster.simulator.now_ms < started + 60_000:
        scene.cluster.submit(awake[0], scene.cluster.transfer(0, 1, 1))
        target = min(len(host.disk.chain) for host in awake) + 1
        scene.cluster.run(10.0, holding(awake, target))
    gained = min(len(host.disk.chain) for host in awake) - before
    assert gained >= 20, f"{gained} heights in a minute; {scene.told()}"
    mute.resume()
    scene.settle()
    end(scene)


@pytest.mark.slow
def test_a_lagging_node_catches_up_by_height_on_a_quiet_chain() -> None:
    """Nobody speaks any more when it comes back: only tips can tell it."""
    for seed in seeds(3):
        scene = scene_of(seed, weather=Weather(loss=10))
        scene.cluster.start()
        scene.climb(1, within_s=20)
        lagging = scene.hosts[2]
        scene.cluster.crash(lagging.peer)
        scene.climb(40, within_s=400)
        others = [host for host in scene.hosts if host is not lagging]
        scene.cluster.run(30.0)
        level = max(len(host.disk.chain) for host in others)
        scene.cluster.restart(lagging.peer)
        assert scene.cluster.run(60.0, holding([lagging], level)), scene.told()
        scene.cluster.check()


@pytest.mark.slow
def test_all_restart_at_once_and_go_on() -> None:
    for seed in seeds(3):
        scene = scene_of(seed)
        scene.cluster.start()
        scene.climb(3, within_s=20)
        scene.send()
        scene.cluster.run(0.03 * seed)
        for host in scene.hosts:
            scene.cluster.crash(host.peer)
        for host in scene.hosts:
            scene.cluster.restart(host.peer)
        scene.climb(3, within_s=60)
        end(scene)


@pytest.mark.slow
def test_a_late_joiner_follows_from_genesis() -> None:
    """A node without slots: it hears, fetches by height, checks certificates, signs nothing."""
    scene = scene_of(4, late=1)
    scene.cluster.start()
    scene.climb(20, within_s=60)
    follower = scene.hosts[-1]
    scene.cluster.restart(follower.peer)
    scene.climb(3, within_s=60)
    end(scene)
    assert follower.peer not in scene.cluster.history.signed


@pytest.mark.slow
def test_epochs_change_and_a_mined_claim_changes_an_owner() -> None:
    """Four owners and a miner without slots; by epoch 3 slots have moved, all agree on whose."""
    for seed in seeds(2):
        cluster = Cluster(
            nodes=4,
            seed=seed,
            parameters=small_parameters(facts_max=64),
            weather=Weather(loss=5),
            hill_nonces=1024,
            late=1,
        )
        scene = Scene(cluster, seed)
        cluster.start()
        miner = scene.hosts[-1]
        miner.hill.nonces *= 4  # half of all hashes
        cluster.restart(miner.peer)
        first = cluster.spec.genesis_table().owners
        scene.climb(3 * 16 + 2, within_s=600)
        scene.settle()
        tables = [host.line.tip.view.table for host in scene.hosts if host.line is not None]
        assert {table.epoch for table in tables} == {3}
        assert len({table.hash for table in tables}) == 1, scene.told()
        moved = [slot for slot, owner in enumerate(tables[0].owners) if owner != first[slot]]
        assert moved, "no slot has changed its owner"
        assert miner.peer in tables[0].weights, "the miner has won a slot"
        rounds = [block.header.fields.round for block, _, _ in scene.hosts[0].disk.chain]
        assert sum(rounds) <= len(rounds) // 4, rounds


def test_clocks_that_are_seconds_apart_slow_nobody_for_long() -> None:
    """A proposal of a fast clock is a candidate only when ours is there; the next rank helps."""
    scene = scene_of(5)
    scene.hosts[0].skew_ms, scene.hosts[1].skew_ms = 3_000, -3_000
    scene.cluster.start()
    scene.climb(10, within_s=100)
    end(scene)


def test_with_a_heartbeat_an_idle_chain_makes_only_heartbeats() -> None:
    cluster = Cluster(nodes=4, seed=6, parameters=calm_parameters(heartbeat_s=2))
    scene = Scene(cluster, 6)
    cluster.start()
    cluster.run(41.0)
    times = [block.header.fields.time_ms for block, _, _ in scene.hosts[0].disk.chain]
    assert 15 <= len(times) <= 21, scene.told()
    assert all(b - a >= 2_000 for a, b in pairwise(times))
    rounds = [block.header.fields.round for block, _, _ in scene.hosts[0].disk.chain]
    assert not any(rounds)
    end_of_beats = [host for host in scene.hosts if len(host.disk.chain) < len(times) - 1]
    assert end_of_beats == []
    cluster.check()


@pytest.mark.slow
def test_two_agents_keep_the_chain_going_by_reminders_alone() -> None:
    """After the first message nobody sends; blocks come when a reminder is due, on bad links too.

    Messages that nobody may include lie in every pool: they must not cost the reminders.
    """
    for seed in seeds(2):
        cluster = Cluster(
            nodes=4,
            seed=seed,
            parameters=calm_parameters(),
            weather=Weather(loss=5 * (seed - 1)),
            agents=demo_agents()[1:],
        )
        scene = Scene(cluster, seed)
        cluster.start()
        start = cluster.message(
            0, "ping", "Start", {"delay_ms": 700, "rounds": 0}, gas=2_000, pay=10**9
        )
        for host in scene.hosts:
            cluster.submit(host, start)
        assert cluster.run(20.0, cluster.reached(3)), scene.told()
        never = start.id[:-1] + bytes((start.id[-1] ^ 1,))  # a message that does not exist
        broke = [cluster.message(3, "token", "Transfer", {}, after=MessageId(never))]
        for host in scene.hosts:
            for message in broke:
                cluster.submit(host, message)
        before = scene.height()
        assert cluster.run(90.0, cluster.reached(before + 40)), scene.told()
        inputs = [block.body.messages for block, _, _ in scene.hosts[0].disk.chain]
        assert sum(len(each) for each in inputs) == 1, "one account message in all"
        cluster.check()
