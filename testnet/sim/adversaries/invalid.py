"""An adversary that proposes invalid blocks: each rule of validity broken once (protocol §8).

Its proposals are well signed, for its own place, and spoiled in one rule; its own executor says by
which. Knows the tables of rules, not how honest peers judge.
"""

from collections.abc import Sequence
from dataclasses import replace

from consensus.block import Block
from consensus.dice import Dice
from consensus.effects import POLL, PROPOSALS
from consensus.encoding import encode
from consensus.errors import InvalidBlock
from consensus.ids import BlockId, MessageId, Peer
from consensus.messages import Message
from consensus.validity import check_header
from testnet.sim.adversaries.bench import Bench, Table, message_of
from testnet.sim.adversaries.mouth import Mouth, Reply
from testnet.sim.adversaries.pen import Pen
from testnet.sim.adversaries.silence import is_own
from testnet.sim.adversaries.spoiled_facts import FACTS
from testnet.sim.adversaries.spoiled_headers import HEADERS
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host

RULES: Table = {**HEADERS, **FACTS}


class InvalidBlocks(Mouth):
    """One spoiled proposal a height, the next rule each time: wants one honest peer to hold an
    invalid block valid, or two of them to judge it differently.

    Stopped by: validity is a pure function of (parent state, block) (§8); nothing is preferred,
    answered with or confirmed before it is executed (§6); whoever signs such a proposal is blamed.
    """

    def __init__(self, cluster: Cluster, host: Host, dice: Dice) -> None:
        super().__init__(cluster, host, dice)
        self.pen = Pen(cluster, host)
        self.left = list(RULES)
        self.sent: dict[str, BlockId] = {}  # by rule
        self.missed: dict[str, str] = {}  # rules whose block broke another one
        self.caught = False

    def words(self, topic: str, record: bytes, target: Peer) -> Sequence[bytes]:
        """Its valid proposals stay at home: two for one place are another offence."""
        return () if is_own(self.host, topic, record) else (record,)

    def answer(self, proto: str, data: bytes, source: Peer, reply: Reply) -> None:
        """Nobody learns of its valid blocks: its preference is never its own."""
        if proto == POLL:
            standing = self.machine.standing
            reply(encode(["answer", 1, standing.height, standing.round, None]))
            return
        self.answer_honestly(proto, data, source, reply)

    def enter(self) -> None:
        bench = self._bench()
        if bench is None:
            return
        if self.left == ["claim void"] and not self.caught:
            self._offend(bench)
            return
        for rule in self.left:
            block = RULES[rule](bench)
            if block is not None and self._breaks(rule, block, bench):
                self._propose(rule, block, bench)
                return

    def _bench(self) -> Bench | None:
        """The valid block of this height and place, with a message of its own in it."""
        host, core = self.host, self.host.core
        order = self.pen.order()
        if order is None or core is None or host.line is None:
            return None
        message = message_of(self.cluster, height=order.height, number=0)
        core.messages.hold([message])
        order = replace(order, messages=(message,))
        block = self.pen.build(order)
        if block is None:
            return None
        tip = host.line.tip
        bench = Bench(self.cluster, self.pen, order, block, tip.view, tip.state)
        bench.bodies[message.id] = message
        return bench

    def _breaks(self, rule: str, block: Block, bench: Bench) -> bool:
        """Whether its own executor refuses the block by this rule."""
        found = self._bodies(block, bench)
        if found is None:  # refused before any body is looked at
            return self._refused_unseen(rule, block)
        assert self.host.line is not None, "it builds while its host is up"
        broken = self.host.line.execute(block, found).rule
        if broken != rule:
            self.missed[rule] = broken
        return broken == rule

    def _refused_unseen(self, rule: str, block: Block) -> bool:
        """A block with bodies that do not exist: the header's rules come before them."""
        tip = self.machine.tip
        try:
            check_header(self.host.spec, tip.header, tip.view, block)
        except InvalidBlock as error:
            if error.rule != rule:
                self.missed[rule] = error.rule
            return error.rule == rule
        self.missed[rule] = "nothing"
        return False

    def _bodies(self, block: Block, bench: Bench) -> list[Message] | None:
        assert self.host.core is not None, "it builds while its host is up"
        self.host.core.messages.hold(bench.bodies.values())
        stored: dict[MessageId, Message] = {
            message.id: message for _, _, held in self.host.disk.chain for message in held
        }
        ids = block.body.messages
        if not all(each in bench.bodies or each in stored for each in ids):
            return None
        return [bench.bodies.get(each) or stored[each] for each in ids]

    def _propose(self, rule: str, block: Block, bench: Bench) -> None:
        self.left.remove(rule)
        self.missed.pop(rule, None)
        self.sent[rule] = block.id
        self.acts[rule] += 1
        self.tell(PROPOSALS, self.pen.proposal(block).raw)

    def _offend(self, bench: Bench) -> None:
        """Two valid blocks for one place: evidence, so that its claims are void from then on."""
        twin = self.pen.twin(bench.order)
        if twin is not None:
            self.caught = True
            for block in (bench.block, twin):
                self.tell(PROPOSALS, self.pen.proposal(block).raw)
