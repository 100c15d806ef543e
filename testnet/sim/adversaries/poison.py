"""A message that kills the worker of some hosts: a fault of hosts, not a lie (execution §5)."""

from collections.abc import Sequence
from typing import ClassVar

from consensus.dice import Dice
from consensus.ids import MessageId
from consensus.messages import Message
from testnet.sim.adversaries.mouth import Adversary
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host


class Poison(Adversary):
    """At half of the hosts, from this one on, the worker dies whenever it meets one message: wants
    heights to stand still, since neither half is a quorum.

    Stopped by: a proposer leaves out a message that faulted on it; from round 4 on a header may
    list it as skipped, and candidates that skip less start ahead (execution §5); after an earlier
    quorum whoever cannot execute may confirm and accept unexecuted (protocol §7 ‡).
    """

    liar: ClassVar[bool] = False

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        hosts = list(cluster.hosts.values())
        first = hosts.index(host)
        self.sick = [hosts[(first + n) % len(hosts)] for n in range(len(hosts) // 2)]
        self.poison: MessageId | None = None
        for each in self.sick:
            each.faulting = self._dies

    def send(self, message: Message) -> None:
        """This is the message; every host gets it."""
        self.poison = message.id
        for host in self.cluster.hosts.values():
            self.cluster.submit(host, message)

    def _dies(self, messages: Sequence[Message]) -> bool:
        if not self.active or all(message.id != self.poison for message in messages):
            return False
        self.acts["death"] += 1
        return True
