"""Phases 2 and 3: run the agents, settle what each input costs and changes (execution §4).

Settling is serial, by message index, then effect index. Knows no handler.
"""

from consensus.ids import Agent, Id
from consensus.messages import OK, Queued, Receipt
from node.execution.keys import (
    REMINDERS,
    encode_seen,
    outbox_key,
    reminder_key,
    seen_key,
    seen_prefix,
)
from node.execution.limits import QUEUE_ITEMS_MAX
from node.execution.plan import Plan
from node.execution.ports import Batch, HostFault, Input, Result
from node.sdk.context import Effect, Queue


def batch_of(plan: Plan, agent: Agent, inputs: tuple[Input, ...]) -> Batch:
    """The inputs of one agent with what it may spend and queue as of now."""
    record = plan.known(agent)
    return Batch(
        chain=plan.chain,
        agent=agent,
        code=record.code,
        height=plan.height,
        time_ms=plan.time_ms,
        balance=plan.ledger.balance(agent),
        queue_room=QUEUE_ITEMS_MAX - record.queued,
        inputs=inputs,
    )


def run(plan: Plan) -> None:
    """Phase 2 for every agent with pending inputs, then phase 3 for all of them.

    Agents see their own state and what phase 1 left, so their order does not matter.
    """
    done: list[tuple[int, Input, Agent, Result]] = []
    for agent, inputs in plan.pending.items():
        results = plan.tier.run(batch_of(plan, agent, tuple(inputs)), plan.overlay)
        if len(results) != len(inputs):
            raise HostFault("a tier returned another number of results")
        for item, result in zip(inputs, results, strict=True):
            done.append((item.position, item, agent, result))
    done.sort(key=lambda each: each[0])
    for _, item, agent, result in done:
        settle(plan, item, agent, result)


def settle(plan: Plan, item: Input, agent: Agent, result: Result) -> None:
    """Charge and refund the payer, hand over the pay, apply changes and effects, write the receipt.

    Invariant: tokens reserved for the input = burned + refunded + paid + queued.
    """
    ledger = plan.ledger
    back = item.gas - result.gas
    effects: list[Id] = []
    if result.status == OK:
        ledger.add(agent, item.pay)
        for key, value in result.changes.items():
            plan.overlay.put(key, value)
        for effect in result.effects:
            back -= _apply(plan, agent, effect, effects)
        for event in result.events:
            plan.events.append((item.position, event))
    else:
        back += item.pay
    assert back >= 0, "a tier spends no more than the gas of its input"
    ledger.add(item.sender, back)
    plan.burned += result.gas
    plan.receipts[item.position] = Receipt(
        item.id,
        plan.height,
        item.position,
        result.status,
        result.code,
        result.data,
        result.gas,
        result.events,
        effects,
    ).encode()


def _apply(plan: Plan, agent: Agent, effect: Effect, queued: list[Id]) -> int:
    """Apply one effect; tokens of the message's gas that it takes along."""
    if not isinstance(effect, Queue):
        _cancel(plan, agent, effect.handle)
        return 0
    item = effect.item
    queued.append(item.id)
    covered = plan.ledger.take(agent, effect.own)
    assert covered, "a tier spends no more than the agent's balance"
    if effect.at_ms is None:
        plan.overlay.put(outbox_key(agent, plan.known(agent).sent), item.encode())
        plan.count(agent, sent=1)
    else:
        plan.overlay.put(reminder_key(effect.at_ms, item.id), item.encode())
        plan.count(agent, reminders=1)
    return item.gas + item.pay - effect.own


def _cancel(plan: Plan, agent: Agent, handle: bytes) -> None:
    """Take back a reminder that still waits and is the agent's own; its gas returns."""
    key = REMINDERS + handle
    raw = plan.overlay.get(key)
    item = None if raw is None else Queued.decode(raw)
    if item is not None and item.to == agent:
        plan.overlay.put(key, None)
        plan.ledger.add(agent, item.gas)
        plan.count(agent, reminders=-1)


def changes(plan: Plan) -> dict[bytes, bytes | None]:
    """All state changes of the block's inputs, the dedupe leaves included (protocol §9)."""
    plan.write_records()
    found = plan.overlay.changes | plan.ledger.changes()
    for expires, ids in plan.seen.items():
        found[seen_key(expires, plan.height)] = encode_seen(ids)
    if plan.height:
        found.update(_expired(plan))
    return found


def _expired(plan: Plan) -> dict[bytes, bytes | None]:
    """Leaves of messages that expired before this block are dropped whole: none can come again."""
    found: dict[bytes, bytes | None] = {}
    prefix, after = seen_prefix(plan.height - 1), b""
    while pairs := plan.state.scan(prefix, after):
        found.update(dict.fromkeys([key for key, _ in pairs]))
        after = pairs[-1][0]
    return found
