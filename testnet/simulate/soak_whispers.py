"""The part of a soak in which liars whisper in the dark, and all honest nodes come up again."""

from dataclasses import dataclass, field
from typing import Final

from testnet.sim.whispers import Whispers, whispers
from testnet.simulate.sections import Section, Stint, Table
from testnet.simulate.soak_tables import Call, ask

SCENES: Final = 2_000
SCENES_A_CALL: Final = 50
TOLD: Final = (
    "The largest minority of liars shows votes, and quorums that it completes, to single peers, "
    "while links are cut one by one, topic by topic, and nodes crash; some lose their chain, some "
    "fail on a message. Then every honest node is up and linked, the liars are silent, and one "
    "height more has to be decided. Of this shape were the holes of ADR 0026 and 0027."
)
AGAIN: Final = (
    "python -c 'from testnet.sim.whispers import whispers; "
    "print(whispers(1, seed={seed}).failures)'"
)
COUNTED: Final = ("scenes", "heights", "words", "quorums", "crashes")


@dataclass(slots=True)
class Sums:
    """Over all calls."""

    total: Whispers = field(default_factory=Whispers)
    failures: list[str] = field(default_factory=list)

    def add(self, found: Whispers) -> None:
        for name in COUNTED:
            setattr(self.total, name, getattr(self.total, name) + getattr(found, name))
        self.total.rounds_max = max(self.total.rounds_max, found.rounds_max)
        self.total.healed_ms_max = max(self.total.healed_ms_max, found.healed_ms_max)
        for seed, failure in found.failures:
            self.failures.append(f"seed {seed}: {failure.checker}: {failure.text}")
            self.failures.append(AGAIN.format(seed=seed))


def whispered(stint: Stint) -> Section:
    """Dark phases with whispered words; each heals."""
    seeds = [stint.first_seed + SCENES_A_CALL * place for place in range(SCENES // SCENES_A_CALL)]
    calls: list[Call] = [(_scenes, (SCENES_A_CALL, seed)) for seed in seeds]
    answers = ask(stint, "whispers", calls)
    sums = Sums()
    for found in answers.values:
        sums.add(found)
    total = sums.total
    longest_s = total.healed_ms_max / 1000
    rows = [(name, f"{getattr(total, name):,}") for name in COUNTED]
    rows += [("highest round", f"{total.rounds_max}"), ("longest heal", f"{longest_s:.1f} s")]
    section = Section(
        good=not sums.failures,
        told=f"{total.scenes:,} scenes of {SCENES:,} wanted, "
        + ("each healed" if not sums.failures else "NOT all healed")
        + f", the slowest in {longest_s:.1f} s of simulated time",
        record={
            **{name: getattr(total, name) for name in COUNTED},
            "rounds_max": total.rounds_max,
            "healed_ms_max": total.healed_ms_max,
            "failures": sums.failures,
        },
        texts=[TOLD, *sums.failures],
        tables=[Table("", ("what", "in all"), rows)],
    )
    return answers.judged(section)


def _scenes(count: int, seed: int) -> Whispers:
    return whispers(count, seed=seed)
