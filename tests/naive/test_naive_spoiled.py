"""One block for each rule of validity, spoiled in that rule alone: both refuse it, and by it."""

from typing import NamedTuple

import pytest

from consensus.block import Block
from consensus.errors import InvalidBlock
from consensus.messages import Message
from consensus.validity import check_header
from testnet.sim.adversaries.bench import Bench
from testnet.sim.adversaries.invalid import RULES, InvalidBlocks
from testnet.sim.cluster import small_parameters
from tests.naive.naive_cbor import Bad
from tests.naive.naive_chain import Lab, Shown, Step
from tests.naive.naive_records import body_of, header_of
from tests.sim.adversary_stage import Stage

SEED = 4
HEIGHTS_MAX = 120
# Bounds small enough for one block to break them.
PARAMETERS = small_parameters(
    block_messages_max=64,
    block_bytes_max=340_000,
    facts_max=32,
    block_gas_max=6_000,
    gas_floor=5_000,
    evidence_ms=1_000,
    difficulty_bits_min=4,
)
# How the naive rules call them, where they do not say it alike.
NAIVE = {
    "messages max": "messages",
    "facts max": "facts",
    "inputs once": "inputs twice",
    "gas": "gas_used",  # execution spent less than the limit that the header exceeds
    "skipped round": "skipped early",
    "skipped inputs": "skipped what is not there",
    "parent_certificate": "quorum",
    "message_chain": "message chain",
    "message_expiry": "expired",
    "message_duplicate": "included before",
    "message_after": "after",
    "message_gas": "gas of a message",
    "message_payer": "message: message_payer",  # what agents and accounts do is execution's
    "block_gas": "message: block_gas",
    "fact encoding": "no such fact",
    "fact chain": "chain of a fact",
    "fact epoch": "epoch of a fact",
    "claim_close": "closed",
    "commitment": "another commitment",
    "claim": "too easy",
    "one claim per slot": "two claims of a slot",
    "claim height": "not higher",
    "claim void": "claim of an offender",
    "renew owner": "renewal of no owner",
    "one renewal": "renewed twice",
    "late chain": "chain of a fact",
    "late height": "not late",
    "late epoch": "epoch of a vote",
    "late owner": "late of no owner",
    "late needed": "alive already",
    "evidence chain": "chain of a fact",
    "evidence epoch": "evidence of the future",
    "evidence age": "evidence too old",
    "evidence owner": "evidence against nobody",
    "evidence once": "evidence twice",
}


class Spoiled(NamedTuple):
    rule: str
    parent_height: int
    block: Block
    messages: tuple[Message, ...]


def spoiled_blocks(monkeypatch: pytest.MonkeyPatch) -> tuple[Stage, list[Spoiled]]:
    """Every rule once, over a running chain."""
    found: list[Spoiled] = []
    propose = InvalidBlocks._propose

    def kept(self: InvalidBlocks, rule: str, block: Block, bench: Bench) -> None:
        stored = {message.id: message for _, _, held in self.host.disk.chain for message in held}
        known = {**stored, **bench.bodies}
        messages = tuple([known[each] for each in block.body.messages if each in known])
        found.append(Spoiled(rule, bench.order.height - 1, block, messages))
        propose(self, rule, block, bench)

    monkeypatch.setattr(InvalidBlocks, "_propose", kept)
    stage = Stage(["invalid_blocks"], nodes=4, seed=SEED, parameters=PARAMETERS, hill_nonces=32)
    liar = stage.adversaries[0]
    assert isinstance(liar, InvalidBlocks)
    while liar.left and stage.heights() < HEIGHTS_MAX:
        stage.climb(1, within_s=60)
    assert not liar.left
    stage.climb(1, within_s=60)
    return stage, found


@pytest.mark.slow
def test_each_rule_is_a_rule_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, found = spoiled_blocks(monkeypatch)
    lab = Lab(stage.cluster.spec, stage.cluster.keys.verify)
    chain = [(block, messages) for block, _, messages in stage.honest[0].disk.chain]
    steps = lab.walk(chain)
    assert sorted(each.rule for each in found) == sorted(RULES)
    causes = {}
    for each in found:
        step = steps[each.parent_height]
        assert step.parent.header.height == each.parent_height
        mine, theirs = verdicts(lab, step, each.block, each.messages)
        assert mine is not None and theirs is not None, (each.rule, mine, theirs)
        causes[each.rule] = theirs
    assert causes == {rule: NAIVE.get(rule, rule) for rule in RULES}


def verdicts(
    lab: Lab, step: Step, block: Block, messages: tuple[Message, ...]
) -> tuple[str | None, str | None]:
    """(ours, naive): the rule that is broken. Without all bodies only the form can be judged."""
    shown = Shown(block.header.raw, block.body.raw, messages)
    if len(messages) == len(block.body.messages):
        mine, _ = lab.ours(step.parent, shown)
        theirs, _ = lab.naive(step.naive, step.parent, shown)
        return mine, theirs
    with pytest.raises(InvalidBlock) as ours:
        check_header(lab.spec, step.parent.header, step.parent.view, block)
    with pytest.raises(Bad) as naive:
        lab.judge.check_form(step.naive, header_of(shown.header), body_of(shown.body))
    return ours.value.rule, str(naive.value)
