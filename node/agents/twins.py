"""A twin: this key running in another place. Found before the two contradict each other. network §2

Whoever links with peers of ours under our own key is only a hint of one, and a report proves
nothing. So the node gossips a random challenge, and only an answer over it, signed now by the slot
key and with another instance nonce, counts. A challenge is itself such a statement, so nobody else
can have a node sign answers. Pure but for what it is given; the caller publishes what it returns.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from consensus.encoding import KEY, SIGNATURE, Schema, blob
from consensus.errors import EncodingError
from consensus.ids import ChainId, Peer, Signature
from consensus.signatures import Verifier
from network.buckets import Bucket
from network.ports import RandomBytes, Verdict
from node.signer import CHALLENGE_BYTES, INSTANCE_BYTES, instance_answer_valid

TOPIC: Final = "instances"
STATEMENT_BYTES_MAX: Final = 192
CHALLENGE_EVERY_S: Final = 5.0  # own challenges are not more frequent, however many the hints
CHALLENGE_S: Final = 30.0  # an answer that takes longer proves nothing of now
SAID_BURST: Final = 16  # statements of one peer that are passed on at once
SAID_PER_S: Final = 1.0
PEERS_MAX: Final = 1_024
_STATEMENT = Schema(
    "instance",
    1,
    [KEY, blob(CHALLENGE_BYTES), blob(INSTANCE_BYTES), SIGNATURE],
    max_bytes=STATEMENT_BYTES_MAX,
)


class Heard(NamedTuple):
    """What to do with a statement that came. `key`: its logical key. `answer`: to be published."""

    verdict: Verdict
    key: bytes
    cause: str
    answer: bytes = b""


class Twins:
    """One per node. `sign` answers a challenge as this instance; `found` is told of a proof."""

    def __init__(
        self,
        chain: ChainId,
        peer: Peer,
        instance: bytes,
        *,
        sign: Callable[[bytes, bytes], Signature],
        verifier: Verifier,
        random_bytes: RandomBytes,
        clock: Callable[[], float],
        found: Callable[[str], None],
    ) -> None:
        self._chain, self._peer, self._instance = chain, peer, instance
        self._sign, self._verifier, self._found = sign, verifier, found
        self._random_bytes, self._clock = random_bytes, clock
        self._challenge = b""
        self._asked_s = -CHALLENGE_EVERY_S
        self._said: dict[Peer, Bucket] = {}

    def challenge(self) -> bytes:
        """There is a hint: the statement to publish; empty when one was made just now."""
        now = self._clock()
        if now - self._asked_s < CHALLENGE_EVERY_S:
            return b""
        self._asked_s, self._challenge = now, self._random_bytes(CHALLENGE_BYTES)
        return self._statement(self._challenge)

    def hear(self, data: bytes, owns: Callable[[Peer], bool]) -> Heard:
        """Judge a statement of this node's key or of another's. Raises EncodingError."""
        key, challenge, instance, signature = _STATEMENT.decode(data)
        if len(challenge) != CHALLENGE_BYTES or len(instance) != INSTANCE_BYTES:
            raise EncodingError("instance: a nonce of another length")
        peer, logical = Peer(key), key + challenge + instance
        if peer == self._peer and instance == self._instance:
            return Heard(Verdict.IGNORE, logical, "known")
        if peer != self._peer and not owns(peer):
            return Heard(Verdict.IGNORE, logical, "stranger")
        if not self._may_say(peer):
            return Heard(Verdict.IGNORE, logical, "flood")
        if not instance_answer_valid(
            self._verifier,
            peer=peer,
            chain=self._chain,
            challenge=challenge,
            instance=instance,
            signature=signature,
        ):
            return Heard(Verdict.REJECT, logical, "signature")
        if peer != self._peer:
            return Heard(Verdict.ACCEPT, logical, "")
        if challenge == self._challenge:
            if self._clock() - self._asked_s <= CHALLENGE_S:
                self._found(f"instance {instance.hex()} answered as this key")
            return Heard(Verdict.IGNORE, logical, "known")
        # Somebody with this key asks, or what it asked once is said again: an answer tells it all.
        return Heard(Verdict.IGNORE, logical, "", self._statement(challenge))

    def _statement(self, challenge: bytes) -> bytes:
        signature = self._sign(challenge, self._instance)
        return _STATEMENT.encode((self._peer, challenge, self._instance, signature))

    def _may_say(self, peer: Peer) -> bool:
        now = self._clock()
        if peer not in self._said and len(self._said) >= PEERS_MAX:
            for full in [each for each, bucket in self._said.items() if bucket.full(now)]:
                del self._said[full]
            if len(self._said) >= PEERS_MAX:
                return False
        return self._said.setdefault(peer, Bucket(SAID_BURST, SAID_PER_S, now)).take(now)
