"""Clients of a node's API: `AsyncClient`, and `Client` with the same methods for scripts.

Both raise the typed errors of `node.errors`: Unreachable, TimedOut, Rejected, NotFound,
MessageInvalid, UsageError. Messages are signed here, never by the node. Knows no command line.
"""

import asyncio
import time
from base64 import b32decode, b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

from consensus.encoding import Value
from consensus.ids import Agent, ChainId, MessageId, hash_from_text, id_from_text, id_text
from consensus.messages import Message
from node.errors import NotFound, TimedOut, Unreachable
from node.refusals import refusal
from node.transport import EventRecord, Json, Transport, error_of, part, rejected
from node.wallet import EXPIRES_AFTER_BLOCKS, AccountSigner, Terms, reference

Answer = TypeVar("Answer")

TIMEOUT_S: Final = 30.0
WAIT_S: Final = 30.0  # of `send(wait=True)` in all
WAIT_STEP_S: Final = 15.0  # of one request that waits
GAS_DEFAULT: Final = 1_000
RESUMES_MAX: Final = 10  # of a stream of events in a row without any event
RESUME_S: Final = 0.5
_PENDING = "pending"
OPEN: Final = "open"  # the first event of a stream: only its cursor matters


class Sent(NamedTuple):
    """A message that was handed in, and its `tx` record where its outcome was waited for."""

    id: MessageId
    tx: Json | None
    finality_ms: int | None  # from handing in to the answer that says it is included

    @property
    def text(self) -> str:
        return id_text(self.id)


class AsyncClient:
    """One node's API at `url`. Use as a context manager, or `close`.

    `timeout_s` bounds each request that does not wait for something to happen.
    """

    def __init__(self, url: str, *, token: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self._http = Transport(url, token=token, timeout_s=timeout_s)
        self.url = self._http.url
        self._chain: tuple[ChainId, dict[str, Agent], int] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Idempotent."""
        await self._http.close()

    # ---- what a node knows ----------------------------------------------------------------------

    async def status(self, *, after: int | None = None, wait_s: float = 0) -> Json:
        """Of the node. With `after`: once it is above that height, or after `wait_s`."""
        query = {} if after is None else {"after": after, "wait_ms": int(1000 * wait_s)}
        return await self._http.get("/v1/status", query, extra_s=wait_s)

    async def ready(self) -> bool:
        """Whether the node is ready to decide."""
        return (await self._http.ask("GET", "/readyz", None, None, 0))[0] == 200

    async def blocks(self, *, before: int | None = None, limit: int = 20) -> Json:
        """{"blocks": newest first, "next": `before` of the following page}."""
        query = {"limit": limit} | ({} if before is None else {"before": before})
        return await self._http.get("/v1/blocks", query)

    async def block(self, height: int | str = "latest") -> Json:
        """By height or id. Raises NotFound."""
        return await self._http.get(f"/v1/blocks/{part(str(height))}")

    async def tx(self, message: str, *, wait_s: float = 0) -> Json:
        """What became of a message (id text): {"state", "receipt", …}. Raises NotFound."""
        query = {"wait_s": wait_s} if wait_s else {}
        return await self._http.get(f"/v1/tx/{part(message)}", query, extra_s=wait_s)

    async def agents(self, *, after: str = "") -> Json:
        return await self._http.get("/v1/agents", {"after": after} if after else {})

    async def agent(self, ref: str) -> Json:
        """Code, balance and schema. Raises Rejected(UnknownAgent)."""
        return await self._http.get(f"/v1/agents/{part(ref)}")

    async def query(self, ref: str, view: str, arguments: Mapping[str, str] | None = None) -> Json:
        """{"value", "type", "height"} of a view; arguments as text, as `GET` takes them."""
        return await self._http.get(f"/v1/agents/{part(ref)}/views/{part(view)}", arguments)

    async def account(self, account: str) -> Json:
        """{"account", "balance", "height"}."""
        return await self._http.get(f"/v1/accounts/{part(account)}")

    async def chain(self) -> Json:
        """Its id, spec and newest block."""
        return await self._http.get("/v1/chain")

    async def slots(self) -> Json:
        return await self._http.get("/v1/slots")

    async def peers(self) -> Json:
        return await self._http.get("/v1/peers")

    async def proof(self, what: str, *, of: str = "receipt") -> bytes:
        """The bytes of a proof file about a message, or about an account's balance."""
        found = await self._http.get(f"/v1/proofs/{part(what)}", {"of": of})
        text = str(found["proof"]).upper()
        return b32decode(text + "=" * (-len(text) % 8))

    # ---- messages -------------------------------------------------------------------------------

    async def submit(self, messages: Sequence[Message]) -> list[str]:
        """Hand in at most 512 signed messages; their ids. Raises Rejected for the first refused:
        the others are in. Handing in again is safe."""
        body = {"messages": [b64encode(message.raw).decode() for message in messages]}
        status, answer = await self._http.ask("POST", "/v1/messages", None, body, 0)
        if status >= 400:
            raise error_of(status, answer)
        ids: list[str] = answer["ids"]
        return ids

    async def build(
        self,
        signer: AccountSigner,
        to: str,
        type_name: str,
        fields: dict[str, Value],
        *,
        gas: int = GAS_DEFAULT,
        pay: int = 0,
        expires: int | None = None,
        after: str = "",
    ) -> Message:
        """A signed message for `to` (a reference as text). Raises MessageInvalid."""
        chain, agents, within = await self._about()
        if expires is None:
            expires = int((await self.status())["height"]) + min(EXPIRES_AFTER_BLOCKS, within)
        before = MessageId(id_from_text(after)) if after else None
        where = reference(to, chain=chain, agents=agents)
        return signer.build(chain, where, type_name, fields, Terms(expires, gas, pay, before))

    async def send(
        self, message: Message, *, wait: bool = False, timeout_s: float = WAIT_S
    ) -> Sent:
        """Hand in one message; with `wait`, until it is included. Raises Rejected when the pool
        refuses it, TimedOut when it is not included in time: it may still be."""
        began = time.monotonic()
        await self.submit([message])
        if not wait:
            return Sent(message.id, None, None)
        tx = await self._outcome(message, began + timeout_s)
        return Sent(message.id, tx, int(1000 * (time.monotonic() - began)))

    async def _outcome(self, message: Message, deadline: float) -> Json:
        text = id_text(message.id)
        while (left := deadline - time.monotonic()) > 0:
            try:
                found = await self._look(message, min(left, WAIT_STEP_S))
            except (Unreachable, TimedOut):
                found = (
                    None  # it was handed in, so that is no answer: ask again while there is time
                )
            if found is not None:
                return found
            await asyncio.sleep(min(RESUME_S, max(0.0, deadline - time.monotonic())))
        raise TimedOut(f"{text} is not included yet", hint=f"apocryph tx {text}")

    async def _look(self, message: Message, wait_s: float) -> Json | None:
        """Its record once it is included, null while nobody knows. Raises Rejected."""
        try:
            found = await self.tx(id_text(message.id), wait_s=round(wait_s, 3))
        except NotFound:
            found = {"state": "gone"}
        if found["state"] == "included":
            return found
        if found["state"] == "refused":
            told = found["refusal"]
            raise rejected(told["code"], told["cause"], told["hint"])
        height = int((await self.status())["height"])
        if height >= message.expires_height and found["state"] != _PENDING:
            cause = f"height {height} is past its last height {message.expires_height}"
            raise rejected("Expired", cause, refusal("Expired").hint)
        return None

    async def _about(self) -> tuple[ChainId, dict[str, Agent], int]:
        """(chain, agents by name, how many heights a message may wait): asked once."""
        if self._chain is None:
            status = await self.status()
            found = (await self.agents())["names"]
            names = {name: Agent(hash_from_text(text)) for name, text in found.items()}
            chain = ChainId(id_from_text(status["chain"]))
            self._chain = (chain, names, int(status["limits"]["expiry_max_blocks"]))
        return self._chain

    async def agent_ids(self) -> dict[str, Agent]:
        """Agents of the chain by name."""
        return (await self._about())[1]

    # ---- events ---------------------------------------------------------------------------------

    async def events(
        self, *, after: str = "", types: Sequence[str] = (), agent: str = ""
    ) -> AsyncGenerator[EventRecord, None]:
        """Blocks, receipts and events as they come; resumes by itself where a connection ends.

        Raises Unreachable when the node does not come back.
        """
        query = {"types": ",".join(types)} if types else {}
        if agent:
            query["agent"] = agent
        cursor, failures, opened = after, 0, False
        while True:
            try:
                async for record in self._http.stream("/v1/events", query, cursor):
                    cursor, failures, opened = record.cursor or cursor, 0, True
                    if record.type != OPEN:
                        yield record
            except Unreachable:
                failures += 1
                if failures > RESUMES_MAX or not opened:
                    raise
            await asyncio.sleep(RESUME_S)


# ---- the same for scripts -----------------------------------------------------------------------


class Client:
    """`AsyncClient` for code without an event loop: it runs one of its own."""

    def __init__(self, url: str, *, token: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(url, token=token, timeout_s=timeout_s)
        self._streams: dict[AsyncGenerator[EventRecord, None], None] = {}
        self.url = self._client.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent; ends iterators of events too."""
        for records in list(self._streams):
            self._end(records)
        self._run(self._client.close())
        self._runner.close()

    def _run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return self._runner.run(work)

    def status(self, *, after: int | None = None, wait_s: float = 0) -> Json:
        return self._run(self._client.status(after=after, wait_s=wait_s))

    def ready(self) -> bool:
        return self._run(self._client.ready())

    def blocks(self, *, before: int | None = None, limit: int = 20) -> Json:
        return self._run(self._client.blocks(before=before, limit=limit))

    def block(self, height: int | str = "latest") -> Json:
        return self._run(self._client.block(height))

    def tx(self, message: str, *, wait_s: float = 0) -> Json:
        return self._run(self._client.tx(message, wait_s=wait_s))

    def agents(self, *, after: str = "") -> Json:
        return self._run(self._client.agents(after=after))

    def agent(self, ref: str) -> Json:
        return self._run(self._client.agent(ref))

    def agent_ids(self) -> dict[str, Agent]:
        return self._run(self._client.agent_ids())

    def query(self, ref: str, view: str, arguments: Mapping[str, str] | None = None) -> Json:
        return self._run(self._client.query(ref, view, arguments))

    def account(self, account: str) -> Json:
        return self._run(self._client.account(account))

    def chain(self) -> Json:
        return self._run(self._client.chain())

    def slots(self) -> Json:
        return self._run(self._client.slots())

    def peers(self) -> Json:
        return self._run(self._client.peers())

    def proof(self, what: str, *, of: str = "receipt") -> bytes:
        return self._run(self._client.proof(what, of=of))

    def submit(self, messages: Sequence[Message]) -> list[str]:
        return self._run(self._client.submit(messages))

    def build(
        self,
        signer: AccountSigner,
        to: str,
        type_name: str,
        fields: dict[str, Value],
        **terms: Any,
    ) -> Message:
        return self._run(self._client.build(signer, to, type_name, fields, **terms))

    def send(self, message: Message, *, wait: bool = False, timeout_s: float = WAIT_S) -> Sent:
        return self._run(self._client.send(message, wait=wait, timeout_s=timeout_s))

    def events(
        self, *, after: str = "", types: Sequence[str] = (), agent: str = ""
    ) -> Iterator[EventRecord]:
        """As `AsyncClient.events`; close the iterator, or the client, to end it."""
        records = self._client.events(after=after, types=types, agent=agent)
        self._streams[records] = None
        try:
            while True:
                yield self._run(_next(records))
        finally:
            self._end(records)

    def _end(self, records: AsyncGenerator[EventRecord, None]) -> None:
        if records in self._streams:
            del self._streams[records]
            self._run(records.aclose())


async def _next(records: AsyncIterator[EventRecord]) -> EventRecord:
    return await anext(records)
