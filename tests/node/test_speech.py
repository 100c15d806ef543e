"""What peers say: bytes to judged events and back; whatever comes, only typed errors escape."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.block import Block, Proposal, proposal_coverage
from consensus.certificates import Aggregate
from consensus.effects import (
    BLOCK,
    BODIES,
    CERT,
    FACTS,
    MESSAGES,
    POLL,
    PROPOSALS,
    TIP,
    VOTES,
)
from consensus.encoding import encode
from consensus.errors import EncodingError, SignatureInvalid
from consensus.events import (
    AnswerReceived,
    AskFailed,
    CertificateReceived,
    FactsReceived,
    Fetched,
    MessagesReceived,
    Missing,
    PollReceived,
    ProposalReceived,
    TipReceived,
    VotesReceived,
)
from consensus.ids import BlockId, MessageId
from consensus.signatures import CONFIRM
from node import speech
from node.speech import Held
from tests.consensus.builders_chain import MiniChain, make_spec
from tests.consensus.builders_keys import KeyedVerifier, keyed_signature, peer_key
from tests.node.builders_core import message

CHAIN = MiniChain(make_spec(4))
FIRST = CHAIN.block()
HEADER = CHAIN.commit(FIRST)
SECOND = CHAIN.block(facts=[CHAIN.renew(peer_key(0)), CHAIN.late(peer_key(1), HEADER)])
PROPOSER = CHAIN.view.ranking(CHAIN.tip.fields.randomness, 0)[0][0]
PEER = peer_key(1)
SEEN = KeyedVerifier()


def proposal(block: Block = SECOND) -> Proposal:
    signature = keyed_signature(PROPOSER, proposal_coverage(block.header))
    return Proposal.of(block, PROPOSER, signature)


CERTIFICATE = CHAIN.certify(SECOND.header, CHAIN.view.table.weights)
VOTE = CHAIN.accept(PEER, SECOND.header)
AGGREGATE = Aggregate.of(
    [CHAIN.accept(peer, SECOND.header, phase=CONFIRM) for peer, _ in CERTIFICATE.signatures]
)
NOTES = tuple([message(CHAIN.spec, number) for number in range(3)])


class Shelf:
    """A library with one certified block, one candidate, three messages."""

    def tip(self) -> int:
        return 2

    def certified(self, height: int) -> Held | None:
        return Held(SECOND, CERTIFICATE.raw, None) if height == 2 else None

    def candidate(self, block: BlockId) -> Held | None:
        if block != SECOND.id:
            return None
        return Held(SECOND, b"", (PROPOSER, proposal().signature))

    def bodies(self, ids: object) -> list[bytes]:
        return [note.raw for note in NOTES]


GOSSIP = {
    VOTES: [VOTE.raw],
    PROPOSALS: [proposal().raw],
    FACTS: [CHAIN.renew(PEER).raw, AGGREGATE.raw, CHAIN.double_vote(PEER, HEADER).raw],
    MESSAGES: speech.batches([note.raw for note in NOTES]),
}
QUERIES = {
    POLL: encode(["poll", 1, CHAIN.spec.id, 2]),
    BLOCK: encode(["block", 1, 2, None]),
    BODIES: encode(["bodies", 1, [NOTES[0].id]]),
    TIP: encode(["tip", 1]),
    CERT: encode(["push", 1, CERTIFICATE.raw]),
}
REPLIES = {
    POLL: [encode(["answer", 1, 2, 0, SECOND.id]), encode(["past", 1, CERTIFICATE.raw])],
    BLOCK: [speech.answer(Shelf(), BLOCK, QUERIES[BLOCK])],
    BODIES: [speech.answer(Shelf(), BODIES, QUERIES[BODIES])],
    TIP: [speech.answer(Shelf(), TIP, QUERIES[TIP])],
}


# ---- what is right ------------------------------------------------------------------------------


def hear(topic: str, data: bytes) -> speech.Heard:
    heard = speech.hear(topic, data, 7, PEER)
    assert all(SEEN.verify(*check) for check in heard.signed), "what was signed verifies"
    return heard


def test_gossip_becomes_events_with_the_signatures_to_judge() -> None:
    heard = hear(VOTES, VOTE.raw)
    assert heard.event == VotesReceived(((7, VOTE),)) and len(heard.signed) == 1
    heard = hear(PROPOSALS, proposal().raw)
    assert isinstance(heard.event, ProposalReceived) and heard.event.source == PEER
    assert len(heard.signed) == 1 + 4 + 2, "its own, the parent's certificate, two facts"
    kinds = [hear(FACTS, raw) for raw in GOSSIP[FACTS]]
    assert all(isinstance(each.event, FactsReceived) for each in kinds)
    assert [len(each.signed) for each in kinds] == [1, 4, 2]
    heard = hear(MESSAGES, GOSSIP[MESSAGES][0])
    assert isinstance(heard.event, MessagesReceived) and heard.event.messages == NOTES


@pytest.mark.parametrize("topic", speech.TOPICS)
def test_a_flipped_signature_is_in_what_is_to_be_judged(topic: str) -> None:
    for raw in GOSSIP[topic]:
        broken = raw[:-1] + bytes((raw[-1] ^ 1,))
        heard = speech.hear(topic, broken, 7, PEER)
        assert not all(SEEN.verify(*check) for check in heard.signed)


def test_queries_and_replies() -> None:
    assert speech.asked(POLL, QUERIES[POLL], 5, PEER, CHAIN.spec.id) == PollReceived(5, PEER, 2)  # type: ignore[arg-type]
    pushed = speech.asked(CERT, QUERIES[CERT], 5, PEER, CHAIN.spec.id)
    assert pushed == CertificateReceived(CERTIFICATE, PEER)

    def read(proto: str, raw: bytes) -> list[object]:
        return list(speech.read_reply(proto, raw, 9, PEER, SEEN))

    (answer,) = read(POLL, REPLIES[POLL][0])
    assert answer == AnswerReceived(9, PEER, 2, 0, SECOND.id)  # type: ignore[arg-type]
    assert read(POLL, REPLIES[POLL][1]) == [
        CertificateReceived(CERTIFICATE, PEER),
        AskFailed(9, PEER),
    ]
    assert read(TIP, REPLIES[TIP][0]) == [TipReceived(PEER, 2)]  # type: ignore[arg-type]
    (fetched,) = read(BLOCK, REPLIES[BLOCK][0])
    assert isinstance(fetched, Fetched) and fetched.certificate == CERTIFICATE
    assert fetched.messages == NOTES
    (bodies,) = read(BODIES, REPLIES[BODIES][0])
    assert isinstance(bodies, Fetched) and bodies.messages == NOTES
    for proto in (POLL, BLOCK, BODIES, TIP):
        assert read(proto, speech.NONE) == [Missing(9, PEER)]


def test_a_candidate_is_given_by_id_and_a_stranger_id_is_not_there() -> None:
    ask = encode(["block", 1, 2, SECOND.id])
    (fetched,) = speech.read_reply(BLOCK, speech.answer(Shelf(), BLOCK, ask), 9, PEER, SEEN)
    assert isinstance(fetched, Fetched) and fetched.certificate is None
    assert fetched.proposal is not None and fetched.proposal.peer == PROPOSER
    assert speech.answer(Shelf(), BLOCK, encode(["block", 1, 2, FIRST.id])) == speech.NONE


def test_a_poll_for_a_committed_height_is_answered_from_the_store_however_old() -> None:
    chain = CHAIN.spec.id

    def past(height: int, library: speech.Library | None = None) -> bytes | None:
        query = encode(["poll", 1, chain, height])
        return speech.answer_past(library or Shelf(), query, chain)

    tip = Shelf().tip()
    found = past(tip)
    assert found is not None
    certificate, failed = speech.read_reply(POLL, found, 9, PEER, SEEN)
    assert isinstance(certificate, CertificateReceived) and certificate.certificate == CERTIFICATE
    assert isinstance(failed, AskFailed)
    assert past(tip + 1) is None and past(0) is None
    with pytest.raises(EncodingError, match="another chain"):
        speech.answer_past(Shelf(), QUERIES[POLL], CERTIFICATE.id)


class Uncertified(Shelf):
    """What a peer of a chain without votes holds."""

    def certified(self, height: int) -> Held | None:
        held = super().certified(height)
        return None if held is None else Held(held.block, b"", None)


def test_without_votes_a_past_height_is_answered_with_its_block() -> None:
    found = speech.answer_past(Uncertified(), QUERIES[POLL], CHAIN.spec.id)
    assert found is not None
    (told,) = speech.read_reply(POLL, found, 9, PEER, SEEN)
    assert told == AnswerReceived(9, PEER, SECOND.height, 0, SECOND.id)  # type: ignore[arg-type]


def test_batches_hold_what_fits_and_lose_nothing() -> None:
    big = [message(CHAIN.spec, n, data=bytes(7_000)).raw for n in range(90)]
    payloads = speech.batches(big)
    assert len(payloads) > 1 and all(len(p) <= speech.TOPIC_BYTES_MAX[MESSAGES] for p in payloads)
    found: list[bytes] = []
    for payload in payloads:
        event = speech.hear(MESSAGES, payload, 1, None).event
        assert isinstance(event, MessagesReceived)
        found += [each.raw for each in event.messages]
    assert found == big


def test_bodies_in_a_reply_are_bounded() -> None:
    class Full(Shelf):
        def bodies(self, ids: object) -> list[bytes]:
            return [message(CHAIN.spec, n, data=bytes(7_500)).raw for n in range(400)]

    raw = speech.answer(Full(), BODIES, encode(["bodies", 1, [NOTES[0].id]]))
    assert len(raw) <= speech.REPLIES_MAX[BODIES]
    (fetched,) = speech.read_reply(BODIES, raw, 9, PEER, SEEN)
    assert isinstance(fetched, Fetched) and 200 < len(fetched.messages) < 400


# ---- what is wrong ------------------------------------------------------------------------------


def test_a_poll_for_another_chain_is_refused() -> None:
    other = make_spec(3)
    with pytest.raises(EncodingError, match="another chain"):
        speech.asked(POLL, QUERIES[POLL], 5, PEER, other.id)


def flipped(raw: bytes, needle: bytes) -> bytes:
    """One bit of the last place where `needle` stands."""
    place = raw.rindex(needle) + len(needle) - 1
    return raw[:place] + bytes((raw[place] ^ 1,)) + raw[place + 1 :]


@pytest.mark.parametrize(
    ("proto", "reply", "signature"),
    [
        (POLL, REPLIES[POLL][1], CERTIFICATE.signatures[0][1]),
        (BLOCK, REPLIES[BLOCK][0], CERTIFICATE.signatures[0][1]),
        (BLOCK, REPLIES[BLOCK][0], NOTES[0].signature),
        (BODIES, REPLIES[BODIES][0], NOTES[0].signature),
    ],
    ids=["past", "block certificate", "block message", "bodies"],
)
def test_a_wrong_signature_in_a_reply_is_its_senders_fault(
    proto: str, reply: bytes, signature: bytes
) -> None:
    with pytest.raises(SignatureInvalid):
        speech.read_reply(proto, flipped(reply, signature), 9, PEER, SEEN)


@pytest.mark.parametrize("topic", speech.TOPICS)
def test_oversized_gossip_is_refused(topic: str) -> None:
    for size in (speech.TOPIC_BYTES_MAX[topic] + 1, 2 * 1024 * 1024):
        with pytest.raises(EncodingError):
            speech.hear(topic, bytes(size), 1, PEER)


def speaks(call: Callable[[], object]) -> None:
    """Only the two typed errors may escape; anything else is a crash."""
    try:
        call()
    except (EncodingError, SignatureInvalid):
        pass


SAMPLES = [raw for raws in GOSSIP.values() for raw in raws]
SAMPLES += [*QUERIES.values(), *(raw for raws in REPLIES.values() for raw in raws), speech.NONE]


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A real record with bytes changed, cut, doubled or grown."""
    raw = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 4))):
        if not raw:
            break
        place = draw(st.integers(0, min(len(raw) - 1, 400)))
        how = draw(st.integers(0, 3))
        if how == 0:
            raw[place] = draw(st.integers(0, 255))
        elif how == 1:
            del raw[place : place + draw(st.integers(1, 40))]
        elif how == 2:
            raw[place:place] = draw(st.binary(max_size=20))
        else:
            raw[place:place] = raw[place : place + 60]
    return bytes(raw)


@given(mangled() | st.binary(max_size=300), st.sampled_from(speech.TOPICS))
def test_any_gossip_gives_an_event_or_a_typed_error(data: bytes, topic: str) -> None:
    speaks(lambda: speech.hear(topic, data, 1, PEER))


@given(mangled() | st.binary(max_size=300), st.sampled_from((TIP, BODIES, BLOCK)))
def test_any_query_gives_an_answer_or_a_typed_error(data: bytes, proto: str) -> None:
    speaks(lambda: speech.answer(Shelf(), proto, data))


@given(mangled() | st.binary(max_size=300), st.sampled_from((POLL, CERT)))
def test_any_query_for_the_engine_gives_an_event_or_a_typed_error(data: bytes, proto: str) -> None:
    speaks(lambda: speech.asked(proto, data, 1, PEER, CHAIN.spec.id))


@given(mangled() | st.binary(max_size=300), st.sampled_from(speech.PROTOS))
def test_any_reply_gives_events_or_a_typed_error(data: bytes, proto: str) -> None:
    speaks(lambda: speech.read_reply(proto, data, 1, PEER, SEEN))


def test_the_ids_of_bodies_are_opaque() -> None:
    """An id that is nobody's is simply not there."""
    ask = encode(["bodies", 1, [MessageId(b"\x01\x71\x12\x20" + bytes(32))]])
    speech.answer(Shelf(), BODIES, ask)
