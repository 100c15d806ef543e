"""Adversaries of King of the Hill, over epochs: nobody wins slots without work, nobody loses them
without reason."""

from itertools import pairwise

import pytest

from consensus.facts import LateAccept, decode_fact
from consensus.ids import Peer
from consensus.parameters import Parameters
from testnet.sim.cluster import small_parameters
from testnet.sim.host import Host
from tests.sim.adversary_stage import Stage

EPOCH = 16
NONCES = 64


def epochs(**overrides: int) -> Parameters:
    return small_parameters(epoch_blocks=EPOCH, difficulty_bits_min=3, **overrides)


def over_epochs(name: str, *, count: int = 3, nodes: int = 4, seed: int = 6) -> Stage:
    stage = Stage([name], nodes=nodes, seed=seed, parameters=epochs(), hill_nonces=NONCES)
    stage.climb(count * EPOCH + 1, within_s=600)
    stage.judge()
    assert stage.adversaries[0].lies, "it did nothing"
    return stage


def slots(host: Host, peer: Peer) -> int:
    """In the table that a host stands on."""
    assert host.line is not None
    return host.line.tip.view.table.weights.get(peer, 0)


def shares(stage: Stage) -> list[int]:
    """Slots of the liar, then of the honest."""
    judge = stage.honest[0]
    return [slots(judge, host.peer) for host in (*stage.liars, *stage.honest)]


def proofs_of_life(host: Host, peer: Peer) -> int:
    """Blocks that show an accept of a peer which no certificate had when it was made."""
    found = 0
    for block, _, _ in host.disk.chain:
        certificate = block.body.certificate()
        late = [decode_fact(raw) for raw in block.body.facts]
        found += certificate is not None and peer in dict(certificate.signatures)
        found += any(isinstance(fact, LateAccept) and fact.vote.peer == peer for fact in late)
    return found


@pytest.mark.slow
def test_copied_claims_are_blamed_and_win_nothing() -> None:
    """Without the peer in the digest every copy of a claim would be worth as much."""
    stage = over_epochs("copied_claims")
    assert stage.adversaries[0].acts["claim"] and stage.adversaries[0].acts["commitment"]
    causes = stage.causes()
    assert causes.get("work") and causes.get("signature"), causes
    liar, *honest = shares(stage)
    assert liar <= 2 * min(honest), "it has what its own work gives"


@pytest.mark.slow
def test_claims_held_back_to_the_last_blocks_win_only_what_they_are_worth() -> None:
    stage = over_epochs("late_claims")
    acts = stage.adversaries[0].acts
    assert acts["held"] and acts["after the close"]
    parameters = stage.cluster.spec.parameters
    for block, _, _ in stage.honest[0].disk.chain:
        if not parameters.claims_open(block.height):
            kinds = {raw[2:7] for raw in block.body.facts}
            assert not kinds & {b"claim", b"renew"}, "closed is closed"
    liar, *honest = shares(stage)
    assert liar <= 2 * min(honest)
    owners = {host.peer for host in (*stage.liars, *stage.honest)}
    assert owners == set(stage.honest[0].line.tip.view.table.weights)  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_ground_salt_buys_little_and_early_claims_nothing() -> None:
    stage = over_epochs("ground_salt", count=5)
    acts = stage.adversaries[0].acts
    assert acts["early"] and acts["tried"], acts
    assert "work" not in stage.causes() or stage.causes()["work"], "early is no offence"
    liar, *honest = shares(stage)
    assert liar <= 2 * min(honest)


@pytest.mark.slow
def test_two_commitments_make_no_honest_block_invalid() -> None:
    """All honest proposals are held valid: nobody honest is blamed (`judge`)."""
    stage = over_epochs("double_commitment")
    assert stage.adversaries[0].acts["claim"] and stage.adversaries[0].acts["renewal"]
    ranked = [block.header.fields.round for block, _, _ in stage.honest[0].disk.chain]
    assert sum(ranked) <= len(ranked) // 4


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [4, pytest.param(7, marks=pytest.mark.long)])
def test_an_owner_whose_accepts_always_come_late_keeps_its_slots(nodes: int) -> None:
    """Without late accepts as proofs of life it would be vacated at each epoch (§4 ‡)."""
    stage = Stage(["accept_scheduler"], nodes=nodes, seed=3, parameters=epochs(), hill_nonces=1)
    victim = stage.adversaries[0].host.peer
    before = slots(stage.honest[0], victim)
    stage.climb(2 * EPOCH + 2, within_s=600)
    stage.judge()
    others = [host for host in stage.honest if host.peer != victim]
    signed = [victim in dict(c.signatures) for host in others for _, c, _ in host.disk.chain]
    assert sum(signed) < len(signed) // 4, "hardly a certificate carries it"
    assert proofs_of_life(others[0], victim), "as late accepts, or in the parent's certificate"
    assert slots(others[0], victim) >= before - 4, "what claims of others took at most"


@pytest.mark.slow
def test_mute_owners_are_vacated_a_bounded_number_at_a_time() -> None:
    stage = Stage(["mute"], nodes=4, seed=2, parameters=epochs(), hill_nonces=0)
    mute = stage.liars[0].peer
    judge = next(host for host in stage.honest)
    held = [slots(judge, mute)]
    for _ in range(3):
        stage.climb(EPOCH, within_s=900)
        held.append(slots(judge, mute))
    stage.judge()
    assert held[-1] < held[0], held
    bound = stage.cluster.spec.parameters.turnover_max
    assert all(a - b <= bound for a, b in pairwise(held)), held


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["double_voter", pytest.param("two_blocks", marks=pytest.mark.long)]
)
def test_evidence_vacates_all_slots_of_a_liar(name: str) -> None:
    stage = Stage([name], nodes=4, seed=5, parameters=epochs(), hill_nonces=NONCES)
    stage.climb(EPOCH + 2, within_s=300)
    stage.judge()
    assert slots(stage.honest[0], stage.liars[0].peer) == 0
    assert all(slots(stage.honest[0], host.peer) for host in stage.honest)
