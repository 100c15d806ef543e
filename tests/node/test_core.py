"""A node's machine around the engine: pools, facts, hints, bodies, timers, snapshot (layout)."""

import pytest

from consensus.block import Proposal, proposal_coverage
from consensus.certificates import Aggregate
from consensus.effects import (
    ACCEPT,
    FACTS,
    IGNORE,
    MESSAGES,
    REJECT,
    TIP,
    VOTES,
    Ask,
    Build,
    Execute,
    Gossip,
    Publish,
    Refused,
    Reveal,
    Verdict,
    WakeAt,
)
from consensus.encoding import decode
from consensus.errors import EncodingError
from consensus.events import (
    AnswerReceived,
    AskFailed,
    BlockBuilt,
    BlockExecuted,
    CertificateReceived,
    FactsReceived,
    Fetched,
    LinkDown,
    LinkUp,
    MessagesReceived,
    PollReceived,
    ProposalReceived,
    Revealed,
    TipReceived,
    VotesReceived,
    Woke,
)
from consensus.facts import Evidence, Fact, Renew
from consensus.ids import Hash, Height, Peer, Round
from consensus.signatures import ACCEPT as ACCEPT_VOTE
from consensus.signatures import CONFIRM
from node.catchup import ALIVE_PAUSE_MS, FAILURES_MAX
from node.core import NodeCore
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_keys import keyed_signature, peer_key
from tests.node.builders_core import Bench, message


def verdicts(bench: Bench) -> list[str]:
    return [said for e in bench.of(Verdict) for _, said, _, _ in e.items]  # type: ignore[attr-defined]


def asks(bench: Bench, proto: str) -> list[Ask]:
    return [e for e in bench.out if isinstance(e, Ask) and e.proto == proto]


# ---- messages -----------------------------------------------------------------------------------


def test_a_users_message_is_pooled_shown_and_makes_due() -> None:
    bench = Bench()
    own = message(bench.spec, 1)
    bench.send(MessagesReceived(0, (own,), None))
    (gossip,) = [e for e in bench.out if isinstance(e, Gossip)]
    assert (gossip.topic, gossip.items) == (MESSAGES, ((bytes(own.id), own.raw),))
    assert bench.core.engine.machine.pool_due
    assert bench.core.engine.machine.standing.clock_ms == bench.ms


def test_a_peers_message_is_judged_and_not_shown_by_us_again() -> None:
    bench = Bench()
    bench.send(MessagesReceived(4, (message(bench.spec, 1),), peer_key(2)))
    assert verdicts(bench) == [ACCEPT] and bench.of(Gossip) == []
    bench.send(MessagesReceived(5, (message(bench.spec, 1),), peer_key(2)))
    assert verdicts(bench) == [IGNORE], "known"
    other = make_spec(4, small(slots=16))
    bench.send(MessagesReceived(6, (message(other, 1),), peer_key(2)))
    assert verdicts(bench) == [REJECT], "wrong in itself"
    assert bench.of(Refused) == []


def test_a_user_hears_why_a_message_was_refused() -> None:
    bench = Bench()
    bench.send(MessagesReceived(0, (message(bench.spec, 1, expires=0),), None))
    (refused,) = [e for e in bench.out if isinstance(e, Refused)]
    assert refused.code == "Expired"
    bench.send(BlockBuilt(Height(1), Round(0), None, None, None, (message(bench.spec, 2).id,)))
    assert [e.code for e in bench.out if isinstance(e, Refused)] == ["NotIncludable"]


def proposal_of(bench: Bench, rank: int, *, messages: int = 1) -> Proposal:
    block = bench.chain.block(rank=rank, messages=messages)
    peer = bench.chain.view.ranking(bench.chain.tip.fields.randomness, 0)[rank][0]
    return Proposal.of(block, peer, keyed_signature(peer, proposal_coverage(block.header)))


def real_proposal(bench: Bench, rank: int, count: int) -> tuple[Proposal, tuple[object, ...]]:
    """A proposal whose body names messages that exist."""
    from consensus import merkle
    from consensus.block import Block, Body, Header

    messages = tuple([message(bench.spec, 100 + number) for number in range(count)])
    block = bench.chain.block(rank=rank)
    body = Body.of(
        parent_certificate=b"", facts=(), chain_inputs=(), messages=tuple(m.id for m in messages)
    )
    header = Header.of(block.header.fields._replace(inputs_root=merkle.root(body.input_leaves)))
    peer = bench.chain.view.ranking(bench.chain.tip.fields.randomness, 0)[rank][0]
    signature = keyed_signature(peer, proposal_coverage(header))
    return Proposal.of(Block(header, body), peer, signature), messages


def bench_not_of_rank(rank: int) -> Bench:
    for me in range(4):
        bench = Bench(me)
        if bench.chain.view.ranking(bench.chain.tip.fields.randomness, 0)[rank][0] != peer_key(me):
            return bench
    raise AssertionError("one of four has that rank")


def test_a_valid_proposals_inputs_enter_the_pool_and_are_due_here_too() -> None:
    """Else a peer that missed the message never starts the clock for rank 1."""
    bench = bench_not_of_rank(1)
    proposal, messages = real_proposal(bench, 1, 2)
    bench.send(ProposalReceived(1, proposal, None))
    (ask,) = asks(bench, "bodies/1")
    assert not bench.core.engine.machine.pool_due
    bench.send(Fetched(ask.ask, ask.peer, None, None, None, messages))  # type: ignore[arg-type]
    assert bench.of(Execute)
    bench.send(BlockExecuted(proposal.id, bench.chain.view, None, ""))
    assert list(bench.core.messages.messages) == [m.id for m in messages]  # type: ignore[attr-defined]
    assert bench.core.engine.machine.pool_due
    assert bench.core.engine.machine.standing.clock_ms == bench.ms


def first_proposer() -> Bench:
    for me in range(4):
        bench = Bench(me)
        if bench.chain.view.ranking(bench.chain.tip.fields.randomness, 0)[0][0] == peer_key(me):
            return bench
    raise AssertionError("one of four is first")


def test_what_comes_while_a_build_finds_nothing_is_still_due() -> None:
    """Else the chain falls asleep over it: nobody else may know the message yet."""
    bench = first_proposer()
    poor, good = message(bench.spec, 1), message(bench.spec, 2)
    bench.send(MessagesReceived(0, (poor,), None))
    (reveal,) = bench.of(Reveal)
    bench.send(Revealed(reveal.epoch, reveal.number, Hash(bytes(32))))  # type: ignore[attr-defined]
    (build,) = bench.of(Build)
    assert [m.id for m in build.messages] == [poor.id]  # type: ignore[attr-defined]
    bench.send(MessagesReceived(0, (good,), None))
    height = bench.core.height
    bench.send(BlockBuilt(height, Round(0), None, None, None, (poor.id,)))
    (again,) = bench.of(Build)
    assert [m.id for m in again.messages] == [good.id]  # type: ignore[attr-defined]
    bench.send(BlockBuilt(height, Round(0), None, None, None, (good.id,)))
    assert not bench.of(Build) and not bench.core.engine.machine.pool_due


def test_an_invalid_proposals_inputs_do_not() -> None:
    bench = bench_not_of_rank(1)
    proposal, messages = real_proposal(bench, 1, 2)
    bench.core.messages.hold(messages)  # type: ignore[arg-type]
    bench.send(ProposalReceived(1, proposal, None))
    bench.send(BlockExecuted(proposal.id, None, None, "gas"))
    assert bench.core.messages.messages == {} and not bench.core.engine.machine.pool_due


def test_bodies_that_nobody_asked_for_are_not_held() -> None:
    bench = bench_not_of_rank(1)
    proposal, messages = real_proposal(bench, 1, 1)
    bench.send(ProposalReceived(1, proposal, None))
    (ask,) = asks(bench, "bodies/1")
    flood = tuple([message(bench.spec, number) for number in range(50)])
    bench.send(Fetched(ask.ask, ask.peer, None, None, None, (*flood, *messages)))  # type: ignore[arg-type]
    assert list(bench.core.messages.bodies) == [m.id for m in messages]  # type: ignore[attr-defined]
    bench.send(Fetched(999, ask.peer, None, None, None, flood))
    assert len(bench.core.messages.bodies) == 1


def test_a_message_refused_by_our_build_stays_for_the_candidate_that_holds_it() -> None:
    """Persisting that candidate needs its bodies: losing them was a crash."""
    bench = bench_not_of_rank(0)
    proposal, messages = real_proposal(bench, 0, 2)
    bench.send(MessagesReceived(1, messages, peer_key(3)))  # type: ignore[arg-type]
    bench.send(ProposalReceived(1, proposal, None))
    bench.send(BlockExecuted(proposal.id, bench.chain.view, None, ""))
    refused = tuple(m.id for m in messages)  # type: ignore[attr-defined]
    bench.send(BlockBuilt(Height(1), Round(0), None, None, None, refused))
    header = proposal.block.header
    votes = [bench.chain.accept(peer, header, phase=CONFIRM) for peer in bench.peers]
    bench.send(VotesReceived(tuple((0, vote) for vote in votes)))
    found, missing = bench.core.lookup(proposal.block.body.messages)
    assert (len(found), missing) == (2, ())


# ---- facts --------------------------------------------------------------------------------------


def hear(bench: Bench, fact: Fact | Aggregate, token: int = 3) -> list[str]:
    bench.send(FactsReceived(((token, fact),)))
    return verdicts(bench)


def test_own_facts_are_pooled_and_shown_those_of_peers_only_judged() -> None:
    bench = Bench()
    bench.send(FactsReceived(((0, bench.chain.renew(peer_key(0))),)))
    assert [e.topic for e in bench.out if isinstance(e, Gossip)] == [FACTS]
    assert bench.of(Publish)
    assert hear(bench, bench.chain.renew(peer_key(1))) == [ACCEPT]
    assert bench.of(Gossip) == []
    assert hear(bench, bench.chain.renew(peer_key(1))) == [IGNORE]


def test_facts_of_keys_that_own_nothing_do_not_fill_the_pools() -> None:
    """Keys are free: a thousand renewals of strangers must not push out the owners'."""
    bench, header = Bench(), Bench().chain.block().header
    for number in range(40, 60):
        stranger = peer_key(number)
        assert hear(bench, bench.chain.renew(stranger)) == [IGNORE]
        assert hear(bench, bench.chain.double_vote(stranger, header)) == [IGNORE]
        assert hear(bench, bench.chain.late(stranger, header)) == [IGNORE]
    assert bench.core.facts_pool.all() == []


@pytest.mark.parametrize("when", ["early", "late"])
def test_early_and_late_facts_are_ignored_without_blame(when: str) -> None:
    bench = Bench()
    epoch = 2 if when == "early" else 0
    assert hear(bench, bench.chain.renew(peer_key(1), epoch=epoch)) == [IGNORE]


def test_a_claim_without_work_or_of_another_chain_is_rejected() -> None:
    chain = MiniChain(make_spec(4, small(difficulty_bits_min=16)))
    bench = Bench(chain=chain)
    assert hear(bench, chain.claim(peer_key(9), bytes(16))) == [REJECT]
    other = MiniChain(make_spec(4, small(slots=16))).renew(peer_key(1))
    assert hear(bench, other) == [REJECT]


def test_a_claim_with_work_is_kept_of_anybody_and_only_the_best_per_slot() -> None:
    bench = Bench()
    mined = bench.chain.mine(peer_key(70), slot=2)
    said = [hear(bench, claim) for _, claim in (mined[0], mined[-1], mined[0])]
    assert said == [[ACCEPT], [ACCEPT], [IGNORE]]
    assert bench.core.facts_pool.all() == [mined[-1][1]]


def test_double_votes_become_evidence_in_the_pool_and_are_shown() -> None:
    bench = Bench()
    header = bench.chain.block().header
    one = bench.chain.accept(peer_key(1), header)
    two = bench.chain.accept(peer_key(1), header, block=None)
    bench.send(VotesReceived(((1, one), (2, two))))
    (fact,) = bench.core.facts_pool.all()
    assert isinstance(fact, Evidence) and fact.peer == peer_key(1)
    assert [e.topic for e in bench.out if isinstance(e, Gossip)] == [FACTS]
    assert bench.core.facts(1) == (fact.raw,), "offered to our own blocks"


def test_an_aggregate_is_passed_on_only_with_a_quorum() -> None:
    bench = Bench()
    header = bench.chain.block().header

    def aggregate(count: int) -> Aggregate:
        votes = [bench.chain.accept(p, header, phase=CONFIRM) for p in bench.peers[:count]]
        return Aggregate.of(votes)

    assert hear(bench, aggregate(2)) == [IGNORE]
    assert hear(bench, aggregate(3)) == [ACCEPT]


# ---- hints and tips -----------------------------------------------------------------------------


def test_a_link_that_comes_up_is_asked_for_its_tip() -> None:
    bench = Bench()
    bench.send(LinkUp(peer_key(1)))
    (ask,) = asks(bench, TIP)
    assert ask.peer == peer_key(1)
    bench.send(AskFailed(ask.ask, ask.peer))
    bench.ms += 500
    bench.send(Woke())
    assert [again.peer for again in asks(bench, TIP)] == [peer_key(1)]
    bench.send(LinkDown(peer_key(1)))
    bench.ms += 10**6
    bench.send(Woke())
    assert asks(bench, TIP) == []


def test_whoever_links_is_told_its_newest_word_again() -> None:
    """It may have lost the end of its sign record, and no block shows words of this height."""
    bench, one, other = Bench(), Peer(peer_key(1)), Peer(peer_key(2))
    header = bench.chain.block().header
    bench.send(LinkUp(one))
    assert bench.of(Gossip) == [], "it has said nothing"
    words = [bench.chain.accept(one, header, phase=phase) for phase in (CONFIRM, ACCEPT_VOTE)]
    bench.send(VotesReceived(tuple((0, vote) for vote in words)))
    bench.send(LinkUp(other))
    assert bench.of(Gossip) == []
    bench.send(LinkUp(one))
    (said,) = bench.of(Gossip)
    assert isinstance(said, Gossip)
    assert (said.topic, [raw for _, raw in said.items]) == (VOTES, [words[1].raw])


def test_a_tip_ahead_is_fetched_by_height() -> None:
    bench = Bench()
    bench.send(LinkUp(peer_key(1)))
    bench.send(TipReceived(peer_key(1), Height(3)))
    assert [ask.peer for ask in asks(bench, "block/1")] == [peer_key(1)] * 3


@pytest.mark.parametrize("how", ["vote", "poll", "answer"])
@pytest.mark.parametrize(("number", "believed"), [(1, True), (66, False)])
def test_only_owners_are_believed_to_be_ahead(how: str, number: int, believed: bool) -> None:
    bench, peer = Bench(), peer_key(number)
    header = bench.chain.block().header
    if how == "vote":
        bench.send(VotesReceived(((0, bench.chain.accept(peer, header, height=5)),)))
    elif how == "poll":
        bench.send(PollReceived(1, peer, Height(5)))
    else:
        bench.send(AnswerReceived(1, peer, Height(5), Round(0), None))
    assert (bench.core.catchup.tips == {peer: 4}) == believed
    assert bool(bench.core.catchup.tips) == believed


@pytest.mark.parametrize(("number", "soon"), [(1, True), (66, False)])
def test_only_owners_that_speak_again_are_asked_soon(number: int, soon: bool) -> None:
    """Keys are free: sixty strangers that fail and poll would have all asks go to them."""
    bench, peer = Bench(), Peer(peer_key(number))
    bench.send(LinkUp(peer))
    for _ in range(FAILURES_MAX):
        (ask,) = asks(bench, TIP)
        bench.send(AskFailed(ask.ask, peer))
        began, bench.ms = bench.ms, bench.core.catchup.paused[peer]
        bench.send(Woke())
    bench.ms = began
    bench.send(PollReceived(1, peer, Height(1)))
    assert (bench.core.catchup.paused[peer] == began + ALIVE_PAUSE_MS) == soon


def caught(bench: Bench, blocks: int) -> list[Fetched]:
    """Certified blocks 1 … n as a peer hands them out; they are certified by all owners."""
    source, given = MiniChain(make_spec(4)), []
    for _ in range(blocks):
        block = source.block()
        certificate = source.certify(block.header, source.view.table.weights)
        given.append(Fetched(0, peer_key(1), block, None, certificate, ()))
        source.commit(block)
    return given


def test_a_block_kept_while_its_certificate_was_known_already_is_still_used() -> None:
    """The certificate came by votes, the block by height: it must not wait for ever."""
    bench = Bench()
    bench.send(LinkUp(peer_key(1)))
    (given,) = caught(bench, 1)
    assert given.block is not None and given.certificate is not None
    votes = tuple([(0, vote) for vote in given.certificate.votes()])
    bench.send(VotesReceived(votes))
    assert bench.core.engine.machine.standing.certificate is not None
    bench.send(TipReceived(peer_key(1), Height(1)))
    (ask,) = asks(bench, "block/1")[:1]
    bench.send(Fetched(ask.ask, ask.peer, given.block, None, given.certificate, ()))
    candidate = bench.core.engine.machine.standing.candidates[given.block.id]
    assert candidate.named


def test_whoever_shows_a_certificate_is_asked_for_its_block_by_height() -> None:
    """By id nobody could give it: those who certified it are a height further."""
    bench = Bench()
    bench.send(LinkUp(peer_key(1)))
    (given,) = caught(bench, 1)
    assert given.certificate is not None
    bench.send(CertificateReceived(given.certificate, peer_key(1)))
    asked = [decode(ask.data, max_bytes=256) for ask in asks(bench, "block/1")]
    assert ["block", 1, 1, None] in asked


def test_a_forged_answer_pauses_its_peer_and_another_is_asked() -> None:
    bench = Bench()
    for peer in sorted((peer_key(1), peer_key(2))):  # the first is the one to be chosen again
        bench.send(LinkUp(peer))
        bench.send(TipReceived(peer, Height(1)))
    (given,) = caught(bench, 1)
    assert given.block is not None
    weak = bench.chain.certify(given.block.header, [peer_key(60), peer_key(61), peer_key(62)])
    asked: Peer | None = None
    for ask in bench.core.catchup.asks.copy():
        asked = bench.core.catchup.asks[ask][0]
        bench.send(Fetched(ask, asked, given.block, None, weak, ()))
    again = {ask.peer for ask in asks(bench, "block/1")}
    assert asked is not None and again and asked not in again
    assert bench.core.catchup.kept == {}


# ---- timers and snapshot ------------------------------------------------------------------------


def test_a_timer_that_fires_early_is_set_again() -> None:
    """Else the node sleeps until something else happens."""
    bench = Bench(
        next(
            n for n in range(4) if Bench(n).core.engine.machine.standing.ranks[0][0] != peer_key(n)
        )
    )
    bench.send(MessagesReceived(0, (message(bench.spec, 1),), None))
    (wake,) = [e.monotonic_ms for e in bench.out if isinstance(e, WakeAt)]
    bench.ms = wake - 1
    bench.send(Woke())
    assert [e.monotonic_ms for e in bench.out if isinstance(e, WakeAt)] == [wake]


def test_the_same_time_is_not_asked_for_at_every_event() -> None:
    bench = Bench(
        next(
            n for n in range(4) if Bench(n).core.engine.machine.standing.ranks[0][0] != peer_key(n)
        )
    )
    bench.send(MessagesReceived(0, (message(bench.spec, 1),), None))
    bench.send(MessagesReceived(7, (message(bench.spec, 2),), peer_key(1)))
    assert bench.of(WakeAt) == []


def test_a_snapshot_holds_everything_and_refuses_other_bytes() -> None:
    """With a claim in the pool too: its height on the hill has 192 bits."""
    bench = Bench()
    bench.send(LinkUp(peer_key(1)))
    bench.send(MessagesReceived(0, (message(bench.spec, 1),), None))
    for fact in (bench.chain.mine(peer_key(70))[-1][1], bench.chain.renew(peer_key(1))):
        bench.send(FactsReceived(((0, fact),)))
    proposal = proposal_of(bench, 0)
    bench.send(ProposalReceived(1, proposal, None))
    bench.send(
        VotesReceived(((0, bench.chain.accept(peer_key(2), proposal.block.header, height=2)),))
    )
    snapshot = bench.core.snapshot()
    restored = NodeCore.restore(snapshot)
    assert restored.snapshot() == snapshot
    bench.ms += 1_000
    assert restored.handle(Woke(), bench.now) == bench.send(Woke())
    for wrong in (b"", snapshot[:-1], snapshot + b"\x00", b"\x81\x61t"):
        with pytest.raises(EncodingError):
            NodeCore.restore(wrong)


def test_renewals_offered_are_those_of_the_pool() -> None:
    bench = Bench()
    renew = bench.chain.renew(peer_key(2))
    hear(bench, renew)
    assert [Renew.decode(raw).peer for raw in bench.core.facts(1)] == [peer_key(2)]
