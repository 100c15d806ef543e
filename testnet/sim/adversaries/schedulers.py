"""Adversaries that rule the network for a while: which packet arrives when, or not at all.

They hold no key (but for the eclipse, whose liar is the victim's only neighbour) and let go at
`stop`: from then on all packets arrive (partial synchrony). Safety must hold all the time.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from consensus.block import Proposal
from consensus.certificates import Vote
from consensus.dice import Dice
from consensus.effects import FACTS, POLL, PROPOSALS, VOTES
from consensus.errors import EncodingError
from consensus.ids import BlockId, Peer
from consensus.signatures import ACCEPT, CONFIRM
from testnet.sim.adversaries.mouth import Adversary, Mouth
from testnet.sim.adversaries.pen import Pen
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host
from testnet.sim.wires import Packet

Delays = Sequence[int] | None
HELD_MAX_MS: Final = 900
LATE_MS: Final = 400
LOCK_ROUNDS: Final = 4
TARGET_HEIGHT: Final = 3  # the one at which locks are made
SPLIT_MS: Final = 60  # beyond a window


class Scheduler(Adversary):
    """`decide` says when a packet arrives: null, as the weather has it; empty, never."""

    liar: ClassVar[bool] = False

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.peers = list(cluster.hosts)
        chain_on(cluster, self._schedule)

    def decide(self, packet: Packet) -> Delays:
        raise NotImplementedError

    def _schedule(self, packet: Packet) -> Delays:
        return self.decide(packet) if self.active else None


def chain_on(cluster: Cluster, decide: Callable[[Packet], Delays]) -> None:
    """One more scheduler: the first that decides rules."""
    before = cluster.wires.scheduler

    def both(packet: Packet) -> Delays:
        found = None if before is None else before(packet)
        return decide(packet) if found is None else found

    cluster.wires.scheduler = both


def decoded_vote(record: bytes) -> Vote | None:
    """The vote of a record of the topic votes; null where a liar says something else there."""
    try:
        return Vote.decode(record)
    except EncodingError:
        return None


class MessageOrder(Scheduler):
    """Chooses the order of all messages: votes before their proposals, answers of one half before
    the other's, accepts before confirms, new before old, some long after their time.

    Stopped by: nothing may depend on order but time: votes, proposals and answers are kept for when
    they are needed (§6, §7, one height ahead); rules look at the state, not at the event.
    """

    def decide(self, packet: Packet) -> Delays:
        self.acts[packet.kind] += 1
        if packet.kind == "reply" and packet.name == POLL:
            half = self.peers.index(packet.source) % 2 == self.peers.index(packet.target) % 2
            return (1 if half else 120,)
        if packet.name == VOTES and packet.kind == "gossip":
            vote = decoded_vote(packet.data)
            first = vote is not None and vote.phase == ACCEPT
            return (1 if first else 1 + self.dice.uint(LATE_MS),)
        if packet.name == PROPOSALS:
            return (self.dice.uint(HELD_MAX_MS),)
        return (self.dice.uint(100),)


class SplitProposals(Scheduler):
    """Holds each proposal of the first rank back from half of the peers until the next rank has
    proposed too: two honest candidates, a half for each, at every height. What balancing feeds on.

    Stopped by: the starting preference is the least rank that one holds, and polls converge on one
    value from an even split (§6); what does not settle costs a round, with another order (§5).
    """

    def decide(self, packet: Packet) -> Delays:
        if packet.name != PROPOSALS or packet.kind != "gossip":
            return None
        try:
            fields = Proposal.decode(packet.data).block.header.fields
        except EncodingError:
            return None  # a liar's
        if fields.rank or self.peers.index(packet.target) % 2 == 0:
            return None
        self.acts["held"] += 1
        return (self.cluster.spec.parameters.window_ms(fields.round) + SPLIT_MS,)


class AcceptScheduler(Scheduler):
    """Picks which accepts come in time: the host's own always come after the certificate is made,
    so that no certificate carries it. Wants a live owner to look dead and to lose its slots.

    Stopped by: a late accept is a fact and a proof of life, and who is shown a certificate before
    it accepted signs its accept first (§4 ‡); the next header may carry the later accepts (§7).
    """

    def decide(self, packet: Packet) -> Delays:
        if packet.name != VOTES or packet.kind != "gossip":
            return None
        vote = decoded_vote(packet.data)
        if vote is None or vote.phase != ACCEPT or vote.peer != self.host.peer:
            return None
        self.acts["held"] += 1
        return (LATE_MS,)


class OldLocks(Mouth):
    """Makes as many different locks as it can at one height, each held by one peer: in each of the
    first rounds one honest peer alone is shown a quorum of confirms, so it locks and accepts, which
    nobody hears of; all others see confirms of any value only, and go on with nil. An old lock of
    many against a newer quorum broke an early draft: nobody could be confirmed any more.

    Stopped by: the valid value of the highest round comes first, and is settled on at once (§6 ‡);
    a quorum of confirms of a round ≥ the lock's frees it (§7); aggregates are sent again (§7).
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.pen = Pen(cluster, host)
        self.target_height = TARGET_HEIGHT
        self.said: dict[tuple[int, str], bytes] = {}  # own nil votes by round and phase
        self.backed: dict[int, BlockId] = {}  # what it confirmed to the victim of a round
        self.locked: dict[Peer, BlockId] = {}  # who accepted, so is locked, and on what
        chain_on(cluster, self._schedule)

    def _attacks(self, vote: Vote) -> bool:
        return vote.height == self.target_height and vote.round < LOCK_ROUNDS

    def _victim(self, round_: int) -> Peer:
        """Who is made to lock in a round: another one each time."""
        honest = [peer for peer in self.cluster.hosts if peer not in self.cluster.liars]
        return honest[round_ % len(honest)]

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        """Nil to all but the victim, who gets what `listen` decides; no proof of a valid value."""
        if topic == FACTS and self.machine.standing.height == self.target_height:
            return ()
        if topic != VOTES:
            return (record,)
        vote = Vote.decode(record)
        if not self._attacks(vote) or vote.block is None:
            return (record,)
        if vote.phase == CONFIRM and target == self._victim(vote.round):
            return ()
        place = (vote.round, vote.phase)
        if place not in self.said:
            self.said[place] = self.pen.vote(vote, None)
        self.acts["nil " + vote.phase] += 1
        return (self.said[place],)

    def listen(self, topic: str, record: bytes, source: Peer) -> None:
        """What the honest confirm in a round, and nobody is locked on yet, it confirms to one."""
        vote = decoded_vote(record) if topic == VOTES else None
        if vote is None or not self._attacks(vote) or vote.phase != CONFIRM:
            return
        if vote.block is None or vote.block in self.locked.values() or vote.round in self.backed:
            return
        self.backed[vote.round] = vote.block
        self.acts["confirm"] += 1
        self.say(self._victim(vote.round), VOTES, self.pen.vote(vote, vote.block))

    def _schedule(self, packet: Packet) -> Delays:
        """The victim's own words, and all proofs of its valid value, reach nobody."""
        if not self.active or packet.kind != "gossip" or packet.source == self.host.peer:
            return None
        if packet.name == FACTS:
            height = len(self.cluster.hosts[packet.source].disk.chain) + 1
            return () if height == self.target_height else None
        if packet.name != VOTES:
            return None
        vote = decoded_vote(packet.data)
        if vote is None or not self._attacks(vote) or vote.block is None:
            return None
        if vote.peer != self._victim(vote.round):
            return None
        if vote.phase == ACCEPT:
            self.locked[vote.peer] = vote.block
        self.acts["hidden " + vote.phase] += 1
        return ()


class Eclipse(Mouth):
    """The only neighbour of one peer: whatever the victim says or hears goes through this liar, who
    hands on what it likes: nothing that is certified, its own two blocks, its own votes only.

    Stopped by: a certificate needs more than 2/3 of the slots (§7), so the victim decides nothing;
    nobody else needs the victim; it catches up by height when any other link comes (§10).
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.victim = self.others[dice.uint(len(self.others))]
        chain_on(cluster, self._schedule)

    def _schedule(self, packet: Packet) -> Delays:
        ends = (packet.source, packet.target)
        if not self.active or self.victim not in ends or self.host.peer in ends:
            return None
        self.acts["cut off"] += 1
        return ()

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        if target != self.victim or topic != VOTES:
            return (record,)
        vote = Vote.decode(record)
        if vote.phase == ACCEPT and vote.block is not None:
            self.acts["accept hidden"] += 1
            return ()
        return (record,)

    def answer(self, proto: str, data: bytes, source: Peer, reply: Callable[[bytes], None]) -> None:
        if source == self.victim and proto != POLL:
            self.acts["unanswered"] += 1
            return
        self.answer_honestly(proto, data, source, reply)
