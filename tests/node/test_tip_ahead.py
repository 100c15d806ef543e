"""A chain whose newest block lies in this machine's future: told, counted, not ready."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from consensus.ids import Now
from node import telling
from node.runtime import wall_clock
from node.validator import Validator
from tests.node.gateway_lab import running, transfer

HOUR_MS = 3_600_000


def shift(node: Validator, ms: int) -> None:
    """From now on the machine's clock shows so much more."""

    def shifted() -> Now:
        return Now(wall_clock().monotonic_ms, wall_clock().clock_ms + ms)

    node.runtime._clock = shifted


async def block(node: Validator) -> None:
    target = node.chain.height + 1
    await node.submit([transfer(node, target)])
    while node.core.engine.machine.tip.header.height < target:
        node.moved.clear()
        await node.moved.wait()


async def test_a_clock_that_was_an_hour_ahead_for_one_block(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as node, aiohttp.ClientSession() as session:
        shift(node, HOUR_MS)
        await block(node)
        assert node.ready == (True, {**node.ready[1], "clock": True})
        assert node.status()["tip_ahead_ms"] == 0
        shift(node, 0)
        assert 0.9 * HOUR_MS < node.status()["tip_ahead_ms"] <= HOUR_MS
        assert node.counters()["tip_ahead_ms"] > 0.9 * HOUR_MS
        assert not node.ready[0]
        assert node.ready[1]["clock"] is False
        async with session.get(node.gateway.url + "/readyz?verbose") as response:
            assert response.status == 503
        node._look_at_clock()
        node._look_at_clock()
        (line,) = [each.message for each in caplog.records if "ahead of this" in each.message]
        assert "check it" in line
        shift(node, 2 * HOUR_MS)
        await block(node)
        assert node.ready[0]
        assert node._clock_told is False, "it would be told again"


async def test_who_waits_for_ready_sees_the_clock_catch_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes from anywhere while it does."""
    monkeypatch.setattr("node.validator.READY_LOOK_AGAIN_S", 0.01)
    async with running(tmp_path) as node:
        shift(node, HOUR_MS)
        await block(node)
        shift(node, HOUR_MS - telling.TIP_AHEAD_MS_MAX - 1_000)
        assert not node.ready[0]
        waiting = asyncio.ensure_future(node.when_ready())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        shift(node, HOUR_MS - telling.TIP_AHEAD_MS_MAX + 1_000)
        await waiting
        assert node.ready[0]
