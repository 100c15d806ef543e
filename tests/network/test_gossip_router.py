"""The router: who gets what, unasked or announced, and pulls."""

from __future__ import annotations

import random

import pytest

from network.gossip import Router, gossip_id
from network.limits import (
    ANNOUNCE_IDS_MAX,
    DEGREE,
    DEGREE_OUTBOUND_MIN,
    EAGER_BYTES_MAX,
    HELD_BYTES_MAX,
    HELD_ITEMS_MAX,
    PULL_NEXT_SOURCE_S,
    PULLS_OPEN_MAX,
    SERVED_PER_PEER_MAX,
)
from network.ports import Class
from network.seen import Sighting

SMALL, LARGE = b"small", bytes(EAGER_BYTES_MAX + 1)


def peer(number: int) -> bytes:
    return number.to_bytes(32, "big")


def make(links: int, outbound: int = 2, topic: str = "t") -> Router:
    router = Router(b"k" * 32, random.Random(1).randrange, 0.0)
    for number in range(links):
        router.link_up(peer(number), number < outbound)
        router.set_topics(peer(number), [topic])
    return router


def accept(router: Router, frame: bytes, cls: Class, source: int = 0) -> list[bytes]:
    """`frame` comes from a link and is accepted: who gets it at once."""
    id = gossip_id(frame)
    assert router.arrived(peer(source), id, "t", cls, 0.0) is Sighting.NEW
    return router.accepted(id, frame, None, 0.0)


def announced(router: Router) -> dict[bytes, list[bytes]]:
    return dict(router.beat(0.0).announces)


@pytest.mark.parametrize("frame", [SMALL, LARGE])
@pytest.mark.parametrize("cls", list(Class))
def test_in_a_full_mesh_own_payloads_go_to_everybody(frame: bytes, cls: Class) -> None:
    router = make(8)
    sent = router.publish(gossip_id(frame), "t", cls, frame, b"key", 0.0)
    assert sent == [peer(number) for number in range(8)]
    assert not router.beating


def test_only_takers_of_a_topic_get_it() -> None:
    router = make(4)
    router.set_topics(peer(1), ["u"])
    assert router.takers("t") == [peer(0), peer(2), peer(3)]
    router.link_down(peer(2))
    assert router.takers("t") == [peer(0), peer(3)]
    assert router.takers("none") == []


def test_in_a_full_mesh_forwards_of_votes_are_sent_and_of_messages_announced() -> None:
    router = make(4)
    assert accept(router, b"vote", Class.VOTE) == [peer(1), peer(2), peer(3)]
    assert accept(router, b"message", Class.MESSAGE) == []
    assert list(announced(router)) == [peer(1), peer(2), peer(3)]
    assert accept(router, LARGE, Class.VOTE) == []
    assert list(announced(router)) == [peer(1), peer(2), peer(3)]


@pytest.mark.parametrize("cls", [Class.VOTE, Class.POLL, Class.PROPOSAL])
def test_above_eight_own_urgent_payloads_still_go_to_all_links(cls: Class) -> None:
    router = make(20)
    assert len(router.publish(gossip_id(SMALL), "t", cls, SMALL, b"key", 0.0)) == 20


@pytest.mark.parametrize("frame", [SMALL, LARGE])
def test_above_eight_four_links_are_eager_two_of_them_outbound(frame: bytes) -> None:
    router = make(20, outbound=3)
    sent = router.publish(gossip_id(frame), "t", Class.MESSAGE, frame, b"key", 0.0)
    assert len(sent) == DEGREE
    assert sum(link in (peer(0), peer(1), peer(2)) for link in sent) >= DEGREE_OUTBOUND_MIN
    assert sorted(announced(router)) == [peer(n) for n in range(20) if peer(n) not in sent]
    router.link_down(sent[0])
    kept = router.publish(b"i" * 20, "t", Class.MESSAGE, frame, b"other", 0.0)
    assert kept == sent[1:]  # three are enough
    router.link_down(kept[0])
    again = router.publish(b"j" * 20, "t", Class.MESSAGE, frame, b"third", 0.0)
    assert len(again) == DEGREE and again[:2] == kept[1:]


def test_nothing_goes_back_to_who_has_it() -> None:
    router = make(4)
    id = gossip_id(SMALL)
    router.arrived(peer(0), id, "t", Class.VOTE, 0.0)
    assert router.arrived(peer(2), id, "t", Class.VOTE, 0.0) is Sighting.KNOWN
    router.announced(peer(3), [id], 0.0)
    assert router.accepted(id, SMALL, None, 0.0) == [peer(1)]


def test_one_logical_key_is_forwarded_once() -> None:
    router = make(4)
    for payload, logical, expected in ((b"1", b"x", 3), (b"2", b"x", 0), (b"3", b"y", 3)):
        router.arrived(peer(0), payload * 20, "t", Class.VOTE, 0.0)
        assert len(router.accepted(payload * 20, payload, logical, 0.0)) == expected
    router.publish(b"4" * 20, "t", Class.VOTE, b"own", b"z", 0.0)
    router.arrived(peer(0), b"5" * 20, "t", Class.VOTE, 0.0)
    assert router.accepted(b"5" * 20, b"echo", b"z", 0.0) == []


def test_announcements_are_bounded_per_beat() -> None:
    router = make(2)
    for number in range(ANNOUNCE_IDS_MAX + 10):
        accept(router, b"%d" % number, Class.MESSAGE)
    assert len(announced(router)[peer(1)]) == ANNOUNCE_IDS_MAX
    assert len(announced(router)[peer(1)]) == 10
    assert not router.beating


def test_one_pull_at_a_time_and_then_the_next_source() -> None:
    router = make(3)
    id = gossip_id(LARGE)
    assert router.announced(peer(0), [id], 0.0) == [id]
    assert router.announced(peer(1), [id], 0.0) == []
    assert router.announced(peer(0), [id], 0.0) == []
    assert router.beat(PULL_NEXT_SOURCE_S / 2).pulls == []
    assert router.beat(PULL_NEXT_SOURCE_S).pulls == [(peer(1), id)]
    assert router.arrived(peer(1), id, "t", Class.MESSAGE, 0.3) is Sighting.NEW
    assert router.beat(9.0).pulls == []
    assert router.announced(peer(2), [id], 0.0) == []


def test_a_pull_that_nobody_answers_ends() -> None:
    router = make(2)
    id = gossip_id(LARGE)
    router.announced(peer(0), [id], 0.0)
    router.announced(peer(1), [id], 0.0)
    router.link_down(peer(1))
    assert router.beat(1.0).pulls == []
    assert not router.beating
    assert router.announced(peer(0), [id], 2.0) == [id]


def test_open_pulls_are_bounded() -> None:
    router = make(8)
    opened = 0
    for number in range(2_000):
        opened += len(router.announced(peer(number % 8), [b"%020d" % number], 0.0))
    assert opened == PULLS_OPEN_MAX


def test_an_id_is_served_twice_per_peer_and_never_before_its_verdict() -> None:
    router = make(3)
    id = gossip_id(LARGE)
    router.arrived(peer(0), id, "t", Class.MESSAGE, 0.0)
    assert router.pulled(peer(1), id) is None
    router.accepted(id, LARGE, None, 0.0)
    for _ in range(SERVED_PER_PEER_MAX):
        held = router.pulled(peer(1), id)
        assert held is not None and held.frame == LARGE
    assert router.pulled(peer(1), id) is None
    assert router.pulled(peer(2), id) is not None


def test_rejected_payloads_are_held_for_nobody() -> None:
    router = make(3)
    id = gossip_id(LARGE)
    router.arrived(peer(0), id, "t", Class.MESSAGE, 0.0)
    router.rejected(id)
    assert router.accepted(id, LARGE, None, 0.0) == []
    assert router.arrived(peer(1), id, "t", Class.MESSAGE, 0.0) is Sighting.KNOWN


def test_held_payloads_are_bounded() -> None:
    router = make(3)
    big = bytes(HELD_BYTES_MAX // 4)
    for number in range(12):
        accept(router, b"%d" % number + big, Class.MESSAGE)
    assert router.pulled(peer(1), gossip_id(b"0" + big)) is None
    assert router.pulled(peer(1), gossip_id(b"11" + big)) is not None
    for number in range(HELD_ITEMS_MAX + 10):
        accept(router, b"small %d" % number, Class.MESSAGE)
    assert router.pulled(peer(1), gossip_id(b"11" + big)) is None


def test_equal_dice_choose_equal_links() -> None:
    one, other = make(20), make(20)
    for router in (one, other):
        router.publish(gossip_id(SMALL), "t", Class.MESSAGE, SMALL, b"key", 0.0)
    again = [r.publish(b"i" * 20, "t", Class.MESSAGE, SMALL, b"k2", 0.0) for r in (one, other)]
    assert again[0] == again[1]
