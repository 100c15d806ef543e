"""The consensus agent: the pump of one chain's core, and the streams that show what it decided.

`blocks`, `votes`, `facts`, `receipts`, `events` have no gate: a reader that is slow or stopped
never slows a validator; it is bounded by retention and told Truncated (fabric page).
"""

import logging
from collections.abc import Callable

from consensus.certificates import VOTE_BYTES_MAX
from consensus.effects import Commit, Publish
from consensus.encoding import encode
from node.execution.ports import Outcome
from node.runtime import Runtime
from node.store.chain import ChainData
from perper_core.agent.agent import Agent, on
from perper_core.agent.handles import Context
from perper_core.agent.writer import Writer
from perper_core.ports import Gate, StreamOptions
from perper_core.values import Value

log = logging.getLogger("apocryph.consensus")

KEEP_HEIGHTS = 256  # of `blocks`, `votes`, `facts`, `receipts`, `events`
STREAMS = ("blocks", "votes", "facts", "receipts", "events")


class ConsensusAgent(Agent):
    """Runs the runtime that `make` gives once its streams are open."""

    def __init__(
        self, make: Callable[[Context], Runtime], chain: ChainData, *, keep_heights: int
    ) -> None:
        self._keep_heights = keep_heights
        self._make = make
        self._chain = chain
        self._writers: dict[str, Writer] = {}
        self.runtime: Runtime | None = None

    @on("Start")
    async def start(self, context: Context, argument: Value) -> None:
        options = StreamOptions(gate=Gate.NONE, keep_field=self._keep_heights)
        for name in STREAMS:
            stream = await context.open_stream(name, options)
            self._writers[name] = stream.writer()
            if name in ("blocks", "receipts"):
                last = (await stream.info()).last_key
                self._again(name, 0 if last is None else last)
        self.runtime = self._make(context)
        context.spawn(self.runtime.run(), name="consensus")

    def _again(self, name: str, last: int) -> None:
        """Append what was committed but not shown before the last stop (idempotent by key)."""
        newest = self._chain.height
        for height in range(max(last + 1, newest - self._keep_heights + 1, 1), newest + 1):
            stored = self._chain.block(height)
            assert stored is not None, "committed heights are stored"
            if name == "blocks":
                self._block(height, stored.header, stored.certificate)
            else:
                self._receipts(height, self._chain.receipts(height) or ())

    # ---- node.runtime.Streams -------------------------------------------------------------------

    def publish(self, effect: Publish) -> None:
        writer = self._writers.get(effect.stream)
        if writer is not None:
            for record in effect.records:
                assert len(record) <= 2 * VOTE_BYTES_MAX, "votes and facts are short"
                writer.offer(record, field=effect.height)

    def committed(self, effect: Commit, outcome: Outcome) -> None:
        height = effect.block.height
        self._block(height, effect.block.header.raw, effect.certificate.raw)
        self._receipts(height, outcome.receipts)
        if outcome.events:
            rows = [[index, *event] for index, event in outcome.events]
            self._writers["events"].offer(encode([height, rows]), key=height, field=height)

    def _block(self, height: int, header: bytes, certificate: bytes) -> None:
        raw = encode([height, header, certificate])
        self._writers["blocks"].offer(raw, key=height, field=height)

    def _receipts(self, height: int, receipts: tuple[bytes, ...]) -> None:
        raw = encode([height, list(receipts)])
        self._writers["receipts"].offer(raw, key=height, field=height)
