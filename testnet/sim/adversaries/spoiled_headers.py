"""One block for each rule of header, body and execution, that breaks this rule and no earlier one.

A row returns null where its rule cannot be broken at this height.
"""

from consensus.block import Block
from consensus.certificates import Certificate
from consensus.encoding import ROUND_MAX
from consensus.ids import Account, BlockId, Hash, Height, Id, MessageId, Round, Slot, content_id
from consensus.proposers import next_randomness
from consensus.validity import SKIP_ROUND_MIN
from node.execution.prices import MESSAGE_GAS
from testnet.sim.adversaries.bench import ELSEWHERE, Bench, Table
from testnet.sim.adversaries.pen import NOWHERE, with_body, with_fields

JUNK = Hash(b"\x55" * 32)
MANY_IDS = 4_096
RANK_FAR = 10_000


def _ids(count: int) -> tuple[Id, ...]:
    return tuple([Id(content_id(number.to_bytes(4, "big"))) for number in range(count)])


def _parent_time(bench: Bench) -> Block:
    before = bench.pen.host.core
    assert before is not None, "it builds while its host is up"
    return with_fields(bench.block, time_ms=before.engine.machine.tip.header.fields.time_ms)


def _fat_body(bench: Bench) -> Block:
    ids = _ids(3 * MANY_IDS)
    messages = tuple([MessageId(each) for each in ids[2 * MANY_IDS :]])
    return with_body(bench.block, chain_inputs=ids[: 2 * MANY_IDS], messages=messages)


def _many_messages(bench: Bench) -> Block:
    count = bench.pen.host.spec.parameters.block_messages_max + 1
    return with_body(bench.block, messages=tuple([MessageId(each) for each in _ids(count)]))


def _many_facts(bench: Bench) -> Block:
    epoch, count = bench.view.epoch + 1, bench.pen.host.spec.parameters.facts_max + 1
    strangers = [bench.stranger(str(number)) for number in range(count)]
    return bench.with_facts(*[bench.pen.renew(epoch, peer=peer) for peer in strangers])


def _input_twice(bench: Bench) -> Block:
    message = bench.message()
    return bench.with_messages(message, message)


def _gas_beyond(bench: Bench) -> Block:
    limit = bench.pen.host.spec.parameters.gas(bench.height, bench.order.round)
    return with_fields(bench.block, gas_used=limit + 1)


def _skip_early(bench: Bench) -> Block:
    return with_fields(bench.block, skipped=(bench.block.body.inputs[0],))


def _skip_unknown(bench: Bench) -> Block:
    return with_fields(bench.block, round=Round(SKIP_ROUND_MIN), skipped=(Id(NOWHERE),))


def _other_slot(bench: Bench) -> Block:
    slots = bench.pen.host.spec.parameters.slots
    return with_fields(bench.block, proposer_slot=Slot((bench.order.proposer_slot + 1) % slots))


def _false_reveal(bench: Bench) -> Block | None:
    core = bench.pen.host.core
    if not bench.view.ranked or core is None:
        return None
    before = core.engine.machine.tip.header.fields.randomness
    return with_fields(bench.block, reveal=JUNK, randomness=next_randomness(before, JUNK))


def _light_certificate(bench: Bench) -> Block | None:
    """Signed by too few of the parent's table."""
    raw = bench.order.parent_certificate
    if not raw:
        return None
    votes = Certificate.decode(raw).votes()
    return with_body(bench.block, parent_certificate=Certificate.of(votes[:1]).raw)


def _included_before(bench: Bench) -> Block | None:
    for _, _, messages in reversed(bench.pen.host.disk.chain):
        for message in messages:
            if message.expires_height >= bench.height:
                return bench.with_messages(message)
    return None


def _gas_of_all(bench: Bench) -> Block | None:
    parameters = bench.pen.host.spec.parameters
    count = parameters.gas(bench.height, bench.order.round) // MESSAGE_GAS + 1
    if count > parameters.block_messages_max:
        return None
    return bench.with_messages(*[bench.message() for _ in range(count)])


HEADERS: Table = {
    # consensus/validity.py, in its order
    "chain": lambda bench: with_fields(bench.block, chain=ELSEWHERE),
    "height": lambda bench: with_fields(bench.block, height=Height(bench.height + 1)),
    "parent": lambda bench: with_fields(bench.block, parent=BlockId(NOWHERE)),
    "epoch": lambda bench: with_fields(bench.block, epoch=bench.order.epoch + 1),
    "round": lambda bench: with_fields(bench.block, round=ROUND_MAX + 1),
    "time": _parent_time,
    "main_ref": lambda bench: with_fields(bench.block, main_ref=1),
    "body bytes": _fat_body,
    "messages max": _many_messages,
    "facts max": _many_facts,
    "inputs once": _input_twice,
    "gas": _gas_beyond,
    "facts_root": lambda bench: with_fields(bench.block, facts_root=JUNK),
    "inputs_root": lambda bench: with_fields(bench.block, inputs_root=JUNK),
    "skipped round": _skip_early,
    "skipped inputs": _skip_unknown,
    "empty": lambda bench: with_body(bench.block, chain_inputs=(), messages=()),
    "randomness": lambda bench: with_fields(bench.block, randomness=JUNK),
    "rank": lambda bench: with_fields(bench.block, rank=RANK_FAR),
    "proposer_slot": _other_slot,
    "reveal": _false_reveal,
    "parent_certificate": _light_certificate,
    # node/execution/block.py and prepare.py
    "chain_inputs": lambda bench: with_body(bench.block, chain_inputs=(Id(NOWHERE),)),
    "message_chain": lambda bench: bench.with_messages(bench.message(to_chain=ELSEWHERE)),
    "message_expiry": lambda bench: bench.with_messages(bench.message(expires=bench.height - 1)),
    "message_duplicate": _included_before,
    "message_after": lambda bench: bench.with_messages(bench.message(after=MessageId(NOWHERE))),
    "message_gas": lambda bench: bench.with_messages(bench.message(gas=MESSAGE_GAS - 1)),
    "message_payer": lambda bench: bench.with_messages(
        bench.message(sender=Account(bench.stranger("account")))
    ),
    "block_gas": _gas_of_all,
    "gas_used": lambda bench: with_fields(
        bench.block, gas_used=bench.block.header.fields.gas_used - 1
    ),
    "receipts_root": lambda bench: with_fields(bench.block, receipts_root=JUNK),
    "outputs_root": lambda bench: with_fields(bench.block, outputs_root=JUNK),
    "next_table": lambda bench: with_fields(bench.block, next_table=JUNK),
    "state_root": lambda bench: with_fields(bench.block, state_root=JUNK),
}
