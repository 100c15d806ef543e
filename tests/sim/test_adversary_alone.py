"""Each adversary alone, at one host and up to the largest minority: agreement, nobody honest
blamed, heights go on; and it really acted, with the effect that it has.

A failure names its seed; `APOCRYPH_SIM_SEED=N` runs that seed instead.
"""

import os
from collections.abc import Callable

import pytest

from consensus import polling
from consensus.facts import DoubleProposal, Evidence
from consensus.standing import PROPOSALS_HELD_MAX
from node.pool import CLAIMS_MAX, FACTS_OTHER_MAX
from testnet.sim.adversaries import NAMES
from testnet.sim.adversaries.schedulers import Eclipse
from testnet.sim.cluster import Weather
from tests.sim.adversary_stage import Stage

Effect = Callable[[Stage], None]
HEIGHTS = 6
MORE_HEIGHTS = 16  # within which what was seen must be on the chain
SEED = int(os.environ.get("APOCRYPH_SIM_SEED", "4"))


def silent(stage: Stage) -> None:
    """No certificate carries it, nobody blames it, and somebody else proposed in its turns."""
    liars = {host.peer for host in stage.liars}
    for _, certificate, _ in stage.honest[0].disk.chain:
        assert not liars & {peer for peer, _ in certificate.signatures}
    assert stage.causes() == {}


def slow(stage: Stage) -> None:
    """Heights cost more time than without it, and nobody can blame it."""
    calm = Stage((), nodes=len(stage.cluster.hosts), seed=stage.seed)
    calm.wake()
    calm.climb(HEIGHTS, within_s=60)
    assert stage.lasted_ms > 1.2 * calm.lasted_ms
    assert stage.causes() == {}


def outranked(stage: Stage) -> None:
    """A later rank's block was certified, for its own was not to be had."""
    for _ in range(MORE_HEIGHTS):
        ranks = [block.header.fields.rank for block, _, _ in stage.honest[0].disk.chain]
        if any(ranks):
            return
        stage.climb(1, within_s=60)
    raise AssertionError(stage.told())


def caught_up(stage: Stage) -> None:
    """Who was down catches up, though it asks the liar too."""
    lagging = stage.honest[-1]
    stage.cluster.crash(lagging.peer)
    stage.traffic(6.0)
    before = stage.adversaries[0].lies
    stage.cluster.restart(lagging.peer)
    top = max(len(host.disk.chain) for host in stage.honest)
    assert top > len(lagging.disk.chain)
    reached = stage.cluster.run(60.0, lambda: len(lagging.disk.chain) >= top)
    assert reached and not lagging.halted, stage.told()
    assert stage.adversaries[0].lies > before, "it lied to who catches up"


def evident(stage: Stage) -> None:
    """Both values are on the chain as evidence, against all liars and nobody else."""
    proofs = [f for f in stage.facts() if isinstance(f, Evidence | DoubleProposal)]
    assert {proof.peer for proof in proofs} == {host.peer for host in stage.liars}, stage.told()


def doubled(stage: Stage) -> None:
    """Two proposals are evidence; of the two at most one was ever certified."""
    proofs: list[DoubleProposal] = []
    for _ in range(MORE_HEIGHTS):
        proofs = [f for f in stage.facts() if isinstance(f, DoubleProposal)]
        if proofs:
            break
        stage.climb(1, within_s=60)
    liars = {host.peer for host in stage.liars}
    assert proofs and {proof.peer for proof in proofs} <= liars, stage.told()
    chain = {block.id for block, _, _ in stage.honest[0].disk.chain}
    assert all(not {proof.first[0], proof.second[0]} <= chain for proof in proofs)


def blamed(*causes: str) -> Effect:
    def effect(stage: Stage) -> None:
        found = stage.causes()
        missing = [cause for cause in causes if not any(cause in each for each in found)]
        assert not missing, (missing, found)

    return effect


def unmoved(stage: Stage) -> None:
    """Said in vain: nobody blames it either, since nothing is wrong in itself."""
    assert stage.causes() == {}, stage.causes()


def reordered(stage: Stage) -> None:
    """It delayed and reordered; nobody is to blame."""
    assert stage.cluster.blames() == [] or stage.causes(honest=True) == {}


def bounded(stage: Stage) -> None:
    """What was flooded is bounded, and keys that own nothing are in no pool."""
    for host in stage.honest:
        assert host.core is not None
        pool, standing = host.core.facts_pool, host.core.engine.machine.standing
        assert len(pool.claims) <= CLAIMS_MAX and len(pool.renewals) <= FACTS_OTHER_MAX
        assert all(peer in standing.votes.weights for peer in pool.renewals)
        assert len(standing.candidates) <= PROPOSALS_HELD_MAX
        assert len(standing.votes.tallies) <= 4 + 2 * len(standing.votes.weights)
    assert stage.adversaries[0].acts["proposal"] > HEIGHTS


def accepted_late(stage: Stage) -> None:
    """It alone is missing from certificates, as they were made."""
    victim = stage.adversaries[0].host.peer
    lacking = [
        victim not in dict(certificate.signatures)
        for host in stage.honest
        if host.peer != victim
        for _, certificate, _ in host.disk.chain
    ]
    assert sum(lacking) > len(lacking) // 2


EFFECTS: dict[str, Effect] = {
    "mute": silent,
    "delaying": slow,
    "withheld_block": outranked,
    "withheld_certificate": caught_up,
    "held_reveal": outranked,
    "lying_height": caught_up,
    "double_voter": evident,
    "double_confirm": evident,
    "double_accept": evident,
    "two_answers": unmoved,
    "balancing": unmoved,
    "always_minority": unmoved,
    "two_blocks": doubled,
    "echoing": doubled,
    "stale_replay": lambda stage: None,  # what was once right is wrong nowhere
    "foreign_replay": blamed("chain", "signature"),
    "babbler": blamed("not DAG-CBOR", "is not spoken here", "beyond its bound", "signature"),
    "extremes": blamed("expected a round", "expected a height"),
    "flooding": bounded,
    "message_order": reordered,
    "split_proposals": slow,
    "accept_scheduler": accepted_late,
}
ELSEWHERE = {  # where an adversary has a stage of its own
    "invalid_blocks": "test_adversary_invalid",
    "copied_claims": "test_adversary_hill",
    "late_claims": "test_adversary_hill",
    "ground_salt": "test_adversary_hill",
    "double_commitment": "test_adversary_hill",
    "eclipse": "below",
    "old_locks": "below",
    "last_minute": "below",
    "poison": "test_adversary_faults",
    "forged_chain": "test_adversary_light",
}
PROPOSERS = ("two_blocks", "echoing", "withheld_block", "held_reveal")  # in their turn only
FAST = ("mute", "double_voter", "two_blocks", "echoing", "extremes", "split_proposals")


def acts(name: str, *, nodes: int, liars: int, seed: int = SEED, heights: int = HEIGHTS) -> Stage:
    stage = Stage([name] * liars, nodes=nodes, seed=seed)
    stage.wake()
    stage.climb(heights, within_s=40.0 * heights)
    for _ in range(MORE_HEIGHTS):  # who lies by proposing must have its turn
        if not any(adversary.lies for adversary in stage.adversaries):
            stage.climb(1, within_s=60)
    assert any(adversary.lies for adversary in stage.adversaries), "it did nothing"
    EFFECTS[name](stage)
    stage.heal()
    stage.climb(2, within_s=120.0)
    stage.judge()
    assert all(a.lies for a in stage.adversaries) or name in PROPOSERS, "one did nothing"
    return stage


def test_every_adversary_has_its_test() -> None:
    assert {*EFFECTS, *ELSEWHERE} == set(NAMES)
    for name, kind in NAMES.items():
        assert "Stopped by:" in (kind.__doc__ or ""), f"{name} does not say which rule stops it"


@pytest.mark.parametrize("name", FAST)
def test_one_of_four(name: str) -> None:
    acts(name, nodes=4, liars=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EFFECTS if name not in FAST])
def test_one_of_four_more(name: str) -> None:
    acts(name, nodes=4, liars=1)


@pytest.mark.long
@pytest.mark.parametrize("name", EFFECTS)
def test_two_of_seven(name: str) -> None:
    acts(name, nodes=7, liars=2 if NAMES[name].liar else 1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 103))
@pytest.mark.parametrize("name", EFFECTS)
def test_four_of_thirteen(name: str, seed: int) -> None:
    acts(name, nodes=13, liars=4 if NAMES[name].liar else 1, seed=seed, heights=16)


# ---- those that rule the network ----------------------------------------------------------------


def eclipsed(nodes: int, seed: int) -> None:
    stage = Stage(["eclipse"], nodes=nodes, seed=seed)
    adversary = stage.adversaries[0]
    assert isinstance(adversary, Eclipse)
    victim = stage.cluster.hosts[adversary.victim]
    stage.honest.remove(victim)
    stage.climb(HEIGHTS, within_s=200)
    assert len(victim.disk.chain) == 0, "it decides nothing by the word of one"
    assert adversary.acts["cut off"] and adversary.acts["unanswered"]
    stage.honest.append(victim)
    stage.judge()
    adversary.stop()
    stage.climb(2, within_s=120)
    stage.judge()


def test_an_eclipsed_peer_decides_nothing_and_catches_up() -> None:
    eclipsed(4, SEED)


@pytest.mark.long
def test_an_eclipsed_peer_of_seven() -> None:
    eclipsed(7, SEED + 1)


@pytest.mark.slow
@pytest.mark.parametrize(("nodes", "liars"), [(4, 1), pytest.param(7, 2, marks=pytest.mark.long)])
def test_old_locks_of_several_give_way_to_the_newest_quorum(nodes: int, liars: int) -> None:
    stage = Stage(["old_locks"] * liars, nodes=nodes, seed=SEED)
    first, rounds = stage.adversaries[0], [0]
    for _ in range(60):
        stage.traffic(1.0)
        rounds = [h.core.engine.machine.standing.round for h in stage.honest if h.core]
        if min(rounds) >= 4:
            break
    assert min(rounds) >= 4, stage.told()
    locked = first.locked  # type: ignore[attr-defined]
    assert len(set(locked.values())) >= 2, "different blocks are locked"
    assert stage.heights() == 2 and not stage.cluster.history.broken
    for adversary in stage.adversaries:
        adversary.stop()
    stage.heal()
    stage.climb(3, within_s=90)
    stage.judge()
    assert stage.rounds()[2] >= 4
    decided = stage.honest[0].disk.chain[2][0].id
    assert decided in locked.values(), "the newest of the locked values"


# ---- the confirm that is shown to one ------------------------------------------------------------


def last_minute(seed: int) -> Stage:
    """Up to 60 s in which the network is whole but for the first two rounds of one height."""
    stage = Stage(["last_minute"], seed=seed, weather=Weather(delay_ms=5, jitter_ms=20))
    for _ in range(60):
        if stage.heights() <= 5:
            stage.traffic(1.0)
    assert stage.adversaries[0].acts["shown"], stage.told()
    assert not stage.cluster.history.broken
    return stage


@pytest.mark.slow
def test_a_confirm_shown_to_one_at_the_last_moment_costs_a_round_at_most() -> None:
    for seed in (1, 2):
        stage = last_minute(seed)
        assert stage.heights() > 5, stage.told()
        assert stage.rounds()[2] <= 4
        stage.judge()


@pytest.mark.slow
def test_where_everybody_settles_on_its_own_valid_value_it_stops_the_chain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rule that stops it is the leader of a round: without it no height, round after round."""
    monkeypatch.setattr(polling, "led_value", lambda machine, own, now: own)
    stopped = (last_minute(seed).heights() == 2 for seed in (1, 2, 4))
    assert any(stopped), "it loses the race at some seeds, not at all"
