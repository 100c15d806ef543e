"""Signed messages in, outcomes out: every refusal by its code, waiting without polling."""

import asyncio
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from consensus.effects import Refused
from consensus.ids import ChainId, Id, MessageId, content_id, id_of_hash, id_text
from consensus.messages import Message, Reference
from consensus.spec import agent_id
from node.agents.gateway_limits import (
    BODY_BYTES_MAX,
    MESSAGES_PER_POST_MAX,
    REFUSED_KEPT_MAX,
    WAITS_MAX,
)
from node.agents.gateway_messages import Outcomes
from node.agents.gateway_replies import Refuse
from node.pool import POOL_SENDER_MAX
from node.validator import Validator
from node.wallet import Terms
from tests.node.gateway_lab import ALICE, BALANCE, BOB, account, message, running, transfer


async def post(validator: Validator, body: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(validator.gateway.url + "/v1/messages", json=body) as response,
    ):
        return response.status, await response.json()


async def hand_in(validator: Validator, *messages: Message) -> tuple[int, Any]:
    return await post(validator, {"messages": [b64encode(one.raw).decode() for one in messages]})


async def tx(validator: Validator, message_id: bytes, wait_s: float = 0) -> tuple[int, Any]:
    url = f"{validator.gateway.url}/v1/tx/{id_text(message_id)}?wait_s={wait_s}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def test_a_batch_is_accepted_included_and_has_receipts(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        batch = [transfer(node, n + 1) for n in range(8)]
        status, body = await hand_in(node, *batch)
        assert (status, body) == (202, {"accepted": 8, "ids": [id_text(one.id) for one in batch]})
        found = [(await tx(node, one.id, 10))[1] for one in batch]
        assert {one["state"] for one in found} == {"included"}
        assert {one["receipt"]["status"] for one in found} == {"ok"}
        assert {one["receipt"]["gas"] for one in found} == {124}
        assert found[0]["message"]["type"] == "Transfer"
        assert found[0]["message"]["to"] == "token"
        assert found[0]["receipt"]["events"][0]["type"] == "Paid"
        block = node.chain.block(found[0]["height"])
        assert block is not None
        assert found[0]["block"] == id_text(block.id)


async def test_a_second_time_is_no_error_and_no_second_receipt(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        one = transfer(node)
        assert (await hand_in(node, one, one))[0] == 202
        _, first = await tx(node, one.id, 10)
        assert (await hand_in(node, one))[0] == 202
        await hand_in(node, transfer(node))
        assert (await tx(node, one.id, 10))[1] == first


def forged(node: Validator) -> Message:
    good = transfer(node)
    return Message.decode(good.raw[:-1] + bytes((good.raw[-1] ^ 1,)))


def elsewhere(node: Validator) -> Message:
    chain = ChainId(content_id(b"another"))
    to = Reference(chain, agent_id("token"), None)
    return ALICE.build(chain, to, "Transfer", {}, Terms(100, 1_000))


REFUSED = {
    "Signature": forged,
    "WrongChain": elsewhere,
    "UnknownAgent": lambda node: message(node, "nobody", "Hello", {}),
    "TooLittleGas": lambda node: message(node, "counter", "Add", {}, gas=123),
    "NoFunds": lambda node: message(node, "counter", "Add", {}, gas=BALANCE + 1),
    "ExpiresTooLate": lambda node: message(node, "counter", "Add", {}, expires=10_000),
}


@pytest.mark.parametrize("code", REFUSED)
async def test_each_refusal_has_its_code_and_leaves_the_others_in(
    tmp_path: Path, code: str
) -> None:
    async with running(tmp_path) as node:
        good, bad = transfer(node), REFUSED[code](node)
        status, body = await hand_in(node, bad, good)
        assert status == 422
        assert not body["ok"]
        (error,) = body["errors"]
        assert (error["code"], error["retryable"]) == (code, False)
        assert error["message"] and error["hint"]
        assert body["data"]["accepted"] == 1
        results = [(row["id"], row["code"]) for row in body["data"]["results"]]
        assert results == [(id_text(bad.id), code), (id_text(good.id), "")]
        assert (await tx(node, good.id, 10))[1]["state"] == "included"
        status, body = await tx(node, bad.id)  # what the pool refused is remembered for a while
        assert status == 404 or body["refusal"]["code"] == code


async def test_an_expired_message_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        first = transfer(node)
        await hand_in(node, first)
        await tx(node, first.id, 10)
        _, body = await hand_in(node, message(node, "counter", "Add", {}, expires=1))
        assert body["errors"][0]["code"] == "Expired"


async def test_a_full_pool_is_told_as_retryable(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for number in range(POOL_SENDER_MAX):
            node.core.messages.senders[ALICE.account] = number + 1
        status, body = await hand_in(node, transfer(node), transfer(node, by=BOB))
        assert status == 503
        assert body["errors"][0]["code"] == "SenderFull"
        assert body["errors"][0]["retryable"]
        assert [row["code"] for row in body["data"]["results"]] == ["SenderFull", ""]


@pytest.mark.parametrize(
    ("body", "status", "code", "cause"),
    [
        ([], 400, "usage", "no list"),
        ({}, 400, "usage", "no list"),
        ({"messages": []}, 400, "usage", "no list"),
        ({"messages": "x"}, 400, "usage", "no list"),
        ({"messages": ["x"] * (MESSAGES_PER_POST_MAX + 1)}, 413, "usage", "513 messages"),
        ({"messages": [7]}, 422, "Form", "expected base64"),
        ({"messages": ["%%"]}, 422, "Form", "expected base64"),
        ({"messages": ["AAAA"]}, 422, "Form", ""),
        ({"messages": ["A" * 30_000]}, 422, "Form", "at most 16384"),
    ],
)
async def test_what_has_no_form_is_refused_before_any_work(
    tmp_path: Path, body: Any, status: int, code: str, cause: str
) -> None:
    async with running(tmp_path) as node:
        found, answer = await post(node, body)
        assert (found, answer["errors"][0]["code"]) == (status, code)
        assert cause in answer["errors"][0]["message"]
        assert node.verifier.verified_count == 0


async def test_a_body_that_is_no_json_or_too_large_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as node, aiohttp.ClientSession() as session:
        url = node.gateway.url + "/v1/messages"
        async with session.post(url, data=b"{") as response:
            assert response.status == 400
            assert "not JSON" in (await response.json())["errors"][0]["message"]
        async with session.post(url, data=b"[" * 100_000) as response:
            assert response.status == 400, "deeper than a parser goes"
            assert "not JSON" in (await response.json())["errors"][0]["message"]
        async with session.post(url, data=BytesIO(b" " * (BODY_BYTES_MAX + 1))) as response:
            assert response.status == 413
            assert "too large" in (await response.json())["errors"][0]["message"]


async def test_a_good_one_among_those_without_form_is_in(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        good = transfer(node)
        texts = ["AAAA", b64encode(good.raw).decode().rstrip("="), "%"]
        status, body = await post(node, {"messages": texts})
        assert status == 422
        codes = [row["code"] for row in body["data"]["results"]]
        assert codes == ["Form", "", "Form"]
        assert (await tx(node, good.id, 10))[1]["state"] == "included"


async def test_rejected_by_the_agent_is_a_receipt(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        poor = transfer(node, BALANCE * 2)
        unknown = message(node, "token", "Nothing", {})
        await hand_in(node, poor, unknown)
        receipts = [(await tx(node, one.id, 10))[1]["receipt"] for one in (poor, unknown)]
        assert [(one["status"], one["code"]) for one in receipts] == [
            ("rejected", "NoFunds"),
            ("rejected", "UnknownMessage"),
        ]


async def somebody_waits(node: Validator) -> None:
    async with asyncio.timeout(10):
        while not node.gateway.counters()["api_waiting"]:  # noqa: ASYNC110  as a client sees it
            await asyncio.sleep(0.001)


# ---- waiting ------------------------------------------------------------------------------------


async def test_a_wait_ends_with_the_commit_and_before_its_time(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        one = transfer(node)
        waiting = asyncio.create_task(tx(node, one.id, 60))
        await somebody_waits(node)
        await hand_in(node, one)
        async with asyncio.timeout(10):
            status, body = await waiting
        assert (status, body["state"]) == (200, "included")
        assert node.gateway.counters()["api_waiting"] == 0


async def test_a_wait_for_nothing_ends_with_its_time(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        assert (await tx(node, id_of_hash(bytes(32)), 0.05))[0] == 404


async def test_a_late_refusal_answers_the_wait(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        one = MessageId(id_of_hash(bytes((5,)) * 32))
        waiting = asyncio.create_task(tx(node, one, 60))
        await somebody_waits(node)
        node.runtime.on_refused(Refused(one, "NotIncludable", "cannot pay any more"))
        async with asyncio.timeout(10):
            status, body = await waiting
        assert (status, body["state"]) == (200, "refused")
        assert body["refusal"]["code"] == "NotIncludable"
        assert body["refusal"]["hint"]


async def test_waits_and_kept_refusals_are_bounded() -> None:
    outcomes = Outcomes()
    ids = [id_of_hash(n.to_bytes(32, "big")) for n in range(REFUSED_KEPT_MAX + 1)]
    waits = [asyncio.create_task(outcomes.wait(ids[n % 7], 60)) for n in range(WAITS_MAX)]
    await asyncio.sleep(0)
    assert outcomes.waiting == WAITS_MAX
    with pytest.raises(Refuse, match="too many clients wait"):
        await outcomes.wait(ids[0], 60)
    outcomes.wake_all()
    await asyncio.gather(*waits)
    assert outcomes.waiting == 0
    for one in ids:
        outcomes.refused(Refused(MessageId(one), "NotIncludable", ""))
    assert outcomes.refusal_of(ids[0]) is None
    assert outcomes.refusal_of(Id(ids[-1])) is not None


async def test_a_stopping_node_answers_who_waits(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        waiting = asyncio.create_task(tx(node, id_of_hash(bytes(32)), 60))
        await somebody_waits(node)
        await node.host.stop_instance("gateway")
        assert (await waiting)[0] == 404


async def test_many_senders_in_full_batches(tmp_path: Path) -> None:
    """The fast path takes batches of 512 of several senders and the chain holds them all."""
    async with running(tmp_path) as node:
        batches = [
            [transfer(node, by=account(n)) for _ in range(MESSAGES_PER_POST_MAX // 2)]
            for n in range(2)
        ]
        for batch in batches:
            assert (await hand_in(node, *batch))[0] == 202
        for batch in batches:
            assert (await tx(node, batch[-1].id, 10))[1]["state"] == "included"
        assert node.messages_total == MESSAGES_PER_POST_MAX
