"""Evidence: which counts, and what it does to slots and claims (protocol §4)."""

import pytest

from consensus import leaves
from consensus.errors import EncodingError, InvalidBlock
from consensus.ids import Height
from consensus.signatures import CONFIRM
from tests.consensus.builders_chain import MiniChain, make_spec, refuse, small
from tests.consensus.builders_keys import peer_key

PEERS = [peer_key(number) for number in range(4)]
A, B, C, D = PEERS
STRANGER = peer_key(9)
LAST = 8  # of epoch 0


@pytest.fixture
def chain():
    return MiniChain()


def burned(chain, at=2):
    """The chain after a block with evidence against D, in epoch 0."""
    chain.advance_to(at)
    chain.advance(chain.double_vote(D, chain.tip), *chain.renewing())
    return chain


def test_evidence_vacates_all_slots_of_a_key_in_the_next_table(chain):
    burned(chain)
    assert D in chain.view.table.weights  # tables never change in mid-epoch
    chain.advance_to(LAST)
    assert chain.tables[-1].weights == dict.fromkeys(sorted([A, B, C]), 3)


def test_two_proposals_for_one_slot_are_evidence_too(chain):
    one, other = chain.block(), chain.block(elapsed_ms=1001)
    proposer = chain.view.table.owners[one.header.fields.proposer_slot]
    double = chain.double_proposal(one, other, proposer)
    chain.advance(double, *chain.renewing())
    refuse(chain, "evidence once", chain.double_vote(proposer, chain.headers[1]))
    chain.advance_to(LAST)
    assert proposer not in chain.tables[-1].weights


def test_evidence_counts_once_per_peer_and_epoch(chain):
    burned(chain)
    refuse(chain, "evidence once", chain.double_vote(D, chain.headers[1]))
    refuse(chain, "evidence once", chain.double_vote(D, chain.headers[1], phase=CONFIRM))
    one = chain.double_vote(C, chain.headers[1])
    refuse(chain, "evidence once", one, one)


def test_evidence_is_of_this_chain_and_names_its_epoch(chain):
    chain.advance()
    elsewhere = MiniChain(make_spec(4, name="other"))
    refuse(chain, "evidence chain", chain.double_vote(D, chain.tip, chain=elsewhere.spec.id))
    refuse(chain, "evidence epoch", chain.double_vote(D, chain.tip, epoch=1))
    refuse(chain, "evidence epoch", chain.double_vote(D, chain.tip, epoch=1, height=9))
    with pytest.raises(EncodingError, match="a height of 1"):
        chain.double_vote(D, chain.tip, height=Height(0))
    refuse(chain, "evidence owner", chain.double_vote(STRANGER, chain.tip))


def grow(chain, height):
    """All owners renew in each epoch, so that the table stays."""
    while chain.height < height:
        first = chain.height % LAST == 0
        chain.advance(*(chain.renewing() if first else ()))


@pytest.mark.parametrize(("height", "allowed"), [(3 * LAST - 1, True), (3 * LAST, False)])
def test_evidence_is_not_older_than_two_epochs(chain, height, allowed):
    grow(chain, height)
    evidence = chain.double_vote(D, chain.headers[5])
    if allowed:
        chain.advance(evidence)
    else:
        refuse(chain, "evidence age", evidence)


@pytest.mark.parametrize(("evidence_ms", "allowed"), [(2001, True), (2000, False), (1000, False)])
def test_evidence_is_not_older_than_evidence_ms(evidence_ms, allowed):
    chain = MiniChain(make_spec(4, small(evidence_ms=evidence_ms)))
    grow(chain, LAST + 1)  # 1,000 ms after the end of epoch 0
    evidence = chain.double_vote(D, chain.headers[5])
    block = chain.block(facts=[evidence], elapsed_ms=1001)
    if allowed:
        chain.commit(block)
    else:
        with pytest.raises(InvalidBlock, match="evidence age"):
            chain.changes(block)


def test_evidence_of_the_epoch_before_last_is_measured_from_its_end():
    chain = MiniChain(make_spec(4, small(evidence_ms=9000)))
    grow(chain, 2 * LAST)
    chain.changes(chain.block(facts=[chain.double_vote(D, chain.headers[5])]))  # 9,000 ms
    with pytest.raises(InvalidBlock, match="evidence age"):
        chain.changes(chain.block(facts=[chain.double_vote(D, chain.headers[5])], elapsed_ms=1001))


def test_claims_of_a_burned_key_are_void_for_that_table_and_two_more(chain):
    (_, claim), *_ = chain.mine(D, slot=0)
    renewals = chain.renewing()
    chain.advance(claim, *renewals)
    chain.advance(chain.double_vote(D, chain.headers[1]))
    chain.advance_to(LAST)
    assert D not in chain.tables[-1].weights  # a claim that was included before counts no more
    for epoch in (1, 2):
        refuse(chain, "claim void", chain.mine(D, slot=0)[0][1])
        chain.advance(*chain.renewing())
        chain.advance_to((epoch + 1) * LAST)
        assert D not in chain.tables[-1].weights
    assert chain.state.scan(leaves.EVIDENCE_PREFIX) == []
    chain.advance(chain.mine(D, slot=0)[0][1], *chain.renewing())
    chain.advance_to(4 * LAST)
    assert D in chain.tables[-1].weights


def test_a_claim_after_evidence_in_the_same_block_is_void(chain):
    chain.advance()
    (_, claim), *_ = chain.mine(D, slot=0)
    refuse(chain, "claim void", chain.double_vote(D, chain.tip), claim)


def test_evidence_against_everybody_leaves_the_table_as_it_was(chain):
    chain.advance(*chain.renewing())
    chain.advance(*[chain.double_vote(peer, chain.headers[1]) for peer in PEERS])
    chain.advance_to(LAST)
    assert chain.tables[-1].owners == chain.tables[0].owners
    chain.advance(*chain.renewing([A, B, C]))
    chain.advance_to(2 * LAST)  # the offences took effect once, now renewals decide
    assert list(chain.tables[-1].weights) == sorted([A, B, C])
