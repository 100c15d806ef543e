"""The supervisor: parent of a testnet's validators, owner of its gateway port and control socket.

Holds the folder's lock from `open` to `close`. Whoever ends it ends the validators: they ask the
kernel to be killed with their parent. Knows no protocol.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from consensus.ids import Peer
from node.errors import NotFound, UsageError, suggestion
from node.keystore import load
from node.lock import FileLock
from node.settings import Address, KnownPeer
from testnet.child import Child, State
from testnet.control import Control, Request
from testnet.folder import LOOPBACK, About, Folder
from testnet.limits import READY_S
from testnet.ports import Reserved, listen
from testnet.relay import Relay

log = logging.getLogger("apocryph.testnet")

PORTS_EACH: Final = 3  # of a validator: links, API, fabric
NODE_OPERATIONS: Final = ("kill", "pause", "resume", "restart")


class Supervisor:
    """One running testnet. `done` is set when somebody asked for its end."""

    def __init__(self, folder: Folder, about: About) -> None:
        self.folder, self.about = folder, about
        self.children = {
            one.name: Child(one.name, folder.node_path(one.name), folder.node_log_path(one.name))
            for one in about.nodes
        }
        self.done = asyncio.Event()
        self._closed = asyncio.Event()
        self._lock: FileLock | None = None
        self._ports: Reserved | None = None
        self._acting = asyncio.Lock()  # one operation on validators at a time
        self._control = Control(folder.socket_path, self._handle)
        self._relay: Relay | None = None

    # ---- life -----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take lock and port, write the nodes' folders, start all validators at once.

        Raises AlreadyRunning, PortBusy, ConfigError; then nothing is left running.
        """
        self._lock = self.folder.lock()
        try:
            gateway = listen(self.about.port)
            self.about = replace(self.about, port=int(gateway.getsockname()[1]))
            self._relay = Relay(gateway, self._targets)
            self._ports = Reserved(PORTS_EACH * len(self.children))
            self._write_nodes(self._ports.numbers)
            await asyncio.gather(*[child.start() for child in self.children.values()])
            await self._control.start()
            await self._relay.start()
        except BaseException:
            await self.close()
            raise

    async def wait_ready(self) -> None:
        """All validators are ready, and testnet.json says where. Raises the first one's error."""
        waits = [
            asyncio.create_task(child.wait(State.READY, timeout_s=READY_S))
            for child in self.children.values()
        ]
        try:
            await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()
        self._tell()

    async def lost(self) -> None:
        """Wait until every validator has ended by itself, and raise the first one's error."""
        children = list(self.children.values())
        while left := [child for child in children if child.state != State.FAILED]:
            await asyncio.gather(*[child.failed() for child in left], return_exceptions=True)
        assert children[0].error is not None, "a failure has an error"
        raise children[0].error

    async def close(self) -> None:
        """Stop all validators (STOP_S), let go of port, socket and lock. Idempotent."""
        self.done.set()
        if self._relay is not None:
            await self._relay.close()
        await asyncio.gather(*[child.stop() for child in self.children.values()])
        self._closed.set()
        await asyncio.sleep(0)  # who asked for the end hears that it is there
        await self._control.close()
        if self._ports is not None:
            self._ports.release()
        if self._lock is not None:
            self._lock.release()

    def _write_nodes(self, numbers: Sequence[int]) -> None:
        from node.folder import write_testnet_node

        spec = self.folder.spec_path.read_bytes()
        keys = {
            name: load(self.folder.node_key_path(name), allow_testnet=True)
            for name in self.children
        }
        places = {
            name: [Address(LOOPBACK, port) for port in numbers[i * PORTS_EACH :][:PORTS_EACH]]
            for i, name in enumerate(self.children)
        }
        known = {name: KnownPeer(Peer(key.public), *places[name][0]) for name, key in keys.items()}
        for name, key in keys.items():
            link, api, fabric = places[name]
            write_testnet_node(
                self.folder.node_path(name),
                spec=spec,
                secret=key.secret,
                name=name,
                listen=link,
                api=api,
                fabric=fabric,
                peers=[peer for other, peer in known.items() if other != name],
            )

    def _tell(self) -> None:
        """Where everybody listens, into testnet.json."""
        nodes = []
        for one in self.about.nodes:
            child = self.children[one.name]
            nodes.append(replace(one, api=child.api, fabric=child.fabric, listen=child.listen))
        self.about = replace(self.about, nodes=tuple(nodes))
        self.folder.write_about(self.about)

    def _targets(self) -> Sequence[tuple[str, int]]:
        """Ready validators in order, then those that only listen: clients read what they wrote."""
        ready = [c.address for c in self.children.values() if c.state == State.READY]
        others = [c.address for c in self.children.values() if c.state != State.READY]
        return [address for address in (*ready, *others) if address is not None]

    # ---- operations -----------------------------------------------------------------------------

    async def _handle(self, request: Request) -> Mapping[str, Any]:
        operation = request.get("op")
        if operation == "status":
            return {"nodes": [child.row() for child in self.children.values()]}
        if operation == "down":
            self.done.set()
            await self._closed.wait()
            return {"stopped": [child.name for child in self.children.values()]}
        if operation in NODE_OPERATIONS:
            return await self.act(str(operation), str(request.get("node")))
        raise UsageError(f"unknown operation {operation!r}")

    async def act(self, operation: str, name: str) -> Mapping[str, Any]:
        """kill, pause, resume or restart a validator. Raises NotFound, UsageError, its own error.

        A restart returns when the validator's API answers again.
        """
        child = self.children.get(name)
        if child is None:
            near = suggestion(name, tuple(self.children))
            known = ", ".join(self.children)
            raise NotFound(
                f"there is no validator {name!r}{near}", hint=f"the validators are {known}"
            )
        async with self._acting:
            if self.done.is_set():
                raise UsageError("the testnet is being stopped")
            await _perform(operation, child)
        log.info("%s %s: %s", operation, name, child.state)
        return child.row()


async def _perform(operation: str, child: Child) -> None:
    match operation:
        case "kill" if child.alive:
            await child.kill()
        case "pause" if child.state in (State.READY, State.LISTENING):
            await child.pause()
        case "resume" if child.state == State.PAUSED:
            await child.resume()
        case "restart":
            await child.stop()
            await child.start()
            await child.wait(State.LISTENING, State.READY, timeout_s=READY_S)
        case _:
            raise UsageError(
                f"{operation} is not possible while {child.name} is {child.state}",
                hint="`apocryph testnet status` shows what each validator does",
            )
