"""Drivers shared by the simulations: traffic, ends of runs, kills. All decided by a seed."""

import os
from collections.abc import Callable, Sequence

from consensus.certificates import Vote
from consensus.dice import Dice
from consensus.effects import Commit, Effect, Persist, Remember, Sign
from consensus.ids import Peer
from consensus.parameters import Parameters
from consensus.signing import CONFIRM
from testnet.sim.cluster import Cluster, Weather, small_parameters
from testnet.sim.host import DISK_MS, Host

ROUGH = Weather(loss=10, delay_ms=5, jitter_ms=40, duplicate=5)
LONG_EPOCHS = 4096  # the genesis table holds for the whole run
STEP_S = 1.0


def seeds(count: int) -> Sequence[int]:
    """1 … count, or only the one in APOCRYPH_SIM_SEED: how a failure is run again."""
    chosen = os.environ.get("APOCRYPH_SIM_SEED")
    return [int(chosen)] if chosen else range(1, count + 1)


def calm_parameters(**overrides: int) -> Parameters:
    return small_parameters(epoch_blocks=LONG_EPOCHS, claim_close=4, **overrides)


def holding(hosts: Sequence[Host], height: int) -> Callable[[], bool]:
    """Whether all of them hold that height."""
    return lambda: all(len(host.disk.chain) >= height for host in hosts)


class Scene:
    """A cluster under traffic; `told` is printed when something does not hold."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster, self.seed = cluster, seed
        self.dice = Dice(seed.to_bytes(32, "big")).child("scene")
        self.hosts = list(cluster.hosts.values())
        self.sent = 0

    def traffic(self, seconds: float, step_s: float = STEP_S) -> None:
        """A transfer each step at a random host that is up."""
        steps = int(seconds / step_s)
        for _ in range(steps):
            self.send()
            self.cluster.run(step_s)

    def send(self) -> None:
        up = [host for host in self.hosts if host.up and not host.paused]
        if up:
            host = up[self.dice.uint(len(up))]
            sender, receiver = self.dice.uint(4), self.dice.uint(4)
            self.cluster.submit(host, self.cluster.transfer(sender, receiver, 1 + self.sent))
            self.sent += 1

    def height(self) -> int:
        return max(len(host.disk.chain) for host in self.hosts)

    def climb(self, heights: int, within_s: float) -> None:
        """Traffic until all hosts that are up hold so many heights more."""
        target = self.height() + heights
        for _ in range(int(within_s / STEP_S)):
            self.send()
            if self.cluster.run(STEP_S, self.cluster.reached(target)):
                return
        raise AssertionError(f"height {target} not reached in {within_s} s: {self.told()}")

    def settle(self, within_s: float = 60.0) -> None:
        """No more traffic: all that are up end at the same height."""
        cluster = self.cluster

        def level() -> bool:
            return len({len(host.disk.chain) for host in self.hosts if host.up}) == 1

        for _ in range(int(within_s / STEP_S)):
            cluster.run(STEP_S)
            if level() and cluster.run(STEP_S, lambda: False) is False and level():
                break
        assert level(), f"heights differ: {self.told()}"
        cluster.check()

    def told(self) -> str:
        rows = []
        for index, host in enumerate(self.hosts):
            if host.core is None:
                rows.append(f"n{index} down {len(host.disk.chain)}")
                continue
            standing = host.core.engine.machine.standing
            held = [(c.status, c.round, c.rank) for c in standing.candidates.values()]
            rows.append(
                f"n{index} {len(host.disk.chain)} round {standing.round} settled "
                f"{standing.settled} certificate {standing.certificate is not None} {held}"
            )
        return f"seed {self.seed}, {self.cluster.simulator.now_ms} ms; " + "; ".join(rows)


# ---- kills ------------------------------------------------------------------------------------

POINTS = (Persist, Sign, Remember, Commit)
MODES = ("before", "durable", "heard")  # the effect; its outcome not heard; its outcome heard


class Killer:
    """Crashes hosts at drawn effects and starts them again; counts what it did."""

    def __init__(
        self, scene: Scene, *, kills_max: int, down_max: int = 1, chance: int = 24
    ) -> None:
        self.scene, self.cluster = scene, scene.cluster
        self.dice = scene.dice.child("killer")
        self.kills_max, self.down_max, self.chance = kills_max, down_max, chance
        self.kills: list[tuple[str, str]] = []
        self.active = True
        performed = self.cluster.history.record

        def after(host: Host, effect: Effect) -> None:
            performed(host, effect)
            self._after(host, effect)

        for host in scene.hosts:
            host.on_effect = self._before
            host.on_performed = after
        self.drawn: dict[Peer, tuple[int, Effect, str]] = {}  # life, effect, mode

    def _before(self, host: Host, effect: Effect) -> None:
        if type(effect) not in POINTS or not self._draws(effect):
            return
        mode = MODES[self.dice.uint(len(MODES))]
        if mode == "before":
            self._kill(host, effect, mode)
        else:
            self.drawn[host.peer] = (host.life, effect, mode)

    def _draws(self, effect: Effect) -> bool:
        down = sum(not host.up for host in self.scene.hosts)
        if not self.active or len(self.kills) >= self.kills_max or down >= self.down_max:
            return False
        chance = 2 if type(effect) is Remember else self.chance
        return self.dice.uint(chance) == 0

    def _after(self, host: Host, effect: Effect) -> None:
        life, drawn, mode = self.drawn.get(host.peer, (0, None, ""))
        if life != host.life or drawn is not effect:
            return
        del self.drawn[host.peer]
        if mode == "durable":
            self._kill(host, effect, mode)
        elif mode == "heard":
            life = host.life
            self.cluster.simulator.after(
                DISK_MS + 1, lambda: self._kill(host, effect, "heard", life)
            )

    def _kill(self, host: Host, effect: Effect, mode: str, life: int | None = None) -> None:
        if not host.up or (life is not None and host.life != life):
            return
        self.kills.append((type(effect).__name__, mode))
        self.cluster.crash(host.peer)
        pause_ms = 20 + self.dice.uint(3_000)
        self.cluster.simulator.after(pause_ms, lambda: self._start(host))

    def _start(self, host: Host) -> None:
        if not host.up:
            self.cluster.restart(host.peer)

    def stop(self) -> None:
        """No more kills; whoever is down starts."""
        self.active = False
        for host in self.scene.hosts:
            self._start(host)


def kill_run(
    seed: int,
    *,
    nodes: int = 4,
    kills: int = 16,
    plant: Callable[[Cluster], None] = lambda cluster: None,
    weather: Weather = ROUGH,
    seconds: float = 60.0,
    down_max: int = 1,
) -> tuple[Scene, Killer]:
    """Traffic and kills, then peace; the checks are the caller's."""
    cluster = Cluster(nodes=nodes, seed=seed, parameters=calm_parameters(), weather=weather)
    plant(cluster)
    scene = Scene(cluster, seed)
    killer = Killer(scene, kills_max=kills, down_max=down_max)
    cluster.start()
    for _ in range(int(seconds / STEP_S)):
        scene.traffic(STEP_S)
        if len(killer.kills) >= kills:
            break
    killer.stop()
    return scene, killer


# ---- a lock under attack ------------------------------------------------------------------------


def lock_run(
    seed: int, *, plant: Callable[[Cluster], None] = lambda cluster: None
) -> tuple[Scene, Host]:
    """One of four peers locks alone in round 0, is killed, and meets another proposal in round 1.

    a, b, c confirm x, which only a sees as a quorum; d confirms its own y; b, c, d accept nil and
    go on; then d is cut off, so that b and c need a. A forgotten lock lets a confirm their new
    proposal without a proof.
    """
    cluster = Cluster(
        nodes=4, seed=seed, parameters=calm_parameters(), weather=Weather(jitter_ms=9)
    )
    plant(cluster)
    scene = Scene(cluster, seed)
    cluster.start()
    cluster.wake()
    a, b, c, d = (host.peer for host in scene.hosts)
    cluster.isolate((a, b, c), (d,))

    def lose(source: Peer, target: Peer, topic: str, record: bytes) -> bool:
        """Nobody learns of a's lock; a does not see again what it locked by."""
        if topic not in ("votes", "facts") or source == a:
            return source == a and topic in ("votes", "facts")
        proof = topic == "facts" or (Vote.decode(record).phase, Vote.decode(record).round) == (
            "confirm",
            0,
        )
        return target == a and proof and scene.hosts[0].life > 1

    cluster.lose = lose
    for index in (1, 3):
        cluster.submit(scene.hosts[index], cluster.transfer(index, 2, 1))
    cluster.run(8.0)
    machines = [host.core.engine.machine for host in scene.hosts if host.core is not None]
    assert machines[0].record.lock is not None, f"a locks alone: {scene.told()}"
    assert machines[3].record.phase >= CONFIRM, f"d confirms its own: {scene.told()}"
    cluster.crash(a)
    cluster.isolate((a,), (b, c, d))
    moved = cluster.run(12.0, lambda: all(m.standing.round >= 1 for m in machines[1:]))
    assert moved, f"b, c, d go on to round 1: {scene.told()}"
    cluster.isolate((a, b, c), (d,))  # nothing is certified without a
    cluster.restart(a)
    return scene, scene.hosts[0]
