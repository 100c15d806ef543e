"""The mesh over real sockets and processes: what the contract suite cannot see."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop

from network.errors import TransportError
from network.limits import (
    CROSS_DIAL_S,
    DEAD_S,
    GOSSIP_BYTES_MAX,
    KEEPALIVE_S,
    LINK_AGE_S,
    LINK_QUEUE_BYTES,
    REPLY_BYTES_MAX,
    STALLED_S,
)
from network.mesh import mesh as mesh_module
from network.mesh.link import TcpLink
from network.mesh.mesh import mesh_network
from network.ports import OK, Class, LinkDown, LinkUp, PeerAddress
from tests.network.netlab import Log, MeshLab, Node, fill, link_down, make_identity, peer_of
from tests.network.relay import Relay

BULK_BYTES = 2_000_000
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
async def lab() -> AsyncIterator[MeshLab]:
    lab = MeshLab()
    yield lab
    await lab.close()


def only_link(node: Node) -> TcpLink:
    assert node.carrier is not None
    (link,) = node.carrier.links
    return link


async def linked(node: Node, other: Node) -> None:
    await node.log.wait(LinkUp, lambda event: event.peer == other.peer)


# -- links ----------------------------------------------------------------------------------------


async def test_peers_that_dial_each_other_at_once_keep_one_and_the_same_link(
    lab: MeshLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("network.dialler.DIAL_SECOND_PARTY_S", 0.0)
    for number in range(10):
        ann, bob = await lab.node(f"ann{number}"), await lab.node(f"bob{number}")
        ann.net.connect([bob.address], True)
        bob.net.connect([ann.address], True)
        await linked(ann, bob)
        await linked(bob, ann)
        bob.net.serve("echo/1", 10, 10, lambda peer, data: data)
        for _ in range(3):
            await asyncio.sleep(0.01)
            assert only_link(ann).outbound is not only_link(bob).outbound
        assert await ann.ask(bob, b"x") == b"x"


@dataclass
class End:
    """What a carrier looks at when it has two links of one pair."""

    peer: bytes
    outbound: bool
    since: float
    instance: bytes = b"i" * 16


@pytest.mark.parametrize("first", ["ann's dial", "bob's dial"])
@pytest.mark.parametrize("apart_s", [0.0, CROSS_DIAL_S - 1, CROSS_DIAL_S + 1])
async def test_both_ends_choose_the_same_of_two_links(
    lab: MeshLab, first: str, apart_s: float
) -> None:
    """They may see the two come up in either order."""
    nodes = {"ann": await lab.node("ann"), "bob": await lab.node("bob")}
    stays: list[str] = []
    for name, other in (("ann", "bob"), ("bob", "ann")):
        dials = {
            f"{who}'s dial": End(nodes[other].peer, outbound=who == name, since=apart_s)
            for who in nodes
        }
        # At one end the order is turned round if both came at once.
        old = first if name == "ann" or apart_s else next(d for d in dials if d != first)
        new = next(dial for dial in dials if dial != old)
        dials[old].since = 0.0
        carrier = nodes[name].carrier
        assert carrier is not None
        newer_stays = carrier._prefers(dials[new], dials[old])  # type: ignore[arg-type]
        stays.append(new if newer_stays else old)
        dials[new].instance = b"j" * 16
        assert carrier._prefers(dials[new], dials[old])  # type: ignore[arg-type]
    assert stays[0] == stays[1]
    smaller = min(nodes, key=lambda name: nodes[name].peer)
    later = next(dial for dial in ("ann's dial", "bob's dial") if dial != first)
    assert stays[0] == (later if apart_s > CROSS_DIAL_S else f"{smaller}'s dial")


async def test_a_peer_that_throws_us_out_is_not_dialled_all_the_time(lab: MeshLab) -> None:
    ann, bob = await lab.node("ann"), await lab.node("bob")
    ann.net.connect([bob.address], True)
    loop = asyncio.get_running_loop()
    started, ups = loop.time(), 0
    while loop.time() - started < 0.5:
        await bob.log.wait(LinkUp)
        ups += 1
        only_link(bob).close("not you")
    assert 1 < ups < 10


async def test_a_wrong_peer_at_an_address_never_comes_up(lab: MeshLab) -> None:
    ann, bob = await lab.node("ann"), await lab.node("bob")
    wrong = PeerAddress(peer_of("cleo"), bob.address.host, bob.address.port)
    ann.net.connect([wrong], False)
    while ann.net.book.known():
        for entry in ann.net.book.due(asyncio.get_running_loop().time() + 60, []):
            entry.due = 0.0
            ann.net.connect([], True)
        await asyncio.sleep(0.01)
    assert not ann.log.all(LinkUp) and not bob.log.all(LinkUp)


async def test_a_taken_port_is_told(lab: MeshLab) -> None:
    ann = await lab.node("ann")
    dice = random.Random(1)
    address = ann.address
    net, _ = mesh_network(
        address.host, address.port, draw=dice.randrange, random_bytes=dice.randbytes
    )
    with pytest.raises(TransportError, match=f"cannot listen on 127.0.0.1:{address.port}"):
        await net.start(make_identity("bob"), Log())
    await net.close(0.0)


async def test_versions_of_the_wire_must_meet(lab: MeshLab) -> None:
    ann = await lab.node("ann", identity=make_identity("ann", wire=(1, 1)))
    bob = await lab.node("bob", identity=make_identity("bob", wire=(2, 3)))
    cleo = await lab.node("cleo", identity=make_identity("cleo", wire=(1, 2)))
    ann.net.connect([bob.address], False)
    cleo.net.connect([ann.address, bob.address], True)
    first, second = await cleo.log.wait(LinkUp), await cleo.log.wait(LinkUp)
    assert {first.peer: first.wire, second.peer: second.wire} == {ann.peer: 1, bob.peer: 2}
    assert [up.peer for up in ann.log.all(LinkUp)] == [cleo.peer]


async def test_inbound_slots_are_kept_for_kept_peers(
    lab: MeshLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh_module, "LINKS_INBOUND_MAX", 1)
    hub = await lab.node("hub")
    owner = await lab.node("owner")
    hub.net.connect([PeerAddress(owner.peer, "", 0)], True)
    first, second = await lab.node("first"), await lab.node("second")
    first.net.connect([hub.address], True)
    await linked(hub, first)
    second.net.connect([hub.address], False)
    owner.net.connect([hub.address], True)
    await linked(hub, owner)
    assert sorted(info.peer for info in hub.net.peers()) == sorted([first.peer, owner.peer])
    assert not second.log.all(LinkUp)


async def test_keepalive_silence_stall_and_age(lab: MeshLab) -> None:
    ann, bob = await lab.line("ann", "bob")
    bob.net.serve("echo/1", 10, 10, lambda peer, data: data)
    now = asyncio.get_running_loop().time()
    link = only_link(ann)
    before = link.sent_bytes
    link.tick(now + KEEPALIVE_S / 2)
    await asyncio.sleep(0)
    assert link.sent_bytes == before and link.rtt_ms is None
    link.tick(now + KEEPALIVE_S + 1)
    await ann.ask(bob)  # its reply comes after the pong
    assert link.rtt_ms is not None and link.rtt_ms >= 0
    link.tick(now + DEAD_S - 1)
    assert only_link(ann) is link
    link.tick(now + DEAD_S + 1)
    assert (await link_down(ann, bob)).cause == "silent"
    await linked(ann, bob)
    link = only_link(ann)
    link._heard_at = now + 2 * LINK_AGE_S
    link.tick(now + LINK_AGE_S + 60)
    assert (await link_down(ann, bob)).cause == "old"
    await linked(ann, bob)
    lab.stall(bob)
    await fill(ann)
    link = only_link(ann)
    link._heard_at = now + 2 * STALLED_S
    link.tick(now + 2 * STALLED_S)
    assert (await link_down(ann, bob)).cause == "stalled"


async def test_a_stopped_reader_holds_no_more_than_its_bounds(lab: MeshLab) -> None:
    ann, bob = await lab.line("ann", "bob")
    cleo = await lab.node("cleo")
    await lab.link(ann, cleo)
    lab.stall(bob)
    for number in range(200):
        payload = number.to_bytes(4, "big") * 50_000
        assert ann.publish(payload) is OK  # cleo takes it
        await cleo.log.gossip(payload)
    info = ann.info(bob)
    assert info is not None and info.dropped > 0
    for cls in Class:
        assert info.queued_bytes[cls] <= LINK_QUEUE_BYTES[cls]


async def test_subnets_can_be_banned(lab: MeshLab) -> None:
    ann, bob = await lab.line("ann", "bob")
    ann.net.ban("127.0.0.0/24", None)
    await link_down(ann, bob)
    ann.net.ban("127.0.0.0/24", 0.0)
    await linked(ann, bob)


# -- priorities -----------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_poll_overtakes_a_bulk_reply_on_a_slow_wire(lab: MeshLab) -> None:
    """Counted in bytes that pass before the answer, so that a busy machine does not matter."""
    ann, bob = await lab.node("ann"), await lab.node("bob")
    relay = Relay((bob.address.host, bob.address.port), per_s=1_000_000)
    relay.start()
    bob.net.serve("bulk/1", 10, 10, lambda peer, data: bytes(BULK_BYTES))
    bob.net.serve("poll/1", 10, 10, lambda peer, data: b"answer")
    ann.net.connect([PeerAddress(bob.peer, *relay.address)], True)
    await linked(ann, bob)
    loop = asyncio.get_running_loop()
    bulk = asyncio.create_task(
        ann.net.query(bob.peer, "bulk/1", b"", Class.CONTENT, loop.time() + 30, BULK_BYTES)
    )
    overtaken: list[int] = []
    for _ in range(20):
        await asyncio.sleep(0.03)
        before = relay.passed
        await ann.ask(bob, proto="poll/1")
        overtaken.append(relay.passed - before)
    assert not bulk.done()
    # Below the scheduler: 16 kB unsent, one record, and the small buffers of the relay.
    assert sorted(overtaken)[10] < 150_000
    assert len(await bulk) == BULK_BYTES
    await ann.net.close(0.0)
    await relay.close()


# -- real processes -------------------------------------------------------------------------------


@asynccontextmanager
async def process(name: str, node: Node) -> AsyncIterator[asyncio.subprocess.Process]:
    """A node of its own process, linked with `node`; killed whatever happens."""
    address = node.address
    arguments = ("-m", "tests.network.meshprocess", name, node.name)
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        address.host,
        str(address.port),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert running.stdout is not None
        assert await asyncio.wait_for(running.stdout.readline(), 20) == b"up\n"
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()
        running._transport.close()  # type: ignore[attr-defined]


@pytest.mark.slow
async def test_a_killed_process_is_noticed_at_once_and_its_next_start_is_linked(
    lab: MeshLab,
) -> None:
    ann = await lab.node("ann")
    loop = asyncio.get_running_loop()
    async with process("bob", ann) as bob:
        first = await ann.log.wait(LinkUp)
        killed = loop.time()
        bob.send_signal(signal.SIGKILL)
        await ann.log.wait(LinkDown)
        assert loop.time() - killed < 2
    async with process("bob", ann):
        second = await ann.log.wait(LinkUp)
    assert first.peer == second.peer == peer_of("bob")
    assert first.instance != second.instance


@pytest.mark.slow
async def test_a_stopped_process_holds_up_nobody_and_wakes_to_the_same_link(lab: MeshLab) -> None:
    ann = await lab.node("ann")
    cleo = await lab.node("cleo")
    await lab.link(ann, cleo)
    async with process("bob", ann) as bob:
        await ann.log.wait(LinkUp)
        bob.send_signal(signal.SIGSTOP)
        for number in range(100):
            payload = number.to_bytes(4, "big") * (GOSSIP_BYTES_MAX // 4)
            assert ann.publish(payload) is OK
            await cleo.log.gossip(payload)
        stopped = next(info for info in ann.net.peers() if info.peer == peer_of("bob"))
        assert sum(stopped.queued_bytes) <= sum(LINK_QUEUE_BYTES) and stopped.dropped > 0
        bob.send_signal(signal.SIGCONT)
        deadline = asyncio.get_running_loop().time() + 20
        reply = await ann.net.query(peer_of("bob"), "echo/1", b"awake", Class.POLL, deadline, 10)
        assert reply == b"awake"


def test_the_mesh_runs_on_uvloop() -> None:
    async def run() -> None:
        lab = MeshLab()
        try:
            ann, bob = await lab.line("ann", "bob")
            bob.net.serve("echo/1", 10, 10, lambda peer, data: bytes(REPLY_BYTES_MAX))
            assert len(await ann.ask(bob, max_reply=REPLY_BYTES_MAX)) == REPLY_BYTES_MAX
            assert ann.publish(bytes(GOSSIP_BYTES_MAX)) is OK
            await bob.log.gossip(bytes(GOSSIP_BYTES_MAX))
            lab.stall(bob)
            await fill(ann)
            lab.resume(bob)
            lab.break_link(bob, ann)
            await link_down(ann, bob)
            await linked(ann, bob)
        finally:
            await lab.close()

    uvloop.run(run())
