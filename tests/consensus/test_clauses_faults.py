"""A host fault is not the block's (protocol §7 ‡, execution §5): what a sick host may sign."""

from consensus.block import Block
from consensus.effects import Build, Commit, Execute
from consensus.events import ExecutionFaulted
from consensus.ids import Id, MessageId, content_id
from consensus.standing import VALID
from tests.consensus.builders_engine import SETTLE, Desk

OTHER = Id(content_id(b"another message"))


def sick() -> tuple[Desk, Block]:
    """An owner whose host fails on the proposal of round 0, again and again."""
    desk = Desk(0 if Desk(0).my_rank() else 1)
    desk.held = (Build, Commit, Execute)
    block = desk.propose(0)
    desk.send(ExecutionFaulted(block.id, "a worker died"))
    return desk, block


def test_a_block_that_faults_here_ends_the_round_with_nil() -> None:
    desk, _ = sick()
    desk.wait(SETTLE)
    assert desk.signs() == [("confirm", 0, None)], "for that round only, never for the block"


def test_a_quorum_of_this_round_alone_does_not_vouch_for_it() -> None:
    desk, block = sick()
    desk.confirms(desk.others(), block)
    assert desk.signs() == []
    assert desk.record.valid is None


def test_a_quorum_of_an_earlier_round_vouches_for_it_unexecuted() -> None:
    desk, block = sick()
    desk.confirms(desk.others(), block)
    desk.to_round(1)
    desk.unled()
    assert [vote for vote in desk.signs() if vote[0] == "confirm"] == [("confirm", 1, block.id)]
    desk.confirms(desk.others(), block, 1)
    assert desk.signs() == [("accept", 1, block.id)]
    assert desk.standing.candidates[block.id].status != VALID
    desk.accepts(desk.others(), block, 1)
    assert desk.of(Commit) == [], "it has no state for the next height before it can execute"
    desk.send(desk.executed(block))
    assert len(desk.of(Commit)) == 1


def test_an_aggregate_of_a_round_long_past_vouches_for_it_too() -> None:
    """Its votes are of a round that is not counted any more: it is a proof by itself (ADR 0027)."""
    desk, block = sick()
    desk.to_round(1)
    desk.confirms(desk.others(), None, 1)
    desk.to_round(2)
    desk.show(desk.aggregate(desk.others(), block))
    assert desk.standing.votes.confirmed() == [], "none of them is counted"
    desk.unled()
    assert desk.signs("confirm") == [("confirm", 2, block.id)]


def test_nobody_vouches_for_a_block_without_its_bodies() -> None:
    desk, block = sick()
    desk.pool.missing = (MessageId(block.body.messages[0]),)
    desk.confirms(desk.others(), block)
    desk.to_round(1)
    desk.wait(SETTLE)
    assert all(block_ is None for _, _, block_ in desk.signs())


def test_a_block_that_never_faulted_is_executed_before_it_is_confirmed() -> None:
    desk = Desk(0 if Desk(0).my_rank() else 1)
    desk.held = (Build, Commit, Execute)
    block = desk.propose(0)
    desk.confirms(desk.others(), block)
    desk.to_round(1)
    desk.unled()
    assert desk.signs() == []
    desk.send(desk.executed(block))
    desk.unled()
    assert desk.signs() == [("confirm", 1, block.id)]


def test_what_ran_here_after_all_is_no_culprit_any_more() -> None:
    """A host that was short of memory for a moment: no later block makes a sender pay."""
    desk = Desk(0 if Desk(0).my_rank() else 1)
    desk.held = (Build, Commit, Execute)
    block = desk.propose(0, messages=2)
    first, _ = block.body.messages
    desk.send(ExecutionFaulted(block.id, "no memory", (Id(first), OTHER)))
    assert list(desk.machine.culprits) == [first, OTHER]
    desk.send(desk.executed(block))
    assert list(desk.machine.culprits) == [OTHER], "it was not in the block"
