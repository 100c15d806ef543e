"""The command `python -m bench`: one figure, the list of figures, or all of them.

Ends with 0, or 2 for a name that is no figure, 5 where a figure is not available or failed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bench import figures, report
from bench.figures import BenchError, Unavailable, UnknownFigure
from bench.machine import busy_warning, this_machine

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 5


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        return _list(as_json=options.json)
    if options.soak is not None:
        return _soak(options.soak, as_json=options.json)
    if options.all:
        return _all(write=options.write, with_peers=options.peer, as_json=options.json)
    if options.write:
        parser.error("--write needs --all: a table is written from one whole run")
    if options.name is None:
        parser.error("a figure's name, --list or --all")
    return _one(options.name, with_peer=options.peer, as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="the figure to take")
    parser.add_argument("--list", action="store_true", help="the names of all figures")
    parser.add_argument("--all", action="store_true", help="take every figure")
    parser.add_argument("--write", action="store_true", help="with --all: rewrite bench/README.md")
    parser.add_argument(
        "--soak",
        type=Path,
        action="append",
        metavar="FILE",
        help="write the table of a soak from its soak.json; may be given more than once",
    )
    parser.add_argument("--json", action="store_true", help="one JSON envelope on stdout")
    parser.add_argument(
        "--no-peer", dest="peer", action="store_false", help="do not run the peer beside it"
    )
    return parser


def _one(name: str, *, with_peer: bool, as_json: bool) -> int:
    busy = busy_warning()
    warnings = [] if busy is None else [busy]
    try:
        figure = figures.find(name)
    except BenchError as error:
        return _refused(error, None, as_json=as_json)
    try:
        taken = figures.take(figure, with_peer=with_peer)
    except BenchError as error:
        return _refused(error, report.listed(figure), as_json=as_json)
    machine = this_machine()
    if as_json:
        print(report.envelope(report.as_value(taken, machine), warnings=warnings))
        return EXIT_OK
    for warning in warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(report.as_text(taken, machine))
    return EXIT_OK


def _soak(files: Sequence[Path], *, as_json: bool) -> int:
    from bench import soaked

    try:
        table = soaked.write(files)
    except BenchError as error:
        return _refused(error, None, as_json=as_json)
    print(report.envelope({"table": table}, warnings=()) if as_json else table)
    return EXIT_OK


def _refused(error: BenchError, data: object, *, as_json: bool) -> int:
    if as_json:
        print(report.envelope(data, errors=[error], warnings=()))
    else:
        lead = "not available: " if isinstance(error, Unavailable) else ""
        print(f"{error.code}: {lead}{error.reason}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
    return EXIT_USAGE if isinstance(error, UnknownFigure) else EXIT_UNAVAILABLE


def _list(*, as_json: bool) -> int:
    rows: list[report.Value] = []
    for name in figures.MODULES:
        try:
            rows.append(report.listed(figures.find(name)))
        except Unavailable as error:
            rows.append({"name": name, "what": f"not available: {error.reason}"})
    if as_json:
        print(report.envelope(rows, warnings=()))
        return EXIT_OK
    width = max(len(name) for name in figures.MODULES)
    for row in rows:
        print(f"{row['name']:{width}}  {row['what']}")
    return EXIT_OK


def _all(*, write: bool, with_peers: bool, as_json: bool) -> int:
    from bench import table, whole

    # Under --json stdout is the envelope's alone, so the progress goes to stderr.
    progress = sys.stderr if as_json else sys.stdout

    def show(row: table.Row) -> None:
        print(row.line(), file=progress, flush=True)

    today = datetime.now(UTC).date()
    rows = whole.run_all(with_peers=with_peers, report=show, today=today)
    machine = str(this_machine())
    if write:
        table.write(rows, machine)
    problems = [Unavailable(f"{row.name}: {row.problem}") for row in rows if row.value is None]
    if as_json:
        data = [{"name": row.name, "value": row.value, "peer": row.peer} for row in rows]
        print(report.envelope(data, errors=problems, warnings=()))
    return EXIT_UNAVAILABLE if problems else EXIT_OK


def _end(number: int, frame: FrameType | None) -> None:
    # An exception, so that the context managers stop what a figure has started.
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
