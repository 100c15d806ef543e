"""A scenario written as TOML: what `scenario.parse` reads again as the same scenario.

Knows no files.
"""

import json
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any

from consensus.parameters import Parameters
from testnet.sim.scenario import SMALL, Scenario

SECTIONS = ("weather", "machines", "load", "phases")


def scenario_toml(scenario: Scenario, heading: Iterable[str] = ()) -> str:
    """The text; what has its default value is left out. `heading`: lines of a comment."""
    blocks = [[f"# {line}" for line in heading] + _pairs(scenario, _top_fields())]
    blocks.append(_section("parameters", _parameter_pairs(scenario.parameters)))
    blocks += [_section(name, _section_pairs(getattr(scenario, name))) for name in SECTIONS]
    for name, rows in (("faults", scenario.faults), ("adversaries", scenario.adversaries)):
        blocks += [[f"[[{name}]]", *_section_pairs(row)] for row in rows]
    return "\n\n".join(["\n".join(block) for block in blocks if block]) + "\n"


def _top_fields() -> list[str]:
    return ["name", "about", "nodes", "accounts", "consensus", "down_max"]


def _section(name: str, pairs: list[str]) -> list[str]:
    return [f"[{name}]", *pairs] if pairs else []


def _section_pairs(value: Any) -> list[str]:
    return _pairs(value, [each.name for each in fields(value)])


def _pairs(value: Any, names: Iterable[str]) -> list[str]:
    """`name = value` for what differs from its field's default."""
    defaults = {each.name: each.default for each in fields(value)}
    found = []
    for name in names:
        own = getattr(value, name)
        if defaults[name] is MISSING or own != defaults[name]:
            found.append(f"{name} = {_written(own)}")
    return found


def _parameter_pairs(parameters: Parameters) -> list[str]:
    """What differs from what a scenario without [parameters] has."""
    usual = Parameters.local(**SMALL).to_value()
    own = parameters.to_value()
    # The turnover follows the slots where it is silent, so one is written with the other.
    wanted = [name for name in own if own[name] != usual[name]]
    if "slots" in wanted and "turnover_max" not in wanted:
        wanted.append("turnover_max")
    return [f"{name} = {_written(own[name])}" for name in wanted]


def _written(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join([_written(each) for each in value]) + "]"
    return json.dumps(value, ensure_ascii=False)
