"""Invalid blocks: each rule of validity broken once by a proposer; honest peers hold none valid."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import consensus.transition
import consensus.validity
import node.execution.block
import node.execution.prepare
from consensus.building import parent_certificate
from consensus.certificates import check_weight
from node.execution.block import COMPUTED
from testnet.sim.adversaries.invalid import RULES, InvalidBlocks
from testnet.sim.adversaries.spoiled_facts import FACTS
from testnet.sim.cluster import small_parameters
from tests.sim.adversary_stage import Stage

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
UNREACHED = {
    "header": "every field is compared by name before",
    "block_messages": "the body's own bound comes before: messages max",
    "block_bytes": "more bytes than so many messages can have",
    # chains without votes, of one owner: nothing of the kind may stand in their blocks
    "claim kind": "of another kind of chain",
    "late kind": "of another kind of chain",
    "evidence kind": "of another kind of chain",
}
# What the wire refuses before any rule is asked, or the core before anything is executed.
UNSEEN = 25  # proposals at least that are rejected by their header alone
HEIGHTS_MAX = 120


def rules_of_the_code() -> set[str]:
    """Every rule that the sources name."""
    found = set(COMPUTED)
    for module in (consensus.validity, consensus.transition, node.execution.block):
        text = Path(str(module.__file__)).read_text()
        found |= set(re.findall(r'_require\("([^"]+)"', text))
        found |= set(re.findall(r'InvalidBlock\("([^"]+)"', text))
    text = Path(str(node.execution.prepare.__file__)).read_text()
    found |= set(re.findall(r'^[A-Z]+(?:_[A-Z]+)? = "([^"]+)"', text, re.MULTILINE))
    return found


def test_the_table_has_every_rule_of_the_code() -> None:
    assert set(RULES) == rules_of_the_code() - set(UNREACHED)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4])
def test_each_rule_is_broken_once_and_no_block_of_it_is_ever_held_valid(seed: int) -> None:
    each_rule_once(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20, 30))
def test_each_rule_is_broken_over_many_seeds(seed: int) -> None:
    each_rule_once(seed)


def each_rule_once(seed: int) -> None:
    stage = Stage(["invalid_blocks"], nodes=4, seed=seed, parameters=PARAMETERS, hill_nonces=32)
    liar = stage.adversaries[0]
    assert isinstance(liar, InvalidBlocks)
    while liar.left and stage.heights() < HEIGHTS_MAX:
        stage.climb(1, within_s=60)
        for host in stage.honest:
            assert host.core is not None
            for block, candidate in host.core.engine.machine.standing.candidates.items():
                assert block not in liar.sent.values() or candidate.status != "valid"
    assert not liar.left, (liar.left, liar.missed)
    assert set(liar.sent) == set(RULES)
    stage.climb(2, within_s=60)
    stage.judge()
    certified = {block.id for block, _, _ in stage.honest[0].disk.chain}
    assert not certified & set(liar.sent.values())
    causes = stage.causes()
    executed = [rule for rule in (*FACTS, *COMPUTED) if rule not in ("fact encoding",)]
    silent = [rule for rule in executed if rule not in causes]
    assert len(silent) <= 4, silent  # a block that came when the height was decided is not executed
    assert causes["proposal"] >= UNSEEN, causes


def test_a_parent_certificate_is_never_lighter_than_the_tips() -> None:
    """More signers may own fewer slots: found by the adversary above (uneven slots)."""
    stage = Stage((), nodes=7, seed=1)
    stage.climb(2, within_s=30)
    core = stage.honest[0].core
    assert core is not None
    machine, certificate = core.engine.machine, stage.honest[0].disk.chain[-1][1]
    votes = {vote.peer: vote for vote in certificate.votes()}
    assert len(votes) >= 5
    heavy, light = list(votes)[:2], list(votes)[2:5]
    weights = {**dict.fromkeys(heavy, 20), **dict.fromkeys(light, 5)}
    tip = SimpleNamespace(certificate=type(certificate).of([votes[peer] for peer in heavy]))
    seen = {peer: votes[peer] for peer in light}
    fake = cast(Any, SimpleNamespace(tip=tip, parent_accepts=seen, spec=machine.spec))
    check_weight(type(certificate).decode(parent_certificate(fake)), weights)
