"""Peers that gossip what they must not: dropped before costly work, counted, blamed or not.

Against four real validators; after each case an honest transfer is final everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from consensus import wire
from consensus.certificates import append_signature
from consensus.facts import SlotClaim, claim_unsigned, renew_unsigned
from consensus.messages import Reference
from consensus.signatures import ACCEPT
from network.limits import BAN_AT
from network.peers import Standing
from network.ports import Class
from node.agents.screening import VOTES_PER_SIGNER_MAX
from tests.hostile.hostilelab import Hostile, Lab, account_of, make_spec, until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
TRIES = 12  # of the same offence; a ban comes before
OTHER = make_spec(["n0"], name="another")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    lab = Lab(Path(tmp_path_factory.mktemp("lab")), minor="minor")
    try:
        await lab.start()
        await lab.finalizes(rounds=2)
        yield lab
    finally:
        await lab.stop()


class Case(NamedTuple):
    """What the victim gets `number` times, and the counter that tells of it."""

    topic: str
    data: Callable[[Hostile, int], bytes]
    counter: str
    signatures: int = 0  # that each may cost
    cls: Class | None = None


def next_height(hostile: Hostile) -> int:
    return hostile.lab.victim.core.height


def vote(hostile: Hostile, number: int) -> bytes:
    return hostile.vote(next_height(hostile), round_=number)


def unsigned_by_owner(hostile: Hostile, number: int) -> bytes:
    raw = hostile.vote(next_height(hostile), round_=number, key="n1")
    return raw[:-1] + bytes((raw[-1] ^ 1,))


def not_canonical(hostile: Hostile, number: int) -> bytes:
    """The same vote with its version written in two bytes."""
    raw = vote(hostile, number)
    return raw[:9] + b"\x18" + raw[9:]


def batch(hostile: Hostile, **changes: object) -> bytes:
    return wire.Batch.encode([hostile.lab.transfer(**changes).raw])


def claim(hostile: Hostile, *, chain: bytes, number: int) -> bytes:
    unsigned = claim_unsigned(
        chain=chain,
        epoch=1,
        peer=hostile.peer,
        nonce=number.to_bytes(16, "big"),
        commitment=bytes(32),
    )
    return SlotClaim.decode(append_signature(unsigned, bytes(64))).raw


def renewal(hostile: Hostile, *, chain: bytes, number: int, epoch: int = 5) -> bytes:
    unsigned = renew_unsigned(
        chain=chain, epoch=epoch, peer=hostile.peer, commitment=number.to_bytes(32, "big")
    )
    return append_signature(unsigned, bytes(64))


def forged_proposal(hostile: Hostile, number: int) -> bytes:
    """An owner's proposal for the deciding height whose signature is another."""
    raw = hostile.heard["proposals"][-1]
    return raw[:-2] + number.to_bytes(2, "big")


def elsewhere(hostile: Hostile) -> Reference:
    return Reference(OTHER.id, OTHER.agent_named("token"), None)


WRONG = {
    "vote not canonical": Case("votes", not_canonical, "refused_encoding_total"),
    "vote with a tail": Case("votes", lambda h, n: vote(h, n) + b"\0", "refused_encoding_total"),
    "vote cut off": Case("votes", lambda h, n: vote(h, n)[:-1], "refused_encoding_total"),
    "garbage": Case("facts", lambda h, n: bytes((255, n)) * 40, "refused_encoding_total"),
    "vote among messages": Case("messages", vote, "refused_encoding_total"),
    "vote in another class": Case("votes", vote, "refused_class_total", cls=Class.CONTENT),
    "message in the class of votes": Case(
        "messages", lambda h, n: batch(h), "refused_class_total", cls=Class.VOTE
    ),
    "vote signed by another": Case("votes", unsigned_by_owner, "refused_signature_total", 1),
    "vote of another chain": Case(
        "votes", lambda h, n: h.vote(1, round_=n, chain=OTHER.id), "refused_chain_total"
    ),
    "own key's vote of another chain": Case(
        "votes",
        lambda h, n: h.vote(10**6, round_=n, chain=OTHER.id, key="n0"),
        "refused_chain_total",
    ),
    "vote of another epoch": Case(
        "votes", lambda h, n: h.vote(next_height(h), round_=n, epoch=9), "refused_place_total"
    ),
    "message of another chain": Case(
        "messages",
        lambda h, n: batch(h, chain=OTHER.id, to=elsewhere(h)),
        "refused_chain_total",
    ),
    "message to another chain": Case(
        "messages", lambda h, n: batch(h, to=elsewhere(h)), "refused_chain_total"
    ),
    "message signed by another": Case(
        "messages",
        lambda h, n: batch(h, signature=bytes([n]) * 64),
        "refused_signature_total",
        1,
    ),
    "claim of another chain": Case(
        "facts", lambda h, n: claim(h, chain=OTHER.id, number=n), "refused_chain_total"
    ),
    "renewal of another chain": Case(
        "facts", lambda h, n: renewal(h, chain=OTHER.id, number=n), "refused_chain_total"
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_in_itself_is_counted_and_its_link_banned(lab: Lab, name: str) -> None:
    case, victim = WRONG[name], lab.victim
    hostile = await Hostile.link(lab, name)
    before = victim.counters()
    for number in range(TRIES):
        if hostile.up:
            hostile.gossip(case.topic, case.data(hostile, number), case.cls)
    await until(lambda: not hostile.up)
    after = victim.counters()
    refused = after[case.counter] - before.get(case.counter, 0)
    assert BAN_AT // 20 <= refused <= TRIES  # a ban takes no more than that
    assert after["links_banned_total"] == before["links_banned_total"] + 1
    verified = after["signatures_verified_total"] - before["signatures_verified_total"]
    assert verified <= case.signatures * TRIES + 20  # blocks may be decided meanwhile
    assert len(victim.gossip.peers) == 3
    with pytest.raises((EOFError, ConnectionError)):
        await Hostile.link(lab, name)  # banned for a time
    await hostile.close()
    await lab.finalizes()


@pytest.mark.parametrize("topic", ["votes", "facts", "messages", "proposals"])
async def test_oversized_gossip_ends_the_link_as_it_arrives(lab: Lab, topic: str) -> None:
    hostile = await Hostile.link(lab, f"oversized {topic}")
    before = lab.victim.counters()
    hostile.gossip(topic, bytes(300_000))
    await until(lambda: not hostile.up)
    after = lab.victim.counters()
    assert after["links_lost_total"] == before["links_lost_total"] + 1
    assert after[f"gossip_{topic}_total"] - before[f"gossip_{topic}_total"] < 20
    assert lab.victim.network.conduct.score(hostile.peer, 0.0)[0] >= 40  # type: ignore[attr-defined]
    await hostile.close()
    await lab.finalizes()


async def test_a_forged_proposal_costs_one_signature(lab: Lab) -> None:
    hostile = await Hostile.link(lab, "forger")
    await lab.finalizes(rounds=2)
    assert hostile.heard["proposals"], "the victim forwards proposals"
    before = lab.victim.counters()
    hostile.gossip("proposals", forged_proposal(hostile, 7))
    await until(lambda: _sum(lab, "late", "known", "signature") > _of(before))
    after = lab.victim.counters()
    assert after["signatures_verified_total"] - before["signatures_verified_total"] <= 1
    await hostile.close()
    await lab.finalizes()


def _of(counters: dict[str, int | float]) -> float:
    names = ("ignored_late_total", "ignored_known_total", "refused_signature_total")
    return sum(counters.get(name, 0) for name in names)


def _sum(lab: Lab, *causes: str) -> float:
    return _of(lab.victim.counters())


# -- what is only early, late, known or unknown ---------------------------------------------------


def by_nobody(hostile: Hostile) -> bytes:
    return batch(hostile, sender=99)


IGNORED = {
    "vote of a stranger": Case("votes", vote, "ignored_stranger_total"),
    "accept of a stranger for a coming height": Case(
        "votes",
        lambda h, n: h.vote(next_height(h) + 5, round_=n, phase=ACCEPT),
        "ignored_stranger_total",
    ),
    "own vote that is old": Case(
        "votes", lambda h, n: h.vote(1, round_=0, phase=ACCEPT, key="n0"), "ignored_known_total"
    ),
    "message that has expired": Case(
        "messages", lambda h, n: batch(h, expires_height=1), "ignored_late_total"
    ),
    "message that lives too long": Case(
        "messages", lambda h, n: batch(h, expires_height=10**6), "ignored_early_total"
    ),
    "message of a sender without money": Case(
        "messages", lambda h, n: batch(h, sender=99), "ignored_poor_total"
    ),
    "message to an unknown agent": Case(
        "messages",
        lambda h, n: batch(h, to=Reference(h.lab.spec.id, account_of(1), None)),
        "ignored_poor_total",
    ),
    "renewal that is early": Case(
        "facts",
        lambda h, n: renewal(h, chain=h.lab.spec.id, number=n),
        "ignored_early_total",
    ),
}


@pytest.mark.parametrize("name", IGNORED)
async def test_early_late_and_unknown_is_ignored_without_blame(lab: Lab, name: str) -> None:
    case, victim = IGNORED[name], lab.victim
    hostile = await Hostile.link(lab, f"ignored {name}")
    before = victim.counters()
    for number in range(TRIES):
        hostile.gossip(case.topic, case.data(hostile, number))
    await until(lambda: victim.counters().get(case.counter, 0) > before.get(case.counter, 0))
    await lab.finalizes()
    after = victim.counters()
    assert hostile.up
    assert hostile.score == 0
    heard = victim.counters()[case.counter] - before.get(case.counter, 0)
    assert 1 <= heard <= TRIES + 5
    verified = after["signatures_verified_total"] - before["signatures_verified_total"]
    assert verified <= 30  # of the honest transfer's height, none of these
    await hostile.close()
    await until(lambda: not hostile.up)


async def test_replays_of_everything_heard_are_known_or_late(lab: Lab) -> None:
    """Honest bytes, said again by another: nobody is blamed and no signature is computed."""
    hostile = await Hostile.link(lab, "replayer")
    await lab.victim.submit([lab.transfer()])
    await lab.finalizes(rounds=2)
    heard = [(topic, data) for topic, all_ in hostile.heard.items() for data in all_]
    assert {topic for topic, _ in heard} >= {"votes", "proposals", "messages"}
    await until(lambda: not lab.victim.core.messages.messages)
    verified = lab.victim.verifier.verified_count
    for _ in range(5):
        for topic, data in heard:
            hostile.gossip(topic, data)
        await hostile.flush()
    await hostile.query("tip/1", b"\x82\x63tip\x01")  # an answer: all before it was read
    await until(lambda: not any(map(len, lab.victim.inbox._queues)))
    assert lab.victim.verifier.verified_count - verified <= 20  # stragglers of honest peers
    assert not lab.victim.core.messages.messages
    assert (hostile.up, hostile.score) == (True, 0)
    await hostile.close()
    await lab.finalizes()


# -- floods ---------------------------------------------------------------------------------------

FLOOD = 3_000
FLOODS: dict[str, tuple[str, Callable[[Hostile, int], bytes]]] = {
    "votes of a stranger": ("votes", vote),
    "votes of coming heights": ("votes", lambda h, n: h.vote(next_height(h) + n)),
    "facts": ("facts", lambda h, n: renewal(h, chain=h.lab.spec.id, number=n)),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_costs_the_flooder_only(lab: Lab, name: str) -> None:
    topic, make = FLOODS[name]
    victim = lab.victim
    hostile = await Hostile.link(lab, f"flood {name}")
    sample = [make(hostile, number) for number in range(FLOOD // 3)]
    verified = victim.verifier.verified_count
    for _ in range(3):
        for data in sample:
            hostile.gossip(topic, data)
        await hostile.flush()
        await lab.finalizes()
    assert victim.verifier.verified_count - verified < 3 * 40
    assert_bounded(lab)
    await hostile.close()
    await until(lambda: not hostile.up)


async def test_a_flood_of_messages_without_money_does_not_fill_the_pool(lab: Lab) -> None:
    hostile = await Hostile.link(lab, "spammer")
    before = lab.victim.counters()
    raws = [hostile.lab.transfer(sender=1_000 + number).raw for number in range(2_000)]
    for payload in range(0, len(raws), 200):
        hostile.gossip("messages", wire.Batch.encode(raws[payload : payload + 200]))
    await until(
        lambda: (
            lab.victim.counters().get("ignored_poor_total", 0)
            >= before.get("ignored_poor_total", 0) + 10
        )
    )
    await lab.finalizes()  # on disk, a moment before the core hears of it
    await until(lambda: len(lab.victim.core.messages.messages) == 0)
    assert hostile.score == 0
    await hostile.close()


async def test_an_owner_that_signs_without_end_is_heard_so_many_times(lab: Lab) -> None:
    """It owns slots and keeps every form: two votes a place for evidence, then too much."""
    victim = lab.victim
    hostile = await Hostile.link(lab, "minor")
    height = next_height(hostile)
    block = victim.core.engine.machine.tip.header.id
    verified = victim.verifier.verified_count
    for number in range(2 * VOTES_PER_SIGNER_MAX):
        hostile.gossip("votes", hostile.vote(height, round_=1 + number))
        hostile.gossip("votes", hostile.vote(height, round_=1 + number, block=block))
    await hostile.flush()
    await until(lambda: victim.counters().get("ignored_flood_total", 0) > 0)
    await until(lambda: not any(map(len, victim.inbox._queues)))
    # Counts are of one round; the flood may see several of them.
    rounds = 1 + next_height(hostile) - height + victim.core.engine.machine.standing.round
    assert victim.verifier.verified_count - verified <= (rounds + 1) * (VOTES_PER_SIGNER_MAX + 600)
    await lab.finalizes(rounds=2)
    assert_bounded(lab)
    assert victim.core.facts_pool.evidence or _burned(lab, hostile)
    await hostile.close()
    await until(lambda: not hostile.up)


def _burned(lab: Lab, hostile: Hostile) -> bool:
    """Evidence is in a block already: the owner is out of the next table, or marked."""
    stored = lab.victim.chain.state.scan(b"c/evidence")
    return bool(stored)


async def test_an_owner_is_throttled_for_what_others_are_banned_for(lab: Lab) -> None:
    hostile = await Hostile.link(lab, "minor")
    for number in range(30):
        hostile.gossip("votes", unsigned_by_owner(hostile, number))
    await hostile.flush()
    conduct = lab.victim.network.conduct  # type: ignore[attr-defined]
    now = asyncio.get_running_loop().time
    await until(lambda: conduct.standing(hostile.peer, now()) is Standing.THROTTLED)
    assert hostile.up
    await lab.finalizes(rounds=2)
    await hostile.close()
    await until(lambda: not hostile.up)


def assert_bounded(lab: Lab) -> None:
    """Every structure that a peer can fill stays small."""
    victim = lab.victim
    machine = victim.core.engine.machine
    sizes = {
        "pool": len(victim.core.messages.messages),
        "ahead_votes": len(machine.ahead_votes),
        "ahead_proposals": len(machine.ahead_proposals),
        "candidates": len(machine.standing.candidates),
        "tallies": sum(len(tally.votes) for tally in machine.standing.votes.tallies.values()),
        "tips": len(victim.core.catchup.tips),
        "renewals": len(victim.core.facts_pool.renewals),
        "queries": len(victim.gossip._queries),
        "budgets": victim.gossip.library.accounts,
        "inbox": sum(
            len(queue.items) for table in victim.inbox._queues for queue in table.values()
        ),
        "events": len(victim.runtime._queue),
    }
    assert all(size <= 2_048 for size in sizes.values()), sizes
