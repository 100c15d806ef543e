"""What a driver does with a running testnet: start a demo, reach a height, tell of all validators.

Works on addresses only, so it is the same for a testnet of this process and one of a daemon.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from consensus.spec import ChainSpec
from node.errors import NodeError, TimedOut, Unreachable
from testnet.folder import About, Folder, Member
from testnet.limits import CERTIFICATES_STATUS_MAX, STALL_S, VIEW_S
from testnet.probe import blocks, get, told
from testnet.traffic import Traffic
from testnet.witness import Witness


class Session:
    """One testnet that runs, as its driver sees it."""

    def __init__(self, folder: Folder, about: About) -> None:
        self.about = about
        self.spec = ChainSpec.decode(folder.spec_path.read_bytes())
        self._accounts = folder.accounts_path

    def traffic(self) -> Traffic:
        """Messages through the visible gateway."""
        return Traffic(self.about.api, self.spec, self._accounts)

    # ---- reaching a height ----------------------------------------------------------------------

    async def reach(self, height: int, *, send: bool) -> list[dict[str, Any]]:
        """Wait until every validator has certified `height`; what they certified there.

        `send`: transfers of our own make the heights. Raises TimedOut when nothing moves for
        STALL_S, ProofRefused, Unreachable.
        """
        progress = Progress(self.about.nodes, height)
        work = [asyncio.create_task(progress.follow(node)) for node in self.about.nodes]
        sender = asyncio.create_task(self._send(progress)) if send else None
        extra = [] if sender is None else [sender]
        try:
            await self._watch(progress, [*work, *extra])
        finally:
            for task in (*work, *extra):
                task.cancel()
            await asyncio.gather(*work, *extra, return_exceptions=True)
        return await self.certified(self.about.nodes, height, certificates=height)

    async def _watch(self, progress: "Progress", tasks: Sequence[asyncio.Task[None]]) -> None:
        """Until all are there. Raises the failure of a task, TimedOut when nothing moves."""
        pending = set(tasks)
        while not progress.reached:
            before = progress.total
            done, pending = await asyncio.wait(
                pending, timeout=STALL_S, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
            if not done and progress.total == before:
                raise TimedOut(
                    f"no validator certified a height for {STALL_S:g} s; {progress.text}",
                    hint="`apocryph testnet logs` shows what they say",
                )

    async def _send(self, progress: "Progress") -> None:
        """One transfer a height; one that nobody takes is made again."""
        traffic = self.traffic()
        while not progress.reached:
            before = progress.highest
            try:
                await traffic.transfer()
            except Unreachable:
                await asyncio.sleep(VIEW_S)
                continue
            await progress.above(before)

    # ---- telling --------------------------------------------------------------------------------

    async def certified(
        self, nodes: Sequence[Member], height: int, *, certificates: int
    ) -> list[dict[str, Any]]:
        """What each of them has certified at `height`, checked by certificates."""
        witness = Witness(self.spec)
        try:
            return await witness.rows(nodes, height, certificates=certificates)
        finally:
            witness.close()

    async def tips(self, nodes: Sequence[Member]) -> list[dict[str, Any]]:
        """Each one's newest height; a validator without an answer has nulls and the cause."""
        witness = Witness(self.spec)
        try:
            return list(await asyncio.gather(*[self._tip(witness, node) for node in nodes]))
        finally:
            witness.close()

    async def _tip(self, witness: Witness, node: Member) -> dict[str, Any]:
        try:
            reply = await get(node.api, "/v1/status")
            if reply.status != 200:
                raise told(reply.body["errors"][0])
            status = reply.body
            told_of = {key: status[key] for key in ("known_height", "catching_up")}
            if status["height"] > 0:
                limit = CERTIFICATES_STATUS_MAX
                row = await witness.row(node, status["height"], certificates=limit)
                return {**row, **told_of}
            return {
                "name": node.name,
                "height": 0,
                "block": status["block"],
                "state_root": status["state_root"],
                "slots": status["slots"],
                "certificates_verified": 0,
                **told_of,
            }
        except Unreachable as error:
            return silent(node.name, error)


class Progress:
    """Heights of all validators, by their streams of blocks."""

    def __init__(self, nodes: Sequence[Member], wanted: int) -> None:
        self._heights = {node.name: 0 for node in nodes}
        self._wanted = wanted
        self._moved = asyncio.Condition()

    @property
    def reached(self) -> bool:
        return min(self._heights.values()) >= self._wanted

    @property
    def highest(self) -> int:
        return max(self._heights.values())

    @property
    def total(self) -> int:
        return sum(self._heights.values())

    @property
    def text(self) -> str:
        return ", ".join([f"{name} {height}" for name, height in self._heights.items()])

    async def follow(self, node: Member) -> None:
        """Until the wanted height. A validator that is gone may come back at its address."""
        while self._heights[node.name] < self._wanted:
            try:
                async for block in blocks(node.api, self._heights[node.name]):
                    await self._rise(node.name, block["height"])
                    if block["height"] >= self._wanted:
                        break
            except Unreachable:
                await asyncio.sleep(VIEW_S)

    async def _rise(self, name: str, height: int) -> None:
        async with self._moved:
            self._heights[name] = max(height, self._heights[name])
            self._moved.notify_all()

    async def above(self, height: int) -> None:
        """Until some validator is above `height`."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.highest > height)


def silent(name: str, error: NodeError) -> dict[str, Any]:
    """The row of a validator that does not answer."""
    return {
        "name": name,
        "height": None,
        "block": None,
        "state_root": None,
        "slots": None,
        "certificates_verified": None,
        "known_height": None,
        "catching_up": None,
        "cause": str(error),
    }
