"""Byzantine peers among kills and loss: heights go on, nobody forks, what is wrong is evidence.

The single attacks are in test_adversary_*; here liars of any kind meet nodes that crash.
"""

import pytest

from consensus.facts import Evidence
from testnet.sim.adversaries.mouth import Adversary
from testnet.sim.adversaries.proposers import Echoing, TwoBlocks
from testnet.sim.adversaries.replay import Babbler, StaleReplay
from testnet.sim.adversaries.silence import LyingHeight, WithheldCertificate
from testnet.sim.adversaries.voters import AlwaysMinority, DoubleVoter, TwoAnswers
from testnet.sim.cluster import Cluster, Weather, small_parameters
from tests.sim.adversary_stage import Stage
from tests.sim.scenes import Killer, Scene, calm_parameters, holding, seeds

LIARS: tuple[type[Adversary], ...] = (
    DoubleVoter,
    TwoBlocks,
    Echoing,
    Babbler,
    StaleReplay,
    TwoAnswers,
    AlwaysMinority,
    LyingHeight,
    WithheldCertificate,
)


@pytest.mark.slow
def test_a_double_voter_is_evidence_and_loses_its_slots() -> None:
    for seed in seeds(2):
        parameters = small_parameters(facts_max=64)
        stage = Stage(["double_voter"], seed=seed, parameters=parameters, hill_nonces=16)
        stage.climb(20, within_s=300)
        stage.judge()
        evidence = [fact for fact in stage.facts() if isinstance(fact, Evidence)]
        liar = stage.liars[0].peer
        assert {fact.peer for fact in evidence} == {liar}, stage.told()
        line = stage.honest[0].line
        assert line is not None
        table = line.tip.view.table
        assert table.epoch >= 1 and liar not in table.weights


@pytest.mark.slow
@pytest.mark.parametrize("place", range(3))
def test_a_forger_neither_halts_nor_holds_up_a_node_that_catches_up(place: int) -> None:
    """It hands out certified headers with other bodies, other heights, and tips far ahead."""
    cluster = Cluster(nodes=4, seed=5 + place, parameters=calm_parameters())
    scene = Scene(cluster, 5 + place)
    lagging, forger = scene.hosts[3], scene.hosts[place]
    liar = LyingHeight(cluster, forger, scene.dice.child("liar"))
    liar.stop()  # until somebody is behind
    cluster.start()
    scene.climb(1, within_s=20)
    cluster.crash(lagging.peer)
    scene.climb(30, within_s=100)
    liar.active = True
    cluster.restart(lagging.peer)
    assert cluster.run(30.0, holding([lagging], scene.height())), scene.told()
    assert lagging.halted == "" and liar.acts["block"] > 0
    scene.cluster.check()


def two_of_seven(seed: int) -> int:
    """Two liars of any kind, loss, and a third peer killed now and then: agreement, progress.

    Returns how often they did what they are for: it may be never, for want of an occasion.
    """
    cluster = Cluster(
        nodes=7,
        seed=seed,
        parameters=calm_parameters(),
        weather=Weather(loss=8, jitter_ms=60, duplicate=3),
    )
    scene = Scene(cluster, seed)
    liars = [
        LIARS[scene.dice.uint(len(LIARS))](cluster, scene.hosts[n], scene.dice.child(f"liar {n}"))
        for n in (0, 1)
    ]
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
    return sum(sum(liar.acts.values()) for liar in liars)


@pytest.mark.slow
def test_two_liars_of_seven_and_kills() -> None:
    for seed in seeds(2):
        assert two_of_seven(seed) > 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(700, 740))
def test_two_liars_of_seven_over_many_seeds(seed: int) -> None:
    two_of_seven(seed)
