"""Properties over random blocks: tokens are conserved, the short way is the long way."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consensus.encoding import encode
from consensus.messages import Queued
from consensus.spec import agent_id
from consensus.state import MemoryState
from consensus.statemap import StateMap
from node.execution.keys import BALANCE, OUTBOX, REMINDERS, decode_balance
from node.execution.registry import NATIVE, demo_agents
from tests.node.execution.lab import (
    ALICE,
    BOB,
    CAROL,
    COUNTER,
    PING,
    PONG,
    TOKEN,
    Lab,
    assert_same,
    receipts,
)
from tests.node.execution.workshop import CODE, Workshop

WORK = agent_id("work")
START = 20_000
ACCOUNTS = (ALICE, BOB, CAROL)
AGENTS = (TOKEN, COUNTER, PING, PONG, WORK, agent_id("nobody"))

amounts = st.one_of(
    st.integers(-1, 3),
    st.integers(0, 2 * START),
    st.sampled_from([2**63 - 1, 2**63, [1, b"\xff" * 8], "1", None, True]),
)
transfers = st.tuples(
    st.just(TOKEN),
    st.just("Transfer"),
    st.fixed_dictionaries(
        {"to": st.sampled_from([*ACCOUNTS, WORK, PING, bytes(31)]), "amount": amounts},
        optional={"memo": st.just("x")},
    ),
)
references = st.sampled_from(AGENTS).map(lambda agent: [None, agent, None])
workshop = st.one_of(
    st.tuples(
        st.just(WORK),
        st.just("Send"),
        st.fixed_dictionaries(
            {"to": references},
            optional={
                "times": st.integers(0, 4),
                "gas": st.integers(0, 500),
                "pay": st.integers(0, 2000),
                "payer": st.sampled_from(["self", "message"]),
                "then": st.sampled_from(["", "reject", "zero"]),
            },
        ),
    ),
    st.tuples(
        st.just(WORK),
        st.just("Remind"),
        st.fixed_dictionaries(
            {"at_ms": st.integers(0, 2**41)},
            optional={"gas": st.integers(0, 500), "payer": st.sampled_from(["self", "message"])},
        ),
    ),
    st.just((WORK, "CancelAll", {})),
    st.tuples(st.just(WORK), st.just("Break"), st.just({"kind": "key"})),
    st.just((PING, "Start", {"delay_ms": 3})),
    st.just((COUNTER, "Add", {})),
    st.just((COUNTER, "Nothing", {})),
    st.tuples(st.sampled_from(AGENTS), st.just("Echo"), st.just({})),
)
drafts = st.tuples(
    st.sampled_from(ACCOUNTS),
    st.one_of(transfers, workshop),
    st.fixed_dictionaries(
        {"gas": st.sampled_from([100, 124, 125, 700, 1500, START, START + 1])},
        optional={"pay": st.integers(0, START), "expires": st.integers(0, 5)},
    ),
)
blocks = st.lists(st.lists(drafts, max_size=8), min_size=1, max_size=5)


def total(state):
    """All tokens: balances, and what waits in queues."""
    waiting = [Queued.decode(raw) for key in (OUTBOX, REMINDERS) for _, raw in state.scan(key)]
    balances = sum(decode_balance(raw) for _, raw in state.scan(BALANCE))
    return balances + sum(item.gas + item.pay for item in waiting)


def make_lab():
    NATIVE.classes[CODE] = Workshop
    agents = (*demo_agents(), ("work", CODE, encode({})))
    return Lab(agents=agents, balances=[(each, START) for each in (*ACCOUNTS, WORK)])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(blocks)
def test_no_token_is_made_and_only_gas_is_lost(script):
    lab = make_lab()
    try:
        for drafts_of_block in script:
            before = total(lab.parent.state)
            messages = [
                lab.message(sender, agent, kind, fields, **terms)
                for sender, (agent, kind, fields), terms in drafts_of_block
            ]
            built = lab.build(*messages, round_=1)
            for fast in (True, False):
                assert_same(built.outcome, lab.execute(built.block, *messages, fast=fast))
            lab.commit(built.outcome)
            outcome = built.outcome
            assert total(lab.parent.state) == before - outcome.burned
            assert outcome.burned == sum(receipt.gas for receipt in receipts(outcome))
            assert len(built.block.body.inputs) == len(outcome.receipts)
            included = set(built.block.body.messages) | {message for message, _ in built.refused}
            assert included >= {message.id for message in messages}
            root = StateMap.of(lab.parent.state.items()).root
            assert root == outcome.header.fields.state_root
    finally:
        del NATIVE.classes[CODE]


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(drafts, st.booleans()), max_size=12))
def test_the_short_way_is_the_long_way(script):
    lab = make_lab()
    try:
        messages = [
            lab.message(sender, agent, kind, fields, **terms)
            for (sender, (agent, kind, fields), terms), _ in script
        ]
        skip = [
            message.id for message, (_, skipped) in zip(messages, script, strict=True) if skipped
        ]
        built = lab.build(*messages, round_=4, skip=skip)
        bodies = [message for message in messages if message.id in built.block.body.messages]
        for fast in (True, False):
            assert_same(built.outcome, lab.execute(built.block, *bodies, fast=fast))
        state = MemoryState(dict(lab.parent.state.items()))
        state.apply(built.outcome.changes)
        assert all(raw != b"\x00" for _, raw in state.scan(BALANCE)), "nothing has no leaf"
    finally:
        del NATIVE.classes[CODE]
