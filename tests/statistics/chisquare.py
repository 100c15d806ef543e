"""Pearson's test and exact discrete distributions, for tests with fixed seeds.

A seed is fixed, so a test's verdict is too: `ALMOST_NEVER` only says how unlikely a red one would
have been for a right sampler when the seed was chosen.
"""

from collections.abc import Mapping, Sequence
from math import comb, exp, inf, lgamma, log

ALMOST_NEVER = 1e-4  # chance that a right sampler looks worse than this
EXPECTED_MIN = 5.0  # cells that expect less are put together
_TERMS_MAX = 10_000
_PRECISE = 1e-14
_TINY = 1e-300


def upper_gamma(a: float, x: float) -> float:
    """Q(a, x), the regularized upper incomplete gamma function; a > 0, x ≥ 0."""
    if x <= 0.0:
        return 1.0
    scale = exp(a * log(x) - x - lgamma(a))
    if x < a + 1:  # series of the lower function
        term = total = 1 / a
        for n in range(1, _TERMS_MAX):
            term *= x / (a + n)
            total += term
            if term < total * _PRECISE:
                return 1 - scale * total
    below = x + 1 - a  # continued fraction, by Lentz
    c, d = 1 / _TINY, 1 / below
    value = d
    for n in range(1, _TERMS_MAX):
        factor = -n * (n - a)
        below += 2
        d = 1 / (factor * d + below)
        c = below + factor / c
        value *= c * d
        if abs(c * d - 1) < _PRECISE:
            return scale * value
    raise AssertionError("the incomplete gamma function did not converge")


def chance(observed: Sequence[float], expected: Sequence[float]) -> float:
    """How likely a right sampler is at least as far from `expected` as `observed` is.

    Cells in the same order, of the same total; neighbours are put together until each cell expects
    at least EXPECTED_MIN.
    """
    assert abs(sum(observed) - sum(expected)) < 1e-6 * sum(expected), "not of the same total"
    cells: list[tuple[float, float]] = []
    seen = wanted = 0.0
    for found, mean in zip(observed, expected, strict=True):
        seen, wanted = seen + found, wanted + mean
        if wanted >= EXPECTED_MIN:
            cells.append((seen, wanted))
            seen = wanted = 0.0
    if wanted or seen:
        last = cells.pop()
        cells.append((last[0] + seen, last[1] + wanted))
    assert len(cells) >= 2, "nothing to compare"
    statistic = sum([(found - mean) ** 2 / mean for found, mean in cells])
    return upper_gamma((len(cells) - 1) / 2, statistic / 2)


def of_counts(observed: Mapping[int, int], probabilities: Mapping[int, float]) -> float:
    """`chance` of counted outcomes; an outcome that cannot be gives 0."""
    if any(count and not probabilities.get(value) for value, count in observed.items()):
        return 0.0
    total, values = sum(observed.values()), sorted(probabilities)
    return chance(
        [observed.get(value, 0) for value in values],
        [total * probabilities[value] for value in values],
    )


def uniform(observed: Sequence[int]) -> float:
    """`chance` where every cell is equally likely."""
    return chance(observed, [sum(observed) / len(observed)] * len(observed))


def hypergeometric(slots: int, marked: int, draws: int) -> dict[int, float]:
    """Marked slots among `draws` without replacement → probability."""
    every = comb(slots, draws)
    least, most = max(0, draws - (slots - marked)), min(draws, marked)
    return {
        hits: comb(marked, hits) * comb(slots - marked, draws - hits) / every
        for hits in range(least, most + 1)
    }


def binomial(draws: int, p: float) -> dict[int, float]:
    """Hits among independent draws → probability."""
    return {
        hits: comb(draws, hits) * p**hits * (1 - p) ** (draws - hits) for hits in range(draws + 1)
    }


def at_least(probabilities: Mapping[int, float], least: int) -> float:
    """P(X ≥ least)."""
    return sum([p for value, p in probabilities.items() if value >= least])


# ---- runs of wins -------------------------------------------------------------------------------


def mean_to_run(p: float, run: int) -> float:
    """Expected tries until `run` wins in a row: (1 − p^b) / (p^b·(1 − p))."""
    return float(run) if p == 1 else (1 - p**run) / (p**run * (1 - p))


def variance_to_run(p: float, run: int) -> float:
    """Variance of the tries until `run` wins in a row (Feller, vol. 1, XIII.7)."""
    if p == 1:
        return 0.0
    q = 1 - p
    once = q * p**run
    return 1 / once**2 - (2 * run + 1) / once - p / q**2


def mean_to_settle(lead: float, win: float, beta: int) -> float:
    """Expected polls until beta wins in a row or 2·beta leads in a row, whichever comes first.

    `lead` includes `win`. Solved backwards over (streak, polls led in a row), with the expectation
    from nothing as the unknown: each state is `a + b·unknown`.
    """
    if lead == 0:
        return inf
    solved: dict[tuple[int, int], tuple[float, float]] = {}

    def of(streak: int, led: int) -> tuple[float, float]:
        if streak >= beta or led >= 2 * beta:
            return 0.0, 0.0
        return (0.0, 1.0) if led == 0 else solved[streak, led]

    for led in range(2 * beta - 1, -1, -1):
        for streak in range(min(led, beta - 1), -1, -1):
            won, only = of(streak + 1, led + 1), of(0, led + 1)
            a = 1 + win * won[0] + (lead - win) * only[0]
            b = (1 - lead) + win * won[1] + (lead - win) * only[1]
            solved[streak, led] = (a, b)
    a, b = solved[0, 0]
    return a / (1 - b)
