"""Height 0: the state that a chain specification describes (protocol §3)."""

from consensus import merkle, transition
from consensus.block import Header, HeaderFields
from consensus.encoding import H
from consensus.errors import SpecError
from consensus.ids import (
    BlockId,
    Epoch,
    Height,
    Round,
    Slot,
    id_of_hash,
)
from consensus.leaves import view
from consensus.messages import FAILED, OK
from consensus.proposers import genesis_randomness
from consensus.spec import ChainSpec, GenesisAgent, agent_id
from consensus.state import MemoryState, Overlay
from consensus.statemap import StateMap
from node.execution import inbox, settle
from node.execution.keys import AgentRecord
from node.execution.plan import Plan
from node.execution.ports import Input, Outcome, Parent
from node.execution.prices import MESSAGE_GAS
from node.execution.registry import NATIVE
from node.execution.window import Window

NO_PARENT = BlockId(id_of_hash(bytes(32)))


def genesis(spec: ChainSpec) -> Outcome:
    """Header, state and view of height 0. Raises SpecError for agents that cannot start.

    Genesis costs no gas, so what `init` sends or remembers must be paid by the agent's own balance.
    """
    first = transition.genesis(spec)
    start = MemoryState({key: raw for key, raw in first.items() if raw is not None})
    plan = Plan(
        spec,
        start,
        Window(),
        NATIVE,
        height=Height(0),
        round_=0,
        time_ms=spec.genesis_time_ms,
    )
    for agent in spec.genesis_agents:
        _create(plan, agent)
    changes = first | settle.changes(plan)
    state = Overlay(MemoryState(), changes)
    state_map = StateMap.empty().update(changes)
    coming = view(spec, state, 0)
    header = HeaderFields(
        chain=spec.id,
        height=Height(0),
        round=Round(0),
        epoch=Epoch(0),
        parent=NO_PARENT,
        parent_certificate=None,
        proposer_slot=Slot(0),
        rank=0,
        time_ms=spec.genesis_time_ms,
        reveal=None,
        randomness=genesis_randomness(spec.seed),
        next_table=coming.table.hash,
        inputs_root=merkle.root(()),
        outputs_root=merkle.root(()),
        receipts_root=merkle.root(()),
        state_root=state_map.root,
        facts_root=merkle.root(()),
        gas_used=0,
        skipped=(),
        main_ref=None,
    )
    return Outcome(
        header=Header.of(header),
        changes=changes,
        map=state_map,
        view=coming,
        receipts=(),
        events=tuple(plan.events),
        seen={},
        due_ms=inbox.next_due_ms(state),
        burned=0,
    )


def genesis_parent(spec: ChainSpec) -> Parent:
    """What height 1 stands on, in memory."""
    outcome = genesis(spec)
    pairs = {key: raw for key, raw in outcome.changes.items() if raw is not None}
    return Parent(outcome.header, MemoryState(pairs), outcome.map, outcome.view, Window())


def _create(plan: Plan, agent: GenesisAgent) -> None:
    """Register the agent and run its `init`, free of charge."""
    if not NATIVE.knows(agent.code):
        raise SpecError(f"agent {agent.name!r}: this version has no code {agent.code!r}")
    identifier = agent_id(agent.name)
    plan.records[identifier] = AgentRecord(agent.code)
    plan.touched[identifier] = None
    message = id_of_hash(H("init", identifier))
    item = Input(message, len(plan.ids), "init", identifier, agent.init, MESSAGE_GAS, 0)
    plan.ids.append(message)
    plan.receipts.append(b"")
    batch = settle.batch_of(plan, identifier, (item,))
    (result,) = NATIVE.run(batch, plan.overlay)
    if result.status != OK:
        cause = result.code if result.status == FAILED else f"{result.status} {result.code}"
        raise SpecError(f"agent {agent.name!r}: init: {cause}")
    settle.settle(plan, item._replace(gas=result.gas), identifier, result)
