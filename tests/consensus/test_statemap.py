"""The state map against the definition of its tree, written again recursively (protocol §8)."""

import hashlib
import random

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import EncodingError, InvalidProof
from consensus.statemap import EMPTY_ROOT, Proof, StateMap, verify_proof


def sha(raw) -> bytes:
    return hashlib.sha256(raw).digest()


def grind(prefix: str, count: int) -> list[bytes]:
    """Keys whose paths begin with the hex digits `prefix`: deep nodes in small maps."""
    found, number = [], 0
    while len(found) < count:
        key = b"k%d" % number
        if sha(key).hex().startswith(prefix):
            found.append(key)
        number += 1
    return found


NEAR = grind("a1b", 4) + grind("a1", 3) + grind("a", 3) + grind("5", 2)
KEYS = st.sampled_from(NEAR) | st.binary(max_size=2)
VALUES = st.binary(max_size=3)
BATCHES = st.lists(st.dictionaries(KEYS, st.none() | VALUES, max_size=12), min_size=1, max_size=5)


def naive_node(entries, depth):
    """Body of the node over `entries`, which share their first `depth` nibbles."""
    bitmap, digests = 0, b""
    for child in range(16):
        below = [entry for entry in entries if int(entry[0].hex()[depth], 16) == child]
        if not below:
            continue
        bitmap |= 1 << child
        if len(below) == 1:
            digests += sha(dag_cbor.encode(["leaf", *below[0]]))
        else:
            digests += sha(dag_cbor.encode(["node", naive_node(below, depth + 1)]))
    return bitmap.to_bytes(2, "big") + digests


def naive_root(values) -> bytes:
    entries = [(sha(key), sha(value)) for key, value in values.items()]
    return sha(dag_cbor.encode(["node", naive_node(entries, 0)]))


def merged(values, changes):
    return {key: value for key, value in (values | changes).items() if value is not None}


def check(state: StateMap, values) -> None:
    assert state.root == naive_root(values)
    for key in [*NEAR, *values, b"never"]:
        assert state.get(key) == values.get(key)
        proof = state.prove(key)
        assert verify_proof(state.root, key, proof) == values.get(key)
        assert Proof.decode(proof.encode()) == proof


def test_the_empty_map():
    assert StateMap.empty().root == EMPTY_ROOT == naive_root({})
    check(StateMap.empty(), {})


@given(BATCHES)
def test_every_batch_leads_to_the_root_of_the_definition(batches):
    state, values = StateMap.empty(), {}
    for changes in batches:
        state, values = state.update(changes), merged(values, changes)
        check(state, values)
    assert StateMap.of(values.items()).root == state.root


@given(BATCHES, BATCHES, st.integers(0, 2**32))
def test_versions_never_change_whatever_is_built_on_them(first, second, seed):
    """A tree of candidates, asked and extended in any order, answers as if each were alone."""
    dice = random.Random(seed)
    versions = [(StateMap.empty(), {})]
    for changes in first + second:
        state, values = dice.choice(versions)
        versions.append((state.update(changes), merged(values, changes)))
        dice.choice(versions)[0].prove(dice.choice(NEAR))
    dice.shuffle(versions)
    for state, values in versions:
        for key in NEAR:
            assert state.get(key) == values.get(key)
    for state, values in versions:
        check(state, values)


def test_a_thousand_random_changes_in_batches():
    dice = random.Random(7)
    state, values = StateMap.empty(), {}
    keys = [b"account %d" % number for number in range(400)]
    for _ in range(30):
        changes = {}
        for key in dice.sample(keys, 40):
            changes[key] = None if dice.random() < 0.4 else dice.randbytes(8)
        state, values = state.update(changes), merged(values, changes)
        assert state.root == naive_root(values)
    gone = state.update(dict.fromkeys(keys))
    assert gone.root == EMPTY_ROOT
    check(state, values)


def test_nothing_changes_with_nothing():
    state = StateMap.of([(b"a", b"1"), (b"b", b"2")])
    assert state.update({}).root == state.root
    assert state.update({b"absent": None}).root == state.root
    assert state.update({b"a": b"1"}).root == state.root


def test_losing_candidates_leave_no_trace():
    parent = StateMap.of([(key, b"0") for key in NEAR])
    candidates = [parent.update({key: b"%d" % number}) for number, key in enumerate(NEAR)]
    winner = candidates[3].update({NEAR[0]: b"next"})
    expected = dict.fromkeys(NEAR, b"0") | {NEAR[3]: b"3", NEAR[0]: b"next"}
    check(winner, expected)
    late = candidates[5].update({NEAR[1]: None})
    check(late, merged(dict.fromkeys(NEAR, b"0"), {NEAR[5]: b"5", NEAR[1]: None}))
    check(winner, expected)


# ---- proofs -------------------------------------------------------------------------------------

SMALL = {key: b"value of " + key for key in NEAR}
SMALL_MAP = StateMap.of(SMALL.items())
EMPTY_PLACE = next(key for key in (b"e%d" % n for n in range(99)) if not SMALL_MAP.prove(key).other)
OTHER_THERE = next(key for key in (b"o%d" % n for n in range(999)) if SMALL_MAP.prove(key).other)


@pytest.mark.parametrize("key", [NEAR[0], NEAR[-1], EMPTY_PLACE, OTHER_THERE], ids=str)
def test_any_flipped_bit_of_a_proof_is_refused(key):
    raw = SMALL_MAP.prove(key).encode()
    truth = SMALL.get(key)
    assert verify_proof(SMALL_MAP.root, key, Proof.decode(raw)) == truth
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((EncodingError, InvalidProof)):
            verify_proof(SMALL_MAP.root, key, Proof.decode(bytes(changed)))


def test_any_flipped_bit_of_the_root_is_refused():
    for key in (NEAR[0], EMPTY_PLACE, OTHER_THERE):
        proof = SMALL_MAP.prove(key)
        for bit in range(256):
            root = bytearray(SMALL_MAP.root)
            root[bit // 8] ^= 1 << bit % 8
            with pytest.raises(InvalidProof):
                verify_proof(bytes(root), key, proof)


@given(st.sampled_from([*NEAR, EMPTY_PLACE, OTHER_THERE]), KEYS)
def test_a_proof_never_lies_about_another_key(key, other):
    try:
        proven = verify_proof(SMALL_MAP.root, other, SMALL_MAP.prove(key))
    except InvalidProof:
        return
    assert proven == SMALL.get(other)


def test_presence_cannot_be_shown_as_absence():
    present = SMALL_MAP.prove(NEAR[0])
    leaf = (sha(NEAR[0]), sha(SMALL[NEAR[0]]))
    for forged in (
        Proof(present.bodies, None, None),
        Proof(present.bodies, leaf, None),
        Proof(present.bodies[:-1], leaf, None),
        Proof(present.bodies[:-1], None, None),
        Proof((), None, None),
        Proof((b"", *present.bodies), None, None),
        Proof((bytes(2), *present.bodies), None, None),
        Proof(present.bodies * 30, None, None),
    ):
        with pytest.raises(InvalidProof):
            verify_proof(SMALL_MAP.root, NEAR[0], forged)


def test_absence_cannot_be_shown_as_presence():
    for key in (EMPTY_PLACE, OTHER_THERE):
        absent = SMALL_MAP.prove(key)
        for value in (b"", b"1", SMALL[NEAR[0]]):
            with pytest.raises(InvalidProof):
                verify_proof(SMALL_MAP.root, key, Proof(absent.bodies, None, value))


def test_a_proof_with_a_value_and_another_entry_is_refused():
    proof = SMALL_MAP.prove(OTHER_THERE)
    with pytest.raises(EncodingError, match="another entry"):
        Proof.decode(Proof(proof.bodies, proof.other, b"x").encode())


@pytest.mark.parametrize("body", [b"", b"\x00", b"\xff", bytes(2), bytes(34), bytes(600)])
def test_bodies_of_another_length_are_refused(body):
    with pytest.raises(InvalidProof, match="state node"):
        verify_proof(SMALL_MAP.root, b"a", Proof((body,), None, None))
