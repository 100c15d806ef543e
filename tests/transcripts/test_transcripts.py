"""The runner: every transcript against the real Snowball, the real polls, and the reference."""

from typing import Any

import pytest

from consensus.ids import BlockId, Peer
from consensus.parameters import effective
from consensus.polls import Poll, PollGroup
from consensus.snowball import Snowball
from tests.transcripts.reference_snowball import Reference
from tests.transcripts.transcript_files import Case, block, called, cases, named, told, votes

INSTANCES, POLLS, THRESHOLDS = cases("instance"), cases("polls"), cases("thresholds")
ALPHAS, BETA = [3, 4], 3  # of five slots, where a case does not say


def test_there_are_as_many_cases_as_the_anchor_has() -> None:
    assert len(INSTANCES) >= 46 and len(POLLS) >= 28


# ---- instances ----------------------------------------------------------------------------------


def run(case: Case) -> list[tuple[str, dict[str, Any]]]:
    """(poll, what is expected right after it)."""
    return [(poll, {}) if isinstance(poll, str) else tuple(poll) for poll in case["polls"]]


def of_real(ball: Snowball) -> dict[str, Any]:
    """The real one in the words of the transcripts."""
    settled = named(ball.settled)
    return {
        "preference": named(ball.preference),
        "counts": {named(value): count for value, count in ball.counts.items()},
        "streak": f"{named(ball.winner)}{ball.streak}" if ball.winner or ball.streak else "-",
        "leads": f"{named(ball.leader)}{ball.leading}" if ball.leader or ball.leading else "-",
        "settled": f"{settled} weakly" if ball.weakly else settled,
        "polls": ball.polls,
    }


def of_reference(state: Reference, polls: int) -> dict[str, Any]:
    def last(tally: tuple[tuple[str, int], ...]) -> str:
        return "".join([f"{value}{number}" for value, number in tally]) or "-"

    return {
        "preference": state.preference,
        "counts": dict(state.counts),
        "streak": last(state.streaks),
        "leads": last(state.leads),
        "settled": f"{state.settled} weakly" if state.weakly else state.settled,
        "polls": polls,
    }


@pytest.mark.parametrize("case", INSTANCES, ids=called)
def test_an_instance(case: Case) -> None:
    (preference, confidence), beta = case.get("alphas", ALPHAS), case.get("beta", BETA)
    start, yields = case.get("start", "a"), case.get("yields", True)
    ball = Snowball(preference, confidence, beta, block(start), yields=yields)
    state, polls = Reference(preference, confidence, beta, start, yields=yields), 0
    for poll, expected in [*run(case), (None, case["expect"])]:
        if poll is not None:
            polls += 1
            ball.record_poll({BlockId(v.encode() * 36): n for v, n in votes(poll).items()})
            state = state.after(votes(poll))
        for found in (of_real(ball), of_reference(state, polls)):
            assert {name: found[name] for name in expected} == expected, f"after {polls} polls"


def test_every_expectation_has_a_meaning() -> None:
    known = set(of_real(Snowball(3, 4, 3)))
    for case in INSTANCES:
        assert case["expect"] and set(case["expect"]) <= known, case["case"]
        assert set(case) <= {"case", "why", "alphas", "beta", "start", "yields", "polls", "expect"}


# ---- polls --------------------------------------------------------------------------------------


def peer(name: str) -> Peer:
    return Peer(name[0].encode() * 32)


class Desk:
    """One group of polls; asks are numbered from 1 in the order in which owners are first named."""

    def __init__(self, case: Case) -> None:
        drawn = [{peer(owner): weight for owner, weight in poll.items()} for poll in case["polls"]]
        owners = case.get("asked", list(dict.fromkeys([o for poll in case["polls"] for o in poll])))
        self.asks = {owner: number for number, owner in enumerate(owners, 1)}
        asks = {number: peer(owner) for owner, number in self.asks.items()}
        polls = [Poll(weights, sum(weights.values())) for weights in drawn]
        self.alphas = case.get("alphas", ALPHAS)
        self.group = PollGroup(polls, asks, 0, 100)

    def step(self, kind: str, *words: Any) -> None:
        """One line of a transcript."""
        group = self.group
        match kind, words:
            case "answer", (owner, value):
                assert group.record_answer(self.asks[owner], peer(owner), block(value))
            case "take", (ask, owner, value):
                assert group.record_answer(ask, peer(owner), block(value))
            case "ignored", (ask, owner, value):
                assert not group.record_answer(ask, peer(owner), block(value))
            case "own", (owner, value):
                for poll in group.polls:
                    poll.record_answer(peer(owner), block(value))
            case "again", (ask, owner):
                group.asks[ask] = peer(owner)
            case "silence", (ask,):
                group.record_silence(ask)
            case "expire", ():
                group.expire()
            case "finished", (expected,):
                found = [told(poll.weights) for poll in group.take_finished(*self.alphas)]
                assert found == expected
            case "weights", (expected,):
                assert [told(poll.weights) for poll in group.polls] == expected
            case "outstanding", (expected,):
                assert [poll.outstanding for poll in group.polls] == expected
                assert [sum(poll.drawn.values()) for poll in group.polls] == expected
            case _:
                raise AssertionError(f"no such step: {kind} {words}")


@pytest.mark.parametrize("case", POLLS, ids=called)
def test_polls(case: Case) -> None:
    desk = Desk(case)
    for number, (kind, *words) in enumerate(case["steps"], 1):
        try:
            desk.step(kind, *words)
        except AssertionError as error:
            raise AssertionError(f"step {number}, {kind} {words}: {error}") from error


def test_every_transcript_of_polls_looks_at_something() -> None:
    for case in POLLS:
        assert {"finished", "weights", "outstanding"} & {step[0] for step in case["steps"]}


# ---- thresholds ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", THRESHOLDS, ids=called)
def test_thresholds(case: Case) -> None:
    (preference, confidence), occupied = case["alphas"], case["occupied"]
    k, alpha_preference = effective(case["k"], preference, occupied)
    assert effective(case["k"], confidence, occupied)[0] == k
    alpha_confidence = effective(case["k"], confidence, occupied)[1]
    assert [k, alpha_preference, alpha_confidence] == case["expect"]


def test_scaled_thresholds_keep_the_inequalities_of_the_page() -> None:
    """Every k up to 24, both alphas, every number of slots: k'/2 < α' ≤ β' ≤ k'."""
    for k in range(1, 25):
        for preference in range(k // 2 + 1, k + 1):
            for occupied in range(1, k + 3):
                drawn, least = effective(k, preference, occupied)
                assert drawn == min(k, occupied) and drawn < 2 * least <= 2 * drawn
                following = [effective(k, alpha, occupied)[1] for alpha in range(preference, k + 1)]
                assert following == sorted(following) and following[-1] == drawn
