"""How fast the simulator is: heights of a cluster of seven under load, a second of one core.

Real cores and executors, every host executes every block; the time is of the processor, so a busy
machine costs less than the clock would show.
"""

from __future__ import annotations

import time
from dataclasses import replace

from bench.figures import Failed, Figure, Goal, Measurement

NODES = 7
SIMULATED_S = 10
EVERY_MS, MESSAGES = 50, 2  # load: so many messages so often
RUNS = 3
STORM_SEEDS = 6  # of 4, 7 and 13 nodes, two each


def heights() -> Measurement:
    from testnet.sim import scenario, trial

    calm = scenario.parse(scenario.builtin("calm"), "calm")
    loaded = replace(
        calm,
        nodes=(NODES,),
        load=replace(calm.load, every_ms=EVERY_MS, messages=MESSAGES),
        phases=replace(calm.phases, faults_s=SIMULATED_S, liveness_s=0),
    )
    taken_s: list[float] = []
    outcome = trial.run(replace(loaded, phases=replace(loaded.phases, faults_s=1)), 1)  # warm
    for _ in range(RUNS):
        began = time.process_time()
        outcome = trial.run(loaded, 1)
        taken_s.append(time.process_time() - began)
        if not outcome.clean:
            raise Failed(f"the run is not clean: {outcome.failures[0]}")
    best = min(taken_s)
    storm = scenario.parse(scenario.builtin("storm"), "storm")
    began = time.process_time()
    outcomes = [trial.run(storm, seed) for seed in range(STORM_SEEDS)]
    storm_s = (time.process_time() - began) / STORM_SEEDS
    if not all(each.clean for each in outcomes):
        raise Failed("a storm is not clean")
    return Measurement(
        outcome.heights / best,
        {
            "heights": outcome.heights,
            "messages": outcome.included,
            "simulated_s": SIMULATED_S,
            "steps_per_height": outcome.steps / outcome.heights,
            "us_per_step": 1e6 * best / outcome.steps,
            "storm_s_per_seed": storm_s,
        },
    )


FIGURES = (
    Figure(
        name="sim-heights",
        what=f"heights of a simulated cluster of {NODES} under load, a second of one core",
        unit="heights/s",
        goal=Goal(60, "more"),
        run=heights,
    ),
)
