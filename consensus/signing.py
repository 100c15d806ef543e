"""The sign record: what this peer has signed and must never contradict (protocol §7 ‡).

One atomic record per chain, durable before any signature leaves. Pure: `node.signer` keeps it on
disk and refuses regress by itself.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from consensus.certificates import CERTIFICATE_BYTES_MAX
from consensus.encoding import ID, KEY, UINT, Schema, blob, list_of, optional, row
from consensus.errors import SignRefused
from consensus.ids import BlockId, ChainId, Height, Peer, Round

PROPOSE, CONFIRM, ACCEPT = 0, 1, 2
OWN_MAX = 8  # proposal, confirm, accept of this and the last round, and slack for one skipped
_UNSIGNED_MAX = 160 * 1024

_RECORD = Schema(
    "sign",
    1,
    [
        ID,
        KEY,
        UINT,
        UINT,
        UINT,
        list_of(row(UINT, UINT, UINT, blob(_UNSIGNED_MAX)), OWN_MAX),
        optional(row(UINT, ID, UINT)),
        optional(row(UINT, ID, UINT, blob(CERTIFICATE_BYTES_MAX))),
    ],
    max_bytes=2 * 1024 * 1024,
)


class Own(NamedTuple):
    """Something this peer signed: its place and the canonical bytes without the signature."""

    height: Height
    round: Round
    phase: int
    unsigned: bytes


class Lock(NamedTuple):
    height: Height
    block: BlockId
    round: Round


class Valid(NamedTuple):
    """The valid value with the aggregate of confirms that proves it."""

    height: Height
    block: BlockId
    round: Round
    aggregate: bytes


@dataclass(frozen=True, slots=True)
class SignRecord:
    """The newest place signed, own bytes of this and the last round, lock and valid value.

    Invariant: `place` only grows, so nothing is ever signed twice with other bytes. Lock and valid
    value name their height and mean nothing at another.
    """

    chain: ChainId
    peer: Peer
    height: Height
    round: Round
    phase: int
    own: tuple[Own, ...] = ()
    lock: Lock | None = None
    valid: Valid | None = None

    @property
    def place(self) -> tuple[int, int, int]:
        return self.height, self.round, self.phase

    @property
    def raw(self) -> bytes:
        lock = None if self.lock is None else tuple(self.lock)
        valid = None if self.valid is None else tuple(self.valid)
        place = (self.height, self.round, self.phase)
        return _RECORD.encode((self.chain, self.peer, *place, self.own, lock, valid))

    @classmethod
    def decode(cls, raw: bytes) -> "SignRecord":
        """Raises EncodingError."""
        chain, peer, height, round_, phase, own, lock, valid = _RECORD.decode(raw)
        return cls(
            chain,
            peer,
            height,
            round_,
            phase,
            tuple([Own(*item) for item in own]),
            None if lock is None else Lock(*lock),
            None if valid is None else Valid(*valid),
        )

    @classmethod
    def fresh(cls, chain: ChainId, peer: Peer) -> "SignRecord":
        """Nothing signed yet: before (0, 0, accept) nothing can be asked for."""
        return cls(chain, peer, Height(0), Round(0), ACCEPT)

    def signed(self, height: int, round_: int, phase: int) -> bytes | None:
        """What was signed at a place, if it is still remembered."""
        for own in self.own:
            if own[:3] == (height, round_, phase):
                return own.unsigned
        return None

    def allows(self, height: int, round_: int, phase: int) -> bool:
        """Whether something new may be signed there."""
        return (height, round_, phase) > self.place

    def with_own(self, height: int, round_: int, phase: int, unsigned: bytes) -> "SignRecord":
        """The record after signing `unsigned` there. Raises SignRefused: conflict or regress."""
        before = self.signed(height, round_, phase)
        if before is not None:
            if before == unsigned:
                return self
            raise SignRefused("other bytes were signed at this height, round and phase")
        if not self.allows(height, round_, phase):
            raise SignRefused("something newer was signed")
        own = Own(Height(height), Round(round_), phase, unsigned)
        kept = tuple(
            [item for item in self.own if item.height == height and item.round >= round_ - 1]
        )
        here = replace(self, height=Height(height), round=Round(round_), phase=phase)
        return replace(here, own=(*kept, own)[-OWN_MAX:])

    def with_lock(self, height: int, block: BlockId, round_: int) -> "SignRecord":
        return replace(self, lock=Lock(Height(height), block, Round(round_)))

    def with_valid(
        self, height: int, block: BlockId, round_: int, aggregate: bytes
    ) -> "SignRecord":
        return replace(self, valid=Valid(Height(height), block, Round(round_), aggregate))

    def lock_at(self, height: int) -> Lock | None:
        return self.lock if self.lock is not None and self.lock.height == height else None

    def valid_at(self, height: int) -> Valid | None:
        return self.valid if self.valid is not None and self.valid.height == height else None
