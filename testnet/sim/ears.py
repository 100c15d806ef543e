"""What nodes hear, decoded and judged once for a whole cluster: records never change.

Every node screens and takes in by itself; only the form of bytes and the verdict on signatures,
which are the same for all, are shared. Bounded: two generations, the older one is dropped.
"""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from consensus.effects import POLL
from consensus.errors import ConsensusError
from consensus.events import (
    AnswerReceived,
    Event,
    MessagesReceived,
    PollReceived,
    ProposalReceived,
)
from consensus.ids import Peer
from node.speech import Check, Heard, asked, hear, read_reply
from testnet.sim.keys import KeyedHash

KEPT_MAX: Final = 4_096  # of a generation
TOKEN: Final = 1  # of every gossip: verdicts come while it is being handled
_Kept = TypeVar("_Kept")


class Kept(Generic[_Kept]):
    """Results by the bytes that they come from."""

    __slots__ = ("_make", "_old", "_young")

    def __init__(self, make: Callable[[str, bytes], _Kept]) -> None:
        self._make = make
        self._young: dict[tuple[str, bytes], _Kept] = {}
        self._old: dict[tuple[str, bytes], _Kept] = {}

    def get(self, name: str, data: bytes) -> _Kept:
        place = (name, data)
        found = self._young.get(place)
        if found is None:
            found = self._old.get(place)
            if found is None:
                found = self._make(name, data)
            if len(self._young) >= KEPT_MAX:
                self._old, self._young = self._young, {}
            self._young[place] = found
        return found


class Sound:
    """A gossip as bytes say it: `heard`, or the code of the error; whether its signatures hold."""

    __slots__ = ("_verdict", "error", "heard")

    def __init__(self, heard: Heard | None, error: str) -> None:
        self.heard, self.error = heard, error
        self._verdict: bool | None = None

    def holds(self, keys: KeyedHash) -> bool:
        """Whether all its signatures verify."""
        if self._verdict is None:
            assert self.heard is not None
            self._verdict = verified(keys, self.heard.signed)
        return self._verdict


def verified(keys: KeyedHash, checks: Sequence[Check]) -> bool:
    return all(keys.verify(*check) for check in checks)


class Ears:
    """Shared by the hosts of a cluster."""

    def __init__(self, keys: KeyedHash, chain: bytes) -> None:
        self.keys, self._chain = keys, chain
        self.sounds: Kept[Sound] = Kept(_sound)
        self._answers: Kept[tuple[AnswerReceived | None, None]] = Kept(self._answer)
        self._polls: Kept[tuple[PollReceived, None]] = Kept(self._poll)

    def asked(self, proto: str, data: bytes, query: int, peer: Peer) -> Event:
        """As speech.asked. Raises EncodingError."""
        if proto != POLL:
            return asked(proto, data, query, peer, self._chain)
        poll, _ = self._polls.get(proto, data)
        return PollReceived(query, peer, poll.height)

    def read_reply(self, proto: str, raw: bytes, ask: int, peer: Peer) -> list[Event]:
        """As speech.read_reply. Raises EncodingError, SignatureInvalid."""
        if proto == POLL:
            found, _ = self._answers.get(proto, raw)
            if found is not None:
                return [AnswerReceived(ask, peer, found.height, found.round, found.block)]
        return read_reply(proto, raw, ask, peer, self.keys)

    def _poll(self, proto: str, data: bytes) -> tuple[PollReceived, None]:
        event = asked(proto, data, 0, _NOBODY, self._chain)
        assert isinstance(event, PollReceived), "a poll"
        return event, None

    def _answer(self, proto: str, raw: bytes) -> tuple[AnswerReceived | None, None]:
        """Answers of a height look alike; a past height's certificate is read each time."""
        events = read_reply(proto, raw, 0, _NOBODY, self.keys)
        event = events[0]
        return (event if isinstance(event, AnswerReceived) else None), None


_NOBODY: Final = Peer(b"")


def _sound(topic: str, data: bytes) -> Sound:
    try:
        return Sound(hear(topic, data, TOKEN, None), "")
    except ConsensusError as error:
        return Sound(None, str(error))


def from_source(heard: Heard, source: Peer) -> Heard:
    """The same, with the link that it came by."""
    event = heard.event
    if type(event) is ProposalReceived:
        return Heard(ProposalReceived(TOKEN, event.proposal, source), heard.signed)
    if type(event) is MessagesReceived:
        return Heard(MessagesReceived(TOKEN, event.messages, source), heard.signed)
    return heard
