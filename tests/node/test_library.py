"""What peers ask of the store costs them: budgets in bytes, turns among strangers, memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from consensus.effects import BLOCK, BODIES, POLL, TIP
from consensus.encoding import encode
from consensus.errors import EncodingError
from consensus.ids import MessageId, Peer, content_id
from network.errors import Busy
from node.agents.library import (
    ACCOUNTS_MAX,
    ASK_BYTES,
    ASKS_BURST,
    ASKS_PER_S,
    INLINE_MESSAGES,
    MIB,
    OPEN_MAX,
    OWNER_BURST_BYTES,
    STRANGER_BURST_BYTES,
    STRANGER_BYTES_PER_S,
    STRANGER_OPEN_MAX,
    STRANGERS_BURST_BYTES,
    STRANGERS_BYTES_PER_S,
    WAIT_S,
    Librarian,
    Replies,
)
from node.speech import NONE
from node.store.chain import ChainData
from node.store.memory import MemoryStore
from tests.consensus.builders_chain import MiniChain, make_spec
from tests.consensus.builders_keys import peer_key
from tests.node.builders_core import Bench
from tests.node.hurried import run_hurried

CHAIN = MiniChain(make_spec(4))
OWNER, FRIEND = peer_key(0), peer_key(50)
STRANGERS = [peer_key(number) for number in range(100, 110)]
BODY_BYTES = 8 * 1024
IDS = [MessageId(content_id(b"%d" % number)) for number in range(INLINE_MESSAGES)]
LARGE = INLINE_MESSAGES * BODY_BYTES  # what the ask for all of them makes the node read and send
COST = LARGE + ASK_BYTES
FIRST = CHAIN.block()
CHAIN.commit(FIRST)


class CountingStore(MemoryStore):
    """Says how many records were read."""

    reads = 0

    def get(self, key: bytes) -> bytes | None:
        CountingStore.reads += 1
        return super().get(key)


def stored() -> ChainData:
    chain = ChainData(CountingStore(), chain=CHAIN.spec.id, spec=CHAIN.spec.raw)
    chain.commit_genesis(CHAIN.headers[0].raw, {}, ())
    certificate = CHAIN.certificates[1]
    assert certificate is not None
    chain.commit(
        height=1,
        header=FIRST.header.raw,
        body=FIRST.body.raw,
        certificate=certificate.raw,
        bodies={bytes(each): bytes(BODY_BYTES) for each in IDS},
        changes={},
        receipts=(),
    )
    return chain


def library() -> Librarian:
    core = Bench(chain=CHAIN).core
    owners = core.engine.machine.standing.votes.weights
    known: Callable[[Peer], bool] = lambda peer: peer in owners or peer == FRIEND  # noqa: E731
    return Librarian(stored(), core, CHAIN.spec.id, known)


def large() -> bytes:
    return encode(["bodies", 1, [bytes(each) for each in IDS]])


def block(height: int) -> bytes:
    return encode(["block", 1, height, None])


def poll(height: int, chain: bytes = bytes(CHAIN.spec.id)) -> bytes:
    return encode(["poll", 1, chain, height])


def now() -> float:
    return asyncio.get_running_loop().time()


def hurried(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        run_hurried(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def asks(desk: Librarian, peer: Peer, seconds: float, at_once: int = 1) -> int:
    """Bytes that a peer gets which asks again as soon as it is answered."""
    got, end = 0, now() + seconds

    async def one() -> None:
        nonlocal got
        while now() < end:
            try:
                got += len(await desk.answer(peer, BODIES, large()))
            except Busy:
                await asyncio.sleep(0.5)  # as a node that catches up does

    await asyncio.gather(*[one() for _ in range(at_once)])
    return got


@hurried
async def test_a_candidate_that_the_engine_dropped_is_handed_out_from_the_disk() -> None:
    """Who is locked on it elsewhere may have nobody else to ask."""
    core, chain = Bench(chain=CHAIN).core, stored()
    desk = Librarian(chain, core, CHAIN.spec.id, lambda _: True)
    block = CHAIN.block()
    asked = encode(["block", 1, block.height, bytes(block.id)])
    assert await desk.answer(OWNER, BLOCK, asked) == NONE
    chain.save_candidate(header=block.header.raw, body=block.body.raw, bodies={})
    reply = await desk.answer(OWNER, BLOCK, asked)
    assert block.header.raw in reply and block.body.raw in reply
    other = encode(["block", 1, block.height + 1, bytes(block.id)])
    assert await desk.answer(OWNER, BLOCK, other) == NONE, "only of the height being decided"


@hurried
async def test_a_stranger_gets_its_burst_then_its_rate() -> None:
    desk = library()
    start = now()
    burst = STRANGER_BURST_BYTES // COST + 1
    for _ in range(burst):
        assert len(await desk.answer(STRANGERS[0], BODIES, large())) > LARGE
    assert now() - start == 0, "a burst costs no wait"
    got = await asks(desk, STRANGERS[0], 4)
    assert 0.8 * STRANGER_BYTES_PER_S * 4 <= got <= 1.2 * STRANGER_BYTES_PER_S * 4


@hurried
async def test_ten_strangers_share_one_rate_evenly() -> None:
    desk = library()
    desk._strangers.bytes.spend(STRANGERS_BURST_BYTES, now())
    got = await asyncio.gather(*[asks(desk, each, 8) for each in STRANGERS])
    assert sum(got) <= STRANGERS_BYTES_PER_S * (8 + WAIT_S)
    assert min(got) >= 0.5 * max(got), "whoever asks gets a turn"


@hurried
async def test_who_asks_much_at_once_gets_no_more_than_who_asks_one_by_one() -> None:
    desk = library()
    greedy, *modest = STRANGERS
    loud, *quiet = await asyncio.gather(
        asks(desk, greedy, 8, at_once=STRANGER_OPEN_MAX),
        *[asks(desk, each, 8) for each in modest],
    )
    assert loud <= 1.5 * max(quiet)


@pytest.mark.parametrize("peer", [OWNER, FRIEND], ids=["owner", "named"])
def test_owners_and_named_peers_do_not_wait_for_strangers(peer: Peer) -> None:
    async def body() -> None:
        desk = library()
        flood = [asyncio.ensure_future(asks(desk, each, 3, at_once=4)) for each in STRANGERS]
        await asyncio.sleep(2)
        start = now()
        for _ in range(OWNER_BURST_BYTES // COST):
            await desk.answer(peer, BODIES, large())
        assert now() - start == 0
        await asyncio.gather(*flood)

    run_hurried(body())


@hurried
async def test_one_at_a_time_for_all_strangers() -> None:
    desk, most, working = library(), 0, 0
    make = desk._reply

    async def slow(proto: str, data: bytes, fields: tuple[Any, ...]) -> bytes:
        nonlocal most, working
        working += 1
        most = max(most, working)
        await asyncio.sleep(0.01)
        working -= 1
        return await make(proto, data, fields)

    desk._reply = slow  # type: ignore[method-assign]
    await asyncio.gather(*[desk.answer(each, BODIES, large()) for each in STRANGERS[:8]])
    assert most == 1


@pytest.mark.parametrize(
    ("peer", "most"),
    [(OWNER, OPEN_MAX), (STRANGERS[0], STRANGER_OPEN_MAX)],
    ids=["owner", "stranger"],
)
def test_open_asks_are_bounded(peer: Peer, most: int) -> None:
    async def body() -> None:
        desk = library()
        desk._spend(desk._account(peer), (40 if peer == OWNER else 5) * MIB)
        found = await asyncio.gather(
            *[desk.answer(peer, BODIES, large()) for _ in range(most + 3)], return_exceptions=True
        )
        assert sum(isinstance(each, Busy) for each in found) == 3
        await desk.answer(peer, BODIES, large())

    run_hurried(body())


@hurried
async def test_who_is_far_over_budget_is_told_busy_and_holds_nothing() -> None:
    desk = library()
    desk._spend(desk._account(STRANGERS[0]), int(STRANGER_BYTES_PER_S * 2 * WAIT_S) + 16 * MIB)
    start = now()
    with pytest.raises(Busy, match="over budget"):
        await desk.answer(STRANGERS[0], BODIES, large())
    assert WAIT_S <= now() - start < WAIT_S + 0.1
    assert desk._account(STRANGERS[0]).open == desk._strangers.open == 0
    assert not desk._strangers.turn.locked()


@hurried
async def test_a_new_link_brings_no_new_budget() -> None:
    desk = library()
    peer = STRANGERS[0]
    await asks(desk, peer, 1)
    desk.left(peer)
    start = now()
    await desk.answer(peer, BODIES, large())
    await desk.answer(peer, BODIES, large())
    assert now() - start > 0.1, "it waits as if it had stayed"
    await asyncio.sleep(60)
    desk.left(peer)
    assert desk.accounts == 0, "who owes nothing is forgotten"


@hurried
async def test_new_keys_bring_no_new_budget_to_strangers_together() -> None:
    desk = library()
    start, got = now(), 0
    for number in range(40):  # a new key for every ask
        got += len(await desk.answer(peer_key(1_000 + number), BODIES, large()))
    assert now() - start >= (got - STRANGERS_BURST_BYTES - LARGE) / STRANGERS_BYTES_PER_S


@hurried
async def test_a_slot_lost_is_a_budget_lost() -> None:
    desk = library()
    await desk.answer(FRIEND, BODIES, large())
    assert desk._account(FRIEND).owner
    desk._owner = lambda peer: False
    assert not desk._account(FRIEND).owner


@hurried
async def test_accounts_are_bounded_and_debtors_stay_longest() -> None:
    desk = library()
    desk._spend(desk._account(OWNER), OWNER_BURST_BYTES)
    for number in range(ACCOUNTS_MAX + 5):
        desk.count(peer_key(1_000 + number))
    assert desk.accounts <= ACCOUNTS_MAX
    await asyncio.sleep(3)  # the others' asks are forgiven, the owner still owes
    desk._spend(desk._account(OWNER), OWNER_BURST_BYTES)
    desk._forget(now())
    assert list(desk._accounts) == [OWNER]


@hurried
async def test_asks_are_counted_whatever_their_size() -> None:
    desk = library()
    for _ in range(ASKS_BURST):
        await desk.answer(STRANGERS[0], TIP, encode(["tip", 1]))
    with pytest.raises(Busy, match="too many queries"):
        await desk.answer(STRANGERS[0], TIP, encode(["tip", 1]))
    await asyncio.sleep(1)
    for _ in range(ASKS_PER_S):
        desk.count(STRANGERS[0])


# ---- replies ------------------------------------------------------------------------------------


@hurried
async def test_the_reply_of_a_committed_block_is_made_once() -> None:
    desk = library()
    first = await desk.answer(STRANGERS[0], BLOCK, block(1))
    before = CountingStore.reads
    again = await desk.answer(STRANGERS[1], BLOCK, block(1))
    assert again == first != NONE
    assert before == CountingStore.reads
    assert await desk.answer(OWNER, BLOCK, block(99)) == NONE
    assert await desk.answer(OWNER, BLOCK, encode(["block", 1, 1, bytes(IDS[0])])) == NONE
    assert desk._replies.get(99) is None, "what is not there yet is not kept"


def test_kept_replies_are_bounded_and_the_least_used_goes() -> None:
    replies = Replies(bytes_max=100, items_max=3)
    replies.put(1, bytes(40))
    replies.put(2, bytes(40))
    assert replies.get(1) == bytes(40)
    replies.put(3, bytes(40))
    assert replies.get(2) is None, "the least used"
    assert replies.get(1) == replies.get(3) == bytes(40)
    assert replies.size == 80
    for height in range(10, 20):
        replies.put(height, b"x")
    assert replies.size == 3
    replies.put(50, bytes(101))
    assert replies.get(50) is None
    assert replies.size == 0


# ---- polls --------------------------------------------------------------------------------------


@hurried
async def test_a_poll_of_the_past_costs_and_one_of_now_does_not() -> None:
    desk = library()
    assert desk.past(OWNER, poll(CHAIN.height + 1)) is None
    assert desk.accounts == 0
    reply = desk.past(OWNER, poll(1))
    assert reply is not None
    assert reply[1:6] == b"\x64past"
    desk._spend(desk._account(OWNER), 2 * OWNER_BURST_BYTES)
    with pytest.raises(Busy, match="over budget"):
        desk.past(OWNER, poll(1))
    assert desk.past(OWNER, poll(CHAIN.height + 1)) is None, "what it owes bars it from no poll"


@hurried
async def test_strangers_together_pay_for_polls_of_the_past() -> None:
    desk = library()
    desk._spend(desk._account(STRANGERS[0]), 2 * STRANGERS_BURST_BYTES)
    with pytest.raises(Busy, match="over budget"):
        desk.past(STRANGERS[1], poll(1))


@hurried
async def test_garbage_is_refused_before_it_costs_a_turn() -> None:
    desk = library()
    with pytest.raises(EncodingError):
        await desk.answer(STRANGERS[0], BODIES, b"\xff")
    with pytest.raises(EncodingError):
        desk.past(STRANGERS[0], b"\xff")
    with pytest.raises(EncodingError, match="another chain"):
        desk.past(STRANGERS[0], poll(1, bytes(content_id(b"another"))))
    assert POLL == "poll/1"
