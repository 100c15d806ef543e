"""A scene of four: a liar that is silent, one that something is kept from, and two others."""

from collections.abc import Callable, Sequence

from consensus.effects import BLOCK, BODIES, FACTS, MESSAGES, PROPOSALS
from consensus.ids import BlockId
from consensus.standing import Machine
from testnet.sim.adversaries.pen import Pen
from testnet.sim.adversaries.silence import Mute
from testnet.sim.cluster import Cluster, Weather
from testnet.sim.host import Host
from testnet.sim.wires import Packet
from tests.sim.scenes import Scene, calm_parameters

GENTLE = Weather(delay_ms=5, jitter_ms=5)
HEALED_S = 60.0
HIDDEN = (MESSAGES, PROPOSALS, BLOCK, BODIES, FACTS)  # what a block is learned by, votes aside

Scheduler = Callable[[Packet], Sequence[int] | None]


def machine(host: Host) -> Machine:
    assert host.core is not None
    return host.core.engine.machine


class Four:
    """The liar says only what a test makes it say, to whom the test chooses; see `say`."""

    def __init__(self, seed: int) -> None:
        parameters = calm_parameters()
        self.cluster = Cluster(nodes=4, seed=seed, parameters=parameters, weather=GENTLE)
        self.scene = Scene(self.cluster, seed)
        self.liar, self.one, self.a, self.b = self.scene.hosts
        self.honest = (self.one, self.a, self.b)
        self.mute = Mute(self.cluster, self.liar, self.scene.dice.child("mute"))
        self.pen = Pen(self.cluster, self.liar)

    def start(self, scheduler: Scheduler | None) -> None:
        """One message waits at `a`."""
        self.cluster.wires.scheduler = scheduler
        self.cluster.start()
        self.cluster.submit(self.a, self.cluster.transfer(0, 1, 1))

    def until(self, seconds: float, reached: Callable[[], bool]) -> None:
        assert self.cluster.run(seconds, reached), self.scene.told()

    def placed(self, phase: int, *hosts: Host) -> Callable[[], bool]:
        return lambda: all(machine(host).record.place >= (1, 0, phase) for host in hosts)

    def say(self, target: Host, phase: str, round_: int, block: BlockId | None) -> None:
        word = self.pen.vote_at(phase, 1, round_, block)
        self.cluster.wires.say(self.liar.peer, target.peer, "votes", word)

    def decides(self) -> None:
        """The network is healed: all honest soon hold the height."""
        self.cluster.wires.scheduler = None
        self.until(HEALED_S, lambda: all(host.disk.chain for host in self.honest))
        self.cluster.check()
        assert self.mute.lies
