"""Adversaries that vote and answer against what they know: double, contrary, balancing."""

from collections.abc import Sequence
from typing import ClassVar

from consensus.certificates import Vote
from consensus.dice import Dice
from consensus.effects import POLL, VOTES, Ask
from consensus.encoding import decode, encode
from consensus.errors import EncodingError
from consensus.ids import BlockId, Peer
from consensus.signatures import ACCEPT, CONFIRM
from consensus.standing import VALID
from node.speech import REPLIES_MAX
from testnet.sim.adversaries.mouth import Mouth, Reply
from testnet.sim.adversaries.pen import NOWHERE, Pen
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host

ANSWER_FIELDS = 5


class DoubleVoter(Mouth):
    """Signs two values for one (height, round, phase): the other value to every third peer, both to
    the next: wants two quorums, one on each side.

    Stopped by: more than 2/3 of the slots for a quorum (§7), so two of one round share an honest
    peer; the two votes are evidence and vacate its slots at the next table (§4).
    """

    phases: ClassVar[tuple[str, ...]] = (CONFIRM, ACCEPT)

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.pen = Pen(cluster, host)

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        if topic != VOTES:
            return (record,)
        vote = Vote.decode(record)
        if vote.phase not in self.phases:
            return (record,)
        false = self.pen.vote(vote, self._other(vote))
        self.acts[vote.phase] += 1
        place = self.others.index(target) % 3
        return ((record,), (false,), (false, record))[place]

    def _other(self, vote: Vote) -> BlockId | None:
        """Another block of this height if there is one; else nil, or one that nobody made."""
        if vote.height == self.machine.standing.height:
            for block in self.machine.standing.candidates:
                if block != vote.block:
                    return block
        return None if vote.block is not None else NOWHERE


class DoubleConfirm(DoubleVoter):
    """Two confirms of one round: wants two valid values of one round, so that locks differ.

    Stopped by: a quorum of confirms, all of one round, before any lock (§7 ‡); evidence (§4).
    """

    phases: ClassVar[tuple[str, ...]] = (CONFIRM,)


class DoubleAccept(DoubleVoter):
    """Two accepts of one round: wants one side to certify and the other to go on.

    Stopped by: locks (§7): whoever accepted the block confirms no other without a newer quorum, so
    the other side has none; the certificate is answered to whoever votes at its height; evidence.
    """

    phases: ClassVar[tuple[str, ...]] = (ACCEPT,)


class TwoAnswers(Mouth):
    """Answers polls with another value to each half, and asks as if it were elsewhere: wants halves
    to drift apart, or streaks never to grow.

    Stopped by: answers count only for candidates that the asker holds and executed, once per peer
    and poll (§6); alphas leave room for a third of the slots; settle_timeout (§6 ‡).
    """

    def answer(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        if proto != POLL:
            self.answer_honestly(proto, data, source, reply)
            return
        standing = self.machine.standing
        known = sorted(standing.candidates) or [NOWHERE]
        values: list[BlockId | None] = [*known, NOWHERE, None]
        chosen = values[self.side(source) * (1 if len(known) > 1 else len(known))]
        self.acts["answer"] += 1
        reply(encode(["answer", 1, standing.height, standing.round, chosen]))


class _Contrary(Mouth):
    """Knows what others prefer from its own polls and from the votes that it hears."""

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.pen = Pen(cluster, host)
        self.seen: dict[Peer, BlockId] = {}  # at the height being decided
        self.seen_height = 0
        self.told: dict[tuple[int, int, str], bytes] = {}  # own false votes: each said alike

    def record_preference(self, height: int, peer: Peer, block: bytes | None) -> None:
        if height != self.seen_height:
            self.seen, self.seen_height = {}, height
        if block is not None:
            self.seen[peer] = BlockId(block)

    def support(self) -> dict[BlockId, int]:
        """Slots behind each valid candidate of this height, as far as it has seen."""
        standing = self.machine.standing
        known = {b: 0 for b, c in sorted(standing.candidates.items()) if c.status == VALID}
        if self.seen_height == standing.height:
            for peer, block in self.seen.items():
                if block in known:
                    known[block] += standing.votes.weights.get(peer, 0)
        return known

    def ask(self, source: Peer, target: Peer, ask: Ask, done: Reply) -> None:
        def heard(raw: bytes) -> None:
            if ask.proto == POLL and raw[1:8] == b"\x66answer":
                fields = decode(raw, max_bytes=REPLIES_MAX[POLL])
                assert isinstance(fields, list) and len(fields) == ANSWER_FIELDS
                height, block = fields[2], fields[4]
                if isinstance(height, int) and (block is None or isinstance(block, bytes)):
                    self.record_preference(height, target, block)
            done(raw)

        super().ask(source, target, ask, heard)

    def listen(self, topic: str, record: bytes, source: Peer) -> None:
        if topic == VOTES:
            try:
                vote = Vote.decode(record)
            except EncodingError:
                return
            if vote.phase == CONFIRM and vote.block is not None:
                self.record_preference(vote.height, vote.peer, vote.block)

    def contrary(self) -> BlockId | None:
        """The value to work for now."""
        raise NotImplementedError

    def answer(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        if proto != POLL:
            self.answer_honestly(proto, data, source, reply)
            return
        standing, value = self.machine.standing, self.contrary()
        self.acts["answer"] += 1
        reply(encode(["answer", 1, standing.height, standing.round, value]))

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        if topic != VOTES:
            return (record,)
        vote = Vote.decode(record)
        if vote.phase != CONFIRM or vote.height != self.machine.standing.height:
            return (record,)
        place = (vote.height, vote.round, vote.phase)
        if place not in self.told:
            value = self.contrary()
            if value == vote.block:
                return (record,)
            self.acts["confirm"] += 1
            self.told = {place: self.pen.vote(vote, value)}
        return (self.told[place],)


class Balancing(_Contrary):
    """Answers and confirms for the value that fewest prefer: wants the halves to stay equal for
    ever, the classical attack on Snow.

    Stopped by: polls with ≥ alpha_confidence for one value streak by chance (§6); settled weakly
    after 2·beta leads; settle_timeout; at most a round fails and a new order is drawn (§5, §6).
    """

    def contrary(self) -> BlockId | None:
        support = self.support()
        if len(support) < 2:
            return next(iter(support), None)
        return min(support, key=lambda block: (support[block], block))


class AlwaysMinority(_Contrary):
    """Works against the majority whatever it is, with nil where there is no other value: wants
    quorums to be as small as they can be, and streaks to break.

    Stopped by: quorums and alphas that honest slots reach without it (§3, §7).
    """

    def contrary(self) -> BlockId | None:
        support = self.support()
        most = max(support, key=lambda block: (support[block], block), default=None)
        rest = [block for block in support if block != most]
        return min(rest, key=lambda block: (support[block], block), default=None)
