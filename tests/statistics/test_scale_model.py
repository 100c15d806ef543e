"""The vectorised simulation against the real Snowball, enumeration and a naive network."""

import sys
from fractions import Fraction
from itertools import combinations, pairwise
from math import comb, log10, sqrt
from statistics import correlation, fmean, stdev, variance
from time import process_time

import pytest

from consensus.dice import Dice
from consensus.parameters import Parameters
from consensus.snowball import Snowball
from node.errors import ConfigError
from testnet.scale import figures
from testnet.scale.chances import Draw, polls_to_settle, steps, tail
from testnet.scale.measure import measure
from testnet.scale.networks import Adversary, Kind, Network
from tests.statistics.chisquare import (
    ALMOST_NEVER,
    at_least,
    chance,
    hypergeometric,
    mean_to_run,
)
from tests.statistics.naive_network import VALUES, NaiveNetwork

np = pytest.importorskip("numpy")

from testnet.scale.crowd import NONE, Crowd  # noqa: E402
from testnet.scale.model import decide, starting_preferences, supports, throw  # noqa: E402

PUBLIC = Parameters.public()
WEAK_SETS = [(5, 3, 3, 1), (5, 3, 3, 2), (5, 3, 3, 3), (20, 11, 11, 2)]
STRONG_SETS = [(15, 15, 20), (11, 15, 20), (11, 14, 24), (11, 13, 30)]


def network(
    nodes: int, *numbers: int, share: str = "0", kind: str = "mute", **rest: object
) -> Network:
    """`numbers`: k and both alphas and beta, by default the public chain's."""
    k, preference, confidence, beta = numbers or (20, 11, 15, 8)
    return Network(
        nodes=nodes,
        k=k,
        alpha_preference=preference,
        alpha_confidence=confidence,
        beta=beta,
        adversary=Adversary(Kind(kind), Fraction(share)),
        **rest,  # type: ignore[arg-type]
    )


# ---- the rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [1, 2, 3, 4])
@pytest.mark.parametrize("weakly", [True, False])
def test_a_crowd_is_as_many_snowballs(values: int, weakly: bool) -> None:
    """Polls drawn from dice; each node's counters after each poll, until it settles."""
    dice, nodes, beta = Dice(bytes([values] * 32)), 60, 3
    start = [dice.uint(values) for _ in range(nodes)]
    crowd = Crowd.starting(
        np.array(start, np.int8), values=values, beta=beta, weakly=weakly, memory=True
    )
    balls = [Snowball(3, 4, beta, VALUES[value], yields=weakly) for value in start]
    number = {value: place for place, value in enumerate(VALUES)} | {None: NONE}
    for _ in range(40):
        polls = [(dice.uint(values), dice.uint(6)) for _ in balls]
        leader = [value if weight >= 3 else NONE for value, weight in polls]
        crowd.record_polls(
            np.array(leader, np.int8), np.array([weight >= 4 for _, weight in polls], np.bool_)
        )
        for ball, (value, weight) in zip(balls, polls, strict=True):
            ball.record_poll({VALUES[value]: weight})
        done = [number[ball.settled] for ball in balls if ball.settled is not None]
        assert list(crowd.take_settled()) == [done.count(value) for value in range(values)]
        balls = [ball for ball in balls if ball.settled is None]
        found = zip(
            crowd.preference, crowd.winner, crowd.streak, crowd.leader, crowd.leading, strict=True
        )
        assert [tuple(map(int, row)) for row in found] == [
            (number[b.preference], number[b.winner], b.streak, number[b.leader], b.leading)
            for b in balls
        ]
        counts = [[ball.counts.get(VALUES[value], 0) for ball in balls] for value in range(values)]
        assert crowd.counts.tolist() == counts
    assert len(balls) < nodes, "some settled"


def test_without_memory_the_preference_is_the_last_leader() -> None:
    crowd = Crowd.starting(np.zeros(2, np.int8), values=2, beta=9, weakly=True, memory=False)
    for leader in ([0, 1], [0, 0], [1, NONE]):
        crowd.record_polls(np.array(leader, np.int8), np.zeros(2, np.bool_))
    assert list(crowd.preference) == [1, 0]


# ---- chances ------------------------------------------------------------------------------------


@pytest.mark.parametrize("support", range(8))
def test_chances_are_those_of_all_draws_counted(support: int) -> None:
    draws = [sum(slot < support for slot in drawn) for drawn in combinations(range(7), 5)]
    found = tail(Draw(7, 5, 3, 4), support)
    assert found.lead == sum(hits >= 3 for hits in draws) / comb(7, 5)
    assert found.win == sum(hits >= 4 for hits in draws) / comb(7, 5)


@pytest.mark.parametrize(("slots", "support"), [(600, 300), (600, 480), (1_000_000, 612_345)])
def test_chances_are_tails_of_the_hypergeometric_distribution(slots: int, support: int) -> None:
    weights = hypergeometric(slots, support, 20)
    found = tail(Draw(slots, 20, 11, 15), support)
    assert found.lead == pytest.approx(at_least(weights, 11), rel=1e-12)
    assert found.win == pytest.approx(at_least(weights, 15), rel=1e-12)


def test_the_closed_form_of_the_package_is_the_one_tested() -> None:
    assert polls_to_settle(0.8, 8) == pytest.approx(mean_to_run(0.8, 8))
    assert polls_to_settle(1.0, 8) == 8


def test_thrown_polls_come_out_as_drawn_ones_do() -> None:
    """100 slots, 45 / 40 / 15 (mute): the five outcomes, of the model and of Dice.sample."""
    draw, thrown = Draw(100, 20, 11, 12), 40_000
    bounds = np.array([steps(draw, [45, 40])])
    leader, won = throw(np.random.default_rng(3), bounds, np.zeros(thrown, np.int8))
    outcome = [
        4 if lead == NONE else 2 * lead + (not win) for lead, win in zip(leader, won, strict=True)
    ]
    edges = [0.0, *bounds[0].tolist(), 1.0]
    chances = [high - low for low, high in pairwise(edges)]
    counted = [outcome.count(each) for each in range(5)]
    assert chance(counted, [thrown * p for p in chances]) > ALMOST_NEVER
    dice, drawn = Dice(bytes(32)), [0] * 5
    for _ in range(4_000):
        slots = dice.sample(100, 20)
        hits = [sum(slot < 45 for slot in slots), sum(45 <= slot < 85 for slot in slots)]
        led = next((value for value in (0, 1) if hits[value] >= 11), None)
        drawn[4 if led is None else 2 * led + (hits[led] < 12)] += 1
    assert chance(drawn, [4_000 * p for p in chances]) > ALMOST_NEVER


# ---- parts of the model -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "expected"),
    [((50, 50), [5, 5]), ((40, 30, 30), [4, 3, 3]), ((33, 67), [3, 7]), ((100,), [10])],
)
def test_the_start_is_split_as_asked(start: tuple[int, ...], expected: list[int]) -> None:
    found = starting_preferences(10, start).tolist()
    assert [found.count(value) for value in range(len(start))] == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mute", [[5, 3, 2]]),
        ("balancing", [[5, 3, 4]]),
        ("split", [[7, 3, 2], [5, 5, 2], [5, 3, 4]]),
    ],
)
def test_what_an_adversary_makes_the_askers_see(kind: str, expected: list[list[int]]) -> None:
    assert supports(Kind(kind), 2, [5, 3, 2]) == expected


def test_a_network_smaller_than_k_has_smaller_thresholds() -> None:
    assert network(7).draw == Draw(7, 7, 4, 6)
    assert decide(network(1), 1).rounds == 8
    assert decide(network(7), 1).agreed


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"nodes": 0}, "1 ≤ nodes"),
        ({"alpha_preference": 10}, "k/2 < alpha_preference"),
        ({"alpha_confidence": 10}, "alpha_preference ≤ alpha_confidence ≤ k"),
        ({"alpha_confidence": 21}, "alpha_preference ≤ alpha_confidence ≤ k"),
        ({"concurrent_polls": 9}, "0 < concurrent_polls ≤ beta"),
        ({"start": (50, 49)}, "start adds up to 100"),
        ({"start": (10,) * 10}, "start has 1 to 8 values"),
        ({"rounds_max": 0}, "1 ≤ rounds_max"),
        ({"adversary": Adversary(Kind.MUTE, Fraction(1))}, "share of the adversary"),
    ],
)
def test_a_network_that_cannot_be_says_which_inequality_failed(
    wrong: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Network.of_chain(PUBLIC, **{"nodes": 100} | wrong)


def test_the_same_seed_decides_alike_and_another_does_not() -> None:
    asked = network(300, share="0.2", kind="balancing")
    assert decide(asked, 5) == decide(asked, 5)
    assert len({decide(asked, seed).curve for seed in range(8)}) > 1


def test_unanimity_settles_in_beta_polls() -> None:
    decision = decide(network(500, start=(100, 0)), 1)
    assert (decision.rounds, decision.settled, decision.agreed) == (8, (500, 0), True)
    assert decision.rounds_until(0.99) == 8
    assert decide(network(500, start=(100, 0), concurrent_polls=4), 1).rounds == 2


def test_a_mute_majority_stalls() -> None:
    decision = decide(network(100, share="0.6", rounds_max=50), 1)
    assert decision.rounds is None and sum(decision.settled) == 0 and len(decision.curve) == 50
    row = measure(network(100, share="0.6", rounds_max=50), range(3))
    assert (row.stalls, row.mean, row.span) == (3, None, (None, None))


# ---- against the naive network ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        network(60),
        network(60, concurrent_polls=4),
        network(60, share="0.2"),
        network(60, share="0.2", weakly=False, rounds_max=60),
        network(60, share="0.2", kind="balancing", concurrent_polls=4),
        network(60, share="0.05", kind="split"),
        network(60, share="0.05", kind="echo", concurrent_polls=2),
        network(60, start=(40, 30, 30)),
        network(25, 20, 11, 15, 4),
    ],
    ids=lambda asked: (
        f"{asked.nodes} {asked.adversary} {asked.concurrent_polls} {len(asked.start)}"
    ),
)
def test_rounds_are_those_of_a_network_in_which_every_slot_is_drawn(asked: Network) -> None:
    """Means of 25 and of 400 decisions, within three standard errors of their difference."""
    limit = asked.rounds_max
    drawn = [NaiveNetwork(asked, seed).run() or limit for seed in range(25)]
    thrown = [decide(asked, seed).rounds or limit for seed in range(400)]
    error = sqrt(variance(thrown) * (1 / 25 + 1 / 400))
    assert abs(fmean(drawn) - fmean(thrown)) <= 3 * error
    assert stdev(drawn) < 2 * stdev(thrown) + 0.5


# ---- figures ------------------------------------------------------------------------------------

FIGURES = list(figures.figures())
LIGHT = 130  # rounds; such cells are measured with more seeds


def called(figure: figures.Figure) -> str:
    asked = figure.network
    return f"{asked.alpha_preference}-{asked.alpha_confidence}-{asked.beta} {asked.adversary}"


@pytest.mark.parametrize(
    "figure",
    [
        pytest.param(
            f, marks=pytest.mark.slow if f.rounds < LIGHT else pytest.mark.long, id=called(f)
        )
        for f in FIGURES
    ],
)
def test_the_figures_on_record_come_again(figure: figures.Figure) -> None:
    """All 36 cells; with Snowflake's preference, as they were measured."""
    seeds = 48 if figure.rounds < LIGHT else 16
    found = figures.repeat(figure, range(1, seeds + 1))
    assert found.within, f"{found.rounds} ± {found.deviation}, on record {figure.rounds}"


@pytest.mark.slow
def test_counts_make_a_light_network_slower_and_the_comparison_sees_it() -> None:
    """Snowball's memory costs some four rounds at a 50/50 start: not the figure on record."""
    (light, *_) = [f for f in figures.figures(memory=True) if called(f) == "11-15-20 none"]
    found = figures.repeat(light, range(1, 33))
    assert not found.within and 27 < found.rounds < 31


@pytest.mark.parametrize("numbers", WEAK_SETS, ids=str)
def test_weak_numbers_are_seen_to_disagree(numbers: tuple[int, int, int, int]) -> None:
    """200 of 200 seeds for such sets: the detector works."""
    asked = network(150, *numbers, share="0.2", kind="split", weakly=False, rounds_max=120)
    assert not any(decide(asked, seed).agreed for seed in range(40))


@pytest.mark.slow
@pytest.mark.parametrize("share", ["0.2", "0.3"])
@pytest.mark.parametrize("numbers", STRONG_SETS, ids=str)
def test_strong_numbers_never_disagree_against_a_split_vote(
    numbers: tuple[int, int, int], share: str
) -> None:
    asked = network(150, 20, *numbers, share=share, kind="split", weakly=False, rounds_max=120)
    assert all(decide(asked, seed).agreed for seed in range(60))


@pytest.mark.slow
def test_weak_settling_gives_agreement_away_which_is_why_votes_decide() -> None:
    """600 slots of the public chain, a fifth echo each asker: every run ends in both values.

    Without weak settling none does. Agreement never rests on what settles (protocol §6, §7).
    """
    asked = network(600, share="0.2", kind="echo", concurrent_polls=4, rounds_max=100)
    assert not any(decide(asked, seed).agreed for seed in range(20))
    strict = network(
        600, share="0.2", kind="echo", concurrent_polls=4, rounds_max=100, weakly=False
    )
    assert all(decide(strict, seed).agreed for seed in range(20))


@pytest.mark.slow
def test_a_balancing_fifth_does_not_stop_the_public_chain() -> None:
    row = measure(network(600, share="0.2", kind="balancing", concurrent_polls=4), range(50))
    assert (row.stalls, row.split) == (0, 0)
    assert row.span[1] is not None and row.span[1] <= 40


@pytest.mark.slow
def test_rounds_grow_with_the_logarithm_of_the_network() -> None:
    """Straight over log(nodes): correlation² above 0.95 from 10³ to 10⁶."""
    sizes, means = (1_000, 10_000, 100_000, 1_000_000), []
    for nodes, runs in zip(sizes, (100, 40, 8, 1), strict=True):
        asked = network(nodes, 20, 15, 15, 20, weakly=False)
        means.append(fmean([decide(asked, seed).rounds or 0 for seed in range(runs)]))
    assert means == sorted(means)
    assert correlation([log10(nodes) for nodes in sizes], means) ** 2 > 0.95
    assert means[-1] < 60


def test_polls_of_all_slots_cannot_break_a_tie() -> None:
    """Up to k slots every poll sees the same answers: 8 against 7 stays (until settle_timeout)."""
    decision = decide(network(15, rounds_max=100), 1)
    assert decision.rounds is None and sum(decision.settled) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer takes the time")
def test_a_million_nodes_settle_within_five_seconds_of_one_core() -> None:
    asked = Network.of_chain(PUBLIC, nodes=1_000_000)
    started = process_time()
    decision = decide(asked, 1)
    assert process_time() - started <= 5
    assert decision.rounds is not None and decision.rounds <= 20
