"""Scenario files and fault schedules: what is read, what is refused, what a seed decides."""

from dataclasses import replace

import pytest

from testnet.sim import faults, scenario
from testnet.sim.faults import Fault, FaultError
from testnet.sim.scenario import KINDS, Rule, ScenarioError

LEAST = 'name = "x"\n'
RULE = '[[faults]]\nat_ms = 1\nkind = "%s"\n'


def test_a_file_that_says_little_has_the_defaults() -> None:
    read = scenario.parse(LEAST, "x.toml")
    assert read.nodes == (4,) and read.weather == scenario.Weather()
    assert read.phases == scenario.Phases() and read.faults == () and read.adversaries == ()
    assert read.parameters.slots == 60


@pytest.mark.parametrize("name", scenario.names())
def test_a_scenario_of_the_product_is_read_and_planned(name: str) -> None:
    read = scenario.parse(scenario.builtin(name), name)
    assert read.name == name and read.about
    for seed in range(3):
        for fault in faults.plan(read, seed):
            assert all(0 <= node < read.size(seed) for node in fault.targets)


def test_the_seed_picks_the_size() -> None:
    read = scenario.parse(LEAST + "nodes = [4, 7, 13]", "x")
    assert [read.size(seed) for seed in range(4)] == [4, 7, 13, 4]
    assert [read.down_bound(n) for n in (4, 7, 13)] == [1, 2, 4]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("name = ", "toml", "x.toml"),
        ("name = 3", "type", "name is a text"),
        (LEAST + "speed = 3", "unknown", "the scenario has no speed"),
        (LEAST + "[weather]\nlos = 3", "unknown", "weather has no los"),
        (LEAST + "[weather]\nloss = 101", "range", "weather.loss"),
        (LEAST + '[weather]\nloss = "3"', "type", "weather.loss is a whole number, not"),
        (LEAST + '[weather]\ndelay = "slow"', "range", "weather.delay"),
        (LEAST + "weather = 3", "type", "weather is a table"),
        (LEAST + "nodes = 0", "range", "nodes"),
        (LEAST + "nodes = 61", "range", "at most one a slot"),
        (LEAST + "nodes = []", "range", "nodes"),
        (LEAST + "accounts = true", "type", "accounts is a whole number, not true"),
        (LEAST + "[parameters]\nbeta = 0", "parameters", "concurrent_polls ≤ beta"),
        (LEAST + "[parameters]\nbetas = 3", "unknown", "parameters has no betas"),
        (LEAST + '[machines]\ngossip = "loud"', "range", "gossip"),
        (LEAST + "[phases]\nfaults_s = 1000000", "range", "phases.faults_s"),
        (LEAST + '[[faults]]\nkind = "flood"\nper_minute = 1', "range", "flood"),
        (LEAST + '[[faults]]\nkind = "crash"', "range", "per_minute or at_ms"),
        (LEAST + "[[faults]]\nper_minute = 1", "missing", "kind"),
        (LEAST + '[[faults]]\nkind = "crash"\nat_ms = 1\ntargets = [4]', "range", "targets"),
        (LEAST + '[[faults]]\nkind = "crash"\nat_ms = 1\namount = [3, 1]', "type", "amount"),
        (LEAST + '[[adversaries]]\nkind = "mute"\nnode = 4', "range", "adversaries.node"),
        (LEAST + "[weather]\nloss = 1.5", "type", "loss is a whole number, not 1.5"),
        (LEAST + 'nodes = "four"', "type", 'a whole number or a list of them, not "four"'),
        (LEAST + '[parameters]\nbeta = "x"', "type", 'parameters.beta is a whole number, not "x"'),
        (LEAST + '[parameters]\nslots = "x"', "type", "parameters.slots is a whole number"),
        (LEAST + "[parameters]\nexecution_tiers = 3", "parameters", "execution_tiers"),
        (LEAST + "[[faults]]\nper_minute = 1", "missing", "kind is missing"),
        (LEAST + RULE % "crash" + "per_minute = 2", "range", "both of per_minute and at_ms"),
        (LEAST + RULE % "crash" + "targets = [1]\nnodes = 1", "range", "both targets and nodes"),
        (LEAST + RULE % "crash_at" + "amount = 16", "range", "faults.amount of crash_at"),
        (LEAST + RULE % "crash_at" + "amount = [-1, 3]", "range", "0 to 15"),
        (LEAST + RULE % "lossy" + "amount = 101", "range", "0 to 100"),
        (LEAST + RULE % "crush", "range", "did you mean crash"),
        (LEAST + "down_max = -2", "range", "down_max"),
        (LEAST + '[[adversaries]]\nkind = "evil"\nnode = 0', "range", "one of mute"),
        (LEAST + '[[adversaries]]\nkind = "poisson"\nnode = 0', "range", "did you mean poison?"),
        (LEAST + 'consensus = "raft"', "range", "one of snowball, solo, probabilistic"),
        (LEAST + 'consensus = "solo"', "range", "for 1 node, not 4"),
        (LEAST + 'consensus = "solo"\nnodes = [1, 2]', "range", "for 1 node, not 2"),
        (LEAST + 'consensus = "probabilistic"', "range", "parameters.beta of 30"),
        (LEAST + "[load]\nevery_ms = 0", "range", "without load there are no heights"),
        (LEAST + "[load]\nmessages = 0", "range", "without load there are no heights"),
        ('name = "../esc"', "name", "'../esc' is no name"),
        ('name = "A"', "name", "file names"),
        ('name = ""', "name", "file names"),
        (f'name = "{"x" * 65}"', "name", "1 to 64"),
        (LEAST + "adversaries = 3", "type", "adversaries is a list of tables"),
    ],
)
def test_what_cannot_run_is_refused_by_name(text: str, code: str, words: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        scenario.parse(text, "x.toml")
    assert refused.value.code == code
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        'consensus = "solo"\nnodes = 1',
        'consensus = "probabilistic"\n[parameters]\nbeta = 30\nsettle_base_ms = 60000',
        "[load]\nevery_ms = 0\n[phases]\nheights = 0",
        "[load]\nevery_ms = 0\n[phases]\nliveness_s = 0",
        "[load]\nevery_ms = 0\n[machines]\nhill_nonces = 8",
        RULE % "crash_at" + "amount = [0, 15]\ntargets = [3]",
        RULE % "skew" + "amount = [-500, 500]\nnodes = 2",
    ],
)
def test_what_is_just_possible_is_taken(text: str) -> None:
    assert scenario.parse(LEAST + text, "x").name == "x"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("s/Hard Cases.toml", "hard-cases"),
        ("../mine.toml", "mine"),
        ("ü.toml", "-"),
        ("", "scenario"),
    ],
)
def test_without_a_name_it_has_that_of_its_file(source: str, name: str) -> None:
    assert scenario.parse("nodes = 4", source).name == name


def test_an_unknown_scenario_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ScenarioError, match="storm"):
        scenario.builtin("sunshine")


# ---- schedules ----------------------------------------------------------------------------------


def planned(rule: Rule, seed: int = 1, nodes: int = 7) -> tuple[Fault, ...]:
    bare = scenario.parse(LEAST, "x")
    phases = replace(bare.phases, faults_s=120)
    return faults.plan(replace(bare, nodes=(nodes,), phases=phases, faults=(rule,)), seed)


def test_a_schedule_is_decided_by_the_seed_and_in_order_of_time() -> None:
    rule = Rule(kind="crash", per_minute=20, duration_ms=(5, 50), amount=(-3, 3))
    one = planned(rule)
    assert one == planned(rule) != planned(rule, seed=2)
    assert len(one) == 40
    assert [fault.at_ms for fault in one] == sorted(fault.at_ms for fault in one)
    assert all(5 <= fault.duration_ms <= 50 and -3 <= fault.amount <= 3 for fault in one)
    assert len({fault.targets for fault in one}) == 7, "all nodes are hit"


def test_a_rate_below_one_a_run_happens_in_some_runs() -> None:
    rule = Rule(kind="crash", per_minute=1)
    bare = scenario.parse(LEAST + "[phases]\nfaults_s = 15", "x")
    counts = [len(faults.plan(replace(bare, faults=(rule,)), seed)) for seed in range(80)]
    assert set(counts) == {0, 1} and 8 <= sum(counts) <= 34


def test_every_kind_survives_its_line() -> None:
    for kind in KINDS:
        for fault in planned(Rule(kind=kind, at_ms=(7, 9), nodes=2, amount=(-5, 5))):
            assert Fault.from_line(fault.as_line()) == fault
    schedule = planned(Rule(kind="crash", per_minute=20))
    text = "# a comment\n\n" + faults.lines(schedule)
    assert faults.from_lines(text) == schedule


@pytest.mark.parametrize(
    "line",
    ["", "1 crash 0 5", "1 flood 0 5 0", "x crash 0 5 0", "-1 crash 0 5 0", "1 crash a 5 0"],
)
def test_a_line_that_is_no_fault_is_refused(line: str) -> None:
    with pytest.raises(FaultError):
        Fault.from_line(line)


def test_without_targets_a_partition_has_two_sides() -> None:
    for fault in planned(Rule(kind="partition", per_minute=30)):
        assert 1 <= len(fault.targets) <= 6
    assert planned(Rule(kind="lossy", at_ms=(1,)))[0].targets == ()
    assert planned(Rule(kind="rolling", at_ms=(1,)))[0].targets == tuple(range(7))
