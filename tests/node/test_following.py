"""What a node may start from, and what it keeps of a fork that it saw (protocol §10)."""

from pathlib import Path

import pytest

from consensus.effects import Halt
from consensus.ids import Checkpoint, Peer
from node.cli.output import as_node_error
from node.codes import Exit
from node.errors import ChainForked, CheckpointRefused, NodeError, TrustTooOld
from node.following import FORK_FILE, Trust
from node.store.chain import ChainData
from node.store.memory import MemoryStore
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_keys import peer_key

TRUST_MS = 60_000
OWNER, STRANGER = peer_key(0), peer_key(9)
CHAIN = MiniChain(make_spec(4, small(trust_ms=TRUST_MS)))
CHAIN.advance_to(3)


def stored(height: int) -> ChainData:
    """Headers are all that is looked at."""
    data = ChainData(MemoryStore(), chain=CHAIN.spec.id, spec=CHAIN.spec.raw)
    data.commit_genesis(CHAIN.headers[0].raw, {}, ())
    for at in range(1, height + 1):
        certificate = CHAIN.certificates[at]
        assert certificate is not None
        data.commit(
            height=at,
            header=CHAIN.headers[at].raw,
            body=CHAIN.block().body.raw,
            certificate=certificate.raw,
            bodies={},
            changes={},
            receipts=(),
        )
    return data


def time_of(height: int) -> int:
    return CHAIN.headers[height].fields.time_ms


def vouched(height: int, of: int | None = None) -> Checkpoint:
    return Checkpoint(CHAIN.headers[height].height, CHAIN.headers[height if of is None else of].id)


def start(
    height: int, clock_ms: int, checkpoint: Checkpoint | None = None, peer: Peer = STRANGER
) -> None:
    trust = Trust(CHAIN.spec, Path("/nowhere"), checkpoint)
    trust.check_start(stored(height), CHAIN.tables[height], peer, clock_ms)


@pytest.mark.parametrize(("height", "what"), [(0, "genesis"), (2, "height 2")])
def test_who_owns_nothing_starts_from_what_is_young(height: int, what: str) -> None:
    limit = time_of(height) + TRUST_MS
    start(height, limit)
    with pytest.raises(TrustTooOld, match=what) as caught:
        start(height, limit + 1)
    assert caught.value.exit is Exit.SAFETY and "--checkpoint" in caught.value.hint
    start(height, limit + 1, peer=OWNER)  # stands on what it certified itself


def test_a_checkpoint_ahead_is_judged_when_it_is_reached() -> None:
    late = time_of(0) + TRUST_MS + 1
    start(0, late, vouched(3))
    trust = Trust(CHAIN.spec, Path("/nowhere"), vouched(3))
    trust.check_passed(CHAIN.headers[2], 10**15)
    trust.check_passed(CHAIN.headers[3], time_of(3) + TRUST_MS)
    with pytest.raises(TrustTooOld):
        trust.check_passed(CHAIN.headers[3], time_of(3) + TRUST_MS + 1)


def test_a_checkpoint_behind_is_compared_with_what_is_stored() -> None:
    start(3, time_of(2) + TRUST_MS, vouched(2))
    with pytest.raises(TrustTooOld):
        start(3, time_of(2) + TRUST_MS + 1, vouched(2))
    for peer in (OWNER, STRANGER):
        with pytest.raises(CheckpointRefused) as caught:
            start(3, 0, vouched(2, of=3), peer)
        assert caught.value.exit is Exit.SAFETY


def test_where_trust_is_off_nothing_is_too_old() -> None:
    local = MiniChain(make_spec(4))
    trust = Trust(local.spec, Path("/nowhere"), None)
    data = ChainData(MemoryStore(), chain=local.spec.id, spec=local.spec.raw)
    data.commit_genesis(local.headers[0].raw, {}, ())
    trust.check_start(data, local.tables[0], STRANGER, 10**15)


# ---- forks --------------------------------------------------------------------------------------


def test_a_fork_is_kept_and_stops_every_start_until_a_checkpoint_decides(tmp_path: Path) -> None:
    Trust(CHAIN.spec, tmp_path, None).check_no_fork()
    first, second = CHAIN.certificates[2], CHAIN.certificates[3]
    assert first is not None and second is not None
    cause = "two certified blocks: one and two"
    halt = Halt(CHAIN.headers[2].height, first.block, cause, (first.raw, second.raw), forked=True)
    Trust(CHAIN.spec, tmp_path, None).keep_fork(halt)
    for checkpoint in (None, vouched(1)):
        with pytest.raises(ChainForked, match="height 2: two certified blocks") as caught:
            Trust(CHAIN.spec, tmp_path, checkpoint).check_no_fork()
        assert caught.value.exit is Exit.SAFETY
    for checkpoint in (vouched(2), vouched(3)):
        Trust(CHAIN.spec, tmp_path, checkpoint).check_no_fork()
    (tmp_path / FORK_FILE).write_text("{")
    with pytest.raises(ChainForked, match="cannot be read"):
        Trust(CHAIN.spec, tmp_path, None).check_no_fork()


def test_what_cannot_be_verified_has_codes_and_hints() -> None:
    from consensus.errors import CheckpointMissed, NotProvable, TrustExpired

    told: list[NodeError] = [
        as_node_error(error)
        for error in (NotProvable("probabilistic"), TrustExpired("old"), CheckpointMissed("other"))
    ]
    assert [(each.code, int(each.exit)) for each in told] == [
        ("not_provable", 1),
        ("trust", 7),
        ("checkpoint", 7),
    ]
    assert all(each.hint for each in told)
