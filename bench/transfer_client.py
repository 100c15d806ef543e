"""The client of the network's figures: signs with the testnet's accounts, speaks the node's API.

Under load it is a process of its own (`python -m bench.transfer_client URL FOLDER SECONDS`), which
prints what it counted as JSON.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
from nacl.signing import SigningKey

from bench.figures import Failed, Measurement
from bench.load import (
    OUTSTANDING,
    OUTSTANDING_PER_SENDER,
    Finalized,
    Signed,
    drive,
    percentiles,
)
from bench.processes import complete
from bench.testnets import Testnet
from consensus.ids import Account, MessageId, content_id, id_text
from consensus.messages import Draft, Reference, encode_data
from consensus.spec import ChainSpec

AMOUNT = 1
NONCE_BYTES = 16
TOKEN = "token"
START_SECONDS_MAX = 30.0
FINAL_SECONDS_MAX = 30.0
POLL_SECONDS = 0.005
PAUSE_SECONDS_MAX = 1.0
_SEED = 1


class Purse:
    """The accounts of a testnet, each paying the next in turn."""

    def __init__(self, folder: Path) -> None:
        from node.execution.prices import MESSAGE_GAS

        self._spec = ChainSpec.decode((folder / "spec.cbor").read_bytes())
        token = self._spec.agent_named(TOKEN)
        if token is None:
            raise Failed(f"the testnet has no agent called {TOKEN}")
        self._to = Reference(self._spec.id, token, None)
        self._gas = MESSAGE_GAS
        keys = [SigningKey(seed) for seed in account_seeds(folder / "accounts")]
        if len(keys) < 2:
            raise Failed(f"the testnet has {len(keys)} accounts; a transfer needs two")
        accounts = [Account(bytes(key.verify_key)) for key in keys]
        following = accounts[1:] + accounts[:1]
        self.accounts = len(keys)
        self._turns = cycle(
            [
                (key, account, encode_data("Transfer", {"to": to, "amount": AMOUNT}))
                for key, account, to in zip(keys, accounts, following, strict=True)
            ]
        )

    def sign(self, count: int, height: int) -> list[Signed]:
        """Fresh transfers that may be included while the network is near the height."""
        expires = height + self._spec.parameters.expiry_max_blocks
        batch = []
        for _ in range(count):
            key, sender, data = next(self._turns)
            draft = Draft(
                chain=self._spec.id,
                sender=sender,
                to=self._to,
                data=data,
                nonce=os.urandom(NONCE_BYTES),
                expires_height=expires,
                gas_max=self._gas,
            )
            message = MessageId(content_id(draft.unsigned()))
            raw = draft.signed(key.sign(draft.to_sign()).signature)
            batch.append(Signed(id_text(message), raw))
        return batch


def account_seeds(folder: Path) -> list[bytes]:
    """The private keys of the testnet's accounts, in order of their names."""
    from node.keystore import load

    return [load(path, allow_testnet=True).secret for path in sorted(folder.glob("*.json"))]


class HttpGateway:
    """`bench.load.Gateway` on a node's HTTP API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def height(self) -> int:
        return int((await self._get("status"))["height"])

    async def messages_of(self, height: int) -> Sequence[str]:
        messages: list[str] = (await self._get(f"blocks/{height}"))["messages"]
        return messages

    async def post(self, messages: Sequence[bytes]) -> None:
        body = {"messages": [b64encode(raw).decode() for raw in messages]}
        async with self._session.post(f"{self._url}/v1/messages", json=body) as answer:
            await self._judge(answer)

    async def receipt(self, message: str) -> dict[str, Any] | None:
        """Of an included message; None while it is not included."""
        async with self._session.get(f"{self._url}/v1/tx/{message}") as answer:
            if answer.status == 404:
                return None
            found: dict[str, Any] = await self._judge(answer)
        return found.get("receipt")

    async def _get(self, path: str) -> Any:
        async with self._session.get(f"{self._url}/v1/{path}") as answer:
            return await self._judge(answer)

    async def _judge(self, answer: aiohttp.ClientResponse) -> Any:
        text = await answer.text()
        if answer.status >= 400:
            raise Failed(f"{answer.method} {answer.url.path}: {answer.status} {text[:200]}")
        return json.loads(text)


def under_load(net: Testnet, seconds: int) -> Measurement:
    """Run the client process, then see that every validator has the same and the last is ok."""
    command = [sys.executable, "-m", "bench.transfer_client", net.url, str(net.folder)]
    answer = complete([*command, str(seconds)], timeout_s=seconds + START_SECONDS_MAX)
    result = Finalized(**json.loads(answer))
    net.wait_for_height(result.last_height)
    receipt = net.command("tx", result.last_id)["receipt"]
    if receipt["status"] != "ok":
        raise Failed(f"the last transfer is {receipt['status']} {receipt['code']}")
    return Measurement(
        result.per_s,
        {
            "latency_p50_s": result.latency_p50_s,
            "latency_p99_s": result.latency_p99_s,
            "blocks": result.blocks,
            "transactions": "signed",
        },
    )


def one_by_one(net: Testnet, messages: int) -> Measurement:
    """p50 of the time from signing to the receipt, one message at a time."""
    taken = asyncio.run(latencies(net.url, Purse(net.folder), messages))
    p50, p99 = percentiles(taken)
    return Measurement(p50, {"p99_s": p99})


async def latencies(url: str, purse: Purse, messages: int) -> list[float]:
    """Seconds from signing to the receipt of so many messages, one after the other."""
    taken = []
    dice = random.Random(_SEED)
    async with aiohttp.ClientSession() as session:
        gateway = HttpGateway(session, url)
        for _ in range(messages):
            await asyncio.sleep(dice.uniform(0, PAUSE_SECONDS_MAX))  # the peer's load does so too
            start = time.perf_counter()
            (message,) = purse.sign(1, await gateway.height())
            await gateway.post([message.raw])
            while (receipt := await gateway.receipt(message.id)) is None:
                await asyncio.sleep(POLL_SECONDS)
                if time.perf_counter() - start > FINAL_SECONDS_MAX:
                    raise Failed(f"{message.id} is not final after {FINAL_SECONDS_MAX:g} s")
            taken.append(time.perf_counter() - start)
            if receipt["status"] != "ok":
                raise Failed(f"a transfer is {receipt['status']} {receipt['code']}")
    return taken


async def load(
    url: str, folder: Path, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> Finalized:
    """Load the network for so many seconds of `clock`."""
    purse = Purse(folder)
    outstanding = min(OUTSTANDING, OUTSTANDING_PER_SENDER * purse.accounts)
    async with aiohttp.ClientSession() as session:
        return await drive(
            HttpGateway(session, url),
            purse.sign,
            seconds=seconds,
            outstanding=outstanding,
            clock=clock,
        )


if __name__ == "__main__":
    url, folder, seconds = sys.argv[1:]
    try:
        finalized = asyncio.run(load(url, Path(folder), float(seconds)))
    except Failed as error:
        sys.exit(error.reason)
    print(json.dumps(dataclasses.asdict(finalized)))
