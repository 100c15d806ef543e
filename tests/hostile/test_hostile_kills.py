"""SIGKILL at random moments under load: the same roots after it, and never two signed values."""

from __future__ import annotations

import random
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from consensus.spec import ChainSpec
from node.signer import Signer
from node.store.chain import ChainData
from node.store.lmdb import LmdbStore
from tests.hostile.hostilelab import secret
from tests.hostile.noderun import NodeProcess, running, transfers, write_net

pytestmark = pytest.mark.long
KILLS_SOLO, KILLS_OF_FOUR = 5, 5
ALIVE_S_MAX = 1.2  # after it listens, at most


class Load(threading.Thread):
    """Posts transfers to a node, whichever runs, until told to stop."""

    def __init__(self, spec: ChainSpec) -> None:
        super().__init__(daemon=True)
        self.spec, self.node, self.enough, self.sent = spec, None, threading.Event(), 0
        self.node: NodeProcess | None

    def run(self) -> None:
        while not self.enough.wait(0.05):
            node = self.node
            if node is None:
                continue
            try:
                height = node.status()["height"]
                self.sent += 20
                node.post(transfers(self.spec, self.sent, 20, height))
            except (OSError, ValueError):
                pass  # it was just killed

    def end(self) -> None:
        self.enough.set()
        self.join(40)


def position(folder: Path, spec: ChainSpec, name: str) -> tuple[int, int, int]:
    """The last place signed for, from a copy of the killed node's record."""
    copy = folder.parent / f"{name}.sign"
    shutil.copyfile(folder / "sign.db", copy)
    signer = Signer.open(
        secret(name),
        copy,
        chain=spec.id,
        spec_seed=spec.seed,
        chain_links=spec.parameters.epoch_blocks + 1,
        create=False,
    )
    try:
        return signer.position
    finally:
        signer.close()


def stored(folder: Path, spec: ChainSpec) -> tuple[list[bytes], list[Any]]:
    """Headers by height, and evidence in the state, of a node that does not run."""
    store = LmdbStore(folder / "chain")
    try:
        chain = ChainData(store, chain=spec.id, spec=spec.raw)
        blocks = [chain.block(height) for height in range(chain.height + 1)]
        return [block.header for block in blocks if block], chain.state.scan(b"c/evidence")
    finally:
        store.close()


def agree(headers: list[bytes], before: list[bytes]) -> None:
    """What was decided stays; one may have decided more."""
    common = min(len(headers), len(before))
    assert headers[:common] == before[:common]


def kill_once(home: Path, folder: Path, load: Load, dice: random.Random) -> None:
    with running(home, folder) as node:
        load.node = node.listening()
        time.sleep(dice.random() * ALIVE_S_MAX)  # the moment is the test
        node.kill()
        load.node = None


def test_one_validator_killed_again_and_again(tmp_path: Path) -> None:
    dice = random.Random(7)
    spec, [folder] = write_net(tmp_path, ["solo"])
    load = Load(spec)
    load.start()
    before, place = [b""][:0], (0, 0, 0)
    try:
        for _ in range(KILLS_SOLO):
            kill_once(tmp_path, folder, load, dice)
            headers, evidence = stored(folder, spec)
            assert len(headers) >= len(before), "a decided height is lost"
            agree(headers, before)
            assert position(folder, spec, "solo") >= place, "the sign record went back"
            assert not evidence
            before, place = headers, position(folder, spec, "solo")
        assert len(before) > KILLS_SOLO, "it decided heights in between"
    finally:
        load.end()
    with running(tmp_path, folder) as node:
        assert node.listening().status()["height"] >= len(before) - 1


def test_one_of_four_killed_again_and_again(tmp_path: Path) -> None:
    dice = random.Random(11)
    names = ["n0", "n1", "n2", "n3"]
    spec, folders = write_net(tmp_path, names)
    load, nodes = Load(spec), []
    place = (0, 0, 0)
    try:
        nodes = [NodeProcess(tmp_path, folder) for folder in folders]
        for node in nodes:
            node.ready()
        load.node = nodes[3]
        load.start()
        for _ in range(KILLS_OF_FOUR):
            time.sleep(dice.random() * ALIVE_S_MAX)
            nodes[0].kill()
            close(nodes[0])
            now = position(folders[0], spec, "n0")
            assert now >= place, "the sign record went back"
            place = now
            kept = stored(folders[0], spec)[0]
            at = nodes[1].status()["height"]
            assert nodes[1].status(above=at)["height"] > at, "the other three go on"
            nodes[0] = NodeProcess(tmp_path, folders[0]).ready()
            assert nodes[0].status()["height"] >= len(kept) - 1
        load.end()
        top = max(node.status()["height"] for node in nodes)
        for node in nodes:
            while node.status()["height"] < top:
                node.status(above=top - 1)
        for node in nodes:
            assert node.stop() == 0
        histories = [stored(folder, spec) for folder in folders]
        for headers, evidence in histories:
            agree(headers, histories[0][0])
            assert len(headers) > top
            assert not evidence, "somebody has signed two values"
    finally:
        load.end()
        for node in nodes:
            node.kill()
            close(node)


def close(node: NodeProcess) -> None:
    assert node.child.stdout is not None
    node._reader.join(10)
    node.child.stdout.close()
