"""Healed networks that once stood still because of what one peer was told, or told nobody."""

from collections.abc import Sequence
from functools import partial
from itertools import combinations

import pytest

from consensus.block import Proposal
from consensus.certificates import Aggregate, Vote
from consensus.effects import BLOCK, CERT, FACTS, PROPOSALS, VOTES, Effect
from consensus.events import Event
from consensus.ids import Peer
from consensus.messages import Message
from consensus.signing import CONFIRM
from node.agents.screening import PROPOSALS_PER_SIGNER_MAX, VOTES_PER_SIGNER_MAX
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host
from testnet.sim.wires import Packet
from tests.sim.four import GENTLE, HIDDEN, Four, machine
from tests.sim.scenes import calm_parameters

DARK_ROUNDS = 3  # in which every owner proposed
DARK_S = 120.0


class Parrot:
    """Says to whoever enters a round all proposals of rounds long past, before any of that round
    comes, as often as their proposers have words. Anybody may do so: it needs no key.
    """

    def __init__(self, four: Four) -> None:
        self.four, self.said = four, 0
        self.active = False
        self._heard: dict[tuple[Peer, int], bytes] = {}
        self._rounds: dict[Peer, int] = {}
        wires = four.cluster.wires
        self._gossip = wires.gossip
        wires.gossip = self._listen  # type: ignore[method-assign]
        for host in four.honest:
            host.on_event = self._follow

    def _listen(self, source: Peer, topic: str, record: bytes) -> None:
        if topic == PROPOSALS:
            round_ = Proposal.decode(record).block.header.fields.round
            self._heard[source, round_] = record
        self._gossip(source, topic, record)

    def _follow(self, host: Host, event: Event, effects: Sequence[Effect]) -> None:
        standing = machine(host).standing
        if not self.active or standing.height > 1 or self._rounds.get(host.peer) == standing.round:
            return
        self._rounds[host.peer] = standing.round
        for (peer, round_), record in self._heard.items():
            if peer != host.peer and round_ < standing.round - 1:
                self.said += PROPOSALS_PER_SIGNER_MAX
                for _ in range(PROPOSALS_PER_SIGNER_MAX):
                    host.later(0, lambda record=record: self._say(host, record))  # type: ignore[misc]

    def _say(self, host: Host, record: bytes) -> None:
        host.hear(PROPOSALS, record, self.four.liar.peer)


def test_old_proposals_that_are_said_again_use_up_nobodys_new_ones() -> None:
    """Rounds went by in the dark; since then somebody repeats what was proposed in them. All blocks
    can be fetched again, but what proposers say has to be heard too, or rounds go by as before."""
    four = Four(1)
    parrot = Parrot(four)

    def entered(round_: int) -> bool:
        return all(machine(host).standing.round >= round_ for host in four.honest)

    four.start(lambda packet: () if packet.name in (PROPOSALS, BLOCK) else None)
    four.until(DARK_S, partial(entered, DARK_ROUNDS))
    parrot.active = True
    four.until(DARK_S, partial(entered, DARK_ROUNDS + 1))
    four.decides()
    assert parrot.said >= DARK_ROUNDS * len(four.honest) * PROPOSALS_PER_SIGNER_MAX


@pytest.mark.parametrize("lost", [None, FACTS])
def test_who_cannot_execute_a_certified_block_shows_its_certificate(lost: str | None) -> None:
    """One alone was shown the accept that certifies, and its host fails on the block: it votes no
    more, and the two others are too few without what it holds. They resend votes and the proof of
    their valid value; either tells it that they have no certificate."""
    four = Four(1)
    message = four.cluster.transfer(2, 3, 1)

    def dies(messages: Sequence[Message]) -> bool:
        return any(each.id == message.id for each in messages)

    four.one.faulting = dies
    four.start(lambda packet: () if packet.name == lost else None)
    four.cluster.submit(four.a, message)
    both = (four.a, four.b)
    four.until(20, four.placed(CONFIRM, *both))
    block = machine(four.a).standing.value
    assert block is not None and block == machine(four.b).standing.value, four.scene.told()
    for host in both:
        four.say(host, "confirm", 0, block)
    four.say(four.one, "accept", 0, block)
    four.until(30, lambda: all(host.disk.chain for host in both))
    sick = machine(four.one).standing
    assert sick.height == 1 and sick.certificate is not None, "it executes nothing still"
    four.one.faulting = lambda messages: False
    four.decides()


def test_two_that_restart_on_an_idle_chain_finish_what_they_confirmed() -> None:
    """Two of four confirmed a block that the third never held; both crash, and with them their
    pools: nothing is due any more, but what was confirmed is decided."""
    four = Four(1)
    four.start(lambda p: () if p.target == four.one.peer and p.name in HIDDEN else None)
    both = (four.a, four.b)
    four.until(10, four.placed(CONFIRM, *both))
    block = machine(four.a).standing.value
    for host in both:
        four.cluster.crash(host.peer)
    for host in both:
        four.cluster.restart(host.peer)
        assert not machine(host).pool_due
    four.decides()
    assert [host.disk.chain[0][0].id for host in four.honest] == 3 * [block]


class Sick:
    """One of four holds a certificate that its host cannot execute, and could show it to nobody."""

    def __init__(self) -> None:
        four = self.four = Four(1)
        message = four.cluster.transfer(2, 3, 1)
        four.one.faulting = lambda messages: any(each.id == message.id for each in messages)
        four.start(lambda packet: () if packet.name in (FACTS, CERT) else None)
        four.cluster.submit(four.a, message)
        both = (four.a, four.b)
        four.until(20, four.placed(CONFIRM, *both))
        block = machine(four.a).standing.value
        for host in both:
            four.say(host, "confirm", 0, block)
        four.say(four.one, "accept", 0, block)
        four.cluster.run(3)
        assert machine(four.one).standing.certificate is not None


def test_who_repeats_a_vote_keeps_nobody_from_a_certificate() -> None:
    """No round ends any more where it is held, so what is counted there is counted for good."""
    sick = Sick()
    one, b, liar = sick.four.one, sick.four.b, sick.four.liar
    votes = machine(one).standing.votes.tallies[0, "confirm"].votes
    for _ in range(2 * VOTES_PER_SIGNER_MAX):
        one.hear(VOTES, votes[b.peer].raw, liar.peer)
    before = machine(one).pushed_ms[b.peer]
    sick.four.cluster.run(5)
    assert machine(one).pushed_ms[b.peer] > before
    sick.four.cluster.wires.scheduler = None
    sick.four.until(30, lambda: all(host.disk.chain for host in (sick.four.a, b)))


def test_other_signers_of_a_known_quorum_are_worth_no_signature() -> None:
    """Ten can be combined to hundreds of aggregates, by whoever has heard their confirms."""
    cluster = Cluster(nodes=10, seed=3, parameters=calm_parameters(), weather=GENTLE)
    one = next(iter(cluster.hosts.values()))
    cluster.wires.scheduler = lambda packet: (
        () if packet.kind == "gossip" and accepts(packet) else None
    )
    cluster.start()
    cluster.submit(one, cluster.transfer(0, 1, 1))
    cluster.run(10, lambda: bool(machine(one).standing.votes.confirmed()))
    cluster.run(0.3)
    ((round_, block),) = machine(one).standing.votes.confirmed()
    confirms = machine(one).standing.votes.supporters(round_, "confirm", block)
    assert len(confirms) > 7
    for chosen in combinations(sorted(confirms, key=lambda vote: vote.peer), 7):
        assert one.hear(FACTS, Aggregate.of(list(chosen)).raw, confirms[0].peer) == "ignore"


def accepts(packet: Packet) -> bool:
    return packet.name == VOTES and Vote.decode(packet.data).phase == "accept"
