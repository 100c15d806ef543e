"""A block as a pure function of its parent's state: build one, or execute one and compare
(execution §4, protocol §8). No clock, no pool, no peer takes part.
"""

from collections.abc import Sequence
from dataclasses import replace

from consensus import merkle, transition
from consensus.block import Block, Body, Header, HeaderFields
from consensus.certificates import Certificate
from consensus.errors import InvalidBlock
from consensus.facts import Fact
from consensus.ids import Hash, Id, content_id
from consensus.leaves import view
from consensus.messages import Message
from consensus.proposers import next_randomness
from consensus.spec import ChainSpec
from consensus.state import Overlay, State
from consensus.validity import check_header
from node.execution import inbox, prepare, settle
from node.execution.faults import GuardedState, only_the_block_to_blame
from node.execution.limits import SKIP_ROUND
from node.execution.plan import Plan
from node.execution.ports import Built, Outcome, Parent, Place
from node.execution.registry import NATIVE

# Recomputed from the parent's state and compared, in this order; a mismatch has the field's name.
COMPUTED = ("gas_used", "receipts_root", "outputs_root", "next_table", "state_root")


def build(
    spec: ChainSpec,
    parent: Parent,
    place: Place,
    messages: Sequence[Message],
    *,
    skip: Sequence[Id] = (),
    fast: bool = True,
) -> Built:
    """A block at `place` with the chain's own inputs and what fits of `messages`, in their order.

    Messages are verified; what may not be included is left out and named in `refused`; facts that
    the block may not hold are left out. `skip`: inputs that faulted on this host; from round 4 on
    they are listed as skipped, before that the messages among them are left out. `place.skipped`
    is not read. Raises HostFault.
    """
    with only_the_block_to_blame():
        return _build(spec, guarded(parent), place, messages, skip=skip, fast=fast)


def _build(
    spec: ChainSpec,
    parent: Parent,
    place: Place,
    messages: Sequence[Message],
    *,
    skip: Sequence[Id],
    fast: bool,
) -> Built:
    plan = _plan(spec, parent, place, fast=fast)
    skipping = place.round >= SKIP_ROUND
    left_out: dict[bytes, None] = {} if skipping else dict.fromkeys(skip)
    plan.skip = dict.fromkeys(skip) if skipping else {}
    chain_inputs = _add_waiting(plan, parent, place)
    refused = []
    for message in messages:
        if message.id in left_out:
            continue
        rule = prepare.add_message(plan, message)
        if rule == prepare.BLOCK_GAS or rule == prepare.BLOCK_MESSAGES:
            break
        if rule is not None and rule not in prepare.FOR_NOW:
            refused.append((message.id, rule))
    if not plan.ids and not _may_be_empty(spec, parent, place):
        return Built(None, None, tuple(refused))
    facts = transition.choose_facts(
        spec,
        parent.state,
        height=place.height,
        time_ms=place.time_ms,
        certificate=_certificate(place.parent_certificate),
        candidates=_well_formed(place.facts),
    )
    body = Body.of(
        parent_certificate=place.parent_certificate,
        facts=tuple([fact.raw for fact in facts]),
        chain_inputs=chain_inputs,
        messages=tuple(plan.message_ids),
    )
    outcome = _finish(parent, place, plan, body, facts)
    return Built(Block(outcome.header, body), outcome, tuple(refused))


def execute(
    spec: ChainSpec,
    parent: Parent,
    block: Block,
    messages: Sequence[Message],
    *,
    fast: bool = True,
) -> Outcome:
    """What a block does, if every rule holds and every field of its header is what execution says.

    `messages`: the verified bodies of `block.body.messages`, in that order. Raises InvalidBlock
    with the rule that is broken, HostFault where this host failed.
    """
    assert tuple([each.id for each in messages]) == block.body.messages, "bodies are of this block"
    with only_the_block_to_blame():
        return _execute(spec, guarded(parent), block, messages, fast=fast)


def _execute(
    spec: ChainSpec, parent: Parent, block: Block, messages: Sequence[Message], *, fast: bool
) -> Outcome:
    fields, body = block.header.fields, block.body
    check_header(spec, parent.header, parent.view, block)
    facts = transition.decode_facts(body.facts)
    place = place_of(block)
    plan = _plan(spec, parent, place, fast=fast)
    plan.skip = dict.fromkeys(fields.skipped)
    if _add_waiting(plan, parent, place) != body.chain_inputs:
        raise InvalidBlock("chain_inputs", "not what the state says is due")
    for message in messages:
        rule = prepare.add_message(plan, message)
        if rule is not None:
            raise InvalidBlock(rule)
    outcome = _finish(parent, place, plan, body, facts)
    computed = outcome.header.fields
    for name in COMPUTED:
        if getattr(computed, name) != getattr(fields, name):
            raise InvalidBlock(name, "not what execution gives")
    if outcome.header.raw != block.header.raw:
        raise InvalidBlock("header", "differs from what its body and parent give")
    return outcome


def place_of(block: Block) -> Place:
    """The part of a block that its proposer chose."""
    fields, body = block.header.fields, block.body
    return Place(
        height=fields.height,
        round=fields.round,
        epoch=fields.epoch,
        parent=fields.parent,
        parent_certificate=body.parent_certificate,
        proposer_slot=fields.proposer_slot,
        rank=fields.rank,
        time_ms=fields.time_ms,
        reveal=fields.reveal,
        facts=body.facts,
        skipped=fields.skipped,
    )


def advance(parent: Parent, outcome: Outcome, state: State | None = None) -> Parent:
    """The parent of the next height, once `outcome` is certified.

    `state` is the state after it; without one, the changes are laid over the old state (tests,
    candidates of the next height before the store has this one). The window moves on in place.
    """
    parent.window.commit(outcome.header.height, outcome.seen)
    after = Overlay(parent.state, outcome.changes) if state is None else state
    return Parent(outcome.header, after, outcome.map, outcome.view, parent.window)


def guarded(parent: Parent) -> Parent:
    """The same with a state whose failing reads are faults of this host."""
    return replace(parent, state=GuardedState(parent.state))


# ---- the phases ---------------------------------------------------------------------------------


def _plan(spec: ChainSpec, parent: Parent, place: Place, *, fast: bool) -> Plan:
    plan = Plan(
        spec,
        parent.state,
        parent.window,
        NATIVE,
        height=place.height,
        round_=place.round,
        time_ms=place.time_ms,
    )
    plan.fast = fast
    return plan


def _add_waiting(plan: Plan, parent: Parent, place: Place) -> tuple[Id, ...]:
    waiting = inbox.due(
        parent.state, height=place.height, time_ms=place.time_ms, gas=plan.gas_limit
    )
    for each in waiting:
        prepare.add_waiting(plan, each)
    return tuple([each.item.id for each in waiting])


def _finish(parent: Parent, place: Place, plan: Plan, body: Body, facts: Sequence[Fact]) -> Outcome:
    """Phases 2 and 3, the protocol's own transition, the roots."""
    settle.run(plan)
    changes = settle.changes(plan)
    spec = plan.spec
    randomness = next_randomness(parent.header.fields.randomness, place.reveal)
    fields = HeaderFields(
        chain=spec.id,
        height=place.height,
        round=place.round,
        epoch=place.epoch,
        parent=place.parent,
        parent_certificate=content_id(body.parent_certificate) if body.parent_certificate else None,
        proposer_slot=place.proposer_slot,
        rank=place.rank,
        time_ms=place.time_ms,
        reveal=place.reveal,
        randomness=randomness,
        next_table=Hash(b""),
        inputs_root=merkle.root(body.input_leaves),
        outputs_root=merkle.root(()),
        receipts_root=merkle.root(plan.receipts),
        state_root=Hash(b""),
        facts_root=merkle.root(body.facts),
        gas_used=plan.spent_gas,
        skipped=tuple(plan.skipped),
        main_ref=parent.header.fields.main_ref,
    )
    certificate = _certificate(body.parent_certificate)
    changes |= transition.apply(spec, parent.state, fields, certificate=certificate, facts=facts)
    after = Overlay(parent.state, changes)
    next_view = view(spec, after, place.height)
    state_map = parent.map.update(changes)
    fields = fields._replace(next_table=next_view.table.hash, state_root=state_map.root)
    plan.events.sort(key=lambda each: each[0])
    return Outcome(
        header=Header.of(fields),
        changes=changes,
        map=state_map,
        view=next_view,
        receipts=tuple(plan.receipts),
        events=tuple(plan.events),
        seen=plan.seen,
        due_ms=inbox.next_due_ms(after),
        burned=plan.burned,
    )


def _may_be_empty(spec: ChainSpec, parent: Parent, place: Place) -> bool:
    """Rounds ≥ 1, or a heartbeat (protocol §5)."""
    beat_ms = 1000 * spec.parameters.heartbeat_s
    late = place.time_ms >= parent.header.fields.time_ms + beat_ms
    return place.round >= 1 or (beat_ms > 0 and late)


def _certificate(raw: bytes) -> Certificate | None:
    return Certificate.decode(raw) if raw else None


def _well_formed(raws: Sequence[bytes]) -> list[Fact]:
    """Facts of a pool; whatever does not decode is left out."""
    facts: list[Fact] = []
    for raw in raws:
        try:
            facts += transition.decode_facts((raw,))
        except InvalidBlock:
            continue
    return facts
