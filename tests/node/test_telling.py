"""What a node says of itself: how far the chain is, and whether it is ready."""

from types import SimpleNamespace
from typing import Any

import pytest

from consensus.ids import Now, Peer, peer_text
from network.ports import PeerAddress
from node.catchup import CatchUp
from node.telling import TIP_AHEAD_MS_MAX, Horizon, horizon, links, readiness

OWN, A, B, C, STRANGER = [Peer(bytes((n,)) * 32) for n in range(5)]
NOW = Now(0, 0)


def node(
    height: int, *, linked: tuple[Peer, ...] = (), halted: str = "", ahead_ms: int = 0, **tips: int
) -> Any:
    """A node of four equal owners that certified `height`; `tips`: what peers a, b, c say."""
    peers = {"a": A, "b": B, "c": C, "stranger": STRANGER}
    catchup = CatchUp()
    for name, tip in tips.items():
        catchup.record_tip(peers[name], tip)
    machine = SimpleNamespace(
        tip=SimpleNamespace(
            header=SimpleNamespace(height=height, fields=SimpleNamespace(time_ms=ahead_ms))
        ),
        standing=SimpleNamespace(votes=SimpleNamespace(weights={OWN: 1, A: 1, B: 1, C: 1})),
    )
    return SimpleNamespace(
        peer=OWN,
        core=SimpleNamespace(engine=SimpleNamespace(machine=machine), catchup=catchup),
        gossip=SimpleNamespace(peers=frozenset(linked)),
        options=SimpleNamespace(peers=[PeerAddress(A, "a", 1), PeerAddress(B, "b", 2)]),
        runtime=SimpleNamespace(halted=halted, now=lambda: NOW),
    )


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        (node(7), Horizon(7, 7, False)),
        (node(7, a=7), Horizon(7, 7, False)),
        (node(7, a=7, b=7), Horizon(7, 7, True)),
        (node(7, a=90, b=7, c=7), Horizon(7, 7, True)),  # one quarter alone is not believed
        (node(7, a=90, b=80, c=7), Horizon(7, 80, True)),
        (node(7, stranger=90, a=7, b=7), Horizon(7, 7, True)),  # who owns nothing counts nothing
        (node(0, a=40, b=40, c=41), Horizon(0, 40, True)),
    ],
)
def test_a_height_counts_once_a_third_of_the_slots_say_it(found: Any, seen: Horizon) -> None:
    assert horizon(found) == seen


def test_what_a_peer_could_not_give_is_known_all_the_same() -> None:
    """A newcomer's asks may fail for a while: it is behind nevertheless."""
    found = node(1, a=40, b=40, c=40)
    for peer in (A, B, C):
        found.core.catchup.record_refused(peer, 2, NOW)
    assert horizon(found) == Horizon(1, 40, True)
    assert not horizon(found).caught_up
    for peer in (A, B, C):
        found.core.catchup.forget(peer)
    assert not horizon(found).sure


def test_ready_wants_links_heights_and_no_halt() -> None:
    linked = (A, B)
    assert readiness(node(7, linked=linked, a=9, b=7))[0]
    for found, missing in [
        (node(7, linked=(A,), a=9, b=7), "linked"),
        (node(7, linked=(A, STRANGER), a=9, b=7), "linked"),
        (node(7, linked=linked, a=90, b=90), "caught_up"),
        (node(7, linked=linked, a=7), "caught_up"),
        (node(7, linked=linked, halted="x", a=7, b=7), "running"),
        (node(7, linked=linked, ahead_ms=TIP_AHEAD_MS_MAX + 1, a=7, b=7), "clock"),
    ]:
        ready, conditions = readiness(found)
        assert not ready
        assert [name for name, holds in conditions.items() if not holds] == [missing]


def test_links_name_the_peers_that_are_missing() -> None:
    told = links(node(7, linked=(A,)))
    assert (told.slots, told.total) == (2, 4)
    assert told.missing == (f"{peer_text(B)}@b:2",)
    assert links(node(7, linked=(A, B))).missing == ()
