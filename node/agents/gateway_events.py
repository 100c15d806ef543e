"""Server-sent events with durable cursors: `id: height.index`, resumed by Last-Event-ID.

Everything is read from the committed blocks, at each client's own pace, so nothing is dropped and
nothing is queued: a slow client is told `lagged` and goes on where it is; one that takes nothing
for long is let go and resumes by its cursor. index 0 is the block, then each receipt followed by
its events.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import NamedTuple

from aiohttp import web

from consensus.ids import hash_text
from consensus.messages import Receipt
from node.agents.gateway_limits import (
    EVENT_CLIENTS_MAX,
    EVENT_PING_S,
    EVENT_RETRY_MS,
    EVENT_SLICE,
    EVENT_WRITE_S_MAX,
    LAGGED_HEIGHTS,
)
from node.agents.gateway_replies import Refuse, dumps, refuse
from node.ports import Face
from node.schema import Fault, Json, Names, event_json, receipt_json, summary_json

BLOCK, RECEIPT, EVENT = "block", "receipt", "event"
TYPES = (BLOCK, RECEIPT, EVENT)
INDEX_MAX = 2**31  # beyond every record of a height
RENDERED_HEIGHTS_MAX = 4  # kept for other clients at the same place


class Cursor(NamedTuple):
    """The last record that a client has."""

    height: int
    number: int

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """`height.index` or `height` (all of it). Raises Refuse."""
        height, dot, index = text.partition(".")
        parts = (height, index) if dot else (height, str(INDEX_MAX))
        if not all(part.isascii() and part.isdigit() and len(part) <= 16 for part in parts):
            raise refuse(400, "usage", f"cursor {text[:40]!r}: expected height.index")
        return cls(*map(int, parts))


class Record(NamedTuple):
    """One event as it is sent; `agents`: whose events it is or has."""

    number: int  # the index of `id: height.index`
    type: str
    agents: tuple[str, ...]
    text: str


class Wanted(NamedTuple):
    """A client's filter: types, and an agent (empty: all)."""

    types: frozenset[str]
    agent: str

    def takes(self, record: Record) -> bool:
        if record.type not in self.types:
            return False
        return not self.agent or record.type == BLOCK or self.agent in record.agents


class EventHandlers:
    """`GET /v1/events`."""

    def __init__(self, face: Face, names: Names) -> None:
        self._face, self._names = face, names
        self._rendered: OrderedDict[tuple[int, bool], list[Record]] = OrderedDict()
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = False
        self.clients = 0
        self.lagged = 0

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/events", self.events)]

    def advanced(self) -> None:
        """A block was committed."""
        changed, self._changed = self._changed, asyncio.get_running_loop().create_future()
        changed.set_result(None)

    async def above(self, height: int, timeout_s: float) -> None:
        """Until the chain is above a height, the time is up or the node stops."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._face.chain.height <= height and not self._stopping:
                    await asyncio.shield(self._changed)
        except TimeoutError:
            pass

    def stop(self) -> None:
        """Let all clients go; they resume elsewhere or later."""
        self._stopping = True
        self.advanced()

    # ---- a client -------------------------------------------------------------------------------

    async def events(self, request: web.Request) -> web.StreamResponse:
        wanted, cursor = self._asked(request)
        if self.clients >= EVENT_CLIENTS_MAX:
            raise Refuse(503, [Fault("Busy", "too many readers of events", "try later", True)])
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers=headers)
        self.clients += 1
        try:
            await response.prepare(request)
            # The first id, so that who loses the connection before any event resumes from here.
            start = f"id: {cursor.height}.{cursor.number}\nevent: open\ndata: {{}}\n\n"
            await _write(response, f"retry: {EVENT_RETRY_MS}\n{start}")
            await self._serve(response, wanted, cursor)
        except (ConnectionError, TimeoutError):
            pass  # gone, or stopped reading: the cursor is the client's
        finally:
            self.clients -= 1
        return response

    def _asked(self, request: web.Request) -> tuple[Wanted, Cursor]:
        types = request.query.get("types", ",".join(TYPES)).split(",")
        unknown = [name for name in types if name not in TYPES]
        if unknown:
            raise refuse(400, "usage", f"types: expected some of {', '.join(TYPES)}")
        agent = request.query.get("agent", "")
        if agent in self._names.agents:
            agent = hash_text(self._names.agents[agent])
        last = request.headers.get("Last-Event-ID") or request.query.get("after")
        tip = Cursor(self._face.chain.height, INDEX_MAX)
        return Wanted(frozenset(types), agent), Cursor.parse(last) if last else tip

    async def _serve(self, response: web.StreamResponse, wanted: Wanted, cursor: Cursor) -> None:
        caught_up = False
        while not self._stopping:
            tip = self._face.chain.height
            behind = tip - cursor.height
            if caught_up and behind > LAGGED_HEIGHTS:
                caught_up = False
                self.lagged += 1
                await self._say_lagged(response, cursor, tip)
            async for chunk in self._texts(wanted, cursor, tip):
                await _write(response, chunk)
            if cursor.height < tip:
                cursor = Cursor(cursor.height + 1, -1)
                continue
            caught_up = True
            if cursor.height == tip:
                cursor = Cursor(tip, INDEX_MAX)
            # No await between looking and waiting: a commit in between cannot be missed.
            if self._face.chain.height == tip:
                await self._wait(response)

    async def _say_lagged(self, response: web.StreamResponse, cursor: Cursor, tip: int) -> None:
        told = {"at": cursor.height, "tip": tip, "behind": tip - cursor.height}
        await _write(response, f"event: lagged\ndata: {dumps(told)}\n\n")

    async def _wait(self, response: web.StreamResponse) -> None:
        """Until a block comes; a comment now and then shows that the connection lives."""
        while not self._stopping:
            changed = self._changed
            done, _ = await asyncio.wait([changed], timeout=EVENT_PING_S)
            if done:
                return
            await _write(response, ": ping\n\n")

    # ---- records --------------------------------------------------------------------------------

    async def _texts(self, wanted: Wanted, cursor: Cursor, tip: int) -> AsyncIterator[str]:
        """What the client lacks of the height of its cursor, in a few large pieces."""
        if not 0 < cursor.height <= tip or cursor.number >= INDEX_MAX:
            return
        parts: list[str] = []
        for record in await self._records(cursor.height, full=wanted.types != {BLOCK}):
            if record.number > cursor.number and wanted.takes(record):
                place = f"{cursor.height}.{record.number}"
                parts.append(f"id: {place}\nevent: {record.type}\ndata: {record.text}\n\n")
                if len(parts) == EVENT_SLICE:
                    yield "".join(parts)
                    parts = []
        if parts:
            yield "".join(parts)

    async def _records(self, height: int, *, full: bool) -> list[Record]:
        """All records of a committed height; only the block's unless `full`."""
        key = (height, full)
        found = self._rendered.get(key)
        if found is None:
            found = await self._render(height, full=full)
            self._rendered[key] = found
            if len(self._rendered) > RENDERED_HEIGHTS_MAX:
                self._rendered.popitem(last=False)
        return found

    async def _render(self, height: int, *, full: bool) -> list[Record]:
        stored = self._face.chain.block(height)
        assert stored is not None, "up to the tip all heights are stored"
        found = [Record(0, BLOCK, (), dumps(summary_json(stored)))]
        receipts = self._face.chain.receipts(height) if full else ()
        for count, raw in enumerate(receipts or ()):
            if count and count % EVENT_SLICE == 0:
                await asyncio.sleep(0)
            receipt = Receipt.decode(raw)
            told = receipt_json(receipt, self._names)
            agents = tuple([hash_text(event.agent) for event in receipt.events])
            found.append(Record(len(found), RECEIPT, agents, dumps(told)))
            for event in receipt.events:
                place: Json = {"height": height, "message": told["message"]}
                text = dumps({**place, **event_json(event, self._names)})
                found.append(Record(len(found), EVENT, (hash_text(event.agent),), text))
        return found


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(EVENT_WRITE_S_MAX):
        await response.write(text.encode())
