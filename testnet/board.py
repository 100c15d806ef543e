"""What is known of each validator at this moment, for the eyes.

Fed by streams of blocks and by status. Knows no terminal: `view` draws it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from node.errors import Unreachable
from testnet.folder import Member
from testnet.limits import VIEW_S
from testnet.probe import blocks, get

RATE_S: Final = 5.0  # messages per second are a mean over so long
ANSWERING: Final = ("ready", "listening")
_BLOCKS_KEPT_MAX: Final = 4_096


@dataclass(slots=True)
class Row:
    """One validator. Null: not known."""

    name: str
    state: str
    height: int = 0
    known_height: int | None = None  # of the chain, where this one is behind
    slots: int | None = None
    preference: str | None = None
    streak: int | None = None
    settle_ms: int | None = None
    peers: int | None = None
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_BLOCKS_KEPT_MAX))

    @property
    def word(self) -> str:
        """Its state, or how many heights it has to catch up."""
        if self.known_height is None or self.state not in ANSWERING:
            return self.state
        return f"behind {max(0, self.known_height - self.height):,}"

    def rate(self, now_s: float) -> float:
        """Messages a second, over the last RATE_S."""
        while self.recent and self.recent[0][0] < now_s - RATE_S:
            self.recent.popleft()
        return sum([count for _, count in self.recent]) / RATE_S


class Board:
    """All validators. `state_of(name)`: what the supervisor says of its process."""

    def __init__(self, nodes: Sequence[Member], state_of: Callable[[str], str]) -> None:
        self.rows = {node.name: Row(node.name, state_of(node.name)) for node in nodes}
        self._nodes, self._state_of = nodes, state_of

    @property
    def heights(self) -> tuple[int, ...]:
        return tuple([row.height for row in self.rows.values()])

    def heard(self, name: str, block: dict[str, Any]) -> None:
        """A validator has a new block."""
        row = self.rows[name]
        row.height = max(row.height, block["height"])
        row.recent.append((time.monotonic(), block["messages"] + block["chain_inputs"]))

    def rate(self) -> float:
        """Messages a second of the chain: those of the validator that saw most."""
        now_s = time.monotonic()
        return max([row.rate(now_s) for row in self.rows.values()])

    def told(self, name: str, status: dict[str, Any]) -> None:
        """A validator's status."""
        row, deciding = self.rows[name], status["deciding"]
        row.height = status["height"]
        row.known_height = status["known_height"] if status["catching_up"] else None
        row.slots, row.peers = status["slots"], status["peers"]
        row.preference, row.streak = deciding["preference"], deciding["streak"]
        row.settle_ms = status.get("settle_ms")

    async def run(self) -> None:
        """Keep it fresh until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for node in self._nodes:
                tasks.create_task(self._ask(node))
                tasks.create_task(self._listen(node))

    async def _ask(self, node: Member) -> None:
        while True:
            state = self._state_of(node.name)
            self.rows[node.name].state = state
            if state in ANSWERING:
                try:
                    await self._status(node)
                except Unreachable:
                    pass  # the next round tells what became of it
            await asyncio.sleep(VIEW_S)

    async def _status(self, node: Member) -> None:
        reply = await get(node.api, "/v1/status", timeout_s=VIEW_S)
        if reply.status == 200:
            self.told(node.name, reply.body)

    async def _listen(self, node: Member) -> None:
        while True:
            try:
                await self._status(node)  # what came before is no news
                async for block in blocks(node.api, self.rows[node.name].height):
                    self.heard(node.name, block)
            except Unreachable:
                await asyncio.sleep(VIEW_S)
