"""Node processes for tests: started with `apocryph node run`, ended whatever happens."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from consensus.spec import ChainSpec
from node.folder import write_testnet_node
from node.settings import Address
from tests.node.gateway_lab import SECRET, lab_spec

ANY = Address("127.0.0.1", 0)
DEADLINE_S = 30


def write_node(folder: Path, spec: ChainSpec | None = None, **values: object) -> Path:
    """The folder of a testnet's only node, on free ports. `values`: section__key."""
    settings: dict[str, Any] = {key.replace("__", "."): value for key, value in values.items()}
    write_testnet_node(
        folder,
        spec=(spec or lab_spec()).raw,
        secret=SECRET,
        name="n1",
        listen=ANY,
        api=ANY,
        fabric=ANY,
        values={"node.mining": False, **settings},
    )
    return folder


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's, without settings of whoever runs the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("APOCRYPH_")}
    runtime = home / "run"
    runtime.mkdir(exist_ok=True, parents=True, mode=0o700)
    return {**kept, "APOCRYPH_HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), **more}


def apocryph(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "apocryph", *arguments]


def ended(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        apocryph(*arguments),
        env=environment(home, **more),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


class NodeProcess:
    """One `node run`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def line(self) -> Mapping[str, Any]:
        """The next line of stdout, its data."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, self.rest()
        told: Mapping[str, Any] = json.loads(text)
        assert told["ok"], told
        data: Mapping[str, Any] = told["data"]
        return data

    def rest(self) -> str:
        """What it said on stderr, once it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@contextmanager
def node_process(home: Path, folder: Path, *flags: str, **more: str) -> Iterator[NodeProcess]:
    """A node with its plain key; killed at the end if it still lives."""
    process = subprocess.Popen(
        apocryph("node", "run", str(folder), "--testnet-keys", "--json", *flags),
        env=environment(home, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield NodeProcess(process)
        finally:
            process.kill()
