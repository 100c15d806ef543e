"""Where a scenario and a schedule come from: files, or what comes with the product.

Every refusal is a NodeError with a code and a hint. Knows no run.
"""

from pathlib import Path
from typing import Final, NamedTuple

from node.errors import (
    ConfigError,
    ConfigFileError,
    ConfigUnknownKey,
    NodeError,
    UsageError,
    suggestion,
)
from node.toml import parse_toml
from testnet.sim import faults, scenario
from testnet.sim.faults import Fault
from testnet.sim.scenario import Scenario, ScenarioError
from testnet.simulate.limits import SOURCE_BYTES_MAX

SUFFIX: Final = ".toml"
MARKS: Final = ("seed", "scenario", "schedule")  # which no scenario has: by them a case is known


class Source(NamedTuple):
    """A scenario and the word by which a command names it again."""

    word: str
    scenario: Scenario


def read_scenario(word: str) -> Source:
    """A file if the word looks like one, else a built-in. Raises NodeError."""
    if is_case(word):
        hint = f"apocryph sim replay {word}"
        raise UsageError(f"{word} is one failing run, no scenario", hint=hint)
    if looks_like_file(word):
        text, source = read_text(Path(word), "scenario"), word
    else:
        text, source = builtin_text(word), word
    try:
        return Source(word, scenario.parse(text, source))
    except ScenarioError as error:
        raise as_refusal(error) from error


def is_case(word: str) -> bool:
    """Whether it is the file of a case (see `cases`). Raises NodeError if it cannot be read."""
    if not looks_like_file(word):
        return False
    try:
        value = parse_toml(read_text(Path(word), "scenario"))
    except ValueError:
        return False
    return all(name in value for name in MARKS)


def looks_like_file(word: str) -> bool:
    """`storm` is a name; `storm.toml` and `./storm` are files."""
    return word.endswith(SUFFIX) or "/" in word


def builtin_text(name: str) -> str:
    """Its TOML. Raises UsageError."""
    known = scenario.names()
    if name not in known:
        cause = f"no scenario {name!r}{suggestion(name, known)}"
        hint = "`apocryph sim scenarios` lists them; a file ends in .toml"
        raise UsageError(cause, hint=hint)
    return scenario.builtin(name)


def read_schedule(path: Path) -> tuple[Fault, ...]:
    """The faults of a file. Raises NodeError."""
    try:
        return faults.from_lines(read_text(path, "schedule"))
    except faults.FaultError as error:
        hint = "a line is AT KIND TARGETS DURATION AMOUNT, e.g. `4000 crash 0,2 500 0`"
        raise ConfigError(f"{path}: {error}", hint=hint) from error


def as_refusal(error: ScenarioError) -> NodeError:
    """A scenario that cannot run, as commands tell it."""
    hint = error.hint or "compare it with `apocryph sim show storm`"
    if error.code == "toml":
        return ConfigFileError(error.cause, hint=hint)
    if error.code == "unknown":
        return ConfigUnknownKey(error.cause, hint=hint)
    return ConfigError(error.cause, hint=hint)


def read_text(path: Path, what: str) -> str:
    """A small UTF-8 file; `what` it is names it in errors. Raises NodeError."""
    try:
        with path.open("rb") as file:
            raw = file.read(SOURCE_BYTES_MAX + 1)
    except OSError as error:
        hint = "check the path; `apocryph sim scenarios` lists what is built in"
        raise ConfigFileError(f"{what} {path}: {error.strerror}", hint=hint) from error
    if len(raw) > SOURCE_BYTES_MAX:
        hint = f"a {what} is a small text; see `apocryph sim show storm`"
        raise ConfigFileError(f"{what} {path} is larger than {SOURCE_BYTES_MAX} bytes", hint=hint)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        hint = f"save the {what} as UTF-8 text; `apocryph sim show storm` prints one to begin with"
        raise ConfigFileError(f"{what} {path} is no UTF-8 text", hint=hint) from error
