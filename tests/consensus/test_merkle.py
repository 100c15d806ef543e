"""Merkle roots and paths against RFC 6962's recursive definition, written again (protocol §8)."""

import hashlib

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import merkle
from consensus.errors import InvalidProof

LEAVES = st.lists(st.binary(max_size=40), max_size=40)


def sha(value) -> bytes:
    return hashlib.sha256(dag_cbor.encode(value)).digest()


def tree(leaves):
    """RFC 6962 §2.1: split at the greatest power of two below the count."""
    if not leaves:
        return None
    if len(leaves) == 1:
        return sha(["leaf", leaves[0]])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha(["node", tree(leaves[:split]), tree(leaves[split:])])


def naive_root(leaves) -> bytes:
    return sha(["root", len(leaves), tree(leaves)])


@given(LEAVES)
def test_roots_agree_with_the_definition(leaves):
    assert merkle.root(leaves) == naive_root(leaves)


@pytest.mark.parametrize("count", [*range(1, 20), 31, 32, 33, 64, 100])
def test_every_leaf_is_proven_at_its_place_only(count):
    leaves = [b"leaf %d" % (index % 7) for index in range(count)]  # equal leaves among them
    root = merkle.root(leaves)
    for index, leaf in enumerate(leaves):
        path = merkle.prove(leaves, index)
        merkle.verify(root, leaf, index, count, path)
        for other in {0, index - 1, index + 1, index ^ 1, count - 1, count} - {index}:
            with pytest.raises(InvalidProof):
                merkle.verify(root, leaf, other, count, path)
        for other in (count - 1, count + 1, 2 * count):
            with pytest.raises(InvalidProof):
                merkle.verify(root, leaf, index, other, path)


@given(LEAVES.filter(bool), st.data())
def test_any_flipped_bit_is_refused(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    leaves[index] += b"."  # an empty leaf has no bit to flip
    parts = [merkle.root(leaves), leaves[index], *merkle.prove(leaves, index)]
    merkle.verify(parts[0], parts[1], index, len(leaves), parts[2:])
    which = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 8 * len(parts[which]) - 1))
    changed = bytearray(parts[which])
    changed[bit // 8] ^= 1 << bit % 8
    parts[which] = bytes(changed)
    with pytest.raises(InvalidProof):
        merkle.verify(parts[0], parts[1], index, len(leaves), parts[2:])


def test_a_path_of_another_length_is_refused():
    leaves = [b"a", b"b", b"c"]
    root, path = merkle.root(leaves), merkle.prove(leaves, 0)
    for other in (path[:-1], (*path, bytes(32)), (), (path[0][:31], path[1]), (bytes(32),) * 33):
        with pytest.raises(InvalidProof, match="merkle path"):
            merkle.verify(root, b"a", 0, 3, other)


def test_a_node_is_no_leaf():
    leaves = [b"a", b"b"]
    inner = dag_cbor.encode(["node", sha(["leaf", b"a"]), sha(["leaf", b"b"])])
    assert merkle.root([inner]) != merkle.root(leaves)
    with pytest.raises(InvalidProof):
        merkle.verify(merkle.root(leaves), inner, 0, 1, ())


def test_roots_bind_the_count():
    assert merkle.root([]) == naive_root([])
    assert len({merkle.root([b""] * count) for count in range(50)}) == 50


def test_there_is_no_proof_of_what_is_not_there():
    for leaves, index in (([], 0), ([b"a"], 1), ([b"a"], -1)):
        with pytest.raises(IndexError):
            merkle.prove(leaves, index)
