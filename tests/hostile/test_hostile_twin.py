"""One key at two places: two real nodes, on a chain that is quiet and on one that goes on."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from node.codes import Exit
from node.errors import SignRecordOld, TwinFound
from node.validator import Validator
from tests.hostile.hostilelab import Lab, free_port

pytestmark = pytest.mark.slow


async def test_two_nodes_with_one_key_find_out_before_they_sign(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    first = second = None
    runs: list[asyncio.Task[None]] = []
    try:
        await lab.start()
        first, running = lab.validators[-1], lab._running.pop()
        place = replace(first.options, folder=tmp_path / "twin", port=free_port())
        second = Validator(place)
        await second.start()
        runs = [running, asyncio.ensure_future(second.run())]
        async with asyncio.timeout(20):
            done, _ = await asyncio.wait(runs, return_when=asyncio.FIRST_EXCEPTION)
        (ended,) = list(done)[:1]
        with pytest.raises(TwinFound, match="answered as this key") as found:
            ended.result()
        assert found.value.exit is Exit.SAFETY
        assert first.signer.signed_count + second.signer.signed_count == 0
    finally:
        if second is not None:
            await second.stop()
        if first is not None:
            lab.validators.remove(first)
            await first.stop()
        await asyncio.gather(*runs, return_exceptions=True)
        await lab.stop()


async def test_one_of_two_copies_of_a_folder_ends(tmp_path: Path) -> None:
    """Both records are good and alike: what the other signs, or its answer, gives it away."""
    lab = Lab(tmp_path)
    both: list[Validator] = []
    runs: list[asyncio.Task[None]] = []
    try:
        await lab.start()
        await lab.finalizes(rounds=2)
        old, running = lab.validators.pop(), lab._running.pop()
        await old.stop()
        await running
        copy = shutil.copytree(old.options.folder, tmp_path / "twin")
        both = [
            Validator(old.options),
            Validator(replace(old.options, folder=copy, port=free_port())),
        ]
        for node in both:
            await node.start()
            runs.append(asyncio.ensure_future(node.run()))
        await lab.finalizes(rounds=4)
        async with asyncio.timeout(20):
            done, _ = await asyncio.wait(runs, return_when=asyncio.FIRST_EXCEPTION)
        ended = [each.exception() for each in done]
        assert all(isinstance(each, TwinFound | SignRecordOld) for each in ended), ended
    finally:
        for node in both:
            await node.stop()
        await asyncio.gather(*runs, return_exceptions=True)
        await lab.stop()
