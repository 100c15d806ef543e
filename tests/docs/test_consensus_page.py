"""docs/consensus.md holds what the code gives. Renew it: `python -m tests.docs.generate`."""

import ast
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs import calls, generate, rounds, walks
from tests.docs.ancestors import ANCESTORS
from tests.docs.daggers import DAGGERS, Dagger
from tests.docs.rounds import Edge
from tests.model.clauses import WEAKENED
from tests.model.report import Configuration
from tests.planted.faults import FAULTS

ROOT = Path(__file__).parents[2]
PAGE = generate.PAGE.read_text()
EDGES = rounds.round_edges() + rounds.later_edges() + rounds.locked_edges()


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
    edges = EDGES + walks.proposal_edges()
    assert {name for edge in edges for name in edge.orders} <= known


@pytest.mark.parametrize("edges", [rounds.round_edges, rounds.later_edges])
def test_a_round_has_the_states_that_the_page_tells_of(edges: Callable[[], list[Edge]]) -> None:
    assert {edge.before for edge in edges()} == {
        "waiting",
        "polling",
        "confirmed a block",
        "confirmed nil",
        "accepted a block",
        "accepted nil",
    }


def test_a_locked_peer_has_the_states_that_the_page_tells_of() -> None:
    assert {edge.before for edge in rounds.locked_edges()} == {
        "waiting",
        "polling",
        "confirmed A",
        "confirmed nil",
        "accepted A",
        "accepted B",
        "accepted nil",
    }


def ends(edges: list[Edge], before: str, cause: str) -> str:
    (after,) = [edge.after for edge in edges if (edge.before, edge.cause) == (before, cause)]
    return after


def test_the_walks_of_later_rounds_meet_what_round_0_does_not() -> None:
    nobody = "4 windows and settle_timeout without a proposal"
    assert ends(rounds.round_edges(), "waiting", nobody) == "waiting"
    assert ends(rounds.later_edges(), "waiting", nobody) == "confirmed nil"
    locked = rounds.locked_edges()
    assert ends(locked, "polling", "polls settle on B") == "confirmed nil", "locked on A"
    assert ends(locked, "confirmed A", "a quorum of Confirm(B)") == "accepted B", "it is freed"


def test_who_accepts_nil_has_confirmed() -> None:
    """ADR 0026: in each way to Accept(nil) from a state without a confirm."""
    ways = [e for e in EDGES if e.after == "accepted nil" and e.before in ("waiting", "polling")]
    assert len(ways) >= 8
    for edge in ways:
        assert [phase for phase, _ in edge.signs] == ["confirm", "accept"], edge


def test_no_vote_is_ever_taken_back() -> None:
    """Phases only grow, in every edge, a crash included."""
    order = {"waiting": 0, "polling": 0, "confirmed": 1, "accepted": 2, "next": 3, "decided": 3}
    for edge in EDGES:
        if edge.after == rounds.EARLIER:  # only who has said nothing in this round
            assert order[edge.before.split()[0]] == 0, edge
            continue
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


def test_what_planted_faults_cite_is_explained() -> None:
    names = [each.name for each in ANCESTORS]
    assert names == [*(f"C{n}" for n in range(1, 23)), *(f"S{n}" for n in range(1, 10))]
    assert {name for each in FAULTS for name in each.ancestors} <= set(names)


def test_a_section_mark_says_of_which_page_it_is() -> None:
    """This page's own sections are named in words, with a link."""
    text = PAGE[: PAGE.index("## 14.")]
    assert re.findall(r"(?<!protocol )(?<!execution )§\d+", text) == []
    rows = re.findall(r"^\| §(\d+) \|", PAGE, re.MULTILINE)
    assert rows == [str(number) for number in range(1, 13)]


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
