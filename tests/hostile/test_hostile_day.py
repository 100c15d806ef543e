"""A network outlives the age of its links and of the keys that made them. Here a day is seconds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import network.mesh.link
import network.mesh.mesh
import node.validator
from tests.hostile.hostilelab import Lab, until

LINK_AGE_S = 1.0
LINK_KEY_S = 2.0
DAYS = 3  # lives of a link key


@pytest.mark.slow
async def test_days_pass_and_links_are_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network.mesh.link, "LINK_AGE_S", LINK_AGE_S)
    monkeypatch.setattr(network.mesh.link, "HANDSHAKE_S", 0.5)
    monkeypatch.setattr(network.mesh.mesh, "HOUSEKEEPING_S", 0.1)
    monkeypatch.setattr(node.validator, "LINK_KEY_MS", int(LINK_KEY_S * 1000))
    lab = Lab(tmp_path)
    try:
        await lab.start()
        await asyncio.sleep(DAYS * LINK_KEY_S)
        assert lab.victim.gossip.lost >= DAYS, "links grew old"
        await until(lambda: all(validator.ready[0] for validator in lab.validators))
        await lab.finalizes()
    finally:
        await lab.stop()
