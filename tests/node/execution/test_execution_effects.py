"""Sends, reminders, failures: what handlers do and what becomes of it (execution §4 to §6)."""

import pytest

from consensus.encoding import decode, encode
from consensus.messages import Queued, decode_data
from consensus.spec import agent_id
from node.execution import limits, settle
from node.execution.inbox import due
from node.execution.keys import OUTBOX, REMINDERS, AgentRecord
from node.execution.ports import HostFault
from node.execution.registry import NATIVE
from node.execution.views import ViewFailed
from tests.node.execution.lab import ALICE, BOB, COUNTER, MILLION, TOKEN, Lab, receipts, verdicts

WORK, TWO, THREE = agent_id("work"), agent_id("work-two"), agent_id("work-three")
OK = ("ok", "")


def public(agent):
    return [None, agent, None]


def send(shop, sender, to, agent=WORK, **fields):
    terms = {name: fields.pop(name) for name in ("gas_max", "pay_in") if name in fields}
    return shop.message(
        sender,
        agent,
        "Send",
        {"to": public(to), **fields},
        gas=terms.get("gas_max", 1000),
        pay=terms.get("pay_in", 0),
    )


# ---- sends --------------------------------------------------------------------------------------


def test_a_send_arrives_in_the_next_block(shop):
    outcome = shop.step(send(shop, ALICE, TWO))
    assert outcome.due_ms == 0
    assert shop.view(TWO, "echo_count") == 0
    (receipt,) = receipts(outcome)
    assert shop.balance(ALICE) == MILLION - 2 * 124, "its own gas, and what it prepaid"
    after = shop.step()
    assert after.due_ms is None
    (delivered,) = receipts(after)
    assert [delivered.message] == list(receipt.effects)
    assert (delivered.status, delivered.gas) == ("ok", 124)
    assert shop.view(TWO, "echo_count") == 1
    assert shop.parent.state.scan(OUTBOX) == []
    assert AgentRecord.read(shop.parent.state, WORK)[1:] == (1, 1, 0)


def test_sends_of_one_agent_keep_their_order(shop):
    shop.step(send(shop, ALICE, TWO, times=3), send(shop, BOB, THREE, times=2))
    shop.step()
    events = [(event.agent, position) for position, event in shop.outcomes[-1].events]
    assert events == [(TWO, 0), (TWO, 1), (TWO, 2), (THREE, 3), (THREE, 4)]


def test_unspent_gas_of_a_send_returns_to_the_sending_agent(shop):
    shop.step(send(shop, ALICE, TWO, gas=500))
    assert shop.balance(WORK) == MILLION
    shop.step()
    assert shop.balance(WORK) == MILLION + 500 - 124


def test_the_agent_pays_when_it_says_so(shop):
    shop.step(send(shop, ALICE, TWO, gas=500, payer="self", pay=70))
    assert shop.balance(ALICE) == MILLION - 124
    assert shop.balance(WORK) == MILLION - 570
    shop.step()
    assert shop.balance(WORK) == MILLION - 570 + 376
    assert shop.balance(TWO) == 70


def test_pay_of_a_send_that_is_not_ok_returns(shop):
    shop.step(send(shop, ALICE, COUNTER, pay=70))  # the counter knows no Echo
    assert shop.balance(WORK) == MILLION - 70
    assert verdicts(shop.step()) == [("rejected", "UnknownMessage")]
    assert shop.balance(WORK) == MILLION
    assert shop.balance(COUNTER) == 0


def test_a_send_to_nobody_gets_its_receipt(shop):
    shop.step(send(shop, ALICE, agent_id("nobody"), pay=5))
    assert verdicts(shop.step()) == [("rejected", "UnknownAgent")]
    assert shop.balance(WORK) == MILLION


def test_an_agent_spends_the_pay_that_came_with_the_message(shop):
    poor = send(shop, ALICE, THREE, agent=TWO, pay=80, pay_in=79)
    enough = send(shop, ALICE, THREE, agent=TWO, pay=80, pay_in=80)
    assert verdicts(shop.step(poor, enough)) == [("rejected", "NoFunds"), OK]
    shop.step()
    assert (shop.balance(TWO), shop.balance(THREE)) == (0, 80)


def test_an_agent_cannot_spend_twice_in_one_block(shop):
    half = MILLION * 2 // 3
    messages = [send(shop, ALICE, TWO, pay=half), send(shop, BOB, TWO, pay=half)]
    assert verdicts(shop.step(*messages)) == [OK, ("rejected", "NoFunds")]


def test_prepaying_more_than_the_message_has_is_out_of_gas(shop):
    outcome = shop.step(send(shop, ALICE, TWO, gas=877, gas_max=1000))
    (receipt,) = receipts(outcome)
    assert (receipt.status, receipt.gas, receipt.effects) == ("out_of_gas", 1000, ())
    assert outcome.header.fields.gas_used == 124, "work, not tokens"
    assert outcome.burned == 1000
    assert shop.balance(ALICE) == MILLION - 1000
    assert verdicts(shop.step(send(shop, ALICE, TWO, gas=876, gas_max=1000))) == [OK]


def test_a_message_that_is_not_ok_sends_and_changes_nothing(shop):
    outcome = shop.step(send(shop, ALICE, TWO, pay=5, then="reject"))
    (receipt,) = receipts(outcome)
    assert (receipt.status, receipt.code) == ("rejected", "Refused")
    assert (receipt.events, receipt.effects) == ((), ())
    assert decode(receipt.data, max_bytes=256) == {"least": 7}
    assert shop.view(WORK, "echo_count") == 0
    assert shop.balance(WORK) == MILLION
    assert outcome.due_ms is None


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"gas": 123}, ("failed", "gas")),
        ({"gas": -1}, ("failed", "gas")),
        ({"pay": -1}, ("failed", "value")),
        ({"payer": "somebody"}, ("failed", "value")),
        ({"times": 64, "gas": 124}, OK),
        ({"times": 65, "gas": 124}, ("failed", "limit")),
    ],
)
def test_bounds_of_a_send(shop, fields, verdict):
    assert verdicts(shop.step(send(shop, ALICE, TWO, gas_max=20_000, **fields))) == [verdict]


@pytest.mark.parametrize("part", [0, 2])
def test_references_of_other_chains_and_capabilities_are_refused(shop, part):
    reference = public(TWO)
    reference[part] = bytes(36 if part == 0 else 32)
    message = shop.message(ALICE, WORK, "Send", {"to": reference})
    assert verdicts(shop.step(message)) == [("failed", "reference")]


def test_a_full_queue_is_busy(shop, monkeypatch):
    monkeypatch.setattr(settle, "QUEUE_ITEMS_MAX", 5)
    big = {"gas_max": 20_000}
    first = [send(shop, ALICE, TWO, times=3, **big), send(shop, ALICE, TWO, times=3, **big)]
    last = send(shop, ALICE, TWO, times=2, **big)
    assert verdicts(shop.step(*first, last)) == [OK, ("failed", "busy"), OK]
    assert limits.QUEUE_ITEMS_MAX == 4096


def test_agents_move_their_tokens_by_the_token_agent(shop):
    """Balances move in phase 1, so what an agent may spend in phase 2 is what is left."""
    pay = {"token": public(TOKEN), "to": BOB, "amount": MILLION - 1000}
    shop.step(shop.message(ALICE, WORK, "Pay", pay))
    bob = shop.balance(BOB)
    spend = send(shop, ALICE, TWO, pay=1001, gas_max=2000)
    assert verdicts(shop.step(spend)) == [OK, ("rejected", "NoFunds")]
    assert (shop.balance(WORK), shop.balance(BOB)) == (1000, bob + MILLION - 1000)
    assert verdicts(shop.step(send(shop, ALICE, TWO, pay=1000))) == [OK]


# ---- reminders ----------------------------------------------------------------------------------


def remind(shop, sender, at_ms, agent=WORK, **fields):
    return shop.message(sender, agent, "Remind", {"at_ms": at_ms, **fields})


def test_a_reminder_fires_in_the_first_block_at_or_after_its_time(shop):
    at_ms = shop.time_ms + 1000
    assert shop.step(remind(shop, ALICE, at_ms)).due_ms == at_ms
    assert shop.build(time_ms=at_ms - 1).block is None
    assert shop.step(round_=1, time_ms=at_ms - 1).receipts == ()
    outcome = shop.step(time_ms=at_ms)
    assert verdicts(outcome) == [OK]
    assert shop.view(WORK, "echo_count") == 1
    assert outcome.due_ms is None
    assert AgentRecord.read(shop.parent.state, WORK).reminders == 0


def test_a_late_reminder_fires_all_the_same(shop):
    at_ms = shop.time_ms + 1000
    shop.step(remind(shop, ALICE, at_ms))
    assert verdicts(shop.step(time_ms=at_ms + 10**9)) == [OK]


def test_reminders_come_before_sends_and_by_deadline(shop):
    now = shop.time_ms
    times = [now + 30, now + 10, now + 20]
    shop.step(
        *[
            remind(shop, ALICE, at, agent)
            for at, agent in zip(times, (WORK, TWO, THREE), strict=True)
        ]
    )
    shop.step(send(shop, BOB, TWO), time_ms=now + 5)
    outcome = shop.step(time_ms=now + 100)
    assert [event.agent for _, event in outcome.events] == [TWO, THREE, WORK, TWO]


def test_a_reminder_says_who_sent_it(shop):
    now = shop.time_ms
    shop.step(remind(shop, ALICE, now + 10))
    ((key, raw),) = shop.parent.state.scan(REMINDERS)
    item = Queued.decode(raw)
    assert (item.sender, item.to, item.gas, item.pay) == (WORK, WORK, 124, 0)
    assert decode_data(item.data) == ("Echo", {"text": "woke"})
    assert key == b"r/" + (now + 10).to_bytes(8, "big") + item.id


def test_a_cancelled_reminder_gives_its_gas_to_the_agent(shop):
    now = shop.time_ms
    shop.step(remind(shop, ALICE, now + 10, gas=600), remind(shop, ALICE, now + 11, gas=600))
    cancel = shop.message(BOB, WORK, "CancelAll", {})
    assert shop.step(cancel, time_ms=now + 2).due_ms is None
    assert shop.balance(WORK) == MILLION + 1200
    assert AgentRecord.read(shop.parent.state, WORK).reminders == 0


def test_cancelling_what_fires_in_the_same_block_does_nothing(shop):
    now = shop.time_ms
    shop.step(remind(shop, ALICE, now + 10, gas=600))
    outcome = shop.step(shop.message(BOB, WORK, "CancelAll", {}), time_ms=now + 10)
    assert verdicts(outcome) == [OK, OK]
    assert shop.balance(WORK) == MILLION + 600 - 124
    assert AgentRecord.read(shop.parent.state, WORK).reminders == 0


def test_nobody_cancels_anothers_reminder(shop, monkeypatch):
    now = shop.time_ms
    shop.step(remind(shop, ALICE, now + 10))
    ((key, raw),) = shop.parent.state.scan(REMINDERS)
    handle = key[len(REMINDERS) :]
    stolen = b"g/" + TWO + b"/handles"
    shop.parent.state.apply({stolen: encode([handle])})
    # The state root no longer matches; only the effect is looked at.
    built = shop.build(shop.message(BOB, TWO, "CancelAll", {}), time_ms=now + 2)
    assert key not in built.outcome.changes
    assert shop.parent.state.get(key) == raw


# ---- failures -----------------------------------------------------------------------------------

FAILURES = {
    "reject": ("rejected", "Refused"),
    "reject-long": ("failed", "reject"),
    "reject-float": ("failed", "reject"),
    "assert": ("failed", "assert"),
    "zero": ("failed", "zero"),
    "key": ("failed", "key"),
    "index": ("failed", "index"),
    "type": ("failed", "type"),
    "type-inside": ("failed", "type"),
    "attribute": ("failed", "attribute"),
    "value": ("failed", "value"),
    "overflow": ("failed", "type"),
    "encoding": ("failed", "encoding"),
    "limit": ("failed", "limit"),
    "size": ("failed", "size"),
    "none of these": ("ok", ""),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_failure_of_a_handler(shop, kind):
    echo = shop.message(BOB, WORK, "Echo", {})
    broken = shop.message(ALICE, WORK, "Break", {"kind": kind})
    outcome = shop.step(echo, broken, shop.message(BOB, WORK, "Echo", {}))
    assert verdicts(outcome) == [OK, FAILURES[kind], OK]
    assert shop.view(WORK, "echo_count") == 2 + (FAILURES[kind] == OK)
    assert shop.balance(ALICE) == MILLION - 124


@pytest.mark.parametrize("kind", ["memory", "recursion", "io"])
def test_a_host_fault_is_never_an_outcome(shop, kind):
    broken = shop.message(ALICE, WORK, "Break", {"kind": kind})
    good = shop.transfer(BOB, ALICE, 1)
    with pytest.raises(HostFault) as caught:
        shop.build(broken, good)
    assert caught.value.culprit == broken.id
    without = shop.build(broken, good, skip=[caught.value.culprit])
    assert without.block.body.messages == (good.id,)
    skipping = shop.build(broken, good, skip=[caught.value.culprit], round_=4)
    assert verdicts(skipping.outcome) == [("skipped", ""), OK]


def test_a_shared_agent_that_fails_moves_no_token(monkeypatch):
    from node.execution.native_agents import token
    from node.sdk.agent import on, view
    from node.sdk.context import Reject

    class Leaky(token.SharedAgent):
        @on(token.Transfer)
        def transfer(self, ctx, m):
            self.ledger.move(ctx.sender.raw, m.to.raw, m.amount - 1)
            self.ledger.move(ctx.sender.raw, m.to.raw, 1)
            if m.amount == 13:
                raise Reject("Unlucky")

        @view
        def steals(self) -> int:
            self.ledger.add(ALICE, 1)
            return 0

    monkeypatch.setitem(NATIVE.classes, "native:leaky/1", Leaky)
    lab = Lab(agents=[("token", "native:leaky/1", encode({}))])
    outcome = lab.step(lab.transfer(ALICE, BOB, 13), lab.transfer(ALICE, BOB, 12))
    assert verdicts(outcome) == [("rejected", "Unlucky"), OK]
    assert decode(lab.parent.state.get(b"a/" + BOB), max_bytes=16) == MILLION + 12
    assert decode(lab.parent.state.get(b"a/" + ALICE), max_bytes=16) == MILLION - 12 - 248
    with pytest.raises(ViewFailed, match="write"):
        lab.view(TOKEN, "steals")


def test_split_batches_give_the_same(shop):
    """Warm ≡ cold: two messages in one block or in two leave the same agent (execution §3)."""
    fields = [{"text": "a"}, {"text": "b"}]
    shop.step(*[shop.message(ALICE, TWO, "Echo", each) for each in fields])
    for each in fields:
        shop.step(shop.message(ALICE, THREE, "Echo", each))
    state = shop.parent.state
    names = ("echoes", "numbers", "last", "handles")
    two, three = ([state.get(b"g/" + a + b"/" + n.encode()) for n in names] for a in (TWO, THREE))
    assert two == three


def test_due_names_what_waits(shop):
    shop.step(send(shop, ALICE, TWO, times=2))
    waiting = due(shop.parent.state, height=2, time_ms=shop.time_ms + 1, gas=400_000)
    assert [each.item.to for each in waiting] == [TWO, TWO]
    assert [each.key for each in waiting] == [key for key, _ in shop.parent.state.scan(OUTBOX)]
