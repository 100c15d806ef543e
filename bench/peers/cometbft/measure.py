"""Transactions per second and commit latency of a CometBFT network, as a client sees them.

Under load: its own generator (`load`) sends unsigned 250-byte transactions that carry the time of
their making; a transaction's latency ends when a subscriber hears of its block. Idle: one
transaction at a time by `broadcast_tx_commit`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.figures import Failed
from bench.load import percentiles
from bench.peers.cometbft.install import binaries
from bench.peers.cometbft.network import Validator, call, ready, start
from bench.processes import Children

TRANSACTION_BYTES = 250
RATE_PER_SECOND = (
    5_000  # offered; its pool of 5,000 is full all the time, more only costs processor
)
SAMPLES_PER_BLOCK_MAX = 200
DRAIN_SECONDS = 5.0
HEADERS_PER_CALL = 20  # the RPC's own bound
IDLE_PAUSE_SECONDS_MAX = 1.0  # between two transactions; its blocks are about a second apart
_SEED = 1
_SUBSCRIBE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "subscribe",
    "params": {"query": "tm.event='NewBlockHeader'"},
}


@dataclass(frozen=True, slots=True)
class Result:
    """`tx_per_s`: committed. Latencies in seconds, from making to hearing of the block."""

    validators: int
    tx_per_s: float
    latency_p50_s: float
    latency_p99_s: float
    transactions: int
    blocks: int


@dataclass(frozen=True, slots=True)
class IdleResult:
    validators: int
    latency_p50_s: float
    latency_p99_s: float
    transactions: int


def run(validators: int, seconds: int) -> Result:
    """Load the network for so many seconds. Raises Unavailable, Failed."""
    programs = binaries()
    with tempfile.TemporaryDirectory() as name, Children() as children:
        nodes = start(programs, children, validators=validators, folder=Path(name))
        target = nodes[0]
        command = [
            str(programs.load),
            *("-c", "1", "-T", str(seconds), "-r", str(RATE_PER_SECOND)),
            *("-s", str(TRANSACTION_BYTES), "--broadcast-tx-method", "async"),
            *("--endpoints", target.websocket),
        ]

        def load() -> None:
            children.start(command, log=Path(name) / "load.log")

        return asyncio.run(_under_load(nodes, load, seconds))


def run_idle(validators: int, transactions: int) -> IdleResult:
    """Send one transaction after the other to an otherwise idle network."""
    programs = binaries()
    with tempfile.TemporaryDirectory() as name, Children() as children:
        nodes = start(programs, children, validators=validators, folder=Path(name))
        return asyncio.run(_one_by_one(nodes, transactions))


async def _under_load(nodes: list[Validator], load: Callable[[], None], seconds: int) -> Result:
    heard: dict[int, float] = {}  # height -> when its block was heard of
    async with aiohttp.ClientSession() as session:
        await ready(session, nodes)
        async with session.ws_connect(nodes[0].websocket) as socket:
            await socket.send_json(_SUBSCRIBE)
            listening = asyncio.create_task(_listen(socket, heard))
            load()
            await asyncio.sleep(seconds)
            listening.cancel()
        counts = await _counts(session, nodes[0], sorted(heard))
        loaded = [height for height in sorted(counts) if counts[height]]
        if len(loaded) < 2:
            raise Failed(f"{len(loaded)} blocks with transactions in {seconds} s")
        # The first block only starts the clock: when its transactions began to come is unknown.
        first, last = loaded[0], loaded[-1]
        committed = sum(counts[height] for height in loaded[1:])
        latencies: list[float] = []
        for height in loaded[1:]:
            latencies += await _latencies(session, nodes[0], height, heard[height])
    p50, p99 = percentiles(latencies)
    return Result(
        validators=len(nodes),
        tx_per_s=committed / (heard[last] - heard[first]),
        latency_p50_s=p50,
        latency_p99_s=p99,
        transactions=committed,
        blocks=len(loaded) - 1,
    )


async def _listen(socket: aiohttp.ClientWebSocketResponse, heard: dict[int, float]) -> None:
    async for message in socket:
        event = json.loads(message.data).get("result", {}).get("data")
        if event:
            heard[int(event["value"]["header"]["height"])] = time.time()


async def _counts(
    session: aiohttp.ClientSession, node: Validator, heights: list[int]
) -> dict[int, int]:
    """Height -> number of its transactions."""
    counts: dict[int, int] = {}
    for start_at in range(0, len(heights), HEADERS_PER_CALL):
        part = heights[start_at : start_at + HEADERS_PER_CALL]
        answer = await call(
            session, node, "blockchain", minHeight=str(part[0]), maxHeight=str(part[-1])
        )
        assert isinstance(answer, dict)
        for meta in answer["block_metas"]:
            counts[int(meta["header"]["height"])] = int(meta["num_txs"])
    return counts


async def _latencies(
    session: aiohttp.ClientSession, node: Validator, height: int, heard: float
) -> list[float]:
    answer = await call(session, node, "block", height=str(height))
    assert isinstance(answer, dict)
    transactions = answer["block"]["data"]["txs"] or []
    step = max(1, len(transactions) // SAMPLES_PER_BLOCK_MAX)
    return [heard - made_at(base64.b64decode(raw)) for raw in transactions[::step]]


def made_at(transaction: bytes) -> float:
    """When the generator made a transaction: field 4 (a timestamp) of its protobuf payload."""
    fields = dict(_fields(bytes.fromhex(transaction.removeprefix(b"a=").decode())))
    stamp = fields[4]
    assert isinstance(stamp, bytes)
    parts = dict(_fields(stamp))
    seconds, nanoseconds = parts[1], parts.get(2, 0)
    assert isinstance(seconds, int) and isinstance(nanoseconds, int)
    return seconds + nanoseconds / 1e9


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a protobuf message of varints and strings."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        value, at = _varint(raw, at)
        if tag & 7 == 2:
            yield tag >> 3, raw[at : at + value]
            at += value
        elif tag & 7 == 0:
            yield tag >> 3, value
        else:
            raise Failed(f"a transaction of the generator has a field of wire type {tag & 7}")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


async def _one_by_one(nodes: list[Validator], transactions: int) -> IdleResult:
    latencies = []
    dice = random.Random(_SEED)
    async with aiohttp.ClientSession() as session:
        await ready(session, nodes)
        for number in range(transactions):
            # Sent right after a block, each would wait for a whole interval: come at any moment.
            await asyncio.sleep(dice.uniform(0, IDLE_PAUSE_SECONDS_MAX))
            start_at = time.perf_counter()
            await call(session, nodes[0], "broadcast_tx_commit", tx=f'"k{number}=v{number}"')
            latencies.append(time.perf_counter() - start_at)
    p50, p99 = percentiles(latencies)
    return IdleResult(len(nodes), p50, p99, transactions)
