"""A chain whose third agent does what it is told."""

import pytest

from consensus.encoding import encode
from consensus.spec import agent_id
from node.execution.registry import NATIVE, demo_agents
from tests.node.execution.lab import ALICE, BOB, MILLION, Lab
from tests.node.execution.workshop import CODE, Workshop


@pytest.fixture
def shop(monkeypatch):
    """A Lab with the agents `work`, `work-two`, `work-three`; `work` has a million tokens."""
    monkeypatch.setitem(NATIVE.classes, CODE, Workshop)
    names = ("work", "work-two", "work-three")
    agents = (*demo_agents(), *[(name, CODE, encode({})) for name in names])
    balances = ((ALICE, MILLION), (BOB, MILLION), (agent_id("work"), MILLION))
    return Lab(agents=agents, balances=balances)
