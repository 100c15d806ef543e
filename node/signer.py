"""The signer: the peer's Ed25519 key, and the record of what it has signed (protocol §7).

Nothing is signed twice with other bytes and nothing behind what was signed; the record is durable
before a signature leaves. The consensus record itself is opaque bytes here. What touches the record
belongs to one thread, the writer's; the rest may be asked from any. Knows no network.
"""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consensus.encoding import HASH, ID, KEY, SIGNATURE, UINT, Schema, blob, encode, list_of, row
from consensus.errors import EncodingError, SignRefused
from consensus.ids import ChainId, Epoch, Hash, Peer, Signature, id_text, peer_text
from consensus.proposers import hash_chain, hash_chain_seed
from consensus.signatures import CLAIM, RENEW, Verifier, coverage
from consensus.signing import SignRecord
from node.errors import SignRecordCorrupt, SignRecordOther
from node.signfile import COPY_BYTES_MAX, Disk, FileDisk, SignFile
from node.verifier import digest_of

LINK: Final = "link"  # a link key vouched for, network §2
INSTANCE: Final = "instance"  # the answer to a twin's challenge, network §2
PLAIN_KINDS: Final = (CLAIM, RENEW, LINK, INSTANCE)
SIGNED_MAX: Final = 8  # signatures kept for equal requests: proposal and votes of two rounds, slack
CHAINS_MAX: Final = 3  # hash chains in memory: this epoch, the last, the next
CHALLENGE_BYTES: Final = 32
INSTANCE_BYTES: Final = 16

Position = tuple[int, int, int]  # height, round, phase: propose 0 < confirm 1 < accept 2

_STATE = Schema(
    "sign_state",
    1,
    [
        ID,
        KEY,
        row(UINT, UINT, UINT),
        blob(COPY_BYTES_MAX),
        list_of(row(UINT, UINT, UINT, HASH, SIGNATURE), SIGNED_MAX),
    ],
    max_bytes=COPY_BYTES_MAX,
)


class _Signed(NamedTuple):
    height: int
    round: int
    phase: int
    digest: bytes  # of the covered bytes
    signature: bytes


class _State(NamedTuple):
    position: Position
    record: bytes
    signed: tuple[_Signed, ...]


class Signer:
    """Signs for one peer on one chain.

    `secret`: 32 bytes, the Ed25519 seed. `chain_links`: epoch_blocks + 1. `create`: whether a
    missing file may be made, true only for a node that has signed nothing yet.
    Raises SignRecordMissing, SignRecordCorrupt, SignRecordOther, StoreFull.
    """

    def __init__(
        self,
        secret: bytes,
        *,
        chain: ChainId,
        spec_seed: bytes,
        chain_links: int,
        disk: Disk,
        create: bool,
        name: str = "sign.db",
    ) -> None:
        self._secret = secret
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.peer = Peer(self._key.public_key().public_bytes_raw())
        self.chain, self._spec_seed, self._chain_links = chain, spec_seed, chain_links
        self._hash_chains: OrderedDict[int, list[Hash]] = OrderedDict()
        self._hash_chains_lock = threading.Lock()
        self.signed_count = 0  # new signatures of proposals and votes
        self.refused_count = 0
        self._file = SignFile(disk, name=name, create=create)
        raw = self._file.record
        if raw is None:
            fresh = SignRecord.fresh(chain, self.peer)
            self._state = _State(fresh.place, fresh.raw, ())
            self._save(self._state)
        else:
            self._state = _decoded(raw, chain, self.peer, name)

    @classmethod
    def open(
        cls,
        secret: bytes,
        path: Path,
        *,
        chain: ChainId,
        spec_seed: bytes,
        chain_links: int,
        create: bool,
    ) -> "Signer":
        """The signer whose record is the file `path` (a node's sign.db)."""
        return cls(
            secret,
            chain=chain,
            spec_seed=spec_seed,
            chain_links=chain_links,
            disk=FileDisk(path),
            create=create,
            name=str(path),
        )

    # ---- proposals and votes: protocol §7 -------------------------------------------------------

    @property
    def position(self) -> Position:
        """The newest place that was signed."""
        return self._state.position

    @property
    def record(self) -> bytes:
        """The SignRecord as last made durable: what a restarted core resumes from."""
        return self._state.record

    def sign(self, record: bytes, position: Position, covered: bytes) -> Signature:
        """The signature over `covered` (`signatures.coverage`), after `record` became durable.

        An equal request (same position and bytes) gives the stored signature. Raises SignRefused
        for a conflict or regress: counted, nothing changed. Raises StoreFull, StoreError.
        """
        digest = digest_of(covered)
        for kept in self._state.signed:
            if kept[:3] == position:
                return self._again(kept, digest, record)
        if position <= self._state.position:
            self.refused_count += 1
            raise SignRefused(f"{position} is not after {self._state.position}, already signed")
        signature = self._key.sign(covered)
        mine = (*self._state.signed, _Signed(*position, digest, signature))[-SIGNED_MAX:]
        self._save(_State(position, record, mine))  # durable before the signature leaves
        self.signed_count += 1
        return Signature(signature)

    def _again(self, kept: _Signed, digest: bytes, record: bytes) -> Signature:
        if kept.digest != digest:
            self.refused_count += 1
            raise SignRefused(f"other bytes were signed at {kept[:3]}")
        self.remember(record)
        return Signature(kept.signature)

    def remember(self, record: bytes) -> None:
        """Make a record durable that signs nothing new: another lock or valid value."""
        if record != self._state.record:
            self._save(self._state._replace(record=record))

    def _save(self, state: _State) -> None:
        fields = (self.chain, self.peer, state.position, state.record, state.signed)
        self._file.save(_STATE.encode(fields))
        self._state = state

    # ---- what needs no record -------------------------------------------------------------------

    def sign_plain(self, kind: str, chain: bytes, unsigned: bytes) -> Signature:
        """Sign a claim, renewal, link key or instance answer, each under its own domain."""
        assert kind in PLAIN_KINDS, "proposals and votes go through the record"
        return Signature(self._key.sign(plain_coverage(kind, chain, unsigned)))

    def answer_challenge(self, challenge: bytes, instance: bytes) -> Signature:
        """The answer that proves that this key is alive now, under this instance nonce."""
        assert len(challenge) == CHALLENGE_BYTES and len(instance) == INSTANCE_BYTES
        return self.sign_plain(INSTANCE, self.chain, encode([challenge, instance]))

    def hash_chain_seed(self, epoch: int) -> Hash:
        """HKDF(key, spec_seed, epoch): the secret end of the hash chain of an epoch."""
        return hash_chain_seed(self._secret, self._spec_seed, epoch)

    def commitment(self, epoch: int) -> Hash:
        """Link 0 of the hash chain of `epoch`: what claims, renewals and genesis slots name."""
        return self.reveal(epoch, 0)

    def reveal(self, epoch: int, number: int) -> Hash:
        """Link `number` of the hash chain of `epoch`; 1 for its first height (protocol §5)."""
        assert 0 <= number < self._chain_links, "a link beyond the epoch"
        with self._hash_chains_lock:
            links = self._hash_chains.get(epoch)
            if links is None:
                seed = self.hash_chain_seed(Epoch(epoch))
                links = hash_chain(seed, self._spec_seed, self.peer, self._chain_links)
                self._hash_chains[epoch] = links
                while len(self._hash_chains) > CHAINS_MAX:
                    self._hash_chains.popitem(last=False)
        return links[number]

    def close(self) -> None:
        self._file.close()


def plain_coverage(kind: str, chain: bytes, unsigned: bytes) -> bytes:
    """What `sign_plain` signs; `chain` is the network id for a link key."""
    if kind in (CLAIM, RENEW):
        return coverage(kind, chain, unsigned)
    return b"apocryph/1/" + kind.encode() + b"\x00" + chain + unsigned


def instance_answer_valid(
    verifier: Verifier,
    *,
    peer: bytes,
    chain: bytes,
    challenge: bytes,
    instance: bytes,
    signature: bytes,
) -> bool:
    """Whether `peer` answered our challenge as the instance that it names (network §2)."""
    signed = plain_coverage(INSTANCE, chain, encode([challenge, instance]))
    return verifier.verify(peer, signed, signature)


def _decoded(raw: bytes, chain: ChainId, peer: Peer, name: str) -> _State:
    try:
        found_chain, found_peer, position, record, signed = _STATE.decode(raw)
    except EncodingError as error:
        raise SignRecordCorrupt(f"{name}: {error}") from error
    if found_peer != peer:
        raise SignRecordOther(f"{name} is of key {peer_text(found_peer)}, not {peer_text(peer)}")
    if found_chain != chain:
        raise SignRecordOther(f"{name} is of chain {id_text(found_chain)}, not {id_text(chain)}")
    return _State(position, record, tuple([_Signed(*item) for item in signed]))
