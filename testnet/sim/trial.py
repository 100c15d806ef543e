"""One run: a scenario and a seed in, an outcome out; faults, heal, liveness, checks throughout.

Knows no files, no processes, no real time.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from consensus.dice import Dice
from consensus.effects import Commit, Effect
from consensus.encoding import Value
from consensus.events import Event
from node import codec
from testnet.sim.checkers import Checkers, Failure
from testnet.sim.cluster import Cluster
from testnet.sim.faults import Fault, plan
from testnet.sim.host import Host
from testnet.sim.scenario import Scenario, ScenarioError
from testnet.sim.troubles import Troubles

if TYPE_CHECKING:
    from testnet.sim.adversaries.mouth import Adversary

__all__ = ["Failure", "Outcome", "run"]

SAMPLE_MS: Final = 500  # how often the checkers look at sizes
SETTLE_S: Final = 120  # within which a chain without load comes to rest
SETTLED_S: Final = 10
POLLS: Final = "poll/1"


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    seed: int
    scenario: str
    nodes: int
    failures: tuple[Failure, ...] = ()
    heights: int = 0  # of the highest honest node
    simulated_ms: int = 0
    polls: int = 0  # poll decisions of honest nodes
    signatures: int = 0
    crashes: int = 0
    included: int = 0  # messages of accounts in the chain
    rounds: tuple[tuple[int, int], ...] = ()  # (round of the certificate, heights)
    messages: tuple[tuple[str, int], ...] = ()  # packets sent by kind
    bytes: tuple[tuple[str, int], ...] = ()
    timeline: tuple[tuple[int, int, int], ...] = ()  # (ms, node, height) at each change
    memory: tuple[tuple[str, int], ...] = ()  # largest sizes seen of the core's tables
    steps: int = 0
    faults: tuple[Fault, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)  # whatever else was counted

    @property
    def clean(self) -> bool:
        return not self.failures


def run(
    scenario: Scenario,
    seed: int,
    *,
    schedule: Sequence[Fault] | None = None,
    trace: Callable[[str], None] | None = None,
) -> Outcome:
    """Run it. `schedule`: instead of the seed's own (shrinking); `trace`: lines of text, the same
    for the same arguments on every Python."""
    faults = plan(scenario, seed) if schedule is None else tuple(schedule)
    return _Trial(scenario, seed, faults, trace).run()


class _Trial:
    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        faults: tuple[Fault, ...],
        trace: Callable[[str], None] | None,
    ) -> None:
        self.scenario, self.seed, self.trace = scenario, seed, trace
        nodes = scenario.size(seed)
        self.cluster = Cluster(
            nodes=nodes,
            seed=seed,
            parameters=scenario.parameters,
            weather=scenario.weather,
            late=scenario.machines.late,
            machines=scenario.machines,
            accounts=scenario.accounts,
            consensus=scenario.consensus,
        )
        self.hosts = list(self.cluster.hosts.values())
        self.owners = nodes
        self.dice = Dice(seed.to_bytes(32, "big")).child("load")
        self.villains = [
            self._possess(villain.kind, villain.node) for villain in scenario.adversaries
        ]
        self.troubles = Troubles(self.cluster, faults, scenario.down_bound(nodes))
        self.checkers = Checkers(self.cluster)
        self.timeline: list[tuple[int, int, int]] = []
        self.loaded = True
        self.counts: dict[str, int] = {}
        for number, host in enumerate(self.hosts):
            self._watch(number, host)

    def _possess(self, kind: str, node: int) -> "Adversary":
        """Put an adversary at its node; they are loaded only where a scenario names one."""
        from testnet.sim.adversaries import NAMES

        found = NAMES.get(kind)
        if found is None:
            raise ScenarioError("unknown", f"no adversary {kind!r}", "one of " + ", ".join(NAMES))
        return found(self.cluster, self.hosts[node], self.dice.child(f"villain {node}"))

    def _watch(self, number: int, host: Host) -> None:
        after, before = host.on_performed, host.on_stop

        def performed(of: Host, effect: Effect) -> None:
            after(of, effect)
            if type(effect) is Commit:
                height = effect.block.height
                self.timeline.append((self.cluster.simulator.now_ms, number, height))
                if self.trace is not None:
                    self._line(number, f"Commit {height} {effect.block.id[-4:].hex()}")

        def stopped(of: Host, why: str) -> None:
            before(of, why)
            self.counts[f"stopped {why}"] = self.counts.get(f"stopped {why}", 0) + 1

        host.on_performed, host.on_stop = performed, stopped
        if self.trace is not None:
            host.on_event = lambda of, event, effects: self._traced(number, event, effects)

    def _line(self, number: int, text: str) -> None:
        assert self.trace is not None
        self.trace(f"{self.cluster.simulator.now_ms} n{number} {text}")

    def _traced(self, number: int, event: Event, effects: list[Effect]) -> None:
        """Name of the event, digest of its bytes, digest of the effects' bytes and their names."""
        digest = sha256(codec.to_bytes(event)).hexdigest()[:8]
        done = sha256(codec.to_bytes(effects)).hexdigest()[:8]
        names = " ".join(type(effect).__name__ for effect in effects)
        self._line(number, f"{type(event).__name__} {digest} {done} {names}".rstrip())

    # ---- phases ---------------------------------------------------------------------------------

    def run(self) -> Outcome:
        try:
            self._phases()
            self.checkers.finish()
        except Exception as error:  # a core that raises is what a run is there to find
            where = traceback.format_exc(limit=-6)
            self.checkers.fail("crash", f"{type(error).__name__}: {error}\n{where}")
        return self._outcome()

    def _phases(self) -> None:
        phases, cluster = self.scenario.phases, self.cluster
        cluster.start()
        self.troubles.schedule()
        self._late()
        self._load()
        self._sample()
        cluster.run(phases.faults_s)
        self._heal()
        cluster.run(phases.heal_s)
        if phases.liveness_s:
            self._live()
        if phases.quiet_s:
            self._quiet()

    def _late(self) -> None:
        """Nodes without slots, one after the other."""
        for place, host in enumerate(self.hosts[self.owners :], 1):
            delay = 1_000 * self.scenario.machines.late_s * place
            self.cluster.simulator.after(delay, lambda peer=host.peer: self._join(peer))  # type: ignore[misc]

    def _join(self, peer: bytes) -> None:
        host = self.cluster.hosts[peer]  # type: ignore[index]
        if host.life == 0:
            self.cluster.restart(host.peer)

    def _heal(self) -> None:
        self.troubles.heal()
        for villain in self.villains:
            if not villain.liar:
                villain.stop()  # whoever rules the network

    def _live(self) -> None:
        """All honest nodes hold some heights more, in time."""
        phases, checkers = self.scenario.phases, self.checkers
        top = max(len(host.disk.chain) for host in checkers.honest) + phases.heights
        began = self.cluster.simulator.now_ms
        if self.cluster.run(phases.liveness_s, checkers.reached(top)):
            self.counts["liveness_ms"] = self.cluster.simulator.now_ms - began
        else:
            told = checkers.told()
            checkers.fail("liveness", f"height {top} not within {phases.liveness_s} s: {told}")

    def _quiet(self) -> None:
        """Without load: nobody proposes, nobody polls, no height."""
        cluster, checkers = self.cluster, self.checkers
        self.loaded = False
        before = -1
        for _ in range(SETTLE_S // SETTLED_S):
            before = len(checkers.longest())
            cluster.run(SETTLED_S)
            if checkers.level()() and len(checkers.longest()) == before:
                break
        polls, signed = self._poll_packets(), cluster.history.signatures
        cluster.run(self.scenario.phases.quiet_s)
        if not checkers.level()():
            checkers.fail("quiet", f"heights differ: {checkers.told()}")
        for name, grown in (
            ("heights", len(checkers.longest()) - before),
            ("polls", self._poll_packets() - polls),
            ("signatures", cluster.history.signatures - signed),
        ):
            if grown:
                checkers.fail("quiet", f"{grown} {name} without input: {checkers.told()}")

    def _poll_packets(self) -> int:
        return self.cluster.wires.packets.get(POLLS, 0)

    def _sample(self) -> None:
        self.checkers.sample()
        self.cluster.simulator.after(SAMPLE_MS, self._sample)

    # ---- load -----------------------------------------------------------------------------------

    def _load(self) -> None:
        load, cluster = self.scenario.load, self.cluster
        if not load.every_ms:
            return
        now_s = cluster.simulator.now_ms // 1_000
        if self.loaded and load.from_s <= now_s and (not load.until_s or now_s < load.until_s):
            up = [host for host in self.hosts[: self.owners] if host.up and not host.paused]
            for _ in range(load.messages if up else 0):
                self._send(up[self.dice.uint(len(up))])
        cluster.simulator.after(load.every_ms, self._load)

    def _send(self, host: Host) -> None:
        count, size = self.scenario.accounts, self.scenario.load.data_bytes
        sender, receiver = self.dice.uint(count), self.dice.uint(count)
        fields: dict[str, Value] = {"to": bytes(self.cluster.accounts[receiver]), "amount": 1}
        if size:
            fields["memo"] = bytes(size)
        message = self.cluster.message(sender, "token", "Transfer", fields)
        self.cluster.submit(host, message)

    # ---- the end --------------------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        cluster, wires = self.cluster, self.cluster.wires
        chain = self.checkers.longest()
        for villain, placed in zip(self.villains, self.scenario.adversaries, strict=True):
            name = f"lies {placed.kind}"
            self.counts[name] = self.counts.get(name, 0) + villain.lies
        rounds: dict[int, int] = {}
        for block, certificate, _ in chain:
            round_ = block.header.fields.round if certificate is None else certificate.round
            rounds[round_] = rounds.get(round_, 0) + 1
        return Outcome(
            seed=self.seed,
            scenario=self.scenario.name,
            nodes=self.owners,
            failures=tuple(self.checkers.failures),
            heights=len(chain),
            simulated_ms=cluster.simulator.now_ms,
            polls=sum(host.polls for host in self.checkers.honest),
            signatures=cluster.history.signatures,
            crashes=self.troubles.crashes,
            included=sum(len(block.body.messages) for block, _, _ in chain),
            rounds=tuple(sorted(rounds.items())),
            messages=tuple(sorted(wires.packets.items())),
            bytes=tuple(sorted(wires.bytes.items())),
            timeline=tuple(self.timeline),
            memory=tuple(self.checkers.memory.items()),
            steps=cluster.simulator.steps,
            faults=self.troubles.faults,
            counts={**self.troubles.counts, **self.counts},
        )
