"""Keys of the simulation, and the signer of a simulated node: the real one on a simulated disk.

A signature here is a keyed hash: forging one needs the secret, as with the real thing, and it costs
a microsecond. Public keys are real ones of Ed25519, so that the real signer takes the secrets.
"""

from hashlib import sha256
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consensus.ids import Epoch, Hash, Peer, Signature
from consensus.proposers import hash_chain
from consensus.spec import ChainSpec
from node.signer import Signer
from node.signfile import Disk

CHAINS_MAX = 1_024  # hash chains kept for a whole cluster


class KeyedHash:
    """Signatures of the simulation: H(secret of the key, bytes), so forging needs the secret."""

    def __init__(self) -> None:
        self.secrets: dict[bytes, bytes] = {}
        self._chains: dict[tuple[bytes, int], list[Hash]] = {}

    def new(self, name: str) -> Peer:
        secret = sha256(name.encode()).digest()
        public = Ed25519PrivateKey.from_private_bytes(secret).public_key()
        key = Peer(public.public_bytes_raw())
        self.secrets[key] = secret
        return key

    def sign(self, key: bytes, signed: bytes) -> Signature:
        half = sha256(self.secrets[key] + signed).digest()
        return Signature(half + sha256(half).digest())

    def verify(self, key: bytes, signed: bytes, signature: bytes) -> bool:
        return key in self.secrets and self.sign(key, signed) == signature

    def chain(self, spec: ChainSpec, peer: Peer, epoch: int, seed: Hash) -> list[Hash]:
        """The hash chain of a peer for an epoch, computed once for all lives of all nodes."""
        place = (peer, epoch)
        found = self._chains.get(place)
        if found is None:
            links = spec.parameters.epoch_blocks + 1
            found = self._chains[place] = hash_chain(seed, spec.seed, peer, links)
            if len(self._chains) > CHAINS_MAX:
                del self._chains[next(iter(self._chains))]
        return found


class _Key:
    """Stands where the signer has its private key."""

    def __init__(self, keys: KeyedHash, peer: Peer) -> None:
        self._keys, self._peer = keys, peer

    def sign(self, signed: bytes) -> bytes:
        return self._keys.sign(self._peer, signed)


class SimSigner(Signer):
    """node.signer on a simulated disk. Tests plant faults of the sign record in subclasses."""

    def __init__(self, spec: ChainSpec, peer: Peer, keys: KeyedHash, disk: Disk) -> None:
        super().__init__(
            keys.secrets[peer],
            chain=spec.id,
            spec_seed=spec.seed,
            chain_links=spec.parameters.epoch_blocks + 1,
            disk=disk,
            create=True,
        )
        assert self.peer == peer, "the secret of this peer"
        self._spec, self._keys = spec, keys
        self._key = cast(Any, _Key(keys, peer))

    def reveal(self, epoch: int, number: int) -> Hash:
        """Link `number` of the hash chain of `epoch`."""
        seed = self.hash_chain_seed(Epoch(epoch))
        return self._keys.chain(self._spec, self.peer, epoch, seed)[number]
