"""Blocks whose bodies and receipts exceed one value of the fabric (contract 21)."""

import asyncio
from pathlib import Path

import pytest

from consensus.encoding import decode
from consensus.messages import Message
from node.agents.consensus import PARTS_MAX
from node.agents.executor import ARGUMENT_BYTES_MAX
from node.agents.pages import pages
from node.pool import OFFERED_BYTES_MAX
from node.validator import Validator
from perper_core.limits import ITEM_BYTES_MAX
from perper_core.ports import OLDEST
from tests.node.gateway_lab import account, lab_spec, message, running

NOTE_BYTES = 7_500
NOTES = 400  # 3 MB


def test_pages_hold_what_fits_and_keep_the_order() -> None:
    rows = [bytes([n]) * size for n, size in enumerate((3, 3, 4, 1, 20, 9, 1))]
    assert list(pages(rows, 10)) == [rows[:3], rows[3:4], rows[4:5], rows[5:]]
    assert list(pages([], 10)) == []


def notes(validator: Validator, count: int) -> list[Message]:
    """Large messages that the token does not know: included, with a receipt that says so."""
    text = {"text": bytes(NOTE_BYTES)}
    return [message(validator, "token", "Note", text, by=account(n % 4)) for n in range(count)]


async def included(validator: Validator, messages: list[Message]) -> None:
    async with asyncio.timeout(60):
        while not all(validator.chain.find(one.id) for one in messages):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_bodies_beyond_one_value_still_become_a_block(tmp_path: Path) -> None:
    spec = lab_spec()
    async with running(tmp_path, spec) as validator:
        messages = notes(validator, NOTES)
        admitted = await validator.submit(messages)
        assert [each.code for each in admitted] == [""] * NOTES
        await included(validator, messages)
        sizes = []
        for height in range(1, validator.chain.height + 1):
            ids = validator.chain.block(height).body  # type: ignore[union-attr]
            bodies = [one for one in messages if bytes(one.id) in ids]
            sizes.append(sum(len(one.raw) for one in bodies))
        assert ARGUMENT_BYTES_MAX < max(sizes) <= OFFERED_BYTES_MAX, sizes
    async with running(tmp_path, spec) as validator:
        assert all(validator.chain.find(one.id) for one in messages)
        more = notes(validator, 4)
        await validator.submit(more)
        await included(validator, more)


@pytest.mark.slow
async def test_receipts_beyond_one_value_come_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.agents.consensus.PART_BYTES_MAX", 4_000)
    async with running(tmp_path) as validator:
        messages = notes(validator, 100)
        await validator.submit(messages)
        await included(validator, messages)
        items = []
        async with asyncio.timeout(20):
            listener = await validator.fabric.listen("receipts", first=OLDEST)
            async for batch in listener:
                items += batch
                if sum(len(decode(i.raw, max_bytes=ITEM_BYTES_MAX)[2]) for i in items) == 100:
                    break
    rows: dict[int, int] = {}
    parts = 0
    for item in items:
        height, first, receipts, more = decode(item.raw, max_bytes=ITEM_BYTES_MAX)
        assert first == rows.get(height, 0) and item.key // PARTS_MAX == height
        rows[height] = first + len(receipts)
        parts += more
    assert parts > 0
