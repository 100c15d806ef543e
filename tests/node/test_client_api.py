"""The clients: the same methods with and without an event loop, typed errors, resuming."""

import asyncio
import inspect
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consensus import proofs
from consensus.ids import account_text, id_of_hash, id_text
from consensus.messages import Message
from node.client import AsyncClient, Client, EventRecord
from node.errors import (
    Denied,
    Exit,
    MessageInvalid,
    NotFound,
    Rejected,
    TimedOut,
    Unreachable,
    UsageError,
)
from node.transport import ServerFault, error_of
from node.validator import Validator
from node.verifier import SodiumVerifier
from tests.node.gateway_lab import ALICE, BALANCE, BOB, message, running, transfer

BOB_TEXT = account_text(BOB.account)
UNKNOWN = id_text(id_of_hash(bytes(32)))


def connected(node: Validator) -> AsyncClient:
    return AsyncClient(node.gateway.url)


async def test_a_message_is_built_sent_and_waited_for(tmp_path: Path) -> None:
    async with running(tmp_path) as node, connected(node) as client:
        fields: dict[str, Any] = {"to": BOB.account, "amount": 9}
        built = await client.build(ALICE, "token", "Transfer", fields, pay=0)
        assert (built.chain, built.expires_height, built.gas_max) == (node.chain_id, 200, 1_000)
        sent = await client.send(built, wait=True)
        assert sent.tx is not None
        assert sent.tx["receipt"]["status"] == "ok"
        assert sent.finality_ms is not None
        assert sent.finality_ms >= 0
        found = await client.query("token", "balance", {"owner": BOB_TEXT})
        assert found["value"] == BALANCE + 9
        assert (await client.account(BOB_TEXT))["balance"] == BALANCE + 9
        assert (await client.send(transfer(node))).tx is None


async def test_a_proof_verifies_against_the_chain_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as node, connected(node) as client:
        one = transfer(node)
        await client.send(one, wait=True)
        verifier = SodiumVerifier()
        text = id_text(one.id)
        for what, of in ((text, "receipt"), (text, "message"), (BOB_TEXT, "receipt")):
            raw = await client.proof(what, of=of)
            proved = proofs.verify(raw, node.chain_id, verifier=verifier)
            assert proved.height == 1
        verifier.close()


async def test_a_proof_leads_over_epochs(tmp_path: Path) -> None:
    async with running(tmp_path) as node, connected(node) as client:
        for _ in range(36):  # epochs of 16
            last = transfer(node)
            await client.send(last, wait=True)
        raw = await client.proof(id_text(last.id))
        verifier = SodiumVerifier()
        proved = proofs.verify(raw, node.chain_id, verifier=verifier)
        assert proved.header.fields.epoch == 2
        assert len(raw) > 3_000
        verifier.close()


Call = Callable[[AsyncClient, Validator], Any]


@pytest.mark.parametrize(
    ("call", "error", "cause"),
    [
        (lambda c, n: c.block(99), NotFound, "no block 99"),
        (lambda c, n: c.block("../status"), UsageError, "neither a height"),
        (lambda c, n: c.tx(UNKNOWN), NotFound, "no message"),
        (lambda c, n: c.proof(UNKNOWN), NotFound, "no block includes"),
        (lambda c, n: c.query("token", "balance", {"owner": "?"}), MessageInvalid, "address"),
        (lambda c, n: c.query("token", "nope"), MessageInvalid, "it has: balance"),
        (lambda c, n: c.agent("nobody"), Rejected, "no agent"),
        (lambda c, n: c.account("?"), UsageError, "address"),
        (lambda c, n: c.send(message(n, "counter", "Add", {}, gas=1)), Rejected, "gas_max 1"),
    ],
)
async def test_errors_of_a_node_are_typed(
    tmp_path: Path, call: Call, error: type[Exception], cause: str
) -> None:
    async with running(tmp_path) as node, connected(node) as client:
        with pytest.raises(error, match=cause):
            await call(client, node)


async def test_a_refusal_carries_the_pools_code(tmp_path: Path) -> None:
    async with running(tmp_path) as node, connected(node) as client:
        with pytest.raises(Rejected) as caught:
            await client.send(message(node, "counter", "Add", {}, gas=1), wait=True)
        assert (caught.value.reason, caught.value.exit) == ("TooLittleGas", Exit.REJECTED)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, "a page of a proxy", ServerFault),
        (502, None, ServerFault),
        (500, {"errors": []}, ServerFault),
        (401, {"errors": [{"code": "denied", "message": "m", "hint": "h"}]}, Denied),
        (503, {"errors": [{"code": "halted", "message": "m", "hint": "h"}]}, Unreachable),
        (504, {"errors": [{"code": "timeout", "message": "m", "hint": "h"}]}, TimedOut),
        (422, {"errors": [{"code": "BadLuck", "message": "m", "hint": "h"}]}, Rejected),
    ],
)
def test_error_bodies(status: int, body: Any, error: type[Exception]) -> None:
    assert type(error_of(status, body)) is error


async def test_nobody_there_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        async with AsyncClient(f"http://127.0.0.1:{taken.getsockname()[1]}") as client:
            with pytest.raises(Unreachable, match="nothing listens there") as caught:
                await client.status()
            assert caught.value.exit == Exit.UNREACHABLE
            with pytest.raises(Unreachable):
                await anext(client.events())


async def test_an_answer_that_does_not_come_is_a_timeout() -> None:
    released = asyncio.Event()

    async def never(request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/v1/status", never)
    async with TestServer(app) as server:
        async with AsyncClient(str(server.make_url("/")), timeout_s=0.05) as client:
            with pytest.raises(TimedOut) as caught:
                await client.status()
            assert caught.value.exit == Exit.TIMEOUT
        released.set()


async def test_a_message_that_is_never_included_times_out_with_its_id() -> None:
    """The pool took it, no block came: indefinite, so the id is in the error."""
    app = web.Application()
    app.router.add_post("/v1/messages", _says({"accepted": 1, "ids": [UNKNOWN]}, 202))
    app.router.add_get("/v1/status", _says({"height": 1}))
    app.router.add_get("/v1/tx/{id}", _says({"state": "pending"}))
    async with TestServer(app) as server, AsyncClient(str(server.make_url("/"))) as client:
        one: Any = _Stub(id=id_of_hash(bytes(32)), raw=b"", expires_height=10)
        with pytest.raises(TimedOut, match=UNKNOWN) as caught:
            await client.send(one, wait=True, timeout_s=0.05)
        assert UNKNOWN in caught.value.hint


async def test_a_message_past_its_height_is_definitely_refused() -> None:
    gone = {"errors": [{"code": "not_found", "message": "no message", "hint": "h"}]}
    app = web.Application()
    app.router.add_post("/v1/messages", _says({"accepted": 1, "ids": [UNKNOWN]}, 202))
    app.router.add_get("/v1/status", _says({"height": 10}))
    app.router.add_get("/v1/tx/{id}", _says(gone, 404))
    async with TestServer(app) as server, AsyncClient(str(server.make_url("/"))) as client:
        one: Any = _Stub(id=id_of_hash(bytes(32)), raw=b"", expires_height=10)
        with pytest.raises(Rejected) as caught:
            await client.send(one, wait=True)
        assert caught.value.reason == "Expired"


async def test_a_node_that_goes_away_while_one_waits_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message was handed in, so "unreachable" would be the wrong answer."""
    monkeypatch.setattr("node.client.RESUME_S", 0.0)
    asked = []

    async def tx(request: web.Request) -> web.Response:
        asked.append(request)
        if len(asked) < 3:
            assert request.transport is not None
            request.transport.close()
        return web.json_response({"state": "included", "receipt": None})

    app = web.Application()
    app.router.add_post("/v1/messages", _says({"accepted": 1, "ids": [UNKNOWN]}, 202))
    app.router.add_get("/v1/tx/{id}", tx)
    async with TestServer(app) as server, AsyncClient(str(server.make_url("/"))) as client:
        one: Any = _Stub(id=id_of_hash(bytes(32)), raw=b"", expires_height=10)
        sent = await client.send(one, wait=True)
        assert sent.tx == {"state": "included", "receipt": None}
        assert len(asked) >= 3


async def test_a_connection_that_breaks_while_handing_in_is_indefinite() -> None:
    async def broken(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/messages", broken)
    async with TestServer(app) as server, AsyncClient(str(server.make_url("/"))) as client:
        one: Any = _Stub(id=id_of_hash(bytes(32)), raw=b"", expires_height=10)
        with pytest.raises(TimedOut, match="may have been taken"):
            await client.send(one)


class _Stub:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


def _says(body: Any, status: int = 200) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    return answer


# ---- events -------------------------------------------------------------------------------------


async def test_a_stream_of_events_resumes_by_its_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection is cut after two events; nothing is lost, nothing comes twice."""
    monkeypatch.setattr("node.client.RESUME_S", 0.0)
    asked: list[str] = []

    async def two(request: web.Request) -> web.StreamResponse:
        last = request.headers.get("Last-Event-ID", "")
        asked.append(last)
        start = int(last.partition(".")[0]) + 1 if last else 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"id: {start - 1}.9\nevent: open\ndata: {{}}\n\n".encode())
        for height in (start, start + 1):
            told = json.dumps({"height": height})
            await response.write(f"id: {height}.0\nevent: block\ndata: {told}\n\n".encode())
        return response

    app = web.Application()
    app.router.add_get("/v1/events", two)
    async with TestServer(app) as server, AsyncClient(str(server.make_url("/"))) as client:
        found = []
        async for record in client.events():
            found.append(record)
            if len(found) == 5:
                break
    assert [record.data["height"] for record in found] == [1, 2, 3, 4, 5]
    assert asked == ["", "2.0", "4.0"]
    assert found[0] == EventRecord("1.0", "block", {"height": 1})


async def test_events_of_a_node(tmp_path: Path) -> None:
    async with running(tmp_path) as node, connected(node) as client:
        await client.send(transfer(node), wait=True)
        records = client.events(after="0.0", types=("event",), agent="token")
        record = await anext(records)
        await records.aclose()
        assert (record.cursor, record.data["type"]) == ("1.2", "Paid")


# ---- without an event loop ----------------------------------------------------------------------


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: [p for p in inspect.signature(member).parameters if p != "self"]
            for name, member in vars(kind).items()
            if not name.startswith("_") and callable(member)
        }

    one, other = methods(AsyncClient), methods(Client)
    assert one.keys() == other.keys()
    for name in one.keys() - {"build"}:
        assert one[name] == other[name], name


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Validator]:
    """A node on a loop in another thread."""
    started: list[Validator] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with running(tmp_path) as node:
            started.append(node)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield started[0]
    finally:
        done.set()
        thread.join()


def test_the_client_for_scripts(served: Validator) -> None:
    with Client(served.gateway.url) as client:
        built: Message = client.build(
            ALICE, "token", "Transfer", {"to": BOB.account, "amount": 3}, gas=500
        )
        sent = client.send(built, wait=True)
        assert sent.tx is not None
        assert client.tx(sent.text)["state"] == "included"
        assert client.status()["height"] == client.block()["height"] == 1
        assert client.ready()
        assert [row["height"] for row in client.blocks()["blocks"]] == [1, 0]
        assert "counter" in client.agent_ids()
        assert client.slots()["occupied"] == 60
        assert client.peers() == {"peers": []}
        records = client.events(after="0.0")
        assert [next(records).cursor for _ in range(3)] == ["1.0", "1.1", "1.2"]
        with pytest.raises(NotFound):
            client.block(5)
