"""Byzantine peers: hosts whose mouth lies. They hold their own key and nobody else's."""

from collections.abc import Callable
from dataclasses import replace

from consensus.block import Block, Header, Proposal, proposal_coverage
from consensus.certificates import Vote, append_signature, vote_unsigned
from consensus.effects import PROPOSALS, VOTES, Ask, Build, Effect
from consensus.encoding import encode
from consensus.ids import BlockId, Hash, Peer, content_id
from consensus.signatures import coverage
from consensus.signing import ACCEPT, CONFIRM
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host

PHASES = {"confirm": CONFIRM, "accept": ACCEPT}
NOWHERE = BlockId(content_id(b"a block that nobody made"))


class Mouth:
    """The wires of one lying host: what it says to whom is decided here."""

    def __init__(self, cluster: Cluster, host: Host) -> None:
        self.cluster, self.host = cluster, host
        self.order: Build | None = None
        self.lies = 0
        host.wires = self
        heard = host.on_effect

        def watch(of: Host, effect: Effect) -> None:
            if type(effect) is Build:
                self.order = effect
            heard(of, effect)

        host.on_effect = watch

    @property
    def others(self) -> list[Peer]:
        return [peer for peer in self.cluster.hosts if peer != self.host.peer]

    def gossip(self, source: Peer, topic: str, record: bytes) -> None:
        for place, target in enumerate(self.others):
            for said in self.words(topic, record, place):
                self.say(target, topic, said)

    def say(self, target: Peer, topic: str, record: bytes) -> None:
        host = self.cluster.hosts[target]
        if not self.cluster.lose(self.host.peer, target, topic, record):
            self.cluster._carry(
                self.host.peer, target, self.cluster._hear(host, topic, record, self.host.peer)
            )

    def ask(self, source: Peer, target: Peer, ask: Ask, done: Callable[[bytes], None]) -> None:
        self.cluster.ask(source, target, ask, done)

    def words(self, topic: str, record: bytes, place: int) -> list[bytes]:
        """What target number `place` hears of a record; a lie counts as one."""
        return [record]

    def sign(self, kind: str, unsigned: bytes) -> bytes:
        covered = coverage(kind, self.host.spec.id, unsigned)
        return append_signature(unsigned, self.host.keys.sign(self.host.peer, covered))

    def propose(self, block: Block) -> bytes:
        signature = self.host.keys.sign(self.host.peer, proposal_coverage(block.header))
        return Proposal.of(block, self.host.peer, signature).raw

    def is_own(self, topic: str, record: bytes) -> bool:
        return topic == PROPOSALS and Proposal.decode(record).peer == self.host.peer


class DoubleVoter(Mouth):
    """Says another value to every second peer, and both to the third."""

    def words(self, topic: str, record: bytes, place: int) -> list[bytes]:
        if topic != VOTES:
            return [record]
        vote = Vote.decode(record)
        other = None if vote.block is not None else NOWHERE
        unsigned = vote_unsigned(
            vote.phase,
            chain=vote.chain,
            epoch=vote.epoch,
            height=vote.height,
            round_=vote.round,
            block=other,
            peer=vote.peer,
        )
        self.lies += 1
        self.cluster.history.record_false(
            vote.peer, (vote.height, vote.round, PHASES[vote.phase]), other
        )
        false = self.sign(vote.phase, unsigned)
        return [[record], [false], [false, record]][place % 3]


class TwoFaced(Mouth):
    """Shows one valid block to one half and another to the rest."""

    def words(self, topic: str, record: bytes, place: int) -> list[bytes]:
        line, order = self.host.line, self.order
        if not self.is_own(topic, record) or place % 2 == 0 or line is None or order is None:
            return [record]
        fields = Proposal.decode(record).block.header.fields
        if (order.height, order.round) != (fields.height, fields.round):
            return [record]
        twin = line.build(replace(order, time_ms=order.time_ms + 1)).block
        if twin is None:
            return [record]
        self.lies += 1
        return [self.propose(twin)]


class Falsifier(Mouth):
    """Proposes blocks whose state root is not what execution gives."""

    def words(self, topic: str, record: bytes, place: int) -> list[bytes]:
        if not self.is_own(topic, record):
            return [record]
        block = Proposal.decode(record).block
        wrong = Header.of(block.header.fields._replace(state_root=Hash(bytes(32))))
        self.lies += 1
        return [self.propose(Block(wrong, block.body))]


class Babbler(Mouth):
    """Every record comes with garbage, cut, doubled, or for another topic."""

    def words(self, topic: str, record: bytes, place: int) -> list[bytes]:
        self.lies += 3
        flipped = bytes((record[0] ^ 1,)) + record[1:]
        return [record[: len(record) // 2], flipped, record + bytes(1), record]

    def gossip(self, source: Peer, topic: str, record: bytes) -> None:
        super().gossip(source, topic, record)
        for target in self.others:
            self.say(target, VOTES, bytes(300_000))
            self.say(target, "facts", record)


class Forger:
    """Answers whoever catches up with certified headers and other bodies, or other heights."""

    def __init__(self, host: Host) -> None:
        self.host, self.lies = host, 0
        serve = host.serve

        def lying(proto: str, data: bytes, source: Peer, reply: Callable[[bytes], None]) -> None:
            serve(proto, data, source, lambda raw: reply(self.answer(proto, raw)))

        host.serve = lying  # type: ignore[method-assign]

    def answer(self, proto: str, raw: bytes) -> bytes:
        chain = self.host.disk.chain
        if proto == "tip/1":
            return encode(["tip", 1, len(chain) + 1_000])
        if proto != "block/1" or len(chain) < 3:
            return raw
        self.lies += 1
        (block, certificate, _), (other, _, _) = chain[self.lies % len(chain)], chain[-1]
        body = (other if self.lies % 2 else block).body.raw
        return encode(["block", 1, block.header.raw, body, certificate.raw, None, []])
