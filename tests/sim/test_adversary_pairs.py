"""Two adversaries at once, of two kinds, on rough links and over epochs: the same claims hold.

A failure names kinds and seed; `APOCRYPH_SIM_SEED=N` runs other pairs.
"""

import os
from itertools import combinations

import pytest

from consensus.dice import Dice
from testnet.sim.adversaries import NAMES
from testnet.sim.cluster import Weather, small_parameters
from tests.sim.adversary_stage import Stage

ALONE = ("forged_chain", "poison")  # act only where a test asks them to
PAIRS = [
    (a, b)
    for a, b in combinations([name for name in NAMES if name not in ALONE], 2)
    if (a, b) != ("old_locks", "eclipse")  # either cuts what the other needs: nothing would move
]
DRAWN = 4
SEED = int(os.environ.get("APOCRYPH_SIM_SEED", "11"))
ROUGH = Weather(loss=5, jitter_ms=40, duplicate=3, reorder=5)
RULERS = ("eclipse", "old_locks", "message_order", "split_proposals", "accept_scheduler")


def drawn(count: int) -> list[tuple[str, str]]:
    """So many pairs, without a kind of the network ruling twice."""
    dice = Dice(SEED.to_bytes(32, "big")).child("pairs")
    return [PAIRS[place] for place in dice.sample(len(PAIRS), count)]


def both(pair: tuple[str, str], *, nodes: int = 7, seed: int = SEED, heights: int = 6) -> None:
    """Safety while both act, then those who rule the network let go and heights go on."""
    stage = Stage(
        list(pair),
        nodes=nodes,
        seed=seed,
        parameters=small_parameters(epoch_blocks=16),
        weather=ROUGH,
        hill_nonces=64,
    )
    if any(name in RULERS for name in pair):
        stage.traffic(12.0)
    else:
        stage.climb(heights, within_s=60.0 * heights)
    stage.judge()
    for adversary in stage.adversaries:
        if type(adversary).__name__ in ("Eclipse", "OldLocks"):
            adversary.stop()
    stage.heal()
    stage.climb(3, within_s=240.0)
    stage.judge()
    assert any(adversary.lies for adversary in stage.adversaries), pair


@pytest.mark.slow
@pytest.mark.parametrize("pair", drawn(DRAWN), ids="+".join)
def test_two_kinds_at_once(pair: tuple[str, str]) -> None:
    both(pair)


@pytest.mark.long
@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_all_pairs(pair: tuple[str, str]) -> None:
    both(pair, seed=SEED + 1, heights=20)
