"""The sign record (protocol §7 ‡): places grow, equal requests return, conflicts are refused."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import EncodingError, SignRefused
from consensus.ids import BlockId, ChainId, content_id
from consensus.signing import ACCEPT, CONFIRM, OWN_MAX, PROPOSE, SignRecord
from tests.consensus.builders_keys import peer_key

CHAIN, PEER = ChainId(content_id(b"chain")), peer_key(0)
A, B = BlockId(content_id(b"a")), BlockId(content_id(b"b"))
PLACES = list(product((1, 2), (0, 1, 2), (PROPOSE, CONFIRM, ACCEPT)))


def fresh() -> SignRecord:
    return SignRecord.fresh(CHAIN, PEER)


def test_a_fresh_record_allows_every_place_of_height_1() -> None:
    assert fresh().allows(1, 0, PROPOSE)
    assert not fresh().allows(0, 0, ACCEPT)


@pytest.mark.parametrize("first", PLACES)
@pytest.mark.parametrize("second", PLACES)
def test_only_later_places_are_allowed(
    first: tuple[int, int, int], second: tuple[int, int, int]
) -> None:
    record = fresh().with_own(*first, b"one")
    assert record.allows(*second) == (second > first)
    if second > first:
        assert record.with_own(*second, b"two").place == second
    elif second == first:
        assert record.with_own(*second, b"one") is record, "an equal request changes nothing"
        with pytest.raises(SignRefused, match="other bytes"):
            record.with_own(*second, b"two")
    else:
        with pytest.raises(SignRefused, match="newer"):
            record.with_own(*second, b"two")


def test_an_old_place_still_remembered_returns_its_bytes_and_refuses_others() -> None:
    record = fresh().with_own(1, 0, CONFIRM, b"confirm").with_own(1, 0, ACCEPT, b"accept")
    assert record.signed(1, 0, CONFIRM) == b"confirm"
    assert record.with_own(1, 0, CONFIRM, b"confirm") is record
    with pytest.raises(SignRefused, match="other bytes"):
        record.with_own(1, 0, CONFIRM, b"another")


def test_own_bytes_of_this_and_the_last_round_are_kept() -> None:
    record = fresh()
    for round_, phase in product(range(4), (PROPOSE, CONFIRM, ACCEPT)):
        record = record.with_own(1, round_, phase, b"%d %d" % (round_, phase))
    assert {own.round for own in record.own} == {2, 3} and len(record.own) == 6
    assert record.with_own(2, 0, PROPOSE, b"next").own[0].height == 2
    assert len(record.with_own(2, 0, PROPOSE, b"next").own) == 1


def test_lock_and_valid_value_name_their_height_and_mean_nothing_at_another() -> None:
    record = fresh().with_lock(3, A, 1).with_valid(3, B, 2, b"aggregate")
    lock, valid = record.lock_at(3), record.valid_at(3)
    assert lock is not None and (lock.block, lock.round) == (A, 1)
    assert valid is not None and (valid.block, valid.round, valid.aggregate) == (B, 2, b"aggregate")
    assert record.lock_at(4) is None and record.valid_at(4) is None and record.lock_at(2) is None


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(0, 2), st.binary(max_size=4)),
        max_size=12,
    ),
    st.booleans(),
)
def test_the_record_survives_its_bytes(
    asked: list[tuple[int, int, int, bytes]], locked: bool
) -> None:
    record = fresh()
    said: dict[tuple[int, int, int], bytes] = {}
    for height, round_, phase, unsigned in asked:
        try:
            record = record.with_own(height, round_, phase, unsigned)
        except SignRefused:
            continue
        place = (height, round_, phase)
        assert said.setdefault(place, unsigned) == unsigned, "nothing is signed twice"
        assert len(record.own) <= OWN_MAX
    if locked:
        record = record.with_lock(1, A, 0).with_valid(1, A, 0, b"proof")
    assert SignRecord.decode(record.raw) == record
    with pytest.raises(EncodingError):
        SignRecord.decode(record.raw + b"\x00")
