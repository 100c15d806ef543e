"""Crash and restart at every durable step in turn, thousands of times: what a sign record is for.

Each node of a small live cluster is crashed once a height at each of its durable effects, at the
moments of `faults.POINTS` one after the other, and starts again a few milliseconds later. An
observer that believes no record (`history`) judges every word. Knows no files.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from consensus.effects import Commit, Effect, Persist, Remember, Sign
from consensus.parameters import Parameters
from testnet.sim.checkers import Checkers, Failure
from testnet.sim.cluster import Cluster, Weather, small_parameters
from testnet.sim.faults import MOMENTS
from testnet.sim.host import Host
from testnet.sim.scenario import Machines
from testnet.sim.simulator import Chance

NODES: Final = 4
DURABLE: Final = (Persist, Sign, Remember, Commit)
HEIGHTS_A_CLUSTER: Final = 24  # then a new one: what is judged at its end stays small
SEND_MS: Final = 15  # messages live in memory only, so they are said again and again
DOWN_MS: Final = 4
LONG_DOWN_MS: Final = 600  # now and then one is down for longer than a vote waits
LONG_ONE_IN: Final = 40
STALL_S: Final = 120  # without a height the crashes end: only in peace it is a failure
PEACE_S: Final = 60
# Rounds fail in some: locks, valid values, records without a signature (Remember).
CALM: Final = Weather(delay_ms=1, jitter_ms=3)
ROUGH: Final = Weather(loss=10, delay_ms=1, jitter_ms=10, duplicate=5)
SLOW: Final = Weather(loss=25, delay_ms=5, jitter_ms=400, duplicate=5)
WEATHERS: Final = (CALM, ROUGH, CALM, SLOW, CALM, ROUGH)


@dataclass(slots=True)
class Cycles:
    """`points`: (effect, moment) → cycles; `failures`: (seed, what)."""

    cycles: int = 0
    clusters: int = 0
    heights: int = 0
    signatures: int = 0
    locked_restarts: int = 0  # of a node that held a lock on the height being decided
    rounds_failed: int = 0
    points: dict[tuple[str, str], int] = field(default_factory=dict)
    failures: list[tuple[int, Failure]] = field(default_factory=list)

    def add(self, run: "_Run") -> None:
        history, checkers = run.cluster.history, run.checkers
        self.clusters += 1
        self.heights += len(checkers.longest())
        self.signatures += history.signatures
        self.locked_restarts += history.locked_restarts
        self.rounds_failed += sum(c.round for _, c, _ in checkers.longest() if c is not None)
        for point, count in run.points.items():
            self.points[point] = self.points.get(point, 0) + count
            self.cycles += count
        self.failures += [(run.seed, failure) for failure in checkers.failures]


def crash_cycles(
    count: int,
    *,
    seed: int = 1,
    plant: Callable[[Cluster], None] = lambda cluster: None,
    told: Callable[[Cycles], None] = lambda cycles: None,
) -> Cycles:
    """`count` cycles, over clusters of seeds `seed`, `seed` + 1, …; `told` after each.

    `plant` may change a cluster before it starts. Ends early at a cluster that fails.
    """
    total = Cycles()
    while total.cycles < count and not total.failures:
        run = _Run(seed + total.clusters, count - total.cycles)
        plant(run.cluster)
        run.go()
        total.add(run)
        told(total)
    return total


def tiny_parameters() -> Parameters:
    """A slot each: polls are of all, which is cheap."""
    return small_parameters(slots=NODES, epoch_blocks=4_096)


class _Run:
    """One cluster: crashes at every step, then peace, then the judgement."""

    def __init__(self, seed: int, wanted: int) -> None:
        self.seed, self.wanted = seed, wanted
        self.cluster = Cluster(
            nodes=NODES,
            seed=seed,
            parameters=tiny_parameters(),
            weather=WEATHERS[seed % len(WEATHERS)],
            machines=Machines(disk_ms=2, execute_ms=1),
        )
        self.hosts = list(self.cluster.hosts.values())
        self.chance = Chance(self.cluster.dice.child("cycles"))
        self.checkers = Checkers(self.cluster)
        self.points: dict[tuple[str, str], int] = {}
        self.cycles = 0
        self.crashing = True
        self.turns: dict[type[Effect], int] = dict.fromkeys(DURABLE, seed)
        # For each host: the effect that it dies of next, and when; what it has died of already.
        self.drawn: list[tuple[Effect, int, str] | None] = [None] * NODES
        self.done: list[dict[tuple[type[Effect], int, int], None]] = [{} for _ in self.hosts]
        for number, host in enumerate(self.hosts):
            self._watch(number, host)

    def _watch(self, number: int, host: Host) -> None:
        after = host.on_performed

        def performed(of: Host, effect: Effect) -> None:
            after(of, effect)
            self._performed(number, effect)

        host.on_effect = lambda of, effect: self._begins(number, effect)
        host.on_performed = performed

    # ---- crashes --------------------------------------------------------------------------------

    def _begins(self, number: int, effect: Effect) -> None:
        """An effect of that host is about to be performed."""
        kind, host = type(effect), self.hosts[number]
        if kind not in DURABLE or not self.crashing or self.drawn[number] is not None:
            return
        place = (kind, *_place(host, effect))
        if place in self.done[number]:
            return  # once: it has to get on
        self.done[number][place] = None
        self.turns[kind] += 1
        moment = MOMENTS[self.turns[kind] % len(MOMENTS)]
        fall = partial(self._fall, number, host.life, kind, moment)
        if moment == "before":
            fall()
        elif moment == "torn":
            host.later(1, fall)
        else:
            self.drawn[number] = (effect, host.life, moment)

    def _performed(self, number: int, effect: Effect) -> None:
        drawn, host = self.drawn[number], self.hosts[number]
        if drawn is None:
            return
        wanted, life, moment = drawn
        if life == host.life and wanted is not effect:
            return
        self.drawn[number] = None
        if life != host.life:
            return
        fall = partial(self._fall, number, life, type(effect), moment)
        if moment == "durable":
            fall()
        else:
            host.later(1, fall)

    def _fall(self, number: int, life: int, kind: type[Effect], moment: str) -> None:
        host = self.hosts[number]
        if host.life != life or not host.up or not self.crashing:
            return
        point = (kind.__name__, moment)
        self.points[point] = self.points.get(point, 0) + 1
        self.cycles += 1
        self.crashing = self.cycles < self.wanted
        self.cluster.crash(host.peer)
        long = self.chance.below(LONG_ONE_IN) == 0
        down_ms = 1 + self.chance.below(LONG_DOWN_MS if long else DOWN_MS)
        self.cluster.simulator.after(down_ms, partial(self._start, host))

    def _start(self, host: Host) -> None:
        if not host.up:
            self.cluster.restart(host.peer)

    # ---- the course -----------------------------------------------------------------------------

    def go(self) -> None:
        self.cluster.start()
        self._send()
        for _ in range(HEIGHTS_A_CLUSTER):
            if self.crashing:
                self.crashing = self._climb(STALL_S) and self.crashing
        self.crashing = False
        for host in self.hosts:
            self._start(host)
        self.cluster.wires.calm()
        if not self._climb(PEACE_S) and not self.cluster.history.broken:
            told = self.checkers.told()
            self.checkers.fail("liveness", f"no height more within {PEACE_S} s of peace: {told}")
        self.checkers.finish()

    def _climb(self, within_s: int) -> bool:
        """Whether one height more is held by everybody who is up, and no word was false."""
        goal = 1 + max(len(host.disk.chain) for host in self.hosts)
        history, reached = self.cluster.history, self.cluster.reached(goal)
        done = self.cluster.run(within_s, lambda: bool(history.broken) or reached())
        return done and not history.broken

    def _send(self) -> None:
        up = [host for host in self.hosts if host.up]
        pools = [host.core.messages.messages for host in up if host.core is not None]
        if up and not all(pools):
            host = up[self.chance.below(len(up))]
            message = self.cluster.transfer(self.chance.below(4), 0, 1)
            self.cluster.submit(host, message)
        self.cluster.simulator.after(SEND_MS, self._send)


def _place(host: Host, effect: Effect) -> tuple[int, int]:
    """Of one effect at one height: what it is about, so that it is crashed at once only."""
    assert host.core is not None, "it performs effects while it is up"
    if type(effect) is Sign:
        return effect.height, 4 * effect.round + effect.phase
    standing = host.core.engine.machine.standing
    if type(effect) is Commit:
        return effect.block.height, 0
    return standing.height, standing.round
