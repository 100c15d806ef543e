"""What may stand in a block, and what each message comes to (execution §4, protocol §9)."""

import pytest

from consensus.encoding import H, decode, encode, head
from consensus.errors import InvalidBlock
from consensus.ids import Agent, ChainId, Hash, id_of_hash
from consensus.messages import Reference, encode_data
from node.execution import prepare
from node.execution.block import execute
from node.execution.limits import MESSAGE_BYTES_TOTAL_MAX
from node.execution.prices import MESSAGE_GAS
from tests.node.execution.lab import (
    ALICE,
    BOB,
    CAROL,
    COUNTER,
    MILLION,
    TOKEN,
    Lab,
    receipts,
    verdicts,
)

OTHER_CHAIN = ChainId(id_of_hash(H("other chain")))


def force(lab: Lab, messages, **place):
    """Execute a block that holds exactly these messages, whatever a builder says of them."""
    honest = lab.build(*messages, **place)
    body_ids = tuple([each.id for each in messages])
    block = lab.with_body(honest, messages=body_ids)
    return execute(lab.spec, lab.parent, block, messages)


NOT_INCLUDABLE = {
    "another chain": (prepare.CHAIN, {"chain": OTHER_CHAIN}),
    "an agent of another chain": (
        prepare.CHAIN,
        {"reference": Reference(OTHER_CHAIN, TOKEN, None)},
    ),
    "expired": (prepare.EXPIRY, {"expires": 0}),
    "too far ahead": (prepare.EXPIRY, {"expires": 258}),
    "after one never included": (prepare.AFTER, {"after": id_of_hash(H("never"))}),
    "less than the least gas": (prepare.GAS, {"gas": MESSAGE_GAS - 1}),
    "gas the sender cannot cover": (prepare.PAYER, {"gas": MILLION + 1}),
}


@pytest.mark.parametrize("case", NOT_INCLUDABLE)
def test_is_not_includable(case):
    rule, terms = NOT_INCLUDABLE[case]
    lab = Lab()
    good, bad = lab.transfer(BOB, CAROL, 1), lab.transfer(ALICE, BOB, 1, **terms)
    built = lab.build(bad, good)
    assert built.block.body.messages == (good.id,), "one bad message never stops a block"
    assert built.refused == (() if rule in prepare.FOR_NOW else ((bad.id, rule),))
    with pytest.raises(InvalidBlock) as caught:
        force(lab, [bad, good])
    assert caught.value.rule == rule


@pytest.mark.parametrize("terms", [{"expires": 1}, {"expires": 257}, {"gas": MESSAGE_GAS}])
def test_at_the_bound_is_includable(terms):
    lab = Lab()
    assert verdicts(lab.step(lab.transfer(ALICE, BOB, 1, **terms))) == [("ok", "")]


def test_all_tokens_may_be_reserved_for_gas():
    lab = Lab()
    message = lab.message(ALICE, COUNTER, "Add", {}, gas=MILLION)
    assert verdicts(lab.step(message)) == [("ok", "")]
    assert lab.balance(ALICE) == MILLION - MESSAGE_GAS


OUTCOMES = {
    "a transfer": (TOKEN, "Transfer", {"to": BOB, "amount": 1}, {}, ("ok", "")),
    "nothing": (TOKEN, "Transfer", {"to": BOB, "amount": 0}, {}, ("rejected", "BadAmount")),
    "less than nothing": (
        TOKEN,
        "Transfer",
        {"to": BOB, "amount": -1},
        {},
        ("rejected", "BadAmount"),
    ),
    "too much": (TOKEN, "Transfer", {"to": BOB, "amount": MILLION}, {}, ("rejected", "NoFunds")),
    "too much, in the long form of ints": (
        TOKEN,
        "Transfer",
        {"to": BOB, "amount": [1, b"\x80" + bytes(7)]},
        {},
        ("rejected", "NoFunds"),
    ),
    "an int in a form that is not its own": (
        TOKEN,
        "Transfer",
        {"to": BOB, "amount": 2**63},
        {},
        ("rejected", "BadField"),
    ),
    "true for an int": (
        TOKEN,
        "Transfer",
        {"to": BOB, "amount": True},
        {},
        ("rejected", "BadField"),
    ),
    "text for an address": (
        TOKEN,
        "Transfer",
        {"to": "bob", "amount": 1},
        {},
        ("rejected", "BadField"),
    ),
    "a short address": (
        TOKEN,
        "Transfer",
        {"to": bytes(31), "amount": 1},
        {},
        ("rejected", "BadField"),
    ),
    "a field missing": (TOKEN, "Transfer", {"to": BOB}, {}, ("rejected", "BadField")),
    "a field too many": (
        TOKEN,
        "Transfer",
        {"to": BOB, "amount": 1, "memo": "x"},
        {},
        ("rejected", "BadField"),
    ),
    "a long name of a field": (
        COUNTER,
        "Add",
        {"é" * 4000: 1},
        {},
        ("rejected", "BadField"),
    ),
    "an unknown message": (COUNTER, "Steal", {}, {}, ("rejected", "UnknownMessage")),
    "an event's name": (COUNTER, "Changed", {"value": 1}, {}, ("rejected", "UnknownMessage")),
    "an unknown agent": (Agent(H("nobody")), "Add", {}, {}, ("rejected", "UnknownAgent")),
    "data that is no message": (
        COUNTER,
        "",
        {},
        {"data": encode(["Add", []])},
        ("rejected", "BadData"),
    ),
    "data that is not canonical": (
        COUNTER,
        "",
        {},
        {"data": b"\x82\x78\x03Add\xa0"},
        ("rejected", "BadData"),
    ),
    "no data": (TOKEN, "", {}, {"data": b""}, ("rejected", "BadData")),
    "pay that cannot be covered": (
        COUNTER,
        "Add",
        {},
        {"pay": MILLION},
        ("rejected", "NoFunds"),
    ),
    "a defaulted field": (COUNTER, "Add", {}, {}, ("ok", "")),
    "a big int": (COUNTER, "Add", {"by": [-1, b"\xff" * 31]}, {}, ("ok", "")),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_outcome_of_a_message(case):
    agent, kind, fields, terms, verdict = OUTCOMES[case]
    lab = Lab()
    bob = lab.balance(BOB)
    neighbour = lab.transfer(BOB, CAROL, 10)
    message = lab.message(ALICE, agent, kind, fields, **terms)
    outcome = lab.step(neighbour, message)
    assert verdicts(outcome) == [("ok", ""), verdict]
    receipt = receipts(outcome)[1]
    assert (receipt.message, receipt.height, receipt.index) == (message.id, 1, 1)
    assert receipt.gas == MESSAGE_GAS
    assert lab.balance(CAROL) == 10
    if verdict[0] != "ok":
        assert receipt.events == ()
        assert lab.balance(ALICE) == MILLION - MESSAGE_GAS, "a message that is not ok keeps its gas"
        assert lab.balance(BOB) == bob - 10 - MESSAGE_GAS


def test_a_rejection_carries_data():
    lab = Lab()
    outcome = lab.step(lab.message(ALICE, COUNTER, "Add", {"by": "one"}))
    assert decode(receipts(outcome)[0].data, max_bytes=256) == {"field": "by"}


def test_capabilities_do_not_exist_yet():
    lab = Lab()
    reference = Reference(lab.spec.id, TOKEN, Hash(H("guessed")))
    outcome = lab.step(lab.transfer(ALICE, BOB, 5, reference=reference))
    assert verdicts(outcome) == [("rejected", "NoCapability")]
    assert lab.balance(BOB) == MILLION


def test_pay_goes_to_the_agent_only_if_ok():
    lab = Lab()
    lab.step(
        lab.message(ALICE, COUNTER, "Add", {}, pay=500),
        lab.message(BOB, COUNTER, "Nothing", {}, pay=500),
    )
    assert lab.balance(COUNTER) == 500
    assert lab.balance(ALICE) == MILLION - MESSAGE_GAS - 500
    assert lab.balance(BOB) == MILLION - MESSAGE_GAS


def test_a_transfer_event_names_both_sides():
    lab = Lab()
    outcome = lab.step(lab.transfer(ALICE, BOB, 300))
    ((position, event),) = outcome.events
    assert (position, event.agent, event.type) == (0, TOKEN, "Paid")
    assert decode(event.data, max_bytes=256) == {"sender": ALICE, "to": BOB, "amount": 300}
    assert receipts(outcome)[0].events == (event,)


def test_tokens_moved_by_one_message_cover_the_next():
    lab = Lab(balances=((ALICE, MILLION),))
    to_bob = lab.transfer(ALICE, BOB, 10_000)
    from_bob = lab.transfer(BOB, CAROL, 1, gas=10_000)
    assert verdicts(lab.step(to_bob, from_bob)) == [("ok", ""), ("rejected", "NoFunds")]
    assert lab.balance(BOB) == 10_000 - MESSAGE_GAS
    assert lab.build(lab.transfer(CAROL, BOB, 1)).refused[0][1] == prepare.PAYER


def test_gas_of_the_block_bounds_its_messages():
    lab = Lab(block_gas_max=50_000, gas_floor=50_000)
    messages = [lab.transfer(ALICE, BOB, 1) for _ in range(410)]
    built = lab.build(*messages)
    assert len(built.block.body.messages) == 50_000 // MESSAGE_GAS == 403
    assert built.refused == ()
    assert built.block.header.fields.gas_used == 403 * MESSAGE_GAS
    with pytest.raises(InvalidBlock) as caught:
        force(lab, messages[:404])
    assert caught.value.rule == prepare.BLOCK_GAS


def test_gas_of_later_rounds_halves():
    lab = Lab(block_gas_max=200_000, gas_floor=50_000)
    messages = [lab.transfer(ALICE, BOB, 1) for _ in range(1700)]
    counts = [len(lab.build(*messages, round_=round_).block.body.messages) for round_ in range(5)]
    assert counts == [200_000 // 124, 200_000 // 124, 100_000 // 124, 50_000 // 124, 50_000 // 124]


def test_number_of_messages_is_bounded():
    lab = Lab(block_messages_max=3)
    messages = [lab.transfer(ALICE, BOB, 1) for _ in range(5)]
    assert lab.build(*messages).block.body.messages == tuple([m.id for m in messages[:3]])


def test_bytes_of_all_messages_are_bounded(monkeypatch):
    lab = Lab()
    long = [lab.message(ALICE, COUNTER, "x" * 64, {"f": bytes(7000)}) for _ in range(3)]
    short = lab.transfer(BOB, ALICE, 1)
    monkeypatch.setattr(prepare, "MESSAGE_BYTES_TOTAL_MAX", 15_000)
    built = lab.build(*long, short)
    assert built.block.body.messages == (long[0].id, long[1].id, short.id)
    assert built.refused == ()
    with pytest.raises(InvalidBlock) as caught:
        force(lab, [*long, short])
    assert caught.value.rule == prepare.BLOCK_BYTES
    assert MESSAGE_BYTES_TOTAL_MAX == 4 * 1024 * 1024


def test_the_short_way_reads_only_what_the_agent_reads_the_same():
    from node.execution.transfers import read_transfer

    data = encode_data("Transfer", {"to": BOB, "amount": 24})
    assert read_transfer(data) == (BOB, 24)
    assert read_transfer(encode_data("Transfer", {"to": BOB, "amount": 2**63 - 1})) is not None
    for amount in (0, -1, 2**63, True, "1"):
        assert read_transfer(encode_data("Transfer", {"to": BOB, "amount": amount})) is None
    stem = data[: -len(head(0, 24))]
    for tail in (
        b"",
        b"\x18\x05",
        b"\x19\x00\x05",
        head(0, 24) + b"\x00",
        b"\x20",
        b"\xf5",
        b"\x1c",
    ):
        assert read_transfer(stem + tail) is None
    assert read_transfer(data.replace(b"amount", b"amounT")) is None
    assert read_transfer(data.replace(b"Transfer", b"Transfex")) is None
