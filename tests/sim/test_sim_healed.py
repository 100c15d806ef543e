"""Healed networks that once stood still: all honest are up and linked, the one liar is silent."""

from collections.abc import Sequence
from functools import partial

import pytest

from consensus.certificates import Vote
from consensus.effects import BLOCK, BODIES, MESSAGES, POLL, PROPOSALS
from consensus.signing import ACCEPT, CONFIRM
from testnet.sim.wires import Packet
from tests.sim.four import HIDDEN, Four, machine

DUMB_S = 400  # in one round: more resends than a signer has words


@pytest.mark.parametrize("value", ["block", "nil"])
def test_who_leaves_a_round_has_said_its_words_there(value: str) -> None:
    """One is shown the accept that ends a round, and nobody else is: it took its words along."""
    four = Four(1)
    four.start(lambda p: () if p.target == four.one.peer and p.name in HIDDEN else None)
    four.until(10, four.placed(CONFIRM, four.a, four.b))
    block = machine(four.a).standing.value
    for host in (four.a, four.b):
        four.say(host, "confirm", 0, block if value == "block" else None)
    four.until(10, four.placed(ACCEPT, four.a, four.b))
    four.say(four.one, "accept", 0, None)
    four.until(10, lambda: machine(four.one).standing.round >= 1)
    four.decides()


def test_words_that_are_said_again_use_nothing_up() -> None:
    """One is heard by nobody for minutes, all resend; then each new word has to count."""
    four = Four(1)

    def away(packet: Packet) -> Sequence[int] | None:
        return () if packet.source == four.one.peer and packet.name in ("votes", "facts") else None

    four.start(away)
    four.cluster.run(DUMB_S)
    four.decides()


def test_a_locked_block_that_others_dropped_is_fetched_from_its_holder() -> None:
    """The holder is locked and has not confirmed; the confirmers dropped it rounds ago, and their
    chain data, which had it still, were lost."""
    four = Four(1)
    cluster, one = four.cluster, four.one.peer
    dark = True

    def away(packet: Packet) -> Sequence[int] | None:
        if packet.source == one and packet.name in ("votes", "facts", PROPOSALS, MESSAGES):
            return ()
        if packet.target != one:
            return None
        if packet.name in (MESSAGES, PROPOSALS, "facts"):
            return ()
        if packet.name in (POLL, BLOCK, BODIES):
            return () if dark else None
        if packet.name != "votes":
            return None
        vote = Vote.decode(packet.data)
        return () if vote.round > 0 or vote.phase == "accept" else None

    four.start(away)
    four.until(10, four.placed(CONFIRM, four.a, four.b))
    block = machine(four.a).standing.value
    assert block is not None
    dark = False
    four.say(four.one, "confirm", 0, block)
    four.until(10, four.placed(ACCEPT, four.one))
    lock = machine(four.one).record.lock
    assert lock is not None and lock.block == block
    both = (four.a, four.b)

    def beyond(round_: int) -> bool:
        return all(machine(host).standing.round > round_ for host in both)

    for round_ in (0, 1):
        cluster.run(0.5)
        for host in both:
            for phase in ("confirm", "accept"):
                four.say(host, phase, round_, None)
        four.until(60, partial(beyond, round_))

    def alone(packet: Packet) -> Sequence[int] | None:
        if one not in (packet.source, packet.target):
            return None
        return None if packet.target == one and packet.name == "votes" else ()

    cluster.wires.scheduler = alone
    four.until(60, lambda: machine(four.one).standing.round >= 2)
    cluster.wires.scheduler = lambda p: (
        () if one in (p.source, p.target) and p.name != "facts" else None
    )
    cluster.run(60, lambda: all(machine(host).standing.shown for host in both))
    for host in both:
        cluster.crash(host.peer)
        host.disk.wipe_chain()
        cluster.restart(host.peer)
    four.decides()
