"""What every command says: one JSON envelope, or text for people; exit codes; errors in one line.

Data goes to stdout, everything else to stderr. No traceback ever reaches a user; APOCRYPH_DEBUG=1
asks for it. Knows no command.
"""

import errno
import json
import os
import select
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, TextIO

import click

from consensus import errors as consensus_errors
from node.codes import Exit
from node.errors import (
    CheckpointRefused,
    FileUnusable,
    MessageInvalid,
    NodeError,
    NotProvable,
    PortBusy,
    ProofRefused,
    SignError,
    SpecUnusable,
    StoreFull,
    TimedOut,
    TrustTooOld,
    Unreachable,
    UsageError,
)

SCHEMA: Final = "apocryph/1"
# Of the outermost context; every command below it has them too.
SETTINGS: Final[Mapping[str, Any]] = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
}
INTERRUPTED: Final = Exit.INTERRUPTED  # what shells expect after Ctrl-C
CELL_CHARACTERS_MAX: Final = 120
Row = Sequence[object]


@dataclass(slots=True)
class Output:
    """Where one command's words go. `json`: the envelope instead of text."""

    json: bool = False
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    warnings: list[str] = field(default_factory=list)

    # ---- results --------------------------------------------------------------------------------

    def result(
        self,
        data: Mapping[str, object],
        text: str = "",
        *,
        ok: bool = True,
        errors: Sequence[NodeError] = (),
    ) -> Exit:
        """The command's answer; `ok=False`: a negative one. Returns the exit code to return.

        `errors`: what --json tells beside the data; the text says it in its own words.
        """
        if self.json:
            told = [error_record(error) for error in errors]
            self._line(self.stdout, envelope(data=data, ok=ok, errors=told, warnings=self.warnings))
        elif text:
            self._line(self.stdout, text)
        return Exit.OK if ok else Exit.NEGATIVE

    def item(self, record: Mapping[str, object], text: str, *, cursor: str) -> None:
        """One of many, as it comes: ndjson with its cursor, or a line of text.

        Raises BrokenPipeError when nobody reads: what may never end ends then.
        """
        line = compact({**record, "cursor": cursor}) if self.json else text
        print(line, file=self.stdout, flush=True)

    def line(self, text: str) -> None:
        """One of very many lines of data, not flushed; nobody needs to read them all."""
        try:
            self.stdout.write(text + "\n")
        except BrokenPipeError:
            silence(self.stdout)

    def table(self, columns: Sequence[str], rows: Sequence[Row]) -> str:
        """Rows as text: aligned for people on a terminal, tab-separated elsewhere."""
        cells = [[_cell(value) for value in row] for row in rows]
        if not self.terminal:
            return "\n".join(["\t".join(line) for line in [list(columns), *cells]])
        return _drawn(columns, cells)

    # ---- everything else ------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Progress, for people; silent with --json."""
        if not self.json:
            self._line(self.stderr, text)

    def warn(self, text: str) -> None:
        """Something the user should know; in the envelope with --json."""
        self.warnings.append(text)
        if not self.json:
            self._line(self.stderr, f"warning: {text}")

    def fail(self, error: NodeError, data: Mapping[str, object] | None = None) -> Exit:
        """Say an error: code, one line of cause, a hint. Returns its exit code."""
        if self.json:
            told = [error_record(error)]
            self._line(
                self.stdout, envelope(data=data, ok=False, errors=told, warnings=self.warnings)
            )
        else:
            self._line(self.stderr, f"error[{error.code}]: {one_line(str(error))}")
            self._line(self.stderr, f"hint: {error.hint}")
            self._line(self.stderr, f"more: apocryph explain {error.code}")
        return error.exit

    @property
    def terminal(self) -> bool:
        """Whether a person looks at stdout: a terminal, and no CI."""
        return not self.json and _is_terminal(self.stdout)

    @property
    def may_ask(self) -> bool:
        """Whether a question can be answered: never in CI, in a pipe or with --json."""
        return not self.json and _is_terminal(sys.stdin) and _is_terminal(self.stderr)

    def _line(self, stream: TextIO, text: str) -> None:
        """Said once: whether anybody reads it changes no exit code."""
        try:
            print(text, file=stream, flush=True)
        except BrokenPipeError:
            silence(stream)


def silence(stream: TextIO) -> None:
    """Whoever read it has seen enough: what is written from now on, also at exit, goes nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _unread(stream: TextIO) -> bool:
    """Whether nobody reads it any more."""
    try:
        number = stream.fileno()
    except OSError:  # no file of the system: nobody who could leave
        return False
    asked = select.poll()
    asked.register(number, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in asked.poll(0))


def _settle(stream: TextIO | None) -> None:
    """What was written goes out now, or nowhere; nothing fails at exit."""
    if stream is None or stream.closed:
        return
    try:
        stream.flush()
    except BrokenPipeError:
        silence(stream)


def _is_terminal(stream: TextIO | None) -> bool:
    if stream is None or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        return False
    return not stream.closed and stream.isatty()


# ---- forms --------------------------------------------------------------------------------------


def compact(value: Mapping[str, object]) -> str:
    """JSON in one line; bytes are a bug, ids are text by now."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def envelope(
    *,
    data: Mapping[str, object] | None,
    ok: bool,
    errors: Sequence[Mapping[str, object]] = (),
    warnings: Sequence[str] = (),
) -> str:
    """The one envelope of --json."""
    return compact(
        {
            "schema": SCHEMA,
            "ok": ok,
            "data": data,
            "errors": list(errors),
            "warnings": list(warnings),
        }
    )


def error_record(error: NodeError) -> dict[str, object]:
    """One of `errors` in the envelope, and of the API's error bodies."""
    return {
        "code": error.code,
        "message": one_line(str(error)),
        "hint": error.hint,
        "retryable": error.retryable,
    }


def one_line(text: str) -> str:
    """Text without line breaks and control characters."""
    return " ".join("".join([c if c.isprintable() else " " for c in text]).split())


def _cell(value: object) -> str:
    text = "-" if value is None else one_line(str(value))
    return text if len(text) <= CELL_CHARACTERS_MAX else text[: CELL_CHARACTERS_MAX - 1] + "…"


def _drawn(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    lines = [
        "  ".join([cell.ljust(width) for cell, width in zip(line, widths, strict=True)]).rstrip()
        for line in [list(columns), *cells]
    ]
    if "NO_COLOR" not in os.environ:
        lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
    return "\n".join(lines)


# ---- errors of other packages -------------------------------------------------------------------


class Bug(NodeError):
    """What nobody expected. `where`: the line of our code that it came from."""

    code = "bug"


def as_node_error(error: BaseException) -> NodeError:
    """The error that a user is told for whatever was raised."""
    match error:
        case NodeError():
            return error
        case click.UsageError():
            return UsageError(error.format_message(), hint=_usage_hint(error))
        case click.ClickException():
            return UsageError(error.format_message())
        case consensus_errors.NotProvable():
            return NotProvable(str(error))
        case consensus_errors.TrustExpired():
            return TrustTooOld(str(error))
        case consensus_errors.CheckpointMissed():
            return CheckpointRefused(str(error))
        case consensus_errors.InvalidProof():
            return ProofRefused(str(error))
        case consensus_errors.SignRefused():
            return SignError(str(error))
        case consensus_errors.SpecError() | consensus_errors.ParameterError():
            return SpecUnusable(str(error))
        case consensus_errors.TextError() | consensus_errors.EncodingError():
            return MessageInvalid(str(error))
        case OSError():
            return _system_error(error)
    return Bug(_bug_line(error))


def _system_error(error: OSError) -> NodeError:
    words = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if error.errno == errno.EADDRINUSE:
        return PortBusy(words)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFull(words)
    if isinstance(error, ConnectionError):
        return Unreachable(words)
    if isinstance(error, TimeoutError):
        return TimedOut(words)
    if error.filename:
        return FileUnusable(words)
    return Bug(_bug_line(error))


def _usage_hint(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "apocryph"
    return f"{path} --help"


def _bug_line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    return one_line(f"{type(error).__name__}: {error}{where}")


# ---- running commands ---------------------------------------------------------------------------


def with_output(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command `--json` and calls it with `output=Output(…)`."""

    @click.option("--json", "as_json", is_flag=True, help="one JSON envelope instead of text")
    @wraps(function)
    def call(*args: Any, as_json: bool, **options: Any) -> Any:
        return function(*args, output=Output(json=as_json), **options)

    return call


def run(command: click.Command, arguments: Sequence[str], *, name: str = "apocryph") -> int:
    """Run a command line; the exit code, whoever reads what it says. Every error ends here."""
    code = _run(command, arguments, name)
    _settle(sys.stdout)
    _settle(sys.stderr)
    return code


def _run(command: click.Command, arguments: Sequence[str], name: str) -> int:
    output = Output(json="--json" in arguments)
    try:
        # Not `command.main`: it has its own ways with interrupts and closed pipes.
        with command.make_context(name, list(arguments), **SETTINGS) as context:
            code = command.invoke(context)
        return int(code) if isinstance(code, int) else Exit.OK
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        if not output.json:
            print(error.format_message(), file=output.stderr)
            return Exit.USAGE
        return output.fail(UsageError("a command is missing", hint=_usage_hint(error)))
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _unread(sys.stdout):
            silence(sys.stdout)
            return Exit.OK  # a stream of items, or a text, of which enough was read
        if os.environ.get("APOCRYPH_DEBUG"):
            traceback.print_exc(file=output.stderr)
        return output.fail(as_node_error(error))
