"""docs/consensus.md holds what the code gives. Renew it: `python -m tests.docs.generate`."""

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs import calls, generate, walks
from tests.docs.daggers import DAGGERS, Dagger
from tests.model.clauses import WEAKENED
from tests.model.report import Configuration

ROOT = Path(__file__).parents[2]
PAGE = generate.PAGE.read_text()


def test_the_page_is_what_the_code_gives() -> None:
    assert generate.renewed(PAGE) == PAGE, "run `python -m tests.docs.generate`"


def test_every_part_is_on_the_page_once() -> None:
    assert sorted(generate.named(PAGE)) == sorted(generate.PARTS)


def test_a_stale_part_would_be_seen() -> None:
    stale = PAGE.replace("accepted a block", "accepted", 1)
    assert stale != PAGE
    assert generate.renewed(stale) == PAGE


def test_all_events_and_effects_have_their_place() -> None:
    assert {intake.event for intake in calls.intakes()} == set(calls.EVENTS)
    by_rules = {name for rule in calls.rules() for name in rule.effects}
    by_events = {name for intake in calls.intakes() for name in intake.effects}
    elsewhere = {"Verdict", "Refused", "WakeAt"}  # `Engine.handle`, `node.core`
    assert by_rules | by_events | elsewhere == set(calls.EFFECTS)


def test_what_is_read_from_the_source_is_what_engines_order() -> None:
    """No walk orders an effect that the syntax trees do not know."""
    known = {name for rule in calls.rules() for name in rule.effects}
    known |= {name for intake in calls.intakes() for name in intake.effects} | {"Verdict"}
    edges = walks.round_edges() + walks.proposal_edges()
    assert {name for edge in edges for name in edge.orders} <= known


def test_a_round_has_the_states_that_the_page_tells_of() -> None:
    states = {edge.before for edge in walks.round_edges()}
    assert states == {
        "waiting",
        "polling",
        "confirmed a block",
        "confirmed nil",
        "accepted a block",
        "accepted nil",
    }


def test_no_vote_is_ever_taken_back() -> None:
    """Phases only grow, in every edge, a crash included."""
    order = {"waiting": 0, "polling": 0, "confirmed": 1, "accepted": 2, "next": 3, "decided": 3}
    for edge in walks.round_edges():
        before, after = (order[state.split()[0]] for state in (edge.before, edge.after))
        assert after >= before, edge
        if after == before > 0:
            assert edge.after == edge.before, edge


@pytest.mark.parametrize("dagger", DAGGERS, ids=lambda dagger: dagger.rule)
def test_rule_and_test_are_there(dagger: Dagger) -> None:
    names = dagger.place.split(".")
    depth = next(i for i, name in enumerate(names) if name.lstrip("_")[0].isupper() or i == 2)
    found = importlib.import_module(".".join(names[:depth]))
    if hasattr(found, "__path__"):  # a module below
        depth += 1
        found = importlib.import_module(".".join(names[:depth]))
    for name in names[depth:]:
        found = getattr(found, name)
    file, _, name = dagger.test.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text())
    functions = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert name in functions, dagger.test


def test_links_of_the_page_lead_somewhere() -> None:
    titles = [re.sub(r"[^\w\- ]", "", line.lower()).strip() for line in PAGE.splitlines()]
    anchors = {title.replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (generate.PAGE.parent / target).is_file(), target


def explored() -> list[Any]:
    """By what they cost: at once, seconds, minutes."""
    rows = []
    for each, states in generate.EXPLORED:
        marks = [pytest.mark.slow] if states > 10_000 else []
        if states > 100_000:
            marks = [pytest.mark.long, pytest.mark.timeout(900)]
        rows.append(pytest.param(each, states, marks=marks, id=f"{states} states"))
    return rows


@pytest.mark.parametrize(("configuration", "states"), explored())
def test_the_model_has_the_states_that_the_page_says(
    configuration: Configuration, states: int
) -> None:
    found = configuration.search()
    assert (found.broken, found.states) == (None, states)


def test_the_model_weakens_as_many_clauses_as_the_page_shows() -> None:
    shown = [row for row in generate.weakened().splitlines() if row.count("|") > 3]
    assert len(shown) - 2 == len([each for each in WEAKENED if each.violates])
