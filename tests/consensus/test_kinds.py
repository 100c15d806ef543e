"""Chains that decide without polls (`solo`) or without votes (`probabilistic`) (protocol §3)."""

import pytest

from consensus import light, proofs
from consensus.certificates import Certificate
from consensus.effects import Ask, Commit, Reply, Sign, Verdict
from consensus.encoding import decode
from consensus.errors import InvalidBlock, NotProvable
from consensus.events import (
    CertificateReceived,
    Committed,
    Fetched,
    PollReceived,
    VotesReceived,
)
from consensus.facts import DoubleProposal, Evidence, LateAccept
from consensus.light import Certified
from consensus.signatures import ACCEPT, CONFIRM, PROPOSAL
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_engine import POLL_MS, Desk
from tests.consensus.builders_keys import KeyedVerifier, peer_key

STRANGER = peer_key(9)


def solo(**fields):
    return MiniChain(make_spec(1, small(**fields), consensus="solo"))


def bare(owners=4, **fields):
    """A chain of the probabilistic kind."""
    parameters = small(beta=30, settle_base_ms=4_000, **fields)
    return MiniChain(make_spec(owners, parameters, consensus="probabilistic"))


def polling_desk(**kwargs):
    return Desk(chain=bare(), **kwargs)


def committed(desk):
    return [effect for effect in desk.all if type(effect) is Commit]


# ---- solo ---------------------------------------------------------------------------------------


def test_a_solo_peer_asks_nobody_and_certifies_alone():
    desk = Desk(chain=solo(), owners=1)
    desk.due()
    assert [kind for kind, _, _ in desk.signs()][:2] == [CONFIRM, ACCEPT]
    effect = committed(desk)[0]
    assert effect.certificate is not None
    assert [peer for peer, _ in effect.certificate.signatures] == [desk.me]
    assert desk.standing.height >= 2
    assert not [ask for ask in desk.all if type(ask) is Ask]
    assert desk.standing.snowball is None


def test_without_polls_nothing_of_k_or_beta_is_waited_for():
    desk = Desk(chain=solo(beta=30, settle_base_ms=4_000), owners=1)
    desk.due()
    assert desk.standing.height >= 2


def test_a_solo_chain_has_no_hill():
    chain = solo(slots=4)
    (_, claim), *_ = chain.mine(STRANGER, slot=0)
    with pytest.raises(InvalidBlock, match="claim kind"):
        chain.advance(claim)
    chain.advance(*chain.renewing())
    chain.advance_to(chain.parameters.epoch_blocks + 1)
    assert list(chain.view.table.weights) == [peer_key(0)]


def test_a_solo_chain_is_followed_and_proven_like_any_other():
    chain = solo()
    chain.advance()
    tip = light.start(chain.spec, 0)
    block = Certified(chain.headers[1], chain.certificates[1])
    tip = light.follow(chain.spec, tip, block, next_table=None, verifier=KeyedVerifier())
    assert tip.height == 1


# ---- probabilistic: deciding --------------------------------------------------------------------


def test_thirty_unanimous_polls_decide_and_nobody_votes():
    desk = polling_desk()
    block = desk.propose()
    for _ in range(29 // 4):
        desk.answer_all(block)
    assert not committed(desk), "28 polls in a row are not 30"
    desk.answer_all(block)
    (effect,) = committed(desk)
    assert (effect.block, effect.certificate) == (block, None)
    assert desk.standing.height == 2
    assert not [e for e in desk.all if type(e) is Sign and e.kind != PROPOSAL]


def test_weak_settling_decides_nothing_here():
    desk = Desk(chain=bare(5, slots=10), owners=5)
    block = desk.propose()
    for _ in range(60):  # 6 of 10: alpha_preference, never alpha_confidence
        desk.wait(POLL_MS // 10)
        for ask in desk.polls():
            desk.answer(ask, block if ask.peer in desk.others()[:2] else None)
    ball = desk.standing.snowball
    assert ball is not None and ball.leading > 60 and ball.streak == 0
    assert ball.settled is None and not committed(desk)


def test_no_time_settles_here():
    desk = polling_desk()
    desk.propose()
    desk.wait(60_000)
    assert not desk.standing.settled and desk.standing.round == 0
    assert not committed(desk)


def test_votes_certificates_and_aggregates_mean_nothing_here():
    desk = polling_desk()
    block = desk.propose()
    vote = desk.vote(ACCEPT, desk.others()[0], block)
    out = desk.send(VotesReceived(((7, vote),)))
    (verdict,) = [effect for effect in out if type(effect) is Verdict]
    assert verdict.items[0][:2] == (7, "reject")
    for phase in (CONFIRM, ACCEPT):
        desk.votes(phase, desk.others(), block)
    desk.show(desk.aggregate(desk.others(), block))
    desk.certify(desk.others(), block)
    assert not committed(desk) and desk.standing.certificate is None
    assert desk.standing.shown is None


def test_a_poll_for_a_past_height_is_answered_with_its_block():
    desk = polling_desk()
    block = desk.propose()
    while desk.standing.height == 1:
        desk.answer_all(block)
    (reply,) = [e for e in desk.send(PollReceived(3, STRANGER, 1)) if type(e) is Reply]
    assert decode(reply.data, max_bytes=512) == ["answer", 1, 1, 0, block.id]


def test_what_was_settled_cannot_be_committed_twice():
    desk = polling_desk()
    block = desk.propose()
    while desk.standing.height == 1:
        desk.answer_all(block)
    desk.send(Committed(1, block.id))
    assert desk.standing.height == 2 and len(committed(desk)) == 1


# ---- probabilistic: who is behind ---------------------------------------------------------------


def tell(desk, block, source=None):
    """A peer hands out `block` as decided: no certificate, no word of its proposer."""
    desk.send(Fetched(1_000, source or desk.others()[0], block, None, None, ()))


def test_who_is_behind_accepts_what_its_own_polls_settle_on():
    desk = polling_desk()
    block = desk.block(rank=2)  # no turn, no proposal, no clock: only that peers say so
    tell(desk, block)
    assert desk.standing.snowball is not None, "it asks around"
    assert desk.standing.snowball.preference is None, "and prefers nothing because it was told"
    while desk.standing.height == 1 and len(desk.all) < 2_000:
        desk.answer_all(block)
    assert [effect.block for effect in committed(desk)] == [block]


def test_who_is_told_a_lie_settles_on_what_the_others_say():
    desk = Desk(chain=bare(8, slots=16), owners=8)
    lie, truth = desk.block(rank=3), desk.block(rank=1)
    liar, *honest = desk.others()
    tell(desk, lie, liar)
    for _ in range(60):
        desk.wait(POLL_MS // 10)
        for ask in desk.polls():
            desk.answer(ask, lie if ask.peer == liar else truth)
        for ask in [e for e in desk.all if type(e) is Ask and e.proto == "block/1"]:
            if ask.peer in honest and ask.ask in desk.machine.fetches:
                desk.fetched(ask, truth)
    assert [effect.block for effect in committed(desk)] == [truth]


def test_one_told_block_of_each_peer_is_executed():
    desk = polling_desk()
    one, two = desk.block(rank=1), desk.block(rank=2)
    tell(desk, one)
    tell(desk, two)
    assert list(desk.standing.candidates) == [one.id]


def test_a_told_block_that_breaks_a_rule_is_not_held():
    desk = polling_desk()
    tell(desk, desk.block(rank=1, gas_used=10**9))
    assert not desk.standing.candidates


def test_a_liar_about_its_tip_silences_no_proposer():
    desk = polling_desk()
    liar = desk.others()[0]
    tell(desk, desk.block(rank=(desk.my_rank() + 1) % 4), liar)
    desk.due()
    desk.wait(4_000)
    assert [e for e in desk.all if type(e) is Sign and e.kind == PROPOSAL]


def test_asking_around_without_a_preference_is_paced():
    desk = polling_desk()
    tell(desk, desk.block(rank=2))
    before = len([e for e in desk.all if type(e) is Ask])
    for _ in range(10 * POLL_MS // 25):
        desk.wait(25)
        desk.fail_polls()
    asks = len([e for e in desk.all if type(e) is Ask]) - before
    assert 0 < asks <= 11 * 3


def test_a_peer_without_slots_follows_by_its_own_polls():
    desk = polling_desk(me=None)
    block = desk.block()
    tell(desk, block, desk.peers[0])
    for _ in range(40):
        desk.answer_all(block)
    assert [effect.block for effect in committed(desk)] == [block]


# ---- probabilistic: blocks ----------------------------------------------------------------------


def test_blocks_carry_no_certificate_and_are_of_round_0():
    chain = bare()
    chain.advance_to(3)
    assert chain.tip.fields.parent_certificate is None
    with pytest.raises(InvalidBlock, match="round"):
        chain.check(chain.block(round=1))
    voted = MiniChain(make_spec(4))
    voted.advance()
    fake = voted.certificates[1]
    assert isinstance(fake, Certificate)
    chain.certificates[-1] = fake
    with pytest.raises(InvalidBlock, match="parent_certificate"):
        chain.check(chain.block())


def test_a_renewal_is_the_proof_of_life():
    chain = bare()
    chain.advance(*chain.renewing([peer_key(0), peer_key(1)]))
    chain.advance_to(chain.parameters.epoch_blocks)
    assert set(chain.view.table.weights) >= {peer_key(0), peer_key(1)}
    gone = [slot for slot, owner in enumerate(chain.view.table.owners) if owner is None]
    assert gone, "who did not renew is vacated, within the bound"


def test_only_two_proposals_are_evidence_here():
    chain = bare()
    chain.advance()
    header = chain.headers[1]
    one, two = (chain.accept(peer_key(0), header, block=b) for b in (header.id, None))
    for fact, rule in ((Evidence.of(one, two), "evidence kind"), (LateAccept.of(one), "late kind")):
        with pytest.raises(InvalidBlock, match=rule):
            chain.changes(chain.block(facts=[fact]))
    desk = Desk(chain=bare())
    twins = [desk.proposal(desk.block(elapsed_ms=ms)) for ms in (1_000, 1_001)]
    fact = DoubleProposal.of(*twins)
    assert desk.chain.changes(desk.chain.block(facts=[fact]))


# ---- probabilistic: what nobody can verify ------------------------------------------------------


def test_nobody_is_shown_proofs_of_a_chain_without_certificates():
    chain, voted = bare(), MiniChain(make_spec(4))
    chain.advance()
    voted.advance()
    with pytest.raises(NotProvable, match="makes no certificates"):
        light.start(chain.spec, 0)
    block = Certified(chain.headers[1], voted.certificates[1])
    with pytest.raises(NotProvable):
        light.check_certified(chain.spec, chain.tables[0], block, KeyedVerifier())
    path = proofs.receipt_path([b"\x80"], 0)
    raw = proofs.build(chain.spec, (), chain.headers[1], voted.certificates[1], path)
    with pytest.raises(NotProvable):
        proofs.verify(raw, chain.spec.id, verifier=KeyedVerifier())


def test_a_certificate_for_a_recent_height_is_none_of_ours():
    desk = polling_desk()
    block = desk.propose()
    while desk.standing.height == 1:
        desk.answer_all(block)
    desk.send(CertificateReceived(desk.certificate(desk.others(), block), None))
    assert not desk.machine.halted and not desk.machine.recent
