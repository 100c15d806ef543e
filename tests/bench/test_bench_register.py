"""The register: every name leads to its figure, a listing loads no part of the product."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import figures
from bench.figures import Failed, Figure, Goal, Measurement, Unavailable, UnknownFigure

HEAVY = ("aiohttp", "cryptography", "grpc", "lmdb", "nacl", "consensus", "node", "perper_core")


@pytest.mark.parametrize("name", figures.MODULES)
def test_each_name_leads_to_a_figure_that_says_what_it_is(name: str) -> None:
    figure = figures.find(name)
    assert figure.name == name
    assert figure.what and figure.unit
    assert (figure.peer is None) == (figure.peer_name == "")


def test_a_module_registers_every_figure_that_it_defines() -> None:
    import importlib

    defined = {
        figure.name: module
        for module in dict.fromkeys(figures.MODULES.values())
        for figure in importlib.import_module(module).FIGURES
    }
    assert defined == dict(figures.MODULES)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UnknownFigure, match="'speed'"):
        figures.find("speed")


def test_a_module_that_does_not_load_makes_its_figure_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(figures, "MODULES", {"x": "bench.no_such_module"})
    with pytest.raises(Unavailable, match="no_such_module"):
        figures.find("x")


def test_a_missing_part_of_the_product_makes_the_figure_unavailable() -> None:
    def run() -> Measurement:
        import no_such_part  # type: ignore[import-not-found]  # noqa: F401

        return Measurement(1)

    with pytest.raises(Unavailable, match="no_such_part"):
        figures.take(Figure("x", "x", "s", None, run), with_peer=True)


def test_the_peer_runs_only_when_asked() -> None:
    figure = Figure(
        "x", "x", "s", None, lambda: Measurement(6), lambda: Measurement(4), peer_name="other"
    )
    assert figures.take(figure, with_peer=True).ratio == 1.5
    alone = figures.take(figure, with_peer=False)
    assert (alone.peer, alone.ratio) == (None, None)


def test_a_failure_of_the_peer_is_not_taken_for_a_figure() -> None:
    def peer() -> Measurement:
        raise Failed("it fell over")

    figure = Figure("x", "x", "s", None, lambda: Measurement(6), peer, peer_name="other")
    with pytest.raises(Failed, match="fell over"):
        figures.take(figure, with_peer=True)


@pytest.mark.parametrize(
    ("goal", "met", "missed", "text"),
    [
        (Goal(900, "more"), 900, 899.9, "≥ 900"),
        (Goal(0.5, "less"), 0.5, 0.51, "≤ 0.5"),
        (Goal(100_000, "more"), 100_001, 99_999, "≥ 100,000"),
    ],
)
def test_a_goal_knows_its_direction(goal: Goal, met: float, missed: float, text: str) -> None:
    assert goal.met_by(met) and not goal.met_by(missed)
    assert str(goal) == text


def test_the_list_names_all_and_loads_nothing_of_what_is_measured() -> None:
    code = (
        "import sys, json\n"
        "from bench.__main__ import main\n"
        "status = main(['--list', '--json'])\n"
        f"print(json.dumps([status, [m for m in {HEAVY!r} if m in sys.modules]]))\n"
    )
    root = Path(figures.__file__).parents[1]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=root)
    listing, state = done.stdout.splitlines()
    assert [row["name"] for row in json.loads(listing)["data"]] == list(figures.MODULES)
    assert json.loads(state) == [0, []]
