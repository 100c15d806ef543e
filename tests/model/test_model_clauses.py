"""Each clause of protocol §7 weakened by one: the same search finds the fork."""

import pytest

from tests.model import report, words
from tests.model.clauses import WEAKENED, Clauses, Weakened
from tests.model.report import weaken
from tests.model.rules import Rules
from tests.model.search import Found
from tests.model.slots import Shape, Slot


def cases(*, long: bool) -> list[Weakened]:
    return [each for each in WEAKENED if each.long == long]


def replay(found: Found) -> tuple[Slot, ...]:
    """The cluster at the end of the trace, every step checked against the rules."""
    rules = Rules(found.shape, found.clauses)
    cluster: tuple[Slot, ...] = (Slot(),) * found.shape.honest
    for step in found.trace:
        shown = rules.shown_by_slots(cluster)
        allowed = dict(rules.moves(cluster[step.slot], shown))
        after = allowed[step.move]
        cluster = (*cluster[: step.slot], after, *cluster[step.slot + 1 :])
        assert cluster == step.after
    return cluster


def check(weakened: Weakened) -> None:
    found = weaken(weakened)
    if not weakened.violates:
        assert found.broken is None, words.told(found)
        return
    assert found.broken in weakened.seek
    cluster = replay(found)
    rules = Rules(found.shape, found.clauses)
    if found.broken == "agreement":
        certified = rules.certified(rules.shown_by_slots(cluster))
        assert len({value for _, value in certified}) == 2
        assert "two certificates at one height" in words.told(found)[-1]
    else:
        assert any(found.broken in rules.broken_by_slot(slot) for slot in cluster)
    assert len(words.told(found)) == len(found.trace) + 1


@pytest.mark.slow
@pytest.mark.parametrize("weakened", cases(long=False), ids=lambda each: each.name)
def test_weakened_clause(weakened: Weakened) -> None:
    check(weakened)


@pytest.mark.long
@pytest.mark.parametrize("weakened", cases(long=True), ids=lambda each: each.name)
def test_weakened_clause_in_a_larger_cluster(weakened: Weakened) -> None:
    check(weakened)


def test_the_protocol_holds_wherever_a_weakened_clause_forks() -> None:
    """Else the fork would not be the clause's. (Two Byzantine of four, a third: shown apart.)"""
    shapes = {
        Shape(each.slots, each.byzantine, min(each.rounds, 2), each.values)
        for each in WEAKENED
        if 3 * each.byzantine < each.slots
    }
    assert shapes == {Shape(4, 1, 1, 2), Shape(4, 1, 2, 2), Shape(5, 1, 1, 2), Shape(6, 1, 2, 2)}
    for shape in sorted(shapes, key=lambda shape: shape.slots):
        configuration = report.Configuration(shape.slots, 1, shape.rounds, dense=True)
        assert configuration.search().broken is None


def test_a_third_byzantine_cannot_fork_a_quorum_above_two_thirds() -> None:
    """What `>` is for: with exactly a third Byzantine the chain may stop, it does not fork."""
    assert report.Configuration(3, 1, 3).search().broken is None
    assert report.Configuration(6, 2, 2, dense=True).search().broken is None


def test_every_switch_is_weakened_at_least_once() -> None:
    sound = Clauses()
    for switch in Clauses.__dataclass_fields__:
        values = {getattr(each.clauses, switch) for each in WEAKENED}
        assert values - {getattr(sound, switch)}, switch
    assert len([each for each in WEAKENED if each.violates]) >= 25


def test_a_run_is_told_in_words() -> None:
    weakened = next(each for each in WEAKENED if each.name == "lock not in the sign record")
    told = words.told(weaken(weakened))
    assert told[-1].strip().startswith("two certificates at one height: A in round 0")
    assert any("crashes and restarts" in line and "no lock" in line for line in told)


def test_the_report_names_what_is_not_as_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Weakened("nothing weakened", Clauses(), rounds=1)
    monkeypatch.setattr(report, "WEAKENED", (WEAKENED[0], wrong))
    monkeypatch.setattr(report, "CONFIGURATIONS", report.CONFIGURATIONS[:1])
    monkeypatch.setattr(report, "HEALINGS", ())
    lines: list[str] = []
    assert report.write(False, lines.append) is False
    assert lines[-1].strip() == "NOT as expected"
    monkeypatch.setattr(report, "WEAKENED", WEAKENED[:1])
    lines.clear()
    assert report.write(False, lines.append) is True
    assert any("1. slot 1 confirms A in round 0" in line for line in lines)
