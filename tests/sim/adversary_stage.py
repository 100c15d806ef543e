"""A stage for adversaries: a cluster with liars in it, traffic of the honest, and the judgement."""

from collections.abc import Sequence

from consensus.dice import Dice
from consensus.facts import DoubleProposal, Evidence, Fact, decode_fact
from consensus.parameters import Parameters
from testnet.sim.adversaries import NAMES
from testnet.sim.adversaries.mouth import Adversary
from testnet.sim.cluster import Cluster, Weather, small_parameters

LONG_EPOCHS = 4_096
STEP_S = 0.5
MILD = Weather(loss=3, jitter_ms=20)


def long_epochs(**overrides: int) -> Parameters:
    return small_parameters(epoch_blocks=LONG_EPOCHS, **overrides)


class Stage:
    """`names`: one adversary each at the first hosts, turned by the seed."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        nodes: int = 4,
        seed: int = 1,
        parameters: Parameters | None = None,
        weather: Weather = MILD,
        hill_nonces: int = 0,
        late: int = 0,
    ) -> None:
        self.seed = seed
        self.cluster = Cluster(
            nodes=nodes,
            seed=seed,
            parameters=parameters or long_epochs(),
            weather=weather,
            hill_nonces=hill_nonces,
            late=late,
        )
        hosts = list(self.cluster.hosts.values())
        dice = Dice(seed.to_bytes(32, "big"))
        self.adversaries: list[Adversary] = []
        for place, name in enumerate(names):
            host = hosts[(seed + place) % nodes]
            adversary = NAMES[name](self.cluster, host, dice.child(f"villain {place}"))
            self.adversaries.append(adversary)
        self.liars = [each.host for each in self.adversaries if each.liar]
        self.honest = [host for host in hosts[:nodes] if host not in self.liars]
        self.dice, self.sent = dice.child("stage"), 0
        self.cluster.start()
        self.woke_ms = 0

    # ---- driving --------------------------------------------------------------------------------

    def wake(self) -> None:
        """Until all of them know where the chain stands."""
        self.cluster.wake()
        self.woke_ms = self.cluster.simulator.now_ms

    @property
    def lasted_ms(self) -> int:
        """Since all of them may sign."""
        return self.cluster.simulator.now_ms - self.woke_ms

    def send(self) -> None:
        up = [host for host in self.honest if host.up and not host.paused]
        host = up[self.dice.uint(len(up))]
        self.sent += 1
        self.cluster.submit(host, self.cluster.transfer(self.dice.uint(4), 0, self.sent))

    def heights(self) -> int:
        """Held by all honest that are up."""
        return min(len(host.disk.chain) for host in self.honest if host.up)

    def climb(self, heights: int, within_s: float) -> None:
        """Traffic until all honest hosts hold so many heights more."""
        goal = max(len(host.disk.chain) for host in self.honest) + heights
        started = self.cluster.simulator.now_ms
        while self.cluster.simulator.now_ms < started + 1000 * within_s:
            self.send()
            before = self.heights()
            # The next message as soon as a height is held by all: no idle time is simulated.
            self.cluster.run(STEP_S, lambda: self.heights() > before)  # noqa: B023
            if self.heights() >= goal:
                return
        raise AssertionError(f"height {goal} not reached in {within_s} s: {self.told()}")

    def traffic(self, seconds: float) -> None:
        for _ in range(int(seconds / STEP_S)):
            self.send()
            self.cluster.run(STEP_S)

    def heal(self) -> None:
        """Whoever rules the network lets go; liars go on."""
        for adversary in self.adversaries:
            if not adversary.liar:
                adversary.stop()
        self.cluster.heal()

    # ---- judging --------------------------------------------------------------------------------

    def judge(self) -> None:
        """Agreement, no honest word broken, nobody honest blamed by the honest, no one halted."""
        assert not self.cluster.history.broken, (self.seed, self.cluster.history.broken[:2])
        longest = max((host.disk.chain for host in self.honest), key=len)
        for host in self.honest:
            assert not host.halted and not host.stopped, (self.seed, host.halted, host.stopped)
            for (one, _, _), (other, _, _) in zip(host.disk.chain, longest, strict=False):
                assert one.id == other.id, f"seed {self.seed}: two blocks at {one.height}"
            assert host.sign_refused == 0, "no honest core asks for what it may not sign"
        named = {peer for host in self.honest for peer, _ in host.blames}
        liars = {host.peer for host in self.liars}
        assert named <= {b"", *liars}, (self.seed, self.causes(honest=True))
        for fact in self.facts():
            if isinstance(fact, Evidence | DoubleProposal):
                assert fact.peer in liars, "evidence against an honest peer"

    def causes(self, *, honest: bool = False) -> dict[str, int]:
        """What the honest hold against the liars, or against each other, by cause."""
        liars, found = {host.peer for host in self.liars}, dict[str, int]()
        for host in self.honest:
            for peer, cause in host.blames:
                if (peer in liars) != honest:
                    found[cause] = found.get(cause, 0) + 1
        return found

    def facts(self) -> list[Fact]:
        longest = max((host.disk.chain for host in self.honest), key=len)
        return [decode_fact(raw) for block, _, _ in longest for raw in block.body.facts]

    def rounds(self) -> list[int]:
        """Of the certificates of the longest honest chain."""
        longest = max((host.disk.chain for host in self.honest), key=len)
        return [certificate.round for _, certificate, _ in longest]

    def told(self) -> str:
        rows = []
        for host in self.honest:
            if host.core is None:
                rows.append(f"down {len(host.disk.chain)}")
                continue
            standing = host.core.engine.machine.standing
            held = [(c.status, c.round, c.rank) for c in standing.candidates.values()]
            rows.append(f"{len(host.disk.chain)} round {standing.round} {standing.settled} {held}")
        kinds = [type(each).__name__ for each in self.adversaries]
        return f"seed {self.seed} {kinds} {self.cluster.simulator.now_ms} ms; " + "; ".join(rows)
