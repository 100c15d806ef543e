"""`apocryph sim` as a user meets it, without a run: lists, texts, refusals, files."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from node.codes import Exit
from node.errors import ConfigError, NodeError, UsageError
from testnet.sim import scenario
from testnet.sim.adversaries import NAMES
from testnet.sim.checkers import Failure
from testnet.sim.faults import Fault
from testnet.sim.trial import Outcome
from testnet.simulate.cases import Recorded, case_text, read_case
from testnet.simulate.findings import Finding, told
from testnet.simulate.seeds import Ran, read_seeds, seeds_text
from testnet.simulate.toml import scenario_toml
from tests.sim.simcli_stage import CRASHY, Sim, tiny


@pytest.fixture
def sim(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sim:
    monkeypatch.chdir(tmp_path)
    return Sim(capsys)


# ---- lists and texts ----------------------------------------------------------------------------


def test_help_names_every_command(sim: Sim) -> None:
    said = sim("--help")
    assert said.code == Exit.OK
    for name in ("run", "replay", "scenarios", "show", "soak", "scale"):
        assert f"\n  {name} " in said.out


def test_scenarios_are_listed(sim: Sim) -> None:
    listed = sim.json("scenarios").data["scenarios"]
    assert [each["name"] for each in listed] == scenario.names()
    assert "storm\t4,7,13\t" in sim("scenarios").out


def test_a_shown_scenario_is_one_to_begin_with(sim: Sim, tmp_path: Path) -> None:
    text = sim("show", "storm").out
    assert scenario.parse(text, "shown") == scenario.parse(scenario.builtin("storm"), "storm")
    assert sim.json("show", "storm").data["toml"] == scenario.builtin("storm")


def test_the_parts_of_a_soak_are_listed(sim: Sim) -> None:
    parts = [each["name"] for each in sim.json("soak", "--list").data["parts"]]
    assert {"storm", "crashes", "adversaries", "mute", "model", "planted", "fuzz"} <= set(parts)
    assert len(sim("soak", "--list").out.splitlines()) == 1 + len(parts)


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "exit_code", "cause", "hint"),
    [
        (("run", "strom"), "usage", 2, "no scenario 'strom' (did you mean storm?)", "scenarios"),
        (("run", "none.toml"), "config_file", 3, "none.toml", "check the path"),
        (("run", "calm", "--seeds", "5..1"), "usage", 2, "'5..1' has no seeds", "1..5"),
        (("run", "calm", "--seeds", "x"), "usage", 2, "'x' are no seeds", "1..500"),
        (("run", "calm", "--seeds", "0..9999999"), "usage", 2, "more than", "several runs"),
        (("run", "calm", "--trace", "t"), "usage", 2, "one file for 20 seeds", "{seed}"),
        (("run", "calm", "--plot", "p.gif"), "usage", 2, "expected .svg", "--help"),
        (("run", "calm", "--report", "no/p.html"), "usage", 2, "no folder no", "make it"),
        (("replay", "calm"), "usage", 2, "which seed", "--seed 1"),
        (("replay", "none.toml"), "config_file", 3, "none.toml", "check the path"),
        (("replay", "calm", "--seed", "1", "--trace", "-"), "usage", 2, "want stdout", "a file"),
        (("show", "calmer"), "usage", 2, "did you mean calm?", "scenarios"),
        (("soak", "--only", "strom"), "usage", 2, "did you mean storm?", "one of mute"),
        (("rnu",), "usage", 2, "did you mean run?", "--help"),
    ],
)
def test_a_refusal_has_code_cause_and_hint(
    sim: Sim, words: tuple[str, ...], code: str, exit_code: int, cause: str, hint: str
) -> None:
    said = sim.json(*words)
    assert said.code == exit_code and said.error["code"] == code, said
    assert cause in said.error["message"] and hint in said.error["hint"], said.error


def test_a_scenario_that_cannot_run_is_told_with_its_file(sim: Sim) -> None:
    Path("mine.toml").write_text('name = "x"\n[weather]\nlos = 3\n')
    error = sim.json("run", "mine.toml").error
    assert error["code"] == "config_unknown_key" and "mine.toml: weather has no los" in str(error)
    assert "loss" in error["hint"]


def test_what_is_no_text_is_told_as_a_scenario(sim: Sim) -> None:
    Path("mine.toml").write_bytes(b'name = "\xff"\n')
    for words in (("run", "mine.toml"), ("replay", "mine.toml", "--seed", "1")):
        said = sim.json(*words)
        assert said.code == Exit.CONFIG and "no UTF-8" in said.error["message"]
        assert "as UTF-8" in said.error["hint"] and "node init" not in said.error["hint"]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ('[[adversaries]]\nkind = "mutes"\nnode = 0', "did you mean mute"),
        ('consensus = "solo"', "nodes = 1"),
        ('consensus = "raft"', "snowball"),
        ('name = "../esc"', "file names"),
    ],
)
def test_a_scenario_that_could_never_start_is_no_failing_seed(
    sim: Sim, line: str, hint: str
) -> None:
    Path("mine.toml").write_text("nodes = 4\n" + line)
    said = sim.json("run", "mine.toml", "--seeds", "1")
    assert said.code == Exit.CONFIG and said.envelope["data"] is None
    assert said.error["code"] == "config_value" and hint in said.error["hint"]


def test_a_picture_needs_the_extra(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testnet.scale.research.find_spec", lambda name: None)
    for words in (("run", "calm"), ("replay", "calm", "--seed", "1")):
        error = sim.json(*words, "--plot", "p.svg").error
        assert "matplotlib" in error["message"] and "apocryph[research]" in error["hint"]


# ---- seeds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("7", (7,)), ("1..3", (1, 2, 3)), ("3,1..2,2", (1, 2, 3)), ("0..0, 9", (0, 9))],
)
def test_seeds_are_read_and_written(text: str, seeds: tuple[int, ...]) -> None:
    assert read_seeds(text) == seeds
    assert read_seeds(seeds_text(seeds)) == seeds


@pytest.mark.parametrize("text", ["", "1..", "..3", "1-3", "-1", "1...3", "٣", "1e3"])
def test_what_are_no_seeds(text: str) -> None:
    with pytest.raises(UsageError):
        read_seeds(text)


# ---- scenarios and cases as files ---------------------------------------------------------------


@pytest.mark.parametrize("name", scenario.names())
def test_a_scenario_is_written_as_it_is_read(name: str) -> None:
    chosen = scenario.parse(scenario.builtin(name), name)
    assert scenario.parse(scenario_toml(chosen, ["a comment"]), "again") == chosen


def recorded(text: str = CRASHY) -> Recorded:
    schedule = (Fault(10, "partition", (0, 2), 500, 0), Fault(700, "lossy", (), 10, 40))
    return Recorded(3, tiny(text), schedule, 'history: "two" signed', "v1-2-gabc")


@pytest.mark.parametrize("about", ["plain", "it's '''quoted''' \\ and", "ünïcode"])
def test_a_case_is_written_as_it_is_read(tmp_path: Path, about: str) -> None:
    case = recorded()
    case = replace(case, scenario=replace(case.scenario, about=about))
    path = tmp_path / "x.case.toml"
    path.write_text(case_text(case, ("how it was found",)), encoding="utf-8")
    assert read_case(path) == case


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed = 3", "seed = -3", "seed is a number"),
        ("seed = 3", 'seed = "3"', "seed is a number"),
        ("seed = 3", "seed = 3\nspeed = 4", "a case has no speed"),
        ("10 partition", "10 gossip", "not a fault"),
        ("10 partition 0,2", "10 partition 0,4", "0 to 3"),
        ("loss = 20", "los = 20", "weather has no los"),
        ("commit = ", "commit = 3 #", "commit is a text"),
    ],
)
def test_a_case_that_cannot_run_is_refused(sim: Sim, old: str, new: str, words: str) -> None:
    text = case_text(recorded())
    assert old in text
    Path("bad.case.toml").write_text(text.replace(old, new, 1))
    said = sim.json("replay", "bad.case.toml")
    assert said.code in (Exit.USAGE, Exit.CONFIG) and words in said.error["message"], said


def test_a_case_is_no_scenario_and_has_its_seed(sim: Sim) -> None:
    Path("x.case.toml").write_text(case_text(recorded()))
    assert sim.json("run", "x.case.toml").error["hint"] == "apocryph sim replay x.case.toml"
    assert "its own seed" in sim.json("replay", "x.case.toml", "--seed", "1").error["message"]


def test_errors_of_files_are_errors_of_the_command(tmp_path: Path) -> None:
    path = tmp_path / "x.case.toml"
    for raw in (b"\xff", b"seed = ", b"x" * 2_000_000):
        path.write_bytes(raw)
        with pytest.raises(ConfigError):
            read_case(path)
    with pytest.raises(NodeError, match=r"x\.case\.toml"):
        read_case(path)


# ---- what a failing seed is told as -------------------------------------------------------------


def test_a_finding_says_what_where_and_how_to_see_it_again() -> None:
    failures = [Failure("agreement", "two blocks at 7", 4_321)]
    failures += [Failure("roots", f"root {number}", 5_000) for number in range(4)]
    outcome = Outcome(9, "storm", 7, failures=tuple(failures))
    finding = Finding(Ran(outcome), "my storm.toml")
    lines = finding.text().splitlines()
    assert lines[0].startswith("seed 9 failed (storm, 7 nodes, commit ")
    assert lines[1] == "  agreement at 4.321 s: two blocks at 7"
    assert lines[-2] == "  and 2 more"
    assert lines[-1] == "  apocryph sim replay 'my storm.toml' --seed 9"
    record = finding.record()
    assert record["replay"] == lines[-1].strip() and len(record["failures"]) == 5


def test_a_traceback_is_told_in_a_line() -> None:
    text = 'AssertionError: no\nTraceback\n  File "/x/a.py", line 3, in f\n    f()\n'
    assert told(text) == "AssertionError: no (a.py:3 f)"


# ---- the page about it --------------------------------------------------------------------------


def test_the_page_names_every_field_fault_and_checker() -> None:
    from dataclasses import fields

    from testnet.sim.scenario import KINDS, Load, Machines, Phases, Rule, Scenario, Weather

    root = Path(__file__).resolve().parents[2]
    page = (root / "docs" / "simulator.md").read_text(encoding="utf-8")
    named = [each.name for kind in (Weather, Machines, Load, Phases, Rule) for each in fields(kind)]
    tables = ("weather", "machines", "load", "phases", "parameters", "faults", "adversaries")
    named += [each.name for each in fields(Scenario) if each.name not in tables]
    sources = "".join([path.read_text() for path in (root / "testnet" / "sim").glob("*.py")])
    checkers = dict.fromkeys(re.findall(r'fail\("(\w+)"', sources))
    assert len(checkers) >= 12
    missing = [name for name in (*named, *KINDS, *checkers) if f"`{name}`" not in page]
    assert not missing
    for name in tables:
        assert f"[{name}]" in page


def test_the_page_names_every_adversary_and_no_other() -> None:
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs" / "simulator.md").read_text(encoding="utf-8")
    table = page.partition("| they | kinds |")[2].partition("\n\n")[0]
    assert re.findall(r"`(\w+)`", table) == list(NAMES)
