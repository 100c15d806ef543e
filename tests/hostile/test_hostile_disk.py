"""A disk without room: the node stops with its reason, and goes on when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.noderun import NodeProcess, refused, running, transfers, write_net

pytestmark = pytest.mark.long
MIB = 1024 * 1024
STEPS_MAX = 400


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB, where this user may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user cannot mount a tmpfs; the file-size limit is tested beside")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def drive(node: NodeProcess, spec: object, start: int) -> tuple[int, str]:
    """Load until it ends by itself; the last height and state root that it told."""
    last = (0, "")
    for step in range(STEPS_MAX):
        try:
            found = node.status()
            last = (found["height"], found["state_root"])
            node.post(transfers(spec, start + 256 * step, 256, found["height"]))  # type: ignore[arg-type]
            node.status(above=found["height"])
        except OSError:  # it is gone
            return last
    raise AssertionError("the disk was not full")


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    spec, [folder] = write_net(small_disk, ["solo"])
    with running(small_disk, folder) as node:
        node.listening()
        height, _ = drive(node, spec, 0)
        ended = node.ended()
    assert (ended.code, ended.error["code"]) == (7, "store_full"), ended
    assert height > 3
    again = refused(small_disk, folder) if not os.statvfs(small_disk).f_bavail else None
    assert again is None or again.code == 7, again
    grow = ["mount", "-o", "remount,size=256m", str(small_disk)]
    subprocess.run(grow, check=True)
    goes_on(small_disk, folder, spec, height)


def test_a_file_size_limit(tmp_path: Path) -> None:
    spec, [folder] = write_net(tmp_path, ["solo"])
    with running(tmp_path, folder, file_bytes_max=3 * MIB) as node:
        node.listening()
        height, _ = drive(node, spec, 0)
        ended = node.ended()
    assert (ended.code, ended.error["code"]) == (7, "store_full"), ended
    assert height > 3
    goes_on(tmp_path, folder, spec, height)


def goes_on(home: Path, folder: Path, spec: object, height: int) -> None:
    """From what it had decided, and with new heights."""
    with running(home, folder) as node:
        found = node.listening().status()
        assert found["height"] >= height
        assert node.post(transfers(spec, 10**6, 10, found["height"])) == 10  # type: ignore[arg-type]
        assert node.status(above=found["height"])["height"] > found["height"]
        assert node.stop() == 0
