"""Crash and restart at every durable step in turn; and the faults of a record that it finds."""

import pytest

from consensus.ids import BlockId, ChainId, Peer, content_id
from consensus.signing import ACCEPT, SignRecord
from testnet.sim.cluster import Cluster
from testnet.sim.cycles import crash_cycles
from testnet.sim.faults import POINTS
from testnet.sim.history import holds_lock
from testnet.sim.keys import SimSigner
from tests.sim.planted_signers import (
    ForgetfulSigner,
    LateSigner,
    LocklessSigner,
    StaleSigner,
    signers,
    unchecked_places,
)


def test_a_crash_at_each_step_in_turn_signs_nothing_twice() -> None:
    found = crash_cycles(40)
    assert found.cycles == 40 and found.failures == []
    assert found.heights >= 1 and found.signatures >= 12
    assert crash_cycles(40).points == found.points, "the same seed, the same crashes"


@pytest.mark.slow
def test_all_steps_and_moments_with_locks() -> None:
    found = crash_cycles(300, seed=3)  # of slow links
    assert found.failures == [] and found.heights >= 12
    missing = [p for p in POINTS if p[0] != "Remember" and found.points.get(p, 0) < 5]
    assert missing == []
    assert found.locked_restarts >= 30


@pytest.mark.slow
@pytest.mark.parametrize("kind", [LateSigner, ForgetfulSigner, StaleSigner])
def test_cycles_find_a_record_that_forgets_by_what_is_signed(kind: type[SimSigner]) -> None:
    found = crash_cycles(600, seed=1, plant=signers(kind))
    assert any("signed" in failure.text for _, failure in found.failures), found


def test_cycles_find_a_lock_that_is_lost_when_the_node_starts() -> None:
    def plant(cluster: Cluster) -> None:
        for host in cluster.hosts.values():
            host.signer_class = LocklessSigner

    found = crash_cycles(600, seed=1, plant=plant)
    assert any("lock lost" in failure.text for _, failure in found.failures), found


@pytest.mark.slow
def test_cycles_find_a_place_that_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    unchecked_places(monkeypatch)
    found = crash_cycles(600, seed=1, plant=signers(SimSigner))
    assert any(failure.checker == "history" for _, failure in found.failures), found


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1_000, 10_000, 1_000))
def test_cycles_by_the_thousand(seed: int) -> None:
    found = crash_cycles(1_200, seed=seed)
    assert (found.failures, found.cycles) == ([], 1_200)


# ---- what a lost lock is ------------------------------------------------------------------------


def test_a_newer_lock_whose_signature_was_cut_off_is_no_lost_lock() -> None:
    """Seed 2011 of the storm: the record of an accept was durable, the power went, nobody heard."""
    one, other = (BlockId(content_id(name)) for name in (b"one", b"other"))
    lock = (4, one, 1)
    fresh = SignRecord.fresh(ChainId(content_id(b"chain")), Peer(bytes(32)))
    held = fresh.with_lock(4, one, 1)
    newer = held.with_lock(4, other, 2)
    assert not holds_lock(fresh, lock) and not holds_lock(fresh.with_lock(4, one, 0), lock)
    assert holds_lock(held, lock) and not holds_lock(fresh.with_lock(4, other, 1), lock)
    assert not holds_lock(newer, lock), "no accept of that round stands in it"
    assert holds_lock(newer.with_own(4, 2, ACCEPT, b"an accept"), lock)
    assert holds_lock(fresh.with_lock(5, other, 0), lock), "decided, and the chain was lost"
