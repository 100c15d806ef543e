"""The contract of `network.ports.Network`, the same cases on every adapter. network §1"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from network.errors import (
    Busy,
    LocalError,
    Refused,
    Timeout,
    TooBig,
    Unreachable,
)
from network.limits import BAN_AT, BLAME_WRONG_BYTES, GOSSIP_BYTES_MAX, REPLY_BYTES_MAX
from network.ports import (
    NO_LINK,
    OK,
    TOO_BIG,
    Class,
    Dropped,
    Full,
    Gossip,
    Got,
    Health,
    LinkDown,
    LinkUp,
    Missing,
    Network,
    PinScope,
    Verdict,
)
from tests.network.netlab import (
    CHAIN_ID,
    TOPIC,
    WAIT_S,
    Lab,
    Liar,
    MemoryLab,
    MeshLab,
    Node,
    Slow,
    content_id,
    fetch,
    fill,
    link_down,
)

LABS = {"memory": MemoryLab, "mesh": MeshLab}
HEIGHTS = PinScope("heights", "test/0-9")


@pytest.fixture(params=LABS)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    lab = LABS[request.param]()
    yield lab
    await lab.close()


async def pair(lab: Lab) -> tuple[Node, Node]:
    one, other = await lab.line("ann", "bob")
    return one, other


def now() -> float:
    return asyncio.get_running_loop().time()


# -- life and links -------------------------------------------------------------------------------


async def test_a_link_comes_up_on_both_ends_with_what_the_hello_says(lab: Lab) -> None:
    ann, bob = await lab.node("ann"), await lab.node("bob")
    network: Network = ann.net
    network.connect([bob.address], True)
    up = await ann.log.wait(LinkUp)
    assert (up.peer, up.chains, up.instance) == (bob.peer, (CHAIN_ID,), bob.identity.instance)
    assert (up.wire, up.outbound) == (1, True)
    up = await bob.log.wait(LinkUp)
    assert (up.peer, up.outbound) == (ann.peer, False)
    info = ann.info(bob)
    assert info is not None and info.kept and info.score == 0


async def test_closing_tells_the_other_end_and_may_be_followed_by_a_start(lab: Lab) -> None:
    ann, bob = await pair(lab)
    await bob.net.close(1.0)
    await bob.net.close(1.0)
    assert (await link_down(ann, bob)).cause
    assert ann.net.peers() == []
    assert await bob.log.wait(Health, lambda event: event.state == "down")
    await bob.net.start(bob.identity, bob.log)
    await lab.link(ann, bob)
    with pytest.raises(LocalError):
        await bob.net.start(bob.identity, bob.log)


async def test_a_kept_peer_is_dialled_again_after_the_link_broke(lab: Lab) -> None:
    ann, bob = await pair(lab)
    lab.break_link(bob, ann)
    await link_down(ann, bob)
    await ann.log.wait(LinkUp)
    assert await bob.log.wait(LinkUp)


async def test_closing_drains_what_is_queued(lab: Lab) -> None:
    ann, bob = await pair(lab)
    payloads = [bytes([number]) * 200_000 for number in range(10)]
    assert {ann.publish(payload) for payload in payloads} == {OK}
    await ann.net.close(WAIT_S)
    for payload in payloads:
        await bob.log.gossip(payload)


async def test_a_newer_instance_of_a_peer_takes_the_place_of_the_older(lab: Lab) -> None:
    ann, bob = await pair(lab)
    twin = await lab.node("bob", identity=replace(bob.identity, instance=b"2" * 16))
    twin.net.connect([ann.address], True)
    await link_down(ann, bob)
    up = await ann.log.wait(LinkUp)
    assert (up.peer, up.instance) == (bob.peer, b"2" * 16)


# -- gossip ---------------------------------------------------------------------------------------


async def test_a_gossip_arrives_with_its_topic_class_and_hop(lab: Lab) -> None:
    ann, bob = await pair(lab)
    for cls in Class:
        payload = cls.name.encode()
        assert ann.publish(payload, cls) is OK
        event = await bob.log.gossip(payload)
        assert (event.topic, event.cls, event.origin.link) == (TOPIC, cls, ann.peer)
        assert event.origin.author is None and not ann.net.caps.author_proven


async def test_the_largest_gossip_arrives_whole(lab: Lab) -> None:
    ann, bob = await pair(lab)
    payload = bytes(range(256)) * (GOSSIP_BYTES_MAX // 256)
    assert ann.publish(payload) is OK
    assert (await bob.log.gossip(payload)).data == payload


async def test_publish_refuses_what_is_too_big_and_what_nobody_takes(lab: Lab) -> None:
    ann, bob = await pair(lab)
    assert ann.publish(bytes(GOSSIP_BYTES_MAX + 1)) is TOO_BIG
    assert ann.net.publish("apx/other/votes", b"?", Class.VOTE, b"k", now() + 1) is NO_LINK
    bob.net.unsubscribe(TOPIC)
    bob.net.serve("echo/1", 10, 1, lambda peer, data: data)
    await ann.ask(bob)  # the list of topics is there before the reply
    assert ann.publish(b"nobody") is NO_LINK
    await bob.net.close(0.0)
    await link_down(ann, bob)
    assert ann.publish(b"nobody") is NO_LINK


async def test_what_has_expired_is_not_sent(lab: Lab) -> None:
    ann, bob = await pair(lab)
    assert ann.net.publish(TOPIC, b"late", Class.MESSAGE, b"late", now() - 1) is OK
    ann.publish(b"marker")
    await bob.log.wait(Gossip, lambda event: event.data == b"marker")
    assert (await ann.log.wait(Dropped)).why == "expired"


async def test_the_same_bytes_are_delivered_once(lab: Lab) -> None:
    ann, bob = await pair(lab)
    ann.publish(b"one")
    bob.accept(await bob.log.gossip(b"one"))
    ann.publish(b"one")
    ann.publish(b"two")
    assert (await bob.log.wait(Gossip)).data == b"two"


async def test_gossip_larger_than_the_topic_allows_is_blamed(lab: Lab) -> None:
    ann = await lab.node("ann")
    bob = await lab.node("bob", max_bytes=1_000)
    await lab.link(ann, bob)
    ann.publish(bytes(1_001))
    await link_down(bob, ann)
    assert not bob.log.all(Gossip)


@pytest.mark.parametrize("cls", [Class.VOTE, Class.MESSAGE])
@pytest.mark.parametrize("size", [100, 20_000])
async def test_only_an_accept_forwards(lab: Lab, cls: Class, size: int) -> None:
    ann, bob, cleo = await lab.line("ann", "bob", "cleo")
    for word in (b"unanswered", b"ignored", b"rejected", b"accepted"):
        ann.publish(word.ljust(size), cls)
    await bob.log.wait(Gossip)  # its verdict is never given: that is an ignore
    bob.net.verdict((await bob.log.wait(Gossip)).token, Verdict.IGNORE, None, "early")
    bob.net.verdict((await bob.log.wait(Gossip)).token, Verdict.REJECT, None, "bad signature")
    bob.accept(await bob.log.wait(Gossip))
    event = await cleo.log.wait(Gossip)
    assert event.data == b"accepted".ljust(size)
    assert (event.origin.link, event.cls) == (bob.peer, cls)


async def test_only_a_reject_blames_and_it_blames_the_link(lab: Lab) -> None:
    ann, bob = await pair(lab)
    scores: list[int] = []
    for v in (Verdict.ACCEPT, Verdict.IGNORE, Verdict.REJECT):
        ann.publish(v.value.encode())
        event = await bob.log.wait(Gossip)
        bob.net.verdict(event.token, v, None, "because")
        info = bob.info(ann)
        assert info is not None
        scores.append(info.score)
    assert scores[:2] == [0, 0] and scores[2] > 0
    assert info.cause == "because"


async def test_ignored_bytes_may_come_again(lab: Lab) -> None:
    ann, bob = await pair(lab)
    ann.publish(b"early")
    bob.net.verdict((await bob.log.gossip(b"early")).token, Verdict.IGNORE, None, "early")
    ann.publish(b"early")
    assert await bob.log.gossip(b"early")


async def test_forwarding_is_by_logical_key(lab: Lab) -> None:
    ann, bob, cleo = await lab.line("ann", "bob", "cleo")
    ann.publish(b"vote, signed once", Class.VOTE)
    ann.publish(b"vote, signed twice", Class.VOTE)
    ann.publish(b"another vote", Class.VOTE)
    for logical in (b"round 1", b"round 1", b"round 2"):
        bob.accept(await bob.log.wait(Gossip), logical)
    seen = [(await cleo.log.wait(Gossip)).data for _ in range(2)]
    assert seen == [b"vote, signed once", b"another vote"]


async def test_unknown_and_late_verdicts_are_ignored(lab: Lab) -> None:
    ann, bob = await pair(lab)
    ann.publish(b"once")
    event = await bob.log.gossip(b"once")
    await lab.restart(bob)
    bob.accept(event)
    bob.net.verdict(10**9, Verdict.REJECT, None, "never given")
    assert all(info.score == 0 for info in bob.net.peers())


@pytest.mark.parametrize("cls", list(Class))
async def test_a_full_queue_is_told_and_others_are_not_held_up(lab: Lab, cls: Class) -> None:
    ann, bob = await pair(lab)
    lab.stall(bob)
    assert await fill(ann, cls) > 0
    assert ann.publish(b"0" * 200_000, cls) == Full(cls)
    cleo = await lab.node("cleo")
    await lab.link(ann, cleo)
    assert ann.publish(b"for cleo", cls) is OK
    await cleo.log.gossip(b"for cleo")
    lab.resume(bob)
    assert await bob.log.wait(Gossip)


# -- queries --------------------------------------------------------------------------------------


async def test_a_query_is_answered_to_the_proven_peer(lab: Lab) -> None:
    ann, bob = await pair(lab)
    bob.net.serve("who/1", 10, 10, lambda peer, data: peer + data)

    async def slowly(peer: bytes, data: bytes) -> bytes:
        await asyncio.sleep(0)
        return data[::-1]

    bob.net.serve("echo/1", 10, 10, slowly)
    assert await ann.ask(bob, b"!", "who/1") == ann.peer + b"!"
    assert await ann.ask(bob, b"abc") == b"cba"


async def test_the_largest_reply_arrives_whole(lab: Lab) -> None:
    ann, bob = await pair(lab)
    big = bytes(range(256)) * (REPLY_BYTES_MAX // 256)
    bob.net.serve("echo/1", 10, 10, lambda peer, data: big)
    assert await ann.ask(bob, max_reply=REPLY_BYTES_MAX) == big


async def test_queries_that_are_refused(lab: Lab) -> None:
    ann, bob = await pair(lab)

    def no(peer: bytes, data: bytes) -> bytes:
        raise Refused("not for you")

    bob.net.serve("no/1", 10, 10, no)
    with pytest.raises(Refused, match="not for you"):
        await ann.ask(bob, proto="no/1")
    with pytest.raises(Refused, match="not served"):
        await ann.ask(bob, proto="unknown/1")
    with pytest.raises(Unreachable):
        await ann.net.query(b"x" * 32, "echo/1", b"", Class.POLL, now() + 1, 10)


async def test_a_handler_that_fails_refuses_and_is_reported(lab: Lab) -> None:
    ann, bob = await pair(lab)
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: reported.append(what))

    def fails(peer: bytes, data: bytes) -> bytes:
        raise ZeroDivisionError

    bob.net.serve("echo/1", 10, 10, fails)
    with pytest.raises(Refused, match="fault"):
        await ann.ask(bob)
    assert len(reported) == 1
    info = ann.info(bob)
    assert info is not None and info.score == 0


async def test_requests_and_replies_beyond_their_bounds(lab: Lab) -> None:
    ann, bob = await pair(lab)
    bob.net.serve("echo/1", 100, 10, lambda peer, data: data * 2)
    with pytest.raises(TooBig, match="request"):
        await ann.ask(bob, bytes(101))
    with pytest.raises(TooBig, match="reply"):
        await ann.ask(bob, bytes(100), max_reply=199)
    assert len(await ann.ask(bob, bytes(100), max_reply=200)) == 200
    with pytest.raises(TooBig):
        await ann.ask(bob, bytes(ann.net.caps.max_query + 1))


async def test_the_deadline_ends_a_query_and_its_handler(lab: Lab) -> None:
    ann, bob = await pair(lab)
    ended = asyncio.Event()

    async def never(peer: bytes, data: bytes) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    bob.net.serve("never/1", 10, 1, never)
    with pytest.raises(Timeout):
        await ann.net.query(bob.peer, "never/1", b"", Class.POLL, now() + 0.05, 10)
    await asyncio.wait_for(ended.wait(), WAIT_S)
    with pytest.raises(Timeout):
        await ann.net.query(bob.peer, "never/1", b"", Class.POLL, now() - 1, 10)


async def test_cancelling_a_query_cancels_its_handler(lab: Lab) -> None:
    ann, bob = await pair(lab)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def never(peer: bytes, data: bytes) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    bob.net.serve("echo/1", 10, 1, never)
    asking = asyncio.create_task(ann.ask(bob))
    await asyncio.wait_for(begun.wait(), WAIT_S)
    with pytest.raises(Busy):
        await ann.ask(bob)
    asking.cancel()
    await asyncio.wait_for(ended.wait(), WAIT_S)
    with pytest.raises(asyncio.CancelledError):
        await asking
    bob.net.serve("echo/1", 10, 1, lambda peer, data: data)
    assert await ann.ask(bob, b"free again") == b"free again"


async def test_a_broken_link_ends_queries(lab: Lab) -> None:
    ann, bob = await pair(lab)
    begun = asyncio.Event()

    async def never(peer: bytes, data: bytes) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    bob.net.serve("echo/1", 10, 1, never)
    asking = asyncio.create_task(ann.ask(bob))
    await asyncio.wait_for(begun.wait(), WAIT_S)
    lab.break_link(bob, ann)
    with pytest.raises(Unreachable):
        await asking


# -- content --------------------------------------------------------------------------------------


async def test_objects_are_put_held_pinned_and_released(lab: Lab) -> None:
    ann = await lab.node("ann")
    one, two = (content_id(b"one"), b"one"), (content_id(b"two"), b"two")
    await ann.net.put([one], HEIGHTS)
    await ann.net.put([one, two], PinScope("code", "token"))
    assert await ann.net.has([one[0], two[0], content_id(b"?")]) == {one[0], two[0]}
    assert await fetch(ann, [one[0]], []) == {one[0]: Got(one[0], b"one", None)}
    await ann.net.unpin(PinScope("code", "token"))
    assert await ann.net.has([one[0], two[0]]) == {one[0]}
    with pytest.raises(LocalError):
        await ann.net.put([(content_id(b"one"), b"not one")], None)
    big = bytes(ann.net.caps.max_object + 1)
    with pytest.raises(LocalError):
        await ann.net.put([(content_id(big), big)], None)


async def test_objects_come_from_named_sources_and_the_rest_is_missing(lab: Lab) -> None:
    bob, ann, cleo = await lab.line("bob", "ann", "cleo")
    objects = [(content_id(data), data) for data in (bytes([n]) * 70_000 for n in range(70))]
    await bob.net.put(objects[:40], HEIGHTS)
    await cleo.net.put(objects[35:], HEIGHTS)
    too_big = bytes(200_000)
    await bob.net.put([(content_id(too_big), too_big)], None)
    nowhere = content_id(b"nowhere")
    wanted = [id for id, _ in objects] + [nowhere, content_id(too_big)]
    found = await fetch(ann, wanted, [bob, cleo])
    assert len(found) == len(wanted)
    for number, (id, data) in enumerate(objects):
        source = bob.peer if number < 40 else cleo.peer
        assert found[id] == Got(id, data, source)
    assert isinstance(found[nowhere], Missing) and isinstance(found[wanted[-1]], Missing)
    assert await ann.net.has(wanted) == set()


async def test_wrong_bytes_for_an_id_are_blamed_and_the_next_source_is_asked(lab: Lab) -> None:
    ann = await lab.node("ann")
    liar, bob = await lab.node("liar", store=Liar()), await lab.node("bob")
    await lab.link(ann, liar)
    await lab.link(ann, bob)
    id = content_id(b"truth")
    await bob.net.put([(id, b"truth")], None)
    assert await fetch(ann, [id], [liar, bob]) == {id: Got(id, b"truth", bob.peer)}
    info = ann.info(liar)
    assert info is not None and info.score >= BLAME_WRONG_BYTES - 1
    assert isinstance((await fetch(ann, [id], [liar]))[id], Missing)


async def test_an_adapter_restarted_in_mid_get(lab: Lab) -> None:
    store = Slow()
    ann, bob = await lab.node("ann"), await lab.node("bob", store=store)
    await lab.link(ann, bob)
    id = content_id(b"object")
    await bob.net.put([(id, b"object")], None)
    getting = asyncio.create_task(fetch(ann, [id], [bob]))
    await asyncio.wait_for(store.asked.wait(), WAIT_S)
    await lab.restart(bob)
    await lab.link(ann, bob)
    assert await getting == {id: Got(id, b"object", bob.peer)}


async def test_get_ends_at_its_deadline(lab: Lab) -> None:
    store = Slow()
    ann, bob = await lab.node("ann"), await lab.node("bob", store=store)
    await lab.link(ann, bob)
    id = content_id(b"object")
    found = await fetch(ann, [id], [bob], wait_s=0.05)
    assert isinstance(found[id], Missing)
    await ann.net.close(0.0)
    assert isinstance((await fetch(ann, [id], [bob], wait_s=0.05))[id], Missing)


# -- blame and bans -------------------------------------------------------------------------------


async def test_a_banned_peer_is_cut_and_comes_back_when_the_ban_is_lifted(lab: Lab) -> None:
    ann, bob = await pair(lab)
    ann.net.ban(bob.peer, None)
    assert (await link_down(ann, bob)).cause == "banned"
    await link_down(bob, ann)
    assert ann.net.peers() == []
    ann.net.ban(bob.peer, 0.0)
    await ann.log.wait(LinkUp)


async def test_blame_adds_up_to_a_ban(lab: Lab) -> None:
    ann, bob = await lab.node("ann"), await lab.node("bob")
    await lab.link(ann, bob, keep=False)
    ann.net.blame(bob.peer, BAN_AT // 2, "one")
    info = ann.info(bob)
    assert info is not None and (info.score, info.cause) == (BAN_AT // 2, "one")
    ann.net.blame(bob.peer, BAN_AT, "two")
    down = await ann.log.wait(LinkDown)
    assert "two" in down.cause


async def test_an_owner_is_throttled_instead_of_banned(lab: Lab) -> None:
    ann, bob = await pair(lab)
    bob.net.blame(ann.peer, BAN_AT, "invalid messages")
    for number in range(1_000):
        ann.publish(b"%d" % number)
    assert (await bob.log.wait(Dropped)).why == "flood"
    assert bob.info(ann) is not None
