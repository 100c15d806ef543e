"""Adversaries that repeat what was said before, or what was said on another chain."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from consensus.certificates import Vote, append_signature
from consensus.dice import Dice
from consensus.effects import FACTS, MESSAGES, PROPOSALS, VOTES
from consensus.encoding import without_signature
from consensus.errors import EncodingError
from consensus.ids import Peer, content_id
from consensus.signatures import coverage
from testnet.sim.adversaries.mouth import Mouth
from testnet.sim.adversaries.pen import Pen
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host

KEPT_MAX: Final = 512  # records that it remembers
AGAIN: Final = 12  # of them said again at each height
ELSEWHERE: Final = content_id(b"a chain of the same owners")


class StaleReplay(Mouth):
    """Says again what it heard at heights and rounds long past, everybody's words: wants old votes
    to count anew, old proposals to be executed, dead claims to live.

    Stopped by: votes are counted once per signer, round and phase and name their place (§7); what
    is late is dropped without blame of its signer (§4); seen records are not passed on (network).
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.heard: deque[tuple[str, bytes]] = deque(maxlen=KEPT_MAX)

    def listen(self, topic: str, record: bytes, source: Peer) -> None:
        self.heard.append((topic, record))

    def enter(self) -> None:
        for topic, record in _drawn(self.dice, self.heard):
            self.acts["again " + topic] += 1
            self.tell(topic, record)


class ForeignReplay(Mouth):
    """Says votes, proposals and messages of another chain with the same owners here, as they are
    and with this chain's id written over theirs: wants a signature to be valid in two places.

    A recording is made by letting each peer's key sign there what it signed here: owners of many
    chains do sign there. Stopped by: a signature covers the domain, the kind and the chain id (§2).
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.recorded: deque[tuple[str, bytes]] = deque(maxlen=KEPT_MAX)

    def listen(self, topic: str, record: bytes, source: Peer) -> None:
        if topic != VOTES:
            return
        try:
            vote = Vote.decode(record)
        except EncodingError:
            return
        if vote.peer not in self.cluster.keys.secrets:
            return  # of a key that another liar made up: it signs nowhere
        unsigned = without_signature(record)
        there = unsigned.replace(self.host.spec.id, ELSEWHERE)
        signed = self.cluster.keys.sign(vote.peer, coverage(vote.phase, ELSEWHERE, there))
        self.recorded.append(("of there", append_signature(there, signed)))
        self.recorded.append(("as if here", append_signature(unsigned, signed)))

    def enter(self) -> None:
        for kind, record in _drawn(self.dice, self.recorded):
            self.acts[kind] += 1
            self.tell(VOTES, record)


def _drawn(dice: Dice, kept: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    if not kept:
        return []
    return [kept[dice.uint(len(kept))] for _ in range(AGAIN)]


class Babbler(Mouth):
    """Says each record also cut, with a bit flipped, longer by a byte, doubled, on a wrong topic,
    and zeros without end: wants a decoder to crash, or two peers to read the same bytes otherwise.

    Stopped by: canonical bytes only, a bound per type looked at before decoding, a closed set of
    types per topic (§2, wire); what is wrong in itself is blamed (§11).
    """

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        self.acts["garbled"] += 3
        place = self.dice.uint(len(record))
        flipped = record[:place] + bytes((record[place] ^ 1,)) + record[place + 1 :]
        return (record[: len(record) // 2], flipped, record + bytes(1), record, record)

    def gossip(self, source: Peer, topic: str, record: bytes) -> None:
        super().gossip(source, topic, record)
        for target in self.others:
            for wrong in (VOTES, FACTS, PROPOSALS, MESSAGES):
                if wrong != topic:
                    self.acts["misplaced"] += 1
                    self.say(target, wrong, record)
            self.say(target, topic, bytes(300_000))


class Extremes(Mouth):
    """Votes, signed by itself, for the ends of every range: height 0, the last height, round 0 and
    the last round of a byte, a word, a long: wants arithmetic to overflow, or a round to be joined.

    Stopped by: bounds of every field before any use (§2, §11); a round is joined only with more
    than a third of the slots (§7); heights far ahead are hints, not truths (§10).
    """

    ENDS: Final = (0, 1, 255, 256, 2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**63, 2**64 - 1)
    PLACES_MANY: Final = 4  # at each height

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.pen = Pen(cluster, host)
        self.turn = 0

    def enter(self) -> None:
        here = self.machine.standing.height
        pairs: list[tuple[int, int]] = [(here, end) for end in self.ENDS]
        pairs += [(end, 0) for end in self.ENDS if end > here or end == 0]
        for _ in range(self.PLACES_MANY):
            height, round_ = pairs[self.turn % len(pairs)]
            self.turn += 1
            self.acts["said"] += 1
            self.tell(VOTES, self.pen.vote_at("confirm", height, round_, None))


class Flooding(Mouth):
    """Says as much as it can that is well-formed: votes of many rounds, proposals of far rounds and
    ranks, facts and messages of keys that it makes: wants memory, time or pools of others.

    Stopped by: bounds per signer, phase and round (§7), of proposals held and executed (§6), pools
    bounded in count, bytes and per sender (§9), facts of owners only (§4), everything named in §11.
    """

    VOTES_MANY: Final = 40
    KEYS_MANY: Final = 12
    ROUNDS_MANY: Final = 7

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.pen = Pen(cluster, host)
        self.made = 0

    def enter(self) -> None:
        standing = self.machine.standing
        for round_ in range(1, self.VOTES_MANY):
            for phase in ("confirm", "accept"):
                self.acts["vote"] += 1
                self.tell(VOTES, self.pen.vote_at(phase, standing.height, round_, None))
        self._facts()
        self._proposals()

    def _facts(self) -> None:
        epoch = self.machine.tip.view.epoch + 1
        for _ in range(self.KEYS_MANY):
            self.made += 1
            peer = self.cluster.keys.new(f"flood {self.host.peer.hex()} {self.made}")
            self.acts["fact"] += 1
            self.tell(FACTS, self.pen.renew(epoch, peer=peer).raw)
            self.tell(FACTS, self.pen.claim(epoch, self.made.to_bytes(16, "big"), peer=peer).raw)

    def _proposals(self) -> None:
        """Of its own place in rounds to come, two for each, all valid there and truly signed."""
        for ahead in range(1, self.ROUNDS_MANY):
            order = self.pen.order(rounds_ahead=ahead)
            for block in () if order is None else (self.pen.build(order), self.pen.twin(order)):
                if block is not None:
                    self.acts["proposal"] += 1
                    self.tell(PROPOSALS, self.pen.proposal(block).raw)
