"""What `python -m tests.model` shows: configurations exhausted, clauses weakened, healed rounds."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from tests.model import healed, words
from tests.model.clauses import WEAKENED, Clauses, Weakened
from tests.model.healed import Habits, Rounds
from tests.model.search import Found, Search
from tests.model.slots import Shape
from tests.model.starts import starts


@dataclass(frozen=True, slots=True)
class Configuration:
    """A cluster in which every reachable state keeps every property."""

    slots: int
    byzantine: int
    rounds: int
    values: int = 2
    dense: bool = False
    full: bool = False  # minutes rather than seconds

    @property
    def shape(self) -> Shape:
        return Shape(self.slots, self.byzantine, self.rounds, self.values)

    def search(self) -> Found:
        return Search(self.shape, dense=self.dense, traced=False).run()


CONFIGURATIONS = (
    Configuration(4, 1, 2),
    Configuration(5, 1, 2),
    Configuration(4, 1, 3),
    Configuration(4, 1, 3, dense=True),
    Configuration(5, 1, 3, dense=True),
    Configuration(4, 1, 4, dense=True),
    Configuration(4, 1, 3, values=3, dense=True),
    Configuration(7, 2, 2, dense=True),
    Configuration(4, 1, 4, full=True),
    Configuration(5, 1, 3, full=True),
    Configuration(5, 1, 4, dense=True, full=True),
    Configuration(7, 2, 3, dense=True, full=True),
)


@dataclass(frozen=True, slots=True)
class Healing:
    """Rules kept or not after the network healed, and whether a certificate is then certain."""

    name: str
    habits: Habits
    decides: bool


HEALINGS = (
    Healing("nobody leads, votes shown in time", Habits(), True),
    Healing("the valid value does not come first", Habits(valid_first=False), False),
    Healing("the valid value is not passed on", Habits(passed_on=False), False),
    Healing("a valid value of a lower round replaces a higher", Habits(highest_kept=False), False),
    Healing("a stale lock does not move to a newer quorum", Habits(lock_moves=False), False),
    Healing("the valid value is not durable", Habits(valid_durable=False), False),
    Healing("nobody leads, a vote shown to some at the last moment", Habits(timely=False), False),
    Healing("the protocol, the same vote: led by rank 0", Habits(timely=False, led=True), True),
)
HEALED_SHAPE = Shape(slots=4, byzantine=1, rounds=3, values=2)


def weaken(weakened: Weakened) -> Found:
    """The shortest run to the violation, or the proof that there is none."""
    shape = Shape(weakened.slots, weakened.byzantine, weakened.rounds, weakened.values)
    seek = weakened.seek
    return Search(shape, weakened.clauses, dense=weakened.dense, seek=seek).run()


def heal(healing: Healing) -> healed.Verdict:
    """All plays of the adversary from all reachable states of the pre-heal model."""
    return Rounds(healing.habits).judge(starts(HEALED_SHAPE, healing.habits))


# ---- rows ---------------------------------------------------------------------------------------


def configuration_rows(full: bool) -> Iterator[dict[str, Any]]:
    for configuration in CONFIGURATIONS:
        if configuration.full and not full:
            continue
        found = configuration.search()
        yield {
            "slots": found.shape.slots,
            "byzantine": found.shape.byzantine,
            "rounds": found.shape.rounds,
            "values": found.shape.values,
            "runs": "dense" if found.dense else "all",
            "states": found.states,
            "transitions": found.transitions,
            "depth": found.depth,
            "seconds": round(found.seconds, 2),
            "verdict": found.broken or "holds",
        }


def weakened_rows(full: bool) -> Iterator[dict[str, Any]]:
    for weakened in WEAKENED:
        if weakened.long and not full:
            continue
        found = weaken(weakened)
        changed = {k: v for k, v in asdict(weakened.clauses).items() if v != getattr(Clauses(), k)}
        yield {
            "clause": weakened.name,
            "changed": changed,
            "slots": weakened.slots,
            "rounds": weakened.rounds,
            "states": found.states,
            "steps": len(found.trace),
            "seconds": round(found.seconds, 2),
            "verdict": found.broken or f"holds: {weakened.why}",
            "as expected": (found.broken is not None) == weakened.violates,
            "trace": words.told(found),
        }


def healing_rows() -> Iterator[dict[str, Any]]:
    for healing in HEALINGS:
        started = time.process_time()
        verdict = heal(healing)
        said = f"certificate within {verdict.rounds} rounds" if verdict.decides else "endless"
        yield {
            "clause": healing.name,
            "states": verdict.states,
            "plays": verdict.plays,
            "seconds": round(time.process_time() - started, 2),
            "verdict": said,
            "as expected": verdict.decides == healing.decides,
            "trace": healed.told(verdict),
        }


# ---- text ---------------------------------------------------------------------------------------


def write(full: bool, out: Callable[[str], None]) -> bool:
    """Everything as text, a line as soon as it is known; whether all is as it should be."""
    good = True
    out("Every reachable state keeps: agreement, one quorum of confirms a round, certificates are")
    out("proven, one vote a place, no lock lost.\n")
    out(f"{'slots':>5} {'byz':>3} {'rounds':>6} {'values':>6} {'runs':5} {'states':>10} "
        f"{'transitions':>11} {'depth':>5} {'s':>7}  verdict")  # fmt: skip
    for row in configuration_rows(full):
        good &= row["verdict"] == "holds"
        out("{slots:>5} {byzantine:>3} {rounds:>6} {values:>6} {runs:5} {states:>10,} "
            "{transitions:>11,} {depth:>5} {seconds:>7.2f}  {verdict}".format(**row))  # fmt: skip
    out("\nOne clause weakened at a time: the shortest run to a violation.\n")
    traces: list[tuple[object, object]] = []
    for row in weakened_rows(full):
        good &= bool(row["as expected"])
        out(
            "{clause:60} {states:>9,} states {steps:>3} steps {seconds:>6.2f} s  {verdict}".format(
                **row
            )
        )
        traces.append((row["clause"], row["trace"]))
    out("\nAfter the network healed: all plays of the adversary from every reachable state.\n")
    for row in healing_rows():
        good &= bool(row["as expected"])
        out(
            "{clause:60} {states:>9,} states {plays:>6,} plays {seconds:>5.2f} s  {verdict}".format(
                **row
            )
        )
        traces.append((row["clause"], row["trace"]))
    for clause, trace in traces:
        if isinstance(trace, list) and trace:
            out(f"\n{clause}:")
            for line in trace:
                out(f"  {line}")
    out("\n" + ("all as expected" if good else "NOT as expected"))
    return good
