"""Three properties of polls and Snowball (hypothesis): early end, order of answers, restore.

A game is a number of groups of polls on one Snowball: who is drawn with how many slots, what each
owner answers, and in which order the answers come.
"""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.ids import BlockId, Peer
from consensus.polls import Poll, PollGroup
from consensus.snowball import Snowball
from node import codec

PEERS = tuple([Peer(bytes([number]) * 32) for number in range(1, 7)])
BLOCKS = tuple([BlockId(name * 36) for name in (b"a", b"b", b"c")])
SILENT = "silent"
Answer = BlockId | str | None


@dataclass(frozen=True)
class Round:
    """One group: the drawn slots of each poll, what each owner does, and in which order."""

    drawn: tuple[tuple[int, ...], ...]  # for each poll, the owner of each of its k slots
    answers: tuple[Answer, ...]  # of each peer
    order: tuple[int, ...]

    def group(self) -> PollGroup:
        polls = []
        for owners in self.drawn:
            weights: dict[Peer, int] = {}
            for owner in owners:
                weights[PEERS[owner]] = weights.get(PEERS[owner], 0) + 1
            polls.append(Poll(weights, len(owners)))
        return PollGroup(polls, dict(enumerate(PEERS)), 0, 100)

    def tell(self, group: PollGroup, place: int) -> None:
        """What one owner does."""
        answer = self.answers[place]
        if answer == SILENT:
            group.record_silence(place)
        else:
            assert isinstance(answer, bytes | None)
            group.record_answer(place, PEERS[place], answer)


@dataclass(frozen=True)
class Game:
    alphas: tuple[int, int]
    beta: int
    start: BlockId | None
    rounds: tuple[Round, ...]

    def snowball(self) -> Snowball:
        return Snowball(*self.alphas, self.beta, self.start)


@st.composite
def games(draw: st.DrawFn) -> Game:
    k = draw(st.integers(1, 7))
    preference = draw(st.integers(k // 2 + 1, k))
    alphas = (preference, draw(st.integers(preference, k)))
    # Mostly one value, so that streaks grow and polls end early.
    favourite = draw(st.sampled_from(BLOCKS))
    answer = st.sampled_from([favourite] * 5 + [*BLOCKS, None, SILENT])
    owners = st.tuples(*[st.integers(0, len(PEERS) - 1)] * k)
    round_ = st.builds(
        Round,
        st.lists(owners, min_size=1, max_size=4).map(tuple),
        st.tuples(*[answer] * len(PEERS)),
        st.permutations(range(len(PEERS))).map(tuple),
    )
    rounds = draw(st.lists(round_, min_size=1, max_size=6).map(tuple))
    return Game(alphas, draw(st.integers(1, 4)), draw(st.sampled_from([None, *BLOCKS])), rounds)


def state(snowball: Snowball) -> bytes:
    """Everything that a Snowball is; the order in which values were first counted is not."""
    counts = sorted(snowball.counts.items())
    rest = [getattr(snowball, name) for name in Snowball.__slots__ if name != "counts"]
    return codec.to_bytes([counts, rest])


def play_early(game: Game, snowball: Snowball) -> list[bytes]:
    """Apply polls as soon as they are certain; the state after each group."""
    states = []
    for round_ in game.rounds:
        group = round_.group()
        for place in round_.order:
            round_.tell(group, place)
            for poll in group.take_finished(*game.alphas):
                snowball.record_poll(poll.weights)
        assert not group.polls, "everybody answered or failed"
        states.append(state(snowball))
    return states


@pytest.mark.slow
@settings(deadline=None, max_examples=250)
@given(games())
def test_polls_that_end_early_do_what_full_polls_do(game: Game) -> None:
    early, full = play_early(game, game.snowball()), []
    snowball = game.snowball()
    for round_ in game.rounds:
        group = round_.group()
        for place in round_.order:
            round_.tell(group, place)
        for poll in group.polls:
            assert poll.outstanding == 0
            snowball.record_poll(poll.weights)
        full.append(state(snowball))
    assert early == full


@pytest.mark.slow
@settings(deadline=None, max_examples=250)
@given(games(), st.data())
def test_any_order_of_answers_leads_to_the_same_state(game: Game, data: st.DataObject) -> None:
    shuffled = tuple(
        [
            Round(each.drawn, each.answers, tuple(data.draw(st.permutations(each.order))))
            for each in game.rounds
        ]
    )
    other = Game(game.alphas, game.beta, game.start, shuffled)
    assert play_early(game, game.snowball()) == play_early(other, other.snowball())


@pytest.mark.slow
@settings(deadline=None, max_examples=250)
@given(games(), st.integers(1, 5))
def test_restored_after_any_answer_it_goes_on_alike(game: Game, every: int) -> None:
    """Snowball and the open group travel through the journal's codec, as a whole node's do."""
    snowball, answers = game.snowball(), 0
    for round_, expected in zip(game.rounds, play_early(game, game.snowball()), strict=True):
        group = round_.group()
        for place in round_.order:
            round_.tell(group, place)
            for poll in group.take_finished(*game.alphas):
                snowball.record_poll(poll.weights)
            answers += 1
            if answers % every == 0:
                raw = codec.to_bytes((snowball, group))
                snowball, group = codec.from_bytes(raw)
                assert codec.to_bytes((snowball, group)) == raw
        assert state(snowball) == expected


@pytest.mark.slow
@settings(deadline=None, max_examples=250)
@given(games())
def test_what_always_holds(game: Game) -> None:
    """Counts grow by one poll at most, the preference has the greatest count, settled stays."""
    snowball, polls = game.snowball(), 0
    settled: BlockId | None = None
    counts: dict[BlockId, int] = {}
    for round_ in game.rounds:
        group = round_.group()
        for place in round_.order:
            round_.tell(group, place)
        for poll in group.polls:
            snowball.record_poll(poll.weights)
            polls += 1
            assert snowball.polls == polls
            assert sum(snowball.counts.values()) - sum(counts.values()) in (0, 1)
            assert all(snowball.counts[value] >= count for value, count in counts.items())
            if snowball.counts:
                assert snowball.preference is not None
                held = snowball.counts.get(snowball.preference, 0)
                assert held == max(snowball.counts.values())
            assert (snowball.winner is None) == (snowball.streak == 0)
            assert (snowball.leader is None) == (snowball.leading == 0)
            assert snowball.streak <= snowball.leading
            assert settled in (None, snowball.settled)
            settled, counts = snowball.settled, dict(snowball.counts)
