"""The folder of a node: node.toml, key.json, spec.cbor, and endpoints.json while it runs.

Writes whole files or nothing. What a node keeps beside them (sign.db, chain/, fabric/, journal/,
lock) belongs to those who write it.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from consensus.errors import ConsensusError
from consensus.spec import SPEC_BYTES_MAX, ChainSpec
from node.config import FILE_NAME, render
from node.errors import FolderTaken, KeyExists, SpecUnusable
from node.keystore import PEER, entry_of, public_of, write_plain
from node.settings import Address, KnownPeer

SPEC_FILE: Final = "spec.cbor"
KEY_FILE: Final = "key.json"
ENDPOINTS_FILE: Final = "endpoints.json"
ENDPOINTS_BYTES_MAX: Final = 64 * 1024


def write_file(path: Path, raw: bytes) -> None:
    """The whole file or the old one; durable."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def check_new(folder: Path) -> None:
    """Raises FolderTaken where there is something already."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.is_symlink() or folder.exists():
        what = "is not empty" if folder.is_dir() else "is no folder"
        found = "; a node lives there" if (folder / FILE_NAME).exists() else ""
        raise FolderTaken(f"{folder} {what}{found}")


def create_node(folder: Path, *, spec: bytes, key: str, settings: Mapping[str, object]) -> None:
    """The folder of a new node, there as a whole or not at all.

    Raises FolderTaken, ConfigError for a setting that would not be read back, OSError.
    """
    check_new(folder)
    text = render(settings)
    place = folder.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}-"))
    try:
        write_file(made / SPEC_FILE, spec)
        write_file(made / KEY_FILE, key.encode())
        write_file(made / FILE_NAME, text.encode())
        made.rename(place)  # onto nothing, or onto an empty folder
    finally:
        shutil.rmtree(made, ignore_errors=True)


def write_testnet_node(
    folder: Path,
    *,
    spec: bytes,
    secret: bytes,
    name: str,
    listen: Address,
    api: Address,
    fabric: Address,
    peers: Sequence[KnownPeer] = (),
    values: Mapping[str, object] | None = None,
) -> None:
    """The folder of a testnet's node, whose key is plain. `values`: more settings by section.key.

    Written again for a node that is there; raises KeyExists where it has another key.
    """
    settings = {
        "node.name": name,
        "network.listen": listen,
        "network.peers": list(peers),
        "api.listen": api,
        "fabric.listen": fabric,
        **(values or {}),
    }
    key = folder / KEY_FILE
    if not key.exists():
        write_plain(key, secret, name=name, kind=PEER)
    elif entry_of(key).public != public_of(secret):
        raise KeyExists(f"{key} holds another key")
    write_settings(folder, spec=spec, settings=settings)


def write_settings(folder: Path, *, spec: bytes, settings: Mapping[str, object]) -> None:
    """node.toml and spec.cbor. Raises ConfigError for a setting that would not be read back."""
    write_file(folder / SPEC_FILE, spec)
    write_file(folder / FILE_NAME, render(settings).encode())


def read_spec(path: Path) -> ChainSpec:
    """The specification in a file. Raises SpecUnusable."""
    try:
        with path.open("rb") as file:
            raw = file.read(SPEC_BYTES_MAX + 1)
    except OSError as error:
        raise SpecUnusable(f"{path}: {error.strerror}") from error
    if len(raw) > SPEC_BYTES_MAX:
        raise SpecUnusable(f"{path} has more than {SPEC_BYTES_MAX} bytes")
    try:
        return ChainSpec.decode(raw)
    except ConsensusError as error:
        raise SpecUnusable(f"{path}: {error}") from error


def write_endpoints(folder: Path, endpoints: Mapping[str, object]) -> None:
    """Where a running node is reached, for commands of the same user."""
    write_file(folder / ENDPOINTS_FILE, json.dumps(endpoints, indent=2).encode() + b"\n")


def read_endpoints(folder: Path) -> dict[str, Any] | None:
    """What the last `write_endpoints` said; null where no node runs, or it was killed long ago."""
    try:
        raw = (folder / ENDPOINTS_FILE).read_bytes()
    except OSError:
        return None
    try:
        found = json.loads(raw) if len(raw) <= ENDPOINTS_BYTES_MAX else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def remove_endpoints(folder: Path) -> None:
    (folder / ENDPOINTS_FILE).unlink(missing_ok=True)
