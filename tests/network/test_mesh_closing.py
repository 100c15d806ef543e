"""A mesh that ends at any moment: with dials and handshakes in flight, on both loops.

The peers live in a thread of their own and answer while the node's loop is busy, as it is while a
node starts. Every turn of the loop is one moment; one that hangs or leaves an error behind fails.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from network.ports import PeerAddress
from tests.network.netlab import MeshLab

CLOSE_S = 5.0
TURNS = 14
BUSY_S = 0.004  # of each turn: long enough for the peers to answer
LAST_TURNS = 5  # of a loop, for its transports to be gone
PEERS = ("beth", "carl", "dina")
Work = Coroutine[Any, Any, None]


def on_asyncio(work: Work) -> None:
    asyncio.run(work)


def on_uvloop(work: Work) -> None:
    uvloop.run(work)


@pytest.fixture(scope="module")
def peers() -> Iterator[list[PeerAddress]]:
    addresses: list[PeerAddress] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        lab = MeshLab()
        try:
            addresses.extend([(await lab.node(name)).address for name in PEERS])
            ready.set()
            await asyncio.to_thread(done.wait)
        finally:
            await lab.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(CLOSE_S)
        yield addresses
    finally:
        done.set()
        thread.join()


async def end_after(turns: int, peers: list[PeerAddress]) -> None:
    """A node that dials three live peers ends after so many busy turns."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    lab = MeshLab()
    node = await lab.node(f"anna{turns}")
    node.net.connect(peers, True)
    for _ in range(turns):
        time.sleep(BUSY_S)  # noqa: ASYNC251 - the loop is to be busy
        await asyncio.sleep(0)
    async with asyncio.timeout(CLOSE_S):
        await lab.close()
    for _ in range(LAST_TURNS):
        await asyncio.sleep(0)
    assert not told, told


@pytest.mark.parametrize("run", [on_asyncio, on_uvloop])
def test_it_ends_at_any_moment_of_a_dial(
    run: Callable[[Work], None], peers: list[PeerAddress]
) -> None:
    for turns in range(TURNS):
        run(end_after(turns, peers))
