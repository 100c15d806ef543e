"""The model cannot drift from the code: real engines held against it, in both directions."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from consensus import voting
from consensus.signing import SignRecord
from consensus.votes import Votes
from tests.model.drift import Drift, Walk
from tests.model.traces import Count, Follower

WALK_STEPS, FOLLOW_STEPS = 600, 30


def follow(seeds: range) -> Count:
    counts = [Follower(seed).run(FOLLOW_STEPS) for seed in seeds]
    names = Count.__dataclass_fields__
    return Count(**{name: sum(getattr(count, name) for count in counts) for name in names})


def test_engines_sign_only_what_the_model_allows() -> None:
    walks = [Walk(seed) for seed in range(10)]
    for walk in walks:
        walk.run(WALK_STEPS)
    assert sum(walk.signed for walk in walks) > 100
    assert sum(walk.crashes for walk in walks) > 50
    assert any(slot.lock is not None for walk in walks for slot in walk.slots)


def test_the_engines_functions_sign_all_that_the_model_allows() -> None:
    count = follow(range(25))
    assert count.taken > 300 and count.refused > 300 and count.crashed > 50
    assert count.stricter <= count.taken // 50


@pytest.mark.slow
def test_both_links_over_many_schedules() -> None:
    signed = 0
    for seed in range(100, 160):
        walk = Walk(seed)
        walk.run(WALK_STEPS)
        signed += walk.signed
    count = follow(range(100, 220))
    assert signed > 500
    assert count.taken > 1500 and count.unlocked > 0


# ---- the links can fail -------------------------------------------------------------------------


def mixed_rounds(votes: Votes) -> list[tuple[int, Any]]:
    """Confirms of all rounds counted together."""
    weights: dict[Any, int] = {}
    for (_, phase), tally in votes.tallies.items():
        for block, weight in tally.weights.items():
            if phase == "confirm" and block is not None:
                weights[block] = weights.get(block, 0) + weight
    return [(votes.round, block) for block, weight in weights.items() if votes.is_quorum(weight)]


decode = SignRecord.decode.__func__  # type: ignore[attr-defined]
PLANTS: dict[str, tuple[Any, str, Any]] = {
    "the lock is not asked for": (voting, "lock_allows", lambda machine, block: True),
    "a lock never moves": (
        voting,
        "lock_allows",
        lambda machine, block: (lock := machine.record.lock_at(1)) is None or lock.block == block,
    ),
    "half is a quorum": (Votes, "is_quorum", lambda votes, weight: 2 * weight >= votes.occupied),
    "three quarters and more": (
        Votes,
        "is_quorum",
        lambda votes, weight: 4 * weight > 3 * votes.occupied,
    ),
    "an accept sets no lock": (
        SignRecord,
        "with_lock",
        lambda record, height, block, round_: record,
    ),
    "a restart loses the lock": (
        SignRecord,
        "decode",
        classmethod(lambda cls, raw: replace(decode(cls, raw), lock=None)),
    ),
    "quorum over mixed rounds": (Votes, "confirmed", mixed_rounds),
}


def hunt(run: Callable[[int], object], seeds: int) -> str:
    """The first drift that a link finds; empty if none."""
    for seed in range(seeds):
        try:
            run(seed)
        except Drift as drift:
            return str(drift)
    return ""


@pytest.mark.parametrize("plant", sorted(PLANTS))
def test_a_planted_fault_is_found_by_following_the_model(
    plant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, attribute, fault = PLANTS[plant]
    monkeypatch.setattr(owner, attribute, fault)
    assert hunt(lambda seed: Follower(seed).run(FOLLOW_STEPS), 60)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [
        "the lock is not asked for",
        "half is a quorum",
        "an accept sets no lock",
        "a restart loses the lock",
    ],
)
def test_a_planted_fault_is_found_on_random_schedules(
    plant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, attribute, fault = PLANTS[plant]
    monkeypatch.setattr(owner, attribute, fault)
    assert hunt(lambda seed: Walk(seed).run(WALK_STEPS), 120)
