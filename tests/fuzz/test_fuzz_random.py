"""A short run of every target from a fixed seed; longer: `python -m tests.fuzz --seconds N`."""

from random import Random

import pytest

from tests.fuzz.fuzz_target import failure
from tests.fuzz.fuzz_targets import TARGETS

SEED = 4


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_burst(name: str) -> None:
    target = TARGETS[name]
    try:
        for raw in target.inputs(Random(f"{SEED} {name}"), target.burst):
            assert failure(target, raw) is None, raw.hex()
    finally:
        target.release()


@pytest.mark.parametrize("name", ["value", "vote", "core_solo"])
def test_a_seed_draws_the_same_inputs_again(name: str) -> None:
    one, two = (list(TARGETS[name].inputs(Random(SEED), 20)) for _ in range(2))
    assert one == two
