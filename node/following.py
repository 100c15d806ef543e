"""Whether what a node stands on may be trusted, and what it keeps of a fork that it saw (§10).

Keys of old tables can rewrite history for free: who owns no slot starts from something young. Two
certified blocks at one height are shown, and neither is chosen.
"""

import json
from base64 import b64encode
from pathlib import Path
from typing import Final

from consensus import light
from consensus.block import Header
from consensus.effects import Halt
from consensus.errors import CheckpointMissed, TrustExpired
from consensus.ids import Checkpoint, Peer, id_text
from consensus.spec import ChainSpec
from consensus.tables import Table
from node.errors import ChainForked, CheckpointRefused, TrustTooOld
from node.folder import write_file
from node.store.chain import ChainData

FORK_FILE: Final = "fork.json"
FORK_BYTES_MAX: Final = 1024 * 1024


class Trust:
    """What one node takes for granted of its chain; `checkpoint` null: genesis, or its own tip."""

    def __init__(self, spec: ChainSpec, folder: Path, checkpoint: Checkpoint | None) -> None:
        self._spec, self._file, self._checkpoint = spec, folder / FORK_FILE, checkpoint

    def check_start(self, chain: ChainData, table: Table, peer: Peer, clock_ms: int) -> None:
        """Whether this node may go on from its tip. Raises TrustTooOld, CheckpointRefused.

        Owners of the table stand on what they certified themselves; all others need a tip, or a
        checkpoint, that is not older than trust_ms. A checkpoint that is still ahead is judged when
        its height is decided.
        """
        checkpoint = self._checkpoint
        if checkpoint is not None and checkpoint.height > chain.height:
            return
        stored = chain.block(chain.height if checkpoint is None else checkpoint.height)
        assert stored is not None, "committed heights are stored"
        header = Header.decode(stored.header)
        self.check_passed(header, clock_ms)
        if checkpoint is None and peer not in table.weights:
            what = f"the newest block here, height {header.height}," if header.height else "genesis"
            self._check_age(header, clock_ms, what)

    def check_passed(self, header: Header, clock_ms: int) -> None:
        """A block at the checkpoint's height is the checkpoint, and it is young enough. Raises
        CheckpointRefused, TrustTooOld."""
        checkpoint = self._checkpoint
        if checkpoint is None or checkpoint.height != header.height:
            return
        try:
            light.check_checkpoint(checkpoint, header)
        except CheckpointMissed as error:
            raise CheckpointRefused(str(error)) from error
        self._check_age(header, clock_ms, "the checkpoint")

    def _check_age(self, header: Header, clock_ms: int, what: str) -> None:
        try:
            light.check_trust(self._spec, header.fields.time_ms, clock_ms, what)
        except TrustExpired as error:
            raise TrustTooOld(str(error)) from error

    # ---- forks ----------------------------------------------------------------------------------

    def keep_fork(self, effect: Halt) -> None:
        """Keep both sides: block ids in the cause, certificates as they were received."""
        told = {
            "height": effect.height,
            "block": id_text(effect.block),
            "cause": effect.cause,
            "certificates": [b64encode(raw).decode() for raw in effect.certificates],
        }
        write_file(self._file, json.dumps(told, indent=1).encode() + b"\n")

    def check_no_fork(self) -> None:
        """Raises ChainForked where this node saw a fork, unless a checkpoint at or above it
        decides which side holds."""
        try:
            with self._file.open("rb") as file:
                told = json.loads(file.read(FORK_BYTES_MAX))
            height, cause = int(told["height"]), str(told["cause"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            height, cause = 0, "cannot be read"
        if self._checkpoint is None or self._checkpoint.height < height:
            raise ChainForked(f"height {height}: {cause} (seen before: {self._file})")
