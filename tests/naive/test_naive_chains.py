"""Chains of the simulator and single-field mutants of their blocks, judged by both."""

from collections import Counter
from collections.abc import Sequence
from functools import cache

import pytest

from consensus.certificates import Vote, append_signature, vote_unsigned
from consensus.facts import Evidence, Fact, LateAccept, decode_fact
from consensus.ids import BlockId, ChainId, Id, MessageId, Peer, content_id
from consensus.messages import Draft, Message, Reference, encode_data
from testnet.sim.cluster import Cluster
from tests.naive.naive_chain import Lab, Step, simulated
from tests.naive.naive_mutants import body_mutants, header_mutants, skipping

SECONDS = 45
OTHER_CHAIN = ChainId(content_id(b"another chain"))


@cache
def walked(seed: int, seconds: int = SECONDS) -> tuple[Cluster, Lab, list[Step]]:
    cluster, lab = simulated(seed, seconds=seconds)
    chain = next(iter(cluster.hosts.values())).disk.chain
    return cluster, lab, lab.walk([(block, messages) for block, _, messages in chain])


def vote(cluster: Cluster, peer: Peer, step: Step, block: bytes) -> Vote:
    fields = step.block.header.fields
    unsigned = vote_unsigned(
        "accept",
        chain=cluster.spec.id,
        epoch=fields.epoch,
        height=fields.height,
        round_=fields.round,
        block=BlockId(Id(block)),
        peer=peer,
    )
    covered = Vote.decode(append_signature(unsigned, bytes(64))).signed_bytes
    return Vote.decode(append_signature(unsigned, cluster.keys.sign(peer, covered)))


def more_facts(cluster: Cluster, steps: Sequence[Step], index: int) -> list[Fact]:
    """Facts of earlier and later blocks, evidence, late accepts: most of them may not be here."""
    found: list[Fact] = []
    for near in steps[max(0, index - 9) : index + 3]:
        found += [decode_fact(raw) for raw in near.block.body.facts]
    for peer in cluster.hosts:
        for back in (1, 5, 20, 34):
            before = steps[max(0, index - back)]
            late = vote(cluster, peer, before, before.block.id)
            found += [LateAccept.of(late)]
            other = vote(cluster, peer, before, OTHER_CHAIN)
            found += [Evidence.of(late, other)]
    return found


def more_messages(cluster: Cluster, steps: Sequence[Step], index: int) -> list[Message]:
    """Messages of other blocks, and made ones that break one rule each."""
    height = steps[index].block.height
    found = [message for step in steps[max(0, index - 4) : index + 3] for message in step.messages]
    agent = cluster.spec.agent_named("token")
    assert agent is not None
    data = encode_data("Transfer", {"to": bytes(cluster.accounts[1]), "amount": 1})
    fine = Draft(
        cluster.spec.id,
        cluster.accounts[0],
        Reference(cluster.spec.id, agent, None),
        data,
        bytes(15) + b"\x01",
        height + 5,
        1000,
        0,
        None,
    )
    limit = cluster.spec.parameters.expiry_max_blocks
    drafts = [
        fine,
        *[fine._replace(expires_height=height + each) for each in (-1, 0, limit, limit + 1)],
        *[fine._replace(gas_max=each) for each in (0, 123, 124, 10**12, 10**15)],
        fine._replace(chain=OTHER_CHAIN),
        fine._replace(to=Reference(OTHER_CHAIN, agent, None)),
        fine._replace(to=Reference(cluster.spec.id, type(agent)(bytes(32)), None)),
        fine._replace(pay=10**14),
        fine._replace(after=MessageId(OTHER_CHAIN)),
        fine._replace(data=b"\x80"),
    ]
    if index and steps[index - 1].messages:
        drafts.append(fine._replace(after=steps[index - 1].messages[0].id))
    for draft in drafts:
        signature = cluster.keys.sign(draft.sender, draft.to_sign())
        found.append(Message.decode(draft.signed(signature)))
    forged = fine._replace(nonce=bytes(16))
    found.append(Message.decode(forged.signed(bytes(64))))
    return found


def judge_mutants(seed: int, indices: Sequence[int]) -> Counter[str]:
    """What both said of all mutants of these blocks."""
    cluster, lab, steps = walked(seed)
    said: Counter[str] = Counter()
    for index in indices:
        step = steps[index]
        others, facts = more_messages(cluster, steps, index), more_facts(cluster, steps, index)
        for source in (
            header_mutants(lab, step),
            skipping(lab, step),
            body_mutants(lab, step, others=others, facts=facts),
        ):
            for mutant in source:
                try:
                    said[lab.agreed(step, mutant.shown) or "valid"] += 1
                except AssertionError as error:
                    raise AssertionError(
                        f"seed {seed}, height {step.block.height}, {mutant.name}: {error}"
                    ) from error
    return said


def test_every_committed_block_is_valid_twice() -> None:
    _, _, steps = walked(3, 20)
    assert len(steps) > 16, "an epoch and more"
    assert sum(len(step.block.body.facts) for step in steps) > 10
    assert any(step.block.body.chain_inputs for step in steps)


@pytest.mark.slow
def test_mutants_are_judged_alike() -> None:
    _, _, steps = walked(3)
    with_facts = next(i for i, step in enumerate(steps) if i > 20 and step.block.body.facts)
    said = judge_mutants(3, [with_facts])
    assert said["valid"] > 5
    assert len(said) > 25, "the mutants break many rules"


@pytest.mark.slow
def test_mutants_of_blocks_of_all_kinds_are_judged_alike() -> None:
    """Heights 1 and 2, where claims close, the ends of an epoch, chain-made inputs."""
    _, _, steps = walked(4)
    kept = [0, 1, 11, 15, 16, 32]
    kept += [i for i, step in enumerate(steps) if step.block.body.chain_inputs][:1]
    said = judge_mutants(4, kept)
    assert said["valid"] > 100
    assert len(said) > 35, sorted(said)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5, 9))
def test_mutants_of_every_fourth_block_are_judged_alike(seed: int) -> None:
    _, _, steps = walked(seed)
    said = judge_mutants(seed, range(seed % 4, len(steps), 4))
    assert said["valid"] > 300
