"""Whether the sign record remembers all that this key has signed (protocol §7).

A record from a backup, or of a node whose key signed elsewhere meanwhile, is older than what the
chain or a peer shows: with it this node could contradict itself. So it signs nothing before it has
heard how far the chain is (node.hold), and ends when it is shown an own signature that the record
does not know. Knows the chain and the record's place; signs nothing and changes nothing.
"""

from collections.abc import Callable, Iterator
from typing import Final

from consensus.block import Body, Proposal
from consensus.certificates import Aggregate, Certificate, Vote
from consensus.events import Event, FactsReceived, ProposalReceived, VotesReceived
from consensus.facts import DoubleProposal, Evidence, Fact, LateAccept, decode_fact
from consensus.ids import Peer
from consensus.signing import PROPOSE
from node.agents.screening import PHASES
from node.errors import SignRecordOld
from node.signer import Position
from node.store.chain import ChainData

# A height that lies further back is decided here: whatever was signed there is not signed again.
LOOK_BACK: Final = 4_096

Shown = Vote | Certificate | Aggregate | Proposal | Fact


class Recall:
    """`place`: the newest place in the record, as it is on disk. What the core has asked to be
    signed meanwhile, and waits for, is no word of this node yet."""

    def __init__(self, peer: Peer, place: Callable[[], Position], *, where: str) -> None:
        self._peer, self._place, self._where = peer, place, where

    def check_stored(self, chain: ChainData) -> None:
        """What stands in the newest blocks, at a start. Raises SignRecordOld."""
        lowest = max(1, self._place()[0], chain.height - LOOK_BACK + 1)
        for height in range(chain.height, lowest - 1, -1):
            stored = chain.block(height)
            assert stored is not None, "committed heights are stored"
            certificate = Certificate.decode(stored.certificate) if stored.certificate else None
            self.check(certificate, Body.decode(stored.body))

    def check(self, certificate: Certificate | None, body: Body) -> None:
        """One block, with its certificate where the chain makes them. Raises SignRecordOld."""
        shown: list[Shown | None] = [certificate, body.certificate()]
        shown += [decode_fact(raw) for raw in body.facts]
        for each in shown:
            place = None if each is None else self.unknown(each)
            if place is not None:
                raise SignRecordOld(
                    f"{self._where} ends at {_words(*self._place())}, but this key has signed"
                    f" {_words(*place)}"
                )

    def heard(self, event: Event) -> str:
        """What a gossip, whose signatures hold, shows of this key that the record does not know, in
        words; empty: nothing."""
        for shown in _gossip(event):
            place = self.unknown(shown)
            if place is not None:
                return _words(*place)
        return ""

    def unknown(self, shown: Shown) -> Position | None:
        """The place of an own signature in it that is newer than the record."""
        place = _newest(shown, self._peer)
        return place if place is not None and place > self._place() else None


def place_of(vote: Vote) -> Position:
    """Where a vote stands in the order of what a peer signs."""
    return vote.height, vote.round, PHASES[vote.phase]


def _gossip(event: Event) -> Iterator[Shown]:
    match event:
        case VotesReceived():
            yield from [vote for _, vote in event.votes]
        case FactsReceived():
            yield from [fact for _, fact in event.facts]
        case ProposalReceived():
            yield event.proposal
        case _:
            pass


def _newest(shown: Shown, peer: Peer) -> Position | None:
    """The place of the newest signature of a peer in what it is shown."""
    match shown:
        case Vote() if shown.peer == peer:
            return place_of(shown)
        case LateAccept(vote=vote) | Evidence(first=vote) if vote.peer == peer:
            return place_of(vote)  # both votes of an evidence are for one place
        case Certificate() | Aggregate() if any(peer == signer for signer, _ in shown.signatures):
            return shown.height, shown.round, PHASES[shown.phase]
        case DoubleProposal() if shown.peer == peer:
            return shown.height, shown.round, PROPOSE
        case Proposal() if shown.peer == peer:
            fields = shown.block.header.fields
            return fields.height, fields.round, PROPOSE
        case _:
            return None


def _words(height: int, round_: int, phase: int) -> str:
    return f"height {height}, round {round_}, {('propose', 'confirm', 'accept')[phase]}"
