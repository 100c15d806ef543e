"""Screening: what peers say, judged as far as that costs next to nothing, before any signature.

Wrong in itself: refused, and the link is blamed. Early, late, known, of an unknown key, too much of
one signer: ignored without blame (network §3, protocol §11). Knows no network and performs nothing.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, assert_never

from consensus import claims, voting
from consensus.block import Proposal
from consensus.certificates import Aggregate, Certificate, Vote, check_weight
from consensus.errors import InvalidCertificate, InvalidFact
from consensus.events import FactsReceived, MessagesReceived, ProposalReceived, VotesReceived
from consensus.facts import DoubleProposal, Evidence, Fact, LateAccept, Renew, SlotClaim
from consensus.ids import Peer
from consensus.messages import Message
from consensus.proposing import is_near
from consensus.signatures import ACCEPT as ACCEPT_KIND
from consensus.signatures import CONFIRM as CONFIRM_KIND
from consensus.signing import ACCEPT, CONFIRM
from node.core import NodeCore
from node.speech import Heard, message_check

VOTES_PER_SIGNER_MAX: Final = 256  # verified for one signer while one round is decided here
PROPOSALS_PER_SIGNER_MAX: Final = 16
PHASES: Final = {CONFIRM_KIND: CONFIRM, ACCEPT_KIND: ACCEPT}

# Causes: a closed set, they are names of counters.
CHAIN, PLACE, STRANGER, EARLY, LATE, KNOWN, FLOOD, WORK, WEIGHT, POOR = (
    "chain",
    "place",
    "stranger",
    "early",
    "late",
    "known",
    "flood",
    "work",
    "weight",
    "poor",
)
_BLAMED: Final = frozenset((CHAIN, PLACE, WORK))


class Turned(NamedTuple):
    """Not taken in. `blame`: it was wrong in itself."""

    cause: str
    blame: bool


def turned(cause: str) -> Turned:
    """The verdict that goes with a cause."""
    return Turned(cause, cause in _BLAMED)


class Screening:
    """One per chain; reads the core, which belongs to the same loop.

    `affordable` says whether the committed state lets a message in (agent, gas, funds). `unknown`:
    whether a word of this node's own key is none that it remembers.
    """

    def __init__(
        self,
        core: NodeCore,
        affordable: Callable[[Message], bool],
        unknown: Callable[[Vote], bool],
    ) -> None:
        self._core, self._affordable, self._unknown = core, affordable, unknown
        self._round = (0, 0)  # height and round that the counts are of
        self._votes: dict[tuple[Peer, int], int] = {}  # by signer and height
        self._proposals: dict[Peer, int] = {}

    def look(self, heard: Heard) -> Heard | Turned:
        """What is worth its signatures; of a batch of messages, those that are."""
        match heard.event:
            case VotesReceived(votes=((_, vote),)):
                cause = self._vote(vote)
                if cause == KNOWN and self._asks_for_certificate(vote):
                    return Heard(heard.event, ())  # its signature was judged when it was new
            case ProposalReceived(proposal=proposal):
                cause = self._proposal(proposal)
            case FactsReceived(facts=((_, fact),)):
                cause = self._aggregate(fact) if isinstance(fact, Aggregate) else self._fact(fact)
            case MessagesReceived() as event:
                return self._messages(event, heard)
            case _:
                cause = ""
        return turned(cause) if cause else heard

    def count(self, heard: Heard) -> None:
        """Its signatures hold: only now it counts as its signer's."""
        self._follow()
        match heard.event:
            case VotesReceived(votes=((_, vote),)) if heard.signed:
                place = (vote.peer, int(vote.height))
                self._votes[place] = self._votes.get(place, 0) + 1
            case ProposalReceived(proposal=proposal):
                self._proposals[proposal.peer] = self._proposals.get(proposal.peer, 0) + 1
            case _:
                pass

    def certificate(self, certificate: Certificate) -> str:
        """The cause to turn a pushed certificate away; empty: worth its signatures."""
        core, machine = self._core, self._core.engine.machine
        if certificate.chain != core.spec.id:
            return CHAIN
        if not core.spec.kind.votes:
            return PLACE
        if certificate.epoch != core.spec.parameters.epoch(certificate.height):
            return PLACE
        if certificate.height > core.height:
            return EARLY
        known, weights = machine.standing.certificate, machine.standing.votes.weights
        if certificate.height < core.height:
            # Another block at a recent height is a fork: everybody has to see it (§10).
            known = machine.recent.get(certificate.height)
            table = machine.tip.view.table_of(certificate.epoch)
            if known is None or table is None:
                return LATE
            weights = table.weights
        if known is not None and known.block == certificate.block:
            return KNOWN if certificate.height == core.height else LATE
        return self._weight(certificate, weights)

    # ---- votes and proposals --------------------------------------------------------------------

    def _follow(self) -> None:
        """Counts are of one round of one height."""
        standing = self._core.engine.machine.standing
        if self._round != (standing.height, standing.round):
            self._round = (standing.height, standing.round)
            self._votes.clear()
            self._proposals.clear()

    def owns(self, peer: Peer) -> bool:
        """Of this epoch or the one before: keys are free, only owners are worth a signature."""
        view = self._core.engine.machine.tip.view
        weights = self._core.engine.machine.standing.votes.weights
        before = view.previous
        return peer in weights or (before is not None and peer in before.weights)

    def _vote(self, vote: Vote) -> str:
        core, machine = self._core, self._core.engine.machine
        if vote.chain != core.spec.id:
            return CHAIN
        if not core.spec.kind.votes:
            return PLACE
        if vote.epoch != core.spec.parameters.epoch(vote.height):
            return PLACE
        if vote.peer == machine.peer:
            # Newer than the record: either forged, or this key signs elsewhere (protocol §7).
            return "" if self._unknown(vote) else KNOWN
        new_table = vote.height == core.height + 1 and vote.epoch != machine.standing.epoch
        if not new_table and not self.owns(vote.peer):
            return STRANGER
        if vote.height < core.height and vote.height not in machine.recent:
            return LATE
        # Anybody can say again what an owner said: only what is news counts as its signer's, and
        # what is said of other heights never takes the place of what is said of this one.
        if vote.height == core.height and not machine.standing.votes.lacks(vote):
            return KNOWN
        self._follow()
        said = self._votes.get((vote.peer, int(vote.height)), 0)
        return FLOOD if said >= VOTES_PER_SIGNER_MAX else ""

    def _asks_for_certificate(self, vote: Vote) -> bool:
        """Whether it is the very vote that is held here, and whoever votes still is shown that this
        height is decided (engine). It costs neither a signature nor one of its signer's words:
        anybody may say it again."""
        standing = self._core.engine.machine.standing
        if standing.certificate is None or standing.committing or vote.height != standing.height:
            return False
        tally = standing.votes.tallies.get((vote.round, vote.phase))
        held = None if tally is None else tally.votes.get(vote.peer)
        return held is not None and held.raw == vote.raw

    def _proposal(self, proposal: Proposal) -> str:
        core, machine = self._core, self._core.engine.machine
        fields = proposal.block.header.fields
        if fields.chain != core.spec.id:
            return CHAIN
        if fields.epoch != core.spec.parameters.epoch(fields.height):
            return PLACE
        if not core.height <= fields.height <= core.height + 1:
            return LATE if fields.height < core.height else EARLY
        if fields.epoch == machine.standing.epoch and not self.owns(proposal.peer):
            return STRANGER
        candidate = machine.standing.candidates.get(proposal.id)
        if candidate is not None and candidate.proposal is not None:
            return KNOWN
        if fields.height == core.height and not is_near(machine, proposal):
            return LATE  # the core ignores it: said again by anybody, it must not count
        self._follow()
        flood = self._proposals.get(proposal.peer, 0) >= PROPOSALS_PER_SIGNER_MAX
        return FLOOD if flood else ""

    # ---- facts ----------------------------------------------------------------------------------

    def _weight(self, claimed: Aggregate | Certificate, weights: Mapping[Peer, int]) -> str:
        """Of other keys than the owners', or of too few: no signature is worth a look."""
        try:
            check_weight(claimed, weights)
        except InvalidCertificate:
            return WEIGHT
        return ""

    def _aggregate(self, fact: Aggregate) -> str:
        if fact.chain != self._core.spec.id:
            return CHAIN
        if not self._core.spec.kind.votes:
            return PLACE
        if fact.height != self._core.height:
            return LATE if fact.height < self._core.height else EARLY
        # Anybody can pick other signers for what is proven: hundreds of signatures, and passed on.
        machine = self._core.engine.machine
        standing, shown = machine.standing, machine.standing.shown
        if (fact.round, fact.block) in voting.proven(machine):
            return KNOWN
        if shown is not None and fact.round < min(shown.round + 1, standing.round - 1):
            return LATE  # its votes are not counted any more, and a later quorum is known
        return self._weight(fact, standing.votes.weights)

    def _fact(self, fact: Fact) -> str:
        pool = self._core.facts_pool
        match fact:
            case SlotClaim():
                return self._opening(fact) or self._claim(fact)
            case Renew():
                cause, peer, held = self._opening(fact), fact.peer, fact.peer in pool.renewals
            case LateAccept(vote=vote):
                cause, peer, held = self._of_here(vote.chain), vote.peer, vote.peer in pool.late
            case Evidence(first=vote):
                cause, peer, held = self._of_here(vote.chain), vote.peer, vote.peer in pool.evidence
            case DoubleProposal():
                cause, peer = self._of_here(fact.chain), fact.peer
                held = peer in pool.evidence
            case _:
                assert_never(fact)
        if cause or held:
            return cause or KNOWN
        return "" if self.owns(peer) else STRANGER

    def _of_here(self, chain: bytes) -> str:
        return "" if chain == self._core.spec.id else CHAIN

    def _opening(self, fact: SlotClaim | Renew) -> str:
        """Claims and renewals are for the next epoch, once its salt is known (protocol §4)."""
        view = self._core.engine.machine.tip.view
        if self._of_here(fact.chain):
            return CHAIN
        if fact.epoch != view.epoch + 1 or view.salt_next is None:
            return LATE if fact.epoch <= view.epoch else EARLY
        return ""

    def _claim(self, fact: SlotClaim) -> str:
        """The work is checked before the signature: one hash against forty microseconds."""
        salt = self._core.engine.machine.tip.view.salt_next
        assert salt is not None, "asked by _opening"
        try:
            place = claims.judge(fact, self._core.spec, salt)
        except InvalidFact:
            return WORK
        best = self._core.facts_pool.claims.get(place.slot)
        if best is None:
            return ""
        height = claims.judge(best[1], self._core.spec, salt).hill  # kept claims are of this epoch
        return KNOWN if height >= place.hill else ""

    # ---- messages -------------------------------------------------------------------------------

    def _messages(self, event: MessagesReceived, heard: Heard) -> Heard | Turned:
        fresh: list[Message] = []
        found = KNOWN
        for message in event.messages:
            cause = self._message(message)
            if cause in _BLAMED:
                return turned(cause)
            if cause:
                found = cause if found == KNOWN else found
            else:
                fresh.append(message)
        if not fresh:
            return turned(found)
        if len(fresh) == len(event.messages):
            return heard
        kept = MessagesReceived(event.token, tuple(fresh), event.source)
        return Heard(kept, tuple([message_check(message) for message in fresh]))

    def _message(self, message: Message) -> str:
        core = self._core
        if message.chain != core.spec.id or message.to.chain != core.spec.id:
            return CHAIN
        if message.id in core.messages.messages or core.messages.knows(message.id):
            return KNOWN
        if message.expires_height < core.height:
            return LATE
        if message.expires_height > core.height + core.spec.parameters.expiry_max_blocks:
            return EARLY
        return "" if self._affordable(message) else POOR
