"""Programs of the tests end at Ctrl-C: one line, the exit code of the shell, nothing left over."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from node.cli.output import INTERRUPTED
from tests.ended import ended
from tests.fuzz.__main__ import main as fuzz
from tests.planted.__main__ import main as planted
from tests.planted.faults import FAULTS
from tests.planted.planting import ROOT, Copy, Ended

END_S = 30  # of a program that was told to end
SLEEPING = "import time\ndef test_it():\n    print('begun', flush=True)\n    time.sleep(300)\n"


def test_an_interrupt_is_one_line_and_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert ended(lambda: 1) == 1
    assert int(ended(interrupted)) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "stream"),
    [
        (("tests.model",), "stdout"),
        (("tests.fuzz", "value", "text", "--seconds", "1"), "stdout"),
        (("tests.planted", "--only", "streak_not_cleared", "--jobs", "1"), "stderr"),
    ],
    ids=lambda value: value[0] if type(value) is tuple else "",
)
def test_a_program_ends_at_ctrl_c(words: tuple[str, ...], stream: str) -> None:
    """After the first line that it says."""
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        first = getattr(process, stream).readline()
        assert first
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=END_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == INTERRUPTED
    assert err.splitlines()[-1] == "interrupted" and "Traceback" not in err


@pytest.mark.slow
def test_a_copy_that_is_told_to_end_kills_its_tests(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "copy")
    (copy.folder / "tests" / "test_sleeping.py").write_text(SLEEPING)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            copy.pytest("tests/test_sleeping.py", timeout=250)
        except Ended as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + END_S
    while (process := copy._process) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    copy.end()
    thread.join(END_S)
    assert process is not None and process.returncode == -signal.SIGKILL
    assert len(raised) == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    with pytest.raises(Ended):
        copy.pytest("tests/test_sleeping.py", timeout=1)


# ---- words of their command lines ---------------------------------------------------------------


def test_the_planted_faults_are_listed_as_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert planted(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(FAULTS)
    assert planted(["--list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and told["data"]["planted"] == len(FAULTS)
    assert [each["name"] for each in told["data"]["faults"]] == [each.name for each in FAULTS]


def test_a_replay_of_no_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fuzz(["value", "--replay", str(tmp_path / "none")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.endswith("none: No such file or directory\n")


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf"])
def test_a_time_that_is_none_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        fuzz(["value", f"--seconds={seconds}"])
    assert refused.value.code == 2 and "a number above 0" in capsys.readouterr().err
