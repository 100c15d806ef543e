"""A node in a process of its own, for tests that kill and stop it.

Arguments: NAME PEER HOST PORT. It dials PEER at HOST:PORT, echoes queries, and prints a line when
the link is up.
"""

from __future__ import annotations

import asyncio
import random
import sys

from network.mesh.mesh import mesh_network
from network.ports import LinkUp, PeerAddress
from tests.network.netlab import TOPIC, Log, make_identity, peer_of


async def main(name: str, peer: str, host: str, port: str) -> None:
    dice = random.Random()
    net, _ = mesh_network("127.0.0.1", 0, draw=dice.randrange, random_bytes=dice.randbytes)
    net.subscribe(TOPIC, 256 * 1024)
    net.serve("echo/1", 1_000, 10, lambda _, data: data)
    log = Log()
    identity = make_identity(name, instance=dice.randbytes(16))
    net.connect([PeerAddress(peer_of(peer), host, int(port))], True)
    await net.start(identity, log)
    await log.wait(LinkUp)
    print("up", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
