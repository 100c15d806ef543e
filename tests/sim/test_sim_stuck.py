"""Rounds that once never ended, though everybody honest was up: found by siege 3030 (wild)."""

from collections.abc import Sequence

import pytest

from consensus.effects import BLOCK, BODIES, MESSAGES, PROPOSALS, Effect, Sign
from consensus.signing import ACCEPT, CONFIRM
from testnet.sim import trial
from testnet.sim.adversaries.pen import Pen
from testnet.sim.adversaries.silence import Mute
from testnet.sim.cluster import Cluster, Weather
from testnet.sim.host import Host
from testnet.sim.sieges import siege
from testnet.sim.wires import Packet
from tests.sim.scenes import Scene, calm_parameters

GENTLE = Weather(delay_ms=5, jitter_ms=5)


def four(seed: int) -> Scene:
    cluster = Cluster(nodes=4, seed=seed, parameters=calm_parameters(), weather=GENTLE)
    return Scene(cluster, seed)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_confirm_shown_to_one_alone_does_not_hold_up_a_round(seed: int) -> None:
    """One is shown a liar's confirm while it has nothing to confirm itself, and accepts nil: it has
    to confirm nil first, or the two others wait for a quorum of confirms for ever."""
    scene = four(seed)
    cluster, (liar, late, *others) = scene.cluster, scene.hosts
    mute = Mute(cluster, liar, scene.dice.child("mute"))

    def away(packet: Packet) -> Sequence[int] | None:
        """The late one learns of no message and of no block."""
        return () if packet.target == late.peer and packet.name in HIDDEN else None

    cluster.wires.scheduler = away
    cluster.start()
    cluster.submit(others[0], cluster.transfer(0, 1, 1))
    cluster.run(6.0, lambda: cluster.history.signatures >= 3)
    word = Pen(cluster, liar).vote_at("confirm", 1, 0, None)
    cluster.wires.say(liar.peer, late.peer, "votes", word)
    assert late.core is not None
    machine = late.core.engine.machine
    assert cluster.run(6.0, lambda: machine.record.place >= (1, 0, ACCEPT)), scene.told()
    cluster.wires.scheduler = None
    honest = [late, *others]
    assert cluster.run(30.0, lambda: all(host.disk.chain for host in honest)), scene.told()
    cluster.check()
    assert mute.lies


HIDDEN = (MESSAGES, PROPOSALS, BLOCK, BODIES)


@pytest.mark.parametrize("phase", [CONFIRM, ACCEPT])
def test_who_fetched_its_chain_anew_says_again_what_it_signed(phase: int) -> None:
    """Its sign record forbids other words; three of four nodes cannot do without it."""
    scene = four(phase)
    cluster, (gone, victim, *_) = scene.cluster, scene.hosts
    cluster.start()
    cluster.crash(gone.peer)
    scene.climb(2, within_s=30)
    after, fallen = victim.on_performed, list[int]()

    def performed(host: Host, effect: Effect) -> None:
        after(host, effect)
        if type(effect) is Sign and effect.phase == phase and not fallen:
            fallen.append(effect.height)  # durable, and nobody has heard of it
            cluster.crash(victim.peer)

    victim.on_performed = performed
    scene.send()
    assert cluster.run(10.0, lambda: bool(fallen)), scene.told()
    victim.disk.wipe_chain()
    cluster.restart(victim.peer)
    assert cluster.run(60.0, cluster.reached(fallen[0])), scene.told()
    cluster.check()


@pytest.mark.slow
def test_the_siege_that_found_both() -> None:
    outcome = trial.run(siege(3030, wild=True), 3030)
    assert outcome.clean, outcome.failures
