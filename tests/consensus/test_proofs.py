"""Proof files: what is true verifies, every step that fails says which it was (protocol §10)."""

from dataclasses import replace

import pytest

from consensus.block import Header
from consensus.certificates import Certificate
from consensus.errors import EncodingError, InvalidProof
from consensus.ids import Checkpoint, content_id
from consensus.messages import Message
from consensus.proofs import (
    EpochLink,
    Included,
    Path,
    Receipted,
    StateEntry,
    build,
    message_path,
    receipt_path,
    state_path,
    verify,
)
from consensus.tables import Table
from tests.consensus.builders_keys import KeyedVerifier, account_key
from tests.consensus.builders_proofs import (
    PARAMETERS,
    PEERS,
    certificate_for,
    header_of,
    moved,
    proven_chain,
    spec_of,
)

CHAIN = proven_chain()
PRESENT, ABSENT = b"a/" + account_key(3), b"a/" + account_key(999)
PATHS = {
    "state": state_path(PRESENT, CHAIN.state.prove(PRESENT)),
    "absent": state_path(ABSENT, CHAIN.state.prove(ABSENT)),
    "message": message_path(CHAIN.inputs, CHAIN.message),
    "receipt": receipt_path(CHAIN.receipts, 3),
}


def proof(chain=CHAIN, path: Path = PATHS["state"], **changes) -> bytes:
    chain = replace(chain, **changes)
    return build(chain.spec, chain.links, chain.header, chain.certificate, path)


def check(raw: bytes, chain_id: bytes = CHAIN.spec.id, **options):
    return verify(raw, chain_id, verifier=KeyedVerifier(), **options)


def refused(raw: bytes, chain_id: bytes = CHAIN.spec.id, **options) -> str:
    with pytest.raises(InvalidProof) as caught:
        check(raw, chain_id, **options)
    return caught.value.check


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("state", StateEntry(PRESENT, b"\x18\x64")),
        ("absent", StateEntry(ABSENT, None)),
        ("message", Included(CHAIN.message, 3)),
    ],
)
def test_what_is_true_is_proved(name, subject):
    proved = check(proof(path=PATHS[name]))
    assert proved.subject == subject
    assert (proved.height, proved.block) == (40, CHAIN.header.id)
    assert proved.table.epoch == 2 and proved.spec == CHAIN.spec


def test_a_receipt_is_proved():
    subject = check(proof(path=PATHS["receipt"])).subject
    assert isinstance(subject, Receipted)
    assert (subject.receipt.message, subject.receipt.index) == (CHAIN.message.id, 3)


def test_in_the_first_epoch_genesis_is_enough():
    chain = proven_chain(height=5)
    assert chain.links == ()
    assert check(proof(chain), chain.spec.id).height == 5


@pytest.mark.parametrize("name", ["state", "message", "receipt"])
def test_any_flipped_bit_is_refused_and_says_where(name):
    raw = proof(path=PATHS[name])
    for byte in range(0, len(raw), 1 if len(raw) < 4000 else 3):
        changed = bytearray(raw)
        changed[byte] ^= 1 << byte % 8
        assert refused(bytes(changed))


def test_an_absence_with_a_flipped_bit_shows_no_presence():
    raw = proof(path=PATHS["absent"])
    for byte in range(len(raw) - 200, len(raw)):
        changed = bytearray(raw)
        changed[byte] ^= 1 << byte % 8
        try:
            subject = check(bytes(changed)).subject
        except InvalidProof:
            continue
        # Another key that is absent too, if chance put it in the same empty place: still true.
        assert isinstance(subject, StateEntry) and subject.value is None
        assert CHAIN.state.get(subject.key) is None


# ---- each step ----------------------------------------------------------------------------------


def test_another_chain_is_refused():
    other = content_id(b"another chain")
    assert refused(proof(), other) == "chain id"


def test_bytes_that_are_no_proof_are_refused():
    for raw in (b"", b"\x80", b"\xff", proof()[:-1], proof() + b"\x00", CHAIN.header.raw):
        assert refused(raw) == "proof form"


def test_a_spec_that_cannot_start_is_refused():
    raw = spec_of().raw.replace(b"snowball", b"solo", 1)
    raw = raw.replace(b"\x68solo", b"\x64solo")
    fake = replace(CHAIN.spec, raw=raw)
    assert refused(proof(spec=fake), content_id(raw)) == "spec form"


def test_an_old_genesis_needs_a_checkpoint():
    parameters = PARAMETERS.replace(trust_ms=1000)
    assert parameters.trust_ms == 1000
    spec = spec_of(parameters=parameters)
    header = header_of(spec, 3, spec.genesis_table(), state_root=CHAIN.state.root)
    raw = proof(spec=spec, links=(), header=header, certificate=certificate_for(header, PEERS))
    genesis_ms = spec.genesis_time_ms
    assert check(raw, spec.id, clock_ms=genesis_ms + 1000).height == 3
    assert refused(raw, spec.id, clock_ms=genesis_ms + 1001) == "trust"
    assert check(raw, spec.id).height == 3  # the caller has no clock


def test_a_proof_that_passes_a_young_checkpoint_needs_no_young_genesis():
    chain = proven_chain(parameters=PARAMETERS.replace(trust_ms=60_000))
    raw, links = proof(chain), [Header.decode(link.header) for link in chain.links]
    for header in (*links, chain.header):
        vouched, time_ms = Checkpoint(header.height, header.id), header.fields.time_ms
        young = {"checkpoint": vouched, "clock_ms": time_ms + 60_000}
        assert check(raw, chain.spec.id, **young).height == chain.header.height
        old = young | {"clock_ms": time_ms + 60_001}
        assert refused(raw, chain.spec.id, **old) == "trust"
        other = Checkpoint(header.height, CHAIN.header.id)
        assert refused(raw, chain.spec.id, checkpoint=other) == "checkpoint"
    assert refused(raw, chain.spec.id, clock_ms=10**15) == "trust"
    between = Checkpoint(links[0].height + 1, links[0].id)
    assert refused(raw, chain.spec.id, checkpoint=between) == "checkpoint"


def test_what_follows_a_checkpoint_is_of_the_table_that_it_names():
    # ‡ old keys of epoch 0 may certify a true header again, not another table after it
    usurper = Table.of(1, [account_key(7)] * PARAMETERS.slots)
    (first, second), vouched = CHAIN.links, Header.decode(CHAIN.links[0].header)
    checkpoint = Checkpoint(vouched.height, vouched.id)
    forged = first._replace(table=usurper.raw)
    assert refused(proof(links=(forged, second)), checkpoint=checkpoint) == "epoch 0 next_table"
    renamed = Header.of(vouched.fields._replace(next_table=usurper.hash))
    certified = certificate_for(renamed, PEERS).raw
    header = header_of(CHAIN.spec, 20, usurper, state_root=CHAIN.state.root)
    own = certificate_for(header, [account_key(7)])
    links = (EpochLink(renamed.raw, certified, usurper.raw),)
    raw = proof(links=links, header=header, certificate=own)
    assert check(raw).height == 20, "without a checkpoint nothing is wrong with it"
    assert refused(raw, checkpoint=checkpoint) == "checkpoint"


def test_links_are_needed_in_order_and_all():
    first, second = CHAIN.links
    assert refused(proof(links=(first,))) == "table"
    assert refused(proof(links=(second,))) == "epoch 0 table"
    assert refused(proof(links=(second, first))) == "epoch 0 table"
    assert refused(proof(links=(first, first))) == "epoch 1 table"
    assert refused(proof(links=(first, second, second))) == "epoch 2 table"


def with_first_link(**parts) -> tuple[EpochLink, ...]:
    return (CHAIN.links[0]._replace(**parts), CHAIN.links[1])


def test_an_epoch_ends_with_its_last_header():
    early = header_of(CHAIN.spec, 15, moved(CHAIN.spec.genesis_table()))
    links = with_first_link(header=early.raw, certificate=certificate_for(early, PEERS).raw)
    assert refused(proof(links=links)) == "epoch 0 epoch"


def test_the_next_table_is_the_one_that_the_header_names():
    owners = [PEERS[3]] * 60
    for table in (Table.of(1, owners).raw, b"\x80", b""):
        assert refused(proof(links=with_first_link(table=table))) == "epoch 0 next_table"
    wrong = Table.of(2, owners)
    last = header_of(CHAIN.spec, 16, wrong)
    links = with_first_link(
        header=last.raw, certificate=certificate_for(last, PEERS).raw, table=wrong.raw
    )
    assert refused(proof(links=links)) == "epoch 0 next_table"


def test_an_epoch_header_needs_its_own_certificate():
    other = certificate_for(header_of(CHAIN.spec, 16, Table.of(1, [PEERS[0]] * 60)), PEERS)
    assert refused(proof(links=with_first_link(certificate=other.raw))) == "epoch 0 certificate"
    assert refused(proof(links=with_first_link(certificate=b""))) == "epoch certificate form"
    assert refused(proof(links=with_first_link(header=b""))) == "epoch header form"


def test_two_thirds_are_not_enough_and_strangers_do_not_count():
    header = CHAIN.header
    weights = check(proof()).table.weights
    two = [peer for peer in PEERS if peer != max(PEERS, key=lambda peer: weights[peer])][:2]
    assert refused(proof(certificate=certificate_for(header, two))) == "certificate"
    strangers = (*PEERS, account_key(0))
    assert refused(proof(certificate=certificate_for(header, strangers))) == "certificate"


def test_one_wrong_signature_spoils_a_certificate():
    raw = bytearray(CHAIN.certificate.raw)
    raw[-1] ^= 1
    assert refused(proof(certificate=Certificate.decode(bytes(raw)))) == "signature"


def test_a_certificate_of_another_block_or_round_is_refused():
    other = header_of(CHAIN.spec, 40, Table.decode(CHAIN.links[1].table))
    assert refused(proof(header=other)) == "certificate"
    assert refused(proof(certificate=certificate_for(other, PEERS))) == "certificate"


def test_genesis_has_no_certificate():
    header = header_of(CHAIN.spec, 40, CHAIN.spec.genesis_table())
    fields = header.fields._replace(height=0, epoch=0)
    genesis = type(header).of(fields)
    with pytest.raises(EncodingError, match="a height of 1"):
        certificate_for(genesis, PEERS)


def test_a_header_of_another_chain_is_refused():
    other = spec_of(PEERS[::-1])
    header = header_of(other, 40, CHAIN.spec.genesis_table())
    raw = proof(header=header, certificate=certificate_for(header, PEERS))
    assert refused(raw) == "chain"


def test_paths_lead_to_their_own_root_only():
    state, message, receipt = PATHS["state"], PATHS["message"], PATHS["receipt"]
    absent = PATHS["absent"]
    assert refused(proof(path=Path(b"", None))) == "path form"
    assert refused(proof(path=Path(b"\x80", None))) == "path form"
    assert refused(proof(path=Path(state.path, b"\x18\x65"))) == "state leaf"
    assert refused(proof(path=Path(state.path, None))) == "state leaf"
    assert refused(proof(path=Path(absent.path, b""))) in {"state leaf", "value"}
    assert refused(proof(path=Path(message.path, receipt.value))) == "message form"
    assert refused(proof(path=Path(message.path, None))) == "message form"
    assert refused(proof(path=Path(receipt.path, message.value))) == "merkle root"
    assert refused(proof(path=Path(receipt.path, None))) == "merkle root"
    assert refused(proof(path=receipt_path(CHAIN.receipts[::-1], 3))) == "merkle root"


def test_a_message_is_shown_with_its_own_signature():
    forged = Message.decode(CHAIN.message.raw[:-1] + b"\x00")
    assert forged.id == CHAIN.message.id  # the id leaves the signature out
    assert refused(proof(path=message_path(CHAIN.inputs, forged))) == "message signature"


def test_a_receipt_says_its_own_place():
    header = CHAIN.header
    fields = header.fields._replace(height=39)
    other = type(header).of(fields)
    raw = proof(header=other, certificate=certificate_for(other, PEERS), path=PATHS["receipt"])
    assert refused(raw) == "receipt"


def test_nobody_proves_what_is_not_there():
    with pytest.raises(ValueError, match="not in list"):
        message_path(CHAIN.inputs[:2], CHAIN.message)
    with pytest.raises(IndexError):
        receipt_path(CHAIN.receipts, len(CHAIN.receipts))
