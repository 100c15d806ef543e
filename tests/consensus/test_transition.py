"""What blocks do to tables, chains and claims: every rule on facts of protocol §4."""

import dag_cbor
import pytest

from consensus import leaves, transition
from consensus.claims import salt
from consensus.errors import EncodingError, InvalidBlock
from consensus.facts import LateAccept
from consensus.proposers import ChainState
from consensus.state import MemoryState, Overlay
from consensus.tables import Bid
from tests.consensus.builders_chain import MiniChain, links, make_spec, refuse, small
from tests.consensus.builders_keys import KeyedVerifier, account_key, peer_key

PEERS = [peer_key(number) for number in range(4)]
A, B, C, D = PEERS
STRANGER = peer_key(9)
LAST = 8  # of epoch 0: epochs of 8 blocks, the last 2 closed for claims


@pytest.fixture
def chain():
    return MiniChain()


# ---- genesis ------------------------------------------------------------------------------------


def test_genesis_deals_table_chains_and_balances():
    balances = ((account_key(0), 1000), (account_key(1), 5))
    spec = make_spec(4, genesis_balances=balances)
    state = transition.genesis(spec)
    for account, amount in balances:
        assert state[b"a/" + account] == dag_cbor.encode(amount)
    view = transition.view(spec, MemoryState(state), 0)
    assert (view.height, view.epoch, view.previous) == (1, 0, None)
    assert view.table == spec.genesis_table()
    assert dict(view.chains) == {
        peer: ChainState(links(spec.seed, spec.parameters, peer, 0)[0], 0) for peer in PEERS
    }
    assert view.salt_next == salt(spec.seed, 1, b"")
    assert view.claim_open and view.ranked and not view.alive


# ---- an ordinary block --------------------------------------------------------------------------


def test_an_ordinary_block_writes_two_leaves(chain):
    chain.advance()
    chain.advance()
    block = chain.block()
    assert list(chain.changes(block)) == [leaves.CHAINS_KEY]
    chain.commit(block)
    owner = chain.tables[0].owners[block.header.fields.proposer_slot]
    assert chain.view.chains[owner] == (block.header.fields.reveal, 3)


def test_a_reveal_may_skip_links_that_others_used_up(chain):
    for _ in range(6):
        chain.advance()
    numbers = [state.number for state in chain.view.chains.values()]
    assert sum(1 for number in numbers if number) < 6  # somebody proposed twice
    assert max(numbers) == 6


# ---- the epoch ----------------------------------------------------------------------------------


def test_the_table_changes_with_the_last_block_of_an_epoch(chain):
    chain.advance(*chain.renewing())
    chain.advance_to(LAST - 1)
    assert chain.tables[-1].epoch == 0
    chain.advance()
    first, second = chain.tables[0], chain.tables[-1]
    assert (second.epoch, second.owners) == (1, first.owners)
    assert chain.headers[-1].fields.next_table == second.hash  # Table_0 certifies Table_1
    view = chain.view
    assert (view.table, view.previous) == (second, first)
    assert dict(view.chains) == {peer: (chain.commitment(peer, 1), 0) for peer in PEERS}
    assert not view.alive


def test_the_block_after_the_boundary_carries_a_certificate_of_the_table_before():
    chain = MiniChain(make_spec([A] * 3 + [STRANGER], small(slots=4)))
    chain.advance(*chain.renewing([A]))
    chain.advance_to(LAST)
    assert chain.tables[-1].owners == (A, A, A, None)  # the stranger did not renew
    block = chain.block()
    chain.check(block)
    certificate = block.body.certificate()
    assert certificate is not None and certificate.epoch == 0
    assert STRANGER in dict(certificate.signatures)
    chain.commit(block)
    assert chain.view.alive == {A}  # a signer without slots in this epoch needs no proof of life


def test_claims_for_the_epoch_are_dropped_and_commitments_soon_after(chain):
    chain.advance(*chain.renewing())
    chain.advance(*[claim for _, claim in chain.mine(STRANGER, slot=0)[:1]])
    assert len(chain.state.scan(leaves.CLAIMS_PREFIX)) == 1
    assert len(chain.state.scan(leaves.COMMITMENTS_PREFIX)) == 5
    chain.advance_to(LAST)
    assert chain.state.scan(leaves.CLAIMS_PREFIX) == []
    chain.advance()
    assert chain.state.scan(leaves.COMMITMENTS_PREFIX) == []


def test_a_flood_of_commitments_is_dropped_in_portions_before_the_epoch_ends():
    spec = make_spec(4, small(facts_max=8, slots=12))
    chain = MiniChain(spec)
    strangers = [peer_key(100 + number) for number in range(48)]
    for start in range(0, 48, 8):  # each epoch takes 6 blocks of 8 facts
        bids: dict[int, object] = {}
        for peer in strangers[start : start + 8]:
            best = transition.best_claims(spec, chain.state)
            for found, claim in chain.mine(peer):
                above = found.slot not in best or found.hill > best[found.slot].hill
                if above and found.slot not in bids:
                    bids[found.slot] = claim
                    break
        chain.advance(*bids.values())
    held = len(chain.state.scan(leaves.COMMITMENTS_PREFIX))
    assert held > 24
    chain.advance_to(LAST)
    counts = []
    while chain.height < 2 * LAST:
        block = chain.block()
        dropped = [key for key in chain.changes(block) if key.startswith(leaves.COMMITMENTS_PREFIX)]
        counts.append(len(dropped))
        chain.commit(block)
    assert max(counts) == 8 and sum(counts) == held
    assert chain.state.scan(leaves.COMMITMENTS_PREFIX) == []


def test_the_salt_comes_from_the_last_block_of_the_epoch_before_last():
    chain = MiniChain()
    assert chain.view.salt_next == salt(chain.spec.seed, 1, b"")
    chain.advance(*chain.renewing())
    chain.advance_to(LAST + 1)
    randomness = chain.headers[LAST].fields.randomness
    assert chain.view.salt_next == salt(chain.spec.seed, 2, randomness)
    chain.advance(*chain.renewing())
    assert chain.view.salt_next == salt(chain.spec.seed, 2, randomness)
    chain.advance_to(2 * LAST)
    randomness = chain.headers[2 * LAST].fields.randomness
    assert chain.view.salt_next == salt(chain.spec.seed, 3, randomness)


def test_the_turnover_counts_the_time_of_this_epoch_alone():
    parameters = small(turnover_interval_ms=4000, turnover_max=12)
    owners = [A] * 6 + [B] * 6
    chain = MiniChain(make_spec(owners, parameters))
    chain.advance(*chain.renewing([A]))  # B does not renew
    chain.advance_to(LAST)  # 8 blocks of 1,000 ms
    assert chain.tables[-1].weights[B] == 4
    chain.advance(*chain.renewing([A]), elapsed_ms=1)
    chain.advance_to(2 * LAST, elapsed_ms=1)  # 8 ms
    assert chain.tables[-1].weights[B] == 3


# ---- claims -------------------------------------------------------------------------------------


def test_a_claim_takes_its_slot_in_the_next_table(chain):
    (found, claim), *_ = chain.mine(STRANGER, slot=5)
    chain.advance(claim, *chain.renewing())
    assert transition.best_claims(chain.spec, chain.state) == {5: Bid(STRANGER, found.hill)}
    chain.advance_to(LAST)
    assert chain.tables[-1].owners[5] == STRANGER
    assert chain.view.chains[STRANGER] == (chain.commitment(STRANGER, 1), 0)


def test_a_higher_claim_replaces_a_lower_one_and_an_equal_or_lower_is_refused(chain):
    (_, low), (_, high), *_ = chain.mine(STRANGER, slot=5)
    chain.advance(high)
    refuse(chain, "claim height", low)
    refuse(chain, "claim height", high)  # ties: first included
    other = MiniChain()
    other.advance(low)
    other.advance(high)
    assert transition.best_claims(other.spec, other.state)[5].peer == STRANGER


def test_one_claim_per_slot_and_block(chain):
    (_, low), (_, high), *_ = chain.mine(STRANGER, slot=5)
    refuse(chain, "one claim per slot", low, high)


def test_claims_close_before_the_epoch_does(chain):
    chain.advance_to(5)
    (_, claim), *_ = chain.mine(STRANGER, slot=5)
    renew = chain.renew(A)
    chain.changes(chain.block(facts=[claim, renew]))  # block 6 is the last that may
    chain.advance()
    assert not chain.view.claim_open and chain.view.salt_next is None
    refuse(chain, "claim_close", claim)
    refuse(chain, "claim_close", renew)


@pytest.mark.parametrize("epoch", [0, 2])
def test_claims_and_renewals_are_for_the_next_epoch_only(chain, epoch):
    refuse(chain, "fact epoch", chain.claim(STRANGER, bytes(16), epoch=epoch))
    refuse(chain, "fact epoch", chain.renew(A, epoch=epoch))


def test_claims_and_renewals_of_another_chain_are_refused(chain):
    other = MiniChain(make_spec(4, name="other"))
    (_, claim), *_ = other.mine(STRANGER)
    refuse(chain, "fact chain", claim)
    refuse(chain, "fact chain", other.renew(A))


def test_a_claim_needs_work_under_this_epochs_salt(chain):
    nonces = {found.nonce for found, _ in chain.mine(STRANGER)}
    idle = next(n for i in range(512) if (n := bytes(8) + i.to_bytes(8, "big")) not in nonces)
    error = refuse(chain, "claim", chain.claim(STRANGER, idle))
    assert "too little work" in str(error)


def test_the_first_commitment_of_a_peer_is_fixed_though_outbid(chain):
    other = chain.commitment(A, 3)
    (_, low), *_ = chain.mine(STRANGER, slot=5)
    (_, moved), *_ = chain.mine(STRANGER, slot=6, commitment=other)
    highest = chain.mine(D, slot=5)[-1][1]
    refuse(chain, "commitment", low, moved)  # ‡ in one block
    chain.advance(low)
    chain.advance(highest)
    assert transition.best_claims(chain.spec, chain.state)[5].peer == D
    refuse(chain, "commitment", moved)


def test_several_nonces_with_one_commitment_are_fine(chain):
    claims = [chain.mine(STRANGER, slot=slot)[0][1] for slot in range(4)]
    chain.advance(*claims)
    assert len(transition.best_claims(chain.spec, chain.state)) == 4


def test_a_renewal_after_a_claim_keeps_its_commitment(chain):
    (_, claim), *_ = chain.mine(A, slot=5)
    refuse(chain, "commitment", claim, chain.renew(A, commitment=chain.commitment(A, 3)))
    refuse(chain, "commitment", chain.renew(A, commitment=chain.commitment(A, 3)), claim)
    chain.advance(claim, chain.renew(A))


# ---- renewals and proofs of life ----------------------------------------------------------------


def test_one_renewal_per_peer_and_epoch_by_an_owner(chain):
    refuse(chain, "one renewal", chain.renew(A), chain.renew(A))
    refuse(chain, "renew owner", chain.renew(STRANGER))
    chain.advance(chain.renew(A))
    refuse(chain, "one renewal", chain.renew(A))


def mute_epoch(chain, mute, *, renew=True):
    """Epoch 0, in which `mute` signs no accept; whether it renews all the same."""
    others = [peer for peer in PEERS if peer != mute]
    chain.advance(*chain.renewing(PEERS if renew else others), signers=others)
    while chain.height < LAST - 1:
        chain.advance(signers=others)


def test_a_mute_owner_loses_its_slots_though_it_renewed(chain):
    mute_epoch(chain, D)
    chain.advance()
    assert D not in chain.tables[-1].weights
    assert chain.tables[-1].weights == dict.fromkeys(sorted([A, B, C]), 3)


def test_an_owner_that_does_not_renew_loses_its_slots_though_alive(chain):
    chain.advance(*chain.renewing([A, B, C]))
    chain.advance_to(LAST)
    assert D not in chain.tables[-1].weights


def test_an_accept_counts_when_a_block_of_the_epoch_carries_it(chain):
    mute_epoch(chain, D)
    # The certificate of block 7 has D's accept and is carried by block 8, the last.
    chain.certificates[-1] = chain.certify(chain.tip, PEERS)
    chain.advance()
    assert D in chain.tables[-1].weights


def test_an_accept_of_the_last_block_counts_for_the_next_epoch(chain):
    mute_epoch(chain, D)
    chain.advance(signers=PEERS)
    assert D not in chain.tables[-1].weights
    chain.advance()
    assert chain.view.alive == {A, B, C}


def test_a_late_accept_is_a_proof_of_life(chain):
    mute_epoch(chain, D)
    chain.advance(chain.late(D, chain.headers[3]))
    assert D in chain.tables[-1].weights


def test_a_late_accept_must_be_needed(chain):
    chain.advance()
    refuse(chain, "late needed", chain.late(D, chain.headers[1]))  # its certificate has D's
    chain.certificates[-1] = chain.certify(chain.tip, [A, B, C])
    late = chain.late(D, chain.headers[1])
    refuse(chain, "late needed", late, late)
    chain.advance(late, signers=[A, B, C])
    refuse(chain, "late needed", chain.late(D, chain.headers[2]))


def test_a_late_accept_is_of_one_of_the_last_32_heights():
    chain = MiniChain(make_spec(4, small(epoch_blocks=64)))
    while chain.height < 40:
        chain.advance(signers=[A, B, C])
    refuse(chain, "late height", chain.late(D, chain.headers[8]))
    refuse(chain, "late height", chain.late(D, chain.headers[40], height=41))
    with pytest.raises(EncodingError, match="a height of 1"):
        chain.late(D, chain.headers[1], height=0)
    for height in (9, 40):
        chain.changes(chain.block(facts=[chain.late(D, chain.headers[height])]))


def test_a_late_accept_is_of_an_owner_under_the_table_of_its_height(chain):
    chain.advance(signers=[A, B, C])
    header = chain.headers[1]
    refuse(chain, "late owner", chain.late(STRANGER, header))
    refuse(chain, "late epoch", chain.late(D, header, epoch=1))
    elsewhere = MiniChain(make_spec(4, name="other"))
    refuse(chain, "late chain", chain.late(D, header, chain=elsewhere.spec.id))
    assert isinstance(chain.late(D, header), LateAccept)


def test_a_late_accept_may_be_of_the_epoch_before(chain):
    chain.advance(*chain.renewing())
    chain.advance_to(LAST - 1)
    chain.advance(signers=[A, B, C])
    late = chain.late(D, chain.tip)  # of the last block of epoch 0
    chain.advance(late, signers=[A, B, C])
    assert D in chain.view.alive


def test_a_late_accept_of_who_owned_nothing_yet_is_refused(chain):
    (_, claim), *_ = chain.mine(STRANGER, slot=0)
    chain.advance(claim, *chain.renewing())
    chain.advance_to(LAST)
    assert STRANGER in chain.tables[-1].weights
    refuse(chain, "late owner", chain.late(STRANGER, chain.headers[LAST]))


def test_a_late_accept_of_the_epoch_before_last_is_refused(chain):
    while chain.height < 2 * LAST:
        chain.advance(*(chain.renewing() if chain.height % LAST == 0 else ()))
    chain.certificates[-1] = chain.certify(chain.tip, [A, B, C])
    chain.changes(chain.block(facts=[chain.late(D, chain.headers[LAST + 1])]))
    refuse(chain, "late owner", chain.late(D, chain.headers[LAST]))


def test_a_late_accept_of_who_owns_nothing_any_more_is_refused(chain):
    mute_epoch(chain, D)
    chain.advance(signers=[A, B, C])
    refuse(chain, "late owner", chain.late(D, chain.headers[LAST]))


def test_a_chain_where_nobody_committed_goes_on_without_reveals(chain):
    chain.advance_to(LAST)
    assert not chain.view.ranked
    assert chain.view.chains == {}
    for _ in range(3):
        header = chain.advance()
        assert header.fields.reveal is None
    assert leaves.CHAINS_KEY not in chain.changes(chain.block())


# ---- choosing -----------------------------------------------------------------------------------


def choose(chain, candidates):
    return transition.choose_facts(
        chain.spec,
        chain.state,
        height=chain.height + 1,
        time_ms=chain.tip.fields.time_ms + 1000,
        certificate=chain.certificates[-1],
        candidates=candidates,
    )


def test_chosen_facts_make_a_valid_block(chain):
    chain.advance(signers=[A, B, C])
    claims = [claim for _, claim in chain.mine(STRANGER)]
    wrong = [chain.renew(STRANGER), chain.renew(A, epoch=2), chain.renew(A)]
    lates = [chain.late(peer, chain.tip) for peer in PEERS]
    evidence = chain.double_vote(C, chain.tip)
    chosen = choose(chain, [*claims, *wrong, *chain.renewing(), *lates, evidence])
    kinds = [type(fact).__name__ for fact in chosen]
    slots = dict.fromkeys(found.slot for found, _ in chain.mine(STRANGER))
    assert kinds == ["Evidence", *["Renew"] * 4, "LateAccept", *["SlotClaim"] * len(slots)]
    chain.advance(*chosen)


def test_no_more_facts_are_chosen_than_a_block_may_hold():
    chain = MiniChain(make_spec(4, small(facts_max=8)))
    claims = [claim for slot in range(12) for _, claim in chain.mine(STRANGER, slot=slot)[:1]]
    chosen = choose(chain, [*claims, *chain.renewing()])
    assert [type(fact).__name__ for fact in chosen] == ["Renew"] * 4 + ["SlotClaim"] * 4


def test_a_refused_fact_changes_nothing(chain):
    (_, low), (_, high), *_ = chain.mine(STRANGER, slot=5)
    block = chain.block(facts=[high])
    chosen = choose(chain, [high, low, chain.renew(STRANGER)])
    assert chosen == (high,)
    assert chain.changes(block) == chain.changes(chain.block(facts=chosen))


# ---- forms --------------------------------------------------------------------------------------


def test_all_signatures_of_facts_are_listed(chain):
    chain.advance()
    one, other = chain.block(), chain.block(elapsed_ms=1001)
    facts = (
        chain.claim(A, bytes(16)),
        chain.renew(B),
        chain.late(C, chain.tip),
        chain.double_vote(D, chain.tip),
        chain.double_proposal(one, other, A),
    )
    items = transition.signed_items(facts)
    assert [key for key, _, _ in items] == [A, B, C, D, D, A, A]
    verifier = KeyedVerifier()
    assert all(verifier.verify(*item) for item in items)
    assert len(dict.fromkeys(items)) == 7


def test_bytes_that_are_no_fact_make_the_block_invalid():
    with pytest.raises(InvalidBlock, match="fact encoding"):
        transition.decode_facts([b"\x81\x60"])


def test_the_same_block_on_the_same_state_changes_the_same(chain):
    chain.advance(*chain.renewing())
    block = chain.block(facts=[chain.mine(STRANGER, slot=2)[0][1]])
    overlay = Overlay(chain.state)
    assert chain.changes(block) == chain.changes(block, overlay)
    assert overlay.changes == {}
    assert list(chain.changes(block)) == list(chain.changes(block))


def test_keys_of_the_state_are_those_of_the_wire_page():
    assert leaves.claim_key(258) == b"c/claims/\x01\x02"
    assert leaves.claimed(leaves.claim_key(65_534)) == 65_534
    assert leaves.commitment_key(1, A) == b"c/commitments/\x00\x00\x00\x01" + A
    assert leaves.evidence_key(A, 2) == b"c/evidence/" + A + b"\x00\x00\x00\x02"
    assert leaves.evidence_parts(leaves.evidence_key(A, 2)) == (A, 2)
    keys = (leaves.TABLE_KEY, leaves.PREVIOUS_KEY, leaves.CHAINS_KEY, leaves.SIGNING_KEY)
    assert keys == (b"c/table", b"c/previous", b"c/chains", b"c/signing")
