"""`apocryph sim soak`: its page and data, parts that fail, raise, find no time or are interrupted;
real parts with small numbers."""

import fcntl
import io
import json
import sys
import time
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

from node.cli.output import INTERRUPTED, Output
from node.codes import Exit
from testnet.sim.checkers import Failure
from testnet.sim.cycles import Cycles
from testnet.sim.sieges import siege
from testnet.sim.trial import Outcome
from testnet.sim.whispers import Whispers
from testnet.simulate import (
    soak_crashes,
    soak_programs,
    soak_seeds,
    soak_tables,
    soak_whispers,
)
from testnet.simulate.findings import Finding
from testnet.simulate.report import has_plots
from testnet.simulate.sections import NO_TIME, Interrupted, Part, Section, Stint, Table
from testnet.simulate.seeds import Ran
from testnet.simulate.soak import PARTS, Soak, chosen, run
from testnet.simulate.sources import Source
from tests.sim.simcli_stage import CRASHY, FAILING_SEED, run_planted, tiny


def stint(out: Path, *, seconds: float = 60.0) -> Stint:
    output = Output(stdout=io.StringIO(), stderr=io.StringIO())
    deadline = time.monotonic() + seconds
    return Stint(jobs=1, deadline=deadline, first_seed=1, out=out, output=output)


def part(name: str, section: Section | BaseException, share: int = 1) -> Part:
    """A part that leaves this, at once."""

    def work(stint_: Stint) -> Section:
        assert stint_.left_s > 0
        if isinstance(section, BaseException):
            raise section
        return section

    return Part(name=name, about=f"about {name}", share=share, run=work)


def soaked(out: Path, *parts: Part) -> tuple[int, dict[str, object], str]:
    """(exit code, the data, the words of the page) of a soak of these parts."""
    stdout = io.StringIO()
    output = Output(json=True, stdout=stdout)
    code = run(Soak(minutes=1, out=out), output, parts=parts)
    data = json.loads((out / "soak.json").read_text())
    told = json.loads(stdout.getvalue())
    assert told["ok"] is (code == Exit.OK) and data.items() <= told["data"].items()
    html = (out / "soak.html").read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>\n")
    assert not any(word in html for word in ("<script", "<img", "<link", "@import"))
    return code, data, " ".join(ElementTree.fromstring(html).itertext())


def good() -> Section:
    table = Table("Cap", ("a",), [(1,)])
    return Section(good=True, told="7 of 7", record={"seven": 7}, tables=[table])


def test_page_and_data_say_what_came_out(tmp_path: Path) -> None:
    code, data, words = soaked(tmp_path, part("one", good()), part("two", good()))
    assert code == Exit.OK and data["good"] is True
    assert data["parts"]["one"]["seven"] == 7  # type: ignore[index]
    for word in ("nothing failed", "one: about one", "7 of 7", "Cap", "apocryph sim soak"):
        assert word in words
    assert "for want of time" not in words


def test_a_part_that_failed_is_told_with_its_command(tmp_path: Path) -> None:
    outcome = Outcome(3, "storm", 4, failures=(Failure("roots", "differ", 1_500),))
    bad = Section(good=False, told="1 of 2 failed", findings=[Finding(Ran(outcome), "storm")])
    code, data, words = soaked(tmp_path, part("one", bad), part("two", good()))
    assert code == Exit.NEGATIVE and data["good"] is False
    assert "failed: one" in words and "roots at 1.500 s: differ" in words
    assert "apocryph sim replay storm --seed 3" in words and "two: about two" in words


def test_a_part_that_raises_fails_and_the_others_go_on(tmp_path: Path) -> None:
    code, data, words = soaked(tmp_path, part("one", ValueError("no\nmore")), part("two", good()))
    assert code == Exit.NEGATIVE and data["parts"]["two"]["good"]  # type: ignore[index]
    assert data["parts"]["one"]["told"] == "ValueError: no"  # type: ignore[index]
    assert "Traceback" in words


def test_what_was_left_undone_is_no_failure_and_is_said(tmp_path: Path) -> None:
    short = Section(good=True, complete=False, told="3 of 7")
    code, data, words = soaked(tmp_path, part("one", short))
    assert code == Exit.OK and data["parts"]["one"]["complete"] is False  # type: ignore[index]
    assert "for want of time: one" in words
    assert "… 3 of 7" in words and "… nothing failed" in words and "✓" not in words


@pytest.mark.parametrize("ended", [Interrupted(good()), KeyboardInterrupt()], ids=["told", "raw"])
def test_an_interrupt_ends_it_with_what_is_known(tmp_path: Path, ended: BaseException) -> None:
    code, data, words = soaked(tmp_path, part("one", ended), part("two", good()))
    assert code == INTERRUPTED and data["interrupted"] is True and data["good"] is False
    assert list(data["parts"]) == ["one"] and "interrupted" in words  # type: ignore[call-overload]


def test_time_that_is_left_goes_to_the_parts_behind(tmp_path: Path) -> None:
    left: list[float] = []

    def work(stint_: Stint) -> Section:
        left.append(stint_.left_s)
        return good()

    parts = [
        Part(name=str(n), about="", share=share, run=work) for n, share in enumerate((1, 1, 2))
    ]
    output = Output(stdout=io.StringIO(), stderr=io.StringIO())
    run(Soak(minutes=1, out=tmp_path), output, parts=parts)
    assert left == pytest.approx([60 * 10 / 42, 60 * 11 / 32, 60], abs=2), (
        "the whole minute, since nobody took any"
    )


def test_parts_are_chosen_by_name_in_their_order() -> None:
    assert [each.name for each in chosen(("storm", "mute"))] == ["mute", "storm"]
    assert chosen(()) == list(PARTS)
    assert all(each.share > 0 and each.about for each in PARTS)


def test_without_time_nothing_is_begun(tmp_path: Path) -> None:
    for each in PARTS:
        section = each.run(stint(tmp_path, seconds=0))
        assert section.good and not section.complete, each.name
        assert section.told == NO_TIME or "not begun" in section.told or "not here" in section.told


# ---- programs -----------------------------------------------------------------------------------


def program(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m tests.NAME` of a checkout of its own."""
    place = folder / "tests" / name
    place.mkdir(parents=True)
    (place / "__main__.py").write_text(text)
    monkeypatch.setattr(soak_programs, "ROOT", folder)


def test_outside_a_checkout_programs_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak_programs, "ROOT", tmp_path)
    for work in (soak_programs.model, soak_programs.planted, soak_programs.fuzz):
        section = work(stint(tmp_path))
        assert section.good and not section.complete and "part of a checkout" in section.told


FUZZ = """
import json, sys
if sys.argv[1:] == ["--list"]:
    print("votes   3 inputs" + chr(10) + "blocks  4 inputs")
    sys.exit()
assert sys.argv[1:4] == ["--json", "--seconds", "22.50"] and sys.argv[4:] == ["--seed", "1"]
print(json.dumps({"target": "votes", "inputs": 1200, "failed": None}))
failed = {"place": "x", "error": "ValueError: no", "replay": "python -m tests.fuzz blocks"}
print(json.dumps({"target": "blocks", "inputs": 34, "failed": failed}))
sys.exit(1)
"""


def test_what_the_fuzzer_says_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "fuzz", FUZZ.replace('"22.50"', "sys.argv[3]"), monkeypatch)
    section = soak_programs.fuzz(stint(tmp_path, seconds=60))
    assert section.told == "1,234 inputs to 2 of 2 targets, 1 failing"
    assert not section.good and section.complete
    assert section.record["seconds_each"] == pytest.approx(22.5, abs=2)
    assert section.tables[0].rows[1] == ("blocks", "34", False)
    assert section.texts == ["ValueError: no\npython -m tests.fuzz blocks"]


PLANTED = """
import json, sys
assert sys.argv[1:] == ["--json", "--jobs", "1", "--only", "a"], sys.argv
row = {"name": "a", "rule": "6", "verdict": "missed", "test": "", "cause": "c", "seconds": 1.0}
row["what"] = "off by one"
print(json.dumps({"data": {"planted": 1, "caught": 0, "seconds": 1.0, "faults": [row]}}))
sys.exit(1)
"""


def test_a_planted_fault_that_nobody_caught_fails_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "planted", PLANTED, monkeypatch)
    listed = "import collections\nNamed = collections.namedtuple('Named', 'name')\n"
    listed += "FAULTS = [Named('a'), Named('b')]\n"
    (tmp_path / "tests" / "planted" / "faults.py").write_text(listed)
    section = soak_programs.planted(stint(tmp_path))
    assert not section.good and not section.complete, "one of twenty: there is a minute"
    assert section.told.startswith("0 of 1 caught")
    assert section.texts == ["missed: a: off by one (c)"]


def test_a_program_that_ends_without_an_answer_fails_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "model", "raise SystemExit('no memory')", monkeypatch)
    section = soak_programs.model(stint(tmp_path))
    assert not section.good and "ended with 1" in section.told and section.texts == ["no memory"]


def test_a_program_is_ended_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It and its child hold a lock as long as they live: nobody does afterwards."""
    lock = tmp_path / "lock"
    text = (
        "import fcntl, os, signal\n"
        f"held = open({str(lock)!r}, 'w')\n"
        "fcntl.flock(held, fcntl.LOCK_EX)\n"
        "os.write(held.fileno(), b'x')\n"
        "os.fork()\n"
        "signal.pause()\n"
    )
    program(tmp_path, "model", text, monkeypatch)
    said = soak_programs.call(["-m", "tests.model"], wall_s=1.5)
    assert said.code is None and lock.read_bytes() == b"x"
    with lock.open() as ours:
        fcntl.flock(ours, fcntl.LOCK_EX)  # waits for whoever is left of them


# ---- real parts, small --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_failing_seed_of_a_part_is_kept_as_a_scenario(tmp_path: Path) -> None:
    word = str(tmp_path / "scenarios" / "crashy.toml")
    plan = [(Source(word, tiny(CRASHY)), seed) for seed in (FAILING_SEED, FAILING_SEED + 1)]
    runs = soak_seeds.run_plan(stint(tmp_path), "crashy", plan, 2, work=run_planted)
    assert (runs.total.seeds, runs.total.clean) == (2, 1)
    (finding,) = runs.findings
    assert finding.replay == f"apocryph sim replay {word} --seed {FAILING_SEED}"
    assert Path(word).exists(), "what the command names"


def test_every_kind_of_adversary_is_cast_alone_and_with_every_other(tmp_path: Path) -> None:
    from testnet.sim.adversaries import NAMES

    casts = soak_seeds.casts(tmp_path)
    names = [each.scenario.name for each in casts]
    assert len(names) == len(dict.fromkeys(names))
    acting = [name for name in NAMES if name not in soak_seeds.ALONE]
    assert [f"{name}-of-4" for name in acting] == names[: len(acting)]
    pairs = {frozenset(v.kind for v in each.scenario.adversaries) for each in casts}
    liars = [name for name in acting if NAMES[name].liar]
    assert all(frozenset((a, b)) in pairs for a in liars for b in liars)


@pytest.mark.slow
def test_casts_and_sieges_add_up_poll_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = soak_seeds.casts(tmp_path)[:1]
    monkeypatch.setattr(soak_seeds, "casts", lambda out: few)
    monkeypatch.setattr(soak_seeds, "siege", partial(siege, sizes=(4,), wild=False))
    monkeypatch.setattr(soak_seeds, "ADVERSARY_POLLS", 700)
    section = soak_seeds.adversaries(stint(tmp_path))
    assert section.good and section.complete, section.told
    assert section.record["total"]["polls"] > 700 and "no disagreements" in section.told
    kinds = section.record["kinds"]
    assert len(kinds) >= 2 and kinds["mute"]["polls"] > 100, "a siege came after the cast"


@pytest.mark.slow
def test_crash_cycles_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_crashes, "CYCLES", 40)
    monkeypatch.setattr(soak_crashes, "CYCLES_A_CALL", 20)
    section = soak_crashes.crashes(stint(tmp_path))
    assert section.good and section.complete
    assert section.record["cycles"] == 40 == sum(section.record["points"].values())
    assert section.record["signatures"] > 20


@pytest.mark.slow
def test_whispered_scenes_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_whispers, "SCENES", 4)
    monkeypatch.setattr(soak_whispers, "SCENES_A_CALL", 2)
    section = soak_whispers.whispered(stint(tmp_path))
    assert section.good and section.complete and "each healed" in section.told
    assert section.record["scenes"] == 4 and section.record["words"] > 10


def test_a_scene_that_does_not_heal_is_told_with_a_command() -> None:
    sums = soak_whispers.Sums()
    sums.add(Whispers(scenes=2, failures=[(7, Failure("liveness", "no height", 9))]))
    assert sums.failures[0] == "seed 7: liveness: no height"
    assert "whispers(1, seed=7).failures" in sums.failures[1]


def test_a_failing_cycle_is_told_with_a_command() -> None:
    sums = soak_crashes.Sums()
    sums.add(Cycles(cycles=3, failures=[(7, Failure("history", "two signed values", 9))]))
    assert sums.cycles == 3 and "seed 7: history: two signed" in sums.failures[0]
    assert "crash_cycles(1000, seed=7).failures" in sums.failures[1]


@pytest.mark.slow
def test_small_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_tables, "TABLE_SEEDS", 1)
    monkeypatch.setattr(soak_tables, "MUTE_PERCENTS", (0, 20))
    monkeypatch.setattr(soak_tables, "MUTE_SIMULATED_S", 1)
    section = soak_tables.mute(stint(tmp_path))
    rates = section.record["blocks_per_minute"]
    assert section.complete and rates["0"][0] > 4 * rates["20"][0]
    assert section.tables[0].rows[0][:2] == ("0 %", 1)
    assert len(section.pictures) == has_plots()


@pytest.mark.slow
def test_shares_of_slots_are_judged_over_all_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak_tables, "MINERS_SEEDS", 1)
    monkeypatch.setattr(soak_tables, "MINERS_EPOCHS", 1)
    section = soak_tables.shares(stint(tmp_path))
    assert section.complete and section.record["heights"] == 16
    assert sum([row["slots"] for row in section.record["miners"]]) == pytest.approx(1)
    monkeypatch.setattr(soak_tables, "SIGMAS", 0)
    assert not soak_tables.shares(stint(tmp_path)).good, "a third of the slots is not 50 %"


@pytest.mark.slow
def test_the_command_itself(tmp_path: Path) -> None:
    """`python -m testnet.simulate.soak` with a part that ends soon."""
    import subprocess

    out = tmp_path / "soak"
    words = ["--only", "weather", "--minutes", "0.02", "--jobs", "1", "--out", str(out), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "testnet.simulate.soak", *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == Exit.OK, (done.stdout, done.stderr)
    data = json.loads(done.stdout)["data"]
    assert data["parts"]["weather"]["complete"] is False and data["parts"]["weather"]["total"]
    assert (out / "soak.html").stat().st_size > 3_000
