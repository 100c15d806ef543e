"""What facts do to the protocol's own leaves, and the end of an epoch: protocol §4, ADR 0014."""

from collections.abc import Callable

from tests.naive.naive_cbor import Bad, decode, hashed
from tests.naive.naive_records import (
    Claim,
    Double,
    Evidence,
    Fact,
    Header,
    Late,
    Renew,
    Spec,
    Vote,
    covered,
    record,
    unsigned,
)
from tests.naive.naive_table import (
    Hill,
    Link,
    Table,
    leading_ones,
    links_of,
    next_table,
    stand,
    table_of,
)

Values = dict[bytes, bytes]


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def require(rule: str, holds: bool) -> None:
    if not holds:
        raise Bad(rule)


class Ledger:
    """The leaves `c/…` while a block's facts are entered one after the other."""

    def __init__(
        self,
        spec: Spec,
        verify: Callable[[bytes, bytes, bytes], bool],
        values: Values,
        header: Header,
    ) -> None:
        self.spec, self.verify, self.values, self.header = spec, verify, values, header
        self.numbers = spec.parameters
        self.now = (header.height - 1) // self.numbers["epoch_blocks"]  # the epoch
        self.table = table_of(values[b"c/table"])
        previous = values.get(b"c/previous")
        self.previous = None if previous is None else table_of(previous)
        signing = values.get(b"c/signing")  # no leaf while nobody is alive
        self.alive: list[bytes] = [] if signing is None else decode(signing)[2]
        self.ends: list[tuple[int, bytes]] = [(a, b) for a, b in decode(values[b"c/ends"])[2]]
        self.claimed: list[int] = []  # slots claimed in this block

    def _check(self, kind: str, peer: bytes, canonical: bytes, signature: bytes) -> None:
        signed = covered(kind, self.spec.id, canonical)
        require("signature of a fact", self.verify(peer, signed, signature))

    # ---- chains and lives -------------------------------------------------------------------

    def drop_used(self) -> None:
        """Commitments for this epoch and before are used up: facts_max a block are dropped."""
        used = [
            name
            for name in sorted(self.values)
            if name.startswith(b"c/commitments/") and name[14:18] <= _u32(self.now)
        ]
        for name in used[: self.numbers["facts_max"]]:
            del self.values[name]

    def reveal(self, before: Values) -> None:
        """The proposer's hash chain moves on to what it revealed."""
        if self.header.reveal is None:
            return
        owner = self.table.owners[self.header.proposer_slot]
        assert owner is not None
        links = links_of(before[b"c/chains"])
        first = self.now * self.numbers["epoch_blocks"] + 1
        links[owner] = Link(self.header.reveal, self.header.height - first + 1)
        self.values[b"c/chains"] = _chains(links)

    def sign_of_life(self, peers: list[bytes]) -> None:
        owners = self.table.owners  # who owns nothing now has nothing to keep
        self.alive = sorted({*self.alive, *[peer for peer in peers if peer in owners]})

    def write(self) -> None:
        if self.alive:
            self.values[b"c/signing"] = record("signing", self.alive)

    # ---- facts ------------------------------------------------------------------------------

    def enter(self, fact: Fact) -> None:
        """Bad when the block may not hold it."""
        if isinstance(fact, Claim):
            require("no hill where one peer owns all", self.spec.consensus != "solo")
        elif isinstance(fact, Late | Evidence):
            require("a vote where nobody votes", self.spec.votes)
        if isinstance(fact, Claim):
            self._open(fact)
            self._claim(fact)
        elif isinstance(fact, Renew):
            self._open(fact)
            self._renew(fact)
        elif isinstance(fact, Late):
            self._late(fact.vote)
        else:
            self._evidence(fact)

    def _open(self, fact: Claim | Renew) -> None:
        require("chain of a fact", fact.chain == self.spec.id)
        require("epoch of a fact", fact.epoch == self.now + 1)
        last = (self.now + 1) * self.numbers["epoch_blocks"]
        require("closed", self.header.height <= last - self.numbers["claim_close"])

    def _committed(self, fact: Claim | Renew) -> tuple[bytes, bool] | None:
        name = b"c/commitments/" + _u32(fact.epoch) + fact.peer
        if name not in self.values:
            return None
        commitment, renewed = decode(self.values[name])[2:]
        require("another commitment", commitment == fact.commitment)
        return commitment, renewed

    def _commit(self, fact: Claim | Renew, *, renewed: bool) -> None:
        name = b"c/commitments/" + _u32(fact.epoch) + fact.peer
        self.values[name] = record("commitment", fact.commitment, renewed)

    @property
    def salt(self) -> bytes:
        """Of the claims for the next epoch: the end of the epoch before this one."""
        if self.now == 0:
            return hashed("salt", 1, self.spec.seed)
        return hashed("salt", self.now + 1, self.ends[0][1])

    def _claim(self, claim: Claim) -> None:
        slot, height = stand(
            claim.chain,
            self.salt,
            claim.peer,
            claim.nonce,
            commitment=claim.commitment,
            slots=self.numbers["slots"],
        )
        require("too easy", leading_ones(height) >= self.numbers["difficulty_bits_min"])
        require("two claims of a slot", slot not in self.claimed)
        name = b"c/claims/" + slot.to_bytes(2, "big")
        if name in self.values:
            require("not higher", height > decode(self.values[name])[3])
        before = self._committed(claim)
        require("claim of an offender", claim.peer not in self._void(self.now + 1))
        self._check("claim", claim.peer, unsigned(claim.raw), claim.signature)
        self.claimed.append(slot)
        self.values[name] = record("bid", claim.peer, height)
        self._commit(claim, renewed=before is not None and before[1])

    def _renew(self, renew: Renew) -> None:
        require("renewal of no owner", renew.peer in self.table.owners)
        before = self._committed(renew)
        require("renewed twice", before is None or not before[1])
        self._check("renew", renew.peer, unsigned(renew.raw), renew.signature)
        self._commit(renew, renewed=True)

    def _table_at(self, epoch: int) -> Table | None:
        if epoch == self.now:
            return self.table
        return self.previous if epoch == self.now - 1 else None

    def _late(self, vote: Vote) -> None:
        require("chain of a fact", vote.chain == self.spec.id)
        height = self.header.height
        require("not late", height - 32 <= vote.height < height and vote.height >= 1)
        epoch = (vote.height - 1) // self.numbers["epoch_blocks"]
        require("epoch of a vote", vote.epoch == epoch)
        table = self._table_at(epoch)
        require("late of no owner", table is not None and vote.peer in table.owners)
        require("late of no owner now", vote.peer in self.table.owners)
        require("alive already", vote.peer not in self.alive)
        self._check("accept", vote.peer, unsigned(vote.raw), vote.signature)
        self.alive = sorted([*self.alive, vote.peer])

    # ---- evidence ---------------------------------------------------------------------------

    def _evidence(self, fact: Evidence | Double) -> None:
        signed = fact.one if isinstance(fact, Evidence) else fact
        require("chain of a fact", signed.chain == self.spec.id)
        require("evidence of the future", signed.epoch <= self.now)
        require("evidence of its epoch", signed.height >= 1)
        epoch = (signed.height - 1) // self.numbers["epoch_blocks"]
        require("evidence of its epoch", signed.epoch == epoch)
        require("evidence too old", self.now - signed.epoch <= 2)
        if signed.epoch < self.now:
            end_ms = self.ends[self.now - 1 - signed.epoch][0]
            age = self.header.time_ms - end_ms
            require("evidence too old", age <= self.numbers["evidence_ms"])
        owner = signed.peer in self.table.owners or (
            self.previous is not None and signed.peer in self.previous.owners
        )
        require("evidence against nobody", owner)
        name = b"c/evidence/" + signed.peer + _u32(signed.epoch)
        require("evidence twice", name not in self.values)
        if isinstance(fact, Evidence):
            for vote in (fact.one, fact.other):
                self._check(vote.phase, vote.peer, unsigned(vote.raw), vote.signature)
        else:
            place = (fact.chain, fact.epoch, fact.height, fact.round, fact.slot)
            one = record("propose", *place, fact.block)
            other = record("propose", *place, fact.other_block)
            self._check("proposal", fact.peer, one, fact.signature)
            self._check("proposal", fact.peer, other, fact.other_signature)
        self.values[name] = record("offence", self.now)

    def _offences(self) -> list[tuple[bytes, bytes, int]]:
        """(key, peer, epoch of inclusion)."""
        names = sorted(name for name in self.values if name.startswith(b"c/evidence/"))
        return [(name, name[11:43], decode(self.values[name])[2]) for name in names]

    def _void(self, epoch: int) -> list[bytes]:
        """Whose claims for Table_epoch are void: that table and the two after."""
        return [peer for _, peer, at in self._offences() if at + 1 <= epoch <= at + 3]

    # ---- the end of an epoch ----------------------------------------------------------------

    def end_epoch(self) -> None:
        """Last step of the last block of e − 1."""
        new = self.now + 1
        claims: dict[int, Hill] = {}
        for name in [name for name in self.values if name.startswith(b"c/claims/")]:
            peer, height = decode(self.values.pop(name))[2:]
            claims[int.from_bytes(name[9:], "big")] = Hill(peer, height)
        committed = {
            name[18:]: decode(raw)[2:]
            for name, raw in self.values.items()
            if name.startswith(b"c/commitments/" + _u32(new))
        }
        # Without votes a renewal is the proof of life.
        living = self.alive if self.spec.votes else self.table.peers
        staying = [p for p in living if p in committed and committed[p][1]]
        table = next_table(
            self.numbers,
            self.table,
            claims,
            offenders=[peer for _, peer, at in self._offences() if at == self.now],
            void=self._void(new),
            staying=staying,
            elapsed_ms=self.header.time_ms - self.ends[0][0],
        )
        links = {peer: Link(committed[peer][0], 0) for peer in table.peers if peer in committed}
        end = (self.header.time_ms, self.header.randomness)
        self.values[b"c/previous"] = self.table.raw()
        self.values[b"c/table"] = table.raw()
        self.values[b"c/chains"] = _chains(links)
        self.values.pop(b"c/signing", None)
        self.values[b"c/ends"] = record("ends", [list(each) for each in [end, *self.ends][:2]])
        for name, _, at in self._offences():
            if new > at + 2:  # no table is left that it could void claims for
                del self.values[name]


def _chains(links: dict[bytes, Link]) -> bytes:
    return record("chains", [[peer, *links[peer]] for peer in sorted(links)])
