"""A scenario: what one simulated run is made of, read from TOML and judged before anything runs.

Sections and their fields are the dataclasses below; whatever a file does not say has the default of
its field. Knows no cluster; chance comes later, from the seed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from importlib import resources
from pathlib import PurePath
from typing import Any, Final, TypeVar

from consensus import kinds
from consensus.errors import ParameterError
from consensus.parameters import Parameters
from node.toml import parse_toml

NODES_MAX: Final = 128
SECONDS_MAX: Final = 7 * 24 * 3600
PERCENT: Final = 100
NAME_CHARACTERS_MAX: Final = 64
SHOWN_CHARACTERS: Final = 40  # of a value that is refused
STEP_LAST: Final = 15  # of crash_at: see faults.POINTS
ADVERSARIES_MAX: Final = 32
RULES_MAX: Final = 64
SMALL: Final = {"slots": 60, "epoch_blocks": 4096, "claim_close": 4}  # where a file is silent

DELAYS: Final = ("uniform", "fixed", "long_tail")
GOSSIPS: Final = ("direct", "relayed")
KINDS: Final = (
    "partition",  # targets on one side, the others on the other
    "deaf",  # targets hear nobody
    "dumb",  # nobody hears the targets
    "apart",  # the targets do not reach each other; everybody else does
    "lossy",  # amount: loss in percent on all links
    "slow_links",  # amount: bytes per ms that a target sends
    "slow_disk",  # amount: ms of one sync
    "full_disk",  # writes fail with StoreFull until it ends; the node stops, and starts then
    "bit_flip",  # amount: place (store, one copy of the sign record); the node stops and starts
    "crash",  # at that moment
    "crash_at",  # amount: which durable step, see faults.POINTS
    "pause",  # SIGSTOP … SIGCONT
    "rolling",  # one after the other, each down for the duration
    "skew",  # amount: ms that the wall clock is off
    "drift",  # amount: ms that the wall clock gains a second
    "copied_key",  # a second node with the key and disk; amount: ms from the copy to its start
    "slow_executor",  # amount: ms of one block
    "host_fault",  # executions fail with a host fault
)

AMOUNTS_MAX: Final = {"lossy": PERCENT, "crash_at": STEP_LAST}

_Section = TypeVar("_Section")


class ScenarioError(Exception):
    """A scenario that cannot run: `code`, one line of `cause`, a `hint`."""

    def __init__(self, code: str, cause: str, hint: str = "") -> None:
        super().__init__(cause)
        self.code, self.cause, self.hint = code, cause, hint

    def __str__(self) -> str:
        return f"{self.code}: {self.cause}" + (f" ({self.hint})" if self.hint else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Of every link. Shares in percent of packets, times in ms, bandwidth in bytes per ms."""

    loss: int = 0
    duplicate: int = 0
    reorder: int = 0  # held back by up to reorder_ms beyond its delay
    reorder_ms: int = 100
    replay: int = 0  # comes once more, up to replay_ms later
    replay_ms: int = 5_000
    delay: str = "uniform"
    delay_ms: int = 5
    jitter_ms: int = 5
    link_bytes_per_ms: int = 0  # 0: no bound
    node_bytes_per_ms: int = 0  # of all that a node sends


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """What the hosts are like, in ms of simulated time."""

    disk_ms: int = 2  # one durable write
    execute_ms: int = 3  # one block
    execute_us_per_message: int = 0
    gossip: str = "direct"  # relayed: by the router of `network`, as over real links
    hill_nonces: int = 0  # tries of a node an epoch
    late: int = 0  # nodes without slots, beside `nodes`, that start after `late_s`
    late_s: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Messages of seeded accounts: `messages` every `every_ms`, to a random node each."""

    every_ms: int = 1_000  # 0: none
    messages: int = 1
    data_bytes: int = 0  # added to each message
    from_s: int = 0
    until_s: int = 0  # 0: as long as the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Safety under faults, then no more faults, then liveness is judged. Seconds, simulated."""

    faults_s: int = 20
    heal_s: int = 5
    liveness_s: int = 120  # within which all honest nodes hold `heights` more
    heights: int = 3
    quiet_s: int = 0  # at the end, without load: no heights, no polls, no signatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Faults of one kind: so many a minute at drawn times, or at `at_ms`.

    `targets` empty: `nodes` of them, drawn (at most `nodes_max` of those that own slots are down at
    once over all rules: scenario.down_max).
    """

    kind: str
    per_minute: int = 0
    at_ms: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()
    nodes: int = 1
    duration_ms: tuple[int, int] = (500, 3_000)
    amount: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Villain:
    """An adversary by name (testnet.sim.adversaries.NAMES) at a node."""

    kind: str
    node: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """All of a run but its seed. `nodes`: sizes, one of which the seed picks.

    `name` becomes a part of file names: small letters, digits, `-` and `_`.
    """

    name: str
    about: str = ""
    nodes: tuple[int, ...] = (4,)
    accounts: int = 4
    consensus: str = "snowball"
    down_max: int = -1  # nodes down at once; -1: fewer than a third of them
    parameters: Parameters
    weather: Weather = field(default_factory=Weather)
    machines: Machines = field(default_factory=Machines)
    load: Load = field(default_factory=Load)
    phases: Phases = field(default_factory=Phases)
    faults: tuple[Rule, ...] = ()
    adversaries: tuple[Villain, ...] = ()

    def size(self, seed: int) -> int:
        """How many nodes that own slots the run of a seed has."""
        return self.nodes[seed % len(self.nodes)]

    def down_bound(self, nodes: int) -> int:
        """How many nodes may be down at once."""
        return (nodes - 1) // 3 if self.down_max < 0 else self.down_max


# ---- built in -----------------------------------------------------------------------------------


def names() -> list[str]:
    """Names of the scenarios that come with the product."""
    folder = resources.files("testnet.sim") / "scenarios"
    found = [each.name for each in folder.iterdir()]
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def builtin(name: str) -> str:
    """The text of a scenario that comes with the product. Raises ScenarioError."""
    if name not in names():
        raise ScenarioError("unknown", f"no scenario {name!r}", "one of " + ", ".join(names()))
    return (resources.files("testnet.sim") / "scenarios" / f"{name}.toml").read_text("utf-8")


# ---- reading ------------------------------------------------------------------------------------


def parse(text: str, source: str) -> Scenario:
    """The scenario of a TOML text; `source` names it in errors. Raises ScenarioError."""
    try:
        value = parse_toml(text)
    except ValueError as error:
        raise ScenarioError("toml", f"{source}: {error}") from error
    try:
        return _scenario(value, source)
    except ScenarioError as error:
        raise ScenarioError(error.code, f"{source}: {error.cause}", error.hint) from error


def _scenario(value: dict[str, Any], source: str) -> Scenario:
    _check_names(value, [each.name for each in fields(Scenario)], "the scenario")
    scenario = Scenario(
        name=_text(value, "name", _name_of(source)),
        about=_text(value, "about", ""),
        nodes=_sizes(value.get("nodes", 4)),
        accounts=_typed(value.get("accounts", 4), str(int), "accounts"),
        consensus=_text(value, "consensus", kinds.SNOWBALL),
        down_max=_typed(value.get("down_max", -1), str(int), "down_max"),
        parameters=_parameters(_table(value, "parameters")),
        weather=_section(Weather, value, "weather"),
        machines=_section(Machines, value, "machines"),
        load=_section(Load, value, "load"),
        phases=_section(Phases, value, "phases"),
        faults=tuple([_rule(row) for row in _rows(value, "faults")]),
        adversaries=tuple(
            [_row(Villain, row, "adversaries") for row in _rows(value, "adversaries")]
        ),
    )
    check(scenario)
    return scenario


def _name_of(source: str) -> str:
    """The name of a scenario that has none: that of its file."""
    stem = PurePath(source).stem.lower()
    return re.sub("[^a-z0-9_-]+", "-", stem)[:NAME_CHARACTERS_MAX] or "scenario"


def _sizes(found: Any) -> tuple[int, ...]:
    sizes = found if isinstance(found, list) else [found]
    if not _integers(sizes):
        raise _wrong_type("nodes", "a whole number or a list of them", found)
    return tuple(sizes)


def _parameters(table: dict[str, Any]) -> Parameters:
    known = {each.name: str(each.type) for each in fields(Parameters)}
    _check_names(table, list(known), "parameters")
    for name, found in table.items():
        if known[name] == str(int):
            _typed(found, str(int), f"parameters.{name}")
    try:
        return Parameters.local(**{**SMALL, **table})
    except (ParameterError, TypeError) as error:
        raise ScenarioError("parameters", f"parameters: {error}") from error


def _rule(row: dict[str, Any]) -> Rule:
    rule = _row(Rule, row, "faults")
    if "targets" in row and "nodes" in row:
        raise ScenarioError("range", "faults has both targets and nodes", "leave one out")
    return rule


def _text(value: Mapping[str, Any], name: str, default: str) -> str:
    found = value.get(name, default)
    if not isinstance(found, str):
        raise _wrong_type(name, "a text", found)
    return found


def _table(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name, {})
    if not isinstance(found, dict):
        raise ScenarioError("type", f"{name} is a table", f"[{name}]")
    return found


def _rows(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = value.get(name, [])
    if not isinstance(found, list) or any(not isinstance(row, dict) for row in found):
        raise ScenarioError("type", f"{name} is a list of tables", f"[[{name}]]")
    return found


def _section(kind: type[_Section], value: Mapping[str, Any], name: str) -> _Section:
    return _row(kind, _table(value, name), name)


def _row(kind: type[_Section], value: Mapping[str, Any], name: str) -> _Section:
    known = {each.name: each.type for each in fields(kind)}  # type: ignore[arg-type]
    _check_names(value, list(known), name)
    taken = {}
    for key, found in value.items():
        taken[key] = _typed(found, str(known[key]), f"{name}.{key}")
    for each in fields(kind):  # type: ignore[arg-type]
        if each.name not in taken and each.default is MISSING:
            hint = f"each of [[{name}]] has a line `{each.name} = …`"
            raise ScenarioError("missing", f"{name}: {each.name} is missing", hint)
    return kind(**taken)


def _typed(found: Any, wanted: str, where: str) -> Any:
    """The value as its field wants it; a number stands for a range of one."""
    if wanted == str(int):
        if type(found) is int:
            return found
        raise _wrong_type(where, "a whole number", found)
    if wanted == str(tuple[int, int]):
        pair = [found, found] if type(found) is int else found
        if _integers(pair) and len(pair) == 2 and pair[0] <= pair[1]:
            return tuple(pair)
        raise _wrong_type(where, "a whole number or [least, most]", found)
    if wanted == str(tuple[int, ...]):
        many = [found] if type(found) is int else found
        if _integers(many):
            return tuple(many)
        raise _wrong_type(where, "a whole number or a list of them", found)
    if type(found) is str:
        return found
    raise _wrong_type(where, "a text", found)


def _wrong_type(where: str, wanted: str, found: Any) -> ScenarioError:
    shown = json.dumps(found, ensure_ascii=False, default=str)
    if len(shown) > SHOWN_CHARACTERS:
        shown = shown[: SHOWN_CHARACTERS - 1] + "…"
    return ScenarioError("type", f"{where} is {wanted}, not {shown}")


def _integers(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int for each in value)


def _check_names(value: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = sorted(name for name in value if name not in known)
    if unknown:
        raise ScenarioError(
            "unknown", f"{where} has no {', '.join(unknown)}", "one of " + ", ".join(known)
        )


# ---- judging ------------------------------------------------------------------------------------


def check(scenario: Scenario) -> None:
    """Raises ScenarioError for the first thing that cannot be."""
    _check_name(scenario.name)
    _check_sizes(scenario)
    _check_consensus(scenario)
    _check_weather(scenario.weather)
    _among(scenario.machines.gossip, GOSSIPS, "machines.gossip")
    _check_phases(scenario)
    _require(len(scenario.faults) <= RULES_MAX, "faults", f"at most {RULES_MAX}")
    least = min(scenario.nodes)
    for rule in scenario.faults:
        _check_rule(rule, least)
    _check_villains(scenario.adversaries, least)


def _check_name(name: str) -> None:
    right = re.fullmatch(f"[a-z0-9_-]{{1,{NAME_CHARACTERS_MAX}}}", name) is not None
    hint = f"1 to {NAME_CHARACTERS_MAX} of a-z, 0-9, - and _: it becomes a part of file names"
    if not right:
        shown = name if len(name) <= NAME_CHARACTERS_MAX else name[:NAME_CHARACTERS_MAX] + "…"
        raise ScenarioError("name", f"name {shown!r} is no name of a scenario", hint)


def _check_consensus(scenario: Scenario) -> None:
    """What no genesis of these sizes could start."""
    _among(scenario.consensus, list(kinds.KINDS), "consensus")
    kind, most = kinds.KINDS[scenario.consensus], max(scenario.nodes)
    if kind.owners_max is not None and most > kind.owners_max:
        cause = f"consensus {kind.name!r} is for {kind.owners_max} node, not {most}"
        raise ScenarioError("range", cause, f"nodes = {kind.owners_max}, or another consensus")
    beta = scenario.parameters.beta
    if beta < kind.beta_min:
        cause = f"consensus {kind.name!r} needs parameters.beta of {kind.beta_min} or more"
        raise ScenarioError("range", f"{cause}, not {beta}", f"beta = {kind.beta_min}")


def _check_phases(scenario: Scenario) -> None:
    phases, load = scenario.phases, scenario.load
    for name in ("faults_s", "heal_s", "liveness_s", "quiet_s"):
        _require(0 <= getattr(phases, name) <= SECONDS_MAX, f"phases.{name}", "within a week")
    _require(phases.heights >= 0, "phases.heights", "not negative")
    # Only messages and what owners mine make heights.
    loaded = (load.every_ms and load.messages) or scenario.machines.hill_nonces
    if phases.liveness_s and phases.heights and not loaded:
        cause = f"phases.heights is {phases.heights}, and without load there are no heights"
        raise ScenarioError("range", cause, "load.every_ms above 0, or phases.heights = 0")


def _check_villains(villains: Sequence[Villain], least: int) -> None:
    _require(len(villains) <= ADVERSARIES_MAX, "adversaries", f"at most {ADVERSARIES_MAX}")
    if not villains:
        return
    from testnet.sim.adversaries import NAMES  # loaded only where a scenario names one

    for villain in villains:
        _among(villain.kind, list(NAMES), "adversaries.kind")
        _require(0 <= villain.node < least, "adversaries.node", f"0 to {least - 1}")
    places = [villain.node for villain in villains]
    _require(len(places) == len(dict.fromkeys(places)), "adversaries.node", "each once")


def _check_sizes(scenario: Scenario) -> None:
    sizes = scenario.nodes
    right = bool(sizes) and all(type(n) is int and 1 <= n <= NODES_MAX for n in sizes)
    _require(right, "nodes", f"numbers from 1 to {NODES_MAX}")
    slots = scenario.parameters.slots
    _require(max(sizes) <= slots, "nodes", f"at most one a slot ({slots})")
    _require(2 <= scenario.accounts <= 1024, "accounts", "2 to 1024")
    _require(-1 <= scenario.down_max <= NODES_MAX, "down_max", f"-1 to {NODES_MAX}")
    load = scenario.load
    for name in ("every_ms", "messages", "data_bytes", "from_s", "until_s"):
        _require(getattr(load, name) >= 0, f"load.{name}", "not negative")
    for each in fields(Machines):
        if each.name != "gossip":
            _require(getattr(scenario.machines, each.name) >= 0, each.name, "not negative")


def _check_weather(weather: Weather) -> None:
    for name in ("loss", "duplicate", "reorder", "replay"):
        _require(0 <= getattr(weather, name) <= PERCENT, f"weather.{name}", "0 to 100")
    _among(weather.delay, DELAYS, "weather.delay")
    for name in ("delay_ms", "jitter_ms", "reorder_ms", "replay_ms"):
        _require(getattr(weather, name) >= 0, f"weather.{name}", "not negative")
    for name in ("link_bytes_per_ms", "node_bytes_per_ms"):
        _require(getattr(weather, name) >= 0, f"weather.{name}", "not negative")


def _check_rule(rule: Rule, least: int) -> None:
    _among(rule.kind, KINDS, "faults.kind")
    _require(rule.per_minute >= 0, "faults.per_minute", "not negative")
    if bool(rule.per_minute) == bool(rule.at_ms):
        which = "both" if rule.at_ms else "neither"
        cause = f"faults of kind {rule.kind!r} has {which} of per_minute and at_ms"
        raise ScenarioError("range", cause, "per_minute or at_ms, one of them")
    _require(all(at >= 0 for at in rule.at_ms), "faults.at_ms", "not negative")
    _require(all(0 <= node < least for node in rule.targets), "faults.targets", f"0 to {least - 1}")
    _require(1 <= rule.nodes <= least, "faults.nodes", f"1 to {least}")
    _require(rule.duration_ms[0] >= 0, "faults.duration_ms", "not negative")
    bound = AMOUNTS_MAX.get(rule.kind)
    if bound is not None:
        right = rule.amount[0] >= 0 and rule.amount[1] <= bound
        _require(right, f"faults.amount of {rule.kind}", f"0 to {bound}")


def _among(found: str, known: Sequence[str], what: str) -> None:
    if found not in known:
        near = get_close_matches(found, known)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        hint += "one of " + ", ".join(known)
        raise ScenarioError("range", f"{what} {found!r} is not known", hint)


def _require(holds: bool, what: str, hint: str) -> None:
    if not holds:
        raise ScenarioError("range", f"{what} is out of range", hint)
