"""Tables, turnover, order of proposers: protocol §4 and §5, in the page's order of sentences."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.naive.naive_cbor import hashed, sha
from tests.naive.naive_records import fields, hash_, key, many, record, row, uint

Owners = tuple[bytes | None, ...]  # by slot


class Table(NamedTuple):
    epoch: int
    owners: Owners

    def raw(self) -> bytes:
        """["table", 1, epoch, slots, [[peer, [slot]]]] (wire §6)."""
        peers = sorted({owner for owner in self.owners if owner is not None})
        rows = [[peer, self.slots_of(peer)] for peer in peers]
        return record("table", self.epoch, len(self.owners), rows)

    def slots_of(self, peer: bytes) -> list[int]:
        return [slot for slot, owner in enumerate(self.owners) if owner == peer]

    @property
    def hash(self) -> bytes:
        return sha(self.raw())

    @property
    def occupied(self) -> int:
        return sum(owner is not None for owner in self.owners)

    @property
    def peers(self) -> list[bytes]:
        return sorted({owner for owner in self.owners if owner is not None})


def table_of(raw: bytes) -> Table:
    epoch, count, rows = fields(
        raw, "table", [uint, uint, many(row(key, many(uint, 65535)), 65535)], 128 * 1024
    )
    owners: list[bytes | None] = [None] * count
    for peer, slots in rows:
        for slot in slots:
            owners[slot] = peer
    return Table(epoch, tuple(owners))


class Hill(NamedTuple):
    """The best included claim of a slot."""

    peer: bytes
    height: bytes  # 24 bytes, big-endian


def stand(
    chain: bytes, salt: bytes, peer: bytes, nonce: bytes, *, commitment: bytes, slots: int
) -> tuple[int, bytes]:
    """(slot, height on the hill) of a claim (protocol §4)."""
    digest = hashed(chain, salt, peer, nonce, commitment)
    return int.from_bytes(digest[:8], "big") % slots, digest[8:]


def leading_ones(height: bytes) -> int:
    bits = "".join(f"{byte:08b}" for byte in height)
    return len(bits) - len(bits.lstrip("1"))


def turnover(parameters: Mapping[str, int], occupied: int, elapsed_ms: int) -> int:
    return max(
        1,
        min(
            parameters["turnover_max"],
            occupied // 4,
            elapsed_ms // parameters["turnover_interval_ms"],
        ),
    )


def next_table(
    parameters: Mapping[str, int],
    table: Table,
    claims: Mapping[int, Hill],
    *,
    offenders: Sequence[bytes],
    void: Sequence[bytes],
    staying: Sequence[bytes],
    elapsed_ms: int,
) -> Table:
    """Table_e from Table_{e-1}. `staying`: renewed and alive. `void`: their claims do not count."""
    # (1) evidence vacates all slots of its key, outside the bound
    owners = [None if owner in offenders else owner for owner in table.owners]
    bound = turnover(parameters, sum(owner is not None for owner in owners), elapsed_ms)
    # (2) what each slot would come to
    vacations, changes = [], []
    for slot, owner in enumerate(owners):
        claim = claims.get(slot)
        if claim is not None and claim.peer not in void:
            if claim.peer != owner:
                changes.append((slot, claim))
        elif owner is not None and owner not in staying:
            vacations.append(slot)
    # (3) vacations by slot number first, then claims by height
    changes.sort(key=lambda change: change[1].height, reverse=True)
    steps: list[tuple[int, bytes | None]] = [(slot, None) for slot in vacations]
    steps += [(slot, claim.peer) for slot, claim in changes]
    for slot, new_owner in steps[:bound]:
        owners[slot] = new_owner
    # If the table would be empty it stays as it was.
    if all(owner is None for owner in owners):
        owners = list(table.owners)
    return Table(table.epoch + 1, tuple(owners))


class Link(NamedTuple):
    """Where a peer's hash chain stands."""

    link: bytes
    number: int


def links_of(raw: bytes) -> dict[bytes, Link]:
    (rows,) = fields(raw, "chains", [many(row(key, hash_, uint), 65535)], 2**20)
    return {peer: Link(link, number) for peer, link, number in rows}


def ranking(
    table: Table, committed: Sequence[bytes], *, randomness: bytes, height: int, round_: int
) -> list[tuple[bytes, int]]:
    """(owner, its best slot) by rank (protocol §5)."""
    order = sorted(
        (hashed("order", randomness, height, round_, slot), slot)
        for slot, owner in enumerate(table.owners)
        if owner is not None
    )
    ranked = [peer for peer in table.peers if peer in committed] or table.peers
    found: list[tuple[bytes, int]] = []
    for _, slot in order:
        owner = table.owners[slot]
        if owner is not None and owner in ranked and owner not in [peer for peer, _ in found]:
            found.append((owner, slot))
    return found


def opens(seed: bytes, peer: bytes, standing: Link, *, reveal: bytes, number: int) -> bool:
    """Whether `reveal`, hashed forward, is the link that the state holds."""
    if number <= standing.number:
        return False
    link = reveal
    for _ in range(number - standing.number):
        link = hashed("link", seed, peer, link)
    return link == standing.link
