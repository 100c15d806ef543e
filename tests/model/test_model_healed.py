"""After the network healed: which rules make a certificate certain, and what stands still without.

Model and real engines; for the last test see `lastminute`.
"""

import pytest

from tests.model.healed import Habits, Healed, Rounds, told
from tests.model.lastminute import play
from tests.model.report import HEALINGS, Healing, heal
from tests.model.slots import Lock


@pytest.mark.slow
@pytest.mark.parametrize("healing", HEALINGS, ids=lambda each: each.name)
def test_healing(healing: Healing) -> None:
    """From every reachable state: decided within two rounds, or a play that never ends."""
    verdict = heal(healing)
    assert verdict.decides == healing.decides, told(verdict)
    if verdict.decides:
        assert verdict.rounds == 2, "one to pass on what is known, one to decide"
    else:
        assert verdict.loop
        assert told(verdict)[-1].startswith("again and again")


def test_nothing_known_and_nothing_locked_decides_at_once() -> None:
    start = Healed(0, (None,) * 3, (None,) * 3, ())
    verdict = Rounds(Habits()).judge([start])
    assert (verdict.decides, verdict.rounds) == (True, 1)


def test_a_stale_lock_follows_the_newer_quorum_and_not_without_the_rule() -> None:
    old, new = Lock(0, 0), Lock(1, 1)
    start = Healed(2, (old, new, None), (new, new, new), ())
    assert Rounds(Habits()).judge([start]).rounds == 1
    stuck = Rounds(Habits(lock_moves=False)).judge([start])
    assert not stuck.decides
    assert all(play.confirms.count(1) == 2 for _, play in stuck.loop), "two of three, for ever"


@pytest.mark.parametrize("timely", [True, False])
def test_real_engines_decide_whatever_is_shown_at_the_last_moment(timely: bool) -> None:
    """All honest messages within 20 ms, one slot of four votes late to one peer a round.

    Before the round's first owner led (ADR 0016), `timely=False` was endless: two values took
    turns. `python -m tests.model` shows the play.
    """
    confirms = play(10, timely=timely)
    assert len(confirms) == 2, "a certificate in the first round after the split"
    assert None not in confirms[-1]
    assert max(confirms[-1].count(block) for block in confirms[-1]) >= 2
