"""A sign record that is older than the chain it stands beside: seen in whatever block shows it."""

from __future__ import annotations

import pytest

from consensus.block import Block, Proposal
from consensus.certificates import Aggregate, Certificate
from consensus.events import Event, FactsReceived, ProposalReceived, VotesReceived
from consensus.facts import Fact
from consensus.ids import Peer, Signature
from consensus.signatures import CONFIRM
from node.errors import Exit, SignRecordOld
from node.recall import LOOK_BACK, Recall
from node.signer import Position
from node.store.chain import ChainData
from node.store.memory import MemoryStore
from tests.consensus.builders_chain import MiniChain, make_spec
from tests.consensus.builders_keys import peer_key

ME, OTHERS = peer_key(0), [peer_key(number) for number in (1, 2, 3)]
FRESH: Position = (0, 0, 2)


def recall(place: Position, peer: Peer = ME) -> Recall:
    return Recall(peer, lambda: place, where="sign.db")


class Chain:
    """Blocks of which each is certified by whom a test says."""

    def __init__(self) -> None:
        self.mini = MiniChain(make_spec(4))
        self.store = ChainData(MemoryStore(), chain=self.mini.spec.id, spec=self.mini.spec.raw)
        self.store.commit_genesis(self.mini.tip.raw, {}, ())

    def add(self, signers: list[Peer], *facts: Fact) -> tuple[Certificate, Block]:
        block = self.mini.block(facts=facts)
        header = self.mini.commit(block, signers)
        certificate = self.mini.certificates[-1]
        assert certificate is not None
        self.store.commit(
            height=header.height,
            header=header.raw,
            body=block.body.raw,
            certificate=certificate.raw,
            bodies={},
            changes={},
            receipts=(),
        )
        return certificate, block


def test_a_record_that_knows_the_newest_own_accept_is_good() -> None:
    chain = Chain()
    for _ in range(3):
        chain.add([ME, *OTHERS])
    chain.add(OTHERS)
    for place in ((3, 0, 2), (4, 0, 1), (9, 0, 0)):
        recall(place).check_stored(chain.store)
    recall(FRESH, peer_key(50)).check_stored(chain.store)


@pytest.mark.parametrize("place", [FRESH, (2, 7, 2), (3, 0, 1)])
def test_an_own_accept_in_a_stored_certificate(place: Position) -> None:
    chain = Chain()
    for _ in range(3):
        chain.add([ME, *OTHERS])
    for _ in range(3):
        chain.add(OTHERS)
    with pytest.raises(SignRecordOld, match=r"sign.db ends at .* height 3, round 0, acc") as found:
        recall(place).check_stored(chain.store)
    assert found.value.exit is Exit.SAFETY
    assert "delete" not in found.value.hint and "remove" not in found.value.hint


def test_an_own_accept_that_only_the_next_blocks_facts_show() -> None:
    chain = Chain()
    _, block = chain.add(OTHERS)
    assert block.height == 1
    chain.add(OTHERS, chain.mini.late(ME, chain.mini.tip))
    with pytest.raises(SignRecordOld, match="height 1, round 0, accept"):
        recall((1, 0, 1)).check_stored(chain.store)
    recall((1, 0, 2)).check_stored(chain.store)


def test_an_own_signature_that_evidence_shows() -> None:
    chain = Chain()
    chain.add([ME, *OTHERS])
    evidence = chain.mini.double_vote(ME, chain.mini.tip, round_=5)
    chain.add(OTHERS, evidence)
    place = (1, 0, 2)
    if max(evidence.first.round, evidence.second.round) == 5:
        with pytest.raises(SignRecordOld, match="height 1, round 5"):
            recall(place).check_stored(chain.store)
    recall((1, 5, 2)).check_stored(chain.store)


def test_a_block_that_comes_by_catch_up() -> None:
    chain = Chain()
    chain.add([ME, *OTHERS])
    certificate, block = chain.add([ME, *OTHERS])
    with pytest.raises(SignRecordOld, match="height 2"):
        recall((1, 0, 2)).check(certificate, block.body)
    with pytest.raises(SignRecordOld, match="height 1"):
        recall(FRESH).check(None, block.body)  # the parent's certificate is in the body


def test_a_start_looks_back_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain()
    chain.add([ME, *OTHERS])
    for _ in range(5):
        chain.add(OTHERS)
    assert LOOK_BACK > 1_000
    monkeypatch.setattr("node.recall.LOOK_BACK", 3)
    recall(FRESH).check_stored(chain.store)
    monkeypatch.setattr("node.recall.LOOK_BACK", 6)
    with pytest.raises(SignRecordOld):
        recall(FRESH).check_stored(chain.store)


# ---- gossip -------------------------------------------------------------------------------------


def gossip(chain: MiniChain) -> list[tuple[str, Event]]:
    """Whatever shows signatures of this key at height 1, round 0, and their newest phase."""
    block, other = chain.block(), chain.block(messages=2)
    header = block.header
    confirm = chain.accept(ME, header, phase=CONFIRM)
    confirms = [chain.accept(peer, header, phase=CONFIRM) for peer in (ME, *OTHERS)]
    facts: list[Fact | Aggregate] = [
        Aggregate.of(confirms),
        chain.late(ME, header),
        chain.double_vote(ME, header, phase=CONFIRM),
        chain.double_proposal(block, other, ME),
    ]
    phases = ("confirm", "accept", "confirm", "propose")
    found: list[tuple[str, Event]] = [("confirm", VotesReceived(((1, confirm),)))]
    found += [(name, FactsReceived(((1, fact),))) for name, fact in zip(phases, facts, strict=True)]
    proposal = Proposal.of(block, ME, Signature(bytes(64)))
    return [*found, ("propose", ProposalReceived(1, proposal, OTHERS[0]))]


@pytest.mark.parametrize("number", range(6))
def test_gossip_that_shows_a_newer_own_signature(number: int) -> None:
    name, event = gossip(MiniChain(make_spec(4)))[number]
    assert recall(FRESH).heard(event) == f"height 1, round 0, {name}"
    known = (1, 0, ("propose", "confirm", "accept").index(name))
    assert recall(known).heard(event) == "", "the record knows it"
    assert recall(FRESH, peer_key(50)).heard(event) == "", "of others"


def test_a_signature_that_is_asked_for_and_waits_is_none_yet() -> None:
    """The core is ahead of its record while it may not sign; the record is what counts."""
    chain = MiniChain(make_spec(4))
    header = chain.block().header
    place: list[Position] = [FRESH]
    found = Recall(ME, lambda: place[0], where="sign.db")
    assert found.unknown(chain.accept(ME, header)) == (1, 0, 2)
    place[0] = (1, 0, 2)
    assert found.unknown(chain.accept(ME, header)) is None
