"""Which chain-made inputs a block has: shares, fairness, order (execution §6)."""

from hypothesis import given
from hypothesis import strategies as st

from consensus.encoding import H
from consensus.ids import Agent, Id, id_of_hash
from consensus.messages import REMINDER, SEND, Queued, encode_data
from consensus.state import MemoryState, Overlay
from node.execution import limits
from node.execution.inbox import due, next_due_ms
from node.execution.keys import outbox_key, reminder_key

GAS = 400_000
A, B, C = (Agent(bytes([number]) * 32) for number in (1, 2, 3))
DATA = encode_data("Echo", {})


def queued(kind, sender, to, number):
    return Queued(Id(id_of_hash(H("item", sender, number))), kind, sender, to, DATA, 124, 0)


def state_of(*, reminders=(), sends=()):
    """reminders: (at_ms, agent, number); sends: (sender, number, to)."""
    values = {}
    for at_ms, agent, number in reminders:
        item = queued(REMINDER, agent, agent, number)
        values[reminder_key(at_ms, item.id)] = item.encode()
    for sender, number, to in sends:
        values[outbox_key(sender, number)] = queued(SEND, sender, to, number).encode()
    return MemoryState(values)


def who(found):
    return [each.item.sender for each in found]


def test_nothing_waits():
    assert due(MemoryState(), height=1, time_ms=10, gas=GAS) == ()
    assert next_due_ms(MemoryState()) is None


def test_next_due():
    assert next_due_ms(state_of(reminders=[(70, A, 1), (50, B, 1)])) == 50
    assert next_due_ms(state_of(reminders=[(70, A, 1)], sends=[(A, 0, B)])) == 0


def test_next_due_sees_through_what_a_block_removed():
    state = state_of(sends=[(A, number, B) for number in range(200)], reminders=[(9, A, 1)])
    overlay = Overlay(state)
    for key, _ in state.scan(b"o/"):
        overlay.put(key, None)
    assert next_due_ms(overlay) == 9
    for key, _ in state.scan(b"r/"):
        overlay.put(key, None)
    assert next_due_ms(overlay) is None


def test_only_reminders_whose_time_has_come():
    state = state_of(reminders=[(10, A, 1), (11, A, 2), (12, A, 3)])
    assert len(due(state, height=1, time_ms=11, gas=GAS)) == 2


def test_reminders_get_a_quarter_round_robin_over_agents():
    flood = [(1 + number // 1000, A, number) for number in range(2000)]
    state = state_of(reminders=[*flood, (500, B, 1), (501, B, 2), (502, C, 1)])
    found = due(state, height=1, time_ms=1000, gas=GAS)
    assert len(found) == GAS // 4 // 124
    assert who(found).count(B) == 2
    assert who(found).count(C) == 1
    keys = [each.key for each in found]
    assert keys == sorted(keys), "in (deadline, id) order"
    mine = [each.key for each in found if each.item.sender == A]
    assert mine == [key for key, _ in state.scan(b"r/", limit=len(mine))], "each agent's earliest"


def test_sends_get_half_round_robin_over_senders():
    flood = [(A, number, B) for number in range(3000)]
    state = state_of(sends=[*flood, (B, 7, A), (B, 8, A), (C, 0, A)])
    found = due(state, height=1, time_ms=1, gas=GAS)
    assert len(found) == GAS // 2 // 124
    assert who(found).count(B) == 2
    assert who(found).count(C) == 1
    mine = [each.key for each in found if each.item.sender == A]
    assert mine == [outbox_key(A, number) for number in range(len(mine))]


def test_the_first_sender_changes_with_the_height():
    agents = [Agent(H("agent", number)) for number in range(20)]
    state = state_of(sends=[(agent, 0, A) for agent in agents])
    firsts = {who(due(state, height=height, time_ms=1, gas=GAS))[0] for height in range(1, 60)}
    assert len(firsts) > 8
    for height in range(1, 60):
        found = due(state, height=height, time_ms=1, gas=GAS)
        assert sorted(who(found)) == sorted(agents)


def test_accounts_always_keep_a_quarter():
    assert 1 / limits.REMINDER_SHARE + 1 / limits.SEND_SHARE <= 3 / 4


def test_counts_are_bounded_where_gas_is_not(monkeypatch):
    from node.execution import inbox

    monkeypatch.setattr(inbox, "REMINDERS_MAX", 3)
    monkeypatch.setattr(inbox, "SENDS_MAX", 2)
    state = state_of(
        reminders=[(1, A, number) for number in range(9)],
        sends=[(A, number, B) for number in range(9)],
    )
    assert len(due(state, height=1, time_ms=1, gas=10**9)) == 5
    assert limits.REMINDERS_MAX + limits.SENDS_MAX == 4096


agents = st.sampled_from([A, B, C])
reminder_lists = st.lists(st.tuples(st.integers(1, 9), agents), max_size=30)
send_lists = st.lists(agents, max_size=30)


@given(reminder_lists, send_lists, st.integers(0, 10), st.integers(0, 3000), st.integers(1, 9))
def test_what_is_taken_leaves_nobody_behind(reminders, sends, time_ms, gas, height):
    state = state_of(
        reminders=[(at, agent, number) for number, (at, agent) in enumerate(reminders)],
        sends=[(agent, number, A) for number, agent in enumerate(sends)],
    )
    found = due(state, height=height, time_ms=time_ms, gas=gas)
    assert found == due(Overlay(state), height=height, time_ms=time_ms, gas=gas)
    assert len({each.key for each in found}) == len(found)
    for prefix, share in ((b"r/", 4), (b"o/", 2)):
        taken = [each for each in found if each.key.startswith(prefix)]
        ready = [
            (key, Queued.decode(raw))
            for key, raw in state.scan(prefix)
            if prefix == b"o/" or int.from_bytes(key[2:10], "big") <= time_ms
        ]
        assert len(taken) == min(len(ready), gas // share // 124)
        counts = {agent: who(taken).count(agent) for agent in (A, B, C)}
        for agent in (A, B, C):
            mine = [key for key, item in ready if item.sender == agent]
            got = [each.key for each in taken if each.item.sender == agent]
            assert got == mine[: len(got)], "an agent's items keep their order"
            if len(got) < len(mine):
                assert all(count <= counts[agent] + 1 for count in counts.values()), "round robin"
