"""`apocryph sim replay`: one seed again, in this process, where a debugger reaches it.

Knows no click.
"""

import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from node.cli.output import Output
from node.codes import Exit
from node.errors import CheckFailed, Interrupted, UsageError
from testnet.sim import trial
from testnet.sim.faults import Fault
from testnet.sim.trial import Outcome
from testnet.simulate.cases import check_targets, read_case
from testnet.simulate.findings import (
    case_command,
    code_version,
    python_version,
    replay_command,
    told,
)
from testnet.simulate.runs import check_files, path_text, row
from testnet.simulate.seeds import Ran
from testnet.simulate.sources import Source, is_case, read_scenario, read_schedule
from testnet.simulate.totals import SECOND_MS, shown_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What a replay was asked for. `failed`: of a case, as it was found. `trace` "-": to stdout."""

    source: Source
    seed: int
    command: str
    schedule: tuple[Fault, ...] | None = None
    failed: str = ""
    trace: str = ""
    plot: Path | None = None


def read_again(
    what: str,
    *,
    seed: int | None = None,
    schedule: Path | None = None,
    trace: str = "",
    plot: Path | None = None,
) -> Again:
    """A case, or a seed of a scenario. Raises NodeError."""
    faults = None if schedule is None else read_schedule(schedule)
    if is_case(what):
        if seed is not None:
            raise UsageError(f"{what} is a case: it has its own seed", hint="leave out --seed")
        case = read_case(Path(what))
        source, seed = Source(what, case.scenario), case.seed
        faults = case.schedule if faults is None else faults
        command, failed = case_command(Path(what)), case.failed
    else:
        source = read_scenario(what)
        if seed is None:
            hint = f"apocryph sim replay {what} --seed 1"
            raise UsageError(f"{what} is a scenario: which seed of it?", hint=hint)
        command, failed = replay_command(what, seed, schedule), ""
    check_targets(source.scenario, seed, faults or ())
    return Again(
        source=source,
        seed=seed,
        command=command,
        schedule=faults,
        failed=failed,
        trace=trace,
        plot=plot,
    )


def replay(again: Again, output: Output) -> int:
    """One seed in this process, where a debugger reaches it; always the same trace."""
    if again.trace == "-" and output.json:
        raise UsageError("--trace - and --json both want stdout", hint="name a file")
    check_files(again.plot, None, again.trace if again.trace != "-" else "")
    began = time.process_time()
    try:
        outcome, digest, lines = _traced(again, output)
    except KeyboardInterrupt:
        if not output.json:
            raise
        return output.fail(Interrupted("interrupted before its end", hint=again.command))
    ran = Ran(outcome, time.process_time() - began, 0.0, digest)
    if again.plot is not None:
        from testnet.simulate import plots

        plots.draw([outcome], [], again.source.scenario.phases, again.plot)
    data = {
        "scenario": outcome.scenario,
        "source": again.source.word,
        "commit": code_version(),
        "python": python_version(),
        "command": again.command,
        "found_failing": again.failed or None,
        "trace_lines": lines,
        **row(ran),
        "failures": [
            {"checker": failure.checker, "text": failure.text, "at_ms": failure.at_ms}
            for failure in outcome.failures
        ],
        "done": dict(sorted(outcome.counts.items())),
        "plot": path_text(again.plot),
    }
    text = _outcome_text(ran, lines)
    if again.trace == "-":  # stdout is the trace and nothing else
        output.note(text)
        return Exit.OK if outcome.clean else Exit.NEGATIVE
    failing = [] if outcome.clean else [_error(ran, again.command)]
    return output.result(data, text, ok=outcome.clean, errors=failing)


def _error(ran: Ran, command: str) -> CheckFailed:
    first = ran.outcome.failures[0]
    cause = f"seed {ran.seed} failed: {first.checker}: {told(first.text)}"
    return CheckFailed(cause, hint=f"{command} --trace FILE")


def _traced(again: Again, output: Output) -> tuple[Outcome, str, int]:
    """(outcome, digest of the trace, its lines)."""
    digest, lines = sha256(), 0
    file = None
    if again.trace and again.trace != "-":
        file = Path(again.trace).open("w", encoding="utf-8", newline="\n")  # noqa: SIM115

    def write(line: str) -> None:
        nonlocal lines
        lines += 1
        digest.update(line.encode() + b"\n")
        if file is not None:
            file.write(line + "\n")
        elif again.trace == "-":
            output.line(line)

    try:
        outcome = trial.run(again.source.scenario, again.seed, schedule=again.schedule, trace=write)
    finally:
        if file is not None:
            file.close()
    return outcome, digest.hexdigest(), lines


def _outcome_text(ran: Ran, lines: int) -> str:
    outcome = ran.outcome
    head = (
        f"{outcome.scenario}, seed {ran.seed}, {outcome.nodes} nodes: {outcome.heights} heights, "
        f"{outcome.polls:,} polls, {outcome.signatures:,} signatures, {outcome.crashes} crashes, "
        f"{len(outcome.faults)} faults; {shown_s(outcome.simulated_ms / SECOND_MS)} simulated in "
        f"{shown_s(ran.cpu_s)}"
    )
    trace = f"trace: {lines:,} lines, sha256 {ran.trace}"
    if outcome.clean:
        return f"{head}\n{trace}\nclean (commit {code_version()})"
    failures = [
        f"{failure.checker} at {failure.at_ms / SECOND_MS:.3f} s: {failure.text.rstrip()}"
        for failure in outcome.failures
    ]
    count = len(outcome.failures)
    said = f"{count} failure{'s' if count > 1 else ''} (commit {code_version()})"
    return "\n".join([head, trace, *failures, said])
