"""`apocryph sim run`: seeds run, failures told, pictures and pages written.

Knows no click.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from node.cli.output import INTERRUPTED, Output
from node.codes import Exit
from node.errors import Interrupted, NodeError, UsageError
from testnet.scale.research import require
from testnet.sim.trial import Outcome
from testnet.simulate.curves import Curve, curve
from testnet.simulate.findings import (
    Finding,
    as_error,
    code_version,
    python_version,
)
from testnet.simulate.limits import COURSES_MAX, CURVES_MAX, TOLD_MAX
from testnet.simulate.progress import progress
from testnet.simulate.report import Told, page
from testnet.simulate.seeds import PLACE, Ran, Trial, run_seeds, run_trial, seeds_text
from testnet.simulate.shrinking import shrink_findings
from testnet.simulate.sources import Source
from testnet.simulate.totals import COLUMNS, SECOND_MS, Course, shown, shown_s

PICTURES: Final = (".svg", ".png", ".pdf")
DRAWN_CLEAN: Final = 1  # courses of clean seeds; failing ones come first


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a run was asked for."""

    source: Source
    seeds: Sequence[int]
    jobs: int
    wall_s: float
    shrink: bool = False
    out: Path = field(default_factory=Path)
    trace: str = ""
    plot: Path | None = None
    report: Path | None = None
    command: str = ""


class Gathered:
    """What a run leaves: sums, a row a seed, and the few outcomes that are drawn."""

    def __init__(self, scenario: str) -> None:
        self.course = Course(scenario)
        self.rows: list[dict[str, Any]] = []
        self.curves: list[Curve] = []
        self._clean: list[Outcome] = []

    def add(self, ran: Ran) -> None:
        """Timelines are large: all but a few are let go."""
        outcome = ran.outcome
        self.course.add(ran)
        self.rows.append(row(ran))
        if len(self.curves) < CURVES_MAX and outcome.simulated_ms:
            self.curves.append(curve(outcome))
        if outcome.clean:
            self._clean.append(outcome)
            self._clean.sort(key=lambda each: each.seed)
            for forgotten in self._clean[DRAWN_CLEAN:]:
                forgotten.timeline = ()
            del self._clean[DRAWN_CLEAN:]
        elif len(self.course.failing) > COURSES_MAX:
            outcome.timeline = ()

    def settle(self) -> None:
        """Into the order of seeds, in which nothing tells how many workers there were."""
        self.course.settle()
        self.rows.sort(key=lambda each: int(each["seed"]))
        self.curves.sort(key=lambda each: each.seed)

    @property
    def drawn(self) -> list[Outcome]:
        """Failing seeds, or a clean one."""
        failing = [ran.outcome for ran in self.course.failing if ran.outcome.simulated_ms]
        return failing[:COURSES_MAX] or self._clean


def row(ran: Ran) -> dict[str, Any]:
    """A seed in JSON."""
    outcome = ran.outcome
    return {
        "seed": ran.seed,
        "nodes": outcome.nodes,
        "clean": outcome.clean,
        "heights": outcome.heights,
        "rounds": {str(round_): heights for round_, heights in outcome.rounds},
        "polls": outcome.polls,
        "signatures": outcome.signatures,
        "crashes": outcome.crashes,
        "faults": len(outcome.faults),
        "simulated_ms": outcome.simulated_ms,
        "cpu_s": round(ran.cpu_s, 3),
        **({"trace_sha256": ran.trace} if ran.trace else {}),
    }


# ---- many seeds ---------------------------------------------------------------------------------


def check(wanted: Wanted) -> None:
    """Refuse what would only fail after hours. Raises NodeError."""
    if wanted.trace and len(wanted.seeds) > 1 and PLACE not in wanted.trace:
        raise UsageError(
            f"--trace {wanted.trace} is one file for {len(wanted.seeds)} seeds",
            hint=f"put {PLACE} into its name: --trace trace-{PLACE}.txt",
        )
    check_files(wanted.plot, wanted.report, wanted.trace)


def check_files(plot: Path | None, report: Path | None, trace: str) -> None:
    """What is to be written can be. Raises NodeError."""
    if plot is not None:
        if plot.suffix.lower() not in PICTURES:
            raise UsageError(f"--plot {plot}: expected {', '.join(PICTURES)}")
        require("matplotlib")
    for path in (plot, report, Path(trace) if trace else None):
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"{path}: there is no folder {path.parent}", hint="make it first")


def run(wanted: Wanted, output: Output, *, work: Trial = run_trial) -> int:
    """Run, tell, write. Ctrl-C ends it with what is known by then."""
    check(wanted)
    scenario = wanted.source.scenario
    gathered = Gathered(scenario.name)
    began, interrupted = time.monotonic(), False
    try:
        _run_seeds(wanted, gathered, output, work)
    except KeyboardInterrupt:
        interrupted = True
    gathered.settle()
    wall_s = time.monotonic() - began
    findings = [Finding(ran, wanted.source.word) for ran in gathered.course.failing]
    if wanted.shrink and findings and not interrupted:
        interrupted = not _shrink(wanted, findings, output, work)
    told = Told(
        scenario=scenario,
        seeds=seeds_text(wanted.seeds),
        command=wanted.command,
        jobs=wanted.jobs,
        wall_s=wall_s,
        course=gathered.course,
        findings=findings,
        drawn=gathered.drawn,
        curves=gathered.curves,
        interrupted=interrupted,
    )
    _write(wanted, told)
    code = _tell(wanted, told, gathered.rows, output)
    return INTERRUPTED if interrupted else code


def _run_seeds(wanted: Wanted, gathered: Gathered, output: Output, work: Trial) -> None:
    runs = run_seeds(
        wanted.source.scenario,
        wanted.seeds,
        jobs=min(wanted.jobs, len(wanted.seeds)),
        wall_s=wanted.wall_s,
        trace=wanted.trace,
        work=work,
    )
    failing = 0
    with progress(output, wanted.source.scenario.name, len(wanted.seeds)) as shown_progress:
        try:
            for ran in runs:
                gathered.add(ran)
                if not ran.outcome.clean:
                    failing += 1
                    if failing <= TOLD_MAX:
                        shown_progress.say(Finding(ran, wanted.source.word).text())
                shown_progress.step(f"{failing} failing" if failing else "")
        finally:
            runs.close()  # ends the workers now, not some time


def _shrink(wanted: Wanted, findings: list[Finding], output: Output, work: Trial) -> bool:
    """Whether it was not interrupted."""
    try:
        shrink_findings(
            wanted.source.scenario,
            findings,
            wanted.out,
            jobs=wanted.jobs,
            work=work,
            said=output.note,
        )
    except KeyboardInterrupt:
        return False
    return True


def _write(wanted: Wanted, told: Told) -> None:
    if wanted.plot is not None and (told.drawn or told.curves):
        from testnet.simulate import plots

        plots.draw(told.drawn[:1], told.curves, told.scenario.phases, wanted.plot)
    if wanted.report is not None:
        wanted.report.write_text(page(told), encoding="utf-8")


def _tell(wanted: Wanted, told: Told, rows: list[dict[str, Any]], output: Output) -> Exit:
    course, total = told.course, told.course.total
    errors: list[NodeError] = [as_error(finding) for finding in told.findings[:TOLD_MAX]]
    if told.interrupted:
        said = f"interrupted after {total.seeds} of {len(wanted.seeds)} seeds"
        output.warn(said)
        errors.append(Interrupted(said, hint=wanted.command))
    data = {
        "scenario": told.scenario.name,
        "source": wanted.source.word,
        "seeds": told.seeds,
        "ran": total.seeds,
        "clean": total.clean,
        "commit": code_version(),
        "python": python_version(),
        "jobs": wanted.jobs,
        "wall_s": round(told.wall_s, 3),
        **course.record(),
        "failing": [finding.record() for finding in told.findings],
        "rows": rows,
        "plot": path_text(wanted.plot),
        "report": path_text(wanted.report),
        "trace": wanted.trace or None,
    }
    clean = not course.failing and not told.interrupted
    return output.result(data, _text(wanted, told, output), ok=clean, errors=errors)


def path_text(path: Path | None) -> str | None:
    """For JSON."""
    return None if path is None else str(path)


def _text(wanted: Wanted, told: Told, output: Output) -> str:
    """The summary for people."""
    course, total = told.course, told.course.total
    blocks = [output.table(COLUMNS, course.rows())]
    if course.checkers:
        failed = [(name, seeds, count) for name, (seeds, count) in course.checkers.items()]
        blocks.append(output.table(("FAILED CHECKER", "SEEDS", "FAILURES"), failed))
        blocks += [finding.text() for finding in told.findings[:TOLD_MAX]]
        more = len(told.findings) - TOLD_MAX
        if more > 0:
            blocks.append(f"and {more} seeds more; --json lists all")
    written = [str(path) for path in (wanted.plot, wanted.report) if path is not None]
    blocks.append(
        f"{told.scenario.name}: {total.clean:,} of {total.seeds:,} seeds clean (commit "
        f"{code_version()}); {shown_s(total.simulated_ms / SECOND_MS)} simulated in "
        f"{shown_s(total.cpu_s)} of cores ({shown(total.heights_per_core_s, 1)} heights a second "
        f"and core), {shown_s(told.wall_s)} of real time"
        + (f"; wrote {', '.join(written)}" if written else "")
    )
    if told.interrupted:
        blocks.append(f"{total.seeds:,} of {len(wanted.seeds):,}, interrupted")
    return "\n\n".join(blocks)
