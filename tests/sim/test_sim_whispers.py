"""Liars that show words to one peer alone: when all are up again, the honest go on."""

import pytest

from consensus import voting
from testnet.sim.whispers import whispers

HOLE_SEED = 71  # a scene that needs the rule below


def test_the_same_seed_is_the_same_scene() -> None:
    found = whispers(2, seed=5)
    assert found.failures == [] and found.words > 10 and found.heights >= 2
    assert whispers(2, seed=5) == found


@pytest.mark.slow
def test_scenes_heal() -> None:
    found = whispers(12)
    assert found.failures == []
    assert found.words > 200 and found.quorums > 10 and found.crashes > 10
    assert found.rounds_max >= 1


@pytest.mark.slow
def test_a_hole_that_was_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """ADR 0026: who accepted nil without a confirm of its own left the others too few of them."""
    signs = voting.sign_vote

    def unconfirmed(machine, kind, round_, block):  # type: ignore[no-untyped-def]
        late = block is None and kind == "confirm" and not machine.standing.settled
        if not late:
            signs(machine, kind, round_, block)

    monkeypatch.setattr(voting, "sign_vote", unconfirmed)
    found = whispers(1, seed=HOLE_SEED)
    assert [failure.checker for _, failure in found.failures] == ["liveness"], found


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10_000, 20_000, 500))
def test_many_scenes_heal(seed: int) -> None:
    found = whispers(40, seed=seed)
    assert (found.scenes, found.failures) == (40, [])
