"""Replaying a journal: the same events into the same core must give the same effects.

Pure but for reading what `journal` reads. Knows no rule of the protocol.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from consensus.effects import Effect
from consensus.errors import EncodingError
from consensus.events import Event
from consensus.ids import Now
from node import codec
from node.core import NodeCore
from node.errors import JournalCorrupt
from node.journal import Entry, Journal, Segment, entries, segments


class Difference(NamedTuple):
    """The first event whose effects are not those of the journal."""

    segment: str
    sequence: int
    event: str
    effects: tuple[str, ...]


class Replayed(NamedTuple):
    """What a replay found; `difference` null: identical, byte for byte."""

    segments: int
    events: int
    effects: int
    height: int
    difference: Difference | None


def digest(effects: list[Effect]) -> bytes:
    """sha256 of the canonical bytes of what the core answered."""
    return sha256(codec.to_bytes(effects)).digest()


class CoreJournal:
    """The runtime's journal port: events and digests of their effects into a journal's files."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def append(self, now: Now, event: Event, effects: list[Effect]) -> None:
        self._journal.append(now, codec.to_bytes(event), digest(effects))


def _event(entry: Entry, segment: Segment) -> Event:
    try:
        event: Event = codec.from_bytes(entry.event)
    except EncodingError as error:
        raise JournalCorrupt(f"{segment.path}: event {entry.sequence}: {error}") from error
    return event


def replay(folder: Path, progress: Callable[[int], None] = lambda events: None) -> Replayed:
    """Replay all segments of a folder, each from its own head. Raises JournalCorrupt, NotFound."""
    found = segments(folder)
    events = effects = height = 0
    for segment in found:
        core = NodeCore.restore(segment.snapshot)
        for entry in entries(segment):
            event = _event(entry, segment)
            answer = core.handle(event, entry.now)
            events += 1
            effects += len(answer)
            progress(events)
            if entry.effects and digest(answer) != entry.effects:
                names = tuple([type(effect).__name__ for effect in answer])
                kind = type(event).__name__
                difference = Difference(segment.path.name, entry.sequence, kind, names)
                return Replayed(len(found), events, effects, core.height, difference)
        height = core.height
    return Replayed(len(found), events, effects, height, None)
