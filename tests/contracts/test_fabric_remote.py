"""The fabric's contract suite over gRPC: the tests of the in-process façade, run on a remote one.

Left out, by name and reason, is what looks into the server's process, and what a reader that has
items under way cannot see.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perper_core.fabric import LocalFabric
from perper_core.ports import DEFAULT_STREAM, Fence, Gate, StreamInfo, StreamOptions
from perper_core.wire.client import RemoteFabric
from perper_core.wire.limits import CONNECT_S_DEFAULT
from perper_core.wire.server import FabricServer
from tests.contracts import (
    test_fabric_executions,
    test_fabric_retention,
    test_fabric_states,
    test_fabric_streams,
)
from tests.contracts.fabric_worlds import World

SUITES = {
    "streams": test_fabric_streams,
    "retention": test_fabric_retention,
    "executions": test_fabric_executions,
    "states": test_fabric_states,
}
LEFT_OUT = {
    "retention_gate_none_is_never_slowed": "asks for local and remote listeners of one process",
    "retention_gate_local_and_any": "asks for local and remote listeners of one process",
    "retention_retention_by_field": "items under way to the reader are delivered after a trim",
    "retention_flow_listener_holds_retention": "looks at the server while the ack is on its way",
    "retention_ephemeral_items_go_when_all_have_them": "the same",
    "retention_slow_reader_costs_no_memory": "looks into the listener; see test_wire_readers",
    "streams_create_is_put_if_absent": "compares the gate, which this suite has changed",
}

for noun, suite in SUITES.items():
    for name, test in vars(suite).items():
        if name.startswith("test_") and callable(test):
            globals()[f"test_{noun}_{name.removeprefix('test_')}"] = test
for name in LEFT_OUT:
    del globals()[f"test_{name}"]


class RemoteUnderTest(RemoteFabric):
    """A remote fabric where the suite may think that it is local: `gate=local` becomes `any`, and
    the server's insides can be looked at."""

    def __init__(self, address: str, local: LocalFabric) -> None:
        super().__init__(address)
        self.local = local

    def __getattr__(self, name: str) -> Any:
        return getattr(self.local, name)

    async def create_stream(
        self, name: str, options: StreamOptions = DEFAULT_STREAM, *, fence: Fence | None = None
    ) -> StreamInfo:
        if options.gate is Gate.LOCAL:
            options = replace(options, gate=Gate.ANY)
        return await super().create_stream(name, options, fence=fence)


class RemoteWorld(World):
    """A world whose servers are reached over gRPC."""

    def __init__(self, kind: str, folder: Path) -> None:
        super().__init__(kind, folder)
        self.servers: list[FabricServer] = []
        self.clients: list[RemoteFabric] = []

    async def open(self, *arguments: Any, **named: Any) -> RemoteFabric:
        local = await super().open(*arguments, **named)
        server = FabricServer(local)
        client = RemoteUnderTest(await server.start("127.0.0.1:0"), local)
        self.servers.append(server)
        self.clients.append(client)
        await client.connected(CONNECT_S_DEFAULT)
        return client

    async def reopen(self) -> RemoteFabric:
        await self.clients.pop().close()
        await self.servers.pop().stop(grace_s=0)
        await self.fabrics.pop().close()
        return await self.open()

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        for server in self.servers:
            await server.stop(grace_s=0)
        await super().close()


@pytest.fixture(params=["memory", "lmdb"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    world = RemoteWorld(request.param, tmp_path)
    try:
        yield world
    finally:
        await world.close()
