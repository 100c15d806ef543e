"""What can be asked of a node: answers from committed data, errors in the one envelope."""

from base64 import b64decode
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from consensus.block import Header
from consensus.certificates import Certificate
from consensus.ids import account_text, hash_text, id_of_hash, id_text, peer_text
from consensus.spec import agent_id
from node.agents.gateway import GatewayAgent
from node.agents.gateway_limits import VIEW_TRIES_MAX
from node.agents.gateway_reads import ReadHandlers
from node.agents.gateway_replies import Refuse
from node.openapi import document
from node.schema import Names
from node.validator import Validator
from tests.node.gateway_lab import BALANCE, BOB, lab_spec, message, running, transfer


async def ask(validator: Validator, path: str, **options: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(validator.gateway.url + path, **options) as response,
    ):
        kind = response.content_type
        return response.status, await (
            response.json() if kind == "application/json" else response.text()
        )


async def included(validator: Validator, *messages: Any) -> None:
    """Hand in, and wait until the chain holds them."""
    await validator.submit(messages)
    for one in messages:
        status, body = await ask(validator, f"/v1/tx/{id_text(one.id)}?wait_s=10")
        assert status == 200
        assert body["state"] == "included"


async def test_status_blocks_and_slots_say_what_the_chain_holds(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        one = transfer(node)
        await included(node, one)
        _, status = await ask(node, "/v1/status")
        stored = node.chain.tip()
        assert stored is not None
        assert status["height"] == 1 == stored.height
        assert status["block"] == id_text(stored.id)
        header = Header.decode(stored.header).fields
        assert status["state_root"] == hash_text(header.state_root)
        assert (status["slots"], status["messages_total"]) == (60, 1)
        _, block = await ask(node, "/v1/blocks/1")
        assert block["messages"] == [id_text(one.id)]
        assert block["certificate"]["signers"] == [peer_text(node.peer)]
        assert await ask(node, f"/v1/blocks/{status['block']}") == (200, block)
        assert await ask(node, "/v1/blocks/latest") == (200, block)
        _, page = await ask(node, "/v1/blocks?limit=1")
        assert [row["height"] for row in page["blocks"]] == [1]
        _, rest = await ask(node, f"/v1/blocks?before={page['next']}")
        assert ([row["height"] for row in rest["blocks"]], rest["next"]) == ([0], None)
        _, slots = await ask(node, "/v1/slots")
        assert slots["owners"] == {peer_text(node.peer): list(range(60))}
        assert await ask(node, "/v1/peers") == (200, {"peers": []})


async def test_raw_blocks_are_the_bytes_that_certify(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await included(node, transfer(node))
        _, body = await ask(node, "/v1/blocks?from=0&count=9&raw=1")
        genesis, first = body["blocks"]
        assert (genesis["height"], genesis["certificate"]) == (0, "")
        assert b64decode(genesis["next_table"]) == node.spec.genesis_table().raw
        header = Header.decode(b64decode(first["header"]))
        certificate = Certificate.decode(b64decode(first["certificate"]))
        assert certificate.block == header.id
        assert first["next_table"] is None
        assert (await ask(node, "/v1/blocks?from=2&raw=1"))[1] == {"blocks": []}


async def test_agents_views_and_accounts(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await included(node, transfer(node, 7), message(node, "counter", "Add", {"by": 3}))
        _, agents = await ask(node, "/v1/agents")
        assert {row["agent"] for row in agents["agents"]} == {"token", "counter", "ping", "pong"}
        assert agents["names"]["token"] == hash_text(agent_id("token"))
        _, token = await ask(node, "/v1/agents/token")
        assert token["code"] == "native:token/1"
        assert token["schema"]["required"] == {"Transfer": ["to", "amount"]}
        assert (await ask(node, f"/v1/agents/{token['id']}"))[1] == token
        bob = account_text(BOB.account)
        _, view = await ask(node, f"/v1/agents/token/views/balance?owner={bob}")
        assert (view["value"], view["type"]) == (BALANCE + 7, "int")
        assert (await ask(node, "/v1/agents/counter/views/value"))[1]["value"] == 3
        assert (await ask(node, f"/v1/accounts/{bob}"))[1]["balance"] == BALANCE + 7
        assert (await ask(node, "/v1/accounts/token"))[1]["balance"] == 0


@pytest.mark.parametrize(
    ("path", "status", "code", "cause"),
    [
        ("/v1/nothing", 404, "not_found", "no such path"),
        ("/v1/blocks/9", 404, "not_found", "the newest is 0"),
        ("/v1/blocks/x", 400, "usage", "neither a height nor"),
        ("/v1/blocks?limit=0", 400, "usage", "1 ≤ limit"),
        ("/v1/blocks?before=-1", 400, "usage", "whole number"),
        ("/v1/tx/x", 400, "usage", "base32"),
        (f"/v1/tx/{'b' + 'a' * 400}", 400, "usage", "more than 256"),
        (f"/v1/tx/{id_text(id_of_hash(bytes(32)))}", 404, "not_found", "no message"),
        ("/v1/agents/nobody", 404, "UnknownAgent", "neither a name"),
        (f"/v1/agents/{hash_text(bytes(32))}", 404, "UnknownAgent", "no such agent"),
        ("/v1/agents/token/views/nope", 404, "UnknownView", "it has: balance"),
        ("/v1/agents/token/views/balance", 400, "BadArgument", "owner: missing"),
        ("/v1/agents/token/views/balance?owner=x", 400, "BadArgument", "expected an address"),
        ("/v1/agents/token/views/balance?ower=x", 400, "BadArgument", "did you mean owner"),
        ("/v1/accounts/apx1x", 400, "usage", "address"),
        ("/v1/proofs/x", 400, "usage", "id"),
        ("/v1/events?types=blocks", 400, "usage", "expected some of"),
        ("/v1/events?after=1.x", 400, "usage", "height.index"),
        ("/v1/status?wait_ms=99999999", 400, "usage", "wait_ms"),
    ],
)
async def test_errors_are_the_one_envelope(
    tmp_path: Path, path: str, status: int, code: str, cause: str
) -> None:
    async with running(tmp_path) as node:
        found, body = await ask(node, path)
        assert found == status, body
        assert set(body) == {"schema", "ok", "data", "errors", "warnings"}
        assert (body["schema"], body["ok"], body["data"]) == ("apocryph/1", False, None)
        (error,) = body["errors"]
        assert set(error) == {"code", "message", "hint", "retryable"}
        assert error["code"] == code
        assert cause in error["message"]
        assert error["hint"]


async def test_a_path_is_answered_by_its_method_alone(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as node,
        aiohttp.ClientSession() as session,
        session.post(node.gateway.url + "/v1/status") as response,
    ):
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD"
        assert (await response.json())["errors"][0]["code"] == "usage"


async def test_status_waits_for_the_next_height(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        assert (await ask(node, "/v1/status?after=0&wait_ms=10"))[1]["height"] == 0
        await node.submit([transfer(node)])
        assert (await ask(node, "/v1/status?after=0&wait_ms=10000"))[1]["height"] == 1


async def test_metrics_and_probes_are_there_from_the_first_second(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        assert await ask(node, "/livez") == (200, "ok\n")
        assert await ask(node, "/readyz") == (200, "ok\n")
        _, verbose = await ask(node, "/readyz?verbose")
        conditions = {"caught_up": True, "clock": True, "linked": True, "running": True}
        assert verbose == {"ready": True, "conditions": conditions}
        node.runtime.halted = "height 1: planted"
        assert (await ask(node, "/readyz"))[0] == 503
        status, text = await ask(node, "/metrics")
        assert status == 200
        assert "apocryph_height 0.0" in text
        assert "apocryph_halted 1.0" in text
        assert "# TYPE apocryph_api_requests_total counter" in text


async def test_the_openapi_document_names_exactly_the_routes(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        gateway: GatewayAgent = node.gateway
        _, served = await ask(node, "/openapi.json")
        assert served == document(served["info"]["version"])
        assert gateway.routes() == {
            (method, path) for path, methods in served["paths"].items() for method in methods
        }
        for methods in served["paths"].values():
            for operation in methods.values():
                assert operation["summary"]
                assert "default" in operation["responses"]


class Overtaken:
    """A face and its store at once: the height moves between the first `moves` pairs of looks."""

    def __init__(self, moves: int) -> None:
        self.chain = self.store = self
        self.looks = 0
        self.moves = moves

    def get(self, key: bytes) -> bytes:
        self.looks += 1
        return min(self.looks, 2 * self.moves + 1).to_bytes(8, "big")

    def state(self) -> tuple[int, str]:
        return 0, "state"


@pytest.mark.parametrize(("moves", "height"), [(0, 1), (1, 3), (VIEW_TRIES_MAX - 1, 15)])
async def test_an_answer_is_of_one_height(moves: int, height: int) -> None:
    face: Any = Overtaken(moves)
    reads: Any = ReadHandlers(face, Names(lab_spec()), face)
    states: list[str] = []
    assert reads._at_one_height(lambda state: states.append(state)) == (height, None)
    assert states == ["state"] * (moves + 1)


async def test_a_reader_that_is_always_overtaken_is_told_to_try_again() -> None:
    face: Any = Overtaken(VIEW_TRIES_MAX)
    reads: Any = ReadHandlers(face, Names(lab_spec()), face)
    with pytest.raises(Refuse, match="overtaken") as caught:
        reads._at_one_height(len)
    assert (caught.value.status, caught.value.faults[0].retryable) == (503, True)
