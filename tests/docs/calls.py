"""What the rules of the engine may order, read from the source of `consensus/` by its syntax trees.

Follows calls by name from a function to all that it reaches. Runs nothing.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

from consensus import effects, events

ROOT = Path(__file__).parents[2] / "consensus"
EFFECTS = tuple(sorted(effect.__name__ for effect in get_args(effects.Effect)))
EVENTS = tuple(event.__name__ for event in get_args(events.Event))


@dataclass(frozen=True, slots=True)
class Module:
    """One file: its functions, and what its imported names mean."""

    functions: dict[str, ast.FunctionDef]
    modules: dict[str, str]  # alias → module of consensus
    names: dict[str, tuple[str, str]]  # imported name → (module of consensus, name there)


@cache
def module(name: str) -> Module:
    tree = ast.parse((ROOT / f"{name}.py").read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    modules: dict[str, str] = {}
    names: dict[str, tuple[str, str]] = {}
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        if node.module == "consensus":
            modules |= {each.asname or each.name: each.name for each in node.names}
        elif node.module.startswith("consensus."):
            home = node.module.removeprefix("consensus.")
            names |= {each.asname or each.name: (home, each.name) for each in node.names}
    return Module(functions, modules, names)


def target(home: str, call: ast.Call) -> tuple[str, str] | None:
    """(module, function or class) that a call names, if it is one of `consensus/`."""
    here, called = module(home), call.func
    if isinstance(called, ast.Name):
        if called.id in here.functions:
            return home, called.id
        return here.names.get(called.id)
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
        alias = here.modules.get(called.value.id)
        return None if alias is None else (alias, called.attr)
    return None


def calls(home: str, tree: ast.AST) -> list[tuple[str, str]]:
    """What is called in it, in the order of the source, each once."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found.sort(key=lambda call: (call.lineno, call.col_offset))
    targets = [target(home, call) for call in found]
    return list(dict.fromkeys([each for each in targets if each is not None]))


def ordered(home: str, tree: ast.AST) -> set[str]:
    """Names of the effects that may be ordered by it or by anything that it calls."""
    found: set[str] = set()
    waiting, seen = calls(home, tree), set()
    while waiting:
        place, name = waiting.pop()
        if (place, name) in seen:
            continue
        seen.add((place, name))
        if place == "effects" and name in EFFECTS:
            found.add(name)
            continue
        function = _function(place, name)
        if function is not None:
            waiting += calls(place, function)
    return found


def _function(home: str, name: str) -> ast.FunctionDef | None:
    return module(home).functions.get(name) if (ROOT / f"{home}.py").exists() else None


def said(home: str, name: str) -> str:
    """The first sentence of a function's docstring."""
    function = _function(home, name)
    text = ast.get_docstring(function) if function is not None else None
    return "" if text is None else " ".join(text.split("\n\n")[0].split())


def class_said(name: str) -> str:
    """The first sentence of an event's or effect's docstring, empty where it has none."""
    for home in ("events", "effects"):
        found = getattr(globals()[home], name, None)
        if found is not None and found.__doc__ and not found.__doc__.startswith(f"{name}("):
            return " ".join(str(found.__doc__).split("\n\n")[0].split())
    return ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One step of `engine.advance`: applied after every event, until nothing moves."""

    place: str
    text: str
    effects: tuple[str, ...]


def rules() -> list[Rule]:
    """The rules in the order in which they are applied."""
    found: list[Rule] = []
    waiting = calls("engine", module("engine").functions["advance"])
    while waiting:
        home, name = waiting.pop(0)
        function = _function(home, name)
        if function is None:
            continue
        if home == "engine":
            waiting = calls(home, function) + waiting
            continue
        found.append(Rule(f"{home}.{name}", said(home, name), _sorted(ordered(home, function))))
    return found


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


@dataclass(frozen=True, slots=True)
class Intake:
    """How one event is taken in, before the rules are applied."""

    event: str
    text: str
    places: tuple[str, ...]
    effects: tuple[str, ...]


def intakes() -> list[Intake]:
    """One row per event, in the order of the `match` in `engine._take`."""
    (switch,) = [node for node in module("engine").functions["_take"].body if _is_match(node)]
    assert isinstance(switch, ast.Match)
    rows = []
    for case in switch.cases:
        body = ast.Module(body=case.body, type_ignores=[])
        places = [f"{home}.{name}" for home, name in calls("engine", body) if _is_ours(home, name)]
        orders = _sorted(ordered("engine", body))
        for event in _cases(case.pattern):
            rows.append(Intake(event, class_said(event), tuple(places), orders))
    return rows


def _is_match(node: ast.stmt) -> bool:
    return isinstance(node, ast.Match)


def _is_ours(home: str, name: str) -> bool:
    return _function(home, name) is not None


def _cases(pattern: ast.pattern) -> list[str]:
    if isinstance(pattern, ast.MatchOr):
        return [name for each in pattern.patterns for name in _cases(each)]
    if isinstance(pattern, ast.MatchClass) and isinstance(pattern.cls, ast.Name):
        return [pattern.cls.id]
    return []
