"""What who joins a chain needs, in one file: its spec, a recent block, peers to dial.

`apocryph chain show --out FILE` writes it, `apocryph node init --join FILE` reads it. It is as
trustworthy as whoever gave it: the spec decides the chain's id, the block is vouched for by nobody
else. Asks nobody.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from consensus.errors import ConsensusError
from consensus.ids import checkpoint_from_text, id_text
from consensus.spec import SPEC_BYTES_MAX, ChainSpec
from node.errors import FileUnusable, JoinUnusable
from node.settings import PEERS_MAX, parse_peer

SCHEMA: Final = "apocryph/join/1"
JOIN_BYTES_MAX: Final = 2 * SPEC_BYTES_MAX + 256 * PEERS_MAX  # base64, and room for peers
_KEYS: Final = ("schema", "chain", "name", "spec", "checkpoint", "peers")


class Join(NamedTuple):
    """How to join a chain. `checkpoint`: HEIGHT:ID, empty at genesis. `peers`: id@host:port."""

    spec: ChainSpec
    checkpoint: str
    peers: tuple[str, ...]


def spec_of(chain: str, raw: bytes) -> ChainSpec:
    """The spec in bytes that are said to be a chain's. Raises JoinUnusable."""
    try:
        spec = ChainSpec.decode(raw)
    except ConsensusError as error:
        raise JoinUnusable(f"the spec: {error}") from error
    if chain != id_text(spec.id):
        raise JoinUnusable(f"the spec is of chain {id_text(spec.id)}, not {chain}")
    return spec


def join_text(spec: ChainSpec, checkpoint: str, peers: Sequence[str]) -> str:
    """The file."""
    document = {
        "schema": SCHEMA,
        "chain": id_text(spec.id),
        "name": spec.name,
        "spec": b64encode(spec.raw).decode(),
        "checkpoint": checkpoint,
        "peers": list(peers),
    }
    return json.dumps(document, indent=2) + "\n"


def read_join(path: Path) -> Join:
    """Raises FileUnusable, JoinUnusable."""
    try:
        with path.open("rb") as file:
            raw = file.read(JOIN_BYTES_MAX + 1)
    except OSError as error:
        raise FileUnusable(f"{path}: {error.strerror}") from error
    if len(raw) > JOIN_BYTES_MAX:
        raise JoinUnusable(f"{path} has more than {JOIN_BYTES_MAX} bytes")
    try:
        return _join(json.loads(raw))
    except (ConsensusError, JoinUnusable, ValueError, KeyError, TypeError, RecursionError) as error:
        raise JoinUnusable(f"{path}: {error}") from error


def _join(document: Any) -> Join:
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"not a file of the form {SCHEMA}")
    if set(document) != set(_KEYS):
        raise ValueError(f"expected {', '.join(_KEYS)}")
    spec = spec_of(document["chain"], b64decode(document["spec"], validate=True))
    checkpoint, peers = document["checkpoint"], document["peers"]
    if not isinstance(checkpoint, str) or not isinstance(peers, list) or len(peers) > PEERS_MAX:
        raise ValueError(f"expected a text as checkpoint, and at most {PEERS_MAX} peers")
    if checkpoint:
        checkpoint_from_text(checkpoint)
    for peer in peers:
        parse_peer(str(peer))
    return Join(spec, checkpoint, tuple(peers))
