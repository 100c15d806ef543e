"""Hash chains, randomness and the order of proposers, against their definitions (protocol §5)."""

import hashlib
import hmac
from itertools import pairwise

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import InvalidBlock
from consensus.proposers import (
    ChainState,
    check_reveal,
    genesis_randomness,
    hash_chain,
    hash_chain_seed,
    link,
    next_randomness,
    rank_of,
    ranking,
)
from consensus.tables import Table
from tests.consensus.builders_keys import peer_key

A, B, C = (peer_key(number) for number in range(3))
SEED = bytes((1, 0x71, 0x12, 0x20)) + b"s" * 32
KEYS = st.binary(min_size=32, max_size=32)


def h(*items) -> bytes:
    return hashlib.sha256(dag_cbor.encode(list(items))).digest()


def test_randomness_follows_the_page():
    assert genesis_randomness(SEED) == h("genesis", SEED)
    assert next_randomness(b"r" * 32, b"v" * 32) == h("random", b"r" * 32, b"v" * 32)
    assert next_randomness(b"r" * 32, None) == h("random", b"r" * 32, None)


def test_the_seed_of_a_chain_is_hkdf():
    key, epoch = b"k" * 32, 5
    extracted = hmac.new(SEED, key, hashlib.sha256).digest()
    info = b"apocryph/1/hash-chain" + (5).to_bytes(8, "big")
    expected = hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()
    assert hash_chain_seed(key, SEED, epoch) == expected
    others = [(b"j" * 32, SEED, 5), (key, SEED[:-1] + b"t", 5), (key, SEED, 6)]
    assert all(hash_chain_seed(*other) != expected for other in others)


@given(KEYS, KEYS, st.integers(1, 40))
def test_links_are_hashed_backwards_from_the_seed(seed, peer, count):
    chain = hash_chain(seed, SEED, peer, count)
    assert len(chain) == count and chain[-1] == seed
    for before, following in pairwise(chain):
        assert before == h("link", SEED, peer, following) == link(SEED, peer, following)


CHAIN = hash_chain(b"z" * 32, SEED, A, 17)


def reveal(known, number, shown=None, peer=A, seed=SEED):
    state = ChainState(CHAIN[known], known)
    check_reveal(state, CHAIN[shown or number], number, spec_seed=seed, peer=peer)


@pytest.mark.parametrize(("known", "number"), [(0, 1), (0, 16), (3, 4), (15, 16)])
def test_a_reveal_is_checked_by_hashing_forward(known, number):
    reveal(known, number)


@pytest.mark.parametrize(
    "wrong",
    [
        {"known": 3, "number": 3},  # not again
        {"known": 3, "number": 2},
        {"known": 3, "number": 5, "shown": 4},  # ‡ of a lost proposal at the height before
        {"known": 3, "number": 5, "shown": 6},  # of a height to come
        {"known": 3, "number": 5, "peer": B},
        {"known": 3, "number": 5, "seed": SEED[:-1] + b"t"},
    ],
)
def test_only_the_link_of_this_height_is_a_reveal(wrong):
    with pytest.raises(InvalidBlock) as caught:
        reveal(**wrong)
    assert caught.value.rule == "reveal"


OWNERS = st.lists(st.sampled_from([A, B, C, None]), min_size=1, max_size=30).filter(any)


def naive_order(table, ranked, randomness, height, round_):
    slots = [slot for slot, owner in enumerate(table.owners) if owner]
    slots.sort(key=lambda slot: h("order", randomness, height, round_, slot))
    if any(table.owners[slot] in ranked for slot in slots):
        slots = [slot for slot in slots if table.owners[slot] in ranked]
    order = []
    for slot in slots:
        if table.owners[slot] not in [owner for owner, _ in order]:
            order.append((table.owners[slot], slot))
    return tuple(order)


@given(
    OWNERS,
    st.frozensets(st.sampled_from([A, B, C])),
    KEYS,
    st.integers(1, 2**40),
    st.integers(0, 2**16),
)
def test_the_order_agrees_with_its_definition(owners, ranked, randomness, height, round_):
    table = Table.of(0, owners)
    order = ranking(table, ranked, randomness=randomness, height=height, round=round_)
    assert order == naive_order(table, ranked, randomness, height, round_)


def test_owners_without_a_commitment_are_not_ranked():
    table = Table.of(0, [A, B, C])
    order = ranking(table, [A, C], randomness=bytes(32), height=1, round=0)
    assert sorted(peer for peer, _ in order) == sorted([A, C])
    assert (rank_of(order, B), rank_of(order, order[1][0])) == (None, 1)


@pytest.mark.parametrize("ranked", [[], [peer_key(9)]])
def test_where_no_owner_is_ranked_all_are(ranked):
    order = ranking(Table.of(0, [A, None, C]), ranked, randomness=bytes(32), height=1, round=0)
    assert sorted(peer for peer, _ in order) == sorted([A, C])


def test_the_order_changes_with_height_round_and_randomness():
    table = Table.of(0, [A, B, C] * 8)
    places = [(bytes(32), 1, 0), (bytes(32), 2, 0), (bytes(32), 1, 1), (b"1" * 32, 1, 0)]
    best = [ranking(table, (A, B, C), randomness=r, height=at, round=n)[0] for r, at, n in places]
    assert len(dict.fromkeys(best)) == 4
