"""One Byzantine peer of four: heights go on, nobody forks, what is wrong is blamed or evidence."""

from collections.abc import Callable

import pytest

from consensus.facts import DoubleProposal, Evidence, Fact, decode_fact
from testnet.sim.cluster import Cluster, Weather, small_parameters
from tests.sim.adversaries import Babbler, DoubleVoter, Falsifier, Forger, Mouth, TwoFaced
from tests.sim.scenes import Killer, Scene, calm_parameters, holding, seeds


def scene_with(
    seed: int, kind: Callable[[Cluster, object], Mouth], *, short: bool = False
) -> tuple[Scene, Mouth]:
    parameters = small_parameters(facts_max=64) if short else calm_parameters()
    cluster = Cluster(
        nodes=4,
        seed=seed,
        parameters=parameters,
        weather=Weather(loss=3, jitter_ms=20),
        hill_nonces=16 if short else 0,
    )
    scene = Scene(cluster, seed)
    liar = kind(cluster, scene.hosts[seed % 4])
    cluster.start()
    return scene, liar


def honest_end(scene: Scene, liar: Mouth) -> None:
    """All but the liar at one height, no word broken, and nobody honest blamed by the honest."""
    cluster, honest = scene.cluster, [h for h in scene.hosts if h is not liar.host]
    top = max(len(host.disk.chain) for host in honest)
    assert cluster.run(60.0, holding(honest, top)), scene.told()
    liar.host.halted = ""
    cluster.check()
    blamed = {peer for host in honest for peer, _ in host.blames}
    assert blamed <= {liar.host.peer, b""}, (scene.seed, [host.blames[:2] for host in honest])


def facts_of(scene: Scene) -> list[Fact]:
    chain = max((host.disk.chain for host in scene.hosts), key=len)
    return [decode_fact(raw) for block, _, _ in chain for raw in block.body.facts]


@pytest.mark.slow
def test_a_double_voter_is_evidence_and_loses_its_slots() -> None:
    for seed in seeds(2):
        scene, liar = scene_with(seed, DoubleVoter, short=True)
        scene.climb(20, within_s=300)
        evidence = [fact for fact in facts_of(scene) if isinstance(fact, Evidence)]
        assert {fact.peer for fact in evidence} == {liar.host.peer}, scene.told()
        honest = next(host for host in scene.hosts if host is not liar.host)
        assert honest.line is not None
        table = honest.line.tip.view.table
        assert table.epoch >= 1 and liar.host.peer not in table.weights
        honest_end(scene, liar)


@pytest.mark.slow
def test_a_proposer_that_shows_two_blocks_costs_no_fork_and_is_evidence() -> None:
    doubles = lies = 0
    for seed in seeds(4):
        scene, liar = scene_with(seed, TwoFaced)
        scene.climb(20, within_s=300)
        found = [fact for fact in facts_of(scene) if isinstance(fact, DoubleProposal)]
        assert {fact.peer for fact in found} <= {liar.host.peer}
        doubles += len(found)
        honest_end(scene, liar)
        rounds = [block.header.fields.round for block, _, _ in scene.hosts[0].disk.chain]
        assert sum(rounds) <= len(rounds) // 2, "it costs polls, rarely a round"
        lies += liar.lies
    assert (lies and doubles) or len(seeds(4)) == 1


@pytest.mark.slow
def test_who_proposes_invalid_blocks_is_blamed_and_heights_go_on() -> None:
    for seed in seeds(3):
        scene, liar = scene_with(seed, Falsifier)
        honest = [host for host in scene.hosts if host is not liar.host]
        for _ in range(60):
            scene.cluster.submit(honest[0], scene.cluster.transfer(0, 1, 1))
            scene.cluster.run(1.0)
            if all(len(host.disk.chain) >= 12 for host in honest):
                break
        assert min(len(host.disk.chain) for host in honest) >= 12, scene.told()
        causes = {cause for host in honest for peer, cause in host.blames if peer == liar.host.peer}
        assert causes == {"state_root"}
        honest_end(scene, liar)


@pytest.mark.slow
def test_garbage_is_blamed_and_heights_go_on() -> None:
    scene, liar = scene_with(1, Babbler)
    scene.climb(8, within_s=100)
    honest = [host for host in scene.hosts if host is not liar.host]
    assert all(any(peer == liar.host.peer for peer, _ in host.blames) for host in honest)
    honest_end(scene, liar)


@pytest.mark.slow
@pytest.mark.parametrize("place", range(3))
def test_a_forger_neither_halts_nor_holds_up_a_node_that_catches_up(place: int) -> None:
    cluster = Cluster(nodes=4, seed=5 + place, parameters=calm_parameters())
    scene = Scene(cluster, 5 + place)
    cluster.start()
    lagging, forger = scene.hosts[3], scene.hosts[place]
    scene.climb(1, within_s=20)
    cluster.crash(lagging.peer)
    scene.climb(30, within_s=100)
    lies = Forger(forger)
    cluster.restart(lagging.peer)
    assert cluster.run(30.0, holding([lagging], scene.height())), scene.told()
    assert lagging.halted == "" and lies.lies > 0
    scene.cluster.check()


LIARS = (DoubleVoter, TwoFaced, Falsifier, Babbler)


def two_of_seven(seed: int) -> None:
    """Two liars of any kind, loss, and a third peer killed now and then: agreement, progress."""
    cluster = Cluster(
        nodes=7,
        seed=seed,
        parameters=calm_parameters(),
        weather=Weather(loss=8, jitter_ms=60, duplicate=3),
    )
    scene = Scene(cluster, seed)
    liars = [LIARS[scene.dice.uint(len(LIARS))](cluster, scene.hosts[n]) for n in (0, 1)]
    killer = Killer(scene, kills_max=8, down_max=1, chance=40)
    cluster.start()
    scene.traffic(25.0)
    killer.stop()
    honest = scene.hosts[2:]
    assert not cluster.history.broken, (seed, cluster.history.broken[:2])
    before = max(len(host.disk.chain) for host in honest)
    for _ in range(120):
        cluster.submit(honest[0], cluster.transfer(0, 1, 1))
        if cluster.run(1.0, holding(honest, before + 3)):
            break
    assert holding(honest, before + 3)(), scene.told()
    for liar in liars:
        liar.host.halted = ""
    cluster.check()
    named = {peer for host in honest for peer, _ in host.blames}
    assert named <= {b"", *(liar.host.peer for liar in liars)}, seed


@pytest.mark.slow
def test_two_liars_of_seven_and_kills() -> None:
    for seed in seeds(2):
        two_of_seven(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(700, 740))
def test_two_liars_of_seven_over_many_seeds(seed: int) -> None:
    two_of_seven(seed)
