"""A simulated chain with agents, walked by both: ours executes, the naive one judges.

What agents do is execution's (no page says it byte by byte), so the naive side takes their changes
from the phases of `node.execution`, and derives everything else itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from consensus.block import Block, Body, Header
from consensus.errors import ConsensusError
from consensus.ids import Height
from consensus.messages import Message
from consensus.spec import ChainSpec
from consensus.state import MemoryState
from node import speech
from node.execution import block as ours
from node.execution import inbox, prepare, settle
from node.execution.genesis import genesis_parent
from node.execution.plan import Plan
from node.execution.ports import Outcome, Parent
from node.execution.registry import NATIVE, demo_agents
from node.execution.window import Window
from testnet.sim.cluster import Cluster, small_parameters
from tests.naive import naive_records, naive_rules
from tests.naive.naive_cbor import Bad, id_of
from tests.naive.naive_inputs import due
from tests.naive.naive_lab import naive_spec
from tests.naive.naive_table import table_of
from tests.naive.naive_trees import list_root, map_root

Verify = Callable[[bytes, bytes, bytes], bool]


class Shown(NamedTuple):
    """Header and body as they came, and the messages that belong to them."""

    header: bytes
    body: bytes
    messages: tuple[Message, ...]


class Step(NamedTuple):
    """A parent in both forms, and the certified block on it."""

    parent: Parent
    naive: naive_rules.Parent
    block: Block
    messages: tuple[Message, ...]

    @property
    def shown(self) -> Shown:
        return Shown(self.block.header.raw, self.block.body.raw, self.messages)


class Lab:
    """The rules of one chain, twice."""

    def __init__(self, spec: ChainSpec, verify: Verify) -> None:
        self.spec, self.verify = spec, verify
        self.judge = naive_rules.Judge(naive_spec(spec), verify)

    # ---- verdicts -------------------------------------------------------------------------------

    def ours(self, parent: Parent, shown: Shown) -> tuple[str | None, Outcome | None]:
        """(the rule that is broken, what the block does): as a node goes through bytes."""
        try:
            block = Block(Header.decode(shown.header), Body.decode(shown.body))
            checks = speech.block_checks(block)
            checks += [speech.message_check(message) for message in shown.messages]
            if not all(self.verify(*each) for each in checks):
                return "signature", None
            return None, ours.execute(self.spec, parent, block, shown.messages)
        except ConsensusError as error:
            return f"{error.code}: {error}", None

    def naive(
        self, step_parent: naive_rules.Parent, parent: Parent, shown: Shown
    ) -> tuple[str | None, naive_rules.After | None]:
        try:
            messages = [naive_records.message_of(message.raw) for message in shown.messages]
            for message in messages:
                signed = naive_records.covered(
                    "message", self.spec.id, naive_records.unsigned(message.raw)
                )
                naive_rules.require(
                    "signature of a message",
                    self.verify(message.sender, signed, message.signature),
                )
            after = self.judge.judge(
                step_parent,
                shown.header,
                shown.body,
                messages,
                lambda: self.run(step_parent, parent, shown),
            )
        except Bad as error:
            return str(error), None
        return None, after

    def run(self, naive: naive_rules.Parent, parent: Parent, shown: Shown) -> naive_rules.Done:
        """The agents' part, by the real phases; Bad when a message cannot be paid for."""
        header = naive_records.header_of(shown.header)
        body = naive_records.body_of(shown.body)
        gas = naive_rules.gas_limit(self.judge.parameters, header.round)
        expected = due(naive.values, height=header.height, time_ms=header.time_ms, gas=gas)
        naive_rules.require("chain_inputs", body.chain_inputs == expected)
        plan = Plan(
            self.spec,
            parent.state,
            parent.window,
            NATIVE,
            height=Height(header.height),
            round_=header.round,
            time_ms=header.time_ms,
        )
        plan.skip = dict.fromkeys(header.skipped)
        for waiting in inbox.due(
            parent.state, height=header.height, time_ms=header.time_ms, gas=gas
        ):
            prepare.add_waiting(plan, waiting)
        for message in shown.messages:
            rule = prepare.add_message(plan, message)
            naive_rules.require(f"message: {rule}", rule is None)
        settle.run(plan)
        changes = {
            key: value for key, value in settle.changes(plan).items() if not key.startswith(b"s/")
        }
        return naive_rules.Done(changes, plan.receipts, plan.spent_gas)

    def complete(
        self,
        step: Step,
        header: naive_records.Header,
        body: naive_records.Body,
        messages: Sequence[Message],
    ) -> Shown:
        """The same choices with every derived field as it must be, where they can be derived."""
        judge, parent = self.judge, step.naive
        divider = naive_rules.divider()
        header = header._replace(
            randomness=judge.randomness(parent, header),
            inputs_root=list_root([*body.chain_inputs, divider, *body.messages]),
            facts_root=list_root(body.facts),
        )
        certificate = body.parent_certificate
        if certificate and header.parent_certificate is not None:
            header = header._replace(parent_certificate=id_of(certificate))
        shown = Shown(header.raw(), body.raw(), tuple(messages))
        try:
            parsed = [naive_records.message_of(message.raw) for message in messages]
            done = self.run(parent, step.parent, shown)
            certified = naive_records.certificate_of(certificate) if certificate else None
            values = judge.changed(parent, header, body, certified, parsed, done)
        except (Bad, IndexError, OverflowError, AssertionError):
            return shown  # a place that no state follows from
        header = header._replace(
            gas_used=done.gas_used,
            receipts_root=list_root(done.receipts),
            next_table=table_of(values[b"c/table"]).hash,
            state_root=map_root(values),
        )
        return Shown(header.raw(), body.raw(), tuple(messages))

    def agreed(self, step: Step, shown: Shown) -> str | None:
        """The rule that both find broken, null: valid. AssertionError where they differ."""
        mine, outcome = self.ours(step.parent, shown)
        theirs, after = self.naive(step.naive, step.parent, shown)
        assert (mine is None) == (theirs is None), f"ours {mine!r}, naive {theirs!r}"
        if outcome is not None and after is not None:
            assert outcome.map.root == map_root(after.values)
        return theirs

    # ---- the chain ------------------------------------------------------------------------------

    def walk(self, blocks: Sequence[tuple[Block, tuple[Message, ...]]]) -> list[Step]:
        """Every block judged valid by both, with equal states; what each one stood on."""
        parent = genesis_parent(self.spec)
        values = dict(parent.state.scan(b"", limit=10**6))
        own = naive_rules.genesis_values(self.judge.spec)
        assert {key: values.get(key) for key in own} == own, "leaves of the genesis"
        assert parent.header.fields.state_root == map_root(values)
        steps = []
        for block, messages in blocks:
            header = naive_records.header_of(parent.header.raw)
            naive = naive_rules.Parent(header, id_of(parent.header.raw), values)
            step = Step(parent, naive, block, messages)
            mine, outcome = self.ours(parent, step.shown)
            theirs, after = self.naive(naive, parent, step.shown)
            assert (mine, theirs) == (None, None), f"height {block.height}: {mine}, {theirs}"
            assert outcome is not None and after is not None
            steps.append(step)
            parent, values = ours.advance(parent, outcome, MemoryState(after.values)), after.values
            parent = replace(parent, window=Window.load(parent.state))  # else it moves in place
        return steps


def simulated(seed: int, *, seconds: int, slots: int = 12) -> tuple[Cluster, Lab]:
    """A cluster that ran so long: transfers, a game of ping-pong, the hill, one false vote."""
    parameters = small_parameters(slots=slots, difficulty_bits_min=2)
    agents = tuple([(each.name, each.code, each.init) for each in demo_agents()[1:]])
    cluster = Cluster(nodes=4, seed=seed, parameters=parameters, agents=agents, hill_nonces=12)
    cluster.start()
    hosts = list(cluster.hosts.values())
    start = cluster.message(0, "ping", "Start", {"delay_ms": 700, "rounds": 9}, pay=50_000)
    cluster.submit(hosts[0], start)
    for number in range(seconds):
        message = cluster.transfer(number % 4, (number + 1) % 4, 1 + number)
        cluster.submit(hosts[number % 4], message)
        cluster.run(1.0)
    cluster.check()
    return cluster, Lab(cluster.spec, cluster.keys.verify)
