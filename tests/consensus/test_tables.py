"""Tables and how one follows from another, also against a naive implementation (protocol §4)."""

import hashlib

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import EncodingError
from consensus.parameters import Parameters
from consensus.tables import Bid, Grounds, Table, deal, next_table, turnover_bound
from tests.consensus.builders_keys import peer_key

A, B, C, D = sorted(peer_key(number) for number in range(4))
OWNERS = st.lists(st.sampled_from([A, B, C, D, None]), min_size=1, max_size=24)


def parameters(slots, **overrides):
    values = {"slots": slots, "turnover_max": slots, "epoch_blocks": 16, "claim_close": 4}
    return Parameters.local(**{**values, **overrides})


def grounds(bids=None, *, staying=(), burned=(), void=(), elapsed_ms=10**9):
    return Grounds(bids or {}, frozenset(staying), frozenset(burned), frozenset(void), elapsed_ms)


def after(owners, reasons, **overrides):
    """Owners of the next table."""
    table = Table.of(4, owners)
    following = next_table(parameters(len(owners), **overrides), table, reasons)
    assert following.epoch == 5
    return list(following.owners)


# ---- the table ----------------------------------------------------------------------------------


def test_the_record_groups_slots_by_owner():
    table = Table.of(3, [B, A, None, B])
    assert table.raw == dag_cbor.encode(["table", 1, 3, 4, [[A, [1]], [B, [0, 3]]]])
    assert table.hash == hashlib.sha256(table.raw).digest()
    assert list(table.weights.items()) == [(A, 1), (B, 2)]
    assert table.occupied == (0, 1, 3)
    assert (table.slots_of(B), table.slots_of(C)) == ((0, 3), ())
    assert (table.weight(B), table.weight(C)) == (2, 0)


@given(st.integers(0, 10**6), OWNERS)
def test_a_table_survives_its_bytes(epoch, owners):
    table = Table.of(epoch, owners)
    assert Table.decode(table.raw) == table
    assert list(table.weights) == sorted(table.weights)


@pytest.mark.parametrize(
    ("slots", "rows", "cause"),
    [
        (4, [[B, [0]], [A, [1]]], "ordered by key"),
        (4, [[A, [0]], [A, [1]]], "ordered by key"),
        (4, [[A, [1, 0]]], "slots not in order"),
        (4, [[A, [1, 1]]], "slots not in order"),
        (4, [[A, []]], "slots not in order"),
        (4, [[A, [4]]], "none or has two owners"),
        (4, [[A, [0]], [B, [0]]], "none or has two owners"),
        (0, [], "0 slots"),
        (65_536, [[A, [0]]], "65536 slots"),
    ],
)
def test_a_table_has_one_form(slots, rows, cause):
    with pytest.raises(EncodingError, match=cause):
        Table.decode(dag_cbor.encode(["table", 1, 3, slots, rows]))


@pytest.mark.parametrize(
    ("occupied", "weight", "quorum"),
    [
        (4, 2, False),
        (4, 3, True),
        (3, 2, False),
        (3, 3, True),
        (1, 1, True),
        (600, 400, False),
        (600, 401, True),
    ],
)
def test_a_quorum_is_more_than_two_thirds(occupied, weight, quorum):
    assert Table.of(0, [A] * occupied + [None] * 5).is_quorum(weight) == quorum


def test_slots_are_dealt_evenly():
    assert deal(5, [A, B]) == (A, B, A, B, A)
    weights = Table.of(0, deal(600, [A, B, C, D])).weights
    assert set(weights.values()) == {150}


# ---- who gets a slot ----------------------------------------------------------------------------


def test_the_best_claim_wins_the_slot():
    assert after([A] * 8, grounds({3: Bid(B, 9)}, staying=[A])) == [A, A, A, B, A, A, A, A]


def test_an_unclaimed_slot_stays_only_with_a_renewal_and_a_proof_of_life():
    assert after([A, A, B, B], grounds(staying=[A, B])) == [A, A, B, B]
    assert after([A, A, B, B], grounds(staying=[A])) == [A, A, None, B]


def test_an_own_slot_reclaimed_is_no_change():
    reasons = grounds({0: Bid(A, 1), 1: Bid(A, 2), 2: Bid(B, 3)})
    assert after([A, A, A], reasons) == [A, A, B]


def test_evidence_vacates_outside_the_bound():
    assert after([A, B] * 4, grounds(staying=[A, B], burned=[B])) == [A, None] * 4


def test_a_claim_may_fill_what_evidence_vacates_within_the_bound():
    bids = {slot: Bid(C, slot) for slot in (1, 3, 5, 7)}
    reasons = grounds(bids, staying=[A, B], burned=[B])
    # four slots are occupied after evidence, so one may change
    assert after([A, B] * 4, reasons) == [A, None, A, None, A, None, A, C]


def test_a_void_claim_leaves_the_slot_unclaimed():
    reasons = grounds({0: Bid(C, 9), 1: Bid(C, 9)}, staying=[A], void=[C])
    assert after([A, B, A, A], reasons) == [A, None, A, A]


def test_a_burned_owner_cannot_stay_by_renewal_or_reclaim():
    reasons = grounds({0: Bid(B, 9)}, staying=[A, B], burned=[B], void=[B])
    assert after([B, B, A], reasons) == [None, None, A]


def test_a_table_never_becomes_empty():
    assert after([A, A], grounds(burned=[A])) == [A, A]
    assert after([A, None], grounds()) == [A, None]


# ---- how many may change ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("occupied", "elapsed_ms", "overrides", "bound"),
    [
        (600, 10**9, {}, 37),  # slots / 16
        (100, 10**9, {}, 25),  # a quarter of the occupied
        (600, 59_999, {"turnover_interval_ms": 10_000}, 5),  # time
        (600, 60_000, {"turnover_interval_ms": 10_000}, 6),
        (600, 0, {}, 1),  # at least one
        (3, 10**9, {}, 1),
        (0, 10**9, {}, 1),
    ],
)
def test_the_turnover_bound(occupied, elapsed_ms, overrides, bound):
    chain = Parameters.local(slots=600, **overrides)
    assert turnover_bound(chain, occupied=occupied, elapsed_ms=elapsed_ms) == bound


def test_a_burst_of_hash_power_does_not_take_a_table_at_once():
    bids = {slot: Bid(B, slot) for slot in range(16)}
    owners = after([A] * 16, grounds(bids))
    assert owners == [A] * 12 + [B] * 4  # the highest four of sixteen


def test_vacations_come_first_by_slot_number_then_claims_by_height():
    owners = [B, A, A, B, A, A, A, A, A, A, A, A]
    reasons = grounds({5: Bid(C, 70), 6: Bid(C, 90), 7: Bid(C, 80)}, staying=[A])
    expected = list(owners)
    expected[0] = expected[3] = None
    expected[6] = C  # one of three changes is left, the highest claim gets it
    assert after(owners, reasons) == expected


def test_beyond_the_bound_the_owner_is_unchanged_also_if_not_renewed():
    reasons = grounds({3: Bid(C, 70)})
    assert after([B, B, B, B, B, B, B, B], reasons) == [None, None, B, B, B, B, B, B]


def naive_next(chain, owners, reasons):
    """The rule of the page, slot by slot and change by change."""
    owners = list(owners)
    before = list(owners)
    for slot in range(len(owners)):
        if owners[slot] in reasons.burned:
            owners[slot] = None
    occupied = len([owner for owner in owners if owner])
    bound = min(chain.turnover_max, occupied // 4)
    bound = min(bound, reasons.elapsed_ms // chain.turnover_interval_ms)
    wanted = []
    for slot, owner in enumerate(owners):
        bid = reasons.bids.get(slot)
        if bid and bid.peer in reasons.void:
            bid = None
        if bid:
            new, order = bid.peer, (1, -bid.hill, slot)
        elif owner in reasons.staying:
            new, order = owner, (0, 0, slot)
        else:
            new, order = None, (0, 0, slot)
        if new != owner:
            wanted.append((order, slot, new))
    for _, slot, new in sorted(wanted, key=lambda change: change[0])[: max(1, bound)]:
        owners[slot] = new
    return owners if any(owners) else before


PEERS = st.frozensets(st.sampled_from([A, B, C, D]))


@given(OWNERS, st.data())
def test_the_next_table_agrees_with_a_naive_one(owners, data):
    slots = len(owners)
    heights = st.permutations(range(slots)) if slots else st.just([])
    hills = data.draw(heights)
    bidders = st.dictionaries(st.integers(0, slots - 1), st.sampled_from([A, B, C, D]))
    bids = {slot: Bid(peer, hills[slot]) for slot, peer in data.draw(bidders).items()}
    burned = data.draw(PEERS)
    reasons = Grounds(
        bids, data.draw(PEERS), burned, burned | data.draw(PEERS), data.draw(st.integers(0, 12))
    )
    chain = parameters(
        slots,
        turnover_max=data.draw(st.integers(1, slots)),
        turnover_interval_ms=data.draw(st.integers(1, 3)),
    )
    following = next_table(chain, Table.of(7, owners), reasons)
    assert list(following.owners) == naive_next(chain, owners, reasons)
    assert Table.decode(following.raw) == following
