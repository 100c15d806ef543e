"""The consensus agent: the pump of one chain's core, and the streams that show what it decided.

`blocks`, `votes`, `facts`, `receipts`, `events` have no gate: a reader that is slow or stopped
never slows a validator; it is bounded by retention and told Truncated (fabric page).
"""

import logging
from collections.abc import Callable, Sequence

from consensus.certificates import VOTE_BYTES_MAX
from consensus.effects import Commit, Publish
from consensus.encoding import decode, encode, head
from node.agents.pages import pages
from node.execution.ports import Outcome
from node.runtime import Runtime
from node.store.chain import ChainData
from perper_core.agent.agent import Agent, on
from perper_core.agent.handles import Context, Stream
from perper_core.agent.writer import Writer
from perper_core.errors import Conflict
from perper_core.ports import Gate, StreamOptions
from perper_core.values import Value

log = logging.getLogger("apocryph.consensus")

KEEP_HEIGHTS = 256  # of `blocks`, `votes`, `facts`, `receipts`, `events`
PART_BYTES_MAX = 512 * 1024  # of rows in one item of `receipts` and `events`
PARTS_MAX = 1 << 16  # items of one height: their keys are height · PARTS_MAX + part
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
        cause = await self._unfit(context, options)
        if cause:
            log.warning("the streams are made anew from the chain: %s", cause)
            for name in STREAMS:
                await context.fabric.remove_stream(name)
        for name in STREAMS:
            stream = await context.open_stream(name, options)
            self._writers[name] = stream.writer()
            if name in ("blocks", "receipts"):
                last = (await stream.info()).last_key
                self._again(name, 0 if last is None else last)
        self.runtime = self._make(context)
        context.spawn(self.runtime.run(), name="consensus")

    async def _unfit(self, context: Context, options: StreamOptions) -> str:
        """Why the streams of the last run cannot go on; empty: they can. They only show what the
        chain holds, so they follow it, never the other way round."""
        for name in STREAMS:
            try:
                stream = await context.open_stream(name, options)
            except Conflict:
                return f"{name} was made with other options"
            info = await stream.info()
            shown = info.last_field
            if shown is None or name in ("votes", "facts"):  # of heights that are under way too
                continue
            if shown > self._chain.height:
                return f"{name} shows height {shown}, the chain ends at {self._chain.height}"
            if name == "blocks":
                raw = await _item(stream, info.committed)
                here = self._chain.block(shown)
                if here is None or raw is None or decode(raw, max_bytes=len(raw))[1] != here.header:
                    return f"blocks shows another block at height {shown}"
        return ""

    def _again(self, name: str, last: int) -> None:
        """Append what was committed but not shown before the last stop (idempotent by key)."""
        newest = self._chain.height
        shown = last if name == "blocks" else last // PARTS_MAX - 1  # its last part may be missing
        for height in range(max(shown + 1, newest - self._keep_heights + 1, 1), newest + 1):
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
        certificate = b"" if effect.certificate is None else effect.certificate.raw
        self._block(height, effect.block.header.raw, certificate)
        self._receipts(height, outcome.receipts)
        if outcome.events:
            rows = [encode([index, *event]) for index, event in outcome.events]
            self._parts("events", height, rows)

    def _block(self, height: int, header: bytes, certificate: bytes) -> None:
        raw = encode([height, header, certificate])
        self._writers["blocks"].offer(raw, key=height, field=height)

    def _receipts(self, height: int, receipts: Sequence[bytes]) -> None:
        self._parts("receipts", height, [encode(receipt) for receipt in receipts])

    def _parts(self, name: str, height: int, rows: Sequence[bytes]) -> None:
        """Items [height, index of the first row, rows, more]: a large block takes several."""
        found = list(pages(rows, PART_BYTES_MAX)) or [[]]
        first = 0
        for part, page in enumerate(found):
            raw = head(4, 4) + encode(height) + encode(first) + head(4, len(page))
            raw += b"".join(page) + encode(part + 1 < len(found))
            self._writers[name].offer(raw, key=height * PARTS_MAX + part, field=height)
            first += len(page)


async def _item(stream: Stream, offset: int) -> bytes | None:
    """One committed item."""
    async with await stream.listen(first=offset) as listener:
        async for batch in listener:
            return bytes(batch.raws[0])
    return None
