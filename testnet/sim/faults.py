"""Planned faults: a schedule drawn from a seed before the run, so that it can be cut down.

A fault is data; `trial` performs it. Same scenario and seed, same schedule. Knows no cluster.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.dice import Dice
from testnet.sim.scenario import KINDS, Rule, Scenario

MINUTE_MS: Final = 60_000
FAULTS_MAX: Final = 100_000
DRAWN_SIDES: Final = ("partition", "apart")  # without `targets`: some of the nodes, not `nodes`
ALL: Final = ("lossy",)  # kinds that concern no node in particular

# crash_at: the durable effect, and the moment at it (amount = effect · 4 + moment).
EFFECTS: Final = ("Persist", "Sign", "Remember", "Commit")
MOMENTS: Final = ("before", "torn", "durable", "heard")
POINTS: Final = tuple([(effect, moment) for effect in EFFECTS for moment in MOMENTS])


class FaultError(Exception):
    """A line that is no fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: at `at_ms` of simulated time, of `kind` (scenario.KINDS), at nodes by number."""

    at_ms: int
    kind: str
    targets: tuple[int, ...]
    duration_ms: int
    amount: int

    def as_line(self) -> str:
        """`AT KIND TARGETS DURATION AMOUNT`; targets with commas, `-` for none."""
        targets = ",".join(str(each) for each in self.targets) or "-"
        return f"{self.at_ms} {self.kind} {targets} {self.duration_ms} {self.amount}"

    @classmethod
    def from_line(cls, line: str) -> "Fault":
        """The inverse of `as_line`. Raises FaultError."""
        try:
            at, kind, targets, duration, amount = line.split()
            nodes = () if targets == "-" else tuple([int(each) for each in targets.split(",")])
            fault = cls(int(at), kind, nodes, int(duration), int(amount))
        except ValueError as error:
            raise FaultError(f"not a fault: {line!r}") from error
        if fault.kind not in KINDS or fault.at_ms < 0 or fault.duration_ms < 0:
            raise FaultError(f"not a fault: {line!r}")
        return fault


def lines(schedule: Iterable[Fault]) -> str:
    """A schedule as text, one fault a line."""
    return "".join(fault.as_line() + "\n" for fault in schedule)


def from_lines(text: str) -> tuple[Fault, ...]:
    """The inverse; empty lines and those that begin with # are left out. Raises FaultError."""
    wanted = [line for line in text.splitlines() if line.strip() and line[0] != "#"]
    return tuple([Fault.from_line(line) for line in wanted])


def plan(scenario: Scenario, seed: int) -> tuple[Fault, ...]:
    """The schedule of a seed, by time. Raises FaultError beyond FAULTS_MAX."""
    dice = Dice(seed.to_bytes(32, "big")).child("faults")
    found: list[Fault] = []
    for number, rule in enumerate(scenario.faults):
        found += _of_rule(rule, scenario, seed, dice.child(f"rule {number}"))
        if len(found) > FAULTS_MAX:
            raise FaultError(f"more than {FAULTS_MAX} faults")
    return tuple(sorted(found, key=lambda fault: fault.at_ms))


def _of_rule(rule: Rule, scenario: Scenario, seed: int, dice: Dice) -> list[Fault]:
    span_ms = 1000 * scenario.phases.faults_s
    times = list(rule.at_ms)
    if rule.per_minute and span_ms:
        share = rule.per_minute * span_ms
        count = share // MINUTE_MS + (dice.uint(MINUTE_MS) < share % MINUTE_MS)
        times += sorted([dice.uint(span_ms) for _ in range(count)])
    nodes = scenario.size(seed)
    found = []
    for at_ms in times:
        targets = rule.targets or _drawn(rule, nodes, dice)
        duration = _between(rule.duration_ms, dice)
        found.append(Fault(at_ms, rule.kind, targets, duration, _between(rule.amount, dice)))
    return found


def _drawn(rule: Rule, nodes: int, dice: Dice) -> tuple[int, ...]:
    if rule.kind in ALL:
        return ()
    count = rule.nodes
    if rule.kind in DRAWN_SIDES and nodes > 1:
        count = 1 + dice.uint(nodes - 1)
    if rule.kind == "rolling":
        return tuple(range(nodes))
    return tuple(sorted(dice.sample(nodes, min(count, nodes))))


def _between(bounds: Sequence[int], dice: Dice) -> int:
    return bounds[0] + dice.uint(bounds[1] - bounds[0] + 1)
