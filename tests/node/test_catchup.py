"""Catch-up (protocol §10): whom to ask for what, bounded, and never the same liar for ever."""

from typing import cast

from consensus.block import Block
from consensus.certificates import Certificate
from consensus.effects import BLOCK, TIP, Ask
from consensus.encoding import encode
from consensus.events import Fetched
from consensus.ids import Now, Peer
from node.catchup import (
    ALIVE_PAUSE_MS,
    FAILURE_PAUSE_MS,
    FAILURES_MAX,
    PER_PEER,
    STIR_MS,
    TIPS_MAX,
    TRIALS_MAX,
    WINDOW,
    CatchUp,
)
from tests.consensus.builders_chain import MiniChain
from tests.consensus.builders_keys import peer_key

ONE, TWO, THREE = sorted(peer_key(number) for number in range(3))


def at(ms: int) -> Now:
    return Now(ms, ms)


def linked(**tips: int) -> CatchUp:
    """Linked to one, two, three, whose tips are these."""
    known = {"one": ONE, "two": TWO, "three": THREE}
    catchup = CatchUp()
    for name, peer in known.items():
        catchup.link(peer, at(0))
        catchup.record_tip_answer(peer, tips.get(name, 0))
    return catchup


def ask_all(catchup: CatchUp, deciding: int, ms: int = 0) -> list[tuple[Peer, int]]:
    wanted = catchup.wanted(deciding, catchup.behind(deciding, 1_000, at(ms)), at(ms))
    for number, (peer, height) in enumerate(wanted, 100 * ms + 1):
        catchup.open(number, peer, height, at(ms))
    return wanted


def test_nothing_is_asked_of_peers_that_are_not_ahead() -> None:
    assert ask_all(linked(one=4, two=3), 5) == []


def test_heights_are_asked_for_in_a_window_spread_over_those_who_have_them() -> None:
    wanted = ask_all(linked(one=100, two=100, three=7), 5)
    heights = [height for _, height in wanted]
    assert heights == list(range(5, 5 + len(wanted))) and len(wanted) <= WINDOW
    load = {peer: [p for p, _ in wanted].count(peer) for peer in (ONE, TWO, THREE)}
    assert load[ONE] == load[TWO] == PER_PEER
    assert all(height <= 7 for peer, height in wanted if peer == THREE)
    assert max(heights) < 5 + WINDOW


def test_a_height_is_asked_for_at_one_peer_at_a_time() -> None:
    catchup = linked(one=9, two=9)
    ask_all(catchup, 5)
    assert catchup.wanted(5, 9, at(1)) == []


def test_the_ask_names_the_height() -> None:
    ask = linked().open(3, ONE, 7, at(50))
    assert (ask.proto, ask.peer, ask.data) == (BLOCK, ONE, encode(["block", 1, 7, None]))


# ---- one height ahead ---------------------------------------------------------------------------


def test_a_peer_one_height_ahead_is_waited_for_a_while() -> None:
    """Votes are usually still under way."""
    catchup = linked()
    catchup.record_hint(ONE, 6, 5, at(100))
    assert catchup.behind(5, 1_000, at(1_099)) == 0
    assert catchup.behind(5, 1_000, at(1_100)) == 5
    assert 1_100 in catchup.wake_ms(5, 1_000)


def test_a_tip_that_was_asked_for_is_believed_at_once() -> None:
    assert linked(one=5).behind(5, 1_000, at(0)) == 5


def test_two_heights_ahead_is_no_race() -> None:
    catchup = linked()
    catchup.record_hint(ONE, 7, 5, at(100))
    assert catchup.behind(5, 1_000, at(100)) == 6


def test_a_hint_that_was_caught_up_with_is_forgotten() -> None:
    catchup = linked()
    catchup.record_hint(ONE, 6, 5, at(100))
    catchup.enter(6)
    catchup.record_hint(ONE, 7, 6, at(5_000))
    assert catchup.behind(6, 1_000, at(5_500)) == 0, "a new wait begins"


# ---- tips ---------------------------------------------------------------------------------------


def test_a_linked_peers_tip_is_asked_for_until_it_answers() -> None:
    catchup = CatchUp()
    catchup.link(ONE, at(0))
    assert catchup.tips_wanted(at(0)) == [ONE]
    ask = catchup.open_tip(1, ONE, at(0))
    assert (ask.proto, ask.data) == (TIP, encode(["tip", 1]))
    assert catchup.tips_wanted(at(0)) == [], "one ask open"
    catchup.record_failure(1, at(100))
    assert catchup.tips_wanted(at(100 + FAILURE_PAUSE_MS - 1)) == []
    assert catchup.tips_wanted(at(100 + FAILURE_PAUSE_MS)) == [ONE]
    catchup.open_tip(2, ONE, at(700))
    catchup.record_tip_answer(ONE, 9)
    assert catchup.tips_wanted(at(10**6)) == [] and catchup.tip_asks == {}


def test_a_height_at_which_a_peer_speaks_and_that_is_not_decided_asks_its_tip() -> None:
    """Its votes may be lost, and on a quiet chain nobody repeats them."""
    catchup = linked(one=4)
    catchup.record_hint(ONE, 5, 5, at(100))
    assert catchup.tips_wanted(at(100 + STIR_MS - 1)) == []
    assert 100 + STIR_MS in catchup.wake_ms(5, 1_000)
    assert catchup.tips_wanted(at(100 + STIR_MS)) == [ONE]
    catchup.open_tip(1, ONE, at(100 + STIR_MS))
    catchup.record_tip_answer(ONE, 4)
    assert catchup.tips_wanted(at(100 + 2 * STIR_MS)) == [ONE], "and again while it stands still"
    catchup.enter(6)
    assert catchup.tips_wanted(at(10**6)) == [], "decided: quiet"


def test_tips_are_bounded_and_a_link_that_goes_down_is_forgotten() -> None:
    catchup = CatchUp()
    for number in range(TIPS_MAX + 5):
        catchup.record_tip(peer_key(number), 9)
    assert len(catchup.tips) == TIPS_MAX
    assert peer_key(TIPS_MAX + 4) in catchup.tips, "owners come and go: the oldest words go"
    catchup.link(ONE, at(0))
    catchup.record_tip(ONE, 1)
    for number in range(100, TIPS_MAX + 105):
        catchup.record_tip(peer_key(number), 10)
    assert catchup.tips[ONE] == 1 and len(catchup.tips) == TIPS_MAX, "a linked one stays"
    assert catchup.told.keys() == catchup.tips.keys()
    catchup = linked(one=9)
    catchup.record_hint(ONE, 12, 5, at(0))
    catchup.forget(ONE)
    assert ONE not in (*catchup.tips, *catchup.stirred, *catchup.tips_due, *catchup.failures)


# ---- answers ------------------------------------------------------------------------------------


def certified(chain: MiniChain) -> tuple[Block, Certificate]:
    block = chain.block()
    return block, chain.certify(block.header, chain.view.table.weights)


def test_a_certified_block_of_the_height_is_kept() -> None:
    block, certificate = certified(MiniChain())
    catchup = linked(one=3)
    catchup.open(1, ONE, 1, at(0))
    event = Fetched(1, ONE, block, None, certificate, ())
    assert catchup.record_answer(event, at(10)) and catchup.kept == {1: event}
    assert not catchup.record_answer(event, at(10)), "an ask is answered once"


def test_without_votes_a_block_of_the_height_is_kept_on_its_peers_word() -> None:
    block, _ = certified(MiniChain())
    event = Fetched(1, ONE, block, None, None, ())
    for certificates, kept in ((True, {}), (False, {1: event})):
        catchup = CatchUp(certified=certificates)
        catchup.link(ONE, at(0))
        catchup.record_tip_answer(ONE, 3)
        catchup.open(1, ONE, 1, at(0))
        catchup.record_answer(event, at(10))
        assert catchup.kept == kept
    catchup.open(2, ONE, 2, at(0))
    catchup.record_answer(Fetched(2, ONE, block, None, None, ()), at(10))
    assert 2 not in catchup.kept, "another height"


def test_another_height_or_certificate_is_not_kept_and_its_peer_pauses() -> None:
    chain = MiniChain()
    block, _ = certified(chain)
    other = chain.certify(chain.block(messages=3).header, chain.view.table.weights)
    _, right = certified(chain)
    for place, (asked, certificate) in enumerate([(2, right), (1, other)]):
        catchup = linked(one=3, two=3)
        catchup.open(place, ONE, asked, at(0))
        catchup.record_answer(Fetched(place, ONE, block, None, certificate, ()), at(10))
        assert catchup.kept == {}
        assert catchup.wanted(asked, 3, at(10))[0][0] == TWO


def test_a_failed_ask_turns_to_another_peer_and_its_tip_is_asked_again() -> None:
    catchup = linked(one=9, two=9)
    (first, _), *_ = ask_all(catchup, 5)
    assert first == ONE
    assert catchup.record_failure(1, at(100))
    assert catchup.tips[ONE] == 4
    assert catchup.wanted(5, 9, at(100))[0] == (TWO, 5)
    assert catchup.tips_wanted(at(100 + FAILURE_PAUSE_MS)) == [ONE]


def test_the_pause_of_a_peer_that_fails_doubles_up_to_a_bound_and_ends_with_a_success() -> None:
    catchup, ms, pauses = linked(one=50), 0, []
    for _ in range(FAILURES_MAX + 3):
        catchup.record_tip_answer(ONE, 50)
        catchup.open(1, ONE, 5, at(ms))
        catchup.record_failure(1, at(ms))
        pauses.append(catchup.paused[ONE] - ms)
        ms = catchup.paused[ONE]
    assert pauses[:3] == [FAILURE_PAUSE_MS, 2 * FAILURE_PAUSE_MS, 4 * FAILURE_PAUSE_MS]
    assert pauses[-1] == pauses[-2] == FAILURE_PAUSE_MS << FAILURES_MAX
    catchup.record_used(ONE)
    catchup.open(1, ONE, 5, at(ms))
    catchup.record_failure(1, at(ms))
    assert catchup.paused[ONE] - ms == FAILURE_PAUSE_MS


def test_who_gave_blocks_is_asked_before_those_who_only_say_that_they_have_them() -> None:
    """Strangers link, tell a tip and give nothing: no height waits for them."""
    catchup = linked(one=50)
    strangers = [Peer(bytes((9, n)) * 16) for n in range(40)]
    for stranger in strangers:
        catchup.link(stranger, at(0))
        catchup.record_tip_answer(stranger, 50)
    catchup.record_used(ONE)
    first = ask_all(catchup, 5)
    assert [peer for peer, _ in first[:PER_PEER]] == [ONE] * PER_PEER
    tried = first[PER_PEER:]
    assert len(tried) == TRIALS_MAX and all(peer in strangers for peer, _ in tried)
    for ask in range(1, PER_PEER + 1):
        del catchup.asks[ask]
        catchup.kept[4 + ask] = cast(Fetched, None)
    again = catchup.wanted(5, 50, at(10))
    assert again == [(ONE, height) for _, height in tried], "asked of it all the same"


def test_a_new_link_brings_no_earlier_turn_and_no_good_name() -> None:
    catchup = linked(one=50, two=50)
    catchup.record_used(TWO)
    assert catchup.wanted(5, 5, at(0)) == [(TWO, 5)]
    catchup.turn = 7
    catchup.forget(TWO)
    catchup.link(TWO, at(0))
    catchup.record_tip_answer(TWO, 50)
    assert TWO not in catchup.proven
    assert catchup.wanted(5, 5, at(0)) == [(ONE, 5)]


def test_a_later_answer_does_not_take_the_place_of_the_first() -> None:
    block, certificate = certified(MiniChain())
    catchup = linked(one=3, two=3)
    catchup.open(1, ONE, 1, at(0))
    catchup.open(2, TWO, 1, at(0))
    events = [Fetched(n, peer, block, None, certificate, ()) for n, peer in ((1, ONE), (2, TWO))]
    assert all(catchup.record_answer(event, at(10)) for event in events)
    assert catchup.kept == {1: events[0]}


def test_a_peer_that_speaks_again_is_left_alone_no_longer_than_a_moment() -> None:
    """Its links were cut for minutes, and never went down."""
    catchup = linked(one=4)
    for ask in range(FAILURES_MAX + 1):
        catchup.asks[ask] = (ONE, 5)
        catchup.record_failure(ask, at(0))
    assert catchup.paused[ONE] == FAILURE_PAUSE_MS << FAILURES_MAX
    hints = catchup.hints
    catchup.record_alive(ONE, at(100))
    assert catchup.paused[ONE] == catchup.tips_due[ONE] == 100 + ALIVE_PAUSE_MS
    assert catchup.hints == hints + 1, "times have changed"
    catchup.record_alive(ONE, at(900))
    assert catchup.paused[ONE] == 100 + ALIVE_PAUSE_MS, "nobody puts it off by speaking on"
    catchup.record_alive(TWO, at(900))
    assert TWO not in catchup.paused and catchup.hints == hints + 1


def test_what_was_decided_meanwhile_is_dropped() -> None:
    block, certificate = certified(MiniChain())
    catchup = linked(one=3)
    catchup.open(1, ONE, 1, at(0))
    catchup.record_answer(Fetched(1, ONE, block, None, certificate, ()), at(10))
    catchup.enter(2)
    assert catchup.kept == {}


def test_an_ask_has_a_deadline() -> None:
    ask: Ask = linked().open(1, ONE, 1, at(77))
    assert ask.deadline_ms > 77
