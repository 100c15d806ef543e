"""Sieges: the largest minority of drawn liars in mild and in wild weather; no two honest nodes ever
decide differently."""

import pytest

from testnet.sim import trial
from testnet.sim.adversaries import NAMES
from testnet.sim.sieges import ELSEWHERE, LIARS, RULERS, Decisions, decisions, siege


def test_a_siege_has_the_largest_minority_of_liars_each_at_its_own_node() -> None:
    kinds: dict[str, None] = {}
    for seed in range(120):
        chosen = siege(seed)
        nodes = chosen.nodes[0]
        liars = [v for v in chosen.adversaries if NAMES[v.kind].liar]
        rulers = [v for v in chosen.adversaries if not NAMES[v.kind].liar]
        assert 3 * len(liars) < nodes <= 3 * len(liars) + 3 and len(rulers) <= 1
        assert len({v.node for v in chosen.adversaries}) == len(chosen.adversaries)
        kinds |= dict.fromkeys([v.kind for v in chosen.adversaries])
    assert {*LIARS, *RULERS, *ELSEWHERE} == set(NAMES), "each is somewhere"
    assert set(kinds) == {*LIARS, *RULERS}, "each is drawn"
    assert siege(7) == siege(7) != siege(8)


@pytest.mark.slow
def test_sieges_are_counted_and_nobody_disagrees() -> None:
    found = decisions(1_500, seed=3, sizes=(4,))
    assert found.polls >= 1_500 and found.disagreements == 0
    assert found.failed == [] and found.clean == found.sieges >= 1
    assert sum(row.lies for row in found.kinds.values()) > 0


@pytest.mark.slow
def test_a_besieged_storm_is_survived() -> None:
    chosen = siege(4, sizes=(7,), wild=True)
    assert chosen.faults and chosen.weather.loss == 30
    outcome = trial.run(chosen, 4)
    assert outcome.clean, outcome.failures[:2]
    assert outcome.crashes > 0


def test_what_disagrees_is_counted() -> None:
    total = Decisions()
    chosen = siege(1)
    failure = trial.Failure("agreement", "n1: another block at height 2", 5)
    total.add(1, chosen, trial.Outcome(1, chosen.name, 7, failures=(failure,), polls=3))
    assert (total.disagreements, total.clean, total.polls) == (1, 0, 3)
    assert all(row.failures == 1 for row in total.kinds.values())


@pytest.mark.long
@pytest.mark.parametrize("wild", [False, True])
@pytest.mark.parametrize("seed", range(500, 530))
def test_many_sieges(seed: int, wild: bool) -> None:
    outcome = trial.run(siege(seed, wild=wild), seed)
    assert outcome.clean, (outcome.scenario, outcome.failures[:2])
