"""Clusters besieged by liars: for each seed the largest minority of drawn adversaries, in mild or
wild weather, judged by all checkers; how many poll decisions that makes, and how many disagree.

Knows no files and no processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from consensus.dice import Dice
from testnet.sim import scenario, trial
from testnet.sim.adversaries import NAMES
from testnet.sim.scenario import Load, Phases, Scenario, Villain, Weather
from testnet.sim.trial import Outcome

SIZES: Final = (4, 7, 13)
MILD: Final = Weather(loss=3, jitter_ms=20, duplicate=2, reorder=5)
MILD_LOAD: Final = Load(every_ms=100)
MILD_PHASES: Final = Phases(faults_s=20, heal_s=1, liveness_s=90, heights=2)
WILD_ONE_IN: Final = 4  # of the seeds: the storm of that name, with its crashes and partitions
STORM: Final = "storm"
# These need a stage of their own: one neighbour for ever, one message, one light client.
ELSEWHERE: Final = ("eclipse", "poison", "forged_chain")
LIARS: Final = tuple([n for n, kind in NAMES.items() if kind.liar and n not in ELSEWHERE])
RULERS: Final = tuple([n for n, kind in NAMES.items() if not kind.liar and n not in ELSEWHERE])
RULER_ONE_IN: Final = 3
MINERS: Final = ("copied_claims", "late_claims", "ground_salt", "double_commitment")
MINED_ONE_IN: Final = 3  # of the others: short epochs, in which owners mine
MINED: Final = {"epoch_blocks": 16, "claim_close": 4, "difficulty_bits_min": 3}
NONCES: Final = 32
FLOODING: Final = "flooding"
DISAGREEMENTS: Final = ("agreement", "roots", "history", "halt")  # checkers that say so


def siege(seed: int, *, sizes: Sequence[int] = SIZES, wild: bool | None = None) -> Scenario:
    """The scenario of a seed: as many liars as the protocol admits, of kinds that it draws; where
    one node more is left, sometimes somebody who rules the network too. `wild`: in a storm, or not
    (null: by seed)."""
    dice = Dice(seed.to_bytes(32, "big")).child("siege")
    nodes = sizes[seed % len(sizes)]
    stormy = dice.uint(WILD_ONE_IN) == 0 if wild is None else wild
    villains = [
        Villain(kind=LIARS[dice.uint(len(LIARS))], node=node) for node in _some(dice, nodes)
    ]
    if dice.uint(RULER_ONE_IN) == 0:
        free = [node for node in range(nodes) if all(node != v.node for v in villains)]
        ruler = RULERS[dice.uint(len(RULERS))]
        villains.append(Villain(kind=ruler, node=free[dice.uint(len(free))]))
    base = scenario.parse(scenario.builtin(STORM), STORM)
    if not stormy:
        base = replace(base, weather=MILD, load=MILD_LOAD, phases=MILD_PHASES, faults=())
    kinds = [villain.kind for villain in villains]
    mined = dice.uint(MINED_ONE_IN) == 0 or any(kind in MINERS for kind in kinds)
    if mined and FLOODING not in kinds:  # whose many keys would outmine all others
        base = replace(
            base,
            parameters=base.parameters.replace(**MINED),
            machines=replace(base.machines, hill_nonces=NONCES),
        )
    name = "-".join(kinds)[: scenario.NAME_CHARACTERS_MAX]
    return replace(base, name=name, nodes=(nodes,), adversaries=tuple(villains))


def _some(dice: Dice, nodes: int) -> Sequence[int]:
    """The largest minority: fewer than a third of the nodes, which own equal shares."""
    return dice.sample(nodes, (nodes - 1) // 3)


@dataclass(slots=True)
class KindRow:
    """Of all sieges in which an adversary of a kind took part."""

    kind: str
    sieges: int = 0
    polls: int = 0
    heights: int = 0
    lies: int = 0
    failures: int = 0


@dataclass(slots=True)
class Decisions:
    """`disagreements`: failures of the checkers that compare what honest nodes decided."""

    sieges: int = 0
    clean: int = 0
    polls: int = 0
    heights: int = 0
    signatures: int = 0
    crashes: int = 0
    disagreements: int = 0
    kinds: dict[str, KindRow] = field(default_factory=dict)
    failed: list[tuple[int, Outcome]] = field(default_factory=list)  # seed

    def add(self, seed: int, chosen: Scenario, outcome: Outcome) -> None:
        self.sieges += 1
        self.clean += outcome.clean
        self.polls += outcome.polls
        self.heights += outcome.heights
        self.signatures += outcome.signatures
        self.crashes += outcome.crashes
        if not outcome.clean:
            self.failed.append((seed, outcome))
        self.disagreements += sum(f.checker in DISAGREEMENTS for f in outcome.failures)
        for kind in dict.fromkeys([villain.kind for villain in chosen.adversaries]):
            row = self.kinds.setdefault(kind, KindRow(kind))
            row.sieges += 1
            row.polls += outcome.polls
            row.heights += outcome.heights
            row.lies += outcome.counts.get(f"lies {kind}", 0)
            row.failures += len(outcome.failures)


def decisions(
    goal: int,
    *,
    seed: int = 1,
    sizes: Sequence[int] = SIZES,
    told: Callable[[Decisions], None] = lambda decisions: None,
) -> Decisions:
    """Sieges of seeds `seed`, `seed` + 1, … until honest nodes made `goal` poll decisions."""
    total = Decisions()
    while total.polls < goal:
        here = seed + total.sieges
        chosen = siege(here, sizes=sizes)
        total.add(here, chosen, trial.run(chosen, here))
        told(total)
    return total
