"""The limit of open files: raised as far as it may be, and too low a one named before the start."""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest

from node.errors import Exit, OpenFilesTooFew
from node.nofile import NEEDED, WANTED, raise_limit

Limits = tuple[int, int]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], list[Limits]]:
    """A system with these limits; what it was asked to set."""
    asked: list[Limits] = []

    def made(soft: int, hard: int) -> list[Limits]:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        monkeypatch.setattr(resource, "setrlimit", lambda _, both: asked.append(both))
        return asked

    return made


@pytest.mark.parametrize(
    ("soft", "hard", "set_to", "found"),
    [
        (1_024, 1_048_576, [(WANTED, 1_048_576)], WANTED),
        (256, resource.RLIM_INFINITY, [(WANTED, resource.RLIM_INFINITY)], WANTED),
        (1_024, 2_000, [(2_000, 2_000)], 2_000),
        (65_536, 65_536, [], 65_536),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, [], WANTED),
    ],
)
def test_it_is_raised_as_far_as_it_may(
    system: Callable[[int, int], list[Limits]],
    soft: int,
    hard: int,
    set_to: list[Limits],
    found: int,
) -> None:
    asked = system(soft, hard)
    assert raise_limit() == found
    assert asked == set_to


def test_too_few_are_named_with_what_helps(system: Callable[[int, int], list[Limits]]) -> None:
    system(256, 512)
    with pytest.raises(
        OpenFilesTooFew, match=f"may open 512 files at once, .* needs {NEEDED}"
    ) as e:
        raise_limit()
    assert e.value.exit is Exit.CONFIG
    assert f"ulimit -n {WANTED}" in e.value.hint


def test_a_system_that_refuses_is_asked_once_and_judged_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(_: int, both: Limits) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refused)
    assert raise_limit() == 1_024
    with pytest.raises(OpenFilesTooFew):
        raise_limit(2_000)
