"""A node that is started from a backup: it would forget what it signed since. Real folders."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from node.codes import Exit
from node.errors import SignRecordOld
from node.validator import Validator
from tests.hostile.hostilelab import Lab, until

pytestmark = pytest.mark.slow


@pytest_asyncio.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    lab = Lab(tmp_path)
    try:
        yield await lab.start()
    finally:
        await lab.stop()


async def end(lab: Lab, number: int) -> Path:
    """Stop one validator of four; its folder."""
    validator, running = lab.validators.pop(number), lab._running.pop(number)
    await validator.stop()
    await running
    return validator.options.folder


async def backed_up(lab: Lab, folder: Path) -> Validator:
    """A validator that signs some heights after its folder was copied; stopped."""
    victim = lab.validators[-1]
    place = victim.options
    stopped = await end(lab, len(lab.validators) - 1)
    shutil.copytree(stopped, folder)
    again = Validator(place)
    lab.validators.append(again)
    await again.start()
    lab._running.append(asyncio.ensure_future(again.run()))
    signed = again.signer.signed_count
    await lab.finalizes(rounds=4)
    await until(lambda: again.signer.signed_count >= signed + 4)
    await lab.finalizes()
    await end(lab, len(lab.validators) - 1)
    return again


async def test_an_old_sign_record_beside_the_newest_chain(lab: Lab, tmp_path: Path) -> None:
    await lab.finalizes()
    node = await backed_up(lab, tmp_path / "backup")
    for file in (tmp_path / "backup").glob("sign.db*"):
        shutil.copy(file, node.options.folder / file.name)
    again = Validator(node.options)
    try:
        with pytest.raises(SignRecordOld, match=r"this key has signed height \d+") as found:
            await again.start()
        assert found.value.exit is Exit.SAFETY
        assert again.signer.signed_count == 0
    finally:
        await again.stop()


async def test_a_whole_folder_of_yesterday_signs_nothing_and_ends(lab: Lab, tmp_path: Path) -> None:
    """Its chain is as old as its record: only what it catches up with shows what it signed."""
    await lab.finalizes()
    node = await backed_up(lab, tmp_path / "backup")
    await lab.finalizes(rounds=2)
    shutil.rmtree(node.options.folder)
    shutil.move(tmp_path / "backup", node.options.folder)
    again = Validator(node.options)
    try:
        await again.start()
        place = again.signer.position
        with pytest.raises(SignRecordOld, match=r"sign\.db ends at height"):
            async with asyncio.timeout(20):
                await again.run()
        assert (again.signer.position, again.signer.signed_count) == (place, 0)
    finally:
        await again.stop()
    await lab.finalizes()


async def test_a_chain_that_was_deleted_comes_back_beside_its_streams(lab: Lab) -> None:
    """The streams show heights already that the new chain folder has not: they are not errors."""
    await lab.finalizes(rounds=6)
    options = replace(lab.validators[-1].options, keep_heights=3)
    folder = await end(lab, len(lab.validators) - 1)
    shutil.rmtree(folder / "chain")
    again = Validator(options)
    lab.validators.append(again)
    await again.start()
    lab._running.append(asyncio.ensure_future(again.run()))
    await until(lambda: again.chain.height >= lab.victim.chain.height)
    await lab.finalizes(rounds=3)
    await asyncio.sleep(0.2)
    assert not lab._running[-1].done()
    stream = await again.fabric.stream_info("blocks")
    assert stream.last_key == again.chain.height


async def test_a_good_record_goes_on_signing(lab: Lab) -> None:
    await lab.finalizes()
    options = lab.validators[-1].options
    await end(lab, len(lab.validators) - 1)
    await lab.finalizes(rounds=2)
    again = Validator(options)
    lab.validators.append(again)
    await again.start()
    lab._running.append(asyncio.ensure_future(again.run()))
    async with asyncio.timeout(20):
        await again.when_ready()
    await lab.finalizes(rounds=2)
    await until(lambda: again.signer.signed_count > 0)
