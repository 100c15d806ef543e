"""Every record type: comes back from its bytes, and nothing but its one form is taken."""

from itertools import pairwise

import dag_cbor
import pytest

from consensus.block import BODY_BYTES_MAX, Body
from consensus.certificates import (
    PHASES,
    Aggregate,
    Certificate,
    Vote,
    append_signature,
    check_weight,
    signatures_valid,
    vote_unsigned,
)
from consensus.encoding import HEIGHT_MAX, ROUND_MAX
from consensus.errors import ConsensusError, EncodingError, InvalidCertificate
from consensus.facts import DoubleProposal, Evidence, LateAccept, decode_fact
from consensus.ids import content_id, id_of_hash
from consensus.messages import Draft, Message, Queued, Receipt, decode_data
from consensus.signatures import KINDS, coverage, verify_all
from consensus.wire import SPOKEN
from tests.consensus.builders_keys import KeyedVerifier, account_key, keyed_signature, peer_key
from tests.consensus.builders_proofs import certificate_for, proven_chain
from tests.vectors import records
from tests.vectors.records import digest, identifier, public, samples

DECODERS = {tag: spoken.decode for tag, spoken in SPOKEN.items()}
DECODERS |= {"receipt": Receipt.decode, "queued": Queued.decode}
WRONG = (-1, True, "text", {}, [[]], 2**64 - 1, b"", b"\x00" * 20)
SAMPLES = [pytest.param(sample, id=f"{sample.tag}: {sample.name}") for sample in samples()]


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_record_comes_back_from_its_bytes(sample):
    record = DECODERS[sample.tag](sample.raw)
    raw = record.encode() if sample.tag in {"receipt", "queued"} else record.raw
    assert raw == sample.raw
    if sample.id is not None and sample.tag != "body":
        assert record.id == sample.id
    if sample.tag in {"message", "claim", "renew", "confirm", "accept", "proposal"}:
        assert record.signed_bytes == sample.signatures[0][1]


# Fields that are null in the samples but may be what is put there: main_ref, extra.
MAY_BE = {("header", 21): (2**64 - 1,), ("queued", 9): WRONG}


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_record_of_another_form_is_refused(sample):
    decode, items = DECODERS[sample.tag], dag_cbor.decode(sample.raw)
    raws = [b"", sample.raw[:-1], sample.raw + b"\x00", b"\x9f" + sample.raw[1:] + b"\xff"]
    raws += [dag_cbor.encode([*items[:1], 2, *items[2:]]), dag_cbor.encode(["x", *items[1:]])]
    raws += [dag_cbor.encode(items[:-1]), dag_cbor.encode([*items, None])]
    raws += [dag_cbor.encode({"a": items})]
    for place in range(2, len(items)):
        allowed = MAY_BE.get((sample.tag, place), ())
        for wrong in WRONG:
            if type(wrong) is not type(items[place]) and wrong not in allowed:
                changed = [*items[:place], wrong, *items[place + 1 :]]
                raws.append(dag_cbor.encode(changed))
    for raw in raws:
        with pytest.raises(EncodingError):
            decode(raw)


@pytest.mark.parametrize("sample", SAMPLES)
def test_any_flipped_byte_gives_another_record_or_none(sample):
    decode = DECODERS[sample.tag]
    for at in range(len(sample.raw)):
        raw = bytearray(sample.raw)
        raw[at] ^= 0x41
        try:
            record = decode(bytes(raw))
        except EncodingError:
            continue
        assert dag_cbor.encode(dag_cbor.decode(bytes(raw))) == bytes(raw)
        assert record != decode(sample.raw)


@pytest.mark.parametrize("sample", [item for item in samples() if item.tag in SPOKEN])
def test_long_records_are_refused_before_decoding(sample):
    with pytest.raises(EncodingError, match="at most"):
        DECODERS[sample.tag](sample.raw + bytes(SPOKEN[sample.tag].bytes_max))


# ---- signatures ---------------------------------------------------------------------------------


def test_no_signature_is_valid_in_two_places():
    covered = {
        coverage(kind, chain, b"raw") for kind in KINDS for chain in (bytes(36), b"\x01" * 36)
    }
    assert len(covered) == 2 * len(KINDS)
    for one, other in pairwise(sorted(covered)):
        assert not other.startswith(one)


def test_all_signatures_must_verify():
    verifier = KeyedVerifier()
    good = (peer_key(0), b"signed", keyed_signature(peer_key(0), b"signed"))
    bad = (peer_key(1), b"signed", good[2])
    assert verify_all(verifier, [good, good]) and verify_all(verifier, [])
    assert not verify_all(verifier, [good, bad])


# ---- messages -----------------------------------------------------------------------------------


def test_the_id_of_a_message_leaves_its_signature_out():
    message = records.message()
    unsigned = dag_cbor.encode(dag_cbor.decode(message.raw)[:-1])
    assert message.id == content_id(unsigned) and message.raw_unsigned == unsigned
    other = Message.decode(message.raw[:-1] + bytes((message.raw[-1] ^ 1,)))
    assert other.id == message.id and other.raw != message.raw


def test_a_wallet_cannot_make_what_nobody_takes():
    message = records.message()
    draft = Draft(message.chain, message.sender, message.to, bytes(8193), message.nonce, 300, 1000)
    with pytest.raises(EncodingError, match="at most 8192"):
        draft.unsigned()
    assert Message.decode(draft._replace(data=bytes(8192)).signed(bytes(64))).data == bytes(8192)


@pytest.mark.parametrize(
    "value", [{}, [], ["a"], ["a", {}, 1], ["a", []], [1, {}], ["a" * 65, {}], ["a", None], "a"]
)
def test_data_is_a_type_and_its_fields(value):
    with pytest.raises(EncodingError, match="expected"):
        decode_data(dag_cbor.encode(value))


def test_data_in_good_form():
    assert decode_data(dag_cbor.encode(["T", {"a": [1]}])) == ("T", {"a": [1]})


def test_a_receipt_has_a_known_status():
    receipt = records.receipt()
    assert Receipt.decode(receipt.encode()) == receipt
    with pytest.raises(EncodingError, match="unknown status"):
        Receipt.decode(receipt._replace(status="maybe").encode())


# ---- votes and certificates ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "made"), [(Certificate, records.certificate), (Aggregate, records.aggregate)]
)
def test_signers_of_a_quorum_are_in_order_each_once(kind, made):
    items = dag_cbor.decode(made().raw)
    a, b, c = items[7]
    for signatures in ([b, a, c], [a, a, b], [a, c, b]):
        with pytest.raises(EncodingError, match="ordered by key"):
            kind.decode(dag_cbor.encode([*items[:7], signatures]))
    assert len(kind.decode(dag_cbor.encode([*items[:7], [a, c]])).signatures) == 2


def test_a_certificate_gives_back_its_votes():
    votes = records.votes("accept", records.PEERS[:3])
    assert list(Certificate.of(votes[::-1]).votes()) == votes
    aggregate = records.aggregate()
    assert Aggregate.of(aggregate.votes()) == aggregate


@pytest.mark.parametrize(
    ("height", "round_"), [(0, 0), (HEIGHT_MAX + 1, 0), (1, ROUND_MAX + 1), (2**64 - 1, 2**64 - 1)]
)
def test_words_of_no_height_or_round_have_no_form(height, round_):
    """Whoever acts on such a vote computes epochs and bytes that there are not."""
    block = content_id(b"block")
    place = {"chain": content_id(b"chain"), "epoch": 0, "height": height, "round_": round_}
    for phase in PHASES:
        unsigned = vote_unsigned(phase, **place, block=block, peer=bytes(32))
        with pytest.raises(EncodingError, match=r"expected a (height|round) of"):
            Vote.decode(append_signature(unsigned, bytes(64)))


def test_a_vote_of_neither_phase_is_refused():
    with pytest.raises(EncodingError, match="neither"):
        Vote.decode(records.claim().raw)


def weights(*numbers: int) -> dict[bytes, int]:
    return {peer_key(number): weight for number, weight in enumerate(numbers)}


HEADER = proven_chain(height=3).header


@pytest.mark.parametrize(
    ("slots", "signers", "enough"),
    [
        ((1, 1, 1, 1), 3, True),
        ((1, 1, 1), 2, False),  # exactly two thirds are not more than two thirds
        ((1, 1, 1), 3, True),
        ((20, 21, 19), 2, True),
        ((20, 20, 20), 2, False),
        ((1,), 1, True),
    ],
)
def test_a_quorum_is_more_than_two_thirds_of_the_occupied_slots(slots, signers, enough):
    certificate = certificate_for(HEADER, [peer_key(number) for number in range(signers)])
    if enough:
        check_weight(certificate, weights(*slots))
    else:
        with pytest.raises(InvalidCertificate, match="two thirds"):
            check_weight(certificate, weights(*slots))


def test_strangers_do_not_sign_certificates():
    certificate = certificate_for(HEADER, [peer_key(0), peer_key(1), account_key(0)])
    with pytest.raises(InvalidCertificate, match="owns no slot"):
        check_weight(certificate, weights(1, 1))


def test_one_signature_that_does_not_verify_spoils_all():
    certificate = certificate_for(HEADER, [peer_key(0), peer_key(1)])
    assert signatures_valid(certificate, KeyedVerifier())
    spoiled = Certificate.decode(certificate.raw[:-1] + bytes((certificate.raw[-1] ^ 1,)))
    assert not signatures_valid(spoiled, KeyedVerifier())


# ---- facts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["claim", "renew", "evidence", "double", "late"])
def test_facts_are_told_apart_by_their_tag(tag):
    raw = next(sample.raw for sample in samples() if sample.tag == tag)
    assert decode_fact(raw).raw == raw
    assert len(raw) <= 512


def test_what_is_no_fact_is_refused():
    for raw in (
        b"",
        b"\x80",
        records.message().raw,
        records.vote("accept", records.PEERS[0], None).raw,
    ):
        with pytest.raises(EncodingError, match="no known kind"):
            decode_fact(raw)


def test_evidence_is_two_votes_that_contradict_each_other():
    peer = records.PEERS[0]
    one, nil = records.vote("accept", peer, identifier("b")), records.vote("accept", peer, None)
    assert Evidence.of(one, nil) == Evidence.of(nil, one)
    assert Evidence.of(one, nil).peer == public(peer)
    confirm, other = (
        records.vote("confirm", peer, None),
        records.vote("accept", records.PEERS[1], None),
    )
    for pair in ((one, one), (one, confirm), (one, other)):
        with pytest.raises(EncodingError, match="contradict"):
            Evidence.of(*pair)
    first, second = sorted((one.raw, nil.raw))
    with pytest.raises(EncodingError, match="ordered"):
        Evidence.decode(dag_cbor.encode(["evidence", 1, second, first]))


def test_two_proposals_of_one_place_are_evidence():
    one, other = records.proposal(), records.proposal(reveal=None)
    double = DoubleProposal.of(one, other)
    assert double == DoubleProposal.of(other, one)
    assert {covered for covered, _ in double.signed} == {one.signed_bytes, other.signed_bytes}
    with pytest.raises(EncodingError, match="different places"):
        DoubleProposal.of(one, records.proposal(round_=1))
    with pytest.raises(EncodingError, match="two different blocks"):
        DoubleProposal.of(one, one)


def test_only_accepts_of_a_block_are_late():
    for vote in (
        records.vote("confirm", records.PEERS[0], identifier("b")),
        records.vote("accept", records.PEERS[0], None),
    ):
        with pytest.raises(EncodingError, match="late"):
            LateAccept.of(vote)


# ---- blocks -------------------------------------------------------------------------------------


def test_a_body_over_its_bound_is_not_made():
    ids = tuple(id_of_hash(digest(str(number))) for number in range(8192))
    facts = tuple(bytes(512) for _ in range(64))
    full = Body.of(
        parent_certificate=bytes(128 * 1024), facts=facts, chain_inputs=ids, messages=ids
    )
    assert len(full.raw) <= BODY_BYTES_MAX and Body.decode(full.raw) == full
    assert full.inputs == ids + ids
    with pytest.raises(ConsensusError):
        Body.of(parent_certificate=bytes(BODY_BYTES_MAX), facts=(), chain_inputs=(), messages=())


def test_the_first_block_has_no_parent_certificate():
    empty = Body.of(parent_certificate=b"", facts=(), chain_inputs=(), messages=())
    assert empty.certificate() is None
    assert records.body().certificate() == records.certificate()
