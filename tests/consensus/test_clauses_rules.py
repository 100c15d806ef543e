"""Clauses of the page that nothing else notices when they are weakened by one (protocol §3–§10).

Each was found by weakening the code; the name of a test says the clause.
"""

import pytest

from consensus.block import Body
from consensus.certificates import check_weight
from consensus.effects import Ask, Build, Commit, Execute
from consensus.errors import InvalidCertificate, InvalidProof, ParameterError
from consensus.events import CertificateReceived, ProposalReceived, VotesReceived
from consensus.ids import Id, MessageId, content_id
from consensus.light import Certified, follow, start
from consensus.merkle import root
from consensus.parameters import Parameters
from consensus.signatures import ACCEPT, CONFIRM
from consensus.signing import SignRecord
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_engine import POLL_MS, Desk
from tests.consensus.builders_keys import KeyedVerifier, peer_key

A, B, C, D = (peer_key(number) for number in range(4))


# ---- §3 -----------------------------------------------------------------------------------------


def test_polls_of_settling_fit_into_the_settle_timeout_to_the_millisecond() -> None:
    exact = {"beta": 8, "concurrent_polls": 4, "poll_timeout_ms": 750}
    assert Parameters.public(settle_base_ms=3_000, **exact).settle_base_ms == 3_000
    with pytest.raises(ParameterError, match="poll_timeout_ms ≤ settle_base_ms"):
        Parameters.public(settle_base_ms=2_999, **exact)


# ---- §5 -----------------------------------------------------------------------------------------


def test_who_has_a_valid_value_that_is_not_here_makes_no_fresh_proposal_either() -> None:
    """Its next round would have two values of one peer: the one it proved, and another (‡ §5)."""
    desk = Desk(0)
    block = desk.block(rank=(desk.my_rank() + 1) % 4)
    proof = desk.aggregate(desk.others(), block)
    record = SignRecord.fresh(desk.spec.id, desk.me).with_valid(1, block.id, 0, proof.raw)
    for remembered, builds in ((record, 0), (None, 1)):
        desk = Desk(0, record=remembered)
        desk.held = (Build,)
        desk.due()
        desk.wait(4_000)
        assert len([effect for effect in desk.all if type(effect) is Build]) == builds


# ---- §6 -----------------------------------------------------------------------------------------


def test_one_fetch_is_open_per_peer_however_long_it_takes() -> None:
    desk = Desk(0)
    others = [rank for rank in range(4) if desk.ranked(rank) != desk.me]
    desk.propose(others[0])
    unknown = [desk.block(others[1]), desk.block(others[2])]
    peer = desk.others()[0]

    def fetches() -> list[Ask]:
        return [e for e in desk.all if type(e) is Ask and e.proto == "block/1" and e.peer == peer]

    for named in unknown:
        for _ in range(30):  # the pause of a peer that was asked is over by far
            desk.wait(POLL_MS // 10)
            for ask in desk.polls():
                desk.answer(ask, named if ask.peer == peer else None)
        assert len(fetches()) == 1, "the first is still open"


# ---- §7 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [{A: 1, B: 1, C: 1}, {A: 20, B: 20, C: 20}])
def test_exactly_two_thirds_certify_nothing(weights: dict[object, int]) -> None:
    chain = MiniChain(make_spec(3))
    chain.advance()
    header = chain.headers[1]
    with pytest.raises(InvalidCertificate, match="two thirds"):
        check_weight(chain.certify(header, [A, B]), weights)  # type: ignore[arg-type]
    check_weight(chain.certify(header, [A, B, C]), weights)  # type: ignore[arg-type]


def test_a_quorum_of_confirms_for_an_invalid_block_is_neither_valid_value_nor_accepted() -> None:
    desk = Desk(0)
    block = desk.block()
    desk.verdicts[block.id] = "gas"
    desk.send(ProposalReceived(1, desk.proposal(block), None))
    desk.confirms(desk.others(), block)
    assert not [sign for sign in desk.signs(ACCEPT) if sign[2] is not None]
    assert desk.record.valid is None and desk.record.lock is None


def test_a_quorum_of_confirms_waits_until_the_block_is_executed_here() -> None:
    desk = Desk(0)
    desk.held = (Execute,)
    block = desk.propose()
    desk.confirms(desk.others(), block)
    assert not desk.signs(ACCEPT) and desk.record.valid is None
    desk.send(desk.executed(block))
    assert desk.signs(ACCEPT) == [(ACCEPT, 0, block.id)]


def test_a_proposal_for_the_next_height_is_kept_until_its_turn() -> None:
    desk = Desk(0)
    first = desk.propose(desk.my_rank() or 1)
    desk.chain.commit(first, desk.others())
    ranking = desk.chain.view.ranking(desk.chain.tip.fields.randomness, 0)
    rank = next(rank for rank, (peer, _) in enumerate(ranking) if peer != desk.me)
    second = desk.chain.block(rank=rank)
    early = desk.proposal(second)
    assert early.peer == ranking[rank][0]
    desk.send(ProposalReceived(1, early, None))
    assert second.id not in desk.standing.candidates
    desk.certify(desk.others(), first)
    assert desk.engine.height == 2 and second.id in desk.standing.candidates


# ---- §8 -----------------------------------------------------------------------------------------


def test_where_the_chains_own_inputs_end_is_bound_by_the_root() -> None:
    ids = [content_id(b"%d" % number) for number in range(3)]

    def made(split: int) -> Body:
        return Body.of(
            parent_certificate=b"",
            facts=(),
            chain_inputs=tuple([Id(each) for each in ids[:split]]),
            messages=tuple([MessageId(each) for each in ids[split:]]),
        )

    roots = {root(made(split).input_leaves) for split in range(4)}
    assert len(roots) == 4


# ---- §10 ----------------------------------------------------------------------------------------


def test_a_follower_believes_no_header_without_its_quorum() -> None:
    chain = MiniChain(make_spec(4))
    chain.advance()
    header = chain.headers[1]
    tip = start(chain.spec, 0)
    for signers, check in (([A, B], "certificate"), ([A, B, C], "")):
        block = Certified(header, chain.certify(header, signers))
        if not check:
            follow(chain.spec, tip, block, next_table=None, verifier=KeyedVerifier())
            continue
        with pytest.raises(InvalidProof) as caught:
            follow(chain.spec, tip, block, next_table=None, verifier=KeyedVerifier())
        assert caught.value.check == check


def test_a_fork_of_the_epoch_before_is_judged_by_its_own_table() -> None:
    """Slot 0 was vacated at the boundary; its owner still counts for the height before it."""
    chain = MiniChain(make_spec(4, small(slots=4)))
    chain.advance_to(chain.parameters.epoch_blocks)
    gone = [peer for peer in (A, B, C, D) if peer not in chain.view.table.weights]
    assert len(gone) == 1
    header = chain.headers[-1]
    twin = type(header).of(header.fields._replace(gas_used=1))
    signers = [*gone, *[peer for peer in (A, B, C, D) if peer not in gone][:2]]
    desk = Desk(chain=chain, me=[A, B, C, D].index(signers[-1]))
    desk.send(CertificateReceived(chain.certify(twin, signers), None))
    assert desk.machine.halted


def test_votes_of_nobody_commit_nothing() -> None:
    desk = Desk(0)
    block = desk.propose()
    strangers = tuple(
        [
            (0, desk.vote(phase, peer_key(n), block))
            for n in (7, 8, 9)
            for phase in (CONFIRM, ACCEPT)
        ]
    )
    desk.send(VotesReceived(strangers))
    assert not [effect for effect in desk.all if type(effect) is Commit]
