"""The model of a state's entry (pure): compare-and-set of one key (contract 21).

Versions are opaque and never come back: a new entry starts at a number that the caller draws, so
that a writer who still knows an entry that was removed and created again cannot hit it by chance.
"""

from typing import NamedTuple

from perper_core.errors import Conflict
from perper_core.ports import ABSENT, ANY_VERSION
from perper_core.records import Step


class Entry(NamedTuple):
    """A key's content: the encoded value."""

    version: int
    value: bytes


class Put(NamedTuple):
    """`first_version`: drawn anew for each command, > 0, used when the key is absent."""

    value: bytes
    version: int
    first_version: int


class Remove(NamedTuple):
    version: int


Command = Put | Remove


def step(entry: Entry | None, command: Command) -> Step[Entry | None, int, None]:
    """One change; the reply is the version after it (of what was removed: 0 = there was nothing).
    Raises Conflict."""
    found = ABSENT if entry is None else entry.version
    if command.version not in (ANY_VERSION, found):
        raise Conflict("the entry has another version", found=found)
    match command:
        case Put(value, _, first_version):
            version = first_version if entry is None else entry.version + 1
            return Step(Entry(version, value), version)
        case Remove():
            return Step(None, found)
