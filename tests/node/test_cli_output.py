"""The envelope, text for people, exit codes, errors of every origin in one line."""

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from consensus.errors import InvalidProof, ParameterError, SignRefused, TextError
from node.cli.output import SCHEMA, Output, as_node_error, one_line, run, with_output
from node.codes import Exit
from node.errors import Busy, NodeError, NotFound, StoreFull, TimedOut, UsageError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def output(*, as_json: bool = False, terminal: bool = False) -> Output:
    kind = Terminal if terminal else io.StringIO
    return Output(json=as_json, stdout=kind(), stderr=kind())


def said(made: Output) -> tuple[str, str]:
    assert isinstance(made.stdout, io.StringIO) and isinstance(made.stderr, io.StringIO)
    return made.stdout.getvalue(), made.stderr.getvalue()


def test_a_result_is_text_or_the_envelope() -> None:
    text, enveloped = output(), output(as_json=True)
    for made in (text, enveloped):
        made.note("working")
        made.warn("old version")
        assert made.result({"height": 5}, "height 5") == Exit.OK
    assert said(text) == ("height 5\n", "working\nwarning: old version\n")
    out, err = said(enveloped)
    assert err == ""
    assert json.loads(out) == {
        "schema": SCHEMA,
        "ok": True,
        "data": {"height": 5},
        "errors": [],
        "warnings": ["old version"],
    }
    assert out.count("\n") == 1


def test_a_negative_answer_is_exit_1() -> None:
    made = output(as_json=True)
    assert made.result({"found": False}, ok=False) == Exit.NEGATIVE
    assert json.loads(said(made)[0])["ok"] is False


def test_an_error_is_code_cause_and_hint() -> None:
    text, enveloped = output(), output(as_json=True)
    error = StoreFull("/data: no room\nfor a write\x1b[31m")
    for made in (text, enveloped):
        assert made.fail(error, {"id": "b…"}) == Exit.SAFETY
    out, err = said(text)
    assert out == ""
    first, hint, more = err.splitlines()
    assert first == "error[store_full]: /data: no room for a write [31m"
    assert hint == f"hint: {error.hint}"
    assert more == "more: apocryph explain store_full"
    told = json.loads(said(enveloped)[0])
    assert told["data"] == {"id": "b…"}
    assert told["errors"] == [
        {
            "code": "store_full",
            "message": "/data: no room for a write [31m",
            "hint": error.hint,
            "retryable": True,
        }
    ]


def test_items_are_lines_with_a_cursor() -> None:
    made = output(as_json=True)
    for index in range(3):
        made.item({"height": index}, f"height {index}", cursor=f"{index}.0")
    lines = [json.loads(line) for line in said(made)[0].splitlines()]
    assert lines[2] == {"height": 2, "cursor": "2.0"}


def test_a_table_is_aligned_for_people_and_tabbed_for_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    rows = [("alice", 5), ("bob", None), ("c\nd" + "x" * 500, 1)]
    plain = output().table(("NAME", "SUM"), rows).splitlines()
    assert plain[:3] == ["NAME\tSUM", "alice\t5", "bob\t-"]
    drawn = output(terminal=True).table(("NAME", "SUM"), rows[:2]).splitlines()
    assert drawn == ["\x1b[1mNAME   SUM\x1b[0m", "alice  5", "bob    -"]
    monkeypatch.setenv("NO_COLOR", "1")
    assert output(terminal=True).table(("NAME", "SUM"), rows).splitlines()[0].startswith("NAME")
    assert max(map(len, plain)) < 140
    monkeypatch.setenv("CI", "1")
    assert not output(terminal=True).terminal
    assert not output(terminal=True).may_ask


@pytest.mark.parametrize(
    ("error", "code", "exit_"),
    [
        (NotFound("x"), "not_found", 1),
        (click.UsageError("x"), "usage", 2),
        (click.BadParameter("x"), "usage", 2),
        (ParameterError("k/2 < alpha"), "spec", 3),
        (ConnectionRefusedError("x"), "unreachable", 4),
        (TimeoutError("x"), "timeout", 6),
        (TimedOut("x"), "timeout", 6),
        (SignRefused("x"), "sign_refused", 7),
        (OSError(errno.ENOSPC, "No space"), "store_full", 7),
        (OSError(errno.EADDRINUSE, "In use"), "port_busy", 8),
        (Busy("x"), "folder_busy", 8),
        (PermissionError(13, "Permission denied", "/etc/x"), "file", 3),
        (InvalidProof("path"), "proof", 1),
        (TextError("x"), "message_invalid", 2),
        (ZeroDivisionError("x"), "bug", 70),
        (AssertionError(), "bug", 70),
        (OSError("x"), "bug", 70),
    ],
)
def test_whatever_is_raised_has_a_code_and_an_exit(
    error: BaseException, code: str, exit_: int
) -> None:
    told = as_node_error(error)
    assert (told.code, int(told.exit)) == (code, exit_)


def test_one_line_is_one_line() -> None:
    assert one_line("a\n b\t\x00c\u2028d") == "a b c d"


# ---- run ----------------------------------------------------------------------------------------


def command_that(act: Callable[[Output], object]) -> click.Command:
    @click.command()
    @click.option("--count", type=int)
    @with_output
    def command(count: int | None, output: Output) -> object:
        return act(output)

    return command


def raising(error: BaseException) -> click.Command:
    def act(output: Output) -> object:
        raise error

    return command_that(act)


def test_run_gives_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command_that(lambda made: made.result({}, "done")), []) == 0
    assert run(command_that(lambda made: None), []) == 0
    assert run(command_that(lambda made: made.result({}, ok=False)), ["--json"]) == 1
    assert run(command_that(lambda made: None), ["--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("done\n") and "--json" in out and err == ""


@pytest.mark.parametrize("arguments", [["--nope"], ["--count", "x"], ["surplus"]])
def test_a_wrong_command_line_is_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(command_that(lambda made: None), arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error[usage]: ") and "--help" in err
    assert run(command_that(lambda made: None), [*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["errors"][0]["code"] == "usage"


def test_an_error_is_told_without_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("APOCRYPH_DEBUG", raising=False)
    assert run(raising(NotFound("no such thing")), []) == 1
    assert run(raising(ZeroDivisionError("by zero")), []) == 70
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "error[bug]: ZeroDivisionError: by zero at test_cli_output.py:" in err
    monkeypatch.setenv("APOCRYPH_DEBUG", "1")
    assert run(raising(ZeroDivisionError("by zero")), []) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    group = click.Group("nouns", commands=[command_that(lambda made: None)])
    assert run(group, []) == 2
    out, err = capsys.readouterr()
    assert out == "" and "Usage: apocryph" in err
    assert run(group, ["nope"]) == 2
    assert "hint: apocryph --help" in capsys.readouterr().err


def test_an_interrupt_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr() == ("", "")


def test_an_unknown_error_class_still_has_a_hint() -> None:
    class Odd(NodeError):
        pass

    made = output()
    assert made.fail(Odd("strange")) == Exit.BUG
    assert "hint: " in said(made)[1]


class Closed(io.StringIO):
    """A pipe whose reader is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.silenced = os.open(os.devnull, os.O_RDONLY)

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def fileno(self) -> int:
        return self.silenced


def test_an_answer_that_nobody_reads_keeps_its_exit_code() -> None:
    made = Output(stdout=Closed(), stderr=Closed())
    try:
        made.note("working")
        made.line("one of many")
        assert made.result({}, "yes") == Exit.OK
        assert made.result({}, "no", ok=False) == Exit.NEGATIVE
        assert made.fail(NotFound("x")) == Exit.NEGATIVE
        assert made.fail(UsageError("x")) == Exit.USAGE
        with pytest.raises(BrokenPipeError):
            made.item({}, "x", cursor="")
    finally:
        for stream in (made.stdout, made.stderr):
            os.close(stream.fileno())


def test_a_broken_pipe_elsewhere_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(BrokenPipeError("a node went away")), []) == Exit.UNREACHABLE
    assert "error[unreachable]" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = (
        "import click\n"
        "from node.cli.output import run, with_output\n"
        "@click.command()\n"
        "@with_output\n"
        "def many(output):\n"
        "    for n in range(100000): output.item({}, 'x' * 100, cursor='')\n"
        "raise SystemExit(run(many, []))\n"
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe)
    assert process.stdout is not None and process.stderr is not None
    try:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
