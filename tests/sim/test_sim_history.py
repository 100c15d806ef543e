"""The observer weighs words of every epoch by the table of that epoch."""

import pytest

from consensus.certificates import vote_unsigned
from consensus.effects import Sign
from consensus.ids import BlockId, Height, Round, content_id
from consensus.signing import ACCEPT, CONFIRM
from testnet.sim.cluster import Cluster, Weather, small_parameters
from testnet.sim.host import Host
from tests.sim.scenes import Scene, holding

EPOCH_BLOCKS = 16
OTHER = BlockId(content_id(b"a block that nobody confirmed"))
PHASES = {"confirm": CONFIRM, "accept": ACCEPT}


@pytest.fixture(scope="module")
def stage() -> Scene:
    """Four miners in their second epoch."""
    parameters = small_parameters(epoch_blocks=EPOCH_BLOCKS)
    cluster = Cluster(nodes=4, seed=5, parameters=parameters, weather=Weather(delay_ms=5))
    scene = Scene(cluster, 5)
    cluster.start()
    for _ in range(60):
        if scene.height() > EPOCH_BLOCKS:
            break
        scene.traffic(1.0)
    assert scene.height() > EPOCH_BLOCKS and cluster.history.broken == [], scene.told()
    assert cluster.run(30.0, holding(scene.hosts, scene.height())), scene.told()
    return scene


def word(scene: Scene, host: Host, phase: str, round_: int) -> Sign:
    """A word of a host for the block that nobody confirmed, at the height that it decides."""
    spec, height = scene.cluster.spec, Height(len(host.disk.chain) + 1)
    unsigned = vote_unsigned(
        phase,
        chain=spec.id,
        epoch=spec.parameters.epoch(height),
        height=height,
        round_=round_,
        block=OTHER,
        peer=host.peer,
    )
    return Sign(phase, height, Round(round_), PHASES[phase], unsigned, b"")


def test_an_accept_without_confirms_is_seen_in_a_later_epoch(stage: Scene) -> None:
    history, before = stage.cluster.history, len(stage.cluster.history.broken)
    assert stage.cluster.spec.parameters.epoch(stage.height()) >= 1
    history.record(stage.hosts[0], word(stage, stage.hosts[0], "accept", 7))
    assert [what.split(" at")[0] for what in history.broken[before:]] == [
        "accept without a quorum of confirms"
    ]


def test_three_of_four_confirms_are_a_quorum_of_a_later_epoch(stage: Scene) -> None:
    history, before = stage.cluster.history, len(stage.cluster.history.broken)
    for host in stage.hosts[1:]:
        history.record(host, word(stage, host, "confirm", 8))
    table = stage.hosts[1].core
    assert table is not None
    weights = table.engine.machine.standing.votes.weights
    enough = 3 * sum(weights[host.peer] for host in stage.hosts[1:]) > 2 * sum(weights.values())
    history.record(stage.hosts[1], word(stage, stage.hosts[1], "accept", 8))
    assert (len(history.broken) == before) is enough


def test_peers_that_decide_by_different_tables_are_seen(stage: Scene) -> None:
    history, host = stage.cluster.history, stage.hosts[2]
    epoch = stage.cluster.spec.parameters.epoch(len(host.disk.chain) + 1)
    before = len(history.broken)
    del history._learned[host.peer]
    held = dict(history._tables[epoch])
    history._tables[epoch] = held | {stage.hosts[0].peer: held[stage.hosts[0].peer] + 1}
    history.record(host, word(stage, host, "confirm", 9))
    assert any(
        what.startswith(f"another table of epoch {epoch}") for what in history.broken[before:]
    )
