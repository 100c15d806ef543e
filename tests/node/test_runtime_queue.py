"""The queue of a core that cannot keep up: what may be dropped of it, and what never."""

from types import SimpleNamespace
from typing import Any, cast

from consensus.events import (
    AskFailed,
    Event,
    FactsReceived,
    LinkDown,
    LinkUp,
    Missing,
    PollReceived,
    TipReceived,
    VotesReceived,
)
from consensus.facts import Fact
from consensus.ids import Height, Peer
from node.runtime import QUEUE_MAX, Runtime

PEER = Peer(bytes(32))
VOTES = VotesReceived(())
FACT = cast(Fact, None)
OUTCOMES: tuple[Event, ...] = (
    LinkUp(PEER),
    LinkDown(PEER),
    FactsReceived(((0, FACT),)),  # ours: a renewal is made once an epoch
    TipReceived(PEER, Height(1)),
    AskFailed(1, PEER),
    Missing(1, PEER),
)


async def test_a_full_queue_drops_what_peers_say_and_no_outcome() -> None:
    """Who misses the outcome of an ask, or a link, waits for it for ever: its tip is never asked
    again, and without two thirds of them this node never signs (ADR 0024)."""
    nothing = cast(Any, SimpleNamespace())
    runtime = Runtime(
        nothing,
        signer=nothing,
        chain=nothing,
        executor=nothing,
        outbound=nothing,
        streams=nothing,
        journal=None,
    )
    for _ in range(QUEUE_MAX):
        assert runtime.offer(VOTES)
    assert not runtime.offer(VOTES) and not runtime.offer(PollReceived(1, PEER, Height(1)))
    assert not runtime.offer(FactsReceived(((7, FACT),)))
    assert runtime.dropped == 3
    assert all(runtime.offer(event) for event in OUTCOMES)
    assert runtime.dropped == 3
    await runtime._writer.close()
