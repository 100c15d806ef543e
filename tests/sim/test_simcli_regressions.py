"""Schedules that once failed: each runs clean, and is one that can fail."""

from pathlib import Path

import pytest

from testnet.sim import trial
from testnet.simulate.cases import SUFFIX, read_case
from tests.sim.simcli_stage import run_planted

FOLDER = Path(__file__).parent / "regressions"
CASES = sorted(FOLDER.glob(f"*{SUFFIX}"))
LATE_RECORD = FOLDER / f"late-record{SUFFIX}"


@pytest.mark.slow
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name.removesuffix(SUFFIX))
def test_what_once_failed_runs_clean(path: Path) -> None:
    case = read_case(path)
    outcome = trial.run(case.scenario, case.seed, schedule=case.schedule)
    assert outcome.clean, (path.name, case.failed, outcome.failures)
    assert case.failed, "it says what failed"


def test_nothing_else_lies_among_them() -> None:
    assert CASES and sorted(each for each in FOLDER.iterdir() if each.suffix != ".md") == CASES


def test_a_case_fails_again_when_its_fault_is_back() -> None:
    """The signer's record is late again: its schedule catches that."""
    case = read_case(LATE_RECORD)
    outcome, _ = run_planted(case.scenario, case.seed, case.schedule, None)
    assert outcome.failures, "the schedule has lost its meaning: shrink a failing seed anew"
    first = outcome.failures[0]
    assert f"{first.checker}: {first.text}" == case.failed
