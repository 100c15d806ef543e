"""A testnet on disk: where things lie, what testnet.json says, and the making of a new one.

`testnets/NAME/{testnet.json, spec.cbor, accounts/, n1 …, supervisor.…}` (wire: Folders).
Knows no process: a supervisor that runs is known only by its lock.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from consensus.ids import Peer, account_text, id_text, peer_text
from node.config import testnets_folder
from node.errors import AlreadyRunning, ConfigFileError, NotFound, suggestion
from node.keystore import ACCOUNT, PEER, public_of, write_plain
from node.lock import FileLock
from testnet.limits import TESTNETS_MAX
from testnet.spec import Genesis, TestnetSpec, check_name

LOOPBACK: Final = "127.0.0.1"
ABOUT: Final = "testnet.json"
SPEC: Final = "spec.cbor"
_PID_BYTES_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class Member:
    """One validator as testnet.json names it; addresses are those of its last start."""

    name: str
    peer: str  # text
    api: str = ""  # URL
    fabric: str = ""  # host:port
    listen: str = ""  # host:port, for links


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What testnet.json says."""

    name: str
    chain: str  # id text
    chain_name: str
    slots: int
    epoch_blocks: int
    seed: int | None
    port: int
    nodes: tuple[Member, ...]
    accounts: Mapping[str, str] = field(default_factory=dict)

    @property
    def api(self) -> str:
        """The visible gateway."""
        return f"http://{LOOPBACK}:{self.port}"


class Folder:
    """One testnet's folder; it need not exist."""

    def __init__(self, name: str) -> None:
        self.name = check_name(name)
        self.path = testnets_folder() / name

    # ---- where things lie -----------------------------------------------------------------------

    @property
    def about_path(self) -> Path:
        return self.path / ABOUT

    @property
    def spec_path(self) -> Path:
        return self.path / SPEC

    @property
    def accounts_path(self) -> Path:
        return self.path / "accounts"

    @property
    def pid_path(self) -> Path:
        """Locked by the supervisor while it lives, and holding its process id."""
        return self.path / "supervisor.pid"

    @property
    def socket_path(self) -> Path:
        return self.path / "supervisor.sock"

    @property
    def log_path(self) -> Path:
        return self.path / "supervisor.log"

    def node_path(self, node: str) -> Path:
        return self.path / node

    def node_key_path(self, node: str) -> Path:
        return self.path / node / "key.json"

    def node_log_path(self, node: str) -> Path:
        return self.path / node / "node.log"

    # ---- what is there --------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        return self.about_path.is_file()

    def require(self) -> None:
        """Raises NotFound, with the nearest name, when there is no such testnet."""
        if not self.exists:
            near = suggestion(self.name, names())
            raise NotFound(
                f"there is no testnet {self.name!r}{near}",
                hint="`apocryph testnet ls` lists them; `apocryph testnet up` makes one",
            )

    def supervisor(self) -> int | None:
        """The process id of the live supervisor; null when the testnet is stopped."""
        try:
            fd = os.open(self.pid_path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(fd, _PID_BYTES_MAX, 0).strip()
            return int(text) if text.isdigit() else 0
        finally:
            os.close(fd)
        return None

    def lock(self) -> FileLock:
        """What a supervisor holds while it lives. Raises AlreadyRunning."""
        return FileLock(self.pid_path, f"the testnet {self.name!r}", busy=AlreadyRunning)

    def about(self) -> About:
        """Raises NotFound, ConfigFileError."""
        self.require()
        try:
            return _about(json.loads(self.about_path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigFileError(f"{self.about_path} cannot be read: {error!r}") from error

    # ---- making and removing --------------------------------------------------------------------

    def create(self, wanted: TestnetSpec, genesis: Genesis, *, port: int) -> About:
        """The files of a new testnet, there as a whole or not at all. Raises ConfigFileError."""
        about = _about_new(wanted, genesis, port)
        root = self.path.parent
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = Path(tempfile.mkdtemp(dir=root, prefix=f".{self.name}-"))
        try:
            for one in genesis.accounts:
                path = made / "accounts" / f"{one.name}.json"
                write_plain(path, one.secret, name=one.name, kind=ACCOUNT)
            for one in genesis.validators:
                write_plain(made / one.name / "key.json", one.secret, name=one.name, kind=PEER)
            (made / SPEC).write_bytes(genesis.spec.raw)
            self.write_about(about, made / ABOUT)
            made.rename(self.path)
        except OSError as error:
            if self.exists:
                raise AlreadyRunning(f"the testnet {self.name!r} was made meanwhile") from error
            raise ConfigFileError(f"{self.path}: {error.strerror}") from error
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return about

    def write_about(self, about: About, path: Path | None = None) -> None:
        """testnet.json, whole or not at all; client commands read it."""
        place = path or self.about_path
        part = place.with_name(f".{place.name}.part")
        part.write_text(json.dumps(_document(about, self.path), indent=2) + "\n", "utf-8")
        part.replace(place)

    def remove(self) -> None:
        """Delete a stopped testnet. Raises NotFound, AlreadyRunning."""
        self.require()
        with self.lock():
            self.about_path.unlink()  # first: what a broken removal leaves is no testnet
            shutil.rmtree(self.path)


def names() -> tuple[str, ...]:
    """The testnets of this user, in order."""
    found = sorted(testnets_folder().glob(f"*/{ABOUT}"))[:TESTNETS_MAX]
    return tuple([path.parent.name for path in found if not path.parent.name.startswith(".")])


# ---- testnet.json --------------------------------------------------------------------------------


def _document(about: About, folder: Path) -> dict[str, Any]:
    nodes = [
        {
            "name": one.name,
            "peer": one.peer,
            "api": one.api,
            "fabric": one.fabric,
            "listen": one.listen,
            "folder": str(folder / one.name),
        }
        for one in about.nodes
    ]
    return {
        "name": about.name,
        "api": about.api,
        "chain": about.chain,
        "chain_name": about.chain_name,
        "nodes": nodes,
        "accounts": dict(about.accounts),
        "slots": about.slots,
        "epoch_blocks": about.epoch_blocks,
        "seed": about.seed,
        "port": about.port,
    }


def _about(told: dict[str, Any]) -> About:
    nodes = [
        Member(one["name"], one["peer"], one["api"], one["fabric"], one.get("listen", ""))
        for one in told["nodes"]
    ]
    return About(
        name=str(told["name"]),
        chain=str(told["chain"]),
        chain_name=str(told["chain_name"]),
        slots=int(told["slots"]),
        epoch_blocks=int(told["epoch_blocks"]),
        seed=None if told["seed"] is None else int(told["seed"]),
        port=int(told["port"]),
        nodes=tuple(nodes),
        accounts={str(name): str(text) for name, text in told["accounts"].items()},
    )


def _about_new(wanted: TestnetSpec, genesis: Genesis, port: int) -> About:
    spec = genesis.spec
    nodes = [Member(one.name, peer_text(Peer(public_of(one.secret)))) for one in genesis.validators]
    return About(
        name=wanted.name,
        chain=id_text(spec.id),
        chain_name=spec.name,
        slots=spec.parameters.slots,
        epoch_blocks=spec.parameters.epoch_blocks,
        seed=wanted.seed,
        port=port,
        nodes=tuple(nodes),
        accounts={one.name: account_text(public_of(one.secret)) for one in genesis.accounts},
    )
