"""King of the Hill: the work in a slot claim, how it is judged and how it is found (protocol §4).

Knows digests and salts, not which claim of a slot is the best included: that is `transition`.
"""

import hashlib
from typing import NamedTuple

from consensus.encoding import H, encode, head
from consensus.errors import InvalidFact
from consensus.facts import SlotClaim, claim_digest, claimed_slot, hill_height
from consensus.ids import Hash, Peer, Slot
from consensus.parameters import HILL_BITS
from consensus.spec import ChainSpec

NONCE_PREFIX_BYTES = 8
HILL_BYTES = HILL_BITS // 8
_SLOT_BYTES = 8
_COUNTER_BYTES = 8
_NONCE_HEAD = head(2, NONCE_PREFIX_BYTES + _COUNTER_BYTES)


class Standing(NamedTuple):
    """Where a claim stands: its slot, and its height on the hill (24 bytes as a number)."""

    slot: Slot
    hill: int


class Found(NamedTuple):
    """A nonce whose work is enough for a claim, with what it would be worth."""

    nonce: bytes
    slot: Slot
    hill: int


def salt(spec_seed: bytes, epoch: int, randomness: bytes) -> Hash:
    """salt_e for e ≥ 1; `randomness` is that of the last block of e − 2, unused for e = 1."""
    assert epoch >= 1, "claims exist for epochs >= 1"
    return H("salt", epoch, spec_seed if epoch == 1 else randomness)


def hill_minimum(bits: int) -> int:
    """The least height with `bits` leading one-bits: difficulty_bits_min as a bound."""
    return ((1 << bits) - 1) << (HILL_BITS - bits)


def judge(claim: SlotClaim, spec: ChainSpec, salt: bytes) -> Standing:
    """Slot and height of a claim under the salt of its epoch; the signature is the caller's, last.

    Raises InvalidFact for what is wrong in itself: another chain, too little work.
    """
    if claim.chain != spec.id:
        raise InvalidFact("claim: of another chain")
    digest = claim_digest(
        chain=claim.chain,
        salt=salt,
        peer=claim.peer,
        nonce=claim.nonce,
        commitment=claim.commitment,
    )
    standing = Standing(claimed_slot(digest, spec.parameters.slots), hill_height(digest))
    if standing.hill < hill_minimum(spec.parameters.difficulty_bits_min):
        raise InvalidFact("claim: too little work")
    return standing


def mine(
    spec: ChainSpec,
    *,
    salt: bytes,
    peer: Peer,
    commitment: bytes,
    nonce_prefix: bytes,
    start: int,
    count: int,
) -> list[Found]:
    """Try `count` nonces, nonce_prefix (8 bytes) ‖ counter (8 bytes, big-endian) from `start` on.

    Returns those whose work is enough for a claim, about count / 2^difficulty_bits_min, in order.
    One bounded batch of some 2 million nonces a second on one core: the caller loops.
    """
    assert len(nonce_prefix) == NONCE_PREFIX_BYTES, "a nonce prefix has 8 bytes"
    before = head(4, 5) + encode(bytes(spec.id)) + encode(bytes(salt)) + encode(bytes(peer))
    prefix = hashlib.sha256(before + _NONCE_HEAD + nonce_prefix)
    suffix = encode(bytes(commitment))
    least = hill_minimum(spec.parameters.difficulty_bits_min).to_bytes(HILL_BYTES, "big")
    slots, copy = spec.parameters.slots, prefix.copy
    found: list[Found] = []
    for counter in range(start, start + count):
        tail = counter.to_bytes(_COUNTER_BYTES, "big")
        work = copy()
        work.update(tail + suffix)
        digest = work.digest()
        if digest[_SLOT_BYTES:] >= least:
            nonce = nonce_prefix + tail
            found.append(Found(nonce, claimed_slot(digest, slots), hill_height(digest)))
    return found
