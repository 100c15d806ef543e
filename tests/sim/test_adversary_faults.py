"""A worker that dies on one message at half of the validators: heights go on (execution §5)."""

import pytest

from testnet.sim.adversaries.poison import Poison
from tests.sim.adversary_stage import Stage


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [4, pytest.param(7, marks=pytest.mark.long)])
def test_a_message_that_kills_workers_at_half_of_the_hosts_stops_nobody(nodes: int) -> None:
    stage = Stage(["poison"], nodes=nodes, seed=1)
    stage.climb(2, within_s=60)
    poison = stage.adversaries[0]
    assert isinstance(poison, Poison)
    poison.send(stage.cluster.transfer(0, 1, 7))
    stage.climb(4, within_s=120)  # without leaving it out: never
    assert poison.acts["death"], "the workers died"
    stage.judge()
