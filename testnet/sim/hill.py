"""Mining of a simulated node: once an epoch, a bounded number of tries (protocol §4)."""

from collections.abc import Callable

from consensus import claims
from consensus.certificates import append_signature
from consensus.events import FactsReceived
from consensus.facts import Fact, Renew, SlotClaim, claim_unsigned, renew_unsigned
from consensus.ids import Peer
from consensus.signatures import CLAIM, RENEW
from consensus.spec import ChainSpec
from consensus.transition import View
from testnet.sim.keys import SimSigner


class Hill:
    """Renews and mines for the epoch after the tip's, as soon as its salt is known."""

    def __init__(self, spec: ChainSpec, peer: Peer, nonces: int) -> None:
        self.spec, self.peer, self.nonces = spec, peer, nonces
        self.epoch = 0  # the last one mined for

    def climb(self, view: View, signer: SimSigner, take: Callable[[FactsReceived], None]) -> None:
        """Hand over a renewal and what was found, once an epoch."""
        if not self.nonces or view.salt_next is None or view.epoch < self.epoch:
            return
        self.epoch = coming = view.epoch + 1
        commitment = signer.commitment(coming)
        facts: list[Fact] = []
        if self.peer in view.table.weights:
            unsigned = renew_unsigned(
                chain=self.spec.id, epoch=coming, peer=self.peer, commitment=commitment
            )
            facts.append(Renew.decode(self._signed(signer, RENEW, unsigned)))
        for found in claims.mine(
            self.spec,
            salt=view.salt_next,
            peer=self.peer,
            commitment=commitment,
            nonce_prefix=bytes(claims.NONCE_PREFIX_BYTES),
            start=0,
            count=self.nonces,
        ):
            unsigned = claim_unsigned(
                chain=self.spec.id,
                epoch=coming,
                peer=self.peer,
                nonce=found.nonce,
                commitment=commitment,
            )
            facts.append(SlotClaim.decode(self._signed(signer, CLAIM, unsigned)))
        take(FactsReceived(tuple([(0, fact) for fact in facts])))

    def _signed(self, signer: SimSigner, kind: str, unsigned: bytes) -> bytes:
        return append_signature(unsigned, signer.sign_plain(kind, self.spec.id, unsigned))
