"""The table of an epoch: who owns which slots, and how the next one follows (protocol §4).

Pure arithmetic on owners: knows neither facts nor the state that holds them; `transition` collects
what a table is built from.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from consensus.encoding import KEY, UINT, Schema, list_of, row
from consensus.errors import EncodingError
from consensus.ids import Epoch, Hash, Peer, Slot
from consensus.parameters import SLOTS_LIMIT, Parameters

TABLE_BYTES_MAX = 128 * 1024  # 1,024 owners with one slot each: 40 KiB
OCCUPIED_SHARE = 4  # at most a quarter of the occupied slots changes owner

_TABLE = Schema(
    "table",
    1,
    [UINT, UINT, list_of(row(KEY, list_of(UINT, SLOTS_LIMIT)), SLOTS_LIMIT)],
    max_bytes=TABLE_BYTES_MAX,
)


@dataclass(frozen=True, slots=True)
class Table:
    """The owners of an epoch; all its blocks are ordered, polled and certified under it.

    `owners[slot]` is null where the slot is vacant. `weights`: owner → number of slots, ordered by
    key. `hash` = sha256(raw), so prefix ‖ hash is the table's content id.
    """

    epoch: Epoch
    owners: tuple[Peer | None, ...]
    weights: Mapping[Peer, int]
    occupied: tuple[Slot, ...]
    hash: Hash
    raw: bytes

    @classmethod
    def of(cls, epoch: int, owners: Sequence[Peer | None]) -> "Table":
        """The table of an epoch with these owners of slots 0, 1, …"""
        slots_of = _group(owners)
        return cls._from(epoch, tuple(owners), slots_of, _write(epoch, len(owners), slots_of))

    @classmethod
    def decode(cls, raw: bytes) -> "Table":
        """Raises EncodingError."""
        epoch, slots, rows = _TABLE.decode(raw)
        if not 1 <= slots <= SLOTS_LIMIT:
            raise EncodingError(f"table: {slots} slots")
        if any(a >= b for (a, _), (b, _) in pairwise(rows)):
            raise EncodingError("table: owners not ordered by key, each once")
        owners: list[Peer | None] = [None] * slots
        for peer, numbers in rows:
            if not numbers or any(a >= b for a, b in pairwise(numbers)):
                raise EncodingError("table: slots not in order, each once")
            for slot in numbers:
                if slot >= slots or owners[slot] is not None:
                    raise EncodingError("table: a slot that is none or has two owners")
                owners[slot] = peer
        return cls._from(epoch, tuple(owners), dict(rows), raw)

    @classmethod
    def _from(
        cls,
        epoch: int,
        owners: tuple[Peer | None, ...],
        slots_of: Mapping[Peer, Sequence[Slot]],
        raw: bytes,
    ) -> "Table":
        weights = {peer: len(numbers) for peer, numbers in slots_of.items()}
        occupied = tuple([Slot(slot) for slot, owner in enumerate(owners) if owner is not None])
        digest = Hash(hashlib.sha256(raw).digest())
        return cls(Epoch(epoch), owners, weights, occupied, digest, raw)

    def slots_of(self, peer: Peer) -> tuple[Slot, ...]:
        """The slots of a peer in order; empty when it owns none."""
        if peer not in self.weights:
            return ()
        return tuple([slot for slot in self.occupied if self.owners[slot] == peer])

    def weight(self, peer: Peer) -> int:
        """How many slots a peer owns."""
        return self.weights.get(peer, 0)

    def is_quorum(self, weight: int) -> bool:
        """Whether slots of that number are more than two thirds of the occupied (protocol §7)."""
        return 3 * weight > 2 * len(self.occupied)


def _group(owners: Sequence[Peer | None]) -> dict[Peer, list[Slot]]:
    slots_of: dict[Peer, list[Slot]] = {}
    for slot, owner in enumerate(owners):
        if owner is not None:
            slots_of.setdefault(owner, []).append(Slot(slot))
    return {peer: slots_of[peer] for peer in sorted(slots_of)}


def _write(epoch: int, slots: int, slots_of: Mapping[Peer, Sequence[Slot]]) -> bytes:
    fields: Any = (epoch, slots, list(slots_of.items()))
    return _TABLE.encode(fields)


def deal(slots: int, owners: Sequence[Peer]) -> tuple[Peer, ...]:
    """Slots dealt evenly: slot i goes to owner i mod n. What a testnet's genesis does."""
    return tuple([owners[slot % len(owners)] for slot in range(slots)])


class Bid(NamedTuple):
    """The best included claim of a slot: who, and how high on the hill (24 bytes as a number)."""

    peer: Peer
    hill: int


class Grounds(NamedTuple):
    """What the state after the last block of an epoch says about the next table.

    `bids`: the best included claim per slot. `staying`: owners whose renewal and proof of life the
    epoch includes. `burned`: owners whose slots evidence vacates now. `void`: peers whose claims do
    not count. `elapsed_ms`: from the last block of the epoch before (or genesis) to this one.
    """

    bids: Mapping[Slot, Bid]
    staying: frozenset[Peer]
    burned: frozenset[Peer]
    void: frozenset[Peer]
    elapsed_ms: int


def turnover_bound(parameters: Parameters, *, occupied: int, elapsed_ms: int) -> int:
    """How many slots may change owner at once; `occupied` is counted after evidence."""
    by_time = elapsed_ms // parameters.turnover_interval_ms
    return max(1, min(parameters.turnover_max, occupied // OCCUPIED_SHARE, by_time))


def next_table(parameters: Parameters, table: Table, grounds: Grounds) -> Table:
    """Table_e from Table_{e−1} (protocol §4).

    A slot whose bid is void counts as unclaimed. Filling a vacant slot is a change of owner too.
    """
    owners = [None if owner in grounds.burned else owner for owner in table.owners]  # (1)
    occupied = sum(owner is not None for owner in owners)
    vacations: list[Slot] = []
    claims: list[tuple[int, Slot, Peer]] = []
    for number, owner in enumerate(owners):  # (2)
        slot = Slot(number)
        bid = grounds.bids.get(slot)
        if bid is not None and bid.peer not in grounds.void:
            if bid.peer != owner:
                claims.append((-bid.hill, slot, bid.peer))
        elif owner is not None and owner not in grounds.staying:
            vacations.append(slot)
    claims.sort()
    bound = turnover_bound(parameters, occupied=occupied, elapsed_ms=grounds.elapsed_ms)
    for slot in vacations[:bound]:  # (3) vacations by slot number first, then claims by height
        owners[slot] = None
    for _, slot, peer in claims[: max(0, bound - len(vacations))]:
        owners[slot] = peer
    if all(owner is None for owner in owners):
        owners = list(table.owners)  # a chain without owners could never get any again
    return Table.of(table.epoch + 1, owners)
