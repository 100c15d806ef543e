"""What all adversaries are made of: a host whose mouth lies, a network that chooses.

An adversary is made before its cluster starts. It holds the key of its own host and nobody else's,
and says over the same wires what any peer can say. Knows no single attack.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar

from consensus.dice import Dice
from consensus.effects import Ask, Commit, Effect
from consensus.ids import Peer
from consensus.standing import Machine
from testnet.sim.cluster import Cluster
from testnet.sim.host import DISK_MS, Host

Reply = Callable[[bytes], None]
SETTLED_MS = DISK_MS  # after a commit is durable: the height has been entered


class Adversary:
    """One attack at one host.

    `acts` counts what it did, by name; `lies` is their sum. `liar`: its host is Byzantine, so it
    may be blamed, and the checks are about the others.
    """

    liar: ClassVar[bool] = True

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        self.cluster, self.host, self.dice = cluster, host, dice
        self.acts: Counter[str] = Counter()
        self.active = True
        if self.liar:
            cluster.liars[host.peer] = None
            host.careful = False  # who lies may contradict itself

    @property
    def lies(self) -> int:
        return sum(self.acts.values())

    @property
    def others(self) -> list[Peer]:
        """All peers but its own, in the cluster's order."""
        return [peer for peer in self.cluster.hosts if peer != self.host.peer]

    @property
    def machine(self) -> Machine:
        """What its own honest core knows: a Byzantine peer may look at all of it."""
        assert self.host.core is not None, "it acts only while its host is up"
        return self.host.core.engine.machine

    def stop(self) -> None:
        """The attack ends (heal); a liar may go on, whoever rules the network may not."""
        self.active = False

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Later, if it still attacks and its host is up then."""
        self.cluster.simulator.after(
            delay_ms, lambda: action() if self.active and self.host.up else None
        )


class Mouth(Adversary):
    """A host of which everything that it says and is asked passes through here."""

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self._serve, self._hear = host.serve, host.hear
        host.wires = self
        host.serve = self._asked  # type: ignore[method-assign]
        host.hear = self._heard  # type: ignore[method-assign]
        performed = host.on_performed

        def watch(of: Host, effect: Effect) -> None:
            performed(of, effect)
            self.watch(effect)

        host.on_performed = watch

    # ---- testnet.sim.host.Wires -----------------------------------------------------------------

    def gossip(self, source: Peer, topic: str, record: bytes) -> None:
        for target in self.others:
            for said in self.words(topic, record, target) if self.active else [record]:
                self.say(target, topic, said)

    def ask(self, source: Peer, target: Peer, ask: Ask, done: Callable[[bytes], None]) -> None:
        self.cluster.wires.ask(source, target, ask, done)

    # ---- what a kind of adversary decides -------------------------------------------------------

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        """What `target` hears of a record that the honest core says."""
        return (record,)

    def answer(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        """Somebody asks."""
        self.answer_honestly(proto, data, source, reply)

    def listen(self, topic: str, record: bytes, source: Peer) -> None:
        """Somebody says something; the honest core hears it too."""

    def watch(self, effect: Effect) -> None:
        """The honest core's effect was performed."""
        if type(effect) is Commit:
            self.after(SETTLED_MS, self.enter)

    def enter(self) -> None:
        """A new height begins."""

    # ---- its tools ------------------------------------------------------------------------------

    def say(self, target: Peer, topic: str, record: bytes) -> None:
        self.cluster.wires.say(self.host.peer, target, topic, record)

    def tell(self, topic: str, record: bytes) -> None:
        """Say it to everybody."""
        for target in self.others:
            self.say(target, topic, record)

    def answer_honestly(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        self._serve(proto, data, source, reply)

    def side(self, peer: Peer) -> int:
        """0 or 1: which half of the others a peer is in."""
        return self.others.index(peer) % 2

    def fellows(self) -> list["Mouth"]:
        """All liars of the cluster, this one too: they know each other."""
        wires = [host.wires for host in self.cluster.hosts.values()]
        return [each for each in wires if isinstance(each, Mouth)]

    def _asked(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        if self.active and self.host.up and not self.host.paused:
            self.answer(proto, data, source, reply)
        else:
            self.answer_honestly(proto, data, source, reply)

    def _heard(self, topic: str, record: bytes, source: Peer) -> str:
        if self.active and self.host.up:
            self.listen(topic, record, source)
        return self._hear(topic, record, source)
