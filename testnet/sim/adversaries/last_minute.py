"""An adversary that shows one peer, at the last moment, what moves its valid value."""

from collections.abc import Sequence
from typing import Final

from consensus.certificates import Vote
from consensus.dice import Dice
from consensus.effects import FACTS, VOTES
from consensus.ids import BlockId, Peer
from consensus.signatures import ACCEPT, CONFIRM
from testnet.sim.adversaries.mouth import Mouth
from testnet.sim.adversaries.pen import Pen
from testnet.sim.adversaries.schedulers import TARGET_HEIGHT, Delays, chain_on, decoded_vote
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host
from testnet.sim.wires import Packet

FAST_MS: Final = 1  # its own links, both ways


class LastMinute(Mouth):
    """Keeps back the confirm that completes a quorum, and shows it to one peer just before this one
    enters the next round: that peer holds a newer valid value than all others, who settle on the
    older one at once. So no block gets a quorum, round after round, though the network is whole.
    This broke a draft in which every holder settled on its own valid value.

    It rules the network for the first two rounds only, to begin: one peer locks alone in round 0,
    the others confirm a fresh block in round 1. Stopped by: who holds a valid value follows the
    round's first rank where it has seen a quorum for it (§6).
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.pen = Pen(cluster, host)
        self.height = TARGET_HEIGHT
        self.begun = self.released = False
        self.proof = b""  # of the first valid value, as its holder says it
        self.confirms: dict[int, dict[Peer, BlockId | None]] = {}  # of the honest, by round
        self.shown: dict[int, Peer] = {}
        chain_on(cluster, self._schedule)

    @property
    def first(self) -> Peer:
        """Who locks in round 0."""
        return self.others[0]

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        if topic == FACTS and self.machine.standing.height == self.height:
            return ()
        if topic != VOTES:
            return (record,)
        vote = Vote.decode(record)
        if vote.height != self.height:
            return (record,)
        if vote.round or vote.phase == CONFIRM:
            self.acts["kept"] += 1
            return ()
        return (self.pen.vote(vote, None),)

    def listen(self, topic: str, record: bytes, source: Peer) -> None:
        if topic == FACTS and source == self.first and not self.released:
            self.proof = record
        vote = decoded_vote(record) if topic == VOTES else None
        if vote is None or vote.height != self.height:
            return
        if not vote.round:
            self._begin(vote)
            return
        confirms = self.confirms.setdefault(vote.round, {})
        if vote.phase == CONFIRM:
            confirms[vote.peer] = vote.block
            if len(confirms) == len(self.others) and not self.released:
                self.released = True
                self.tell(FACTS, self.proof)
        elif vote.block is None and vote.round not in self.shown:
            self._show(vote, confirms)

    def _begin(self, vote: Vote) -> None:
        """In round 0 it confirms the block to the first, nil to the others: one locks alone."""
        if vote.phase != CONFIRM or vote.block is None or self.begun:
            return
        self.begun = True
        for target in self.others:
            block = vote.block if target == self.first else None
            self.say(target, VOTES, self.pen.vote(vote, block))

    def _show(self, vote: Vote, confirms: dict[Peer, BlockId | None]) -> None:
        """The first who accepts nil learns of a quorum that only our confirm completes."""
        weights = self.machine.standing.votes.weights
        whole, own = sum(weights.values()), weights[self.host.peer]
        for block in dict.fromkeys(confirms.values()):
            honest = sum(weights[peer] for peer, value in confirms.items() if value == block)
            if block is not None and 2 * whole - 3 * own < 3 * honest <= 2 * whole:
                self.shown[vote.round] = vote.peer
                self.acts["shown"] += 1
                like = self.pen.vote_at(CONFIRM, vote.height, vote.round, block)
                self.say(vote.peer, VOTES, like)
                return

    def _schedule(self, packet: Packet) -> Delays:
        if not self.active or packet.kind != "gossip":
            return None
        if self.host.peer in (packet.source, packet.target):
            return (FAST_MS,) if packet.name in (VOTES, FACTS) else None
        if len(self.cluster.hosts[packet.source].disk.chain) + 1 != self.height:
            return None
        weather = self.cluster.weather
        if packet.name == FACTS:  # proofs come late, but within what the weather allows
            return (weather.delay_ms + weather.jitter_ms,) if self.released else ()
        if self.released:
            return (weather.delay_ms,)
        vote = decoded_vote(packet.data) if packet.name == VOTES else None
        if vote is None or (vote.height, vote.round) != (self.height, 0):
            return None
        if packet.source != self.first or vote.block is None:
            return None
        self.acts["hidden " + (ACCEPT if vote.phase == ACCEPT else CONFIRM)] += 1
        return ()
