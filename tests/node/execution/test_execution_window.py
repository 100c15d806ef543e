"""Dedupe by id within the expiry window, and `after` (protocol §9)."""

import pytest

from consensus.errors import InvalidBlock
from node.execution import prepare
from node.execution.block import build, execute, place_of
from node.execution.keys import SEEN, decode_seen, seen_key
from node.execution.window import Window
from tests.node.execution.lab import ALICE, BOB, Lab, verdicts


def refusal(lab, message):
    refused = lab.build(message).refused
    return refused[0][1] if refused else None


def heartbeat(lab):
    """One empty block."""
    lab.step(round_=1)


def test_a_message_is_included_once_until_it_expires():
    lab = Lab(expiry_max_blocks=8)
    message = lab.transfer(ALICE, BOB, 1, expires=6)
    lab.step(message)
    seen = []
    while lab.height <= 9:
        seen.append(refusal(lab, message))
        heartbeat(lab)
    # heights 2..6: a duplicate; from 7 on: expired, so its leaf can go
    assert seen == [prepare.DUPLICATE] * 5 + [prepare.EXPIRY] * 3


def test_a_block_that_includes_it_again_is_refused():
    lab = Lab()
    message, other = lab.transfer(ALICE, BOB, 1), lab.transfer(ALICE, BOB, 2)
    lab.step(message)
    block = lab.with_body(lab.build(other), messages=(message.id,))
    with pytest.raises(InvalidBlock) as caught:
        execute(lab.spec, lab.parent, block, [message])
    assert caught.value.rule == prepare.DUPLICATE


def test_a_message_twice_in_one_block():
    lab = Lab()
    message = lab.transfer(ALICE, BOB, 1)
    built = lab.build(message, message)
    assert built.block.body.messages == (message.id,)
    assert built.refused == ((message.id, prepare.DUPLICATE),)
    block = lab.with_body(built, messages=(message.id, message.id))
    with pytest.raises(InvalidBlock) as caught:
        execute(lab.spec, lab.parent, block, [message, message])
    assert caught.value.rule == "inputs once"


def test_leaves_are_one_a_block_and_expiry_and_are_dropped_whole():
    lab = Lab()
    messages = [lab.transfer(ALICE, BOB, 1, expires=expires) for expires in (3, 3, 4, 1)]
    lab.step(*messages)
    leaves = dict(lab.parent.state.scan(SEEN))
    assert list(leaves) == [seen_key(1, 1), seen_key(3, 1), seen_key(4, 1)]
    assert decode_seen(leaves[seen_key(3, 1)]) == (messages[0].id, messages[1].id)
    alive = []
    for _ in range(5):
        heartbeat(lab)
        alive.append([key for key, _ in lab.parent.state.scan(SEEN)])
    later = [seen_key(3, 1), seen_key(4, 1)]
    assert alive == [later, later, later[1:], [], []]


def test_the_window_of_a_state_is_the_one_that_grew():
    lab = Lab(expiry_max_blocks=8)
    for _ in range(12):
        lab.step(*[lab.transfer(ALICE, BOB, 1, expires=lab.height + ahead) for ahead in range(8)])
        loaded = Window.load(lab.parent.state)
        assert loaded.heights == lab.parent.window.heights
    assert len(loaded.heights) < 12 * 8


def test_an_older_parent_keeps_its_answers():
    lab = Lab()
    old = lab.parent
    message = lab.transfer(ALICE, BOB, 1)
    block = lab.build(message).block
    lab.step(message)
    assert refusal(lab, message) == prepare.DUPLICATE
    assert execute(lab.spec, old, block, [message]).header == block.header
    follower = lab.transfer(BOB, ALICE, 1, after=message.id)
    assert build(lab.spec, old, place_of(block), [follower]).block is None
    assert lab.build(follower).block is not None


def test_after_waits_for_the_other_message():
    lab = Lab()
    first = lab.transfer(ALICE, BOB, 1)
    second = lab.transfer(BOB, ALICE, 1, after=first.id)
    built = lab.build(second)
    assert built.block is None
    assert built.refused == (), "it may be includable later"
    assert verdicts(lab.step(first, second)) == [("ok", ""), ("ok", "")]
    third = lab.transfer(BOB, ALICE, 1, after=second.id)
    assert verdicts(lab.step(third)) == [("ok", "")]


def test_after_needs_the_order_within_a_block():
    lab = Lab()
    first = lab.transfer(ALICE, BOB, 1)
    second = lab.transfer(BOB, ALICE, 1, after=first.id)
    assert lab.build(second, first).block.body.messages == (first.id,)
    block = lab.with_body(lab.build(first, second), messages=(second.id, first.id))
    with pytest.raises(InvalidBlock) as caught:
        execute(lab.spec, lab.parent, block, [second, first])
    assert caught.value.rule == prepare.AFTER


def test_after_holds_for_a_message_that_was_not_ok():
    lab = Lab()
    first = lab.transfer(ALICE, BOB, 0)
    lab.step(first)
    assert verdicts(lab.step(lab.transfer(BOB, ALICE, 1, after=first.id))) == [("ok", "")]
