"""The wheel by itself: installed into an empty folder it runs, and it carries no tests."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("apocryph", "consensus", "network", "node", "perper_core", "testnet")
BUILD_S = 100


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == set(PACKAGES)
    assert all(f"{package}/py.typed" in names for package in PACKAGES)
    assert "testnet/sim/scenarios/storm.toml" in names


@pytest.mark.slow
def test_the_wheel_runs_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    # The libraries come from the environment, the product from the wheel alone.
    script = "import node, sys; from apocryph.__main__ import main; sys.exit(main(['version']))"
    run(sys.executable, "-P", "-c", script, cwd=empty, PYTHONPATH=str(site))
    where = "import node, consensus; print(node.__file__); print(consensus.__file__)"
    found = run(sys.executable, "-P", "-c", where, cwd=empty, PYTHONPATH=str(site))
    assert all(line.startswith(str(site)) for line in found.splitlines())
