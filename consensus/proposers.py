"""Randomness, hash chains and the order of proposers (protocol §5). Knows no state and no clock."""

import hashlib
import hmac
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

from consensus.encoding import H, encode, head
from consensus.errors import InvalidBlock
from consensus.ids import Hash, Peer, Slot
from consensus.tables import Table

_SEED_INFO = b"apocryph/1/hash-chain"
_HASH_HEAD = head(2, 32)
_sha256 = hashlib.sha256


# ---- randomness ---------------------------------------------------------------------------------


def genesis_randomness(spec_seed: bytes) -> Hash:
    """randomness_0."""
    return H("genesis", spec_seed)


def next_randomness(previous: bytes, reveal: bytes | None) -> Hash:
    """randomness_h = H("random", randomness_{h−1}, reveal)."""
    return H("random", previous, reveal)


# ---- hash chains --------------------------------------------------------------------------------


class ChainState(NamedTuple):
    """The newest known link of an owner's hash chain, and its number (0: the commitment)."""

    link: Hash
    number: int


def hash_chain_seed(key: bytes, spec_seed: bytes, epoch: int) -> Hash:
    """HKDF-SHA256(key, salt = spec_seed, info = "apocryph/1/hash-chain" ‖ u64 epoch), 32 bytes.

    `key`: the 32 bytes of the Ed25519 seed of the slot key. So a chain is never lost with a disk.
    """
    extracted = hmac.digest(spec_seed, key, "sha256")
    info = _SEED_INFO + epoch.to_bytes(8, "big")
    return Hash(hmac.digest(extracted, info + b"\x01", "sha256"))  # RFC 5869, one block of output


def _link_prefix(spec_seed: bytes, peer: bytes) -> bytes:
    return head(4, 4) + encode("link") + encode(spec_seed) + encode(peer) + _HASH_HEAD


def link(spec_seed: bytes, peer: bytes, following: bytes) -> Hash:
    """The link before `following`: H("link", spec_seed, peer, following)."""
    return Hash(_sha256(_link_prefix(spec_seed, peer) + following).digest())


def hash_chain(seed: bytes, spec_seed: bytes, peer: bytes, links: int) -> list[Hash]:
    """The `links` = epoch_blocks + 1 links by number: first the commitment, last `seed`."""
    prefix = _link_prefix(spec_seed, peer)
    chain = [Hash(seed)]
    for _ in range(links - 1):
        chain.append(Hash(_sha256(prefix + chain[-1]).digest()))
    chain.reverse()
    return chain


def check_reveal(
    known: ChainState, reveal: bytes, number: int, *, spec_seed: bytes, peer: bytes
) -> None:
    """Raises InvalidBlock unless `reveal` is link `number` of the chain that `known` is a link of.

    Links are numbered by height: at h the number is h − first(e) + 1 (protocol §5), so `number` −
    known.number ≤ epoch_blocks hashes are done.
    """
    if number <= known.number:
        raise InvalidBlock("reveal", "an older link than the state knows")
    prefix, digest = _link_prefix(spec_seed, peer), reveal
    for _ in range(number - known.number):
        digest = _sha256(prefix + digest).digest()
    if digest != known.link:
        raise InvalidBlock("reveal", "not the link of this height")


# ---- order --------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _slot_heads(slots: int) -> tuple[bytes, ...]:
    """The canonical bytes of each slot number; one order hashes some 600 of them."""
    return tuple([head(0, slot) for slot in range(slots)])


def ranking(
    table: Table, ranked: Collection[Peer], *, randomness: bytes, height: int, round: int
) -> tuple[tuple[Peer, Slot], ...]:
    """(owner, its best slot) by rank, best first (protocol §5).

    Occupied slots are sorted by H("order", randomness_{h−1}, height, round, slot), least first, and
    owners by their best slot. `ranked`: the owners with a hash chain of this epoch; where none of
    them owns a slot, all owners are ranked.
    """
    prefix = head(4, 5) + encode("order") + encode(bytes(randomness)) + head(0, height)
    prefix += head(0, round)
    heads, owners = _slot_heads(len(table.owners)), table.owners
    slots: Sequence[Slot] = [slot for slot in table.occupied if owners[slot] in ranked]
    slots = slots or table.occupied
    best: dict[Peer, Slot] = {}
    for _, slot in sorted([(_sha256(prefix + heads[slot]).digest(), slot) for slot in slots]):
        owner = owners[slot]
        assert owner is not None, "an occupied slot has an owner"
        best.setdefault(owner, slot)
    return tuple(best.items())


def rank_of(ranking: Sequence[tuple[Peer, Slot]], peer: Peer) -> int | None:
    """The rank of a peer in a ranking; null when it is not ranked."""
    for rank, (owner, _) in enumerate(ranking):
        if owner == peer:
            return rank
    return None
