"""A network of CometBFT validators on loopback: default configuration, kvstore inside the node.

Knows folders, ports and processes; what is measured is `measure`'s matter.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.figures import Failed
from bench.peers.cometbft.install import Binaries
from bench.processes import Children, complete, free_ports

READY_SECONDS_MAX = 30.0
POLL_SECONDS = 0.1
SETUP_SECONDS_MAX = 30.0
FIRST_HEIGHT = 2  # the first block waits for connections, so it is no sample of anything


@dataclass(frozen=True, slots=True)
class Validator:
    home: Path
    rpc_port: int
    p2p_port: int

    @property
    def rpc(self) -> str:
        return f"http://127.0.0.1:{self.rpc_port}"

    @property
    def websocket(self) -> str:
        return f"ws://127.0.0.1:{self.rpc_port}/v1/websocket"


def start(
    binaries: Binaries, children: Children, *, validators: int, folder: Path
) -> list[Validator]:
    """Write the folders and start one process per validator; does not wait for them."""
    homes = folder / "net"
    command = [str(binaries.cometbft), "testnet", "--v", str(validators), "--o", str(homes)]
    complete(command, timeout_s=SETUP_SECONDS_MAX)
    ports = free_ports(2 * validators)
    nodes = [
        Validator(homes / f"node{i}", ports[2 * i], ports[2 * i + 1]) for i in range(validators)
    ]
    ids = re.findall(r"([0-9a-f]{40})@node", (nodes[0].home / "config/config.toml").read_text())
    if len(ids) != validators:
        raise Failed(f"cometbft testnet wrote {len(ids)} peers for {validators} validators")
    for node in nodes:
        peers = ",".join(
            f"{peer}@127.0.0.1:{other.p2p_port}"
            for peer, other in zip(ids, nodes, strict=True)
            if other is not node
        )
        children.start(
            [
                str(binaries.cometbft),
                "start",
                f"--home={node.home}",
                "--proxy_app=kvstore",
                "--log_level=error",
                f"--rpc.laddr=tcp://127.0.0.1:{node.rpc_port}",
                f"--p2p.laddr=tcp://127.0.0.1:{node.p2p_port}",
                f"--p2p.persistent_peers={peers}",
            ],
            log=node.home / "log",
        )
    return nodes


async def call(
    session: aiohttp.ClientSession, node: Validator, method: str, **query: str
) -> object:
    """The result of an RPC call; Failed with what the node said."""
    async with session.get(f"{node.rpc}/{method}", params=query) as answer:
        body = json.loads(await answer.read())
    if "error" in body:
        raise Failed(f"cometbft {method}: {body['error']}")
    result: object = body["result"]
    return result


async def ready(session: aiohttp.ClientSession, nodes: list[Validator]) -> None:
    """Return when every validator has committed FIRST_HEIGHT; Failed after READY_SECONDS_MAX."""
    try:
        async with asyncio.timeout(READY_SECONDS_MAX):
            for node in nodes:
                while await _height(session, node) < FIRST_HEIGHT:  # noqa: ASYNC110
                    await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        log = (nodes[0].home / "log").read_text(errors="replace")[-400:]
        raise Failed(f"cometbft was not ready in {READY_SECONDS_MAX:g} s: {log}") from error


async def _height(session: aiohttp.ClientSession, node: Validator) -> int:
    try:
        status = await call(session, node, "status")
    except aiohttp.ClientError:
        return 0
    assert isinstance(status, dict)
    return int(status["sync_info"]["latest_block_height"])
