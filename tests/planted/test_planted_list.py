"""The list of planted faults: not stale, nothing forgotten; and what counts as a catch."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

from tests.planted.__main__ import main, try_all
from tests.planted.faults import FAULTS
from tests.planted.planting import (
    BROKEN,
    CAUGHT,
    MISSED,
    ROOT,
    STALE,
    Copy,
    Edit,
    Fault,
    Stale,
    fault,
    judged,
    of_no_use,
    planted,
    planted_files,
)

LEAST = 40
LIMIT_S = 1800  # for the whole list; what it takes is said by the command, and is no test
NOT_HERE = {
    "C15": "no chain here follows another: there is nothing to instantiate for all of them",
}


@pytest.mark.parametrize("each", FAULTS, ids=[each.name for each in FAULTS])
def test_a_fault_fits_the_source_and_its_tests_are_there(each: Fault) -> None:
    for name in planted_files(ROOT, each):
        assert name.split("/")[0] in ("consensus", "node"), "what is planted is the product"
    assert each.tests, "somebody must see it"
    for test in each.tests:
        file, _, function = test.partition("::")
        path = ROOT / file
        assert path.exists(), file
        assert not function or function in functions(path), test


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE))


def test_names_are_unique_and_enough() -> None:
    names = [each.name for each in FAULTS]
    assert len(set(names)) == len(names) >= LEAST
    assert all(re.fullmatch(r"[a-z][a-z0-9_]+", name) for name in names)


def test_no_weakness_of_the_ancestors_is_forgotten() -> None:
    known = [*(f"C{number}" for number in range(1, 23)), *(f"S{number}" for number in range(1, 10))]
    planted_here = {name for each in FAULTS for name in each.ancestors}
    assert planted_here == set(known) - set(NOT_HERE)


# ---- the tool -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["nothing of it", "one two one"])
def test_text_that_is_not_there_once_is_stale(text: str) -> None:
    with pytest.raises(Stale, match=r"a\.py: 'one' stands there [02] times"):
        planted(text, Edit("a.py", "one", "two"))


@pytest.mark.parametrize(
    ("code", "output", "verdict"),
    [
        (0, "1 passed", MISSED),
        (-1, "", BROKEN),
        (1, "FAILED tests/a.py::test_b[x y] - AssertionError: assert 1 == 2", CAUGHT),
        (1, "FAILED tests/a.py::test_b - KeyError: 7", CAUGHT),
        (1, "FAILED tests/a.py::test_b - NameError: name 'x' is not defined", BROKEN),
        (1, "FAILED tests/a.py::test_b - Failed: Timeout (>60.0s) from pytest-timeout", BROKEN),
        (1, "ERROR tests/a.py::test_b - AssertionError", BROKEN),
        (2, "ERROR tests/a.py - ImportError: no x", BROKEN),
        (5, "no tests ran", BROKEN),
    ],
)
def test_only_a_test_that_ran_and_failed_has_caught_it(
    code: int, output: str, verdict: str
) -> None:
    assert judged(code, output)[0] == verdict


def test_a_test_that_fails_anyway_catches_nothing() -> None:
    one = fault("one", "§7", "", "a.py", "a", "b", "x/test_y.py::test_z", "x/test_w.py")
    assert of_no_use(one, ("tests/x/test_y.py::test_z2",)) == ""
    for failing in ("tests/x/test_y.py::test_z[1]", "tests/x/test_w.py::test_any"):
        assert of_no_use(one, (failing,)) == failing


TESTED = "consensus/test_snowball.py::test_every_sequence_of_polls_agrees_with_the_reference"
SNOWBALL = "consensus/snowball.py"
HARMLESS = fault(
    "harmless", "§6", "", SNOWBALL, "self.polls += 1", "self.polls = self.polls + 1", TESTED
)
MISNAMED = fault("misnamed", "§6", "", SNOWBALL, "self.polls += 1", "self.polls += one", TESTED)
UNREADABLE = fault("unreadable", "§6", "", SNOWBALL, "self.polls += 1", "self.polls +=", TESTED)
GONE = fault("gone", "§6", "", SNOWBALL, "self.poll += 1", "", TESTED)
REAL = ("streak_not_cleared", "quorum_of_two_thirds", "vote_heard_before_the_disk")


@pytest.mark.slow
def test_real_faults_are_caught_and_others_told_apart(tmp_path: Path) -> None:
    chosen = [each for each in FAULTS if each.name in REAL]
    listed = [*chosen, HARMLESS, MISNAMED, UNREADABLE, GONE]
    before = (ROOT / SNOWBALL).read_text()
    findings = try_all([Copy(tmp_path / "copy")], listed, lambda line: None)
    told = {finding.fault.name: finding.verdict for finding in findings}
    others = {"harmless": MISSED, "misnamed": BROKEN, "unreadable": BROKEN, "gone": STALE}
    assert told == dict.fromkeys(REAL, CAUGHT) | others, findings
    named = [(each.test.split("[")[0], each.fault.tests) for each in findings if each.test]
    assert all(test in tests for test, tests in named), named
    assert (ROOT / SNOWBALL).read_text() == before, "only the copy is touched"
    assert (tmp_path / "copy" / SNOWBALL).read_text() == before, "each fault is taken out again"


@pytest.mark.slow
def test_the_command_answers_with_the_one_envelope(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--jobs", "1"], [HARMLESS]) == 1
    answer = json.loads(capfd.readouterr().out)
    assert (answer["schema"], answer["ok"]) == ("apocryph/1", False)
    data = answer["data"]
    assert (data["planted"], data["caught"]) == (1, 0)
    assert data["faults"][0]["verdict"] == MISSED


@pytest.mark.long
@pytest.mark.timeout(LIMIT_S)
def test_all_planted_faults_are_caught(capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["--json"])
    data = json.loads(capfd.readouterr().out)["data"]
    assert [each for each in data["faults"] if each["verdict"] != CAUGHT] == []
    assert (code, data["planted"]) == (0, len(FAULTS))
