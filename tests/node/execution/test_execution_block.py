"""build and execute: equal outcomes, and every header field that lies is refused (protocol §8)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from consensus.block import Block, Body, Header
from consensus.encoding import H
from consensus.errors import InvalidBlock
from consensus.ids import Hash, id_of_hash
from consensus.statemap import StateMap, verify_proof
from node.execution import prepare
from node.execution.block import execute, place_of
from node.execution.keys import balance_key, decode_balance
from node.execution.ports import HostFault
from tests.node.execution.lab import (
    ALICE,
    BOB,
    CAROL,
    COUNTER,
    MILLION,
    PING,
    Lab,
    assert_same,
    receipts,
    verdicts,
)

OTHER = Hash(H("other"))
OTHER_ID = id_of_hash(OTHER)
LIES = {
    "chain": OTHER_ID,
    "height": 3,
    "round": 70_000,
    "epoch": 1,
    "parent": OTHER_ID,
    "parent_certificate": OTHER_ID,
    "proposer_slot": 99,
    "rank": 1,
    "time_ms": 1,
    "reveal": OTHER,
    "randomness": OTHER,
    "next_table": OTHER,
    "inputs_root": OTHER,
    "outputs_root": OTHER,
    "receipts_root": OTHER,
    "state_root": OTHER,
    "facts_root": OTHER,
    "gas_used": 1,
    "skipped": (OTHER_ID,),
    "main_ref": 1,
}
RULES = {"time_ms": "time", "skipped": "skipped round", "reveal": "randomness"}


def mixed(lab):
    """Messages of every kind, some bad."""
    return [
        lab.transfer(ALICE, BOB, 5),
        lab.message(BOB, COUNTER, "Add", {"by": 2}),
        lab.message(ALICE, PING, "Start", {"delay_ms": 3}, pay=5000),
        lab.message(BOB, COUNTER, "Bad", {}),
        lab.transfer(ALICE, BOB, 10 * MILLION),
    ]


def grown(lab):
    """The lab after two blocks, with inputs of the chain's own waiting."""
    lab.step(*mixed(lab))
    assert lab.outcomes[-1].due_ms == 0
    return lab


def test_what_is_built_executes_to_the_same():
    lab = grown(Lab())
    messages = mixed(lab)
    built = lab.build(*messages)
    assert len(built.block.body.chain_inputs) == 1
    for fast in (True, False):
        again = lab.execute(built.block, *messages, fast=fast)
        assert_same(built.outcome, again)
    decoded = Block(
        Header.decode(built.block.header.raw),
        Body.decode(built.block.body.raw),
    )
    assert_same(built.outcome, lab.execute(decoded, *messages))


def test_every_field_of_the_header_is_named():
    lab = Lab()
    assert list(LIES) == list(lab.parent.header.fields._fields)


@pytest.mark.parametrize("field", LIES)
def test_a_header_that_lies_is_refused(field):
    lab = grown(Lab())
    messages = mixed(lab)
    block = lab.build(*messages).block
    fields = block.header.fields
    assert getattr(fields, field) != LIES[field]
    lying = Block(Header.of(fields._replace(**{field: LIES[field]})), block.body)
    with pytest.raises(InvalidBlock) as caught:
        lab.execute(lying, *messages)
    assert caught.value.rule == RULES.get(field, field)


def test_chain_made_inputs_are_exactly_those_due():
    lab = Lab(agents=None)
    lab.step(
        lab.message(ALICE, PING, "Start", {}, pay=5000),
        lab.message(BOB, PING, "Start", {}, pay=5000),
    )
    built = lab.build()
    first, second = built.block.body.chain_inputs
    for inputs in ((), (first,), (second,), (second, first), (first, second, OTHER_ID)):
        block = lab.with_body(built, chain_inputs=inputs)
        if not inputs:
            block = Block(block.header, block.body)
        with pytest.raises(InvalidBlock) as caught:
            lab.execute(block)
        assert caught.value.rule == ("chain_inputs" if inputs else "empty")
    message = lab.transfer(ALICE, BOB, 1)
    block = lab.with_body(lab.build(message), chain_inputs=())
    with pytest.raises(InvalidBlock) as caught:
        lab.execute(block, message)
    assert caught.value.rule == "chain_inputs"


def test_an_empty_block_needs_a_round_or_a_heartbeat():
    quiet = Lab()
    assert quiet.build().block is None
    assert quiet.build(time_ms=quiet.time_ms + 10**6).block is None
    assert quiet.step(round_=1).receipts == ()
    beating = Lab(heartbeat_s=30)
    assert beating.build(time_ms=beating.time_ms + 29_999).block is None
    assert beating.step(time_ms=beating.time_ms + 30_000).receipts == ()


def test_an_honest_empty_block_in_round_0_is_refused():
    lab = Lab()
    block = lab.build(round_=1).block
    place = lab.place()
    fields = block.header.fields._replace(round=0, proposer_slot=place.proposer_slot)
    with pytest.raises(InvalidBlock) as caught:
        execute(lab.spec, lab.parent, Block(Header.of(fields), block.body), ())
    assert caught.value.rule == "empty"


def test_skipped_inputs_are_charged_and_do_nothing():
    lab = grown(Lab())
    messages = [
        lab.transfer(ALICE, BOB, 7),
        lab.message(ALICE, COUNTER, "Add", {"by": 40}, pay=9),
        lab.transfer(BOB, ALICE, 1),
    ]
    waiting = lab.build(*messages).block.body.chain_inputs
    alice, ping = lab.balance(ALICE), lab.balance(PING)
    skip = [waiting[0], messages[0].id, messages[1].id]
    built = lab.build(*messages, skip=skip, round_=4)
    assert built.block.header.fields.skipped == tuple(skip)
    for fast in (True, False):
        assert_same(built.outcome, lab.execute(built.block, *messages, fast=fast))
    lab.commit(built.outcome)
    skipped = ("skipped", "")
    assert verdicts(built.outcome) == [skipped, skipped, skipped, ("ok", "")]
    assert [each.gas for each in receipts(built.outcome)] == [124] * 4
    assert lab.balance(ALICE) == alice - 2 * 124 + 1
    assert lab.view(COUNTER, "value") == 2
    assert lab.balance(PING) > ping, "the pay of a skipped send returns"
    assert lab.build(messages[0]).refused == ((messages[0].id, prepare.DUPLICATE),)


def test_before_round_4_a_proposer_leaves_faulted_messages_out():
    lab = Lab()
    messages = [lab.transfer(ALICE, BOB, 7), lab.transfer(BOB, ALICE, 1)]
    built = lab.build(*messages, skip=[messages[0].id], round_=3)
    assert built.block.body.messages == (messages[1].id,)
    assert built.block.header.fields.skipped == ()
    assert built.refused == ()


@pytest.mark.parametrize(
    ("skipped", "rule"),
    [("unlisted", "skipped inputs"), ("out of order", "skipped inputs"), ("more", "receipts_root")],
)
def test_a_lie_about_skipping_is_refused(skipped, rule):
    lab = Lab()
    messages = [lab.transfer(ALICE, BOB, 7), lab.transfer(BOB, ALICE, 1)]
    ids = [each.id for each in messages]
    block = lab.build(*messages, skip=ids[:1], round_=4).block
    lists = {"unlisted": (OTHER_ID,), "out of order": (ids[1], ids[0]), "more": tuple(ids)}
    fields = block.header.fields._replace(skipped=lists[skipped])
    with pytest.raises(InvalidBlock) as caught:
        lab.execute(Block(Header.of(fields), block.body), *messages)
    assert caught.value.rule == rule


def test_the_parent_is_left_as_it_was():
    lab = grown(Lab())
    before = lab.parent.map.root, dict(lab.parent.state.items()), dict(lab.parent.window.heights)
    messages = mixed(lab)
    lab.execute(lab.build(*messages).block, *messages)
    lab.execute(lab.build(messages[0]).block, messages[0])
    after = lab.parent.map.root, dict(lab.parent.state.items()), dict(lab.parent.window.heights)
    assert before == after


def test_events_stand_in_the_order_of_the_inputs():
    """Transfers are settled in phase 1, all else in phase 3."""
    lab = Lab()
    outcome = lab.step(
        lab.message(BOB, COUNTER, "Add", {}),
        lab.transfer(ALICE, BOB, 5),
        lab.message(ALICE, PING, "Start", {}, pay=5000),
        lab.message(BOB, COUNTER, "Add", {}),
        lab.transfer(ALICE, BOB, 5),
    )
    assert [position for position, _ in outcome.events] == [0, 1, 2, 3, 4]
    types = ["Changed", "Paid", "Hit", "Changed", "Paid"]
    assert [event.type for _, event in outcome.events] == types


def test_the_state_root_is_that_of_the_pairs():
    lab = grown(Lab())
    for _ in range(3):
        lab.step(time_ms=max(lab.time_ms + 1, lab.outcomes[-1].due_ms))
        state_map = StateMap.of(lab.parent.state.items())
        assert state_map.root == lab.parent.header.fields.state_root
    proof = lab.parent.map.prove(balance_key(BOB))
    root = lab.parent.header.fields.state_root
    assert decode_balance(verify_proof(root, balance_key(BOB), proof)) == lab.balance(BOB)


def test_place_of_a_block_builds_it_again():
    lab = grown(Lab())
    messages = mixed(lab)
    block = lab.build(*messages).block
    place = place_of(block)
    from node.execution.block import build

    assert build(lab.spec, lab.parent, place, messages).block == block


class Broken:
    """A state one read of which fails."""

    def __init__(self, state, reads):
        self.state, self.reads = state, reads

    def get(self, key):
        self._count()
        return self.state.get(key)

    def scan(self, prefix, after=b"", limit=1024):
        self._count()
        return self.state.scan(prefix, after, limit)

    def _count(self):
        self.reads -= 1
        if self.reads == -1:
            raise OSError("the disk is gone")


@pytest.mark.parametrize("fast", [True, False])
def test_a_failing_read_is_never_an_outcome(fast):
    from dataclasses import replace

    lab = grown(Lab())
    messages = [*mixed(lab), lab.transfer(ALICE, CAROL, 1)]
    block = lab.build(*messages).block
    causes = []
    for reads in range(200):
        parent = replace(lab.parent, state=Broken(lab.parent.state, reads))
        try:
            outcome = execute(lab.spec, parent, block, messages, fast=fast)
        except HostFault as fault:
            causes.append(type(fault.__cause__))
        else:
            assert outcome.header == block.header
            break
    assert 10 < len(causes) < 199
    assert set(causes) == {OSError}


def test_a_damaged_state_is_never_an_outcome():
    from dataclasses import replace

    lab = grown(Lab())
    messages = mixed(lab)
    block = lab.build(*messages).block

    class Damaged:
        def get(self, key):
            raw = lab.parent.state.get(key)
            return b"\xff" if key.startswith(b"g/") and raw else raw

        scan = lab.parent.state.scan

    with pytest.raises(HostFault):
        execute(lab.spec, replace(lab.parent, state=Damaged()), block, messages)


SCRIPT = """
from tests.node.execution.lab import *
lab = Lab()
for number in range(6):
    sends = [lab.transfer(ALICE, BOB, 5), lab.message(BOB, COUNTER, "Add", {"by": 2}),
             lab.message(ALICE, PING, "Start", {"delay_ms": 3}, pay=5000)]
    lab.step(*sends)
print(lab.parent.header.id.hex())
"""


@pytest.mark.slow
def test_hash_seeds_do_not_matter():
    root = Path(__file__).parents[3]
    found = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(found) == 1
