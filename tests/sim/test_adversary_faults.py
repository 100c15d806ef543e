"""A worker that dies on one message at half of the validators: heights go on (execution §5)."""

from collections.abc import Sequence

import pytest

from consensus.effects import FACTS, VOTES
from consensus.ids import MessageId
from consensus.signing import CONFIRM
from consensus.standing import Machine
from testnet.sim.adversaries.poison import Poison
from testnet.sim.host import Host
from testnet.sim.wires import Packet
from tests.sim.adversary_stage import Stage

IDLE_S = 5.0  # what was under way has ended
LONGEST_S = 120.0
SKIPPED_S = 300.0  # rounds from the fourth on are rare: most heights are decided before
SIZES = pytest.mark.parametrize("nodes", [4, pytest.param(7, marks=pytest.mark.slow)])


def poisoned(nodes: int) -> tuple[Stage, Poison]:
    stage = Stage(["poison"], nodes=nodes, seed=1)
    stage.climb(2, within_s=60)
    poison = stage.adversaries[0]
    assert isinstance(poison, Poison)
    return stage, poison


def machine(host: Host) -> Machine:
    assert host.core is not None
    return host.core.engine.machine


@SIZES
def test_a_message_that_kills_workers_at_half_of_the_hosts_stops_nobody(nodes: int) -> None:
    stage, poison = poisoned(nodes)
    poison.send(stage.cluster.transfer(0, 1, 7))
    stage.climb(4, within_s=LONGEST_S)
    assert poison.acts["death"], "the workers died"
    stage.judge()


@SIZES
def test_it_stops_nobody_where_nothing_else_waits(nodes: int) -> None:
    """Whoever fails on it has nothing else to execute, and still has to end the round."""
    stage, poison = poisoned(nodes)
    stage.cluster.run(IDLE_S)
    height = stage.heights()
    poison.send(stage.cluster.transfer(0, 1, 7))
    assert stage.cluster.run(LONGEST_S, lambda: stage.heights() > height), stage.told()
    assert poison.acts["death"], "the workers died"
    stage.judge()


@SIZES
def test_what_a_quorum_confirmed_is_decided_though_half_cannot_execute_it_any_more(
    nodes: int,
) -> None:
    """Half are locked on it. The others confirmed it, saw no quorum, and were started again with
    workers that die on it: without their words nothing is ever decided, and they cannot execute."""
    stage, poison = poisoned(nodes)
    stage.cluster.run(IDLE_S)
    cluster, height = stage.cluster, stage.heights()
    well = [host for host in stage.honest if host not in poison.sick]
    deaf = {host.peer: None for host in poison.sick}

    def kept(packet: Packet) -> Sequence[int] | None:
        return () if packet.target in deaf and packet.name in (VOTES, FACTS) else None

    cluster.wires.scheduler = kept
    message = cluster.transfer(0, 1, 7)
    for host in stage.honest:
        cluster.submit(host, message)
    place = (height + 1, 0, CONFIRM)

    def locked() -> bool:
        said = all(machine(host).record.place >= place for host in stage.honest)
        return said and all(machine(host).record.lock is not None for host in well)

    assert cluster.run(LONGEST_S, locked), stage.told()
    poison.poison = MessageId(message.id)
    for host in poison.sick:
        cluster.crash(host.peer)
        cluster.restart(host.peer)
    cluster.wires.scheduler = None
    decided = cluster.run(LONGEST_S, lambda: all(len(host.disk.chain) > height for host in well))
    assert decided, stage.told()
    assert poison.acts["death"] and stage.heights() == height, "half hold a certificate, no state"
    assert [each.id for each in well[0].disk.chain[height][2]] == [message.id]
    poison.stop()
    stage.climb(2, within_s=LONGEST_S)
    stage.judge()


@pytest.mark.slow
@SIZES
def test_it_is_skipped_at_last_and_slows_no_later_height(nodes: int) -> None:
    """Else it waits in the pools of those who can execute it, and ends rounds until it expires."""
    stage, poison = poisoned(nodes)
    poison.send(stage.cluster.transfer(0, 1, 7))
    chain = stage.honest[0].disk.chain
    while not any(block.header.fields.skipped for block, _, _ in chain):
        stage.climb(1, within_s=LONGEST_S)
        assert stage.cluster.simulator.now_ms < 1_000 * SKIPPED_S, stage.told()
    (block,) = [block for block, _, _ in chain if block.header.fields.skipped]
    assert block.header.fields.skipped == (poison.poison,)
    assert poison.poison in block.body.messages, "its sender pays for it"
    stage.climb(20, within_s=30)
    stage.judge()
