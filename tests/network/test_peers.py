"""Scores, bans and the book of addresses."""

from __future__ import annotations

import random

import pytest

from network.errors import LocalError
from network.limits import (
    ADDRESSES_MAX,
    BAN_AT,
    BAN_FIRST_S,
    BANS_MAX,
    BLAME_DECAY_PER_S,
    DIAL_BACKOFF_MAX_S,
    DIAL_TRIES_UNKEPT,
    LINK_STABLE_S,
    SCORES_MAX,
)
from network.peers import Book, Conduct, Standing
from network.ports import PeerAddress

ANN = b"a" * 32
GOOD, THROTTLED, BANNED = Standing.GOOD, Standing.THROTTLED, Standing.BANNED


def draw() -> random.Random:
    return random.Random(3)


def peer(number: int) -> bytes:
    return number.to_bytes(32, "big")


def address(number: int, host: str = "10.0.0.1") -> PeerAddress:
    return PeerAddress(peer(number), host, 1)


def blame(conduct: Conduct, points: int, now: float, **kind: bool) -> Standing:
    options = {"kept": False, "malformed": False, **kind}
    return conduct.blame(ANN, points, "cause", now, **options)


def test_points_decay_and_keep_their_cause() -> None:
    conduct = Conduct()
    blame(conduct, 50, 0.0)
    assert conduct.score(ANN, 0.0) == (50, "cause")
    assert conduct.score(ANN, 20.0) == (50 - 20 * BLAME_DECAY_PER_S, "cause")
    assert conduct.score(ANN, 1_000.0) == (0, "cause")
    assert conduct.score(b"x" * 32, 0.0) == (0, "")


def test_a_ban_ends_and_the_next_one_is_longer() -> None:
    conduct = Conduct()
    assert blame(conduct, BAN_AT - 1, 0.0) is GOOD
    assert blame(conduct, 1, 0.0) is BANNED
    assert conduct.standing(ANN, BAN_FIRST_S - 1) is BANNED
    assert conduct.standing(ANN, BAN_FIRST_S + 1) is GOOD
    assert blame(conduct, BAN_AT, 100.0) is BANNED
    assert conduct.standing(ANN, 100.0 + 2 * BAN_FIRST_S - 1) is BANNED


def test_an_owner_is_throttled_unless_its_bytes_are_malformed() -> None:
    conduct = Conduct()
    assert blame(conduct, BAN_AT, 0.0, kept=True) is THROTTLED
    assert conduct.standing(ANN, BAN_FIRST_S + 1) is GOOD
    assert blame(conduct, BAN_AT, 100.0, kept=True, malformed=True) is BANNED


def test_bans_of_peers_and_subnets() -> None:
    conduct = Conduct()
    conduct.ban(ANN, None, 0.0)
    assert conduct.standing(ANN, 1e12) is BANNED
    conduct.ban(ANN, 0.0, 1.0)
    assert conduct.standing(ANN, 1.0) is GOOD
    conduct.ban("10.1.2.0/24", 50.0, 0.0)
    conduct.ban("2001:db8::/48", None, 0.0)
    assert conduct.host_banned("10.1.2.3", 49.0) and not conduct.host_banned("10.1.2.3", 51.0)
    assert conduct.host_banned("2001:db8::1", 99.0) and not conduct.host_banned("10.1.3.3", 1.0)
    assert not conduct.host_banned("a-name.example", 1.0)
    with pytest.raises(LocalError, match="no subnet"):
        conduct.ban("ten/24", None, 0.0)


def test_scores_and_bans_are_bounded() -> None:
    conduct = Conduct()
    for number in range(SCORES_MAX + 10):
        points = 1 if number else BAN_AT - 1
        conduct.blame(peer(number), points, "", 0.0, kept=False, malformed=False)
    assert len(conduct._scores) == SCORES_MAX
    assert conduct.score(peer(0), 0.0)[0] == BAN_AT - 1  # the worst is remembered
    for number in range(BANS_MAX + 10):
        conduct.ban(peer(number), 10.0 + number, 0.0)
    assert len(conduct._bans) == BANS_MAX


def due(book: Book, now: float, linked: tuple[bytes, ...] = ()) -> list[bytes]:
    return [entry.address.peer for entry in book.due(now, linked)]


def test_kept_addresses_come_first_and_linked_ones_not() -> None:
    book = Book()
    book.add([address(1), address(2)], False, 0.0)
    book.add([address(3), PeerAddress(peer(4), "", 0)], True, 0.0)
    assert due(book, 0.0) == [peer(3), peer(1), peer(2)]
    assert due(book, 0.0, (peer(1), peer(3))) == [peer(2)]
    assert book.kept(peer(4)) and not book.kept(peer(1)) and book.known() == 4
    book.add([address(3)], False, 0.0)
    assert not book.kept(peer(3))


def test_a_place_without_address_does_not_forget_a_known_address() -> None:
    book = Book()
    book.add([address(1)], False, 0.0)
    book.add([PeerAddress(peer(1), "", 0)], True, 0.0)
    assert due(book, 0.0) == [peer(1)] and book.kept(peer(1))


def test_backoff_grows_with_jitter_up_to_its_bound() -> None:
    book, dice = Book(), draw()
    book.add([address(1)], True, 0.0)
    waits: list[float] = []
    for _ in range(20):
        book.failed(peer(1), 0.0, dice.randrange)
        waits.append(book.next_due(()) or 0.0)
    assert waits[0] < 0.2 and DIAL_BACKOFF_MAX_S / 2 <= waits[-1] <= DIAL_BACKOFF_MAX_S
    assert len({round(wait, 6) for wait in waits[-5:]}) == 5
    assert due(book, 0.0) == []


def test_addresses_that_are_not_kept_are_given_up() -> None:
    book, dice = Book(), draw()
    book.add([address(1)], False, 0.0)
    for _ in range(DIAL_TRIES_UNKEPT):
        assert book.known() == 1
        book.failed(peer(1), 0.0, dice.randrange)
    assert book.known() == 0


def test_only_a_link_that_lived_starts_a_fresh_backoff() -> None:
    book, dice = Book(), draw()
    book.add([address(1)], True, 0.0)
    for _ in range(10):
        book.lost(peer(1), 0.0, 0.1, dice.randrange)
    assert (book.next_due(()) or 0.0) > 1.0
    book.lost(peer(1), 0.0, LINK_STABLE_S, dice.randrange)
    assert (book.next_due(()) or 0.0) < 1.0


def test_the_book_is_bounded_and_keeps_what_is_kept() -> None:
    book = Book()
    book.add([address(0)], True, 0.0)
    for number in range(1, ADDRESSES_MAX + 10):
        book.add([address(number)], False, 0.0)
    assert book.known() == ADDRESSES_MAX and book.kept(peer(0))
