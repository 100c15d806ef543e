"""Phase 1: which inputs a block has, may have, and what each reserves (execution §4, protocol §9).

One walk serves both sides: a proposer leaves out what `add_message` refuses, a validator refuses
the block. Agents that share the balances (tokens) run here, serially.
"""

from consensus.ids import Agent, Id
from consensus.messages import REJECTED, SEND, SKIPPED, Message
from node.execution.inbox import Waiting
from node.execution.limits import MESSAGE_BYTES_TOTAL_MAX
from node.execution.plan import Plan
from node.execution.ports import Input, Result
from node.execution.prices import MESSAGE_GAS, RESERVE_GAS, weight
from node.execution.settle import batch_of, settle
from node.execution.transfers import TOKEN_CODE, read_transfer, transfer

# Rules that a message may break; a block that includes such a message is invalid by that name.
CHAIN = "message_chain"  # signed for another chain, or sent to one
EXPIRY = "message_expiry"
DUPLICATE = "message_duplicate"
AFTER = "message_after"
GAS = "message_gas"  # less than the least price
PAYER = "message_payer"  # cannot cover gas_max
BLOCK_MESSAGES = "block_messages"
BLOCK_BYTES = "block_bytes"
BLOCK_GAS = "block_gas"
FULL = (BLOCK_MESSAGES, BLOCK_BYTES, BLOCK_GAS)  # says nothing against the message
FOR_NOW = (*FULL, AFTER)  # may be includable in a later block


def add_waiting(plan: Plan, waiting: Waiting) -> None:
    """Take one chain-made input out of its queue and into the block."""
    item = waiting.item
    plan.overlay.put(waiting.key, None)
    if item.kind == SEND:
        plan.count(item.sender, delivered=1)
    else:
        plan.count(item.sender, reminders=-1)
    index = len(plan.ids)
    _route(
        plan, Input(item.id, index, item.kind, item.sender, item.data, item.gas, item.pay), item.to
    )


def add_message(plan: Plan, message: Message) -> str | None:
    """Include an account's message and reserve its tokens; the rule it breaks if it may not be.

    Its signature was verified before. Nothing changes where a rule is returned.
    """
    height, ledger = plan.height, plan.ledger
    rule = _refuse(plan, message, height)
    if rule is not None:
        return rule
    agent, gas, pay, sender = message.to.agent, message.gas_max, message.pay, message.sender
    plan.included[message.id] = None
    plan.message_ids.append(message.id)
    plan.message_bytes += len(message.raw)
    seen = plan.seen.get(message.expires_height)
    if seen is None:
        seen = plan.seen[message.expires_height] = []
    seen.append(message.id)
    if plan.fast and not pay and message.to.capability is None and message.id not in plan.skip:
        record = plan.record(agent)
        if record is not None and record.code == TOKEN_CODE:
            terms = read_transfer(message.data)
            if terms is not None:
                transfer(plan, message, *terms)
                return None
    index = len(plan.ids)
    reserved = ledger.take(sender, gas)
    assert reserved, "judged just before"
    if not ledger.take(sender, pay):
        item = Input(Id(message.id), index, "message", sender, message.data, gas, 0)
        _conclude(plan, item, agent, "NoFunds")
        return None
    item = Input(Id(message.id), index, "message", sender, message.data, gas, pay)
    if message.to.capability is not None:
        _conclude(plan, item, agent, "NoCapability")  # none has been issued yet
        return None
    _route(plan, item, agent)
    return None


def _refuse(plan: Plan, message: Message, height: int) -> str | None:
    """The rule by which the message may not stand at this place, in the order of their cost."""
    parameters = plan.spec.parameters
    if message.chain != plan.chain or message.to.chain != plan.chain:
        return CHAIN
    if not height <= message.expires_height <= height + parameters.expiry_max_blocks:
        return EXPIRY
    if message.id in plan.included or plan.window.heights.get(message.id, height) < height:
        return DUPLICATE
    if message.after is not None and not plan.was_included(message.after):
        return AFTER
    if message.gas_max < MESSAGE_GAS:
        return GAS
    if plan.ledger.balance(message.sender) < message.gas_max:
        return PAYER
    if len(plan.message_ids) >= parameters.block_messages_max:
        return BLOCK_MESSAGES
    if plan.message_bytes + len(message.raw) > MESSAGE_BYTES_TOTAL_MAX:
        return BLOCK_BYTES
    if plan.spent_gas + MESSAGE_GAS > plan.gas_limit:
        return BLOCK_GAS
    return None


def _route(plan: Plan, item: Input, agent: Agent) -> None:
    """Give an input its place; run it now, later, or not at all."""
    if item.id in plan.skip:
        plan.skipped.append(item.id)
        _enter(plan, item)
        settle(plan, item, agent, Result(SKIPPED, "", b"", RESERVE_GAS))
        return
    record = plan.record(agent)
    if record is None:
        _conclude(plan, item, agent, "UnknownAgent")
        return
    _enter(plan, item)
    if plan.tier.is_shared(record.code):
        batch = batch_of(plan, agent, (item,))
        (result,) = plan.tier.run_shared(batch, plan.overlay, plan.ledger)
        settle(plan, item, agent, result)
        return
    plan.pending.setdefault(agent, []).append(item)


def _enter(plan: Plan, item: Input) -> None:
    plan.ids.append(item.id)
    plan.receipts.append(b"")
    plan.spent_gas += weight(None, item.gas)


def _conclude(plan: Plan, item: Input, agent: Agent, code: str) -> None:
    """An input that is refused before any handler sees it."""
    if item.id in plan.skip:
        plan.skipped.append(item.id)
        result = Result(SKIPPED, "", b"", RESERVE_GAS)
    else:
        result = Result(REJECTED, code, b"", RESERVE_GAS)
    _enter(plan, item)
    settle(plan, item, agent, result)
