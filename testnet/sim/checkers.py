"""What must hold of a run, asked while it goes and when it is over; each finding is a Failure.

History judges words and certificates as they come; here: equal roots, validity by a second
execution, receipts once, bounds and sizes, blame, liveness, quiet. Knows no faults.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from consensus import standing as limits
from consensus.certificates import check_weight
from consensus.errors import ConsensusError
from consensus.ids import MessageId, Peer
from consensus.standing import Machine
from consensus.state import MemoryState
from node import catchup, pool
from node.core import NodeCore
from node.execution import block as blocks
from node.execution.genesis import genesis
from node.execution.ports import Parent
from node.execution.window import Window
from testnet.sim.cluster import Cluster
from testnet.sim.disk import Committed
from testnet.sim.host import FORGOTTEN, Host

FAILURES_MAX: Final = 32  # of one checker; the first is what matters
PAST_MAX: Final = 4 * limits.RECENT_HEIGHTS
# Tables of a core: how large each is, and its named bound (0: none, the growth is looked at).
Sizes = dict[str, int]


@dataclass(frozen=True, slots=True)
class Failure:
    """What did not hold: the checker's name, in words, and when."""

    checker: str
    text: str
    at_ms: int


def sizes(core: NodeCore) -> Sizes:
    """How many entries each table of a core holds."""
    machine: Machine = core.engine.machine
    standing = machine.standing
    return {
        "candidates": len(standing.candidates),
        "tallies": len(standing.votes.tallies),
        "highest": len(standing.votes.highest),
        "preference_asks": len(machine.preference_asks),
        "fetched_ms": len(machine.fetched_ms),
        "fetches": len(machine.fetches),
        "body_asks": len(machine.body_asks),
        "links": len(machine.links),
        "ahead_votes": len(machine.ahead_votes),
        "ahead_proposals": len(machine.ahead_proposals),
        "recent": len(machine.recent),
        "parent_accepts": len(machine.parent_accepts),
        "pushed_ms": len(machine.pushed_ms),
        "record_own": len(machine.record.own),
        "pool_messages": len(core.messages.messages),
        "pool_bytes": core.messages.size,
        "pool_bodies": len(core.messages.bodies),
        "pool_remembered": len(core.messages.included),
        "pool_claims": len(core.facts_pool.claims),
        "pool_facts": len(core.facts_pool.renewals)
        + len(core.facts_pool.evidence)
        + len(core.facts_pool.late),
        "tips": len(core.catchup.tips),
        "catchup_asks": len(core.catchup.asks) + len(core.catchup.tip_asks),
        "kept_blocks": len(core.catchup.kept),
        "stirred": len(core.catchup.stirred),
    }


def bounds(nodes: int) -> Sizes:
    """The named bounds of those tables, in a network of so many nodes."""
    return {
        "candidates": limits.PROPOSALS_HELD_MAX + limits.FETCHES_MAX + nodes,
        "highest": 2 * nodes,
        "fetched_ms": nodes,
        "fetches": limits.FETCHES_MAX,
        "body_asks": limits.FETCHES_MAX,
        "ahead_votes": limits.AHEAD_VOTES_MAX,
        "ahead_proposals": limits.AHEAD_PROPOSALS_MAX,
        "recent": limits.RECENT_HEIGHTS,
        "parent_accepts": nodes,
        "pushed_ms": nodes,
        "record_own": 8,
        "pool_messages": pool.POOL_MESSAGES_MAX,
        "pool_bytes": pool.POOL_BYTES_MAX,
        "pool_claims": pool.CLAIMS_MAX,
        "pool_facts": 3 * pool.FACTS_OTHER_MAX,
        "tips": catchup.TIPS_MAX,
        "catchup_asks": catchup.WINDOW + nodes,
        "kept_blocks": catchup.WINDOW,
        "stirred": nodes,
    }


class Checkers:
    """Of one run. `failures`: in the order found."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.failures: list[Failure] = []
        self.memory: Sizes = {}
        self._bounds = bounds(len(cluster.hosts))
        self._counted: dict[str, int] = {}
        self._broken = 0
        for number, host in enumerate(cluster.hosts.values()):
            host.on_stop = partial(self._stopped, number, host.on_stop)

    @property
    def honest(self) -> list[Host]:
        """Hosts whose words are judged."""
        return [host for host in self.cluster.hosts.values() if host.peer not in self.cluster.liars]

    def fail(self, checker: str, text: str) -> None:
        """A finding; of one checker only the first few are kept."""
        self._counted[checker] = self._counted.get(checker, 0) + 1
        if self._counted[checker] <= FAILURES_MAX:
            self.failures.append(Failure(checker, text, self.cluster.simulator.now_ms))

    def _stopped(
        self, number: int, before: Callable[[Host, str], None], host: Host, why: str
    ) -> None:
        """Only a key that signs in two places, or an old record, meets own words it has not."""
        before(host, why)
        if why in FORGOTTEN and host.peer not in self.cluster.liars:
            self.fail("memory", f"n{number} ended: {why}")

    # ---- while it runs --------------------------------------------------------------------------

    def sample(self) -> None:
        """Now and then: history, sizes, halts."""
        for what in self.cluster.history.broken[self._broken :]:
            self.fail("history", what)
        self._broken = len(self.cluster.history.broken)
        for number, host in enumerate(self.cluster.hosts.values()):
            if host.core is None:
                continue
            if host.peer in self.cluster.liars:
                continue
            if host.halted:
                self.fail("halt", f"n{number}: {host.halted}")
            for name, size in sizes(host.core).items():
                if size > self.memory.get(name, -1):
                    self.memory[name] = size
                    bound = self._bounds.get(name)
                    if bound is not None and size > bound:
                        self.fail("bounds", f"n{number}: {name} {size} > {bound}")

    # ---- at the end -----------------------------------------------------------------------------

    def finish(self) -> None:
        """Everything that is asked once."""
        self.sample()
        chain = self.longest()
        self._same_chains(chain)
        self._once(chain)
        self._valid(chain)
        self._blame()
        for number, host in enumerate(self.cluster.hosts.values()):
            if host.sign_refused and host.peer not in self.cluster.liars:
                self.fail("signer", f"n{number}: refused {host.sign_refused} requests of its core")

    def longest(self) -> Sequence[Committed]:
        """The chain of the highest honest node."""
        return max((host.disk.chain for host in self.honest), key=len)

    def _same_chains(self, chain: Sequence[Committed]) -> None:
        """One block a height, and the roots that it names."""
        for number, host in enumerate(self.cluster.hosts.values()):
            if host.peer in self.cluster.liars:
                continue
            for place, ((one, _, _), (other, _, _)) in enumerate(
                zip(host.disk.chain, chain, strict=False)
            ):
                if one.id != other.id:
                    self.fail("agreement", f"n{number}: another block at height {place + 1}")
                    break
            if host.line is not None and not host.halted:
                tip = host.line.tip
                if tip.map.root != tip.header.fields.state_root:
                    self.fail("roots", f"n{number}: a state of another root at its tip")

    def _once(self, chain: Sequence[Committed]) -> None:
        """No message is included twice, none after it expired."""
        seen: dict[MessageId, int] = {}
        for block, _, messages in chain:
            for message in messages:
                if message.id in seen:
                    where = f"at {seen[message.id]} and {block.height}"
                    self.fail("once", f"message {message.id[-4:].hex()} {where}")
                seen[message.id] = block.height
                if message.expires_height < block.height:
                    self.fail("once", f"message {message.id[-4:].hex()} after it expired")

    def _valid(self, chain: Sequence[Committed]) -> None:
        """Every block executed once more from genesis, the slow way; each certificate weighed."""
        spec = self.cluster.spec
        outcome = genesis(spec, self.cluster.world.snapshot)
        state = MemoryState({k: v for k, v in outcome.changes.items() if v is not None})
        parent = Parent(outcome.header, state, outcome.map, outcome.view, Window.load(state))
        for block, certificate, messages in chain:
            try:
                if certificate is not None:
                    check_weight(certificate, parent.view.table.weights)
                if certificate is not None and certificate.block != block.id:
                    self.fail("validity", f"height {block.height}: a certificate of another block")
                    return
                outcome = blocks.execute(spec, parent, block, messages, fast=False)
            except ConsensusError as error:
                self.fail("validity", f"height {block.height}: {error}")
                return
            state.apply(outcome.changes)
            parent = blocks.advance(parent, outcome, state)

    def _blame(self) -> None:
        """The honest never blame the honest."""
        judged: dict[Peer, int] = {}
        for number, host in enumerate(self.cluster.hosts.values()):
            if host.peer not in self.cluster.liars:
                judged[host.peer] = number
        for host in self.cluster.hosts.values():
            if host.peer not in judged:
                continue
            for peer, cause in host.blames:
                if peer in judged:
                    what = f"n{judged[host.peer]} blames n{judged[peer]}: {cause}"
                    self.fail("blame", what)
                    break

    # ---- liveness and quiet ---------------------------------------------------------------------

    def level(self) -> Callable[[], bool]:
        """Whether all honest nodes that are up hold the same height."""
        hosts = self.honest
        return lambda: len({len(host.disk.chain) for host in hosts if host.up}) <= 1

    def reached(self, height: int) -> Callable[[], bool]:
        """Whether all honest nodes that are up hold `height`."""
        hosts = self.honest
        return lambda: all(len(host.disk.chain) >= height for host in hosts if host.up)

    def told(self) -> str:
        """Where everybody stands, for people."""
        rows = []
        for number, host in enumerate(self.cluster.hosts.values()):
            if host.core is None:
                rows.append(f"n{number} down {host.stopped} {len(host.disk.chain)}")
                continue
            at = host.core.engine.machine.standing
            held = " ".join(f"{c.status}/r{c.round}/{c.rank}" for c in at.candidates.values())
            rows.append(
                f"n{number} h{len(host.disk.chain)} round {at.round} settled {at.settled} "
                f"certificate {at.certificate is not None} [{held}]"
            )
        return "; ".join(rows)
