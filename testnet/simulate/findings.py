"""What a failing seed is told as: checker, seed, commit, scenario, one command that replays it.

Knows no run; asks git for the commit once, if the code lies in a checkout.
"""

import platform
import shlex
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from node.cli.output import one_line
from node.errors import CheckFailed
from testnet.simulate.limits import GIT_WALL_S
from testnet.simulate.seeds import Ran

ROOT: Final = Path(__file__).resolve().parents[2]
DESCRIBE: Final = ("describe", "--always", "--dirty", "--tags", "--abbrev=12")
UNKNOWN: Final = "unknown"
SECOND_MS: Final = 1_000
FAILURES_TOLD: Final = 3  # of one seed


@cache
def code_version() -> str:
    """`git describe` of the checkout that this code lies in, else its version."""
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), *DESCRIBE]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=GIT_WALL_S, check=True
            )
            return done.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    try:
        return version("apocryph")
    except PackageNotFoundError:
        return UNKNOWN


def python_version() -> str:
    return platform.python_version()


@dataclass(slots=True)
class Finding:
    """A failing seed. `word`: the scenario as a command names it; `shrunk`: if it was cut down."""

    ran: Ran
    word: str
    shrunk: "ShrunkFile | None" = None

    @property
    def replay(self) -> str:
        """The command that shows it again."""
        if self.shrunk is not None:
            return self.shrunk.replay
        return replay_command(self.word, self.ran.seed)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        outcome = self.ran.outcome
        return {
            "seed": self.ran.seed,
            "scenario": outcome.scenario,
            "nodes": outcome.nodes,
            "commit": code_version(),
            "faults": len(outcome.faults),
            "failures": [
                {"checker": failure.checker, "text": failure.text, "at_ms": failure.at_ms}
                for failure in outcome.failures
            ],
            "replay": self.replay,
            "shrunk": None if self.shrunk is None else self.shrunk.record(),
        }

    def text(self) -> str:
        """For people; the last line can be run as it is."""
        outcome = self.ran.outcome
        head = f"seed {self.ran.seed} failed ({outcome.scenario}, {outcome.nodes} nodes, "
        lines = [head + f"commit {code_version()})"]
        for failure in outcome.failures[:FAILURES_TOLD]:
            when = f" at {failure.at_ms / SECOND_MS:.3f} s" if failure.at_ms else ""
            lines.append(f"  {failure.checker}{when}: {told(failure.text)}")
        more = len(outcome.failures) - FAILURES_TOLD
        if more > 0:
            lines.append(f"  and {more} more")
        if self.shrunk is not None:
            lines.append(f"  {self.shrunk.text()}")
        return "\n".join([*lines, f"  {self.replay}"])


@dataclass(frozen=True, slots=True)
class ShrunkFile:
    """What shrinking left: a case as a file, and how far it came."""

    path: Path
    faults_before: int
    faults: int
    nodes: int
    tries: int
    ended: bool

    @property
    def replay(self) -> str:
        return case_command(self.path)

    def text(self) -> str:
        least = "nothing less fails" if self.ended else "stopped by a bound"
        return (
            f"shrunk from {self.faults_before} to {self.faults} faults, {self.nodes} nodes, "
            f"in {self.tries} tries ({least})"
        )

    def record(self) -> dict[str, Any]:
        return {
            "case": str(self.path),
            "faults_before": self.faults_before,
            "faults": self.faults,
            "nodes": self.nodes,
            "tries": self.tries,
            "ended": self.ended,
        }


def as_error(finding: Finding) -> CheckFailed:
    """A failing seed as one of `errors` in the envelope: its first failure, and how to see it."""
    first = finding.ran.outcome.failures[0]
    cause = f"seed {finding.ran.seed} failed: {first.checker}: {told(first.text)}"
    return CheckFailed(cause, hint=finding.replay)


def replay_command(word: str, seed: int, schedule: Path | None = None) -> str:
    """One command line, quoted for a shell."""
    words = ["apocryph", "sim", "replay", word, "--seed", str(seed)]
    if schedule is not None:
        words += ["--schedule", str(schedule)]
    return shlex.join(words)


def case_command(path: Path) -> str:
    """The same for a case."""
    return shlex.join(["apocryph", "sim", "replay", str(path)])


def told(text: str) -> str:
    """A failure in one line: of a traceback, what was raised and where."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        return one_line(text)
    frames = [line for line in lines if line.startswith("File ")]
    where = f" ({_frame(frames[-1])})" if frames else ""
    return one_line(lines[0] + where)


def _frame(line: str) -> str:
    """`File "/a/b.py", line 3, in f` → `b.py:3 f`."""
    parts = line.split(", ")
    name = parts[0].removeprefix("File ").strip('"').rsplit("/", 1)[-1]
    return f"{name}:{parts[1].removeprefix('line ')} {parts[-1].removeprefix('in ')}"
