"""What a node says of itself: whether it is ready, and its links."""

from types import SimpleNamespace
from typing import Any

from consensus.ids import Now, Peer, peer_text
from network.ports import PeerAddress
from node.catchup import CatchUp
from node.telling import TIP_AHEAD_MS_MAX, links, readiness

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
        peer=OWN,
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
