"""Streams that a node finds at its start: gone on with, or made anew where they do not fit."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.encoding import decode
from consensus.spec import ChainSpec
from node.agents.consensus import STREAMS
from node.validator import NodeOptions, Validator
from perper_core.ports import OLDEST
from tests.node.gateway_lab import SECRET, lab_spec, transfer

pytestmark = pytest.mark.slow
OTHER = lab_spec(nonce=b"another chain..."[:16])


def options(folder: Path, spec: ChainSpec) -> NodeOptions:
    return NodeOptions(
        folder=folder, spec=spec, secret=SECRET, mining=False, journal="off", keep_heights=100
    )


async def shown(node: Validator) -> list[tuple[int, bytes]]:
    """(height, header) of all that `blocks` holds."""
    found: list[tuple[int, bytes]] = []
    info = await node.fabric.stream_info("blocks")
    if info.committed == 0:
        return found
    async with await node.fabric.listen("blocks", first=OLDEST) as listener:
        async for batch in listener:
            rows = [decode(bytes(raw), max_bytes=len(raw)) for raw in batch.raws]
            found += [(row[0], row[1]) for row in rows]
            if batch.last == info.committed:
                break
    return found


async def run(place: NodeOptions, heights: int = 0) -> tuple[list[tuple[int, bytes]], list[bytes]]:
    """What the streams show when it has started and made so many heights; the chain's headers."""
    node = Validator(place)
    try:
        await node.start()
        for number in range(heights):
            target = node.chain.height + 1
            await node.submit([transfer(node, number + 1)])
            while node.chain.height < target:
                node.moved.clear()
                await node.moved.wait()
        for writer in node.consensus._writers.values():
            await writer.flush()
        blocks = [node.chain.block(height) for height in range(1, node.chain.height + 1)]
        return await shown(node), [block.header for block in blocks if block is not None]
    finally:
        await node.stop()


async def test_they_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = options(tmp_path, lab_spec())
    await run(place, 3)
    found, headers = await run(place, 2)
    assert found == list(enumerate(headers, start=1))
    assert "made anew" not in caplog.text


@pytest.mark.parametrize("heights", [1, 3], ids=["behind it", "as high"])
async def test_of_another_chain(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, heights: int
) -> None:
    await run(options(tmp_path / "old", lab_spec()), 3)
    await run(options(tmp_path / "new", OTHER), heights)
    shutil.rmtree(tmp_path / "new" / "fabric")
    shutil.move(tmp_path / "old" / "fabric", tmp_path / "new" / "fabric")
    found, headers = await run(options(tmp_path / "new", OTHER), 3)
    assert found == list(enumerate(headers, start=1))
    (line,) = [each.message for each in caplog.records if "made anew" in each.message]
    assert ("ends at 1" in line) is (heights == 1)
    assert ("another block at height 3" in line) is (heights == 3)


async def test_of_other_options(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`fabric.keep_heights` was changed in node.toml."""
    place = options(tmp_path, lab_spec())
    await run(place, 3)
    found, headers = await run(replace(place, keep_heights=50), 1)
    assert found == list(enumerate(headers, start=1))
    assert "blocks was made with other options" in caplog.text
    assert {each.levelno for each in caplog.records if "made anew" in each.message} == {
        logging.WARNING
    }
    assert len(STREAMS) == 5
