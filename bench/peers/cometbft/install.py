"""Builds CometBFT and its load generator with the Go tool, once, outside the repository."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from bench.figures import Failed, Unavailable
from bench.processes import complete

VERSION = "1.0.1"
BUILD_SECONDS_MAX = 900.0
_MODULE = "github.com/cometbft/cometbft"
_PACKAGES = {"cometbft": f"{_MODULE}/cmd/cometbft", "load": f"{_MODULE}/test/loadtime/cmd/load"}


@dataclass(frozen=True, slots=True)
class Binaries:
    cometbft: Path
    load: Path


def folder() -> Path:
    return Path(platformdirs.user_cache_dir("apocryph")) / "bench" / f"cometbft-{VERSION}" / "bin"


def binaries() -> Binaries:
    """The two programs, built if they are not there yet; Unavailable without Go or network."""
    target = folder()
    target.mkdir(parents=True, exist_ok=True)
    for name, package in _PACKAGES.items():
        if not (target / name).exists():
            _build(package, target)
    return Binaries(target / "cometbft", target / "load")


def _build(package: str, target: Path) -> None:
    environment = {"GOBIN": str(target), "PATH": f"{os.environ.get('PATH', '')}:/usr/local/go/bin"}
    try:
        complete(
            ["go", "install", f"{package}@v{VERSION}"],
            timeout_s=BUILD_SECONDS_MAX,
            environment=environment,
        )
    except Unavailable as error:
        raise Unavailable("Go is needed to build CometBFT", hint="install go 1.22+") from error
    except Failed as error:
        raise Unavailable(f"CometBFT does not build: {error.reason}") from error
