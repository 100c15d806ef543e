"""Adversaries that propose: two blocks, one for each half, and the echo that keeps both alive."""

from collections.abc import Sequence

from consensus.block import Proposal
from consensus.certificates import Vote
from consensus.dice import Dice
from consensus.effects import BLOCK, POLL, VOTES, Build, Effect
from consensus.encoding import decode, encode
from consensus.ids import BlockId, Peer
from node.speech import REQUEST_BYTES_MAX
from testnet.sim.adversaries.mouth import Mouth, Reply
from testnet.sim.adversaries.pen import Pen, block_reply
from testnet.sim.adversaries.silence import is_own
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host

Sides = tuple[BlockId, BlockId]
BLOCK_ASK_FIELDS = 4


class TwoBlocks(Mouth):
    """Shows one valid block to one half and another to the rest: wants two certified blocks, or at
    least halves that never agree.

    Stopped by: two proposals for one place seen before the first poll are passed over as starting
    preference (§5 ‡); polls converge on one (§6); a quorum of one round is more than 2/3 (§7); the
    two are evidence (§4, §7).
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.pen = Pen(cluster, host)
        self.order: Build | None = None
        self.sides: dict[tuple[int, int], Sides] = {}  # by height and round
        self.shelf: dict[BlockId, Proposal] = {}
        heard = host.on_effect

        def note(of: Host, effect: Effect) -> None:
            if type(effect) is Build:
                self.order = effect
            heard(of, effect)

        host.on_effect = note

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        if not is_own(self.host, topic, record):
            return (record,)
        one = Proposal.decode(record)
        two = self._twin(one)
        if two is None:
            return (record,)
        self.acts["proposal"] += 1
        return ((record,), (two.raw,))[self.side(target)]

    def _twin(self, one: Proposal) -> Proposal | None:
        fields, order = one.block.header.fields, self.order
        place = (fields.height, fields.round)
        if place in self.sides:
            return self.shelf[self.sides[place][1]] if self.sides[place][0] == one.id else None
        if order is None or place != (order.height, order.round):
            return None
        block = self.pen.twin(order)
        if block is None or block.id == one.id:
            return None
        two = self.pen.proposal(block)
        self.sides, self.shelf = {place: (one.id, two.id)}, {two.id: two}
        return two

    def answer(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        """It hands out the twin too, to whoever asks for it by its id."""
        if proto == BLOCK:
            fields = decode(data, max_bytes=REQUEST_BYTES_MAX)
            assert isinstance(fields, list) and len(fields) == BLOCK_ASK_FIELDS
            held = self.shelf.get(BlockId(fields[3])) if isinstance(fields[3], bytes) else None
            if held is not None:
                reply(block_reply(held))
                return
        self.answer_honestly(proto, data, source, reply)


class Echoing(TwoBlocks):
    """Shows two blocks to two halves and echoes each asker's own side in every poll, and confirms
    each side's own to it; fellows echo for each other. This broke an early draft: with nearly a
    third of the slots behind each half, neither side's polls ever changed their mind.

    Stopped by: passing over doubled proposals as starting preference (§5 ‡); settling by time and
    weakly (§6 ‡), so a round fails and the next has another proposer; the valid value first (§6 ‡).
    """

    def _shown(self, place: tuple[int, int]) -> Sides | None:
        for fellow in self.fellows():
            if isinstance(fellow, Echoing) and place in fellow.sides:
                return fellow.sides[place]
        return None

    def answer(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        standing = self.machine.standing
        sides = self._shown((standing.height, standing.round))
        if proto != POLL or sides is None:
            super().answer(proto, data, source, reply)
            return
        self.acts["echo"] += 1
        own = sides[self._side_of(source)]
        reply(encode(["answer", 1, standing.height, standing.round, own]))

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        if topic == VOTES:
            vote = Vote.decode(record)
            sides = self._shown((vote.height, vote.round))
            if sides is None:
                return (record,)
            self.acts["vote"] += 1
            return (self.pen.vote(vote, sides[self._side_of(target)]),)
        return super().words(topic, record, target)

    def side(self, peer: Peer) -> int:
        return self._side_of(peer)

    def _side_of(self, peer: Peer) -> int:
        """The same halves for all fellows: of the honest, by their place in the cluster."""
        liars = [fellow.host.peer for fellow in self.fellows()]
        honest = [other for other in self.cluster.hosts if other not in liars]
        return honest.index(peer) % 2 if peer in honest else 0
