"""Liars that whisper: words shown to single peers while links come and go; then they are silent.

When it heals all honest nodes are up and linked and the largest minority of liars says nothing any
more: the next height has to be decided. Of this shape were the holes that liveness had (ADR 0026,
0027): what one peer alone was shown must not keep it from the others for ever. Knows no files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from consensus.certificates import Aggregate, Vote, check_weight
from consensus.effects import FACTS, MESSAGES, PROPOSALS, VOTES
from consensus.errors import ConsensusError
from consensus.ids import BlockId, Peer
from consensus.messages import Message
from consensus.standing import Machine
from testnet.sim.adversaries.pen import Pen
from testnet.sim.adversaries.silence import Mute
from testnet.sim.checkers import Checkers, Failure
from testnet.sim.cluster import Cluster, Weather, small_parameters
from testnet.sim.host import Host
from testnet.sim.simulator import Chance
from testnet.sim.wires import Packet

SIZES: Final = (4, 7, 4)  # by seed
LONG_EPOCH: Final = 4_096
JITTERS_MS: Final = (5, 60)
CUTS_PERCENT: Final = (10, 30, 50, 80)  # of the ways of a packet, by topic, each for itself
QUERIES: Final = "queries"
WAYS: Final = (VOTES, FACTS, PROPOSALS, MESSAGES, QUERIES)
STEPS_MIN, STEPS_MAX = 4, 60
STEPS_MS: Final = (50, 200, 500, 1_000, 2_000)
APART_PERCENT: Final = 60  # of the times that links are drawn: those of one peer only
REDRAWN_PERCENT: Final = 30  # of the steps: other links are cut
CRASH_PERCENT: Final = 10  # of the steps: one host crashes and starts again …
WIPED_PERCENT: Final = 20  # … and of these, in a quarter of the scenes, some without their chain
ONE_IN: Final = 4  # scenes with wipes; scenes with a host on which a message faults
WORDS_MAX: Final = 2  # of a liar in a step
NAMED_PERCENT: Final = 60  # of them name a block
COMPLETING_PERCENT: Final = 60  # of them complete a quorum of a value, or of any, where one can
AGGREGATES_PERCENT: Final = 30  # of the quorums that a liar could show
OWN_PERCENT: Final = 50  # of those that it adds its own confirm to
WAY_MS: Final = 30
HEALED_S: Final = 240
MESSAGES_MAX: Final = 3
ACCOUNTS: Final = 4

T = TypeVar("T")


@dataclass(slots=True)
class Whispers:
    """`failures`: (seed, what)."""

    scenes: int = 0
    heights: int = 0
    words: int = 0
    quorums: int = 0
    crashes: int = 0
    rounds_max: int = 0
    healed_ms_max: int = 0  # from the heal to the height that had to be decided
    failures: list[tuple[int, Failure]] = field(default_factory=list)

    def add(self, scene: "_Scene") -> None:
        self.scenes += 1
        self.heights += len(scene.checkers.longest())
        self.words += scene.words
        self.quorums += scene.quorums
        self.crashes += scene.crashes
        self.rounds_max = max(self.rounds_max, scene.rounds_max)
        self.healed_ms_max = max(self.healed_ms_max, scene.healed_ms)
        self.failures += [(scene.seed, failure) for failure in scene.checkers.failures]


def whispers(
    count: int,
    *,
    seed: int = 1,
    plant: Callable[[Cluster], None] = lambda cluster: None,
    told: Callable[[Whispers], None] = lambda whispers: None,
) -> Whispers:
    """`count` scenes, of seeds `seed`, `seed` + 1, …; `told` after each. `plant` may change a
    cluster before it starts. Goes on after a failure."""
    total = Whispers()
    for each in range(seed, seed + count):
        scene = _Scene(each)
        plant(scene.cluster)
        scene.go()
        total.add(scene)
        told(total)
    return total


class _Scene:
    """One cluster: dark, healed, judged."""

    def __init__(self, seed: int) -> None:
        self.seed, nodes = seed, SIZES[seed % len(SIZES)]
        jitter_ms = JITTERS_MS[seed // len(SIZES) % len(JITTERS_MS)]
        self.cluster = Cluster(
            nodes=nodes,
            seed=seed,
            parameters=small_parameters(epoch_blocks=LONG_EPOCH),
            weather=Weather(delay_ms=5, jitter_ms=jitter_ms),
        )
        self.chance = Chance(self.cluster.dice.child("whispers"))
        hosts = list(self.cluster.hosts.values())
        liars = (nodes - 1) // 3
        self.liars, self.honest = hosts[:liars], hosts[liars:]
        self.pens = [Pen(self.cluster, host) for host in self.liars]
        for number, host in enumerate(self.liars):
            Mute(self.cluster, host, self.cluster.dice.child(f"mute {number}"))
        self.checkers = Checkers(self.cluster)
        self.wiping = self.chance.below(ONE_IN) == 0
        self.sick = self._one(self.honest) if self.chance.below(ONE_IN) == 0 else None
        self.confirms: dict[tuple[int, int, BlockId], dict[Peer, Vote]] = {}
        self.cut: dict[tuple[Peer, Peer, str], bool] = {}
        self.words = self.quorums = self.crashes = self.rounds_max = self.healed_ms = 0
        self._overhear()

    def _one(self, among: Sequence[T]) -> T:
        return among[self.chance.below(len(among))]

    def _overhear(self) -> None:
        """The liars keep every confirm that is said, wherever it gets."""
        said = self.cluster.wires.gossip

        def gossip(source: Peer, topic: str, record: bytes) -> None:
            if topic == VOTES:
                self._keep(Vote.decode(record))
            said(source, topic, record)

        self.cluster.wires.gossip = gossip  # type: ignore[method-assign]

    def _keep(self, vote: Vote) -> None:
        if vote.phase == "confirm" and vote.block is not None:
            place = (vote.height, vote.round, vote.block)
            self.confirms.setdefault(place, {})[vote.peer] = vote

    # ---- the course -----------------------------------------------------------------------------

    def go(self) -> None:
        cluster, chance = self.cluster, self.chance
        self._redraw()
        cluster.wires.scheduler = self._carries
        cluster.start()
        for _ in range(1 + chance.below(MESSAGES_MAX)):
            cluster.submit(self._one(self.honest), self._message())
        self._sicken()
        for _ in range(STEPS_MIN + chance.below(STEPS_MAX - STEPS_MIN + 1)):
            cluster.run(self._one(STEPS_MS) / 1000)
            self._step()
        self._heal()

    def _step(self) -> None:
        self.checkers.sample()
        if self.chance.happens(REDRAWN_PERCENT):
            self._redraw()
        if self.chance.happens(CRASH_PERCENT):
            self._crash(self._one(self.honest))
        up = [host for host in self.honest if host.core is not None]
        for host in up:
            self.rounds_max = max(self.rounds_max, _machine(host).standing.round)
        for pen in self.pens if up else ():
            self._show_quorums(pen, self._one(up))
            for _ in range(self.chance.below(WORDS_MAX + 1)):
                self._whisper(pen, self._one(up), up)

    def _heal(self) -> None:
        cluster = self.cluster
        cluster.wires.scheduler = None
        if self.sick is not None:  # else it is one silent peer more than the chain can bear
            self.sick.faulting = lambda messages: False
        for host in self.honest:
            if not host.up:
                cluster.restart(host.peer)
        goal = 1 + max(len(host.disk.chain) for host in self.honest)
        cluster.submit(self._one(self.honest), self._message())
        healed_ms = cluster.simulator.now_ms
        reached = cluster.run(HEALED_S, self.checkers.reached(goal))
        self.healed_ms = cluster.simulator.now_ms - healed_ms
        if not reached:
            told = self.checkers.told()
            self.checkers.fail("liveness", f"height {goal} not held after {HEALED_S} s: {told}")
        for host in self.honest:
            if not host.up:
                self.checkers.fail("crash", f"a node is down: {host.stopped}")
        self.checkers.finish()

    def _message(self) -> Message:
        sender, receiver = self.chance.below(ACCOUNTS), self.chance.below(ACCOUNTS)
        return self.cluster.transfer(sender, receiver, 1 + self.chance.below(9))

    # ---- what is done to them -------------------------------------------------------------------

    def _redraw(self) -> None:
        """Links here and there, or those of one peer, each way and topic for itself."""
        percent, peers = self._one(CUTS_PERCENT), tuple(self.cluster.hosts)
        apart = self._one(self.honest).peer if self.chance.happens(APART_PERCENT) else None
        ways = {(apart, away, way): self.chance.happens(percent) for away in (0, 1) for way in WAYS}
        for source in peers:
            for target in peers:
                for way in WAYS:
                    if apart is None:
                        cut = self.chance.happens(percent)
                    else:
                        cut = apart in (source, target) and ways[apart, target == apart, way]
                    self.cut[source, target, way] = cut

    def _carries(self, packet: Packet) -> Sequence[int] | None:
        way = packet.name if packet.name in WAYS else QUERIES
        return () if self.cut[packet.source, packet.target, way] else None

    def _sicken(self) -> None:
        """On one host a message faults, whatever block it is in."""
        if self.sick is None:
            return
        poison = self._message()
        self.sick.faulting = lambda messages: any(each.id == poison.id for each in messages)
        self.cluster.submit(self._one(self.honest), poison)

    def _crash(self, host: Host) -> None:
        if not host.up:
            return
        self.crashes += 1
        self.cluster.crash(host.peer)
        if self.wiping and host.disk.chain and self.chance.happens(WIPED_PERCENT):
            host.disk.wipe_chain()
        self.cluster.restart(host.peer)

    # ---- what liars show ------------------------------------------------------------------------

    def _show_quorums(self, pen: Pen, target: Host) -> None:
        """Quorums of confirms of any round of its height, to that peer alone."""
        at = _machine(target).standing
        for (height, round_, block), votes in list(self.confirms.items()):
            if height != at.height:
                continue
            if self.chance.happens(OWN_PERCENT):
                for each in self.pens:
                    self._keep(Vote.decode(each.vote_at("confirm", height, round_, block)))
            try:
                aggregate = Aggregate.of(list(votes.values()))
                check_weight(aggregate, at.votes.weights)
            except ConsensusError:
                continue
            if self.chance.happens(AGGREGATES_PERCENT):
                self.quorums += 1
                self._say(pen, target, FACTS, aggregate.raw)

    def _whisper(self, pen: Pen, target: Host, up: Sequence[Host]) -> None:
        """A vote for a block that somebody holds, or nil, of a round that is near the peer's."""
        at = _machine(target).standing
        machines = [_machine(host) for host in up]
        blocks = [
            block
            for machine in machines
            if machine.standing.height == at.height
            for block in machine.standing.candidates
        ]
        block = self._one(blocks) if blocks and self.chance.happens(NAMED_PERCENT) else None
        round_ = max(0, at.round + self._one((-1, 0, 0, 0, 1)))
        phase = self._one(("confirm", "accept"))
        tight = self._completing(target) if self.chance.happens(COMPLETING_PERCENT) else []
        if tight:
            round_, phase, block = self._one(tight)
        self.words += 1
        self._say(pen, target, VOTES, pen.vote_at(phase, at.height, round_, block))

    def _completing(self, target: Host) -> list[tuple[int, str, BlockId | None]]:
        """Places and values of which that peer would see a quorum if the liars joined."""
        at = _machine(target).standing
        liars = sum(at.votes.weights.get(host.peer, 0) for host in self.liars)
        return [
            (round_, phase, block)
            for (round_, phase), tally in at.votes.tallies.items()
            for block, weight in [*tally.weights.items(), (None, tally.total)]
            if not at.votes.is_quorum(weight) and at.votes.is_quorum(weight + liars)
        ]

    def _say(self, pen: Pen, target: Host, topic: str, record: bytes) -> None:
        """Past all links and cuts."""
        heard = partial(target.hear, topic, record, pen.host.peer)
        self.cluster.simulator.after(self.chance.below(WAY_MS), lambda: _ignore(heard()))


def _ignore(verdict: str) -> None:
    """Nobody passes on what was whispered."""


def _machine(host: Host) -> Machine:
    assert host.core is not None, "of hosts that are up"
    return host.core.engine.machine
