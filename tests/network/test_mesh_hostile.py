"""The mesh against peers that break the rules: cut, counted, blamed, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from network.envelope import Kind, Query, Status, encode_query, encode_reply, gossip_prefix
from network.errors import TooBig
from network.limits import (
    BLAME_MALFORMED,
    FIRST_MESSAGE_S,
    FLOOD_FRAMES_BURST,
    FLOOD_FRAMES_PER_S,
)
from network.mesh import link as link_module
from network.mesh.admission import Admission
from network.mesh.chunks import FIRST, HEADER, LAST, RESET, WHOLE
from network.ports import OK, Class, Dropped, Gossip, Health, LinkDown, LinkUp
from tests.network.netlab import TOPIC, MeshLab, Node, link_down, make_identity, peer_of
from tests.network.rawpeer import RawPeer

GOSSIP = gossip_prefix(TOPIC)


@pytest.fixture
async def lab() -> AsyncIterator[MeshLab]:
    lab = MeshLab()
    yield lab
    await RawPeer.close_all()
    await lab.close()


@pytest.fixture
async def node(lab: MeshLab) -> Node:
    """A node with one honest link."""
    bob = await lab.node("bob", max_bytes=50_000)
    await lab.link(await lab.node("ann"), bob)
    return bob


async def honest_link_still_works(lab: MeshLab) -> None:
    bob, ann = lab.nodes
    assert ann.publish(b"still here") is OK
    await bob.log.gossip(b"still here")


# -- before the handshake is done -----------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00\x00",
        b"\x00\x01x",
        b"\x00\x20" + bytes(32),
        b"\x00\x21" + bytes(33),
        b"\xff\xff" + bytes(70_000),
        b"\x04\x01" + bytes(1_025),
    ],
)
async def test_garbage_is_cut(lab: MeshLab, node: Node, garbage: bytes) -> None:
    peer = await RawPeer.dial(node)
    peer.writer.write(garbage)
    assert await peer.closed() == b""
    await peer.close()
    await honest_link_still_works(lab)


async def test_our_own_message_comes_back(lab: MeshLab, node: Node) -> None:
    """Message 2 reflected as message 3."""
    peer = await RawPeer.dial(node)
    peer.write(bytes([9]) + bytes(31))
    peer.write(await peer.read())
    assert await peer.closed() == b""
    await peer.close()


@pytest.mark.parametrize("bound", ["FIRST_MESSAGE_S", "HANDSHAKE_S"])
async def test_a_handshake_has_its_time(
    node: Node, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """Who says nothing has less of it than who has begun."""
    monkeypatch.setattr(link_module, bound, 0.05)
    peer = await RawPeer.dial(node)
    if bound == "HANDSHAKE_S":
        peer.write(bytes([9]) + bytes(31))
        await peer.read()
    async with asyncio.timeout(FIRST_MESSAGE_S / 2):
        assert await peer.closed() == b""
    await peer.close()


async def test_silent_connections_keep_nobody_out(lab: MeshLab, node: Node) -> None:
    """Half-open links are bounded before any key exchange; the oldest gives way."""
    assert node.carrier is not None
    node.carrier._admission = Admission(half_open=2)
    waiting = [await RawPeer.dial(node) for _ in range(2)]
    for peer in waiting:
        peer.write(bytes([9]) + bytes(31))
        await peer.read()
    raw = make_identity("raw")
    linked = await RawPeer.link(node, raw)
    await node.log.wait(LinkUp, lambda event: event.peer == raw.peer)
    assert await waiting[0].closed() == b""
    assert node.carrier._admission.half_open == 1
    for peer in (*waiting, linked):
        await peer.close()


async def test_banned_hosts_and_peers_get_no_link(node: Node) -> None:
    node.net.ban(peer_of("raw"), None)
    peer = await RawPeer.link(node, make_identity("raw"))
    await peer.closed()
    await peer.close()
    node.net.ban("127.0.0.0/8", None)
    await node.log.wait(LinkDown)
    peer = await RawPeer.dial(node)
    assert await peer.closed() == b""
    await peer.close()
    assert not node.log.all(LinkUp)


# -- an authenticated peer ------------------------------------------------------------------------

Breach = Callable[[RawPeer], object]


def whole(frame: bytes) -> Breach:
    return lambda peer: peer.frame(frame)


def long_gossip(peer: RawPeer) -> None:
    peer.chunk(3, 1, FIRST, GOSSIP + bytes(10_000))
    for _ in range(4):
        peer.chunk(3, 1, 0, bytes(16_000))


def many_streams(peer: RawPeer) -> None:
    for stream in range(1, 200, 2):
        peer.chunk(3, stream, FIRST, GOSSIP + b"never ends")


BREACHES: dict[str, Breach] = {
    "empty record": lambda peer: peer.record(b""),
    "cut chunk": lambda peer: peer.record(HEADER.pack(0, 0, WHOLE, 9) + b"short"),
    "unknown class": lambda peer: peer.chunk(5, 0, WHOLE, b"x"),
    "unknown flags": lambda peer: peer.chunk(0, 0, 8, b"x"),
    "reset with bytes": lambda peer: peer.chunk(0, 1, RESET, b"x"),
    "end of no stream": lambda peer: peer.chunk(0, 1, LAST, b"x"),
    "empty frame": whole(b""),
    "unknown kind": whole(b"\xee"),
    "second hello": whole(bytes((Kind.HELLO,))),
    "ping without stamp": whole(bytes((Kind.PING,))),
    "cut gossip": whole(bytes((Kind.GOSSIP, 99)) + b"short"),
    "gossip beyond its topic": long_gossip,
    "list of no ids": whole(bytes((Kind.ANNOUNCE,))),
    "topics": whole(bytes((Kind.TOPICS,)) + b"\x80"),
    "query": whole(bytes((Kind.QUERY, 5)) + b"echo"),
    "too many streams": many_streams,
}


@pytest.mark.parametrize("breach", BREACHES)
async def test_what_is_wrong_in_itself_is_blamed_and_ends_the_link(
    lab: MeshLab, node: Node, breach: str
) -> None:
    raw = make_identity("raw")
    peer = await RawPeer.link(node, raw)
    await node.log.wait(LinkUp, lambda event: event.peer == raw.peer)
    BREACHES[breach](peer)
    await node.log.wait(LinkDown, lambda event: event.peer == raw.peer)
    await peer.closed()
    await peer.close()
    now = asyncio.get_running_loop().time()
    assert node.net.conduct.score(raw.peer, now)[0] >= BLAME_MALFORMED - 5
    await honest_link_still_works(lab)


async def test_a_tampered_or_repeated_record_ends_the_link_without_blame(node: Node) -> None:
    """Whoever sits between may do this, so the peer is not blamed for it."""
    for change in (lambda record: record, lambda record: bytes([record[0] ^ 1]) + record[1:]):
        raw = make_identity("raw")
        peer = await RawPeer.link(node, raw)
        await node.log.wait(LinkUp)
        peer.write(change(peer.frame(GOSSIP + b"once")))
        down = await node.log.wait(LinkDown)
        assert "authenticate" in down.cause
        await peer.close()
    assert node.net.conduct.score(raw.peer, 0.0) == (0, "")


@pytest.mark.parametrize("first", [b"", GOSSIP + b"x", bytes((Kind.PING,)) + bytes(8)])
async def test_the_first_frame_must_be_a_hello(node: Node, first: bytes) -> None:
    peer = await RawPeer.link(node, make_identity("raw"), first=first)
    await peer.closed()
    await peer.close()
    assert not node.log.all(LinkUp)


async def test_a_reply_beyond_its_bound_is_refused_as_it_grows(node: Node) -> None:
    raw = make_identity("raw")
    peer = await RawPeer.link(node, raw)
    await node.log.wait(LinkUp)
    for cut in (True, False):
        deadline = asyncio.get_running_loop().time() + 10
        asking = asyncio.create_task(
            node.net.query(raw.peer, "echo/1", b"?", Class.POLL, deadline, 100)
        )
        stream, _ = await peer.next_frame(Kind.QUERY)
        reply = encode_reply(Status.OK, bytes(101))
        if cut:
            peer.chunk(1, stream, FIRST, reply[:60])
            peer.chunk(1, stream, 0, reply[60:])
        else:
            peer.frame(reply, 1, stream)
        with pytest.raises(TooBig):
            await asking
        await node.log.wait(LinkDown)
        await peer.close()
        if cut:
            peer = await RawPeer.link(node, raw)
            await node.log.wait(LinkUp)


async def test_replies_that_nobody_waits_for_are_read_past(lab: MeshLab, node: Node) -> None:
    raw = make_identity("raw")
    peer = await RawPeer.link(node, raw)
    await node.log.wait(LinkUp)
    peer.frame(encode_reply(Status.OK, b"late"), 1, 2)
    peer.chunk(1, 4, FIRST, encode_reply(Status.OK, bytes(10_000)))
    peer.chunk(1, 4, LAST, bytes(10_000))
    peer.chunk(0, 6, RESET, b"")
    peer.frame(gossip_prefix("apx/unknown/topic") + b"not subscribed", 3)
    peer.frame(GOSSIP + b"fine", 3)
    assert (await node.log.wait(Gossip)).data == b"fine"
    info = next(info for info in node.net.peers() if info.peer == raw.peer)
    assert info.score == 0
    await peer.close()


async def test_a_flood_is_dropped_counted_and_costs_only_the_flooder(
    lab: MeshLab, node: Node
) -> None:
    raw = make_identity("raw")
    peer = await RawPeer.link(node, raw)
    await node.log.wait(LinkUp)
    frames = [GOSSIP + b"%d" % number for number in range(500)]
    plain = b"".join(HEADER.pack(3, 0, WHOLE, len(frame)) + frame for frame in frames)
    started = asyncio.get_running_loop().time()
    for _ in range(2 * FLOOD_FRAMES_BURST // len(frames)):
        peer.record(plain)
        await peer.writer.drain()
    dropped = await node.log.wait(Dropped)
    assert (dropped.cls, dropped.why) == (Class.MESSAGE, "flood")
    passed = FLOOD_FRAMES_BURST + FLOOD_FRAMES_PER_S * (
        asyncio.get_running_loop().time() - started + 1
    )
    assert len(node.log.all(Gossip)) <= passed
    await honest_link_still_works(lab)
    await peer.close()


async def test_a_peer_that_floods_with_queries_is_told_busy(node: Node) -> None:
    async def never(peer: bytes, data: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    node.net.serve("never/1", 10, 2, never)
    peer = await RawPeer.link(node, make_identity("raw"))
    await node.log.wait(LinkUp)
    for stream in (1, 3, 5, 7):
        peer.frame(encode_query(Query("never/1", 10, 60_000, b"")), 1, stream)
    answers = [await peer.next_frame(Kind.REPLY) for _ in range(2)]
    assert [(stream, frame[1]) for stream, frame in answers] == [
        (5, Status.BUSY),
        (7, Status.BUSY),
    ]
    await peer.close()
    await node.log.wait(LinkDown)


# -- ourselves ------------------------------------------------------------------------------------


async def test_a_link_with_ourselves_is_refused(node: Node) -> None:
    peer = await RawPeer.link(node, node.identity)
    await peer.closed()
    await peer.close()
    assert not node.log.all(LinkUp) and not node.log.all(Health)


async def test_a_twin_is_refused_and_hinted(node: Node) -> None:
    peer = await RawPeer.link(node, make_identity("bob", instance=b"t" * 16))
    health = await node.log.wait(Health)
    assert (health.state, health.cause) == ("twin", (b"t" * 16).hex())
    await peer.closed()
    await peer.close()


async def test_a_twin_is_hinted_by_the_peer_that_both_are_linked_with(lab: MeshLab) -> None:
    ann, bob = await lab.line("ann", "bob")
    peer = await RawPeer.link(ann, make_identity("bob", instance=b"t" * 16))
    health = await bob.log.wait(Health)
    assert health.state == "twin" and ann.peer.hex() in health.cause
    await link_down(bob, ann)
    await peer.close()
