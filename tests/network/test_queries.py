"""Bookkeeping of open queries and of handlers at work."""

from __future__ import annotations

import pytest

from network.errors import Busy
from network.queries import STREAM_MAX, Inflight, Open, OpenQueries, StreamIds

ANN, BOB = b"a" * 32, b"b" * 32


def query(stream: int, deadline: float = 10.0, peer: bytes = ANN) -> Open:
    return Open(peer, stream, deadline, 100)


def test_the_two_ends_never_choose_the_same_stream() -> None:
    dialler, acceptor = StreamIds(True), StreamIds(False)
    assert [dialler.take() for _ in range(3)] == [1, 3, 5]
    assert [acceptor.take() for _ in range(3)] == [2, 4, 6]
    assert dialler.ours(7) and not dialler.ours(8) and not acceptor.ours(0)
    dialler._next = STREAM_MAX
    assert [dialler.take(), dialler.take()] == [STREAM_MAX, 1]


def test_deadlines_come_in_their_order() -> None:
    queries = OpenQueries()
    for stream, deadline in ((1, 3.0), (3, 1.0), (5, 2.0)):
        queries.add(query(stream, deadline))
    assert queries.next_deadline() == 1.0
    assert queries.close(ANN, 3) and not queries.close(ANN, 3)
    assert queries.next_deadline() == 2.0
    assert [late.stream for late in queries.expired(2.5)] == [5]
    assert [late.stream for late in queries.expired(9.0)] == [1]
    assert queries.next_deadline() is None and len(queries) == 0


def test_a_stream_may_be_used_again_with_another_deadline() -> None:
    queries = OpenQueries()
    queries.add(query(1, 1.0))
    queries.close(ANN, 1)
    queries.add(query(1, 5.0))
    assert queries.next_deadline() == 5.0
    assert queries.expired(2.0) == []


def test_queries_per_peer_are_bounded() -> None:
    queries = OpenQueries(per_peer=2)
    queries.add(query(1))
    queries.add(query(3))
    with pytest.raises(Busy):
        queries.check(ANN)
    queries.check(BOB)
    assert sorted(queries.drop_peer(ANN)) == [1, 3]
    queries.check(ANN)
    assert queries.find(ANN, 1) is None


def test_deadlines_of_closed_queries_do_not_pile_up() -> None:
    queries = OpenQueries()
    for number in range(10_000):
        queries.add(query(2 * number + 1, 1_000.0 + number))
        queries.close(ANN, 2 * number + 1)
    assert len(queries._deadlines) < 100


def test_handlers_are_bounded_per_protocol_and_per_peer() -> None:
    inflight = Inflight(per_peer=3)
    assert inflight.enter(ANN, "x", 2) and inflight.enter(ANN, "x", 2)
    assert not inflight.enter(ANN, "x", 2)
    assert inflight.enter(ANN, "y", 2) and not inflight.enter(ANN, "y", 2)
    assert inflight.enter(BOB, "x", 2)
    inflight.leave(ANN, "x")
    assert inflight.enter(ANN, "y", 2)
    for proto in ("x", "y", "y"):
        inflight.leave(ANN, proto)
    inflight.leave(BOB, "x")
    assert not inflight._all and not inflight._count
