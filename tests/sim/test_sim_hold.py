"""Nothing is signed before it is known where the chain stands, and the chain goes on (ADR 0024).

Restarts, partitions, mute minorities, lost tips; at the end of each scene all honest nodes are up
and linked, and decide within a named time.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import pytest

from consensus.effects import BLOCK, BODIES, MESSAGES, POLL, PROPOSALS, TIP, VOTES
from consensus.encoding import encode
from consensus.events import LinkDown, LinkUp
from consensus.ids import Peer
from consensus.signing import CONFIRM
from node.catchup import ASK_TIMEOUT_MS, FAILURE_PAUSE_MS, FAILURES_MAX
from node.hold import HELD_MAX
from testnet.sim.adversaries import NAMES
from testnet.sim.cluster import Cluster, Weather
from testnet.sim.host import FORGOTTEN, Host
from testnet.sim.simulator import Chance
from testnet.sim.wires import Packet
from tests.sim.four import Four, machine
from tests.sim.scenes import Scene, calm_parameters

GENTLE = Weather(delay_ms=5, jitter_ms=5)
ROUGH = Weather(delay_ms=5, jitter_ms=60)
SOON_S = 20.0  # two heights of those who may sign: windows of mute proposers, a round that fails
# Until a peer is asked again that did not answer: the ask under way, the longest pause, one more.
PAUSE_S = ((FAILURE_PAUSE_MS << FAILURES_MAX) + 2 * ASK_TIMEOUT_MS) / 1_000
LONG_S = 300.0
HIDDEN = (MESSAGES, PROPOSALS, BLOCK, BODIES)

Scheduler = Callable[[Packet], Sequence[int] | None]


class Held:
    """Nodes of which the first `liars` lie, and the others restart. `lie`: how, see NAMES."""

    def __init__(
        self, nodes: int, liars: int, seed: int, *, weather: Weather = GENTLE, lie: str = "mute"
    ) -> None:
        self.cluster = Cluster(
            nodes=nodes, seed=seed, parameters=calm_parameters(), weather=weather
        )
        self.scene = Scene(self.cluster, seed)
        self.honest = self.scene.hosts[liars:]
        for place, host in enumerate(self.scene.hosts[:liars]):
            NAMES[lie](self.cluster, host, self.scene.dice.child(f"liar {place}"))
        self.below = Chance(self.scene.dice.child("held")).below

    # ---- what happens ---------------------------------------------------------------------------

    def start(self, heights: int = 2) -> None:
        self.cluster.start()
        self.climbs(heights, SOON_S)

    def send(self) -> None:
        up = [host for host in self.honest if host.up]
        if up:
            self.cluster.submit(up[self.below(len(up))], self.cluster.transfer(0, 1, 1))

    def traffic(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.send()
            self.cluster.run(1.0)

    def crash(self, *hosts: Host) -> None:
        for host in hosts:
            self.cluster.crash(host.peer)

    def restart(self, *hosts: Host) -> None:
        for host in hosts:
            self.cluster.restart(host.peer)

    def loses(self, name: str, percent: int = 100) -> None:
        """So many packets of a name are lost."""
        self.cluster.wires.scheduler = lambda packet: (
            () if packet.name == name and self.below(100) < percent else None
        )

    def heal(self) -> None:
        self.cluster.heal()
        self.restart(*[host for host in self.honest if not host.up])

    # ---- what must hold -------------------------------------------------------------------------

    def height(self) -> int:
        return max(len(host.disk.chain) for host in self.honest)

    def climbs(self, heights: int, within_s: float) -> None:
        """All honest nodes hold so many heights more in time, and no honest word was false."""
        goal, began = self.height() + heights, self.cluster.simulator.now_ms
        reached = partial(self.reached, goal)
        while self.cluster.simulator.now_ms < began + 1_000 * within_s:
            self.send()
            if self.cluster.run(1.0, reached):
                self.cluster.check()
                return
        raise AssertionError(f"height {goal} not within {within_s} s: {self.told()}")

    def reached(self, height: int) -> bool:
        return all(len(host.disk.chain) >= height for host in self.honest)

    def told(self) -> str:
        signs = [host.up and host.hold.is_open for host in self.scene.hosts]
        return f"{self.scene.told()}; may sign: {signs}"

    @property
    def signatures(self) -> int:
        return self.cluster.history.signatures


def test_nothing_is_signed_before_two_thirds_have_told_their_tips() -> None:
    held = Held(4, 0, 1)
    held.cluster.wires.scheduler = lambda p: () if p.name in (TIP, POLL) else None
    held.cluster.start()
    held.traffic(30)
    assert held.signatures == 0 and held.height() == 0
    held.heal()
    held.climbs(2, PAUSE_S)


@pytest.mark.parametrize("seed", range(1, 5))
def test_two_of_three_that_speak_restart_at_once(seed: int) -> None:
    held = Held(4, 1, seed)
    held.start()
    for round_ in range(4):
        held.send()
        held.cluster.run(0.05 * (1 + held.below(20)))  # in the middle of a height
        held.crash(*held.honest[round_ % 2 : round_ % 2 + 2])
        held.cluster.run(0.5)
        held.heal()
        held.climbs(1, SOON_S)


@pytest.mark.parametrize("lie", ["mute", "lying_height"])
def test_everybody_restarts_at_once(lie: str) -> None:
    held = Held(7, 2, 3, lie=lie)
    held.start()
    for _ in range(3):
        held.send()
        held.cluster.run(0.05 * (1 + held.below(20)))
        held.crash(*held.honest)
        held.cluster.run(0.5)
        held.heal()
        held.climbs(1, SOON_S)


@pytest.mark.parametrize("links", ["stay", "die"])
def test_who_restarts_in_a_part_without_two_thirds_waits_until_it_is_healed(links: str) -> None:
    """Where links stay up nobody knows when it is over: the longest pause passes."""
    held = Held(4, 1, 5)
    held.start()
    one, *others = held.honest
    held.cluster.isolate((one.peer,), tuple(each.peer for each in held.scene.hosts if each != one))
    held.crash(*others)
    held.restart(*others)
    if links == "die":
        part(held, one, LinkDown)
    held.traffic(LONG_S)
    signed = [other.signer.signed_count for other in others]
    assert signed == [0, 0], "two of four: nothing that they sign could count"
    held.heal()
    if links == "die":
        part(held, one, LinkUp)
    held.climbs(2, SOON_S + (PAUSE_S if links == "stay" else 0))


def part(held: Held, one: Host, event: type[LinkUp] | type[LinkDown]) -> None:
    """The links between one and all others come or go."""
    for other in held.scene.hosts:
        if other != one:
            one.take(event(other.peer))
            other.take(event(one.peer))


@pytest.mark.parametrize(("nodes", "liars"), [(4, 1), (7, 2)])
def test_one_after_the_other_while_tips_get_lost(nodes: int, liars: int) -> None:
    """None waits for the one before it: several are held at a time."""
    held = Held(nodes, liars, 6)
    held.start()
    held.loses(TIP, 30)
    for host in held.honest:
        held.crash(host)
        held.traffic(1)
        held.restart(host)
        held.traffic(1)
    held.climbs(2, SOON_S + PAUSE_S)
    held.crash(*held.honest)
    held.heal()
    held.loses(TIP, 30)
    held.climbs(2, SOON_S + PAUSE_S)


@pytest.mark.slow
def test_who_is_held_through_many_rounds_speaks_in_those_to_come() -> None:
    """More of its words wait than are kept; then the others cannot do without it."""
    held = Held(7, 1, 7)
    held.start()
    gone, *others, late = held.honest

    def away(packet: Packet) -> Sequence[int] | None:
        """No block is shown, and the late one hears votes and nothing else."""
        silent = late.peer in (packet.source, packet.target) and packet.name != VOTES
        return () if silent or packet.name in HIDDEN else None

    held.crash(late)
    held.cluster.wires.scheduler = away
    held.restart(late)
    held.traffic(LONG_S)
    assert late.core is not None and 2 * late.core.engine.machine.standing.round > HELD_MAX
    assert late.signer.signed_count == 0 and not late.hold.is_open
    held.crash(gone)
    held.honest = [*others, late]
    held.heal()
    held.climbs(2, SOON_S + PAUSE_S)
    assert late.signer.signed_count > 0


# ---- own words that the record does not know ----------------------------------------------------


def test_who_is_held_and_hears_its_own_newer_votes_ends() -> None:
    """Its core has asked for the same places meanwhile; but it has not signed there."""
    held = Held(4, 0, 3)
    held.start()
    first = held.honest[0]
    copy = held.cluster.copy_of(first.peer)

    def late(packet: Packet) -> Sequence[int] | None:
        if packet.name == TIP and first.peer in (packet.source, packet.target):
            return ()
        return [300] if packet.source == packet.target else None  # between the two

    held.cluster.wires.scheduler = late
    ends: list[tuple[str, int, bool]] = []
    copy.on_stop = lambda host, why: ends.append((why, host.signer.signed_count, host.hold.is_open))
    copy.start()
    for other in held.honest[1:]:
        copy.take(LinkUp(other.peer))
    held.send()
    held.cluster.run(2.0)
    assert ends == [("twin", 0, False)], held.told()


@pytest.mark.parametrize("careful", [True, False])
def test_a_restored_folder_ends_where_the_chain_shows_that_it_is_old(careful: bool) -> None:
    """A node that asks nobody and looks at no block would go on, and contradict itself."""
    held = Held(4, 0, 4)
    held.start()
    one = held.honest[0]
    backup = one.disk.copy()
    held.climbs(4, SOON_S)
    held.crash(one)
    held.traffic(3)
    one.disk, one.careful = backup, careful
    held.cluster.history.starts_judged = False
    held.loses(BLOCK)
    held.restart(one)
    held.cluster.submit(one, held.cluster.transfer(0, 1, 1))
    held.traffic(5)  # it is behind, and knows of something that is due
    held.heal()
    held.traffic(10)
    broken = held.cluster.history.broken
    assert (one.stopped in FORGOTTEN, bool(broken)) == (careful, not careful), broken
    assert not careful or one.signer.signed_count == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_one_that_says_a_restored_node_is_not_behind_does_not_open_it(seed: int) -> None:
    """With this node and an honest one that is far ahead, the liar would be three of four."""
    held = Held(4, 0, seed)
    held.start()
    liar, quiet, _, one = held.honest
    backup = one.disk.copy()
    old = len(one.disk.chain)
    held.climbs(4, SOON_S)
    held.crash(one)
    held.traffic(4)
    one.disk = backup
    held.cluster.history.starts_judged = False
    serve = liar.serve

    def lying(proto: str, data: bytes, source: Peer, reply: Callable[[bytes], None]) -> None:
        if proto == TIP and source == one.peer:
            return reply(encode(["tip", 1, old]))
        return serve(proto, data, source, reply)

    def late(packet: Packet) -> Sequence[int] | None:
        ends = (packet.source, packet.target)
        if one.peer not in ends or (packet.name == TIP and quiet.peer not in ends):
            return None
        return () if quiet.peer in ends or liar.peer in ends or packet.name == BLOCK else None

    liar.serve = lying  # type: ignore[method-assign]
    held.cluster.wires.scheduler = late
    held.restart(one)
    held.cluster.submit(one, held.cluster.transfer(0, 1, 1))
    held.traffic(10)
    assert one.signer.signed_count == 0 and not one.hold.is_open
    held.heal()
    held.traffic(10)
    assert one.stopped in FORGOTTEN and held.cluster.history.broken == []


@pytest.mark.parametrize("shown", [VOTES, PROPOSALS])
def test_a_restored_folder_ends_by_what_it_hears(shown: str) -> None:
    """Its chain is up to date: only gossip that comes again tells of its newest words."""
    held = Held(4, 0, 5)
    held.start()
    backups = [host.disk.copy() for host in held.honest]
    said: list[Packet] = []

    def keep(packet: Packet) -> Sequence[int] | None:
        if packet.name == shown:
            said.append(packet)
        return () if packet.name == VOTES else None  # nothing is decided

    held.cluster.wires.scheduler = keep
    held.send()
    held.cluster.run(SOON_S, lambda: bool(said))
    one, word = held.cluster.hosts[said[0].source], said[0].data
    held.crash(one)
    one.disk = backups[held.honest.index(one)]
    held.cluster.history.starts_judged = False
    held.loses(TIP)
    held.restart(one)
    teller = next(host for host in held.honest if host != one)
    held.cluster.wires.say(teller.peer, one.peer, shown, word)
    held.cluster.run(1.0)
    assert one.stopped == "twin" and one.signer.signed_count == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_record_that_lost_a_word_of_this_height_is_told_it_by_its_peers(seed: int) -> None:
    """No block shows it: one confirmed a block in a round that fails, and joins the next anew."""
    four = Four(seed)
    one, others = four.one, (four.a, four.b)

    def hidden(packet: Packet) -> Sequence[int] | None:
        return () if packet.target == four.b.peer and packet.name in HIDDEN else None

    four.start(hidden)
    four.cluster.wake()
    backup = one.disk.copy()
    four.until(10, four.placed(CONFIRM, one, four.a))
    for host in four.honest:
        four.say(host, "confirm", 0, None)
    four.until(20, lambda: all(machine(host).standing.round >= 1 for host in others))
    four.cluster.crash(one.peer)
    one.disk = backup
    four.cluster.history.starts_judged = False
    four.cluster.restart(one.peer)
    four.cluster.run(10)
    assert one.stopped == "twin" and one.signer.signed_count == 0
    assert four.cluster.history.broken == []


# ---- chance -------------------------------------------------------------------------------------

SIZES = ((4, 1), (4, 0), (7, 2), (7, 1), (5, 1), (10, 3))  # nodes, mute
PAUSES_MS = (50, 300, 1_000, 5_000, 20_000)


class Chaos:
    """Crashes of some or all, parts, links that come and go, lost packets; then all is healed."""

    def __init__(self, seed: int) -> None:
        nodes, mute = SIZES[seed % len(SIZES)]
        rough = seed // len(SIZES) % 2
        self.held = Held(nodes, mute, seed, weather=ROUGH if rough else GENTLE)
        self.cluster, self.below = self.held.cluster, self.held.below
        self.loss = self.tip_loss = 0
        self.cuts: dict[tuple[Peer, Peer], None] = {}
        self.parted: dict[tuple[Peer, Peer], None] = {}  # links that are down
        self.cluster.wires.scheduler = self._scheduled

    def _scheduled(self, packet: Packet) -> Sequence[int] | None:
        if (packet.source, packet.target) in self.cuts or self.below(100) < self.loss:
            return ()
        return () if packet.name == TIP and self.below(100) < self.tip_loss else None

    def run(self) -> None:
        deeds = [self._crash_some, self._crash_all, self._restart, self._restart, self._part]
        deeds += [self._deafen, self._join, self._lose, self._lose_tips]
        self.cluster.start()
        for _ in range(10 + self.below(30)):
            deeds[self.below(len(deeds))]()
            if self.below(2):
                self.held.send()
            self.cluster.run(PAUSES_MS[self.below(len(PAUSES_MS))] / 1_000)
        self._join()
        self.held.heal()
        self.held.climbs(2, 2 * SOON_S + PAUSE_S)

    def _crash_some(self) -> None:
        self.held.crash(*[host for host in self.held.honest if host.up and self.below(2)])

    def _crash_all(self) -> None:
        self.held.crash(*[host for host in self.held.honest if host.up])

    def _restart(self) -> None:
        self.held.restart(*[h for h in self.held.honest if not h.up and self.below(3)])

    def _part(self) -> None:
        """Two sides; their links may notice."""
        side = {peer: self.below(2) for peer in self.cluster.hosts}
        self.cuts = {(a, b): None for a in side for b in side if side[a] != side[b]}
        if self.below(2):
            self.parted |= self.cuts
            self._links(self.cuts, LinkDown)

    def _deafen(self) -> None:
        """One hears only some, and only some hear it."""
        peers = list(self.cluster.hosts)
        one = peers[self.below(len(peers))]
        for other in peers:
            if other != one:
                self.cuts[(one, other) if self.below(2) else (other, one)] = None

    def _join(self) -> None:
        self._links(self.parted, LinkUp)
        self.cuts, self.parted = {}, {}

    def _links(self, pairs: Iterable[tuple[Peer, Peer]], event: type[LinkUp | LinkDown]) -> None:
        for a, b in pairs:
            self.cluster.hosts[a].take(event(b))

    def _lose(self) -> None:
        self.loss = (0, 10, 30, 60)[self.below(4)]

    def _lose_tips(self) -> None:
        self.tip_loss = (0, 30, 80, 100)[self.below(4)]


@pytest.mark.parametrize("seed", range(len(SIZES)))
def test_whatever_came_before_healed_networks_go_on(seed: int) -> None:
    Chaos(seed).run()


@pytest.mark.slow
def test_whatever_came_before_healed_networks_go_on_more() -> None:
    for seed in range(100, 130):
        Chaos(seed).run()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1_000, 3_000, 100))
def test_whatever_came_before_healed_networks_go_on_over_many_seeds(seed: int) -> None:
    for each in range(seed, seed + 100):
        Chaos(each).run()
