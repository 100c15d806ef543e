"""Weather is decided by dice alone."""

from __future__ import annotations

import random

import pytest

from network.errors import LocalError
from network.weather import CALM, Climate, Fate, Weather

A, B, C, D = b"a", b"b", b"c", b"d"


def make(climate: Climate = CALM, seed: int = 1) -> Weather:
    return Weather(random.Random(seed).randrange, climate)


def fates(weather: Weather, count: int) -> list[tuple[Fate, ...]]:
    return [weather.fates(A, B) for _ in range(count)]


def test_calm_weather_delivers_and_draws_no_dice() -> None:
    def no_dice(bound: int) -> int:
        raise AssertionError(bound)

    assert Weather(no_dice).fates(A, B) == (Fate(0, True),)


def test_shares_and_delays_are_as_told() -> None:
    weather = make(Climate(loss=100, duplicate=200, reorder=300, delay_ms_min=5, delay_ms_max=9))
    seen = fates(weather, 5_000)
    arrivals = [fate for packet in seen for fate in packet]
    assert 0.08 < sum(not packet for packet in seen) / 5_000 < 0.12
    assert 0.15 < sum(len(packet) == 2 for packet in seen) / 5_000 < 0.21
    assert {fate.delay_ms for fate in arrivals} == {5, 6, 7, 8, 9}
    assert 0.25 < sum(not fate.in_order for fate in arrivals) / len(arrivals) < 0.35


def test_equal_seeds_give_equal_weather() -> None:
    climate = Climate(loss=300, duplicate=300, reorder=300, delay_ms_max=50)
    assert fates(make(climate, 7), 500) == fates(make(climate, 7), 500)
    assert fates(make(climate, 7), 500) != fates(make(climate, 8), 500)


def test_partitions_cuts_and_healing() -> None:
    weather = make()
    weather.partition([[A, B], [C]])
    assert weather.reaches(A, B) and not weather.reaches(A, C)
    assert not weather.reaches(C, D) and weather.reaches(D, D)
    assert weather.fates(A, C) == ()
    weather.cut(A, B)
    assert not weather.reaches(A, B) and weather.reaches(B, A)
    weather.heal()
    assert weather.reaches(A, C) and weather.reaches(A, B)


def test_one_direction_may_have_its_own_climate() -> None:
    weather = make()
    weather.set_between(A, B, Climate(loss=1_000))
    assert weather.fates(A, B) == () and weather.fates(B, A) == (Fate(0, True),)
    weather.set_between(A, B, None)
    assert weather.fates(A, B) == (Fate(0, True),)


@pytest.mark.parametrize("bad", [{"loss": 1_001}, {"reorder": -1}, {"delay_ms_min": 2}])
def test_impossible_climates_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(LocalError, match="does not hold"):
        Climate(**bad)
