"""Parts of a soak that are programs of the tests: model check, planted faults, fuzzing.

They are there in a checkout only; elsewhere the part says so. A program that runs out of time is
ended with everything that it started.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from testnet.simulate.findings import ROOT
from testnet.simulate.limits import KILL_WALL_S, PROGRAM_BYTES_MAX, PROGRAM_LEAST_S
from testnet.simulate.sections import Interrupted, Section, Stint, Table
from testnet.simulate.totals import MINUTE_S, shown_s

MODEL_FULL_S: Final = 480  # with less time the small configurations alone are searched
PLANTED_ALL_S: Final = 300  # with less time every so-many-th fault is planted
PLANTED_SPARE: Final = 2  # since nothing is known of a run that is ended
FUZZ_SPARE_S: Final = 15  # to start, and to cut down what failed
LINES_TOLD: Final = 12
WORDS_TOLD: Final = 6


@dataclass(frozen=True, slots=True)
class Said:
    """What a program came to; `code` None: its time was up."""

    code: int | None
    out: str
    err: str

    @property
    def tail(self) -> str:
        """Its last words."""
        words = self.err.strip() or self.out.strip()
        return "\n".join(words.splitlines()[-LINES_TOLD:])


class ProgramInterrupted(Exception):
    """Ctrl-C while it ran."""


def call(arguments: Sequence[str], *, wall_s: float) -> Said:
    """`python …` in the checkout. Raises ProgramInterrupted; nothing of it is left then."""
    command = [sys.executable, *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=err, start_new_session=True
        )
        code: int | None
        try:
            code = process.wait(wall_s)
        except subprocess.TimeoutExpired:
            code = None
        except KeyboardInterrupt:
            raise ProgramInterrupted from None
        finally:
            _end(process)
        return Said(code, _read(out), _read(err))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """It and all that it started: they are a session of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(KILL_WALL_S)


def _read(file: Any) -> str:
    file.seek(0)
    return str(file.read(PROGRAM_BYTES_MAX).decode(errors="replace"))


def _cannot(name: str, stint: Stint) -> Section | None:
    """Why a program does not run here and now."""
    told = ""
    if not (ROOT / "tests" / name / "__main__.py").exists():
        told = f"tests/{name} is not here: it is part of a checkout"
    elif stint.left_s < PROGRAM_LEAST_S:
        told = f"not begun: less than {PROGRAM_LEAST_S} s were left for it"
    return Section(good=True, complete=False, told=told) if told else None


def _interrupted(name: str) -> Interrupted:
    return Interrupted(Section(good=True, complete=False, told=f"{name}: interrupted"))


def _run(name: str, arguments: Sequence[str], stint: Stint) -> Said:
    words = " ".join([word for word in arguments if "\n" not in word][:WORDS_TOLD])
    stint.output.note(f"{name}: python {words} …, at most {shown_s(stint.left_s)}")
    try:
        return call(arguments, wall_s=stint.left_s)
    except ProgramInterrupted:
        raise _interrupted(name) from None


def _broken(said: Said, told: str) -> Section:
    """It ended without an answer, or its time was up."""
    if said.code is None:
        return Section(good=True, complete=False, told="its time was up before it was through")
    return Section(good=False, told=f"{told} ended with {said.code}", texts=[said.tail])


def _json(said: Said) -> Any:
    """What it answered, or None."""
    try:
        return json.loads(said.out)
    except ValueError:
        return None


# ---- the model check ----------------------------------------------------------------------------


def model(stint: Stint) -> Section:
    """Protocol §7 in all reachable states of small clusters; each weakened clause breaks."""
    absent = _cannot("model", stint)
    if absent is not None:
        return absent
    full = stint.left_s >= MODEL_FULL_S
    said = _run("model", ["-m", "tests.model", "--json", *(["--full"] if full else [])], stint)
    value = _json(said)
    if not value:
        return _broken(said, "the model check")
    configurations, weakened, healed = [
        value[name] for name in ("configurations", "weakened", "healed")
    ]
    as_expected = sum([bool(row["as expected"]) for row in (*weakened, *healed)])
    states = sum([row["states"] for row in configurations])
    holding = sum([row["verdict"] == "holds" for row in configurations])
    return Section(
        good=said.code == 0,
        complete=full,
        told=f"{holding} of {len(configurations)} configurations hold in all {states:,} states; "
        f"{as_expected} of {len(weakened) + len(healed)} weakened clauses as expected"
        + ("" if full else f" (the large ones need {MODEL_FULL_S // MINUTE_S} min)"),
        record=value,
        tables=[
            Table("Every reachable state", CONFIGURATION_COLUMNS, _cells(configurations, SEARCHED)),
            Table("One clause weakened", CLAUSE_COLUMNS, _cells(weakened, WEAKENED)),
            Table("After the network healed", HEALED_COLUMNS, _cells(healed, HEALED)),
        ],
    )


SEARCHED: Final = (
    *("slots", "byzantine", "rounds", "values", "runs", "states", "transitions", "depth"),
    *("seconds", "verdict"),
)
CONFIGURATION_COLUMNS: Final = (*SEARCHED[:-2], "s", "verdict")
WEAKENED: Final = ("clause", "states", "steps", "seconds", "verdict", "as expected")
CLAUSE_COLUMNS: Final = ("clause", "states", "steps", "s", "found", "as expected")
HEALED: Final = ("clause", "states", "plays", "seconds", "verdict", "as expected")
HEALED_COLUMNS: Final = ("clause", "states", "plays", "s", "found", "as expected")


def _cells(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[list[object]]:
    return [[_cell(row[name]) for name in names] for row in rows]


def _cell(value: object) -> object:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value


# ---- planted faults -----------------------------------------------------------------------------


def planted(stint: Stint) -> Section:
    """Defects put into the code one at a time: which test catches each, and how fast."""
    absent = _cannot("planted", stint)
    if absent is not None:
        return absent
    listed = _run("planted", ["-c", PLANTED_NAMES], stint)
    names = listed.out.split()
    if listed.code != 0 or not names:
        return _broken(listed, "the list of planted faults")
    every = 1
    if stint.left_s < PLANTED_ALL_S:
        every = ceil(PLANTED_SPARE * PLANTED_ALL_S / max(stint.left_s, 1))
    only = [word for name in names[::every] for word in ("--only", name)] if every > 1 else []
    jobs = ["--jobs", str(min(stint.jobs, PLANTED_JOBS_MAX))]
    said = _run("planted", ["-m", "tests.planted", "--json", *jobs, *only], stint)
    value = (_json(said) or {}).get("data")
    if not value:
        return _broken(said, "the planted faults")
    missed = [each for each in value["faults"] if each["verdict"] != CAUGHT]
    rows = [
        (each["name"], each["rule"], each["verdict"] == CAUGHT, each["seconds"], each["test"])
        for each in value["faults"]
    ]
    return Section(
        good=said.code == 0,
        complete=every == 1,
        told=f"{value['caught']} of {value['planted']} caught in {shown_s(value['seconds'])}"
        + ("" if every == 1 else f" (of {len(names)}: all need {PLANTED_ALL_S // MINUTE_S} min)"),
        record=value,
        texts=[f"{e['verdict']}: {e['name']}: {e['what']} ({e['cause']})" for e in missed],
        tables=[Table("", ("fault", "rule", "caught", "s", "by"), rows)],
    )


CAUGHT: Final = "caught"
PLANTED_JOBS_MAX: Final = 16
PLANTED_NAMES: Final = (
    "from tests.planted.faults import FAULTS\nfor each in FAULTS:\n    print(each.name)"
)


# ---- fuzzing ------------------------------------------------------------------------------------


def fuzz(stint: Stint) -> Section:
    """Every decoder and the core with inputs that nobody would send; one process."""
    absent = _cannot("fuzz", stint)
    if absent is not None:
        return absent
    listed = _run("fuzz", ["-m", "tests.fuzz", "--list"], stint)
    count = len(listed.out.splitlines())
    if listed.code != 0 or not count:
        return _broken(listed, "the list of fuzz targets")
    seconds = max(stint.left_s - FUZZ_SPARE_S, PROGRAM_LEAST_S / 2) / count
    words = ["-m", "tests.fuzz", "--json", "--seconds", f"{seconds:.2f}"]
    said = _run("fuzz", [*words, "--seed", str(stint.first_seed)], stint)
    lines = [line for line in said.out.splitlines() if line.startswith("{")]
    found = [json.loads(line) for line in lines]
    if not found or said.code not in (None, 0, 1):
        return _broken(said, "the fuzzer")
    failing = [each for each in found if each["failed"] is not None]
    inputs = sum([each["inputs"] for each in found])
    return Section(
        good=not failing,
        complete=len(found) == count,
        told=f"{inputs:,} inputs to {len(found)} of {count} targets, {len(failing) or 'none'} "
        "failing",
        record={"seed": stint.first_seed, "seconds_each": seconds, "targets": found},
        texts=[f"{each['failed']['error']}\n{each['failed']['replay']}" for each in failing],
        tables=[
            Table(
                "",
                ("target", "inputs", "held"),
                [(e["target"], f"{e['inputs']:,}", e["failed"] is None) for e in found],
            )
        ],
    )
