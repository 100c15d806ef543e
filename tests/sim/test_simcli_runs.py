"""Real runs by `apocryph sim`: many seeds in workers, one again, and a fault of the product that is
found, cut down, kept as a case and shown again."""

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from node.cli.output import INTERRUPTED, Output
from node.codes import Exit
from testnet.sim.trial import run as run_one
from testnet.simulate.cases import read_case
from testnet.simulate.limits import KILL_WALL_S
from testnet.simulate.pool import Pool, Task, work_off
from testnet.simulate.report import has_plots
from testnet.simulate.runs import Wanted, run
from testnet.simulate.sources import Source
from tests.sim.simcli_stage import CRASHY, FAILING_SEED, FOUND_BY, TINY, Sim, run_planted, tiny
from tests.sim.simcli_worker import HANGS, end_as

ROOT = Path(__file__).resolve().parents[2]
NEVER = TINY.replace("heights = 1", "heights = 1000000")


@pytest.fixture
def sim(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sim:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    return Sim(capsys)


def body(html: Path) -> ElementTree.Element:
    """A page is well-formed, loads nothing, and has its plots inside."""
    text = html.read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>\n")
    assert not any(word in text for word in ("<script", "<img", "<link", "@import"))
    return ElementTree.fromstring(text)


def drawn(root: ElementTree.Element) -> int:
    return len(list(root.iter("{http://www.w3.org/2000/svg}svg")))


# ---- one seed, in this process ------------------------------------------------------------------


def test_a_replay_is_the_same_each_time_and_its_trace_is_a_file(sim: Sim) -> None:
    one = sim.json("replay", "tiny.toml", "--seed", "1", "--trace", "t.txt")
    assert one.code == Exit.OK and one.data["clean"] and one.data["failures"] == []
    assert one.data["command"] == "apocryph sim replay tiny.toml --seed 1"
    lines = Path("t.txt").read_text().splitlines()
    assert len(lines) == one.data["trace_lines"] > 100
    assert sum(" Commit " in line for line in lines) >= one.data["heights"] >= 2
    other = sim("replay", "tiny.toml", "--seed", "1", "--trace", "-")
    assert other.out.splitlines() == lines and one.data["trace_sha256"] in other.err


def test_a_schedule_takes_the_place_of_the_seeds_own(sim: Sim) -> None:
    Path("two.schedule").write_text("# one after the other\n100 crash 1 200 0\n600 crash 2 200 0\n")
    data = sim.json("replay", "tiny.toml", "--seed", "1", "--schedule", "two.schedule").data
    assert data["crashes"] == data["faults"] == 2
    Path("five.schedule").write_text("300 crash 4 400 0\n")
    error = sim.json("replay", "tiny.toml", "--seed", "1", "--schedule", "five.schedule").error
    assert "there are 4 nodes, 0 to 3" in error["message"]


def test_a_failing_replay_says_what_failed(sim: Sim) -> None:
    Path("never.toml").write_text(NEVER)
    said = sim("replay", "never.toml", "--seed", "1")
    assert said.code == Exit.NEGATIVE
    assert "liveness at " in said.out and "1 failure (commit " in said.out
    envelope = sim.json("replay", "never.toml", "--seed", "1").envelope
    assert envelope["ok"] is False and envelope["data"]["failures"][0]["checker"] == "liveness"
    (error,) = envelope["errors"]
    assert error["code"] == "check_failed" and "seed 1 failed: liveness: " in error["message"]
    assert error["hint"].startswith("apocryph sim replay never.toml --seed 1")


@pytest.mark.slow
def test_a_replay_is_drawn(sim: Sim) -> None:
    pytest.importorskip("matplotlib")
    data = sim.json("replay", "tiny.toml", "--seed", "1", "--plot", "plot.png").data
    assert data["plot"] == "plot.png"
    assert Path("plot.png").read_bytes().startswith(b"\x89PNG\r")


# ---- many seeds, in workers ---------------------------------------------------------------------


@pytest.mark.slow
def test_seeds_run_in_workers_and_leave_table_page_plot_and_traces(sim: Sim) -> None:
    words = ("run", "tiny.toml", "--seeds", "1..3", "--jobs", "2", "--trace", "t{seed}.txt")
    plot = ("--plot", "p.svg") if has_plots() else ()
    said = sim.json(*words, "--report", "r.html", *plot)
    data = said.data
    assert said.code == Exit.OK and (data["ran"], data["clean"], data["failing"]) == (3, 3, [])
    assert [row["seed"] for row in data["rows"]] == [1, 2, 3]
    assert data["total"]["heights"] == sum([row["heights"] for row in data["rows"]]) >= 6
    again = sim.json("replay", "tiny.toml", "--seed", "2").data
    row = data["rows"][1]
    assert row["trace_sha256"] == again["trace_sha256"], "in a worker as in this process"
    assert (row["polls"], row["signatures"]) == (again["polls"], again["signatures"])
    assert all(Path(f"t{seed}.txt").stat().st_size > 1_000 for seed in (1, 2, 3))
    root = body(Path("r.html"))
    assert "all 3 seeds clean" in "".join(root.itertext())
    if has_plots():
        assert drawn(root) == 2 and Path("p.svg").stat().st_size > 5_000


@pytest.mark.slow
def test_people_get_a_table_and_lines(sim: Sim) -> None:
    said = sim("run", "tiny.toml", "--seeds", "5", "--jobs", "1")
    assert said.code == Exit.OK
    assert said.out.splitlines()[0].startswith("NODES\tSEEDS\tCLEAN\tHEIGHTS")
    assert "tiny: 1 of 1 seeds clean (commit " in said.out


@pytest.mark.slow
def test_a_planted_fault_is_found_cut_down_kept_and_shown_again(sim: Sim, tmp_path: Path) -> None:
    """From a failing seed to one command that shows it, as a user goes."""
    Path("crashy.toml").write_text(CRASHY)
    stdout, stderr = io.StringIO(), io.StringIO()
    wanted = Wanted(
        source=Source("crashy.toml", tiny(CRASHY)),
        seeds=(FAILING_SEED, FAILING_SEED + 1),
        jobs=1,
        wall_s=60,
        shrink=True,
        out=tmp_path / "cases",
        report=tmp_path / "r.html",
        command="apocryph sim run crashy.toml",
    )
    code = run(wanted, Output(stdout=stdout, stderr=stderr), work=run_planted)
    assert code == Exit.NEGATIVE and "crashy: 1 of 2 seeds clean" in stdout.getvalue()
    assert f"apocryph sim replay crashy.toml --seed {FAILING_SEED}" in stderr.getvalue()
    (path,) = (tmp_path / "cases").iterdir()
    command = f"apocryph sim replay {path}"
    assert command in stdout.getvalue() and command in "".join(body(wanted.report).itertext())  # type: ignore[arg-type]
    case = read_case(path)
    assert case.failed.startswith(FOUND_BY) and len(case.schedule) <= 3
    outcome, _ = run_planted(case.scenario, case.seed, case.schedule, None)
    assert outcome.failures[0].checker in FOUND_BY
    said = sim.json(*shlex.split(command)[2:])
    assert said.code == Exit.OK and said.data["found_failing"] == case.failed
    assert run_one(case.scenario, case.seed, schedule=case.schedule).clean


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        (TINY, ("run", "x.toml", "--seeds", "1", "--jobs", "1"), Exit.OK),
        (NEVER, ("run", "x.toml", "--seeds", "1", "--jobs", "1"), Exit.NEGATIVE),
        (NEVER, ("replay", "x.toml", "--seed", "1", "--trace", "-"), Exit.NEGATIVE),
        (TINY, ("replay", "x.toml", "--seed", "1", "--trace", "-"), Exit.OK),
        ("loss = 3", ("run", "x.toml"), Exit.CONFIG),
        ("loss = 3", ("run", "x.toml", "--json"), Exit.CONFIG),
    ],
)
def test_nobody_who_reads_changes_no_exit_code(
    tmp_path: Path, text: str, words: tuple[str, ...], code: Exit
) -> None:
    """`apocryph sim … 2>&1 | head -0`."""
    (tmp_path / "x.toml").write_text(text)
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-m", "apocryph", "sim", *words]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=tmp_path, stdout=write, stderr=write, env=environment, timeout=60
        )
    finally:
        os.close(write)
    assert done.returncode == code


# ---- workers ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_that_dies_raises_or_hangs_costs_one_task() -> None:
    tasks = [Task(number, end_as, (number,)) for number in range(6)]
    done = {each.key: each for each in work_off(tasks, jobs=2, wall_s=4)}
    assert [done[number].value for number in (0, 4, 5)] == [0, 4, 5]
    assert (done[1].cause, done[2].cause, done[3].cause) == ("worker", "raised", "time")
    assert "SIGKILL" in done[1].lost and "ValueError: no" in done[2].lost


@pytest.mark.slow
def test_whoever_leaves_leaves_no_worker_behind() -> None:
    with Pool(1) as pool:
        results = pool.results([Task(0, end_as, (0,)), Task(1, end_as, (HANGS,))], wall_s=60)
        first = next(results)
        assert (first.key, first.value, first.lost) == (0, 0, "")
        (worker,) = pool._workers
        process = worker.process
        results.close()
    process.join(KILL_WALL_S)
    assert not process.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupt_leaves_what_is_known(as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the first seed: its row is told, the exit code is the shell's."""
    from testnet.simulate import runs

    def one_then_interrupt(*arguments: Any, **options: Any) -> Any:
        generator = real(*arguments, **options)
        try:
            yield next(generator)
            raise KeyboardInterrupt
        finally:
            generator.close()

    real = runs.run_seeds
    monkeypatch.setattr(runs, "run_seeds", one_then_interrupt)
    stdout = io.StringIO()
    wanted = Wanted(source=Source("tiny.toml", tiny()), seeds=(1, 2, 3), jobs=1, wall_s=60)
    output = Output(json=as_json, stdout=stdout, stderr=io.StringIO())
    assert run(wanted, output) == INTERRUPTED
    if not as_json:
        assert stdout.getvalue().endswith("\n\n1 of 3, interrupted\n")
        return
    envelope = json.loads(stdout.getvalue())
    (error,) = envelope["errors"]
    assert envelope["data"]["ran"] == 1 and not envelope["ok"]
    assert error["code"] == "interrupted" and error["message"] == "interrupted after 1 of 3 seeds"
