"""Planting one fault at a time into a copy of the code, and whether its tests see it.

A fault is data: exact text, and what stands there instead. It is planted in a temporary copy, never
in the repository. Knows neither the faults nor the protocol.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = ("apocryph", "consensus", "network", "node", "perper_core", "testnet", "tests")
COPIED_FILES = ("pyproject.toml", "README.md")
TEST_TIMEOUT_S = 60
RUN_TIMEOUT_S = 180  # of all targeted tests of one fault
CLEAN_TIMEOUT_S = 600
AGE_S = 1_000  # a planted file is so much newer: no compiled file of the clean one fits it
SHOWN_COLUMNS = "1000"  # pytest cuts causes at the width of its terminal

# Half of the time of a short run goes into loading them.
_UNUSED_PLUGINS = ("cacheprovider", "hypothesispytest", "xdist", "xdist.looponfail")
CAUGHT, MISSED, BROKEN, STALE = "caught", "missed", "broken", "stale"
# They say that the patch is bad or the machine slow, not that a rule is guarded.
_STUMBLES = (
    "AttributeError",
    "Failed: Timeout",
    "ImportError",
    "IndentationError",
    "IndexError",
    "ModuleNotFoundError",
    "NameError",
    "SyntaxError",
    "TypeError",
    "UnboundLocalError",
)


class Edit(NamedTuple):
    """Exact text of a file, which stands there once, and what replaces it."""

    file: str
    old: str
    new: str


class Fault(NamedTuple):
    """One rule weakened. `rule`: section of the protocol page, or C1 … S9 of the ancestors."""

    name: str
    rule: str
    what: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]  # node ids, relative to the root
    ancestors: tuple[str, ...] = ()  # weaknesses of the reference that it brings back


class Stale(Exception):
    """The text of an edit does not stand in its file exactly once: the list has to follow."""


class Ended(Exception):
    """The copy was told to end: nothing of it is under way, and nothing begins."""


class Finding(NamedTuple):
    """What came of one fault. `test`: the node id that failed; `cause`: its last line."""

    fault: Fault
    verdict: str  # caught | missed | broken | stale
    test: str
    cause: str
    seconds: float


def fault(
    name: str,
    rule: str,
    what: str,
    file: str,
    old: str,
    new: str,
    *tests: str,
    also: tuple[Edit, ...] = (),
    ancestors: tuple[str, ...] = (),
) -> Fault:
    """A fault of one edit, or more; tests as `folder/file.py::test`, below tests/."""
    nodes = tuple([f"tests/{test}" for test in tests])
    return Fault(name, rule, what, (Edit(file, old, new), *also), nodes, ancestors)


def planted(text: str, edit: Edit) -> str:
    """The text with the edit in it. Raises Stale."""
    count = text.count(edit.old)
    if count != 1:
        raise Stale(f"{edit.file}: {edit.old.strip().splitlines()[0]!r} stands there {count} times")
    return text.replace(edit.old, edit.new)


def planted_files(root: Path, fault: Fault) -> dict[str, str]:
    """File → its text with the whole fault in it. Raises Stale."""
    texts: dict[str, str] = {}
    for edit in fault.edits:
        text = texts.get(edit.file)
        texts[edit.file] = planted((root / edit.file).read_text() if text is None else text, edit)
    return texts


# ---- the copy -----------------------------------------------------------------------------------


class Copy:
    """A copy of the code in a folder of its own, where faults are planted and taken out again."""

    def __init__(self, folder: Path, source: Path = ROOT) -> None:
        self.folder = folder
        self._lock = threading.Lock()  # a process begins before the end, or not at all
        self._process: subprocess.Popen[str] | None = None
        self._ended = False
        without = shutil.ignore_patterns("__pycache__", ".*", "node_modules")
        for name in COPIED:
            shutil.copytree(source / name, folder / name, ignore=without)
        for name in COPIED_FILES:
            shutil.copy2(source / name, folder / name)

    def pytest(self, *arguments: str, timeout: float, compiled: bool = False) -> tuple[int, str]:
        """(exit code, output) of pytest in the copy; -1 when it took too long."""
        environment = os.environ | {"PYTHONPATH": str(self.folder), "COLUMNS": SHOWN_COLUMNS}
        if not compiled:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        always = ("-q", "--tb=line", "-rfE", f"--timeout={TEST_TIMEOUT_S}")
        without = [part for name in _UNUSED_PLUGINS for part in ("-p", f"no:{name}")]
        command = [sys.executable, "-m", "pytest", *always, *without]
        with self._begin([*command, *arguments], environment) as process:
            try:
                output, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                _kill(process)
                process.communicate()
                return -1, ""
            except BaseException:
                _kill(process)
                raise
            finally:
                with self._lock:
                    self._process = None
        if self._ended:
            raise Ended
        return process.returncode, output

    def _begin(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> "subprocess.Popen[str]":
        with self._lock:
            if self._ended:
                raise Ended
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            return self._process

    def end(self) -> None:
        """From another thread: kill what runs, by its id; whoever waits for it gets Ended."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                _kill(self._process)

    def try_fault(self, fault: Fault) -> Finding:
        """Plant it, run its tests to the first that fails, take it out again."""
        try:
            texts = planted_files(self.folder, fault)
        except (Stale, OSError) as error:
            return Finding(fault, STALE, "", str(error), 0.0)
        paths = {self.folder / name: text for name, text in texts.items()}
        clean = {path: (path.read_text(), path.stat()) for path in paths}
        started = time.monotonic()
        try:
            for path, text in paths.items():
                compile(text, str(path), "exec")
                _write(path, text, clean[path][1].st_mtime + AGE_S)
            code, output = self.pytest("-x", *fault.tests, timeout=RUN_TIMEOUT_S)
        except SyntaxError as error:
            return Finding(fault, BROKEN, "", f"SyntaxError: {error}", 0.0)
        finally:
            for path, (text, stat) in clean.items():
                _write(path, text, stat.st_mtime)
        verdict, test, cause = judged(code, output)
        return Finding(fault, verdict, test, cause, time.monotonic() - started)


def _kill(process: "subprocess.Popen[str]") -> None:
    """It and all that it started: they are a session of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _write(path: Path, text: str, mtime: float) -> None:
    path.write_text(text)
    os.utime(path, (mtime, mtime))


def judged(code: int, output: str) -> tuple[str, str, str]:
    """(verdict, failing test, cause) from what pytest said of a planted fault.

    Caught only by a test that ran and failed: a module that cannot be imported proves nothing.
    """
    if code == 0:
        return MISSED, "", "all its tests pass"
    if code == -1:
        return BROKEN, "", f"no end within {RUN_TIMEOUT_S} s"
    failed = re.search(r"^FAILED (\S+?(?:\[.*?\])?)(?: - (.*))?$", output, re.MULTILINE)
    if code != 1 or failed is None:
        tail = [line for line in output.splitlines() if line.strip()][-1:]
        return BROKEN, "", " ".join(tail) or f"pytest ended with {code}"
    test, cause = failed.group(1), failed.group(2) or ""
    if cause.startswith(_STUMBLES):
        return BROKEN, test, cause
    return CAUGHT, test, cause


# ---- before any fault ---------------------------------------------------------------------------


def distinct_tests(faults: Sequence[Fault]) -> list[str]:
    """All targeted node ids in order, each once."""
    return list(dict.fromkeys(test for each in faults for test in each.tests))


def clean_failures(copy: Copy, tests: Sequence[str]) -> tuple[str, ...]:
    """Node ids that fail without any fault: a failure of them would mean nothing.

    Raises RuntimeError where pytest says nothing of tests: one is not there, or it takes too long.
    """
    code, output = copy.pytest(*tests, timeout=CLEAN_TIMEOUT_S, compiled=True)
    if code == 0:
        return ()
    failed = re.findall(
        r"^(?:FAILED|ERROR) (tests/\S+?(?:\[.*?\])?)(?: - .*)?$", output, re.MULTILINE
    )
    if code != 1 or not failed:
        raise RuntimeError(output[-2000:] or f"no end within {CLEAN_TIMEOUT_S} s")
    return tuple(dict.fromkeys(failed))


def of_no_use(fault: Fault, failing: Sequence[str]) -> str:
    """The first of the fault's tests that fails without it; empty where all pass."""
    for test in fault.tests:
        for failed in failing:
            if failed == test or failed.startswith((test + "[", test + "::", test + "/")):
                return failed
    return ""


def fingerprint(faults: Sequence[Fault]) -> str:
    """A short digest of the list, for reports."""
    return hashlib.sha256(repr(tuple(faults)).encode()).hexdigest()[:12]
