"""Height 0: the state that a chain specification describes (protocol §3), or continues (§10)."""

from collections.abc import Iterable
from dataclasses import dataclass

from consensus import merkle, transition
from consensus.block import Header, HeaderFields
from consensus.certificates import Certificate
from consensus.encoding import H
from consensus.errors import ContinuesMismatch, EncodingError, SpecError
from consensus.ids import (
    BlockId,
    Epoch,
    Height,
    Round,
    Slot,
    id_of_hash,
)
from consensus.leaves import OWN_PREFIX, view
from consensus.messages import FAILED, OK
from consensus.proposers import genesis_randomness
from consensus.spec import ChainSpec, Continues, GenesisAgent, agent_id
from consensus.state import MemoryState, Overlay, Pair
from consensus.statemap import StateMap
from node.execution import inbox, settle
from node.execution.keys import SEEN, AgentRecord, agent_key
from node.execution.plan import Plan
from node.execution.ports import Input, Outcome, Parent
from node.execution.prices import MESSAGE_GAS
from node.execution.registry import NATIVE
from node.execution.window import Window

NO_PARENT = BlockId(id_of_hash(bytes(32)))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state after a certified block of another chain, and that block's header."""

    header: Header
    pairs: dict[bytes, bytes]

    @classmethod
    def of(cls, header: Header, pairs: Iterable[Pair]) -> "Snapshot":
        return cls(header, dict(pairs))


def continues(snapshot: Snapshot, certificate: Certificate) -> Continues:
    """What the specification of a chain that goes on from this state names. Raises
    ContinuesMismatch where block, certificate and state do not belong together."""
    fields = snapshot.header.fields
    made = Continues(fields.chain, fields.height, fields.state_root, certificate.raw)
    _check_snapshot(made, snapshot)
    return made


def genesis(spec: ChainSpec, snapshot: Snapshot | None = None) -> Outcome:
    """Header, state and view of height 0. Raises SpecError for agents that cannot start.

    Genesis costs no gas, so what `init` sends or remembers must be paid by the agent's own balance.
    `snapshot`: the state that the specification continues with, needed iff it continues a chain;
    raises ContinuesMismatch for any other.
    """
    taken = _taken_over(spec, snapshot)
    first = taken | transition.genesis(spec)
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
        if agent_key(agent_id(agent.name)) not in taken:
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


def _taken_over(spec: ChainSpec, snapshot: Snapshot | None) -> transition.Changes:
    """The old state without what is of the old chain alone: its slots, and the ids of its messages,
    which name that chain and so cannot come again (§9, §10)."""
    if (spec.continues is None) != (snapshot is None):
        cause = "its state is needed" if snapshot is None else "it continues no chain"
        raise ContinuesMismatch(f"the chain {spec.name}: {cause}")
    if spec.continues is None or snapshot is None:
        return {}
    _check_snapshot(spec.continues, snapshot)
    if spec.genesis_time_ms <= snapshot.header.fields.time_ms:
        raise ContinuesMismatch("genesis_time_ms is not after the block that is continued")
    gone = (OWN_PREFIX, SEEN)
    return {key: raw for key, raw in snapshot.pairs.items() if not key.startswith(gone)}


def _check_snapshot(named: Continues, snapshot: Snapshot) -> None:
    """Cheap checks first; the root of the whole state last."""
    fields = snapshot.header.fields
    try:
        certificate = Certificate.decode(named.certificate)
    except EncodingError as error:
        raise ContinuesMismatch(str(error)) from error
    certified = (certificate.chain, certificate.height, certificate.block)
    if certified != (fields.chain, fields.height, snapshot.header.id):
        raise ContinuesMismatch("the certificate is of another block")
    if (named.chain, named.height) != (fields.chain, fields.height):
        raise ContinuesMismatch("the block is of another chain or height")
    root = StateMap.of(snapshot.pairs.items()).root
    if not named.state_root == fields.state_root == root:
        raise ContinuesMismatch("the state does not have the root that is continued")


def genesis_parent(spec: ChainSpec, snapshot: Snapshot | None = None) -> Parent:
    """What height 1 stands on, in memory."""
    outcome = genesis(spec, snapshot)
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
