"""Trials: every scenario of the product runs clean, cut short; and each checker can fail."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.certificates import Certificate
from consensus.effects import Commit
from consensus.ids import BlockId, Hash
from testnet.sim import scenario, trial
from testnet.sim.checkers import Checkers, sizes
from testnet.sim.cluster import Cluster, Weather
from testnet.sim.disk import Committed
from testnet.sim.faults import POINTS, Fault
from testnet.sim.host import Host
from testnet.sim.scenario import Scenario
from tests.sim.scenes import Scene, calm_parameters
from tests.sim.trace import trial_lines

ROOT = Path(__file__).resolve().parents[2]
SHORT_S = 8
LARGE = ("gossip_64", "mute_0", "mute_10", "mute_20", "mute_30", "slow_bodies")


def built(name: str, **changes: object) -> Scenario:
    return replace(scenario.parse(scenario.builtin(name), name), **changes)  # type: ignore[arg-type]


def brief(name: str, faults_s: int = SHORT_S) -> Scenario:
    """A built-in scenario at its smallest size, its faults cut to some seconds."""
    chosen = built(name)
    phases = replace(chosen.phases, faults_s=faults_s, quiet_s=min(chosen.phases.quiet_s, 300))
    return replace(chosen, nodes=(min(chosen.nodes),), phases=phases)


def clean(outcome: trial.Outcome) -> trial.Outcome:
    assert outcome.clean, (outcome.scenario, outcome.seed, outcome.failures[:2])
    return outcome


def test_a_calm_trial_is_clean_and_tells_what_it_did() -> None:
    outcome = clean(trial.run(brief("calm", faults_s=3), 1))
    assert outcome.heights >= 10 and outcome.included == outcome.heights
    assert outcome.rounds == ((0, outcome.heights),)
    assert outcome.polls >= 4 * outcome.heights and outcome.crashes == 0
    assert dict(outcome.messages)["votes"] >= 4 * 3 * (outcome.heights - 1)
    assert dict(outcome.bytes)["votes"] > 100 * dict(outcome.messages)["votes"]
    assert [height for _, node, height in outcome.timeline if node == 0] == list(
        range(1, 1 + sum(node == 0 for _, node, _ in outcome.timeline))
    )
    assert dict(outcome.memory)["recent"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [each for each in scenario.names() if each not in LARGE])
def test_a_scenario_of_the_product_runs_clean(name: str) -> None:
    clean(trial.run(brief(name, faults_s=2 if name.startswith("gossip") else SHORT_S), 1))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", [each for each in scenario.names() if each not in LARGE])
def test_scenarios_run_clean_over_many_seeds(name: str, seed: int) -> None:
    clean(trial.run(built(name), seed))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), [("storm", 2011)])
def test_a_seed_that_once_failed_is_clean(name: str, seed: int) -> None:
    """storm 2011: a lock in the record, newer than what was heard, was taken for a lost one."""
    clean(trial.run(built(name), seed))


@pytest.mark.slow
def test_storms_at_three_sizes() -> None:
    chosen = built("storm")
    short = replace(chosen, phases=replace(chosen.phases, faults_s=10))
    outcomes = [clean(trial.run(short, seed)) for seed in range(3)]
    assert {outcome.nodes for outcome in outcomes} == {4, 7, 13}
    assert sum(outcome.crashes for outcome in outcomes) >= 8


@pytest.mark.slow
def test_blocks_of_two_megabytes_of_bodies_stop_nobody() -> None:
    chosen = built("slow_bodies", nodes=(4,))
    short = replace(chosen, phases=replace(chosen.phases, faults_s=10))
    lines: list[str] = []
    outcome = clean(trial.run(short, 1, trace=lines.append))
    assert outcome.included >= 1_000 and max(round_ for round_, _ in outcome.rounds) <= 1
    assert sum(n for name, n in outcome.bytes if name in ("messages", "bodies/1")) > 10_000_000


@pytest.mark.slow
def test_every_durable_step_and_moment_is_hit_by_crashes() -> None:
    """One fault for each; `Remember` needs a failed round, so it is the kill suite's."""
    chosen = brief("crashes", faults_s=40)
    schedule = [
        Fault(1_000 * place, "crash_at", (place % 4,), 300, place)
        for place, (effect, _) in enumerate(POINTS)
        if effect != "Remember"
    ]
    outcome = clean(trial.run(replace(chosen, faults=()), 3, schedule=schedule))
    hit = {name for name in outcome.counts if name.startswith("crash ")}
    wanted = {f"crash {moment} {effect}" for effect, moment in POINTS if effect != "Remember"}
    assert hit == wanted and outcome.crashes == len(schedule)


def test_a_schedule_that_is_given_replaces_the_seeds_own() -> None:
    chosen = replace(brief("storm", faults_s=1), phases=replace(built("calm").phases, faults_s=1))
    assert trial.run(chosen, 1, schedule=()).faults == ()
    one = (Fault(100, "crash", (0,), 200, 0),)
    outcome = trial.run(chosen, 1, schedule=one)
    assert outcome.crashes == 1 and outcome.faults == one


# ---- each fault does what it says ---------------------------------------------------------------


def with_fault(kind: str, amount: int = 0, *, target: int = 1, seed: int = 1) -> trial.Outcome:
    """Three seconds of calm weather with one fault in it."""
    fault = Fault(500, kind, (target,), 1_500, amount)
    chosen = brief("calm", faults_s=3)
    return clean(trial.run(chosen, seed, schedule=(fault,)))


def test_a_full_disk_stops_the_node_until_there_is_room() -> None:
    outcome = with_fault("full_disk")
    assert outcome.counts["stopped store_full"] == 1
    assert 1 in {node for at, node, _ in outcome.timeline if at > 2_000}


def test_a_rotten_store_is_refused_and_caught_up_anew() -> None:
    counts = with_fault("bit_flip", 0).counts
    assert counts["stopped store_corrupt"] == counts["refetched"] == 1


def test_a_rotten_copy_of_the_sign_record_is_repaired() -> None:
    counts = with_fault("bit_flip", 1).counts
    assert not any(name.startswith("stopped") for name in counts)


def test_a_copied_key_ends_one_of_the_two_and_forks_nobody() -> None:
    outcome = with_fault("copied_key")
    stopped = [name for name in outcome.counts if name.endswith("stopped twin")]
    assert stopped, outcome.counts


@pytest.mark.parametrize("kind", ["pause", "deaf", "dumb", "partition", "host_fault"])
def test_a_node_that_is_away_makes_no_heights_and_comes_back(kind: str) -> None:
    outcome = with_fault(kind)
    away = [at for at, node, _ in outcome.timeline if node == 1 and 700 <= at < 1_990]
    assert len(away) <= 1, (kind, away)
    assert any(at > 2_000 for at, node, _ in outcome.timeline if node == 1)


# ---- each checker can fail ----------------------------------------------------------------------


def ended(seconds: float = 3.0) -> tuple[Cluster, Checkers]:
    cluster = Cluster(nodes=4, seed=1, parameters=calm_parameters(), weather=Weather())
    scene = Scene(cluster, 1)
    cluster.start()
    scene.traffic(seconds)
    checkers = Checkers(cluster)
    assert len(cluster.hosts) == 4 and len(checkers.longest()) >= 2
    return cluster, checkers


def first(cluster: Cluster) -> Host:
    return next(iter(cluster.hosts.values()))


def other_block(cluster: Cluster) -> None:
    chain = first(cluster).disk.chain
    chain[0] = (chain[1][0], *chain[0][1:])


def other_root(cluster: Cluster) -> None:
    line = first(cluster).line
    assert line is not None
    line.tip = replace(line.tip, map=line.tip.map.update({b"x": b"y"}))


def message_twice(cluster: Cluster) -> None:
    for host in cluster.hosts.values():
        host.disk.chain[1] = host.disk.chain[0]


def tampered(change: Callable[[Committed], Committed]) -> Callable[[Cluster], None]:
    def plant(cluster: Cluster) -> None:
        for host in cluster.hosts.values():
            host.disk.chain[1] = change(host.disk.chain[1])

    return plant


def wrong_state(height: Committed) -> Committed:
    block, certificate, messages = height
    fields = block.header.fields._replace(state_root=Hash(bytes(32)))
    return replace(block, header=type(block.header).of(fields)), certificate, messages


def light_certificate(height: Committed) -> Committed:
    block, certificate, messages = height
    return block, Certificate.of(certificate.votes()[:2]), messages


def blamed(cluster: Cluster) -> None:
    one, two = list(cluster.hosts.values())[:2]
    one.report_blame(two.peer, "nothing")


def halted(cluster: Cluster) -> None:
    first(cluster).halted = "something"


def refused(cluster: Cluster) -> None:
    first(cluster).sign_refused += 1


def crowded(cluster: Cluster) -> None:
    core = first(cluster).core
    assert core is not None
    for number in range(300):
        core.engine.machine.fetches[-number] = (first(cluster).peer, BlockId(bytes(36)))


@pytest.mark.parametrize(
    ("plant", "checker"),
    [
        (other_block, "agreement"),
        (other_root, "roots"),
        (message_twice, "once"),
        (tampered(wrong_state), "validity"),
        (tampered(light_certificate), "validity"),
        (blamed, "blame"),
        (halted, "halt"),
        (refused, "signer"),
        (crowded, "bounds"),
        (lambda cluster: cluster.history.broken.append("two signed values"), "history"),
    ],
)
def test_a_checker_finds_what_it_looks_for(plant: Callable[[Cluster], None], checker: str) -> None:
    cluster, checkers = ended()
    checkers.finish()
    assert checkers.failures == []
    plant(cluster)
    checkers.finish()
    assert checker in {failure.checker for failure in checkers.failures}


def test_a_liar_is_not_judged() -> None:
    cluster, checkers = ended()
    cluster.liars[first(cluster).peer] = None
    for plant in (blamed, halted, other_block, refused):
        plant(cluster)
    checkers.finish()
    assert checkers.failures == []


def test_all_tables_of_a_core_have_a_size() -> None:
    cluster, checkers = ended()
    core = first(cluster).core
    assert core is not None and sizes(core)["recent"] == len(first(cluster).disk.chain)
    checkers.sample()
    assert set(checkers.memory) == set(sizes(core))


def failing(chosen: Scenario, schedule: tuple[Fault, ...] = ()) -> set[str]:
    return {failure.checker for failure in trial.run(chosen, 1, schedule=schedule).failures}


def test_liveness_fails_where_no_quorum_can_be() -> None:
    chosen = brief("calm", faults_s=1)
    mute = replace(chosen, phases=replace(chosen.phases, liveness_s=5, heights=10**6))
    assert failing(mute) == {"liveness"}


def test_quiet_fails_where_a_heartbeat_makes_heights() -> None:
    chosen = brief("quiet", faults_s=2)
    beating = replace(chosen, parameters=chosen.parameters.replace(heartbeat_s=20))
    assert failing(beating) == {"quiet"}


def test_a_core_that_raises_is_a_failure_with_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, effect: Commit) -> None:
        raise AssertionError("planted")

    monkeypatch.setattr("testnet.sim.hands.Hands._commit", broken)
    outcome = trial.run(brief("calm", faults_s=1), 1)
    assert outcome.failures[-1].checker == "crash" and "planted" in outcome.failures[-1].text


# ---- same seed, same trace ----------------------------------------------------------------------


def test_the_same_seed_gives_the_same_lines_and_another_others() -> None:
    one = trial_lines("storm", 5, faults_s=2)
    assert one == trial_lines("storm", 5, faults_s=2) != trial_lines("storm", 6, faults_s=2)
    assert sum(" Commit " in line for line in one) >= 4


def interpreters() -> list[str]:
    """Other Pythons that have the libraries: APOCRYPH_PYTHONS, else those on the path."""
    named = [each for each in os.environ.get("APOCRYPH_PYTHONS", "").split(os.pathsep) if each]
    found = named or [each for v in ("3.12", "3.13") if (each := shutil.which(f"python{v}"))]
    wanted = "import libipld, nacl, cryptography, multihash"
    able = [
        subprocess.run([each, "-c", wanted], capture_output=True, check=False) for each in found
    ]
    return [each for each, done in zip(found, able, strict=True) if done.returncode == 0]


@pytest.mark.slow
def test_the_trace_is_the_same_on_every_python_that_is_here() -> None:
    others = interpreters()
    if not others:
        pytest.skip("no other Python with the libraries: name them in APOCRYPH_PYTHONS")
    traces = {}
    for place, python in enumerate((sys.executable, *others)):
        done = subprocess.run(
            [python, "-m", "tests.sim.trace", "storm", "5"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(place + 1)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        traces[python] = done.stdout
    assert len(set(traces.values())) == 1, traces
