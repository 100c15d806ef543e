"""Adversaries of King of the Hill: claims copied, late, early, or mined on a chosen salt."""

from collections.abc import Sequence
from typing import Final

from consensus import claims
from consensus.block import Proposal
from consensus.dice import Dice
from consensus.effects import FACTS
from consensus.encoding import H
from consensus.errors import EncodingError
from consensus.facts import Renew, SlotClaim, decode_fact
from consensus.ids import Hash, Peer
from consensus.proposers import next_randomness
from testnet.sim.adversaries.mouth import Mouth
from testnet.sim.adversaries.pen import Pen
from testnet.sim.adversaries.silence import is_own
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host

KEPT_MAX: Final = 256
GROUND_NONCES: Final = 256  # tries on a salt before it is fixed


class _Miner(Mouth):
    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.pen = Pen(cluster, host)

    def mine(self, salt: Hash, epoch: int, nonces: int) -> list[claims.Found]:
        """What so many tries find for `epoch` under a salt, true or guessed."""
        return claims.mine(
            self.host.spec,
            salt=salt,
            peer=self.host.peer,
            commitment=self.pen.link(epoch, 0),
            nonce_prefix=bytes(claims.NONCE_PREFIX_BYTES),
            start=0,
            count=nonces,
        )


class CopiedClaims(_Miner):
    """Claims others' work: their nonce and commitment under its own key, and their claims and
    renewals with another commitment in them: wants slots without work, or others' claims void.

    Stopped by: the digest covers peer and commitment, the signature too (§4 ‡): a copy has another
    digest, so too little work (blamed), and nobody can bind another peer to a commitment.
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.copied: dict[tuple[Peer, int, bytes], None] = {}

    def listen(self, topic: str, record: bytes, source: Peer) -> None:
        if topic != FACTS:
            return
        try:
            fact = decode_fact(record)
        except EncodingError:
            return
        if not isinstance(fact, SlotClaim | Renew) or not self._is_new(fact):
            return
        if isinstance(fact, SlotClaim):
            self.acts["claim"] += 1
            copy = self.pen.claim(fact.epoch, fact.nonce, commitment=fact.commitment)
            self.tell(FACTS, copy.raw)
        self._spoil(fact)

    def _is_new(self, fact: SlotClaim | Renew) -> bool:
        """Somebody's own work, for the first time: two that copy each other would never end."""
        if fact.peer in self.cluster.liars:
            return False
        nonce = fact.nonce if isinstance(fact, SlotClaim) else b""
        place = (fact.peer, fact.epoch, nonce)
        new = place not in self.copied
        self.copied[place] = None
        if len(self.copied) > KEPT_MAX:
            del self.copied[next(iter(self.copied))]
        return new

    def _spoil(self, fact: SlotClaim | Renew) -> None:
        """The victim's fact with another commitment: its signature cannot hold."""
        self.acts["commitment"] += 1
        other = H("another", fact.commitment)
        self.tell(FACTS, fact.raw.replace(fact.commitment, other))


class LateClaims(_Miner):
    """Holds its claims back until the last blocks before claims close, and says them once more
    after: wants others not to see them in time to answer, or a table that peers see differently.

    This broke an early draft. Stopped by: claims count only as facts of blocks before the last
    claim_close of the epoch ‡, so all see the same; heights on the hill decide, not time (§4).
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.held: list[bytes] = []
        self.late: list[bytes] = []

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        if topic == FACTS and isinstance(_fact(record), SlotClaim):
            if record not in self.held and len(self.held) < KEPT_MAX:
                self.held.append(record)
            return ()
        return (record,)

    def enter(self) -> None:
        parameters, height = self.host.spec.parameters, self.machine.standing.height
        last = parameters.last_height(parameters.epoch(height))
        closing = last - parameters.claim_close
        if height == closing:
            self._say("held", self.held)
            self.late, self.held = self.held, []
        elif height > closing:
            self._say("after the close", self.late)

    def _say(self, what: str, records: Sequence[bytes]) -> None:
        for record in records:
            self.acts[what] += 1
            self.tell(FACTS, record)


class GroundSalt(_Miner):
    """Chooses the salt: where it proposes the last block of an epoch, it tries its nonces on the
    salt that its reveal would give, and withholds the block if they find too little; and it mines
    on the salt that it expects, before the epoch, and claims at once (ground salts).

    Stopped by: the salt of e is of the last block of e − 2 (§4), a whole epoch ahead; the next rank
    reveals its own link instead (§5): one choice per best rank, nothing else.
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.worth: dict[Hash, int] = {}  # claims that each salt would have given

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        if not is_own(self.host, topic, record):
            return (record,)
        fields = Proposal.decode(record).block.header.fields
        if not self.host.spec.parameters.is_last(fields.height):
            return (record,)
        epoch = self.host.spec.parameters.epoch(fields.height) + 2
        before = self.machine.tip.header.fields.randomness
        salt = claims.salt(self.host.spec.seed, epoch, next_randomness(before, fields.reveal))
        if salt not in self.worth:
            self.worth[salt] = len(self.mine(salt, epoch, GROUND_NONCES))
            self.acts["tried"] += 1
        # At least the mean of all salts that it has tried.
        if self.worth[salt] * len(self.worth) >= sum(self.worth.values()):
            return (record,)
        self.acts["withheld"] += 1
        return ()

    def enter(self) -> None:
        """Claims for the epoch after the next, on the salt as it would be now: worthless later."""
        view = self.machine.tip.view
        coming = view.epoch + 2
        guess = claims.salt(self.host.spec.seed, coming, self.machine.tip.header.fields.randomness)
        for found in self.mine(guess, coming, GROUND_NONCES)[:2]:
            self.acts["early"] += 1
            self.tell(FACTS, self.pen.claim(coming, found.nonce).raw)


class DoubleCommitment(_Miner):
    """Mines claims with two commitments for one epoch, and says both: wants to choose its hash
    chain later, when it knows more, or to make honest proposers' blocks invalid.

    Stopped by: the commitment stands inside the proof of work and the first included one is fixed,
    remembered though outbid (§4 ‡); a proposer leaves out what its own transition refuses (§8).
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.other = Hash(b"\x77" * 32)
        self.epoch = 0

    def enter(self) -> None:
        view = self.machine.tip.view
        if view.salt_next is None or view.epoch < self.epoch:
            return
        self.epoch = coming = view.epoch + 1
        spec = self.host.spec
        for found in claims.mine(
            spec,
            salt=view.salt_next,
            peer=self.host.peer,
            commitment=self.other,
            nonce_prefix=b"doubled ",
            start=0,
            count=GROUND_NONCES,
        ):
            self.acts["claim"] += 1
            claim = self.pen.claim(coming, found.nonce, commitment=self.other)
            self.tell(FACTS, claim.raw)
        self.acts["renewal"] += 1
        self.tell(FACTS, self.pen.renew(coming, commitment=self.other).raw)


def _fact(record: bytes) -> object:
    try:
        return decode_fact(record)
    except EncodingError:
        return None


def slots_won(host: Host, peer: Peer) -> int:
    """Slots of a peer in the table that `host` stands on."""
    assert host.line is not None, "asked of a host that is up"
    return host.line.tip.view.table.weights.get(peer, 0)
