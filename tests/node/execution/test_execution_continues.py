"""A chain that goes on from the state of one that stopped (protocol §10)."""

from dataclasses import replace
from pathlib import Path

import pytest

from consensus import transition
from consensus.block import Header
from consensus.certificates import Certificate
from consensus.errors import ContinuesMismatch, InvalidCertificate, NotProvable
from consensus.ids import Hash
from consensus.leaves import OWN_PREFIX
from consensus.spec import ChainSpec
from node.continuing import Stopped, draft, read_chain, read_stopped, snapshot_for
from node.errors import NotFound, SpecUnusable
from node.execution.genesis import Snapshot, continues, genesis, genesis_parent
from node.execution.keys import SEEN
from node.store.chain import ChainData
from node.store.lmdb import LmdbStore
from node.store.memory import MemoryStore
from tests.consensus.builders_keys import peer_key
from tests.node.execution.lab import ALICE, BOB, GENESIS_MS, MILLION, Lab, _all

NEW_OWNER = (peer_key(3), Hash(bytes(32)))


class Everything:
    """A verifier: the lab signs with zeros."""

    def __init__(self, verdict: bool = True) -> None:
        self.verdict = verdict

    def verify(self, key: bytes, signed: bytes, signature: bytes) -> bool:
        return self.verdict


@pytest.fixture(scope="module")
def lab() -> Lab:
    made = Lab()
    made.step(made.transfer(ALICE, BOB, 400))
    made.step(made.transfer(BOB, ALICE, 5), made.transfer(ALICE, BOB, 1))
    return made


def stopped(lab: Lab) -> Stopped:
    snapshot = Snapshot.of(lab.parent.header, _all(lab.parent.state))
    return Stopped(lab.spec, snapshot, continues(snapshot, lab.certificate()))


def spec_after(found: Stopped, **fields: object) -> ChainSpec:
    how = {"genesis_time_ms": GENESIS_MS + 10**9, "nonce": bytes(15) + b"n"}
    made = draft(found, **(how | fields))  # type: ignore[arg-type]
    return ChainSpec.of(made, [NEW_OWNER] * made.parameters.slots)


def test_the_new_chain_starts_with_the_same_balances_and_agents(lab: Lab) -> None:
    found = stopped(lab)
    spec = spec_after(found)
    outcome = genesis(spec, found.snapshot)
    ours = dict(_all(genesis_parent(spec, found.snapshot).state))
    gone = (OWN_PREFIX, SEEN)
    theirs = {k: v for k, v in found.snapshot.pairs.items() if not k.startswith(gone)}
    assert {k: v for k, v in ours.items() if not k.startswith(OWN_PREFIX)} == theirs
    assert any(key.startswith(SEEN) for key in found.snapshot.pairs), "or nothing is shown"
    own = {key for key in ours if key.startswith(OWN_PREFIX)}
    assert own == set(transition.genesis(spec)), "of the old slots nothing is left"
    assert own < {key for key in found.snapshot.pairs if key.startswith(OWN_PREFIX)}
    assert outcome.header.height == 0 and outcome.view.table.weights == {NEW_OWNER[0]: 4}
    assert outcome.view.previous is None and outcome.map.root == outcome.header.fields.state_root
    assert spec.id != lab.spec.id and spec.agent_named("token") == lab.spec.agent_named("token")
    again = Lab()
    again.spec, again.parent = spec, genesis_parent(spec, found.snapshot)
    assert [again.balance(who) for who in (ALICE, BOB)] == [lab.balance(w) for w in (ALICE, BOB)]
    assert again.balance(ALICE) + again.balance(BOB) < 2 * MILLION, "gas was burned"


def test_the_same_spec_and_state_make_the_same_genesis(lab: Lab) -> None:
    found = stopped(lab)
    spec = spec_after(found)
    shuffled = Snapshot.of(found.snapshot.header, reversed(list(found.snapshot.pairs.items())))
    assert genesis(spec, found.snapshot).header == genesis(spec, shuffled).header


def test_a_new_agent_is_made_and_an_old_one_is_not_made_again(lab: Lab) -> None:
    found = stopped(lab)
    spec = spec_after(found, new_agents=[("extra", "native:counter/1", b"\xa0")])
    parent = genesis_parent(spec, found.snapshot)
    before = len([key for key in found.snapshot.pairs if key.startswith(b"g/")])
    assert len([key for key, _ in _all(parent.state) if key.startswith(b"g/")]) > before


def test_a_state_of_another_root_is_refused(lab: Lab) -> None:
    found = stopped(lab)
    spec, pairs = spec_after(found), found.snapshot.pairs
    key = next(key for key in pairs if key.startswith(b"a/"))
    for bent in (pairs | {key: b"\x01"}, {k: v for k, v in pairs.items() if k != key}):
        with pytest.raises(ContinuesMismatch, match="does not have the root"):
            genesis(spec, Snapshot(found.snapshot.header, bent))
    other = ChainSpec.of(
        draft(
            replace_root(found, Hash(bytes(32))),
            genesis_time_ms=GENESIS_MS + 10**9,
            nonce=bytes(16),
        ),
        [NEW_OWNER] * 4,
    )
    with pytest.raises(ContinuesMismatch, match="does not have the root"):
        genesis(other, found.snapshot)


def replace_root(found: Stopped, root: Hash) -> Stopped:
    return found._replace(continues=found.continues._replace(state_root=root))


def test_block_and_certificate_belong_together(lab: Lab) -> None:
    found, certificate = stopped(lab), lab.certificate()
    header = found.snapshot.header
    twin = Header.of(header.fields._replace(gas_used=0))
    with pytest.raises(ContinuesMismatch, match="of another block"):
        continues(replace(found.snapshot, header=twin), certificate)
    with pytest.raises(ContinuesMismatch, match="of another block"):
        genesis(spec_after(found), replace(found.snapshot, header=twin))


def test_a_state_is_given_iff_the_chain_continues_one(lab: Lab) -> None:
    found = stopped(lab)
    with pytest.raises(ContinuesMismatch, match="its state is needed"):
        genesis(spec_after(found))
    with pytest.raises(ContinuesMismatch, match="it continues no chain"):
        genesis(lab.spec, found.snapshot)


def test_time_goes_on(lab: Lab) -> None:
    found = stopped(lab)
    at = found.snapshot.header.fields.time_ms
    genesis(spec_after(found, genesis_time_ms=at + 1), found.snapshot)
    with pytest.raises(ContinuesMismatch, match="not after the block"):
        genesis(spec_after(found, genesis_time_ms=at), found.snapshot)


# ---- from a node's folder -----------------------------------------------------------------------


def write(lab: Lab, data: ChainData) -> ChainData:
    """What a node of the lab's chain would have stored."""
    fresh = Lab()
    data.commit_genesis(fresh.parent.header.raw, dict(_all(fresh.parent.state)), ())
    for outcome in lab.outcomes:
        header = outcome.header
        last = header.id == lab.parent.header.id
        data.commit(
            height=header.height,
            header=header.raw,
            body=lab.build().block.body.raw if last and lab.build().block else _EMPTY,
            certificate=lab.certificate().raw if last else b"",
            bodies={},
            changes=outcome.changes,
            receipts=(),
        )
    return data


_EMPTY = b"\x86dbody\x01@\x80\x80\x80"


def test_the_state_of_a_stopped_node_is_read_from_its_folder(lab: Lab, tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "chain")
    write(lab, ChainData(store, chain=lab.spec.id, spec=lab.spec.raw))
    store.close()
    found = read_stopped(tmp_path, Everything())
    assert found == stopped(lab)
    spec = spec_after(found)
    snapshot = snapshot_for(spec, tmp_path, Everything())
    assert snapshot == found.snapshot
    genesis(spec, snapshot)
    assert snapshot_for(lab.spec, None, Everything()) is None
    with pytest.raises(SpecUnusable, match="its state is needed") as caught:
        snapshot_for(spec, None, Everything())
    assert "node.continues" in caught.value.hint
    with pytest.raises(NotFound):
        read_stopped(tmp_path / "elsewhere", Everything())
    with pytest.raises(SpecUnusable, match="does not verify"):
        read_stopped(tmp_path, Everything(verdict=False))


def test_a_chain_is_continued_from_a_certified_block_only(lab: Lab) -> None:
    data = ChainData(MemoryStore(), chain=lab.spec.id, spec=lab.spec.raw)
    data.commit_genesis(lab.parent.header.raw, {}, ())
    with pytest.raises(ContinuesMismatch, match="nothing to continue"):
        read_chain(data, lab.spec, Everything())
    stranger = Certificate.decode(lab.certificate().raw.replace(bytes(lab.peer), peer_key(5)))
    data = ChainData(MemoryStore(), chain=lab.spec.id, spec=lab.spec.raw)
    write(lab, data)
    stored = data.tip()
    assert stored is not None

    class Forged:
        state = data.state

        def tip(self) -> object:
            return stored._replace(certificate=stranger.raw)

    with pytest.raises(InvalidCertificate):
        read_chain(Forged(), lab.spec, Everything())  # type: ignore[arg-type]
    bare = replace(lab.spec, consensus="probabilistic")
    with pytest.raises(NotProvable):
        read_chain(data, bare, Everything())
