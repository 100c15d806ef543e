"""Queries, pushed certificates and answers of peers that mean harm; and a twin on the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from consensus.block import Header
from consensus.certificates import Certificate, Vote
from consensus.encoding import encode
from consensus.ids import Height
from consensus.signatures import ACCEPT
from network.envelope import Status
from node.agents.gossip import REJECT_POINTS
from node.agents.library import ASKS_BURST
from node.codes import Exit
from node.errors import TwinFound
from tests.hostile.hostilelab import Hostile, Lab, make_spec, until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
OTHER = make_spec(["n0"], name="another")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    lab = Lab(Path(tmp_path_factory.mktemp("lab")), minor="minor")
    try:
        await lab.start()
        await lab.finalizes(rounds=3)
        yield lab
    finally:
        await lab.stop()


WRONG = {
    "poll of garbage": ("poll/1", b"\xff\xff"),
    "poll of another chain": ("poll/1", encode(["poll", 1, bytes(OTHER.id), 3])),
    "poll with a tail": ("poll/1", encode(["poll", 1, bytes(OTHER.id), 3]) + b"\0"),
    "block of garbage": ("block/1", b"\x82"),
    "bodies that are no ids": ("bodies/1", encode(["bodies", 1, [b"short"]])),
    "certificate of garbage": ("cert/1", encode(["push", 1, b"\x80"])),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_query_is_refused_counted_and_blamed(lab: Lab, name: str) -> None:
    proto, data = WRONG[name]
    hostile = await Hostile.link(lab, name)
    before = lab.victim.counters().get("refused_encoding_total", 0)
    status, _ = await hostile.query(proto, data)
    assert status is Status.REFUSED
    assert lab.victim.counters()["refused_encoding_total"] == before + 1
    assert 0 < hostile.score <= REJECT_POINTS
    while hostile.up:
        await hostile.query(proto, data)
    assert lab.victim.counters()["refused_encoding_total"] <= before + 15
    await hostile.close()
    await lab.finalizes()


async def test_unknown_protocols_and_large_requests_are_refused(lab: Lab) -> None:
    hostile = await Hostile.link(lab, "asker")
    assert (await hostile.query("agents/9", b""))[0] is Status.NOT_SERVED
    assert (await hostile.query("tip/1", bytes(200_000)))[0] is Status.REQUEST_TOO_BIG
    assert hostile.score == 0
    await hostile.close()


async def test_a_flood_of_asks_is_told_busy(lab: Lab) -> None:
    """What the store is asked for has a budget for each link."""
    hostile = await Hostile.link(lab, "flooder")
    before = lab.victim.counters().get("ignored_queries_total", 0)
    ask = encode(["block", 1, 1, None])
    for _ in range(ASKS_BURST + 200):
        await hostile.query("block/1", ask, wait=False)
    await hostile.flush()
    await until(lambda: lab.victim.counters().get("ignored_queries_total", 0) >= before + 50)
    await lab.finalizes(rounds=2)
    assert hostile.score == 0
    await hostile.close()


def accepts(hostile: Hostile, height: int, keys: list[str], **changes: object) -> Certificate:
    block = bytes(hostile.lab.victim.core.engine.machine.tip.header.id)
    fields = {"phase": ACCEPT, "block": block, **changes}
    raws = [hostile.vote(height, key=key, **fields) for key in sorted(keys)]
    return Certificate.of([Vote.decode(raw) for raw in raws])


async def test_pushed_certificates_are_judged_cheaply_first(lab: Lab) -> None:
    hostile = await Hostile.link(lab, "pusher")
    victim = lab.victim
    height = victim.core.height
    forged = bytearray(accepts(hostile, height, ["n0", "n1", "n2", "n3"]).raw)
    forged[-1] ^= 1
    first = victim.chain.block(1)
    assert first is not None
    known = Header.decode(first.header).id  # of another block this would prove a fork
    cases = {
        "ignored_late_total": accepts(hostile, 1, ["n1", "n2", "n3"], block=known).raw,
        "ignored_early_total": accepts(hostile, height + 3, ["n1", "n2", "n3"]).raw,
        "ignored_weight_total": accepts(hostile, height, ["n1"]).raw,
        "refused_chain_total": accepts(hostile, height, ["n1"], chain=OTHER.id).raw,
        "refused_place_total": accepts(hostile, height, ["n1"], epoch=7).raw,
        "refused_signature_total": bytes(forged),
    }
    for counter, raw in cases.items():
        before = victim.counters()
        status, _ = await hostile.query("cert/1", encode(["push", 1, raw]))
        assert status is Status.OK
        after = victim.counters()
        assert after.get(counter, 0) == before.get(counter, 0) + 1, counter
        cost = 4 if counter == "refused_signature_total" else 0
        spent = after["signatures_verified_total"] - before["signatures_verified_total"]
        assert spent <= cost, counter
    assert 0 < hostile.score <= 3 * REJECT_POINTS
    assert victim.core.height == Height(height), "nothing of it decided anything"
    await hostile.close()
    await lab.finalizes()


async def test_an_owner_whose_answers_are_garbage_is_blamed(lab: Lab) -> None:
    """It is polled like every owner, and says its tip is far away."""
    hostile = await Hostile.link(
        lab,
        "minor",
        **{"poll/1": b"\xff", "block/1": b"\xfe", "tip/1": encode(["tip", 1, 10**9])},
    )
    await lab.finalizes(rounds=3)
    await until(lambda: sum(hostile.asked.values()) > 0)
    await until(lambda: hostile.score > 0 or not hostile.up)
    assert lab.victim.counters()["refused_encoding_total"] > 0
    assert len(lab.victim.core.catchup.asks) <= 16
    await lab.finalizes(rounds=2)
    await hostile.close()
    await until(lambda: not hostile.up)


async def test_a_twin_that_signs_ahead_stops_the_node(tmp_path: Path) -> None:
    """An own signature that is newer than the record: two nodes have this key (protocol §7)."""
    lab = Lab(tmp_path)
    await lab.start()
    hostile = await Hostile.link(lab, "messenger")
    height = lab.victim.core.height
    hostile.gossip("votes", hostile.vote(height, key="n0", chain=OTHER.id))
    hostile.gossip("votes", hostile.vote(height + 1, key="n0")[:-1] + b"\0")  # forged
    await hostile.query("tip/1", encode(["tip", 1]))
    assert not lab._running[0].done(), "neither proves a twin"
    hostile.gossip("votes", hostile.vote(height + 1, key="n0"))
    with pytest.raises(TwinFound) as found:
        async with asyncio.timeout(10):
            await lab._running[0]
    assert found.value.exit is Exit.SAFETY
    assert f"height {height + 1}" in found.value.cause
    lab._running.pop(0)
    await hostile.close()
    await lab.stop()
