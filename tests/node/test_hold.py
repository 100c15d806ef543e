"""What is signed after a start, and when: only once it is known where the chain stands."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from consensus.effects import Remember, Sign
from consensus.events import PollReceived, TipReceived
from consensus.ids import Height, Now, Peer, Round
from network.limits import LINKS_INBOUND_MAX, LINKS_OUTBOUND_MAX
from node.catchup import TIPS_MAX, CatchUp
from node.core import NodeCore
from node.hold import HELD_MAX, LINKS_MAX, TELLERS_MIN, Hold, Horizon, horizon

OWN, A, B, C, STRANGER = [Peer(bytes((n,)) * 32) for n in range(5)]
PEERS = {"a": A, "b": B, "c": C, "stranger": STRANGER}


def core(height: int, **tips: int) -> NodeCore:
    """Of one of four equal owners, which certified `height`; `tips`: what peers a, b, c say."""
    catchup = CatchUp()
    for name, tip in tips.items():
        catchup.record_tip(PEERS[name], tip)
    machine = SimpleNamespace(
        peer=OWN,
        standing=SimpleNamespace(votes=SimpleNamespace(weights={OWN: 1, A: 1, B: 1, C: 1})),
    )
    found = SimpleNamespace(engine=SimpleNamespace(machine=machine), catchup=catchup)
    move(found, height)
    return cast(NodeCore, found)


def move(node: Any, height: int) -> None:
    """It has certified that height."""
    node.engine.machine.tip = SimpleNamespace(header=SimpleNamespace(height=height))
    node.height = height + 1


def sign(height: int, round_: int = 0, phase: int = 1) -> Sign:
    return Sign("confirm", Height(height), Round(round_), phase, b"", b"record")


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        (core(7), Horizon(7, 7, False)),
        (core(7, a=7), Horizon(7, 7, False)),
        (core(7, a=7, b=7), Horizon(7, 7, True)),
        (core(7, a=90, b=7, c=7), Horizon(7, 7, True)),  # one quarter alone is not believed
        (core(7, a=90, b=80, c=7), Horizon(7, 80, True)),
        (core(7, stranger=90, a=7, b=7), Horizon(7, 7, True)),  # who owns nothing counts nothing
        (core(0, a=40, b=40, c=41), Horizon(0, 40, True)),
    ],
)
def test_a_height_counts_once_a_third_of_the_slots_say_it(found: Any, seen: Horizon) -> None:
    assert horizon(found) == seen


def test_many_owners_speak_for_more_than_links_reach() -> None:
    """Of 400 equal owners 128 links reach a third at most: enough of them speak for all."""
    owners = [Peer(n.to_bytes(32, "big")) for n in range(10, 410)]
    found = core(7)
    weights = found.engine.machine.standing.votes.weights
    weights.update(dict.fromkeys(owners, 1))
    for number in range(TELLERS_MIN - 1):
        found.catchup.record_tip(owners[number], 9 if number < TELLERS_MIN // 2 else 7)
    assert horizon(found) == Horizon(7, 7, False), "too few spoke"
    found.catchup.record_tip(owners[TELLERS_MIN], 7)
    assert horizon(found) == Horizon(7, 7, True), "half of those who spoke is not believed"
    for number in range(TELLERS_MIN // 2, TELLERS_MIN // 2 + 2):
        found.catchup.record_tip(owners[number], 9)
    assert horizon(found) == Horizon(7, 9, True), "more than half of those who spoke is ahead"


@pytest.mark.parametrize(("liars", "opens"), [(40, True), (63, True), (80, False)])
def test_many_owners_are_believed_by_the_half(liars: int, opens: bool) -> None:
    """Of 400 owners a third may lie; of 128 that are linked it may be a little more."""
    owners = [Peer(n.to_bytes(32, "big")) for n in range(10, 410)]
    node = core(7)
    node.engine.machine.standing.votes.weights.update(dict.fromkeys(owners, 1))
    hold = Hold(node)
    for number in range(128):
        hold.hear(TipReceived(owners[number], Height(10**9 if number < liars else 7)))
    assert hold.is_open is opens


def test_so_many_links_as_the_network_has() -> None:
    assert LINKS_MAX == LINKS_INBOUND_MAX + LINKS_OUTBOUND_MAX


def test_slots_open_it_and_not_heads() -> None:
    """64 owners of one slot each, where twenty own all the others."""
    heavy = [Peer(n.to_bytes(32, "big")) for n in range(10, 29)]
    light = [Peer(n.to_bytes(32, "big")) for n in range(100, 100 + TELLERS_MIN)]
    node = core(7)
    weights = node.engine.machine.standing.votes.weights
    weights.clear()
    weights.update({OWN: 47, **dict.fromkeys(heavy, 47), **dict.fromkeys(light, 1)})
    hold = Hold(node)
    for peer in light:
        hold.hear(TipReceived(peer, Height(7)))
    assert not hold.is_open
    for peer in heavy[:14]:
        hold.hear(TipReceived(peer, Height(7)))
    assert hold.is_open


def test_what_a_peer_could_not_give_is_known_all_the_same() -> None:
    """A newcomer's asks may fail for a while: it is behind nevertheless."""
    found = core(1, a=40, b=40, c=40)
    for peer in (A, B, C):
        found.catchup.record_refused(peer, 2, Now(0, 0))
    assert horizon(found) == Horizon(1, 40, True)
    for peer in (A, B, C):
        found.catchup.forget(peer)
    assert not horizon(found).sure


def told(node: NodeCore, **tips: int) -> Hold:
    """A hold that has heard the tips of peers since the start."""
    hold = Hold(node)
    for name, tip in tips.items():
        hold.hear(TipReceived(PEERS[name], Height(tip)))
    return hold


def waiting(*effects: Sign | Remember) -> Hold:
    """One in which these wait, of a node that decides height 5."""
    hold = Hold(core(4))
    for effect in effects:
        assert hold.keeps(effect)
    return hold


def let_go(hold: Hold) -> list[Sign | Remember]:
    for name in ("a", "b"):
        hold.hear(TipReceived(PEERS[name], Height(4)))
    return hold.freed()


@pytest.mark.parametrize(
    ("tips", "opens"),
    [
        ({}, False),
        ({"a": 7}, False),
        ({"a": 7, "b": 7}, True),
        ({"a": 7, "stranger": 7}, False),
        ({"a": 90, "b": 7}, False),  # one of the two may lie, and then we are behind
        ({"a": 90, "b": 7, "c": 7}, True),  # one alone does not keep it shut
        ({"a": 90, "b": 8}, False),
        ({"a": 7, "b": 5, "c": 3}, True),
    ],
)
def test_it_opens_when_two_thirds_have_told_and_none_is_ahead(
    tips: dict[str, int], opens: bool
) -> None:
    hold = told(core(7), **tips)
    assert hold.is_open is opens and hold.keeps(sign(8)) is not opens
    assert hold.freed() == []


def test_what_others_say_of_a_peer_does_not_open_it() -> None:
    """Votes may have been said long ago, and whoever links may say them again."""
    assert horizon(core(7, a=7, b=7, c=7)).sure
    assert not Hold(core(7, a=7, b=7, c=7)).is_open
    assert not told(core(7, a=8, b=8), a=7, b=7).is_open, "but they may show that it is behind"


def test_who_asks_us_for_a_height_tells_its_tip() -> None:
    hold = told(core(7), a=7)
    hold.hear(PollReceived(1, B, Height(8)))
    assert hold.is_open
    hold = told(core(7), a=8)
    hold.hear(PollReceived(1, B, Height(9)))
    assert not hold.is_open


def test_it_opens_once_caught_up_and_stays_open() -> None:
    node = core(7)
    hold = told(node, a=8, b=8)
    assert hold.keeps(sign(8)) and hold.freed() == []
    move(node, 8)
    assert hold.keeps(sign(9)), "in its turn: what waits goes first"
    assert hold.freed() == [sign(9)]
    for name in ("a", "b"):
        hold.hear(TipReceived(PEERS[name], Height(90)))
    assert not hold.keeps(sign(9, 1)) and hold.freed() == [], "once open, always"


def test_what_waits_comes_out_in_order_and_nothing_of_other_heights() -> None:
    note = Remember(b"a lock")
    hold = waiting(sign(4), sign(4, 0, 2), note, sign(5), sign(5, 0, 2), note)
    assert let_go(hold) == [sign(5), sign(5, 0, 2), note]
    assert hold.freed() == []


def test_what_is_decided_meanwhile_is_not_signed() -> None:
    assert let_go(waiting(sign(4), Remember(b"a lock"))) == [Remember(b"a lock")]


def test_so_many_wait_and_the_oldest_go() -> None:
    hold = waiting(*(sign(5, round_) for round_ in range(HELD_MAX + 3)))
    assert let_go(hold) == [sign(5, round_) for round_ in range(3, HELD_MAX + 3)]


def test_tips_are_bounded() -> None:
    owners = [Peer(n.to_bytes(32, "big")) for n in range(10, 10 + TIPS_MAX)]
    node = core(7, b=7)
    node.engine.machine.standing.votes.weights.update(dict.fromkeys(owners, 0))
    hold = told(node, a=7)
    for owner in owners:
        hold.hear(TipReceived(owner, Height(7)))
    hold.hear(TipReceived(B, Height(7)))
    assert not hold.is_open, "the oldest words go"


def test_strangers_push_no_owners_word_out() -> None:
    hold = told(core(7), a=7)
    for number in range(10, 10 + 2 * TIPS_MAX):
        hold.hear(TipReceived(Peer(number.to_bytes(32, "big")), Height(7)))
    hold.hear(TipReceived(B, Height(7)))
    assert hold.is_open
