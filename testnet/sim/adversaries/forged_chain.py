"""Header chains that nobody certified, for light clients and followers (protocol §10 ‡)."""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.block import Block
from consensus.certificates import Certificate, Vote, append_signature, vote_unsigned
from consensus.dice import Dice
from consensus.ids import BlockId, Peer
from consensus.light import Certified
from consensus.signatures import ACCEPT, coverage
from consensus.tables import Table
from testnet.sim.adversaries.mouth import Adversary
from testnet.sim.adversaries.pen import with_fields
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host


@dataclass(frozen=True, slots=True)
class Forgery:
    """What a light client is offered for the end of an epoch: last header, its certificate, the
    bytes of the next table. `refused`: the check that should refuse it."""

    name: str
    end: Certified
    table: bytes
    refused: str


class ForgedChain(Adversary):
    """Makes ends of epoch 0 that lead to a table of its own, for a light client that has genesis:
    wants it to believe a chain that was never certified. Anybody can chain headers.

    Stopped by: each epoch's last header comes with its certificate, by more than 2/3 of the table
    that the client already knows, all signatures its own to verify (§10 ‡, §4 next_table ‡).
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.keys = [cluster.keys.new(f"forger {host.peer.hex()} {n}") for n in range(7)]
        slots = cluster.spec.parameters.slots
        self.table = Table.of(1, [self.keys[slot % len(self.keys)] for slot in range(slots)])

    def forgeries(self, true: Certified, true_table: bytes) -> list[Forgery]:
        """From the true end of epoch 0, which the adversary has like everybody."""
        block = _block_of(self.host, true)
        forged = with_fields(block, next_table=self.table.hash).header
        real, own = true.certificate, self.host.peer
        owners = list(self.cluster.spec.genesis_table().weights)
        liars = [peer for peer in self.cluster.liars if peer in owners]

        def signed(by: Sequence[Peer], **changes: int) -> Certified:
            self.acts["header"] += 1
            return Certified(forged, self._certificate(by, forged.id, forged.height, **changes))

        def false(by: Sequence[Peer]) -> Certified:
            self.acts["signature"] += 1
            honest = signed(self.keys[: len(by)])
            pairs = sorted(zip(by, [s for _, s in honest.certificate.signatures], strict=True))
            return Certified(forged, _renamed(honest.certificate, pairs))

        raw = self.table.raw
        early = self.host.disk.chain[0]
        return [
            Forgery("another header's certificate", Certified(forged, real), raw, "certificate"),
            Forgery("signed by the liars alone", signed(liars or [own]), raw, "certificate"),
            Forgery("signed by keys of the forged table", signed(self.keys), raw, "certificate"),
            Forgery("of another epoch", signed(owners[:1], epoch=1), raw, "certificate"),
            Forgery("owners' names, other signatures", false(owners), raw, "signature"),
            Forgery("the true end with a forged table", true, raw, "next_table"),
            Forgery("an early header", Certified(early[0].header, early[1]), true_table, "epoch"),
        ]

    def _certificate(
        self, by: Sequence[Peer], block: BlockId, height: int, *, epoch: int = 0
    ) -> Certificate:
        votes = []
        for peer in by:
            unsigned = vote_unsigned(
                ACCEPT,
                chain=self.host.spec.id,
                epoch=epoch,
                height=height,
                round_=0,
                block=block,
                peer=peer,
            )
            covered = coverage(ACCEPT, self.host.spec.id, unsigned)
            signature = self.cluster.keys.sign(peer, covered)
            votes.append(Vote.decode(append_signature(unsigned, signature)))
        return Certificate.of(votes)


def _renamed(like: Certificate, pairs: Sequence[tuple[Peer, bytes]]) -> Certificate:
    """The same certificate with other names at the signatures."""
    votes = []
    for peer, signature in pairs:
        unsigned = vote_unsigned(
            ACCEPT,
            chain=like.chain,
            epoch=like.epoch,
            height=like.height,
            round_=like.round,
            block=like.block,
            peer=peer,
        )
        votes.append(Vote.decode(append_signature(unsigned, signature)))
    return Certificate.of(votes)


def _block_of(host: Host, certified: Certified) -> Block:
    return host.disk.chain[certified.header.height - 1][0]
