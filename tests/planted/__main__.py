"""`python -m tests.planted [--only NAME]… [--json] [--jobs 2]`: every planted fault is caught.

Plants one fault at a time in a copy of the code, runs the tests that should see it, and says which
did. Exit code 0 when each is caught; 1 when one is missed, broken (it or its tests fail for another
reason) or stale (its text does not stand in the source any more); 2 for a wrong command line.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from rich.console import Console
from rich.table import Table

from node.cli.output import Output
from node.errors import CheckFailed, Interrupted
from tests.ended import ended
from tests.planted.faults import FAULTS
from tests.planted.planting import (
    BROKEN,
    CAUGHT,
    Copy,
    Fault,
    Finding,
    clean_failures,
    distinct_tests,
    fingerprint,
    of_no_use,
)

JOBS_MAX = 16
TEXT_COLUMNS = 180  # where no terminal says how wide it is


def main(arguments: Sequence[str] | None = None, faults: Sequence[Fault] = FAULTS) -> int:
    given = _arguments(arguments, faults)
    chosen = [each for each in faults if each.name in given.only] or list(faults)
    output = Output(json=given.json)
    if given.list:
        return _list(output, chosen)
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            copies = [Copy(Path(folder) / str(job)) for job in range(min(given.jobs, len(chosen)))]
            findings = try_all(copies, chosen, output.note)
    except KeyboardInterrupt:
        if not output.json:
            raise
        return output.fail(Interrupted("interrupted before its end"))
    return _conclude(output, findings, time.monotonic() - started)


def _arguments(arguments: Sequence[str] | None, faults: Sequence[Fault]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="of a fault")
    parser.add_argument("--json", action="store_true", help="one JSON envelope instead of text")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="at a time; default 2")
    parser.add_argument("--list", action="store_true", help="the faults, and nothing is run")
    given = parser.parse_args(arguments)
    if not 1 <= given.jobs <= JOBS_MAX:
        parser.error(f"--jobs is a number from 1 to {JOBS_MAX}")
    known = {each.name for each in faults}
    for name in given.only:
        if name not in known:
            parser.error(f"no fault {name!r}; --list names them")
    return given


# ---- running ------------------------------------------------------------------------------------


def try_all(
    copies: Sequence[Copy], faults: Sequence[Fault], note: Callable[[str], None]
) -> list[Finding]:
    """One finding for each fault, in their order; `note` hears of each as it comes."""
    started = time.monotonic()
    failing = _failing(copies, distinct_tests(faults))
    note(
        f"{len(faults)} faults; without any, {len(failing)} of their tests fail, "
        f"{time.monotonic() - started:.0f} s"
    )
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def try_one(fault: Fault) -> Finding:
        useless = of_no_use(fault, failing)
        if useless:
            return Finding(fault, BROKEN, useless, "fails without the fault too", 0.0)
        copy = free.get()
        try:
            finding = copy.try_fault(fault)
        finally:
            free.put(copy)
        note(f"{finding.verdict:7}{finding.seconds:6.1f} s  {fault.name}")
        return finding

    with ThreadPoolExecutor(len(copies)) as threads, _ending(copies):
        return list(threads.map(try_one, faults))


@contextmanager
def _ending(copies: Sequence[Copy]) -> Iterator[None]:
    """Whatever goes wrong, Ctrl-C too, ends what the threads wait for."""
    try:
        yield
    except BaseException:
        for copy in copies:
            copy.end()
        raise


def _failing(copies: Sequence[Copy], tests: Sequence[str]) -> list[str]:
    """What fails without any fault. Each copy runs a share of the tests, files whole."""
    files: dict[str, list[str]] = {}
    for test in tests:
        files.setdefault(test.split("::")[0], []).append(test)
    shares: list[list[str]] = [[] for _ in copies]
    for place, name in enumerate(sorted(files)):
        shares[place % len(copies)] += files[name]
    work = [(copy, share) for copy, share in zip(copies, shares, strict=True) if share]
    with ThreadPoolExecutor(len(copies)) as threads, _ending(copies):
        found = threads.map(lambda item: clean_failures(*item), work)
        return [test for share in found for test in share]


# ---- telling ------------------------------------------------------------------------------------


def _rules(fault: Fault) -> str:
    return " ".join((fault.rule, *fault.ancestors))


def _list(output: Output, faults: Sequence[Fault]) -> int:
    text = "\n".join([f"{_rules(each):12} {each.name:34} {each.what}" for each in faults])
    data = {
        "planted": len(faults),
        "list": fingerprint(faults),
        "faults": [_about(each) for each in faults],
    }
    return output.result(data, text)


def _about(fault: Fault) -> dict[str, object]:
    return {
        "name": fault.name,
        "rule": fault.rule,
        "ancestors": fault.ancestors,
        "what": fault.what,
        "files": [edit.file for edit in fault.edits],
    }


def _row(finding: Finding) -> dict[str, object]:
    return {
        **_about(finding.fault),
        "verdict": finding.verdict,
        "test": finding.test,
        "cause": finding.cause,
        "seconds": round(finding.seconds, 1),
    }


def _conclude(output: Output, findings: Sequence[Finding], seconds: float) -> int:
    caught = sum(finding.verdict == CAUGHT for finding in findings)
    data: dict[str, object] = {
        "planted": len(findings),
        "caught": caught,
        "seconds": round(seconds, 1),
        "list": fingerprint([finding.fault for finding in findings]),
        "faults": [_row(finding) for finding in findings],
    }
    if not output.json:
        _draw(findings)
    text = f"{caught} of {len(findings)} planted faults caught, {seconds / 60:.1f} minutes"
    errors = [
        CheckFailed(
            f"{each.fault.name} is {each.verdict}: {each.cause}",
            hint=f"python -m tests.planted --only {each.fault.name}",
        )
        for each in findings
        if each.verdict != CAUGHT
    ]
    return output.result(data, text, ok=not errors, errors=errors)


def _draw(findings: Sequence[Finding]) -> None:
    console = Console(width=None if sys.stdout.isatty() else TEXT_COLUMNS, highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("fault", no_wrap=True)
    table.add_column("rule")
    table.add_column("what it breaks", ratio=3)
    table.add_column("verdict")
    table.add_column("by", ratio=4, overflow="fold")
    table.add_column("s", justify="right")
    for each in findings:
        good = each.verdict == CAUGHT
        place = each.test.removeprefix("tests/").split("[")[0]
        table.add_row(
            each.fault.name,
            _rules(each.fault),
            each.fault.what,
            each.verdict if good else f"[bold red]{each.verdict}[/]",
            place if good else f"{place} {each.cause}".strip().replace("[", "\\["),
            f"{each.seconds:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(ended(main))
