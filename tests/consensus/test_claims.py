"""The work in a claim: salts, digests, judging, mining (protocol §4)."""

import hashlib

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.claims import hill_minimum, judge, mine, salt
from consensus.errors import InvalidFact
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_keys import peer_key

A, B = peer_key(0), peer_key(1)
SALT = b"s" * 32
CHAIN = MiniChain(make_spec(2, small(difficulty_bits_min=3)))
SPEC = CHAIN.spec


def sha(value) -> bytes:
    return hashlib.sha256(dag_cbor.encode(value)).digest()


def naive_standing(claim, salt):
    digest = sha([claim.chain, salt, claim.peer, claim.nonce, claim.commitment])
    number = int.from_bytes(digest, "big")
    return (number >> 192) % SPEC.parameters.slots, number % 2**192


def leading_ones(hill: int) -> int:
    bits = f"{hill:0192b}"
    return len(bits) - len(bits.lstrip("1"))


def test_salts_follow_the_page():
    assert salt(SPEC.seed, 1, b"r" * 32) == sha(["salt", 1, SPEC.seed])
    assert salt(SPEC.seed, 2, b"r" * 32) == sha(["salt", 2, b"r" * 32])
    assert salt(SPEC.seed, 3, b"r" * 32) != salt(SPEC.seed, 2, b"r" * 32)


@pytest.mark.parametrize(
    ("bits", "least"), [(0, 0), (1, 2**191), (2, 2**191 + 2**190), (192, 2**192 - 1)]
)
def test_difficulty_counts_leading_one_bits(bits, least):
    assert hill_minimum(bits) == least


@given(st.binary(min_size=16, max_size=16))
def test_a_claim_stands_where_its_digest_says(nonce):
    claim = CHAIN.claim(A, nonce)
    slot, hill = naive_standing(claim, SALT)
    if leading_ones(hill) < 3:
        with pytest.raises(InvalidFact, match="too little work"):
            judge(claim, SPEC, SALT)
    else:
        assert judge(claim, SPEC, SALT) == (slot, hill)


def found(count=512, peer=A, commitment=b"c" * 32, start=0):
    return mine(
        SPEC,
        salt=SALT,
        peer=peer,
        commitment=commitment,
        nonce_prefix=b"prefix!!",
        start=start,
        count=count,
    )


def test_what_is_mined_is_all_that_would_be_judged_enough():
    enough = {}
    for counter in range(512):
        nonce = b"prefix!!" + counter.to_bytes(8, "big")
        try:
            enough[nonce] = judge(CHAIN.claim(A, nonce, commitment=b"c" * 32), SPEC, SALT)
        except InvalidFact:
            continue
    assert {nonce: (slot, hill) for nonce, slot, hill in found()} == enough
    assert 30 < len(enough) < 100  # 64 are expected


def test_batches_join():
    assert found(512) == found(200) + found(312, start=200)


def test_work_is_bound_to_chain_epoch_peer_and_commitment():
    nonce, slot, hill = found()[0]
    claim = CHAIN.claim(A, nonce, commitment=b"c" * 32)
    assert judge(claim, SPEC, SALT) == (slot, hill)
    stolen = CHAIN.claim(B, nonce, commitment=b"c" * 32)
    moved = CHAIN.claim(A, nonce, commitment=b"d" * 32)  # ‡ the commitment is inside the work
    for other, other_salt in ((stolen, SALT), (moved, SALT), (claim, b"t" * 32)):
        assert naive_standing(other, other_salt) != (slot, hill)
    elsewhere = MiniChain(make_spec(2, small(difficulty_bits_min=3), name="other"))
    with pytest.raises(InvalidFact, match="another chain"):
        judge(elsewhere.claim(A, nonce), SPEC, SALT)
