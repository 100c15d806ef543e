"""The client of the network's figures: what it signs a chain accepts; how it reads an API."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from nacl.signing import SigningKey, VerifyKey

from bench import transfer_client
from bench.figures import Failed
from bench.transfer_client import AMOUNT, HttpGateway, Purse
from consensus.encoding import H
from consensus.ids import Account, Peer, id_text
from consensus.messages import Message, decode_data
from consensus.parameters import Parameters
from consensus.spec import ChainSpec, SpecDraft, agent_id
from node.keystore import ACCOUNT, write_plain

SEEDS = [bytes([number]) * 32 for number in range(3)]
ACCOUNTS = [Account(bytes(SigningKey(seed).verify_key)) for seed in SEEDS]
HEIGHT = 7


def spec(*agents: str) -> ChainSpec:
    parameters = Parameters.local(slots=60, epoch_blocks=16, claim_close=4)
    draft = SpecDraft(
        name="benched",
        parameters=parameters,
        genesis_time_ms=1_700_000_000_000,
        nonce=bytes(16),
        genesis_agents=tuple((name, f"native:{name}/1", b"\xf6") for name in agents),
    )
    return ChainSpec.of(draft, [(Peer(bytes(32)), H("commitment"))] * parameters.slots)


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The keys that the folder of accounts holds; a test may change them."""
    held = list(SEEDS)
    monkeypatch.setattr(transfer_client, "account_seeds", lambda folder: held)
    return held


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spec.cbor").write_bytes(spec("token").raw)
    return tmp_path


def test_each_account_pays_the_next_in_messages_that_verify(
    seeds: list[bytes], folder: Path
) -> None:
    chain = spec("token")
    purse = Purse(folder)
    batch = purse.sign(2 * len(SEEDS), HEIGHT)
    messages = [Message.decode(signed.raw) for signed in batch]
    assert [id_text(message.id) for message in messages] == [signed.id for signed in batch]
    assert len({message.id for message in messages}) == len(messages)
    assert [message.sender for message in messages] == ACCOUNTS * 2
    for message in messages:
        VerifyKey(message.sender).verify(message.signed_bytes, message.signature)
        following = ACCOUNTS[(ACCOUNTS.index(message.sender) + 1) % len(ACCOUNTS)]
        assert decode_data(message.data) == ("Transfer", {"to": following, "amount": AMOUNT})
        assert (message.chain, message.to.agent) == (chain.id, agent_id("token"))
        assert HEIGHT < message.expires_height <= HEIGHT + chain.parameters.expiry_max_blocks


def test_a_net_without_the_agent_or_without_accounts_is_a_failure(
    seeds: list[bytes], folder: Path
) -> None:
    del seeds[1:]
    with pytest.raises(Failed, match="1 accounts"):
        Purse(folder)
    (folder / "spec.cbor").write_bytes(spec("counter").raw)
    with pytest.raises(Failed, match="no agent called token"):
        Purse(folder)


class Node:
    """The API of a node whose every POST is one block at once, as far as the client asks."""

    def __init__(self) -> None:
        self.blocks: list[list[str]] = [[]]
        self.posts: list[int] = []
        self.outcome = "ok"
        self.full = False

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/v1/status", self._status)
        application.router.add_get("/v1/blocks/{height}", self._block)
        application.router.add_post("/v1/messages", self._messages)
        application.router.add_get("/v1/tx/{id}", self._transaction)
        return application

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response({"height": len(self.blocks) - 1})

    async def _block(self, request: web.Request) -> web.Response:
        return web.json_response({"messages": self.blocks[int(request.match_info["height"])]})

    async def _messages(self, request: web.Request) -> web.Response:
        if self.full:
            return web.json_response({"errors": [{"code": "pool.full"}]}, status=429)
        raws: list[str] = (await request.json())["messages"]
        self.posts.append(len(raws))
        self.blocks.append([id_text(Message.decode(b64decode(raw)).id) for raw in raws])
        return web.json_response({"accepted": len(raws)})

    async def _transaction(self, request: web.Request) -> web.Response:
        if not any(request.match_info["id"] in block for block in self.blocks):
            return web.json_response({"errors": [{"code": "not_found"}]}, status=404)
        receipt: dict[str, Any] = {"status": self.outcome, "code": ""}
        return web.json_response({"receipt": receipt})


@pytest.fixture
async def node() -> AsyncIterator[tuple[Node, str]]:
    node = Node()
    runner = web.AppRunner(node.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield node, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_the_gateway_speaks_the_api(
    node: tuple[Node, str], seeds: list[bytes], folder: Path
) -> None:
    _, url = node
    batch = Purse(folder).sign(5, HEIGHT)
    async with aiohttp.ClientSession() as session:
        gateway = HttpGateway(session, url)
        assert await gateway.receipt(batch[0].id) is None
        await gateway.post([signed.raw for signed in batch])
        assert await gateway.height() == 1
        assert await gateway.messages_of(1) == [signed.id for signed in batch]
        assert await gateway.receipt(batch[0].id) == {"status": "ok", "code": ""}


async def test_a_refused_post_is_a_failure_that_says_what_the_node_said(
    node: tuple[Node, str], seeds: list[bytes], folder: Path
) -> None:
    fake, url = node
    fake.full = True
    (signed,) = Purse(folder).sign(1, HEIGHT)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Failed, match=r"POST /v1/messages: 429 .*pool\.full"):
            await HttpGateway(session, url).post([signed.raw])


async def test_one_message_at_a_time_is_timed_to_its_receipt(
    node: tuple[Node, str], seeds: list[bytes], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, url = node
    monkeypatch.setattr(transfer_client, "PAUSE_SECONDS_MAX", 0)
    latencies = await transfer_client.latencies(url, Purse(folder), 3)
    assert fake.posts == [1, 1, 1]
    assert len(latencies) == 3
    assert min(latencies) > 0


async def test_a_transfer_that_is_not_ok_gives_no_figure(
    node: tuple[Node, str], seeds: list[bytes], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, url = node
    fake.outcome = "rejected"
    monkeypatch.setattr(transfer_client, "PAUSE_SECONDS_MAX", 0)
    with pytest.raises(Failed, match="a transfer is rejected"):
        await transfer_client.latencies(url, Purse(folder), 3)


async def test_the_load_runs_against_the_api(
    node: tuple[Node, str], seeds: list[bytes], folder: Path
) -> None:
    fake, url = node
    ticks = count()

    def clock() -> float:
        """Goes by the blocks, so that a busy machine sees as many of them as a quiet one."""
        return len(fake.blocks) * 0.1 + next(ticks) * 0.0001

    result = await asyncio.wait_for(transfer_client.load(url, folder, 0.5, clock), 30)
    assert result.messages == result.blocks * 512
    assert fake.posts == [512] * len(fake.posts)


def test_the_keys_are_those_that_the_testnet_wrote(tmp_path: Path) -> None:
    for name, seed in zip(("carol", "alice", "bob"), SEEDS, strict=True):
        write_plain(tmp_path / f"{name}.json", seed, name=name, kind=ACCOUNT)
    by_name = [SEEDS[1], SEEDS[2], SEEDS[0]]
    assert transfer_client.account_seeds(tmp_path) == by_name
