"""Each validity rule that needs no execution, broken once (protocol §5, §8)."""

import pytest

from consensus import merkle
from consensus.block import Block, Body, Header
from consensus.certificates import Certificate
from consensus.errors import InvalidBlock, InvalidCertificate
from consensus.ids import Hash, Id, content_id
from consensus.proposers import next_randomness
from consensus.validity import ROUND_MAX, check_certificate
from tests.consensus.builders_chain import MiniChain, links, make_spec, small
from tests.consensus.builders_keys import peer_key

A, B, C, D = (peer_key(number) for number in range(4))
ONE = Hash(b"1" * 32)
OTHER = content_id(b"other")
LAST = 8  # of epoch 0


@pytest.fixture
def chain():
    chain = MiniChain()
    chain.advance()
    chain.advance()
    return chain


def refuse(chain, rule, block):
    with pytest.raises(InvalidBlock) as caught:
        chain.check(block)
    assert caught.value.rule == rule


def changed(block, **fields):
    """The block with other header fields, whatever they contradict."""
    return Block(Header.of(block.header.fields._replace(**fields)), block.body)


def rebuilt(block, **parts):
    """The block with other parts of its body, and the header's roots right for them."""
    body = block.body
    made = {
        "parent_certificate": body.parent_certificate,
        "facts": body.facts,
        "chain_inputs": body.chain_inputs,
        "messages": body.messages,
    }
    header = parts.pop("header", {})
    body = Body.of(**{**made, **parts})
    roots = {"inputs_root": merkle.root(body.input_leaves), "facts_root": merkle.root(body.facts)}
    fields = block.header.fields._replace(**{**roots, **header})
    return Block(Header.of(fields), body)


def test_a_well_made_block_is_valid(chain):
    chain.check(chain.block())
    chain.check(chain.block(round=7, rank=2))


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ("chain", {"chain": OTHER}),
        ("height", {"height": 4}),
        ("height", {"height": 2}),
        ("parent", {"parent": OTHER}),
        ("epoch", {"epoch": 1}),
        ("main_ref", {"main_ref": 0}),
        ("gas", {"gas_used": 400_001}),
        ("facts_root", {"facts_root": ONE}),
        ("inputs_root", {"inputs_root": ONE}),
        ("randomness", {"randomness": ONE}),
        ("randomness", {"reveal": None}),
        ("rank", {"rank": 4}),
        ("proposer_slot", {"rank": 1}),
        ("proposer_slot", {"proposer_slot": 12}),
        ("parent_certificate", {"parent_certificate": None}),
        ("parent_certificate", {"parent_certificate": OTHER}),
    ],
)
def test_a_field_that_is_not_what_it_must_be(chain, rule, fields):
    refuse(chain, rule, changed(chain.block(), **fields))


def test_time_is_greater_than_the_parents(chain):
    refuse(chain, "time", chain.block(elapsed_ms=0))
    chain.check(chain.block(elapsed_ms=1))


def test_rounds_have_a_bound(chain):
    chain.check(chain.block(round=ROUND_MAX))
    refuse(chain, "round", chain.block(round=ROUND_MAX + 1))


@pytest.mark.parametrize(("round_", "gas"), [(0, 400_000), (2, 200_000), (9, 50_000)])
def test_gas_is_of_the_headers_round(chain, round_, gas):
    chain.check(chain.block(round=round_, gas_used=gas))
    refuse(chain, "gas", chain.block(round=round_, gas_used=gas + 1))


# ---- the proposer -------------------------------------------------------------------------------


def test_a_proposer_has_one_slot_its_best(chain):
    block = chain.block()
    fields = block.header.fields
    owner = chain.view.table.owners[fields.proposer_slot]
    others = [slot for slot in chain.view.table.slots_of(owner) if slot != fields.proposer_slot]
    assert others
    for slot in others:
        refuse(chain, "proposer_slot", chain.block(proposer_slot=slot))


def test_the_order_is_of_the_headers_round(chain):
    height = chain.height + 1
    first = chain.view.ranking(chain.tip.fields.randomness, 0)[0]
    round_ = next(
        n for n in range(1, 50) if chain.view.ranking(chain.tip.fields.randomness, n)[0] != first
    )
    assert chain.block(round=round_).header.fields.height == height
    refuse(chain, "proposer_slot", chain.block(round=round_, proposer_slot=first[1]))


def with_reveal(chain, number, *, peer=None, epoch=0):
    """A block whose reveal is link `number`; its randomness follows."""
    block = chain.block()
    owner = chain.view.table.owners[block.header.fields.proposer_slot]
    reveal = links(chain.spec.seed, chain.parameters, peer or owner, epoch)[number]
    randomness = next_randomness(chain.tip.fields.randomness, reveal)
    return chain.block(reveal=reveal, randomness=randomness)


def test_a_reveal_is_the_link_of_this_height(chain):
    chain.check(with_reveal(chain, 3))
    refuse(chain, "reveal", with_reveal(chain, 2))  # ‡ a lost proposal's at the height before
    refuse(chain, "reveal", with_reveal(chain, 4))
    refuse(chain, "reveal", with_reveal(chain, 3, epoch=1))
    refuse(chain, "reveal", with_reveal(chain, 3, peer=peer_key(9)))


def test_a_ranked_owner_must_reveal(chain):
    randomness = next_randomness(chain.tip.fields.randomness, None)
    refuse(chain, "reveal", chain.block(reveal=None, randomness=randomness))


def test_an_owner_without_a_commitment_does_not_propose():
    # Only A and B renew; C and D keep slots beyond the bound.
    chain = MiniChain(make_spec(4, small(turnover_max=1)))
    chain.advance(*chain.renewing([A, B]))
    chain.advance_to(LAST)
    assert list(chain.view.table.weights) == sorted([A, B, C, D])
    ranking = chain.view.ranking(chain.tip.fields.randomness, 0)
    assert sorted(peer for peer, _ in ranking) == sorted([A, B])
    refuse(chain, "rank", changed(chain.block(), rank=2))
    slots = [slot for peer in (C, D) for slot in chain.view.table.slots_of(peer)]
    for slot in slots:
        refuse(chain, "proposer_slot", changed(chain.block(), proposer_slot=slot))


def test_where_no_owner_is_ranked_all_are_and_reveal_is_null(chain):
    chain.advance_to(LAST)
    assert not chain.view.ranked
    chain.check(chain.block(rank=3))
    block = with_reveal(chain, 1, epoch=1)
    refuse(chain, "reveal", block)


# ---- the parent's certificate -------------------------------------------------------------------


def test_height_one_has_no_parent_certificate():
    chain = MiniChain()
    chain.check(chain.block())
    block = chain.block()
    refuse(chain, "parent_certificate", chain.block(parent_certificate=OTHER))
    refuse(chain, "parent_certificate", rebuilt(block, parent_certificate=b"\x80"))


def certified(chain, header, signers, **fields):
    """The next block with this certificate for its parent."""
    certificate = chain.certify(header, signers)
    header_fields = {"parent_certificate": certificate.id, **fields}
    raw = certificate.raw
    return rebuilt(chain.block(), parent_certificate=raw, header=header_fields)


def test_the_parents_certificate_is_of_the_parent_with_a_quorum(chain):
    chain.check(certified(chain, chain.tip, [A, B, C]))  # any quorum subset is valid
    for signers in ([A, B], [A, B, peer_key(9)]):
        refuse(chain, "parent_certificate", certified(chain, chain.tip, signers))
    refuse(chain, "parent_certificate", certified(chain, chain.headers[-2], [A, B, C, D]))
    sibling = Header.of(chain.tip.fields._replace(state_root=ONE))
    refuse(chain, "parent_certificate", certified(chain, sibling, [A, B, C, D]))


def test_the_parents_certificate_is_canonical(chain):
    raw = b"\x81\x60"
    header = {"parent_certificate": Id(content_id(raw))}
    refuse(
        chain, "parent_certificate", rebuilt(chain.block(), parent_certificate=raw, header=header)
    )
    empty = {"parent_certificate": Id(content_id(b""))}
    refuse(
        chain, "parent_certificate", rebuilt(chain.block(), parent_certificate=b"", header=empty)
    )


def test_the_first_block_of_an_epoch_is_judged_by_the_table_before():
    chain = MiniChain(make_spec([A, A, B, C, D, D], small(slots=6)))
    chain.advance(*chain.renewing([A]))
    chain.advance_to(LAST - 1)
    chain.commit(chain.block())
    table, before = chain.view.table, chain.view.previous
    assert before.owners == (A, A, B, C, D, D) and table.owners == (A, A, None, C, D, D)
    # B has no slot in Table_1, yet its accept of the last block of epoch 0 counts.
    chain.check(certified(chain, chain.tip, [A, B, C, D]))
    chain.check(certified(chain, chain.tip, [B, A, D]))
    with pytest.raises(InvalidCertificate, match="epoch"):
        check_certificate(chain.spec, table, chain.tip, chain.certify(chain.tip, [A, C, D]))


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"chain": OTHER}, "another chain"),
        ({"height": 3}, "another height"),
        ({"block": OTHER}, "another block"),
        ({"epoch": 1}, "another epoch"),
    ],
)
def test_a_certificate_names_its_block_in_full(chain, fields, cause):
    votes = [chain.accept(peer, chain.tip, **fields) for peer in (A, B, C, D)]
    with pytest.raises(InvalidCertificate, match=cause):
        check_certificate(chain.spec, chain.view.table, chain.tip, Certificate.of(votes))


def test_a_certificates_round_may_differ_from_the_headers(chain):
    votes = [chain.accept(peer, chain.tip, round_=5) for peer in (A, B, C)]
    check_certificate(chain.spec, chain.view.table, chain.tip, Certificate.of(votes))


# ---- the body -----------------------------------------------------------------------------------


def ids(count, start=0):
    return tuple(Id(content_id(b"input %d" % (start + i))) for i in range(count))


def test_the_body_has_bounds():
    tight = small(block_messages_max=4, facts_max=8, block_bytes_max=310_000)
    chain = MiniChain(make_spec(4, tight))
    block = chain.block()
    chain.check(rebuilt(block, messages=ids(4)))
    refuse(chain, "messages max", rebuilt(block, messages=ids(5)))
    refuse(chain, "facts max", rebuilt(block, facts=(b"fact",) * 9))
    full = rebuilt(block, chain_inputs=ids(8190))
    assert len(full.body.raw) > 310_000
    refuse(chain, "body bytes", full)


def test_an_input_comes_once(chain):
    block = chain.block()
    refuse(chain, "inputs once", rebuilt(block, messages=ids(2) + ids(1)))
    refuse(chain, "inputs once", rebuilt(block, chain_inputs=ids(1), messages=ids(1)))


def test_skipped_ids_come_from_round_four_on_and_are_inputs_in_order(chain):
    def skipping(round_, skipped):
        block = chain.block(round=round_)
        return rebuilt(
            block, chain_inputs=ids(2), messages=ids(3, 2), header={"skipped": tuple(skipped)}
        )

    one, two, three, four, five = ids(5)
    chain.check(skipping(4, [one, three, five]))
    chain.check(skipping(4, [one, two, three, four, five]))
    refuse(chain, "skipped round", skipping(3, [one]))
    refuse(chain, "skipped inputs", skipping(4, [three, one]))
    refuse(chain, "skipped inputs", skipping(4, [one, one]))
    refuse(chain, "skipped inputs", skipping(4, [*ids(1, 9)]))


# ---- emptiness ----------------------------------------------------------------------------------


def test_without_heartbeat_an_empty_block_needs_a_failed_round(chain):
    refuse(chain, "empty", chain.block(messages=0))
    refuse(chain, "empty", chain.block(messages=0, elapsed_ms=10**9))
    chain.check(chain.block(messages=0, round=1))
    chain.check(rebuilt(chain.block(messages=0), chain_inputs=ids(1)))


def test_facts_ride_along_but_make_no_block(chain):
    fact = chain.renew(A)
    refuse(chain, "empty", chain.block(messages=0, facts=[fact]))
    chain.check(chain.block(messages=0, facts=[fact], round=1))
    chain.check(chain.block(messages=1, facts=[fact]))


def test_with_a_heartbeat_an_empty_block_is_due_in_time():
    chain = MiniChain(make_spec(4, small(heartbeat_s=30)))
    refuse(chain, "empty", chain.block(messages=0, elapsed_ms=29_999))
    chain.check(chain.block(messages=0, elapsed_ms=30_000))
    chain.check(chain.block(messages=0, elapsed_ms=1, round=1))
