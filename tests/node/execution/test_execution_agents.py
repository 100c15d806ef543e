"""The sample agents, and the state they start from."""

import pytest

from consensus.encoding import encode
from consensus.errors import SpecError
from consensus.messages import decode_data
from consensus.spec import agent_id
from node.execution.genesis import genesis
from node.execution.keys import AgentRecord, read_balance
from node.execution.registry import COUNTER_CODE, PINGPONG_CODE, describe
from tests.node.execution.lab import (
    ALICE,
    BOB,
    CAROL,
    COUNTER,
    GENESIS_MS,
    MILLION,
    PING,
    PONG,
    TOKEN,
    Lab,
    receipts,
    verdicts,
)

# ---- genesis ------------------------------------------------------------------------------------


def test_genesis_has_agents_balances_and_table():
    lab = Lab()
    header = lab.parent.header
    assert header.height == 0
    assert header.fields.time_ms == GENESIS_MS
    assert header.fields.next_table == lab.spec.genesis_table().hash
    assert header.fields.state_root == lab.parent.map.root
    state = lab.parent.state
    assert read_balance(state, ALICE) == MILLION
    assert AgentRecord.read(state, COUNTER) == AgentRecord(COUNTER_CODE)
    assert state.get(b"g/" + COUNTER + b"/count") == encode(0)
    assert state.get(b"g/" + PING + b"/partner") == encode([None, PONG, None])
    assert genesis(lab.spec).header == header


@pytest.mark.parametrize(
    ("agent", "cause"),
    [
        (("odd", "native:odd/1", encode({})), "has no code"),
        (("ping", PINGPONG_CODE, encode({})), "BadField"),
        (("ping", PINGPONG_CODE, encode({"partner": 5})), "BadField"),
        (("counter", COUNTER_CODE, encode({"count": 5})), "BadField"),
        (("counter", COUNTER_CODE, encode([])), "encoding"),
        (("counter", COUNTER_CODE, b""), "encoding"),
    ],
)
def test_agents_that_cannot_start_are_named(agent, cause):
    with pytest.raises(SpecError, match=f"agent '{agent[0]}'.*{cause}"):
        Lab(agents=[agent])


# ---- token --------------------------------------------------------------------------------------


def test_token():
    lab = Lab()
    lab.step(lab.transfer(ALICE, CAROL, 250), lab.transfer(ALICE, ALICE, 9))
    assert lab.balance(CAROL) == 250
    assert lab.balance(ALICE) == MILLION - 250 - 2 * 124
    assert lab.balance(bytes(32)) == 0


def test_an_account_can_be_emptied():
    lab = Lab()
    lab.step(lab.transfer(ALICE, BOB, MILLION - 124, gas=124))
    assert lab.balance(ALICE) == 0
    assert lab.parent.state.get(b"a/" + ALICE) is None
    assert lab.balance(BOB) == 2 * MILLION - 124


# ---- counter ------------------------------------------------------------------------------------


def test_counter():
    lab = Lab()
    lab.step(
        lab.message(ALICE, COUNTER, "Add", {}),
        lab.message(BOB, COUNTER, "Add", {"by": 41}),
    )
    assert lab.view(COUNTER, "value") == 42
    events = [(event.type, event.data) for _, event in lab.outcomes[-1].events]
    assert events == [("Changed", encode({"value": 1})), ("Changed", encode({"value": 42}))]
    lab.step(
        lab.message(ALICE, COUNTER, "Reset", {}), lab.message(BOB, COUNTER, "Add", {"by": -(2**63)})
    )
    lab.step(lab.message(BOB, COUNTER, "Add", {"by": -1}))
    assert lab.view(COUNTER, "value") == [-1, b"\x80" + bytes(6) + b"\x01"]


# ---- pingpong -----------------------------------------------------------------------------------


def play(lab, blocks):
    """Blocks without account messages, each at the time when the chain is due."""
    for _ in range(blocks):
        due_ms = lab.outcomes[-1].due_ms
        assert due_ms is not None, "somebody has the ball"
        lab.step(time_ms=max(lab.time_ms + 1, due_ms))


def hits(lab):
    return [
        (event.agent, event.type)
        for outcome in lab.outcomes
        for _, event in outcome.events
        if event.type in ("Hit", "Dropped")
    ]


def test_pingpong_keeps_itself_going():
    lab = Lab()
    start = lab.message(ALICE, PING, "Start", {"delay_ms": 500}, pay=100_000)
    lab.step(start)
    began_ms = lab.time_ms
    play(lab, 20)
    assert lab.height == 22
    assert all(not outcome.seen for outcome in lab.outcomes[1:]), "no account message after Start"
    assert [agent for agent, _ in hits(lab)] == [PING, PONG] * 5 + [PING]
    assert (lab.view(PING, "hit_count"), lab.view(PONG, "hit_count")) == (6, 5)
    assert lab.time_ms >= began_ms + 10 * 500
    assert lab.balance(ALICE) == MILLION - 124 - 124 * 0 - 100_000
    spent = 100_000 - lab.balance(PING) - lab.balance(PONG)
    assert spent == 21 * 124, "one send waits with its gas prepaid, twenty inputs ran"


def test_ping_and_pong_alternate():
    lab = Lab()
    lab.step(lab.message(ALICE, PING, "Start", {"delay_ms": 0}, pay=100_000))
    kinds = []
    for _ in range(8):
        ((_, raw),) = [*lab.parent.state.scan(b"o/"), *lab.parent.state.scan(b"r/")]
        kinds.append(raw[raw.index(b"\x82") :])
        play(lab, 1)
    names = [name for each in kinds for name in ("Ping", "Pong", "Swing") if name.encode() in each]
    assert names == ["Ping", "Swing", "Pong", "Swing"] * 2


def test_pingpong_ends_when_the_tokens_do():
    lab = Lab()
    lab.step(lab.message(ALICE, PING, "Start", {"delay_ms": 1}, pay=2000))
    for _ in range(100):
        if lab.outcomes[-1].due_ms is None:
            break
        play(lab, 1)
    assert hits(lab)[-1][1] == "Dropped"
    assert lab.outcomes[-1].due_ms is None
    assert min(lab.balance(PING), lab.balance(PONG)) < 248


def test_pingpong_ends_after_its_rounds():
    lab = Lab()
    lab.step(lab.message(ALICE, PING, "Start", {"delay_ms": 1, "rounds": 4}, pay=10_000))
    while lab.outcomes[-1].due_ms is not None:
        play(lab, 1)
    assert hits(lab) == [(PING, "Hit"), (PONG, "Hit")] * 2


def test_a_new_game_ends_the_old_one():
    lab = Lab()
    start = {"delay_ms": 50}
    lab.step(lab.message(ALICE, PING, "Start", start, pay=50_000))
    play(lab, 2)
    lab.step(lab.message(ALICE, PING, "Start", start, pay=50_000))
    play(lab, 12)
    waiting = [*lab.parent.state.scan(b"o/"), *lab.parent.state.scan(b"r/")]
    assert len(waiting) == 1, "one ball"


@pytest.mark.parametrize(
    ("kind", "fields", "pay", "code"),
    [
        ("Start", {"delay_ms": -1}, 5000, "BadStart"),
        ("Start", {"rounds": -1}, 5000, "BadStart"),
        ("Start", {}, 495, "NoFunds"),
        ("Ping", {"game": 1, "number": 1, "delay_ms": 0, "rounds": 0}, 0, "NotPartner"),
        ("Pong", {"game": 1, "number": 1, "delay_ms": 0, "rounds": 0}, 0, "NotPartner"),
        ("Swing", {"game": 0, "number": 1, "delay_ms": 0, "rounds": 0}, 0, "NotSelf"),
    ],
)
def test_pingpong_refuses(kind, fields, pay, code):
    lab = Lab()
    outcome = lab.step(lab.message(ALICE, PING, kind, fields, pay=pay))
    assert verdicts(outcome) == [("rejected", code)]
    assert lab.balance(ALICE) == MILLION - 124


def test_an_effect_names_the_message_it_became():
    lab = Lab()
    outcome = lab.step(lab.message(ALICE, PING, "Start", {}, pay=5000))
    (effect,) = receipts(outcome)[0].effects
    assert lab.build().block.body.chain_inputs == (effect,)


# ---- for clients --------------------------------------------------------------------------------


def test_describe():
    assert describe("native:token/1") == {
        "fields": {},
        "init": {},
        "messages": {"Transfer": {"to": "Address", "amount": "int"}},
        "views": {"balance": {"arguments": {"owner": "Address"}, "returns": "int"}},
    }
    assert describe("native:none/1") is None
    pingpong = describe(PINGPONG_CODE)
    assert pingpong["init"] == {"partner": "Reference"}
    assert list(pingpong["messages"]) == ["Start", "Ping", "Pong", "Swing"]


def test_names_are_ids():
    assert agent_id("token") == TOKEN
    assert decode_data(Lab().transfer(ALICE, BOB, 1).data) == ("Transfer", {"to": BOB, "amount": 1})
