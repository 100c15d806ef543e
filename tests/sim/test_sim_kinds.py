"""Whole clusters of the other kinds of chain, and of one that goes on after a chain stopped
(protocol §3, §10)."""

from collections.abc import Sequence
from typing import Any

import pytest

from consensus import deciding, proposers
from consensus.certificates import Certificate
from consensus.effects import Ask, Execute
from consensus.encoding import Value
from consensus.events import CertificateReceived
from consensus.ids import Checkpoint, Height, Peer
from consensus.parameters import Parameters
from consensus.signatures import ACCEPT
from consensus.spec import ChainSpec
from consensus.tables import deal
from node.continuing import Stopped, draft, read_chain
from node.core import NodeCore
from node.execution.views import view
from testnet.sim.cluster import Cluster, Weather, small_parameters
from testnet.sim.host import Host
from tests.consensus.builders_chain import MiniChain
from tests.sim.scenes import LONG_EPOCHS, ROUGH, Scene, calm_parameters, seeds


def bare_parameters(**overrides: int) -> Parameters:
    return small_parameters(**{"beta": 30, "settle_base_ms": 4_000, **overrides})


def bare(seed: int, **fields: Any) -> Cluster:
    fields = {"nodes": 5, "parameters": bare_parameters(epoch_blocks=LONG_EPOCHS), **fields}
    return Cluster(seed=seed, consensus="probabilistic", **fields)


def same_blocks(cluster: Cluster) -> None:
    """Agreement by comparing: there are no certificates to look at."""
    chains = [[block.id for block, _, _ in host.disk.chain] for host in cluster.hosts.values()]
    longest = max(chains, key=len)
    assert all(chain == longest[: len(chain)] for chain in chains)
    assert all(
        certificate is None for h in cluster.hosts.values() for _, certificate, _ in h.disk.chain
    )
    assert not [host.halted for host in cluster.hosts.values() if host.halted]


# ---- solo ---------------------------------------------------------------------------------------


def test_one_peer_develops_alone_through_epochs_and_a_restart() -> None:
    cluster = Cluster(nodes=1, seed=1, consensus="solo", hill_nonces=64)
    scene = Scene(cluster, 1)
    host = scene.hosts[0]
    asked: list[Ask] = []
    host.on_effect = lambda _, effect: asked.append(effect) if isinstance(effect, Ask) else None
    cluster.start()
    scene.climb(20, within_s=40.0)
    cluster.crash(host.peer)
    cluster.restart(host.peer)
    scene.climb(20, within_s=40.0)
    cluster.check()
    assert not asked, "there is nobody to ask"
    core = host.core
    assert core is not None and core.engine.machine.standing.epoch == 2
    assert core.engine.machine.tip.view.table.weights == {host.peer: 60}
    assert core.engine.machine.standing.round == 0
    certificates = [certificate for _, certificate, _ in host.disk.chain]
    assert all(c is not None and len(c.signatures) == 1 for c in certificates)


def test_a_follower_of_a_solo_chain_has_the_same_roots() -> None:
    cluster = Cluster(nodes=1, late=1, seed=2, consensus="solo")
    scene = Scene(cluster, 2)
    cluster.start()
    scene.climb(5, within_s=20.0)
    cluster.restart(scene.hosts[1].peer)
    assert cluster.run(20.0, cluster.reached(scene.height()))
    cluster.check()


# ---- probabilistic ------------------------------------------------------------------------------


def test_snowball_alone_decides_and_all_have_the_same_blocks() -> None:
    cluster = bare(3)
    scene = Scene(cluster, 3)
    cluster.start()
    scene.climb(6, within_s=60.0)
    same_blocks(cluster)
    quiet = scene.height()
    cluster.run(30.0)
    assert scene.height() == quiet, "nothing due, nothing made"


def test_who_was_away_catches_up_by_its_own_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "RECENT_HEIGHTS", 2)  # what is older, the store answers
    cluster = bare(4, nodes=12, late=1)
    scene = Scene(cluster, 4)
    *_, away, late = scene.hosts
    cluster.start()
    cluster.crash(away.peer)
    scene.climb(6, within_s=100.0)
    cluster.restart(away.peer)
    cluster.restart(late.peer)
    assert cluster.run(60.0, cluster.reached(scene.height())), scene.told()
    same_blocks(cluster)
    core = late.core
    assert core is not None and core.engine.machine.weight == 0, "it owns nothing and follows"


def test_who_catches_up_is_not_led_astray_by_one_liar() -> None:
    """The liar hands out another valid block of each height, and answers polls with it."""
    cluster = bare(5, nodes=7)
    scene = Scene(cluster, 5)
    liar, *_, away = scene.hosts
    cluster.start()
    cluster.crash(away.peer)
    scene.climb(4, within_s=60.0)
    cluster.restart(away.peer)
    core = away.core
    assert core is not None
    executed: list[object] = []
    away.on_effect = lambda _, effect: (
        executed.append(effect.block.id) if isinstance(effect, Execute) else None
    )
    false = misled(cluster, liar, away)
    assert cluster.run(60.0, cluster.reached(scene.height())), scene.told()
    same_blocks(cluster)
    assert false and any(block in executed for block in false), "it was shown, and executed"


def misled(cluster: Cluster, liar: Host, victim: Host) -> list[object]:
    """The liar says that height 1 is another block of its own; the ids that it made up."""
    from consensus.effects import Build
    from consensus.ids import Epoch, Round
    from node.execution.genesis import genesis_parent
    from node.execution.line import Line
    from node.speech import Held

    spec = cluster.spec
    parent = genesis_parent(spec)
    ranking = parent.view.ranking(parent.header.fields.randomness, 0)
    rank = [peer for peer, _ in ranking].index(liar.peer)
    seed = proposers.hash_chain_seed(cluster.keys.secrets[liar.peer], spec.seed, 0)
    link = proposers.hash_chain(seed, spec.seed, liar.peer, spec.parameters.epoch_blocks + 1)[1]
    message = cluster.transfer(0, 1, 77)
    built = Line(spec, parent).build(
        Build(
            parent=parent.header.id,
            parent_certificate=b"",
            height=Height(1),
            round=Round(0),
            epoch=Epoch(0),
            proposer_slot=ranking[rank][1],
            rank=rank,
            time_ms=spec.genesis_time_ms + 1,
            reveal=link,
            facts=(),
            messages=(message,),
            skip=(),
        )
    )
    block = built.block
    assert block is not None
    true = liar.talk.certified
    bodies = liar.talk.bodies

    def certified(height: int) -> Held | None:
        return Held(block, b"", None) if height == 1 else true(height)

    liar.talk.certified = certified  # type: ignore[method-assign]
    liar.talk.bodies = lambda ids: (  # type: ignore[method-assign]
        [message.raw] if message.id in ids else bodies(ids)
    )
    return [block.id]


@pytest.mark.slow
def test_epochs_change_without_accepts() -> None:
    """Who renews stays: there is no certificate to prove a life by."""
    cluster = bare(6, parameters=bare_parameters(), hill_nonces=64)
    scene = Scene(cluster, 6)
    cluster.start()
    scene.climb(36, within_s=300.0)
    same_blocks(cluster)
    tables = [h.core.engine.machine.tip.view.table for h in scene.hosts if h.core is not None]
    assert len({table.hash for table in tables}) == 1
    assert tables[0].epoch >= 2 and len(tables[0].weights) == 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(1))
def test_in_bad_weather_the_same_blocks_with_all_odds(seed: int) -> None:
    cluster = bare(seed, weather=ROUGH)
    scene = Scene(cluster, seed)
    cluster.start()
    scene.traffic(60.0)
    cluster.wires.weather = Weather()
    cluster.run(60.0)
    assert scene.height() >= 5, scene.told()
    same_blocks(cluster)


def test_a_journal_of_either_kind_replays() -> None:
    for kind, nodes, parameters in (
        ("solo", 1, small_parameters()),
        ("probabilistic", 5, bare_parameters()),
    ):
        cluster = Cluster(nodes=nodes, seed=8, consensus=kind, parameters=parameters)
        scene = Scene(cluster, 8)
        host = scene.hosts[0]
        host.records = []
        cluster.start()
        assert host.core is not None
        head, start = host.core.snapshot(), len(host.records)
        scene.climb(3, within_s=60.0)
        twin = NodeCore.restore(head)
        for now, event, effects in host.records[start:]:
            assert twin.handle(event, now) == effects
        assert twin.height == host.core.height >= 4


# ---- a chain that stopped for good --------------------------------------------------------------


class Continued(Cluster):
    """New owners on the state of a chain that stopped."""

    def __init__(self, stopped: Stopped, *, seed: int, nodes: int, clock_ms: int) -> None:
        self.stopped, self.clock_ms = stopped, clock_ms
        super().__init__(nodes=nodes, seed=seed)
        self.world.snapshot = stopped.snapshot
        self.run((clock_ms - self.simulator.now().clock_ms) / 1000 + 1.0)

    def _spec(
        self,
        peers: list[Peer],
        parameters: Parameters,
        agents: tuple[tuple[str, str, bytes], ...],
    ) -> ChainSpec:
        made = draft(self.stopped, genesis_time_ms=self.clock_ms, nonce=bytes(15) + b"2")
        owners = deal(made.parameters.slots, peers)
        return ChainSpec.of(made, [(owner, self.commitment(made.seed, owner)) for owner in owners])

    def commitment(self, seed: bytes, peer: Peer) -> Any:
        parameters = self.stopped.spec.parameters
        start = proposers.hash_chain_seed(self.keys.secrets[peer], seed, 0)
        return proposers.hash_chain(start, seed, peer, parameters.epoch_blocks + 1)[0]


def balances(host: Host, cluster: Cluster) -> Sequence[Value]:
    line = host.line
    token = cluster.spec.agent_named("token")
    assert line is not None and token is not None
    return [
        view(cluster.spec, line.tip.state, token, "balance", {"owner": bytes(account)})
        for account in cluster.accounts
    ]


def test_a_chain_that_lost_more_than_a_third_for_good_goes_on_as_a_new_one() -> None:
    cluster = Cluster(nodes=4, seed=11, parameters=calm_parameters())
    scene = Scene(cluster, 11)
    cluster.start()
    scene.climb(5, within_s=60.0)
    scene.settle()
    lost = scene.hosts[2:]
    for host in lost:
        cluster.crash(host.peer)
    stood = scene.height()
    cluster.submit(scene.hosts[0], cluster.transfer(0, 1, 999))
    cluster.run(120.0)
    assert scene.height() == stood, "half of the slots decide nothing"
    survivor = scene.hosts[0]
    before = balances(survivor, cluster)
    stopped = read_chain(survivor.chain, cluster.spec, cluster.keys)
    assert stopped.continues.height == stood

    clock_ms = cluster.simulator.now().clock_ms
    again = Continued(
        stopped, seed=11, nodes=3, clock_ms=clock_ms
    )  # two survivors, one of the lost
    assert again.spec.id != cluster.spec.id
    more = Scene(again, 11)
    again.start()
    assert [balances(host, again) for host in more.hosts] == [before] * 3
    more.climb(4, within_s=60.0)
    more.settle()
    assert balances(more.hosts[0], again) != before, "life goes on"
    fresh = more.hosts[0]
    again.crash(fresh.peer)
    again.restart(fresh.peer)  # from its disk: the genesis is not made again
    more.climb(2, within_s=60.0)


# ---- checkpoints and forks ----------------------------------------------------------------------


def test_a_follower_stops_where_its_checkpoint_is_contradicted() -> None:
    cluster = Cluster(nodes=4, late=2, seed=12, parameters=calm_parameters())
    scene = Scene(cluster, 12)
    *_, right, wrong = scene.hosts
    cluster.start()
    scene.climb(5, within_s=60.0)
    chain = scene.hosts[0].disk.chain
    for host, block in ((right, chain[2][0]), (wrong, chain[1][0])):
        cluster.restart(host.peer)
        assert host.core is not None
        host.core.engine.machine.checkpoint = Checkpoint(Height(3), block.id)
    cluster.run(20.0)
    assert len(right.disk.chain) == scene.height() and not right.halted
    assert len(wrong.disk.chain) == 2 and "checkpoint" in wrong.halted


def test_two_certificates_of_one_height_stop_who_sees_both() -> None:
    """More than a third sign two blocks; whoever is shown both stops and keeps both."""
    cluster = Cluster(nodes=4, seed=13, parameters=calm_parameters())
    scene = Scene(cluster, 13)
    cluster.start()
    scene.climb(3, within_s=60.0)
    scene.settle()
    tools = MiniChain(cluster.spec)
    block = scene.hosts[0].disk.chain[-1][0]
    votes = []
    for host in scene.hosts[1:]:
        vote = tools.accept(host.peer, block.header, block=block.header.fields.parent)
        signature = cluster.keys.sign(host.peer, vote.signed_bytes)
        votes.append(type(vote).decode(vote.raw[:-64] + signature))
    assert {vote.phase for vote in votes} == {ACCEPT}
    fork = Certificate.of(votes)
    victim = scene.hosts[0]
    victim.take(CertificateReceived(fork, scene.hosts[1].peer))
    assert "two certified blocks" in victim.halted
    stood = len(victim.disk.chain)
    scene.traffic(5.0)
    assert len(victim.disk.chain) == stood, "it chooses neither"
