"""Following a chain without slots: certificates, tables, trust (protocol §10).

A follower takes every block's header and certificate; a light client skips from epoch to epoch by
the last header of each, whose certificate makes its next table true. Neither executes anything, and
neither asks anybody: bytes are handed in. Knows nothing of state entries: that is `proofs`.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from consensus.block import Header
from consensus.certificates import Certificate, signatures_valid
from consensus.errors import (
    CheckpointMissed,
    ConsensusError,
    EncodingError,
    InvalidCertificate,
    InvalidProof,
    NotProvable,
    TrustExpired,
)
from consensus.ids import BlockId, Checkpoint, Height, id_text
from consensus.signatures import Verifier
from consensus.spec import ChainSpec
from consensus.tables import Table
from consensus.validity import check_certificate

WATCHED_HEIGHTS_MAX = 1024  # how far back two certified blocks of one height are noticed


class Certified(NamedTuple):
    """A header with the certificate that makes it final."""

    header: Header
    certificate: Certificate


class Forked(ConsensusError):
    """Two certified blocks at one height: a third of a table, or of its old keys, lied.

    Whoever follows stops, shows both and chooses neither (protocol §10).
    """

    code = "forked"

    def __init__(self, first: Certified, second: Certified) -> None:
        ids = f"{id_text(first.header.id)} and {id_text(second.header.id)}"
        super().__init__(f"two certified blocks at height {first.header.height}: {ids}")
        self.first, self.second = first, second


@dataclass(frozen=True, slots=True)
class Tip:
    """What a follower knows: the last block it followed, and the table of the height after it.

    `block` is null at genesis, whose id no certificate names.
    """

    height: Height
    block: BlockId | None
    table: Table


# ---- trust --------------------------------------------------------------------------------------


def start(spec: ChainSpec, clock_ms: int) -> Tip:
    """Genesis as a starting point, which is one while its time is at most trust_ms ago.

    Keys of old tables can rewrite history for free, so later a younger checkpoint is needed (§10).
    Raises TrustExpired, NotProvable.
    """
    check_provable(spec)
    check_trust(spec, spec.genesis_time_ms, clock_ms, "genesis")
    return Tip(Height(0), None, spec.genesis_table())


def start_at(
    spec: ChainSpec, checkpoint: Checkpoint, header: Header, next_table: bytes, clock_ms: int
) -> Tip:
    """A checkpoint as a starting point: its id vouches for `header`, which names `next_table`.

    Raises CheckpointMissed for another header, TrustExpired for one whose time is more than
    trust_ms ago, NotProvable, InvalidProof for another table.
    """
    check_provable(spec)
    check_checkpoint(checkpoint, header)
    if header.fields.chain != spec.id:
        raise InvalidProof("chain", "a header of another chain")
    check_trust(spec, header.fields.time_ms, clock_ms, "the checkpoint")
    table = _named_table(header, next_table)
    coming = spec.parameters.epoch(header.height + 1)
    if table.epoch != coming or len(table.owners) != spec.parameters.slots:
        raise InvalidProof("next_table", "of another epoch or number of slots")
    return Tip(header.height, header.id, table)


def check_provable(spec: ChainSpec) -> None:
    """Raises NotProvable for a chain without certificates: nothing here can judge it."""
    if not spec.kind.votes:
        raise NotProvable(spec.consensus)


def check_trust(spec: ChainSpec, time_ms: int, clock_ms: int, what: str) -> None:
    """Raises TrustExpired when `what`, of time_ms, is more than trust_ms ago."""
    trust_ms = spec.parameters.trust_ms
    if trust_ms and clock_ms - time_ms > trust_ms:
        raise TrustExpired(f"{what} is older than trust_ms; a younger checkpoint is needed")


def check_checkpoint(checkpoint: Checkpoint, header: Header) -> None:
    """Raises CheckpointMissed unless `header` is the block that the checkpoint names."""
    if header.height != checkpoint.height or header.id != checkpoint.block:
        raise CheckpointMissed(
            f"height {header.height} is {id_text(header.id)},"
            f" the checkpoint {checkpoint.height} is {id_text(checkpoint.block)}"
        )


# ---- one step -----------------------------------------------------------------------------------


def check_certified(spec: ChainSpec, table: Table, block: Certified, verifier: Verifier) -> None:
    """Raises InvalidProof unless `block` is of this chain and certified under its epoch's `table`.

    The certificate's weight comes before its signatures, which are the dear part.
    """
    check_provable(spec)
    header, certificate = block
    fields = header.fields
    if fields.chain != spec.id:
        raise InvalidProof("chain", "a header of another chain")
    if fields.height < 1 or fields.epoch != spec.parameters.epoch(fields.height):
        raise InvalidProof("epoch", "not that of the header's height")
    if fields.epoch != table.epoch:
        raise InvalidProof("table", f"of epoch {table.epoch}, the header is of {fields.epoch}")
    try:
        check_certificate(spec, table, header, certificate)
    except InvalidCertificate as error:
        raise InvalidProof("certificate", str(error)) from error
    if not signatures_valid(certificate, verifier):
        raise InvalidProof("signature", "an accept in the certificate does not verify")


def check_next_table(spec: ChainSpec, table: Table, header: Header, raw: bytes | None) -> Table:
    """The table of the height after `header`, a certified one under `table`.

    `raw`: bytes of the next table, needed iff the header is the last of its epoch. Raises
    InvalidProof unless they are what the header names.
    """
    named = header.fields.next_table
    if not spec.parameters.is_last(header.height):
        if named != table.hash:
            raise InvalidProof("next_table", "changes within an epoch")
        return table
    following = _named_table(header, raw)
    if following.epoch != table.epoch + 1 or len(following.owners) != len(table.owners):
        raise InvalidProof("next_table", "of another epoch or number of slots")
    if not following.occupied:
        raise InvalidProof("next_table", "without owners")
    return following


def _named_table(header: Header, raw: bytes | None) -> Table:
    if raw is None or hashlib.sha256(raw).digest() != header.fields.next_table:
        raise InvalidProof("next_table", "not the table that the header names")
    try:
        return Table.decode(raw)
    except EncodingError as error:
        raise InvalidProof("next_table", str(error)) from error


def follow(
    spec: ChainSpec,
    tip: Tip,
    block: Certified,
    *,
    next_table: bytes | None,
    verifier: Verifier,
) -> Tip:
    """The tip after the next block. Raises InvalidProof; the tip stays good then."""
    fields = block.header.fields
    if fields.height != tip.height + 1:
        raise InvalidProof("height", f"{fields.height} after {tip.height}")
    if tip.block is not None and fields.parent != tip.block:
        raise InvalidProof("parent", "does not follow the block before")
    check_certified(spec, tip.table, block, verifier)
    table = check_next_table(spec, tip.table, block.header, next_table)
    return Tip(fields.height, block.header.id, table)


def skip(
    spec: ChainSpec, table: Table, block: Certified, *, next_table: bytes, verifier: Verifier
) -> Table:
    """Table_{e+1} from Table_e by the last header of e with its certificate ‡. Raises InvalidProof.

    A header without a certificate proves nothing: anybody can chain headers (protocol §10).
    """
    check_certified(spec, table, block, verifier)
    if not spec.parameters.is_last(block.header.height):
        raise InvalidProof("epoch", "not the last header of its epoch")
    return check_next_table(spec, table, block.header, next_table)


# ---- forks --------------------------------------------------------------------------------------


class Watch:
    """Remembers which block was certified at each recent height; sees a second one."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Height, Certified] = OrderedDict()
        self._fork: Forked | None = None

    def record(self, block: Certified) -> None:
        """Note a block that `check_certified` let pass. Raises Forked at a second one of a height.

        Every later call raises it again: who saw a fork stops following.
        """
        if self._fork is not None:
            raise self._fork
        known = self._seen.setdefault(block.header.height, block)
        if known.header.id != block.header.id:
            self._fork = Forked(known, block)
            raise self._fork
        while len(self._seen) > WATCHED_HEIGHTS_MAX:
            self._seen.popitem(last=False)
