"""Tallies of confirms and accepts of one height: quorums, round join, contradictions (protocol §7).

Counts weight in slots; judges neither signatures nor blocks. Kept per signer and phase: this round,
the last, and the highest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consensus.certificates import Vote
from consensus.ids import BlockId, Peer
from consensus.signatures import ACCEPT, CONFIRM

NEW, KNOWN, CONFLICT, OUTSIDE = "new", "known", "conflict", "outside"


@dataclass(slots=True)
class Tally:
    """The votes of one round and phase."""

    votes: dict[Peer, Vote] = field(default_factory=dict)
    weights: dict[BlockId | None, int] = field(default_factory=dict)
    total: int = 0
    contradicted: dict[Peer, None] = field(default_factory=dict)  # who is evidence already


@dataclass(slots=True)
class Votes:
    """All kept votes of one height under one table.

    Invariant: at most one vote counts per signer, round and phase; a second is evidence.
    """

    weights: Mapping[Peer, int]
    occupied: int
    round: int = 0
    tallies: dict[tuple[int, str], Tally] = field(default_factory=dict)
    highest: dict[tuple[Peer, str], int] = field(default_factory=dict)

    def add(self, vote: Vote) -> tuple[str, Vote | None]:
        """(new | known | conflict | outside, the earlier vote that it contradicts)."""
        weight = self.weights.get(vote.peer)
        if weight is None or not self._kept(vote):
            return OUTSIDE, None
        tally = self.tallies.setdefault((vote.round, vote.phase), Tally())
        held = tally.votes.get(vote.peer)
        if held is not None:
            if held.block == vote.block or vote.peer in tally.contradicted:
                return KNOWN, None  # one contradiction is evidence, more are noise
            tally.contradicted[vote.peer] = None
            return CONFLICT, held
        tally.votes[vote.peer] = vote
        tally.weights[vote.block] = tally.weights.get(vote.block, 0) + weight
        tally.total += weight
        self._raise_highest(vote)
        return NEW, None

    def lacks(self, vote: Vote) -> bool:
        """Whether `add` would take it: as a vote that is new, or as a contradiction."""
        if vote.peer not in self.weights or not self._kept(vote):
            return False
        tally = self.tallies.get((vote.round, vote.phase))
        held = None if tally is None else tally.votes.get(vote.peer)
        if tally is None or held is None:
            return True
        return held.block != vote.block and vote.peer not in tally.contradicted

    def _kept(self, vote: Vote) -> bool:
        if vote.round in (self.round, self.round - 1):
            return True
        return vote.round > self.highest.get((vote.peer, vote.phase), -1) or (
            vote.round == self.highest[vote.peer, vote.phase]
        )

    def _raise_highest(self, vote: Vote) -> None:
        place = (vote.peer, vote.phase)
        before = self.highest.get(place, -1)
        if vote.round > before:
            self.highest[place] = vote.round
            self._drop(vote.peer, vote.phase, before)

    def _drop(self, peer: Peer, phase: str, round_: int) -> None:
        """Forget a vote that is neither of this round, nor the last, nor the highest."""
        if round_ < 0 or round_ in (self.round, self.round - 1):
            return
        tally = self.tallies.get((round_, phase))
        vote = tally.votes.pop(peer, None) if tally is not None else None
        if tally is None or vote is None:
            return
        tally.weights[vote.block] -= self.weights[peer]
        tally.total -= self.weights[peer]

    def enter(self, round_: int) -> None:
        """The round moved: keep what the bound keeps."""
        self.round = round_
        for place in [place for place in self.tallies if place[0] < round_ - 1]:
            tally = self.tallies[place]
            for peer in list(tally.votes):
                if self.highest[peer, place[1]] != place[0]:
                    self._drop(peer, place[1], place[0])
            if not tally.votes:
                del self.tallies[place]

    # ---- questions ----------------------------------------------------------------------------

    def is_quorum(self, weight: int) -> bool:
        """More than two thirds of the occupied slots."""
        return 3 * weight > 2 * self.occupied

    def quorum(self, round_: int, phase: str) -> tuple[bool, BlockId | None]:
        """(whether one value of this round has a quorum, that value; null is nil)."""
        tally = self.tallies.get((round_, phase))
        if tally is not None:
            for block, weight in tally.weights.items():
                if self.is_quorum(weight):
                    return True, block
        return False, None

    def any_quorum(self, round_: int, phase: str) -> bool:
        """Whether votes of any value of this round together are a quorum."""
        tally = self.tallies.get((round_, phase))
        return tally is not None and self.is_quorum(tally.total)

    def accepted(self) -> tuple[int, BlockId] | None:
        """The round and block with a quorum of accepts, of whichever round."""
        for round_, phase in self.tallies:
            if phase == ACCEPT:
                found, block = self.quorum(round_, phase)
                if found and block is not None:
                    return round_, block
        return None

    def confirmed(self) -> list[tuple[int, BlockId]]:
        """Rounds and blocks with a quorum of confirms, in order of round."""
        found = []
        for round_, phase in sorted(self.tallies):
            if phase == CONFIRM:
                is_found, block = self.quorum(round_, phase)
                if is_found and block is not None:
                    found.append((round_, block))
        return found

    def supporters(self, round_: int, phase: str, block: BlockId | None) -> list[Vote]:
        """The votes for a value, of one round."""
        tally = self.tallies.get((round_, phase))
        votes = tally.votes.values() if tally is not None else ()
        return [vote for vote in votes if vote.block == block]

    def confirm_weight(self, block: BlockId) -> int:
        """The greatest weight of confirms for a block in one round."""
        tallies = (tally for (_, phase), tally in self.tallies.items() if phase == CONFIRM)
        return max((tally.weights.get(block, 0) for tally in tallies), default=0)

    def join_round(self) -> int:
        """The greatest r' such that more than a third of the slots has votes in rounds ≥ r'."""
        tops: dict[Peer, int] = {}
        for (peer, _), round_ in self.highest.items():
            tops[peer] = max(round_, tops.get(peer, 0))
        weight, best = 0, 0
        for round_, peer in sorted(((top, peer) for peer, top in tops.items()), reverse=True):
            weight += self.weights[peer]
            if 3 * weight > self.occupied:
                best = round_
                break
        return best
