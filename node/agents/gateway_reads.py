"""What can be asked of a node: status, blocks, agents and their views, accounts, slots, peers.

Answers from committed data only; a view is answered on the state of one height. Changes nothing.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from aiohttp import web

from consensus.errors import TextError
from consensus.ids import (
    Agent,
    Height,
    hash_from_text,
    hash_text,
    id_from_text,
    id_text,
)
from consensus.leaves import TABLE_KEY, decode_table
from consensus.state import State
from node.agents.gateway_events import EventHandlers
from node.agents.gateway_limits import (
    BLOCKS_PER_PAGE_DEFAULT,
    BLOCKS_PER_PAGE_MAX,
    QUERY_ARGUMENTS_MAX,
    RAW_BLOCKS_MAX,
    VIEW_TRIES_MAX,
    WAIT_S_MAX,
)
from node.agents.gateway_replies import Refuse, answer, number, path_text, refuse
from node.errors import MessageInvalid
from node.execution.keys import AGENT, AGENT_BYTES, AgentRecord, read_balance
from node.execution.prices import MESSAGE_GAS
from node.execution.views import ViewError, view
from node.forms import Edge, Misfit, form, json_bytes, json_int, read_address, read_named
from node.ports import Face
from node.refusals import refusal
from node.schema import (
    Fault,
    Json,
    Names,
    agent_json,
    agent_schema,
    block_json,
    raw_json,
    slots_json,
    summary_json,
)
from node.store.chain import META_HEIGHT

AGENTS_PER_PAGE = 100
Found = TypeVar("Found")


def package_version() -> str:
    """The version of this distribution."""
    try:
        return version("apocryph")
    except PackageNotFoundError:
        return "0"


class ReadHandlers:
    """The GET requests that need no waiting."""

    def __init__(self, face: Face, names: Names, events: EventHandlers) -> None:
        self._face, self._names, self._events = face, names, events

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/status", self.status),
            web.get("/v1/blocks", self.blocks),
            web.get("/v1/blocks/{height}", self.block),
            web.get("/v1/agents", self.agents),
            web.get("/v1/agents/{ref}", self.agent),
            web.get("/v1/agents/{ref}/views/{name}", self.view),
            web.get("/v1/accounts/{id}", self.account),
            web.get("/v1/chain", self.chain),
            web.get("/v1/slots", self.slots),
            web.get("/v1/peers", self.peers),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """`?after=H&wait_ms=N`: once there is a height above H, or after N ms."""
        wait_ms = number(request, "wait_ms", 0, 0, int(1000 * WAIT_S_MAX))
        if wait_ms:
            await self._events.above(number(request, "after", 0, 0, 2**53), wait_ms / 1000)
        spec = self._face.spec
        found = self._face.status()
        found["version"] = package_version()
        found["limits"] = {
            "expiry_max_blocks": spec.parameters.expiry_max_blocks,
            "message_gas": MESSAGE_GAS,
            "block_gas_max": spec.parameters.block_gas_max,
            "block_messages_max": spec.parameters.block_messages_max,
        }
        return answer(found)

    async def chain(self, request: web.Request) -> web.Response:
        """What who joins has to know; `checkpoint` is the newest block, empty at genesis."""
        spec, chain = self._face.spec, self._face.chain
        newest = chain.block(chain.height) if chain.height > 0 else None
        return answer(
            {
                "chain": id_text(spec.id),
                "name": spec.name,
                "consensus": spec.consensus,
                "genesis_time_ms": spec.genesis_time_ms,
                "slots": spec.parameters.slots,
                "epoch_blocks": spec.parameters.epoch_blocks,
                "checkpoint": f"{newest.height}:{id_text(newest.id)}" if newest else "",
                "spec": json_bytes(spec.raw),
            }
        )

    # ---- blocks ---------------------------------------------------------------------------------

    async def blocks(self, request: web.Request) -> web.Response:
        """Newest first. `?before=H&limit=N`; `next`: the `before` of the following page.

        `?from=H&count=N&raw=1`: upwards, the bytes that certify each, for who checks them.
        """
        if "raw" in request.query:
            return self._raw_blocks(request)
        tip = self._face.chain.height
        before = number(request, "before", tip + 1, 0, 2**53)
        limit = number(request, "limit", BLOCKS_PER_PAGE_DEFAULT, 1, BLOCKS_PER_PAGE_MAX)
        newest = min(before - 1, tip)
        stored = [self._face.chain.block(h) for h in range(newest, max(newest - limit, -1), -1)]
        found = [summary_json(block) for block in stored if block is not None]
        following = found[-1]["height"] if found and found[-1]["height"] > 0 else None
        return answer({"blocks": found, "next": following})

    def _raw_blocks(self, request: web.Request) -> web.Response:
        chain = self._face.chain
        first = number(request, "from", 1, 0, 2**53)
        count = number(request, "count", BLOCKS_PER_PAGE_DEFAULT, 1, RAW_BLOCKS_MAX)
        heights = range(first, min(first + count, chain.height + 1))
        found = [(chain.block(height), chain.table_after(height)) for height in heights]
        return answer({"blocks": [raw_json(block, table) for block, table in found if block]})

    async def block(self, request: web.Request) -> web.Response:
        """By height, by id, or `latest`."""
        text, chain = path_text(request, "height"), self._face.chain
        if text == "latest":
            height: int | None = chain.height
        elif text.isascii() and text.isdigit() and len(text) <= 16:
            height = int(text)
        else:
            try:
                height = chain.height_of(id_from_text(text))
            except TextError as error:
                raise refuse(400, "usage", f"neither a height nor a block id: {error}") from error
        stored = None if height is None else chain.block(Height(height))
        if stored is None:
            raise refuse(404, "not_found", f"no block {text}; the newest is {chain.height}")
        return answer(block_json(stored))

    # ---- agents ---------------------------------------------------------------------------------

    async def agents(self, request: web.Request) -> web.Response:
        """All agents in the order of their ids; `?after=` an id for the following page."""
        height, state = self._face.state()
        after = request.query.get("after", "")
        start = AGENT + self._agent(after) + b"\xff" if after else AGENT
        found: list[Json] = []
        pairs = state.scan(AGENT, start, 1024)
        while pairs and len(found) < AGENTS_PER_PAGE:
            for key, raw in pairs:
                if len(key) == len(AGENT) + AGENT_BYTES and len(found) < AGENTS_PER_PAGE:
                    agent = key[len(AGENT) :]
                    record = AgentRecord.decode(raw)
                    name = self._names.agent(agent)
                    found.append({"agent": name, "id": hash_text(agent), "code": record.code})
            # Past the fields of the last agent seen, so that large agents cost nothing.
            last = pairs[-1][0][: len(AGENT) + AGENT_BYTES]
            pairs = state.scan(AGENT, last + b"\xff", 1024)
        following = found[-1]["id"] if len(found) == AGENTS_PER_PAGE else None
        names = {name: hash_text(agent) for name, agent in self._names.agents.items()}
        return answer({"agents": found, "names": names, "height": height, "next": following})

    async def agent(self, request: web.Request) -> web.Response:
        agent = self._agent(path_text(request, "ref"))

        def read(state: State) -> Json:
            record = AgentRecord.read(state, agent)
            if record is None:
                raise _unknown_agent()
            return agent_json(agent, record, self._names, read_balance(state, agent))

        height, found = self._at_one_height(read)
        return answer({**found, "height": height})

    async def view(self, request: web.Request) -> web.Response:
        """Arguments by name in the query, typed by the agent's schema."""
        agent, name = self._agent(path_text(request, "ref")), path_text(request, "name")
        if len(request.query) > QUERY_ARGUMENTS_MAX:
            raise refuse(400, "usage", f"more than {QUERY_ARGUMENTS_MAX} arguments")
        given = dict(request.query.items())

        def read(state: State) -> Json:
            record = AgentRecord.read(state, agent)
            schema = None if record is None else agent_schema(record.code)
            if schema is None:
                raise _unknown_agent()
            declared = schema["views"].get(name)
            edge = self._edge(state)
            values = {}
            if declared is not None:
                what = f"view {name}"
                values = read_named(given, declared["arguments"], edge, what=what)
            value = view(self._face.spec, state, agent, name, values)
            shown = form(declared["returns"], edge).show(value)
            return {"value": shown, "type": declared["returns"]}

        try:
            height, found = self._at_one_height(read)
        except MessageInvalid as error:
            raise Refuse(400, [Fault("BadArgument", str(error), error.hint)]) from error
        except ViewError as error:
            raise _view_refused(error) from error
        return answer({**found, "height": height})

    def _agent(self, text: str) -> Agent:
        """An agent of this chain by name or id. Raises Refuse."""
        known = self._names.agents.get(text)
        if known is not None:
            return known
        try:
            return Agent(hash_from_text(text))
        except TextError as error:
            names = ", ".join(self._names.agents)
            cause = f"no agent {text!r}: neither a name of the genesis nor an id"
            hint = f"the names of this chain are {names}"
            raise Refuse(404, [Fault("UnknownAgent", cause, hint)]) from error

    def _edge(self, state: State) -> Edge:
        def resolve(text: str) -> bytes:
            return self._names.agents.get(text) or read_address(text)

        return Edge(resolve, lambda raw: self._names.address(raw, state))

    def _at_one_height(self, read: Callable[[State], Found]) -> tuple[int, Found]:
        """(height, answer) of a read that no commit overtook: the state moves under a reader."""
        store = self._face.chain.store
        for _ in range(VIEW_TRIES_MAX):
            before = store.get(META_HEIGHT)
            height, state = self._face.state()
            found = read(state)
            if store.get(META_HEIGHT) == before:
                return height if before is None else int.from_bytes(before, "big"), found
        busy = "every try was overtaken by a new block"
        raise Refuse(503, [Fault("Busy", busy, "try again in a moment", True)])

    # ---- accounts, slots, peers -----------------------------------------------------------------

    async def account(self, request: web.Request) -> web.Response:
        text = path_text(request, "id")
        try:
            raw = self._names.agents.get(text) or read_address(text)
        except Misfit as error:
            raise refuse(400, "usage", str(error)) from error
        height, balance = self._at_one_height(lambda state: read_balance(state, raw))
        return answer({"account": text, "balance": json_int(balance), "height": height})

    async def slots(self, request: web.Request) -> web.Response:
        """The table in force; the newest block of an epoch names the next one."""
        height, raw = self._at_one_height(lambda state: state.get(TABLE_KEY))
        assert raw is not None, "genesis sets a table"
        return answer({**slots_json(decode_table(raw)), "height": height})

    async def peers(self, request: web.Request) -> web.Response:
        return answer({"peers": self._face.peers()})


def _unknown_agent() -> Refuse:
    row = refusal("UnknownAgent")
    return Refuse(404, [Fault("UnknownAgent", "no such agent on this chain", row.hint)])


def _view_refused(error: ViewError) -> Refuse:
    status = 404 if error.code in ("UnknownAgent", "UnknownView") else 400
    reason: Any = getattr(error, "reason", "")
    if reason:
        status = 422
    return Refuse(status, [Fault(error.code, str(error), refusal(reason).hint)])
