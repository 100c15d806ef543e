"""Roots and proofs against trees that are rebuilt each time (wire §5, §6)."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import merkle
from consensus.errors import ConsensusError
from consensus.statemap import StateMap
from consensus.stateproof import Proof, verify_proof
from tests.naive import naive_trees

LEAVES = st.lists(st.binary(max_size=40), max_size=40)
KEYS = st.integers(0, 40).map(lambda number: b"key %d" % number) | st.binary(max_size=6)
CHANGES = st.lists(
    st.dictionaries(KEYS, st.none() | st.binary(max_size=8), max_size=12), max_size=6
)


def grown(batches: list[dict[bytes, bytes | None]]) -> tuple[StateMap, dict[bytes, bytes]]:
    tree, values = StateMap.empty(), dict[bytes, bytes]()
    for changes in batches:
        tree = tree.update(changes)
        values |= {key: value for key, value in changes.items() if value is not None}
        values = {key: value for key, value in values.items() if changes.get(key, b"") is not None}
    return tree, values


@given(LEAVES)
@settings(max_examples=25)
def test_list_roots(leaves: list[bytes]) -> None:
    assert merkle.root(leaves) == naive_trees.list_root(leaves)


def merkle_holds(root: bytes, leaf: bytes, index: int, count: int, path: list[Any]) -> bool:
    try:
        merkle.verify(root, leaf, index, count, path)
    except ConsensusError:
        return False
    return True


@given(LEAVES.filter(bool), st.data())
@settings(max_examples=25)
def test_list_paths(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, path = merkle.root(leaves), list(merkle.prove(leaves, index))
    assert path == naive_trees.list_path(leaves, index)
    at, count = data.draw(st.integers(0, 42)), data.draw(st.integers(0, 42))
    leaf = data.draw(st.sampled_from(leaves))
    other: Any = data.draw(st.sampled_from([path, path[1:], path[:-1], [*path, root], path[::-1]]))
    for claim in ((leaves[index], index, len(leaves), path), (leaf, at, count, other)):
        ours = merkle_holds(root, *claim)
        shown, place, total, way = claim
        naive = naive_trees.list_proves(root, shown, index=place, count=total, path=way)
        assert ours == naive
    assert merkle_holds(root, leaves[index], index, len(leaves), path)


@given(CHANGES)
@settings(max_examples=25)
def test_map_roots(batches: list[dict[bytes, bytes | None]]) -> None:
    tree, values = grown(batches)
    assert tree.root == naive_trees.map_root(values)
    assert StateMap.of(values.items()).root == tree.root


@given(CHANGES, KEYS, st.data())
@settings(max_examples=25)
def test_map_proofs(
    batches: list[dict[bytes, bytes | None]], key: bytes, data: st.DataObject
) -> None:
    tree, values = grown(batches)
    proof = tree.prove(key)
    assert verify_proof(tree.root, key, proof) == values.get(key)
    bodies, other = naive_trees.map_path(values, key)
    assert list(proof.bodies) == bodies
    assert (None if proof.other is None else tuple(proof.other)) == other
    judge_alike(tree.root, values, key, proof, data)


def judge_alike(
    root: bytes, values: Mapping[bytes, bytes], key: bytes, proof: Proof, data: st.DataObject
) -> None:
    """A proof about another key, with another value or other, or cut: both say the same."""
    asked = data.draw(KEYS | st.just(key))
    bodies = data.draw(
        st.sampled_from([proof.bodies, proof.bodies[:-1], proof.bodies[1:], proof.bodies * 2])
    )
    value = data.draw(st.sampled_from([proof.value, None, b"", *list(values.values())[:4]]))
    entry = (bytes(32), bytes(32))
    other: Any = data.draw(st.sampled_from([proof.other, None, entry]))
    changed = Proof(tuple(bodies), other, value)
    try:
        ours = verify_proof(root, asked, changed) == value
    except ConsensusError:
        ours = False
    naive = naive_trees.map_proves(root, asked, value, bodies=bodies, other=other)
    assert ours == naive
