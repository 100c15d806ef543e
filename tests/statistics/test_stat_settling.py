"""Polls until settled: real dice, real polls and the real Snowball against closed forms (§6).

All honest slots prefer one value and some slots are mute, so every poll is won with the same
chance: the mean of many decisions must lie within three standard errors of the closed form.
"""

from math import sqrt

import pytest

from consensus.dice import Dice
from consensus.ids import BlockId, Peer
from consensus.parameters import Parameters
from consensus.polls import PollGroup, draw_poll
from consensus.snowball import Snowball
from tests.statistics.chisquare import (
    at_least,
    binomial,
    hypergeometric,
    mean_to_run,
    mean_to_settle,
    variance_to_run,
)

A = BlockId(b"a" * 36)
PUBLIC = Parameters.public()
K, SLOTS, OWNERS = PUBLIC.k, PUBLIC.slots, 60  # ten slots of each owner
SIGMAS = 3.0


def decide(dice: Dice, mute: int, *, alphas: tuple[int, int], beta: int, yields: bool) -> int:
    """Polls of one decision, in groups, with one query per owner; `mute` owners fail to."""
    owners = [Peer(bytes([slot % OWNERS]) * 32) for slot in range(SLOTS)]
    snowball = Snowball(*alphas, beta, A, yields=yields)
    while snowball.settled is None:
        polls = [draw_poll(owners, dice.sample(SLOTS, K)) for _ in range(PUBLIC.concurrent_polls)]
        peers = sorted({peer for poll in polls for peer in poll.drawn})
        group = PollGroup(polls, dict(enumerate(peers)), 0, PUBLIC.poll_timeout_ms)
        for ask, peer in enumerate(peers):
            if peer[0] < mute:
                group.record_silence(ask)
            else:
                group.record_answer(ask, peer, A)
        for poll in group.take_finished(*alphas):
            if snowball.settled is None:
                snowball.record_poll(poll.weights)
        assert not group.polls, "everybody answered or failed"
    assert snowball.settled == A
    return snowball.polls


def sampled(percent: int, runs: int, **rule: object) -> list[int]:
    dice = Dice((7_000 + percent).to_bytes(32, "big"))
    return [decide(dice, OWNERS * percent // 100, **rule) for _ in range(runs)]  # type: ignore[arg-type]


def lead_and_win(percent: int, alphas: tuple[int, int]) -> tuple[float, float]:
    weights = hypergeometric(SLOTS, SLOTS - SLOTS * percent // 100, K)
    return at_least(weights, alphas[0]), at_least(weights, alphas[1])


# ---- the closed form itself ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mute", "confidence", "beta", "expected"),
    [
        (0.05, 15, 20, 20.1),
        (0.10, 15, 20, 22.6),
        (0.15, 15, 20, 45),
        (0.20, 15, 20, 394),
        (0.25, 15, 20, 40_629),
        (0.20, 14, 24, 90),
        (0.25, 14, 24, 1_516),
        (0.20, 13, 30, 52),
        (0.25, 13, 30, 236),
        (0.20, 12, 40, 49),
        (0.25, 12, 40, 106),
    ],
)
def test_the_closed_form_gives_the_figures_on_record(
    mute: float, confidence: int, beta: int, expected: float
) -> None:
    """Draws with replacement, K = 20."""
    p = at_least(binomial(20, 1 - mute), confidence)
    assert mean_to_run(p, beta) == pytest.approx(expected, rel=0.012)


@pytest.mark.parametrize(
    ("confidence", "beta", "support", "expected"),
    [
        (15, 20, 0.55, 7e-26),
        (15, 20, 0.60, 1e-18),
        (15, 20, 0.75, 6e-5),
        (14, 24, 0.60, 4e-15),
        (14, 24, 0.75, 3e-3),
        (13, 30, 0.70, 4e-4),
        (12, 40, 0.75, 0.19),
    ],
)
def test_the_chance_of_a_window_is_that_on_record(
    confidence: int, beta: int, support: float, expected: float
) -> None:
    found = at_least(binomial(20, support), confidence) ** beta
    assert found == pytest.approx(expected, rel=0.5), "one digit is on record"


# ---- measured -----------------------------------------------------------------------------------


def test_without_mute_slots_every_decision_takes_beta_polls() -> None:
    alphas = (PUBLIC.alpha_preference, PUBLIC.alpha_confidence)
    assert set(sampled(0, 5, alphas=alphas, beta=PUBLIC.beta, yields=True)) == {PUBLIC.beta}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("percent", "runs"), [(0, 5), (5, 1_000), (10, 1_000), (15, 1_000), (20, 1_000)]
)
def test_polls_until_a_streak_of_beta_take_as_long_as_the_closed_form_says(
    percent: int, runs: int
) -> None:
    """The public chain's numbers; 600 slots."""
    alphas = (PUBLIC.alpha_preference, PUBLIC.alpha_confidence)
    polls = sampled(percent, runs, alphas=alphas, beta=PUBLIC.beta, yields=False)
    _, win = lead_and_win(percent, alphas)
    error = sqrt(variance_to_run(win, PUBLIC.beta) / runs)
    assert abs(sum(polls) / runs - mean_to_run(win, PUBLIC.beta)) <= SIGMAS * error


@pytest.mark.slow
@pytest.mark.parametrize(("percent", "runs"), [(10, 800), (20, 800), (30, 800)])
def test_polls_until_settled_either_way_take_as_long_as_the_two_runs_say(
    percent: int, runs: int
) -> None:
    """beta wins in a row, or 2·beta polls led in a row; the error is that of the sample."""
    alphas = (PUBLIC.alpha_preference, PUBLIC.alpha_confidence)
    polls = sampled(percent, runs, alphas=alphas, beta=PUBLIC.beta, yields=True)
    mean = sum(polls) / runs
    error = sqrt(sum([(count - mean) ** 2 for count in polls]) / (runs - 1) / runs)
    expected = mean_to_settle(*lead_and_win(percent, alphas), PUBLIC.beta)
    assert abs(mean - expected) <= SIGMAS * error
    assert expected < mean_to_run(lead_and_win(percent, alphas)[1], PUBLIC.beta)


@pytest.mark.long
@pytest.mark.parametrize(("percent", "runs"), [(5, 5_000), (10, 5_000), (15, 4_000), (20, 1_500)])
def test_a_streak_of_twenty_takes_as_long_as_the_closed_form_says(percent: int, runs: int) -> None:
    """K = 20, both alphas 15, beta 20: the setting in which 20 % mute slots stop a network."""
    polls = sampled(percent, runs, alphas=(15, 15), beta=20, yields=False)
    _, win = lead_and_win(percent, (15, 15))
    error = sqrt(variance_to_run(win, 20) / runs)
    assert abs(sum(polls) / runs - mean_to_run(win, 20)) <= SIGMAS * error


def test_a_streak_that_survives_a_lost_poll_is_refused() -> None:
    """Rule a of Snowball broken on purpose: the mean is far off, so the comparison can see it."""
    _, win = lead_and_win(20, (11, 15))
    assert mean_to_run(win, PUBLIC.beta) - PUBLIC.beta / win > SIGMAS * sqrt(
        variance_to_run(win, PUBLIC.beta) / 1_000
    )
