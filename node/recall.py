"""Whether the sign record remembers all that this key has signed (protocol §7).

A record from a backup, or of a node whose key signed elsewhere meanwhile, is older than what the
chain shows: with it this node could contradict itself. So it signs nothing before it has heard how
far the chain is, and ends when a block shows an own signature that the record does not know.
Knows the chain and the record's place; signs nothing and changes nothing.
"""

from collections.abc import Callable, Iterator
from typing import Final

from consensus.block import Body
from consensus.certificates import Certificate, Vote
from consensus.facts import Evidence, LateAccept, decode_fact
from consensus.ids import Peer
from node.agents.screening import place_of
from node.errors import SignRecordOld
from node.signer import Position
from node.store.chain import ChainData

# A height that lies further back is decided here: whatever was signed there is not signed again.
LOOK_BACK: Final = 4_096


class Recall:
    """`place`: the newest place in the record, as it is on disk."""

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
        for vote in self._own(certificate, body):
            if place_of(vote) > self._place():
                raise SignRecordOld(
                    f"{self._where} ends at {_words(*self._place())}, but this key has signed"
                    f" {_words(*place_of(vote))}"
                )

    def _own(self, certificate: Certificate | None, body: Body) -> Iterator[Vote]:
        """Votes of this key in a block, as its certificates and facts show them."""
        for shown in (certificate, body.certificate()):
            if shown is not None and any(peer == self._peer for peer, _ in shown.signatures):
                yield from [vote for vote in shown.votes() if vote.peer == self._peer]
        for raw in body.facts:
            match decode_fact(raw):
                case LateAccept(vote=vote) if vote.peer == self._peer:
                    yield vote
                case Evidence(first=first, second=second) if first.peer == self._peer:
                    yield from (first, second)
                case _:
                    pass


def _words(height: int, round_: int, phase: int) -> str:
    return f"height {height}, round {round_}, {('propose', 'confirm', 'accept')[phase]}"
