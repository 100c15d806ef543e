"""Adversaries that say too little, too late, or nothing."""

from collections.abc import Sequence

from consensus.block import Block, Proposal
from consensus.certificates import Certificate, Vote
from consensus.dice import Dice
from consensus.effects import BLOCK, BODIES, CERT, POLL, PROPOSALS, TIP, VOTES, Ask
from consensus.encoding import encode
from consensus.ids import BlockId, Peer
from consensus.proposers import next_randomness, ranking
from consensus.signatures import ACCEPT
from node.speech import NONE
from testnet.sim.adversaries.mouth import Mouth, Reply
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host

MARGIN_MS = 20  # a delaying peer stays so far below each timeout, beside the way of its packets
FAR_HEIGHT = 2**40


def is_own(host: Host, topic: str, record: bytes) -> bool:
    """Whether a record is a proposal of this host."""
    return topic == PROPOSALS and Proposal.decode(record).peer == host.peer


class Mute(Mouth):
    """Owns slots and says nothing: wants heights to stand still.

    Stopped by: quorums of more than 2/3 without it, windows of the next rank (§5), polls that count
    silence as no answer (§6); its slots are vacated at the next epochs (§4, proof of life).
    """

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        self.acts["unsaid"] += 1
        return ()

    def ask(self, source: Peer, target: Peer, ask: Ask, done: Reply) -> None:
        self.acts["unasked"] += 1

    def answer(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        self.acts["unanswered"] += 1


class Delaying(Mouth):
    """Says everything just before it would be too late: wants every timeout to be waited for.

    Stopped by: polls end as soon as their outcome is certain and quorums need only 2/3 (§6, §7), so
    others wait for it only where it is the proposer: one window (§5).
    """

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        parameters, round_ = self.host.spec.parameters, self.machine.standing.round
        if topic == VOTES:
            limit = parameters.vote_timeout_ms(round_)
        elif topic == PROPOSALS:
            limit = parameters.window_ms(round_)
        else:
            return (record,)
        self.acts["late " + topic] += 1
        self.after(self._held(limit), lambda: self.say(target, topic, record))
        return ()

    def answer(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        limit = self.host.spec.parameters.poll_timeout_ms // (2 if proto == POLL else 1)
        self.acts["late " + proto] += 1
        held = self._held(limit)
        self.answer_honestly(proto, data, source, lambda raw: self.after(held, lambda: reply(raw)))

    def _held(self, limit_ms: int) -> int:
        """Ask and answer travel, each at most the weather's delay and jitter."""
        weather = self.cluster.weather
        return max(0, limit_ms - 2 * (weather.delay_ms + weather.jitter_ms) - MARGIN_MS)


class WithheldBlock(Mouth):
    """Proposes, prefers and confirms its block, and shows it to nobody, or at every second height
    to one peer: wants the others to wait for a block that they hear of and never get.

    Stopped by: unknown ids are dropped from a poll's count, fetched in the background, one fetch
    per peer (§6); what is not executed is neither preferred nor confirmed; the next rank's
    window (§5).
    """

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        if not is_own(self.host, topic, record):
            return (record,)
        height = self.machine.standing.height
        if target == self.others[0] and height % 2:
            return (record,)
        self.acts["unshown"] += 1
        return ()

    def answer(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        if proto in (BLOCK, BODIES):
            self.acts["unanswered"] += 1
            return
        self.answer_honestly(proto, data, source, reply)


class WithheldCertificate(Mouth):
    """Keeps to itself what is decided: no certificate, no block, no tip to whoever is behind; its
    own accepts come when nobody needs them any more.

    Stopped by: a certificate is any quorum's to make (§7); who votes or asks at a past height gets
    the certificate from every other peer; blocks come by height from any peer (§10).
    """

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        if topic != VOTES or Vote.decode(record).phase != ACCEPT:
            return (record,)
        self.acts["held accept"] += 1
        timeout = self.host.spec.parameters.vote_timeout_ms(0)
        self.after(timeout, lambda: self.say(target, topic, record))
        return ()

    def ask(self, source: Peer, target: Peer, ask: Ask, done: Reply) -> None:
        if ask.proto == CERT:
            self.acts["unpushed"] += 1
            return
        super().ask(source, target, ask, done)

    def answer(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        def passed(raw: bytes) -> None:
            if raw[1:6] == b"\x64past":
                self.acts["kept past"] += 1
                raw = encode(["past", 1, b""])
            elif proto in (BLOCK, TIP):
                self.acts["kept " + proto] += 1
                raw = NONE if proto == BLOCK else encode(["tip", 1, 0])
            reply(raw)

        self.answer_honestly(proto, data, source, passed)


class HeldReveal(Mouth):
    """Does not propose where its reveal would give it a worse rank at the next height: wants to
    own the order of proposers (held-back reveals).

    Stopped by: links are numbered by height, so a reveal that was held back is worthless at the
    next height; the next rank proposes with its own (§5): one choice per best rank, nothing else.
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.held: BlockId | None = None  # the newest of its own that nobody may see

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        if topic == VOTES and self.held is not None and Vote.decode(record).block == self.held:
            return ()
        if not is_own(self.host, topic, record):
            return (record,)
        proposal = Proposal.decode(record)
        if proposal.id == self.held:
            return ()
        if self._comes_first(proposal.block):
            self.acts["shown"] += 1
            return (record,)
        self.held = proposal.id
        self.acts["held"] += 1
        return ()

    def _comes_first(self, block: Block) -> bool:
        """Whether it has the first rank after this block."""
        fields, tip = block.header.fields, self.machine.tip
        order = ranking(
            tip.view.table,
            tip.view.chains,
            randomness=next_randomness(tip.header.fields.randomness, fields.reveal),
            height=fields.height + 1,
            round=0,
        )
        return order[0][0] == self.host.peer

    def answer(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        """Nobody learns of what it holds back, neither its id nor its bytes."""
        held = b"" if self.held is None else bytes(self.held)

        def passed(raw: bytes) -> None:
            if not held or held not in raw:
                reply(raw)

        self.answer_honestly(proto, data, source, passed)

    @property
    def lies(self) -> int:
        return self.acts["held"]


class LyingHeight(Mouth):
    """Says that it is far ahead, or far behind: wants others to ask it for heights that nobody has,
    or to push certificates without end; hands out other heights than it was asked for.

    Stopped by: a height is asked for at one peer at a time, with a growing pause after a failure
    (§11); what comes is judged by the table that is known (§10); pushes have a rate (§7).
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.turn = 0

    def answer(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        self.turn += 1
        if proto == TIP:
            self.acts["tip"] += 1
            reply(encode(["tip", 1, FAR_HEIGHT + self.turn]))
        elif proto == POLL:
            self.acts["height"] += 1
            height = FAR_HEIGHT if self.turn % 2 else 1
            reply(encode(["answer", 1, height, self.turn % 7, None]))
        elif proto == BLOCK and self.host.disk.chain:
            self.acts["block"] += 1
            reply(self._another())
        else:
            self.answer_honestly(proto, data, source, reply)

    def _another(self) -> bytes:
        """A certified block, with its own body or another's; of a height that nobody asked for."""
        chain = self.host.disk.chain
        (block, certificate, _), (other, _, _) = chain[self.turn % len(chain)], chain[-1]
        body = (other if self.turn % 2 else block).body.raw
        return encode(["block", 1, block.header.raw, body, certificate.raw, None, []])

    def enter(self) -> None:
        """Votes for heights long past, and ahead: certificates are pushed for some of them."""
        chain = self.host.disk.chain
        for _, certificate, _ in chain[-8:]:
            old = self._own_accept(certificate)
            if old is not None:
                self.acts["past vote"] += 1
                self.tell(VOTES, old)

    def _own_accept(self, certificate: Certificate) -> bytes | None:
        for vote in certificate.votes():
            if vote.peer == self.host.peer:
                return vote.raw
        return None
