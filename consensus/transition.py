"""What a block does to the protocol's own state: facts, proofs of life, next table (protocol §4).

A pure function of (state, block). Judges facts by everything but their signatures, which whoever
hands blocks in has judged before (`signed_items` lists them). Knows no messages and no agents.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, assert_never

from consensus import claims, leaves
from consensus.certificates import Certificate, Vote
from consensus.encoding import encode
from consensus.errors import EncodingError, InvalidBlock, InvalidFact
from consensus.facts import (
    DoubleProposal,
    Evidence,
    Fact,
    LateAccept,
    Renew,
    SlotClaim,
    decode_fact,
)
from consensus.ids import Epoch, Hash, Height, Peer, Slot
from consensus.leaves import Commitment, EpochEnd
from consensus.leaves import View as View
from consensus.leaves import view as view
from consensus.proposers import ChainState, genesis_randomness
from consensus.spec import ChainSpec
from consensus.state import SCAN_ITEMS_MAX, Overlay, State
from consensus.tables import Bid, Grounds, Table, next_table
from consensus.validity import check_header as check_header

BALANCE_PREFIX = b"a/"
LATE_HEIGHTS = 32  # a late accept is of one of so many heights before the block's (protocol §4)
EVIDENCE_EPOCHS = 2  # evidence is not older, and voids claims for so many tables more
EVIDENCE_PAGES_MAX = 4096  # of SCAN_ITEMS_MAX offences: more than blocks of two epochs can hold
Changes = dict[bytes, bytes | None]


class Place(Protocol):
    """Of a header or of a block to be built: what the transition needs to know."""

    @property
    def height(self) -> Height: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def proposer_slot(self) -> Slot: ...
    @property
    def reveal(self) -> Hash | None: ...
    @property
    def randomness(self) -> Hash: ...


# ---- genesis ------------------------------------------------------------------------------------


def genesis(spec: ChainSpec) -> Changes:
    """The state before height 1 but for agents: balances, Table_0, its hash chains (§3)."""
    chains = {
        slot.peer: ChainState(slot.commitment, 0) for slot in spec.genesis_slots if slot is not None
    }
    end = EpochEnd(spec.genesis_time_ms, genesis_randomness(spec.seed))
    changes: Changes = {
        BALANCE_PREFIX + balance.account: encode(balance.amount)
        for balance in spec.genesis_balances
    }
    changes[leaves.TABLE_KEY] = spec.genesis_table().raw
    changes[leaves.CHAINS_KEY] = leaves.encode_chains(chains)
    changes[leaves.ENDS_KEY] = leaves.encode_ends((end,))
    return changes


# ---- one block ----------------------------------------------------------------------------------


def apply(
    spec: ChainSpec,
    state: State,
    place: Place,
    *,
    certificate: Certificate | None,
    facts: Sequence[Fact],
) -> Changes:
    """What the block at `place` changes under `c/`, the next table included if it ends its epoch.

    `state` is the parent's, `certificate` the parent's as the block carries it. The header passed
    `check_header`. Raises InvalidBlock for a fact that the block may not hold.
    """
    parent = view(spec, state, place.height - 1)
    book = _Book(spec, parent, state, place.time_ms, certificate)
    for fact in facts:
        book.enter(fact)
    changes = book.changes
    chains = _revealed(spec, parent, place)
    _drop_used_commitments(spec, state, parent.epoch, changes)
    if spec.parameters.is_last(place.height):
        _end_epoch(spec, parent, place, book.alive, changes)
        return changes.changes
    if chains is not None:
        changes.put(leaves.CHAINS_KEY, chains)
    if book.alive != parent.alive:
        changes.put(leaves.SIGNING_KEY, leaves.encode_signing(book.alive))
    return changes.changes


def _revealed(spec: ChainSpec, parent: View, place: Place) -> bytes | None:
    """The leaf of hash chains after the proposer's reveal; null when nothing was revealed."""
    if place.reveal is None:
        return None
    owner = parent.table.owners[place.proposer_slot]
    assert owner is not None, "check_header let a vacant slot propose"
    number = place.height - spec.parameters.first_height(parent.epoch) + 1
    return leaves.encode_chains({**parent.chains, owner: ChainState(place.reveal, number)})


def _drop_used_commitments(spec: ChainSpec, state: State, epoch: Epoch, changes: Overlay) -> None:
    """Forget commitments for this epoch, in portions: all went into its hash chains at its start.

    An epoch includes at most facts_max of them a block, and its successor drops as many a block, so
    they are gone before it ends, and no block pays for a flood of them.
    """
    limit = spec.parameters.facts_max
    for key, _ in state.scan(leaves.commitments_of(epoch), limit=limit):
        changes.put(key, None)


# ---- the end of an epoch ------------------------------------------------------------------------


def _end_epoch(
    spec: ChainSpec, parent: View, place: Place, alive: frozenset[Peer], changes: Overlay
) -> None:
    """Build Table_e and its hash chains, move the old one to `previous`, drop the claims (§4)."""
    coming = Epoch(parent.epoch + 1)
    bids = {
        leaves.claimed(key): leaves.decode_bid(raw)
        for key, raw in changes.scan(leaves.CLAIMS_PREFIX, limit=spec.parameters.slots)
    }
    burned, void = _offenders(parent.epoch, changes)
    owners = [p for p in parent.table.weights if p in alive or not spec.kind.votes]
    staying = [peer for peer in owners if _renewed(changes, coming, peer)]
    grounds = Grounds(
        bids=bids,
        staying=frozenset(staying),
        burned=burned,
        void=void,
        elapsed_ms=place.time_ms - parent.ends[0].time_ms,
    )
    table = next_table(spec.parameters, parent.table, grounds)
    ends = (EpochEnd(place.time_ms, place.randomness), *parent.ends)
    changes.put(leaves.TABLE_KEY, table.raw)
    changes.put(leaves.PREVIOUS_KEY, parent.table.raw)
    changes.put(leaves.CHAINS_KEY, leaves.encode_chains(_first_links(changes, coming, table)))
    changes.put(leaves.ENDS_KEY, leaves.encode_ends(ends))
    changes.put(leaves.SIGNING_KEY, None)
    for slot in bids:
        changes.put(leaves.claim_key(slot), None)


def _renewed(state: State, epoch: Epoch, peer: Peer) -> bool:
    raw = state.get(leaves.commitment_key(epoch, peer))
    return raw is not None and leaves.decode_commitment(raw).renewed


def _first_links(state: State, epoch: Epoch, table: Table) -> dict[Peer, ChainState]:
    """Hash chains of an epoch before its first reveal: of owners that committed to one."""
    chains = {}
    for peer in table.weights:
        raw = state.get(leaves.commitment_key(epoch, peer))
        if raw is not None:
            chains[peer] = ChainState(leaves.decode_commitment(raw).commitment, 0)
    return chains


def _offenders(epoch: Epoch, changes: Overlay) -> tuple[frozenset[Peer], frozenset[Peer]]:
    """(burned in the next table, claims void in it); forgets offences that take no more effect."""
    burned, void = [], []
    for key, raw in _offences(changes):
        peer, _ = leaves.evidence_parts(key)
        included = leaves.decode_offence(raw)
        void.append(peer)
        if included == epoch:
            burned.append(peer)
        if included + EVIDENCE_EPOCHS <= epoch:
            changes.put(key, None)
    return frozenset(burned), frozenset(void)


def _offences(state: State) -> Iterable[tuple[bytes, bytes]]:
    after = b""
    for _ in range(EVIDENCE_PAGES_MAX):
        page = state.scan(leaves.EVIDENCE_PREFIX, after)
        yield from page
        if len(page) < SCAN_ITEMS_MAX:
            return
        after = page[-1][0]
    raise AssertionError("more offences than two epochs can hold")


# ---- facts --------------------------------------------------------------------------------------


class _Book:
    """The facts of one block as they are entered, one after the other.

    The parent's certificate counts first: its signers are alive (protocol §4).
    """

    def __init__(
        self,
        spec: ChainSpec,
        parent: View,
        state: State,
        time_ms: int,
        certificate: Certificate | None,
    ) -> None:
        self.spec, self.parent, self.time_ms = spec, parent, time_ms
        self.changes = Overlay(state)
        self.alive = parent.alive
        self._claimed: dict[Slot, None] = {}
        if certificate is not None:
            signers = [peer for peer, _ in certificate.signatures]
            if not self.alive.issuperset(signers):
                owners = [peer for peer in signers if peer in parent.table.weights]
                self.alive = self.alive.union(owners)

    def enter(self, fact: Fact) -> None:
        """Raises InvalidBlock when the block may not hold it here; then nothing is changed."""
        match fact:
            case SlotClaim():
                self._enter_claim(fact)
            case Renew():
                self._enter_renew(fact)
            case LateAccept():
                self._enter_late(fact)
            case Evidence():
                _require("evidence kind", self.spec.kind.votes)
                self._enter_evidence(fact.first)
            case DoubleProposal():
                self._enter_evidence(fact)
            case _:
                assert_never(fact)

    def _check_open(self, fact: SlotClaim | Renew) -> None:
        _require("fact chain", fact.chain == self.spec.id)
        _require("fact epoch", fact.epoch == self.parent.epoch + 1)
        _require("claim_close", self.parent.claim_open)

    def _commitment(self, fact: SlotClaim | Renew) -> Commitment | None:
        """The peer's commitment for the epoch so far; the first included one is fixed ‡."""
        raw = self.changes.get(leaves.commitment_key(fact.epoch, fact.peer))
        known = None if raw is None else leaves.decode_commitment(raw)
        if known is not None:
            _require("commitment", known.commitment == fact.commitment)
        return known

    def _enter_claim(self, claim: SlotClaim) -> None:
        _require("claim kind", self.spec.kind.hill)
        self._check_open(claim)
        assert self.parent.salt_next is not None, "claims are open"
        try:
            slot, hill = claims.judge(claim, self.spec, self.parent.salt_next)
        except InvalidFact as error:
            raise InvalidBlock("claim", str(error)) from error
        _require("one claim per slot", slot not in self._claimed)
        best = self.changes.get(leaves.claim_key(slot))
        _require("claim height", best is None or hill > leaves.decode_bid(best).hill)
        offences = self.changes.scan(leaves.EVIDENCE_PREFIX + claim.peer, limit=1)
        _require("claim void", not offences)
        if self._commitment(claim) is None:
            self._commit(claim, renewed=False)
        self.changes.put(leaves.claim_key(slot), leaves.encode_bid(Bid(claim.peer, hill)))
        self._claimed[slot] = None

    def _enter_renew(self, renew: Renew) -> None:
        self._check_open(renew)
        _require("renew owner", renew.peer in self.parent.table.weights)
        known = self._commitment(renew)
        _require("one renewal", known is None or not known.renewed)
        self._commit(renew, renewed=True)

    def _commit(self, fact: SlotClaim | Renew, *, renewed: bool) -> None:
        raw = leaves.encode_commitment(Commitment(fact.commitment, renewed))
        self.changes.put(leaves.commitment_key(fact.epoch, fact.peer), raw)

    def _enter_late(self, late: LateAccept) -> None:
        vote, parent = late.vote, self.parent
        _require("late kind", self.spec.kind.votes)
        _require("late chain", vote.chain == self.spec.id)
        earliest = max(1, parent.height - LATE_HEIGHTS)
        _require("late height", earliest <= vote.height < parent.height)
        _require("late epoch", vote.epoch == self.spec.parameters.epoch(vote.height))
        table = parent.table_of(vote.epoch)
        owner = table is not None and vote.peer in table.weights
        _require("late owner", owner and vote.peer in parent.table.weights)
        _require("late needed", vote.peer not in self.alive)
        self.alive = self.alive.union((vote.peer,))

    def _enter_evidence(self, signed: Vote | DoubleProposal) -> None:
        """`signed`: one of two contradicting votes, which name the same place; or two proposals."""
        parent = self.parent
        _require("evidence chain", signed.chain == self.spec.id)
        placed = signed.height >= 1 and signed.epoch == self.spec.parameters.epoch(signed.height)
        _require("evidence epoch", placed and signed.epoch <= parent.epoch)
        age = parent.epoch - signed.epoch
        _require("evidence age", age <= EVIDENCE_EPOCHS)
        if age:  # measured from the end of its epoch, since votes carry no time
            elapsed_ms = self.time_ms - parent.ends[age - 1].time_ms
            _require("evidence age", elapsed_ms <= self.spec.parameters.evidence_ms)
        tables = (parent.table, parent.previous)
        _require("evidence owner", any(t and signed.peer in t.weights for t in tables))
        key = leaves.evidence_key(signed.peer, signed.epoch)
        _require("evidence once", self.changes.get(key) is None)
        self.changes.put(key, leaves.encode_offence(parent.epoch))


def _require(rule: str, holds: bool) -> None:
    if not holds:
        raise InvalidBlock(rule)


def choose_facts(
    spec: ChainSpec,
    state: State,
    *,
    height: int,
    time_ms: int,
    certificate: Certificate | None,
    candidates: Iterable[Fact],
) -> tuple[Fact, ...]:
    """The candidates that a block at `height` on the parent's `state` may hold, at most facts_max.

    Evidence first, then renewals, late accepts, claims; candidates of a kind in their order.
    """
    book = _Book(spec, view(spec, state, height - 1), state, time_ms, certificate)
    chosen: list[Fact] = []
    for fact in sorted(candidates, key=_turn):
        if len(chosen) == spec.parameters.facts_max:
            break
        try:
            book.enter(fact)
        except InvalidBlock:
            continue
        chosen.append(fact)
    return tuple(chosen)


_KINDS: tuple[type[Fact], ...] = (Evidence, DoubleProposal, Renew, LateAccept, SlotClaim)


def _turn(fact: Fact) -> int:
    return _KINDS.index(type(fact))


def decode_facts(raws: Iterable[bytes]) -> tuple[Fact, ...]:
    """The facts of a body. Raises InvalidBlock."""
    try:
        return tuple([decode_fact(raw) for raw in raws])
    except EncodingError as error:
        raise InvalidBlock("fact encoding", str(error)) from error


def signed_items(facts: Iterable[Fact]) -> list[tuple[bytes, bytes, bytes]]:
    """(key, signed bytes, signature) of every signature in the facts, for a Verifier."""
    items: list[tuple[bytes, bytes, bytes]] = []
    for fact in facts:
        match fact:
            case SlotClaim() | Renew():
                items.append((fact.peer, fact.signed_bytes, fact.signature))
            case LateAccept():
                items.append((fact.vote.peer, fact.vote.signed_bytes, fact.vote.signature))
            case Evidence():
                for vote in (fact.first, fact.second):
                    items.append((vote.peer, vote.signed_bytes, vote.signature))
            case DoubleProposal():
                items += [(fact.peer, covered, signature) for covered, signature in fact.signed]
            case _:
                assert_never(fact)
    return items


# ---- what others ask ----------------------------------------------------------------------------


def table_after(state: State, changes: Changes) -> Table:
    """The table of the next height, whose hash is the header's next_table (protocol §4)."""
    raw = changes.get(leaves.TABLE_KEY) or state.get(leaves.TABLE_KEY)
    assert raw is not None, "a state without a table"
    return leaves.decode_table(raw)


def best_claims(spec: ChainSpec, state: State) -> dict[Slot, Bid]:
    """The best included claim of each claimed slot so far, for pools and miners."""
    pairs = state.scan(leaves.CLAIMS_PREFIX, limit=spec.parameters.slots)
    return {leaves.claimed(key): leaves.decode_bid(raw) for key, raw in pairs}
