"""Following without slots: certificates, tables, trust, forks (protocol §10)."""

import hashlib

import pytest

from consensus import light
from consensus.block import Header
from consensus.certificates import Certificate, append_signature
from consensus.errors import InvalidProof, TextError
from consensus.ids import Checkpoint, Hash, checkpoint_from_text, checkpoint_text
from consensus.light import Certified, Forked, Watch
from consensus.parameters import DAY_MS
from consensus.tables import Table
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_keys import KeyedVerifier, peer_key

A, B, C, D = (peer_key(number) for number in range(4))
STRANGER = peer_key(9)
ONE = Hash(b"1" * 32)
LAST = 8  # of epoch 0


def grown(height=2 * LAST + 3, **parameters):
    """A chain over epoch boundaries, with a new owner from epoch 1 on."""
    chain = MiniChain(make_spec(4, small(**parameters)))
    while chain.height < height:
        facts = chain.renewing() if chain.height % LAST == 0 else []
        if chain.height == 1:
            facts = [claim for _, claim in chain.mine(STRANGER, slot=0)[:1]]
        chain.advance(*facts)
    assert STRANGER in chain.tables[LAST].weights
    return chain


@pytest.fixture(scope="module")
def chain():
    return grown()


def block(chain, height):
    certificate = chain.certificates[height]
    assert certificate is not None
    return Certified(chain.headers[height], certificate)


def table_bytes(chain, height):
    """What a follower is handed with a block: the next table, where it is a new one."""
    return chain.tables[height].raw if height % LAST == 0 else None


def follow(chain, tip, certified, *, next_table=None, verifier=None):
    return light.follow(
        chain.spec, tip, certified, next_table=next_table, verifier=verifier or KeyedVerifier()
    )


def refuse(check, call, *arguments, **keywords):
    with pytest.raises(InvalidProof) as caught:
        call(*arguments, **keywords)
    assert caught.value.check == check


def tip_at(chain, height):
    tip = light.start(chain.spec, 0)
    for at in range(1, height + 1):
        tip = follow(chain, tip, block(chain, at), next_table=table_bytes(chain, at))
    return tip


def test_a_follower_reaches_the_tip_with_the_same_table(chain):
    tip = tip_at(chain, chain.height)
    assert (tip.height, tip.block) == (chain.height, chain.tip.id)
    assert tip.table == chain.view.table


def test_a_light_client_skips_by_the_last_header_of_each_epoch(chain):
    table = light.start(chain.spec, 0).table
    verifier = KeyedVerifier()
    for height in (LAST, 2 * LAST):
        table = light.skip(
            chain.spec,
            table,
            block(chain, height),
            next_table=chain.tables[height].raw,
            verifier=verifier,
        )
    light.check_certified(chain.spec, table, block(chain, 2 * LAST + 2), verifier)
    refuse("table", light.check_certified, chain.spec, table, block(chain, LAST), verifier)


def test_only_the_last_header_of_an_epoch_skips(chain):
    table = chain.spec.genesis_table()
    how = {"next_table": chain.tables[LAST].raw, "verifier": KeyedVerifier()}
    refuse("epoch", light.skip, chain.spec, table, block(chain, LAST - 1), **how)


def test_heights_and_parents_follow_each_other(chain):
    tip = tip_at(chain, 3)
    refuse("height", follow, chain, tip, block(chain, 3))
    refuse("height", follow, chain, tip, block(chain, 5))
    orphan = Header.of(chain.headers[4].fields._replace(parent=chain.headers[2].id))
    certified = Certified(orphan, chain.certify(orphan, [A, B, C, D]))
    refuse("parent", follow, chain, tip, certified)


@pytest.mark.parametrize(
    ("fields", "check"),
    [
        ({"chain": grown(LAST, slots=13).spec.id}, "chain"),
        ({"epoch": 1}, "epoch"),
        ({"height": 0}, "epoch"),
    ],
)
def test_a_header_is_of_this_chain_and_its_epoch(chain, fields, check):
    header = Header.of(chain.headers[4].fields._replace(**fields))
    certified = Certified(header, chain.certificates[4])
    refuse(check, light.check_certified, chain.spec, chain.tables[3], certified, KeyedVerifier())


def test_a_certificate_is_of_that_header_with_a_quorum(chain):
    table, header = chain.tables[3], chain.headers[4]
    verifier = KeyedVerifier()

    def refused(header, certificate, check="certificate"):
        certified = Certified(header, certificate)
        refuse(check, light.check_certified, chain.spec, table, certified, verifier)

    refused(header, chain.certificates[3])
    refused(header, chain.certify(header, [A, B]))
    refused(header, chain.certify(header, [A, B, STRANGER]))
    refused(Header.of(header.fields._replace(state_root=ONE)), chain.certificates[4])
    assert verifier.asked == 0  # weight comes before signatures
    votes = [chain.accept(peer, header) for peer in (A, B, C, D)]
    forged = Certificate.of([*votes[:3], forge(votes[3])])
    refused(header, forged, "signature")


def forge(vote):
    """The vote with a signature that its key did not give."""
    body = vote.raw[: -(64 + 2)]
    return type(vote).decode(append_signature(bytes((body[0] - 1,)) + body[1:], bytes(64)))


def test_a_forged_chain_of_headers_convinces_nobody(chain):
    # ‡ the headers hash to each other, but no table certified the forged next table
    usurper = Table.of(1, [STRANGER] * 12)
    forged = Header.of(chain.headers[LAST].fields._replace(next_table=usurper.hash))
    verifier = KeyedVerifier()
    how = {"next_table": usurper.raw, "verifier": verifier}
    for signers in ([STRANGER], [A, B]):
        certified = Certified(forged, chain.certify(forged, signers))
        refuse("certificate", light.skip, chain.spec, chain.tables[0], certified, **how)
    true = Certified(forged, chain.certificates[LAST])
    refuse("certificate", light.skip, chain.spec, chain.tables[0], true, **how)


def boundary(chain, following, *, hash=None):
    """The tip before the last block of epoch 0, and that block naming another next table."""
    header = Header.of(chain.headers[LAST].fields._replace(next_table=hash or following.hash))
    return tip_at(chain, LAST - 1), Certified(header, chain.certify(header, [A, B, C, D]))


def test_the_next_table_is_the_one_that_the_last_header_names(chain):
    tip = tip_at(chain, LAST - 1)
    last = block(chain, LAST)
    refuse("next_table", follow, chain, tip, last)
    for other in (chain.tables[0], Table.of(1, [STRANGER] * 12)):
        refuse("next_table", follow, chain, tip, last, next_table=other.raw)
    assert follow(chain, tip, last, next_table=chain.tables[LAST].raw).table.epoch == 1


@pytest.mark.parametrize(
    "following",
    [Table.of(2, [A] * 12), Table.of(0, [A] * 12), Table.of(1, [A] * 11), Table.of(1, [None] * 12)],
)
def test_a_next_table_is_of_the_next_epoch_with_all_slots_and_an_owner(chain, following):
    tip, last = boundary(chain, following)
    refuse("next_table", follow, chain, tip, last, next_table=following.raw)


def test_bytes_that_are_no_table_are_refused(chain):
    raw = b"\x81\x60"
    tip, last = boundary(chain, chain.tables[0], hash=Hash(hashlib.sha256(raw).digest()))
    refuse("next_table", follow, chain, tip, last, next_table=raw)


def test_a_table_does_not_change_within_an_epoch(chain):
    other = Table.of(0, [STRANGER] * 12)
    header = Header.of(chain.headers[4].fields._replace(next_table=other.hash))
    certified = Certified(header, chain.certify(header, [A, B, C, D]))
    refuse("next_table", follow, chain, tip_at(chain, 3), certified, next_table=other.raw)


def test_genesis_is_trusted_for_a_time():
    local = make_spec(4)
    assert light.start(local, local.genesis_time_ms + 10**15).table == local.genesis_table()
    public = make_spec(4, small(trust_ms=14 * DAY_MS))
    limit = public.genesis_time_ms + 14 * DAY_MS
    assert light.start(public, limit).height == 0
    refuse("trust", light.start, public, limit + 1)


def test_two_certified_blocks_at_one_height_stop_everything(chain):
    watch = Watch()
    for height in (3, 4, 4, 3):
        watch.record(block(chain, height))
    twin_header = Header.of(chain.headers[4].fields._replace(state_root=ONE))
    twin = Certified(twin_header, chain.certify(twin_header, [A, B, C, D]))
    with pytest.raises(Forked) as caught:
        watch.record(twin)
    assert (caught.value.first, caught.value.second) == (block(chain, 4), twin)
    with pytest.raises(Forked):
        watch.record(block(chain, 5))


def test_another_certificate_of_the_same_block_is_no_fork(chain):
    watch = Watch()
    watch.record(block(chain, 4))
    watch.record(Certified(chain.headers[4], chain.certify(chain.headers[4], [A, B, C])))


def test_a_watch_remembers_a_bounded_number_of_heights(chain, monkeypatch):
    monkeypatch.setattr(light, "WATCHED_HEIGHTS_MAX", 3)
    watch = Watch()
    for height in range(1, 6):
        watch.record(block(chain, height))

    def twin(height):
        header = Header.of(chain.headers[height].fields._replace(state_root=ONE))
        return Certified(header, chain.certify(header, [A, B, C, D]))

    watch.record(twin(2))  # forgotten
    with pytest.raises(Forked):
        watch.record(twin(5))


# ---- checkpoints --------------------------------------------------------------------------------

NOW = 10**15


def aged(height=2 * LAST + 3):
    """The chain with a genesis, and blocks, that are older than trust_ms by NOW."""
    return grown(height, trust_ms=60_000)


def young(chain, height, after_ms=0):
    """A time at which the block of `height` is just young enough."""
    return chain.headers[height].fields.time_ms + 60_000 + after_ms


def test_a_checkpoint_is_a_start_with_the_table_that_its_header_names():
    chain = aged()
    refuse("trust", light.start, chain.spec, NOW)
    for at in (LAST - 2, LAST, 2 * LAST):
        header = chain.headers[at]
        checkpoint = Checkpoint(header.height, header.id)
        table = chain.tables[at].raw
        tip = light.start_at(chain.spec, checkpoint, header, table, young(chain, at))
        assert (tip.height, tip.block) == (at, header.id)
        for height in range(at + 1, chain.height + 1):
            certified = block(chain, height)
            tip = follow(chain, tip, certified, next_table=table_bytes(chain, height))
        assert tip.table == chain.view.table


def test_a_checkpoint_must_be_young_itself():
    chain = aged()
    header, raw = chain.headers[LAST], chain.tables[LAST].raw
    checkpoint = Checkpoint(header.height, header.id)
    light.start_at(chain.spec, checkpoint, header, raw, young(chain, LAST))
    late = young(chain, LAST, 1)
    refuse("trust", light.start_at, chain.spec, checkpoint, header, raw, late)


def test_a_checkpoint_names_one_block_and_its_table():
    chain = aged()
    now, header, raw = young(chain, 3), chain.headers[3], chain.tables[3].raw
    checkpoint = Checkpoint(header.height, header.id)
    other = Checkpoint(header.height, chain.headers[4].id)
    refuse("checkpoint", light.start_at, chain.spec, other, header, raw, now)
    higher = Checkpoint(chain.headers[4].height, header.id)
    refuse("checkpoint", light.start_at, chain.spec, higher, header, raw, now)
    usurper = Table.of(0, [STRANGER] * 12).raw
    refuse("next_table", light.start_at, chain.spec, checkpoint, header, usurper, now)
    elsewhere = grown(LAST, slots=13, trust_ms=60_000)
    refuse("chain", light.start_at, elsewhere.spec, checkpoint, header, raw, now)
    odd = Table.of(5, [STRANGER] * 12)
    named = Header.of(header.fields._replace(next_table=odd.hash))
    vouched = Checkpoint(named.height, named.id)
    refuse("next_table", light.start_at, chain.spec, vouched, named, odd.raw, now)


def test_from_a_checkpoint_a_light_client_skips_on_epoch_by_epoch():
    chain = aged()
    header, verifier = chain.headers[LAST], KeyedVerifier()
    checkpoint = Checkpoint(header.height, header.id)
    start = (chain.spec, checkpoint, header, chain.tables[LAST].raw, young(chain, LAST))
    table = light.start_at(*start).table
    last, following = block(chain, 2 * LAST), chain.tables[2 * LAST].raw
    how = {"next_table": following, "verifier": verifier}
    # ‡ an epoch that is left out, and the table of another one
    refuse("table", light.skip, chain.spec, chain.tables[0], last, **how)
    refuse("table", light.check_certified, chain.spec, table, block(chain, 2 * LAST + 1), verifier)
    table = light.skip(chain.spec, table, last, **how)
    light.check_certified(chain.spec, table, block(chain, 2 * LAST + 1), verifier)


def test_a_checkpoint_has_one_text():
    checkpoint = Checkpoint(4096, grown(LAST).headers[1].id)
    text = checkpoint_text(checkpoint)
    assert text.startswith("4096:b") and checkpoint_from_text(text) == checkpoint
    for wrong in ("4096", f"04096:{text[5:]}", f"-1:{text[5:]}", "7:bafy", f":{text[5:]}", "²:b"):
        with pytest.raises(TextError):
            checkpoint_from_text(wrong)
