"""Order, hill, randomness, gas, certificates: single rules against a second writing of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import claims, facts, proposers
from consensus.block import Block
from consensus.certificates import Certificate
from consensus.encoding import decode, encode
from consensus.errors import ConsensusError
from consensus.ids import Peer
from consensus.parameters import Parameters
from consensus.tables import Table
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_keys import peer_key
from tests.naive import naive_cbor, naive_rules, naive_table
from tests.naive.naive_lab import agreed, naive_spec

HASHES = st.binary(min_size=32, max_size=32)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def taken(raw: bytes) -> tuple[bool, object]:
    try:
        return True, decode(raw, max_bytes=10**6)
    except ConsensusError:
        return False, None


def naively(raw: bytes) -> tuple[bool, object]:
    try:
        return True, naive_cbor.decode(raw)
    except naive_cbor.Bad:
        return False, None


@given(VALUES)
@settings(max_examples=40)
def test_values_encode_alike(value: object) -> None:
    try:
        raw = encode(value)
    except ConsensusError:
        with pytest.raises(naive_cbor.Bad):
            naive_cbor.encode(value)
        return
    assert raw == naive_cbor.encode(value)
    assert naively(raw) == taken(raw)


@given(VALUES, st.data())
@settings(max_examples=50)
def test_broken_bytes_are_judged_alike(value: object, data: st.DataObject) -> None:
    try:
        raw = bytearray(encode(value))
    except ConsensusError:
        return
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw)))
        piece = data.draw(st.binary(max_size=3))
        raw[place : place + data.draw(st.integers(0, 3))] = piece
    assert naively(bytes(raw)) == taken(bytes(raw))


@given(st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=30), HASHES, st.integers(1, 9))
@settings(max_examples=15)
def test_proposers_stand_in_the_same_order(
    owners: list[int | None], randomness: bytes, height: int
) -> None:
    if not any(owner is not None for owner in owners):
        return
    peers: list[Peer | None] = [None if owner is None else peer_key(owner) for owner in owners]
    table, naive = Table.of(3, peers), naive_table.Table(3, tuple(peers))
    assert table.hash == naive.hash
    for round_ in (0, 1, 7):
        for committed in ([], naive.peers[:1], naive.peers):
            ours = proposers.ranking(
                table,
                randomness=randomness,
                height=height,
                round=round_,
                ranked=[Peer(peer) for peer in committed],
            )
            order = naive_table.ranking(
                naive, committed, randomness=randomness, height=height, round_=round_
            )
            assert list(ours) == order


@given(HASHES, HASHES, st.binary(min_size=16, max_size=16), st.integers(1, 600))
@settings(max_examples=15)
def test_claims_stand_alike(salt: bytes, commitment: bytes, nonce: bytes, slots: int) -> None:
    chain, peer = make_spec().id, peer_key(1)
    digest = facts.claim_digest(
        chain=chain, salt=salt, peer=peer, nonce=nonce, commitment=commitment
    )
    slot, height = naive_table.stand(chain, salt, peer, nonce, commitment=commitment, slots=slots)
    assert facts.claimed_slot(digest, slots) == slot
    assert facts.hill_height(digest) == int.from_bytes(height, "big")
    ones = naive_table.leading_ones(height)
    assert facts.hill_height(digest) >= claims.hill_minimum(ones)
    assert ones == 192 or facts.hill_height(digest) < claims.hill_minimum(ones + 1)


@given(HASHES, st.none() | HASHES)
@settings(max_examples=20)
def test_randomness(before: bytes, reveal: bytes | None) -> None:
    assert proposers.next_randomness(before, reveal) == naive_cbor.hashed("random", before, reveal)


def test_gas_of_rounds() -> None:
    for parameters in (Parameters.public(), Parameters.local(gas_floor=1)):
        names = parameters.to_value()
        for round_ in (*range(30), 65_535):
            assert parameters.gas(9, round_) == naive_rules.gas_limit(names, round_)


def test_ids_of_spec_and_seed() -> None:
    spec = make_spec(3)
    assert naive_spec(spec).id == spec.id
    assert naive_spec(spec).seed == spec.seed


# ---- certificates -------------------------------------------------------------------------------


@pytest.mark.parametrize("round_", [0, 1, 2, 65_535])
@pytest.mark.parametrize("signers", range(7))
def test_certificates_by_round_and_weight(round_: int, signers: int) -> None:
    """Six owners, two slots each: five are a quorum, four are exactly two thirds."""
    chain = MiniChain(make_spec(6, small(slots=12)))
    chain.advance(round=1)
    votes = [
        chain.accept(peer, chain.tip, round_=round_)
        for peer in list(chain.view.table.weights)[:signers]
    ]
    if not votes:
        return
    chain.certificates[-1] = Certificate.of(votes)
    verdict = agreed(chain, chain.block())
    assert (verdict.broken is None) == (signers >= 5)


def test_certificates_across_epochs() -> None:
    """The first block of an epoch shows accepts under the table before, no other does."""
    chain = MiniChain(make_spec(4, small(turnover_max=12)))
    stranger = peer_key(9)
    _, claim = chain.mine(stranger)[-1]
    chain.advance(claim, *chain.renewing())
    chain.advance_to(8)
    before = chain.view.previous
    assert before is not None and stranger not in before.weights
    assert stranger in chain.view.table.weights
    said = []
    for _ in range(2):
        for signers in (chain.view.table.weights, before.weights):
            chain.certificates[-1] = chain.certify(chain.tip, signers)
            said.append(judged(chain, chain.block()))
        chain.certificates[-1] = chain.certify(
            chain.tip, before.weights if len(said) == 2 else chain.view.table.weights
        )
        chain.advance()
    assert said == ["signer owns nothing", None, None, None]


def judged(chain: MiniChain, block: Block) -> str | None:
    return agreed(chain, block).broken
