"""The protocol's own leaves of the state, `c/…`: keys, bytes, and what is read from them (wire).

One leaf each for the table, the one before, the hash chains, the proofs of life, and the ends of
the last epochs; one per slot claimed, per peer that committed, per offence. Knows no rules: which
facts change them is `transition`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from consensus.claims import salt
from consensus.encoding import BOOL, HASH, KEY, UINT, Schema, blob, list_of, row
from consensus.errors import EncodingError
from consensus.ids import Epoch, Hash, Height, Peer, Slot
from consensus.parameters import HILL_BITS, SLOTS_LIMIT
from consensus.proposers import ChainState, ranking
from consensus.spec import ChainSpec
from consensus.state import State
from consensus.tables import Bid, Table

TABLE_KEY = b"c/table"
PREVIOUS_KEY = b"c/previous"
CHAINS_KEY = b"c/chains"
SIGNING_KEY = b"c/signing"
ENDS_KEY = b"c/ends"
CLAIMS_PREFIX = b"c/claims/"
COMMITMENTS_PREFIX = b"c/commitments/"
EVIDENCE_PREFIX = b"c/evidence/"

OWN_PREFIX = b"c/"  # of all leaves here
ENDS_KEPT = 2  # as far back as evidence may reach (protocol §4)
_LEAF_BYTES_MAX = 1024 * 1024
_SMALL_LEAF_BYTES_MAX = 512
_CACHED = 8  # decoded leaves: candidates of one height share them
_HILL_BYTES = HILL_BITS // 8

_CHAIN_ROW = row(KEY, HASH, UINT)
_CHAINS = Schema("chains", 1, [list_of(_CHAIN_ROW, SLOTS_LIMIT)], max_bytes=_LEAF_BYTES_MAX)
_SIGNING = Schema("signing", 1, [list_of(KEY, SLOTS_LIMIT)], max_bytes=_LEAF_BYTES_MAX)
_END_ROWS = list_of(row(UINT, HASH), ENDS_KEPT)
_ENDS = Schema("ends", 1, [_END_ROWS], max_bytes=_SMALL_LEAF_BYTES_MAX)
_BID = Schema("bid", 1, [KEY, blob(_HILL_BYTES)], max_bytes=_SMALL_LEAF_BYTES_MAX)
_COMMITMENT = Schema("commitment", 1, [HASH, BOOL], max_bytes=_SMALL_LEAF_BYTES_MAX)
_OFFENCE = Schema("offence", 1, [UINT], max_bytes=_SMALL_LEAF_BYTES_MAX)


class EpochEnd(NamedTuple):
    """Time and randomness of the last block of an epoch (genesis ends the epoch before 0)."""

    time_ms: int
    randomness: Hash


class Commitment(NamedTuple):
    """What a peer committed to for the next epoch, and whether by a renewal (too)."""

    commitment: Hash
    renewed: bool


# ---- keys ---------------------------------------------------------------------------------------


def claim_key(slot: int) -> bytes:
    """`c/claims/‖u16 slot`, big-endian: the best included claim of a slot for the next table."""
    return CLAIMS_PREFIX + slot.to_bytes(2, "big")


def commitments_of(epoch: int) -> bytes:
    """`c/commitments/‖u32 epoch`, big-endian: prefix of the commitments for an epoch."""
    return COMMITMENTS_PREFIX + epoch.to_bytes(4, "big")


def commitment_key(epoch: int, peer: bytes) -> bytes:
    """`c/commitments/‖u32 epoch‖peer`."""
    return commitments_of(epoch) + peer


def evidence_key(peer: bytes, epoch: int) -> bytes:
    """`c/evidence/‖peer‖u32 epoch`, big-endian: an offence of a peer in an epoch."""
    return EVIDENCE_PREFIX + peer + epoch.to_bytes(4, "big")


def evidence_parts(key: bytes) -> tuple[Peer, Epoch]:
    """(peer, epoch of the offence) of an evidence key."""
    rest = key[len(EVIDENCE_PREFIX) :]
    return Peer(rest[:-4]), Epoch(int.from_bytes(rest[-4:], "big"))


def claimed(key: bytes) -> Slot:
    """The slot of a claim key."""
    return Slot(int.from_bytes(key[len(CLAIMS_PREFIX) :], "big"))


# ---- values -------------------------------------------------------------------------------------


def _only_form(written: bytes, raw: bytes) -> None:
    """One value, one leaf: no other order, no peer twice, no number with fewer bytes."""
    if written != raw:
        raise EncodingError("not the one form of its value")


@lru_cache(maxsize=_CACHED)
def decode_table(raw: bytes) -> Table:
    """`Table.decode`, remembered: the leaf stays the same for an epoch. Raises EncodingError."""
    return Table.decode(raw)


def encode_chains(chains: Mapping[Peer, ChainState]) -> bytes:
    """Hash chains, ordered by peer."""
    return _CHAINS.encode(([(peer, *chains[peer]) for peer in sorted(chains)],))


@lru_cache(maxsize=_CACHED)
def decode_chains(raw: bytes) -> Mapping[Peer, ChainState]:
    """The chains by peer, shared between callers: never changed. Raises EncodingError."""
    rows = _CHAINS.decode(raw)[0]
    chains = {peer: ChainState(link, number) for peer, link, number in rows}
    _only_form(encode_chains(chains), raw)
    return chains


def encode_signing(peers: frozenset[Peer]) -> bytes:
    """Peers with a proof of life, ordered."""
    return _SIGNING.encode((sorted(peers),))


@lru_cache(maxsize=_CACHED)
def decode_signing(raw: bytes) -> frozenset[Peer]:
    """Raises EncodingError."""
    peers = frozenset(_SIGNING.decode(raw)[0])
    _only_form(encode_signing(peers), raw)
    return peers


def encode_ends(ends: tuple[EpochEnd, ...]) -> bytes:
    """Ends of epochs, the newest first."""
    return _ENDS.encode((ends[:ENDS_KEPT],))


@lru_cache(maxsize=_CACHED)
def decode_ends(raw: bytes) -> tuple[EpochEnd, ...]:
    """Raises EncodingError."""
    return tuple([EpochEnd(*end) for end in _ENDS.decode(raw)[0]])


def encode_bid(bid: Bid) -> bytes:
    """A best claim; its height on the hill as 24 bytes, big-endian."""
    return _BID.encode((bid.peer, bid.hill.to_bytes(_HILL_BYTES, "big")))


def decode_bid(raw: bytes) -> Bid:
    """Raises EncodingError."""
    peer, hill = _BID.decode(raw)
    bid = Bid(peer, int.from_bytes(hill, "big"))
    _only_form(encode_bid(bid), raw)
    return bid


def encode_commitment(commitment: Commitment) -> bytes:
    return _COMMITMENT.encode(commitment)


def decode_commitment(raw: bytes) -> Commitment:
    """Raises EncodingError."""
    return Commitment(*_COMMITMENT.decode(raw))


def encode_offence(included: int) -> bytes:
    """The epoch in which the evidence was included."""
    return _OFFENCE.encode((included,))


def decode_offence(raw: bytes) -> Epoch:
    """Raises EncodingError."""
    return Epoch(_OFFENCE.decode(raw)[0])


# ---- what the next block is judged by -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class View:
    """What a state says about the block that comes next, at `height`.

    `table` orders and certifies it; `previous` is the table of the epoch before, null in epoch 0.
    `chains`: owners with a hash chain of this epoch. `alive`: owners with a proof of life in this
    epoch so far. `ends`: ends of the epochs before, the newest first. `claim_open`: whether a block
    at `height` may hold claims and renewals; `salt_next`: the salt such claims are mined with, null
    when it may not.
    """

    height: Height
    epoch: Epoch
    table: Table
    previous: Table | None
    chains: Mapping[Peer, ChainState]
    alive: frozenset[Peer]
    ends: tuple[EpochEnd, ...]
    claim_open: bool
    salt_next: Hash | None

    @property
    def ranked(self) -> bool:
        """Whether any owner has a hash chain; if none has, all are ranked and reveal null (§4)."""
        return bool(self.chains)  # Invariant: only owners of `table` have one

    def ranking(self, randomness: bytes, round: int) -> tuple[tuple[Peer, Slot], ...]:
        """(owner, slot) by rank at this height; `randomness` is the parent's (protocol §5)."""
        return ranking(
            self.table, self.chains, randomness=randomness, height=self.height, round=round
        )

    def table_of(self, epoch: int) -> Table | None:
        """The table of this epoch or of the one before; null for any other."""
        if epoch == self.epoch:
            return self.table
        return self.previous if epoch == self.epoch - 1 else None


def view(spec: ChainSpec, state: State, height: int) -> View:
    """What the state after block `height` (0: genesis) says about block `height` + 1."""
    parameters = spec.parameters
    coming = Height(height + 1)
    epoch = parameters.epoch(coming)
    previous, signing = state.get(PREVIOUS_KEY), state.get(SIGNING_KEY)
    ends = decode_ends(_leaf(state, ENDS_KEY))
    is_open = parameters.claims_open(coming)
    table = decode_table(_leaf(state, TABLE_KEY))
    assert table.epoch == epoch, "the state is of another height"
    return View(
        height=coming,
        epoch=epoch,
        table=table,
        previous=None if previous is None else decode_table(previous),
        chains=decode_chains(_leaf(state, CHAINS_KEY)),
        alive=frozenset() if signing is None else decode_signing(signing),
        ends=ends,
        claim_open=is_open,
        salt_next=salt(spec.seed, epoch + 1, ends[0].randomness) if is_open else None,
    )


def _leaf(state: State, key: bytes) -> bytes:
    raw = state.get(key)
    assert raw is not None, f"a state without {key.decode()}"
    return raw
