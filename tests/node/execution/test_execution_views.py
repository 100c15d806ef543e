"""Views: answers from a state, typed errors, no effects (execution §6)."""

import pytest

from consensus.spec import agent_id
from node.execution.ports import HostFault
from node.execution.views import BadArgument, UnknownAgent, UnknownView, ViewFailed
from tests.node.execution.lab import ALICE, COUNTER, MILLION, TOKEN, Lab

WORK = agent_id("work")


def test_answers():
    lab = Lab()
    assert lab.view(TOKEN, "balance", owner=ALICE) == MILLION
    assert lab.view(COUNTER, "value") == 0


@pytest.mark.parametrize(
    ("agent", "name", "arguments", "error", "cause"),
    [
        (agent_id("nobody"), "value", {}, UnknownAgent, "no such agent"),
        (COUNTER, "valeu", {}, UnknownView, "it has: value"),
        (COUNTER, "add", {}, UnknownView, "it has: value"),
        (TOKEN, "balance", {}, BadArgument, "owner: missing"),
        (TOKEN, "balance", {"owner": "bob"}, BadArgument, "owner: expected Address"),
        (TOKEN, "balance", {"owner": ALICE, "at": 1}, BadArgument, "at: unknown"),
    ],
)
def test_questions_that_have_no_answer(agent, name, arguments, error, cause):
    with pytest.raises(error, match=cause) as caught:
        Lab().view(agent, name, **arguments)
    assert caught.value.code == error.__name__


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("writes", {}, "write"),
        ("writes_inside", {}, "write"),
        ("rejects", {}, "NotNow"),
        ("fails", {"by": 0}, "zero"),
        ("wrong", {}, "type"),
    ],
)
def test_views_that_fail(shop, name, arguments, reason):
    before = shop.parent.state.items()
    with pytest.raises(ViewFailed) as caught:
        shop.view(WORK, name, **arguments)
    assert caught.value.reason == reason
    assert shop.parent.state.items() == before
    assert shop.view(WORK, "fails", by=1) == 1


def test_a_failing_read_is_a_fault(shop):
    from node.execution.views import view

    class Broken:
        def get(self, key):
            raise OSError("gone")

        def scan(self, prefix, after=b"", limit=1):
            raise OSError("gone")

    with pytest.raises(HostFault):
        view(shop.spec, Broken(), TOKEN, "balance", {"owner": ALICE})
