"""Cutting down: the least case still fails, bounds hold, a planted fault becomes a small case."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testnet.sim.faults import Fault, plan
from testnet.sim.scenario import Scenario, Villain, Weather
from testnet.sim.shrink import TRIES_MAX, Case, Judge, Shrunk, bare, shrink
from testnet.sim.trial import run
from testnet.simulate.shrinking import same
from tests.sim.simcli_stage import CRASHY, FAILING_SEED, FOUND_BY, run_planted, tiny

STORMY = """
name = "stormy"
nodes = [13]
[weather]
loss = 30
replay = 50
jitter_ms = 80
node_bytes_per_ms = 500
[load]
every_ms = 100
messages = 8
data_bytes = 100
[machines]
late = 2
hill_nonces = 64
[phases]
faults_s = 30
heal_s = 10
liveness_s = 60
quiet_s = 100
"""


def faults_at(*times: int) -> tuple[Fault, ...]:
    return tuple([Fault(at, "crash", (at % 13,), 1_000, 0) for at in times])


def judge_of(fails: Callable[[Case], bool], asked: list[Case] | None = None) -> Judge:
    """The first case that fails, as a real jury answers."""

    def judge(cases: Sequence[Case]) -> int | None:
        for place, case in enumerate(cases):
            if asked is not None:
                asked.append(case)
            if fails(case):
                return place
        return None

    return judge


def stormy(schedule: tuple[Fault, ...]) -> Case:
    return Case(tiny(STORMY), schedule)


def test_what_fails_by_itself_loses_everything() -> None:
    shrunk = shrink(stormy(faults_at(*range(0, 20_000, 500))), 25_000, judge_of(lambda case: True))
    assert shrunk.ended and shrunk.case.schedule == ()
    chosen = shrunk.case.scenario
    assert chosen.nodes == (4,) and chosen.weather == Weather(jitter_ms=0)
    assert chosen.load.every_ms == 0 and chosen.load.data_bytes == 0
    assert chosen.machines.late == chosen.machines.hill_nonces == 0
    assert chosen.phases == replace(
        chosen.phases, faults_s=0, heal_s=0, liveness_s=0, quiet_s=0, heights=0
    )


def test_two_faults_that_fail_together_are_kept_and_no_other() -> None:
    schedule = faults_at(*range(0, 20_000, 250))
    wanted = {schedule[17].at_ms, schedule[61].at_ms}

    def fails(case: Case) -> bool:
        return wanted <= {fault.at_ms for fault in case.schedule}

    shrunk = shrink(stormy(schedule), 21_000, judge_of(fails))
    assert shrunk.ended
    assert [fault.at_ms for fault in shrunk.case.schedule] == sorted(wanted)
    assert all(fault.duration_ms == 0 for fault in shrunk.case.schedule), "durations halved away"
    assert shrunk.tries < 200


def test_what_is_not_live_keeps_its_load_and_its_time() -> None:
    """Without load, or with no time for it, everything fails: that shows nothing."""
    case = stormy(faults_at(5_000, 9_000))
    before = case.scenario
    asked: list[Case] = []
    shrunk = shrink(case, 100_000, judge_of(lambda case: True, asked), lively=True)
    assert shrunk.ended and shrunk.case.schedule == ()
    for each in asked:
        assert each.scenario.load.every_ms == before.load.every_ms
        assert each.scenario.phases.liveness_s == before.phases.liveness_s
    assert shrunk.case.scenario.nodes == (4,) and shrunk.case.scenario.load.data_bytes == 0


def test_the_adversary_that_matters_stays() -> None:
    villains = (Villain(kind="mute", node=0), Villain(kind="balancing", node=1))
    case = Case(replace(tiny(STORMY), adversaries=villains), ())
    kinds = judge_of(lambda case: "balancing" in [each.kind for each in case.scenario.adversaries])
    assert shrink(case, 1_000, kinds).case.scenario.adversaries == villains[1:]


def test_a_magnitude_is_made_milder() -> None:
    lossy = Fault(1_000, "lossy", (), 500, 80)
    milder = judge_of(lambda case: any(fault.amount >= 20 for fault in case.schedule))
    (kept,) = shrink(stormy((lossy,)), 2_000, milder).case.schedule
    assert kept.amount == 20


def test_faults_follow_the_nodes_that_are_left() -> None:
    """Fewer nodes: targets that are gone are left out, and nothing names a node that is not."""
    partition = Fault(100, "partition", (1, 9, 12), 1_000, 0)
    kept = judge_of(lambda case: any(1 in fault.targets for fault in case.schedule))
    shrunk = shrink(stormy((partition,)), 2_000, kept)
    assert shrunk.case.scenario.nodes == (4,)
    assert shrunk.case.schedule[0].targets == (1,)


def test_no_case_is_judged_twice_and_the_bound_holds() -> None:
    schedule = faults_at(*range(0, 20_000, 250))
    asked: list[Case] = []
    every = judge_of(lambda case: len(case.schedule) >= 30, asked)
    shrunk = shrink(stormy(schedule), 21_000, every, tries_max=50)
    assert not shrunk.ended and shrunk.tries == len(asked) == 50
    assert len(asked) == len(dict.fromkeys(asked))
    assert 30 <= len(shrunk.case.schedule) < len(schedule), "the last that failed is at hand"


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 39), min_size=1, max_size=4))
def test_any_few_faults_are_found_among_forty(places: set[int]) -> None:
    schedule = faults_at(*range(0, 20_000, 500))
    wanted = {schedule[place].at_ms for place in sorted(places)}
    asked: list[Case] = []
    judge = judge_of(lambda case: wanted <= {each.at_ms for each in case.schedule}, asked)
    shrunk = shrink(stormy(schedule), 21_000, judge)
    assert {fault.at_ms for fault in shrunk.case.schedule} == wanted
    assert shrunk == shrink(stormy(schedule), 21_000, judge), "the same again"
    assert shrunk.tries <= TRIES_MAX


def test_the_schedule_of_a_seed_is_the_same_run_without_its_rules() -> None:
    """What is cut down begins as what failed."""
    chosen = tiny(CRASHY)
    rules = run(chosen, 2)
    given_ = run(bare(chosen, 2), 2, schedule=plan(chosen, 2))
    assert rules.faults and (rules.timeline, rules.bytes) == (given_.timeline, given_.bytes)


# ---- a fault of the product ---------------------------------------------------------------------


def shrunk_plant(chosen: Scenario, seed: int) -> tuple[Shrunk, int]:
    """(the least case of a signer whose record is late, faults before)."""
    found, _ = run_planted(chosen, seed, None, None)
    first = found.failures[0]
    assert first.checker in FOUND_BY

    def fails(case: Case) -> bool:
        outcome, _ = run_planted(case.scenario, seed, case.schedule, None)
        return any(same(first, each) for each in outcome.failures)

    case = Case(bare(chosen, seed), found.faults)
    return shrink(case, first.at_ms, judge_of(fails), tries_max=80), len(found.faults)


@pytest.mark.slow
def test_a_planted_fault_is_cut_to_a_crash_or_two() -> None:
    shrunk, before = shrunk_plant(tiny(CRASHY), FAILING_SEED)
    case = shrunk.case
    assert before > 8 and 1 <= len(case.schedule) <= 3
    assert {fault.kind for fault in case.schedule} == {"crash_at"}
    failing, _ = run_planted(case.scenario, FAILING_SEED, case.schedule, None)
    assert failing.failures[0].checker in FOUND_BY
    assert run(case.scenario, FAILING_SEED, schedule=case.schedule).clean, "without the plant"
