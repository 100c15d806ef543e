"""A chain without messages, engine or network: blocks made, judged and applied one by one.

Every peer's key is public and signatures are keyed hashes (`builders_keys`), so a test can sign
for anybody. Input ids are made up: nothing here executes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from consensus import claims, merkle, transition
from consensus.block import Block, Body, Header, HeaderFields, Proposal, proposal_coverage
from consensus.certificates import Certificate, Vote, append_signature, vote_unsigned
from consensus.errors import InvalidBlock
from consensus.facts import (
    DoubleProposal,
    Evidence,
    Fact,
    LateAccept,
    Renew,
    SlotClaim,
    claim_unsigned,
    renew_unsigned,
)
from consensus.ids import BlockId, Hash, Id, Peer, content_id
from consensus.parameters import Parameters
from consensus.proposers import (
    genesis_randomness,
    hash_chain,
    hash_chain_seed,
    next_randomness,
)
from consensus.signatures import ACCEPT, CLAIM, RENEW, coverage
from consensus.spec import ChainSpec, SpecDraft
from consensus.state import MemoryState, State
from consensus.tables import Table, deal
from tests.consensus.builders_keys import keyed_signature, peer_key

ZERO = Hash(bytes(32))


def small(**overrides: Any) -> Parameters:
    """Epochs of 8 blocks and 12 slots, work that is found at once, turnover of a quarter."""
    values = {"slots": 12, "epoch_blocks": 8, "claim_close": 2, "difficulty_bits_min": 1}
    slots = overrides.get("slots", values["slots"])
    return Parameters.local(**{**values, "turnover_max": slots, **overrides})


def links(seed: bytes, parameters: Parameters, peer: Peer, epoch: int) -> list[Hash]:
    """A peer's hash chain of an epoch, by number."""
    start = hash_chain_seed(peer, seed, epoch)
    return hash_chain(start, seed, peer, parameters.epoch_blocks + 1)


def make_spec(
    owners: int | Sequence[Peer | None] = 4, parameters: Parameters | None = None, **draft: Any
) -> ChainSpec:
    """A spec whose slots are dealt to so many peers, or owned as listed."""
    parameters = parameters or small()
    fields = {"name": "test", "genesis_time_ms": 1_000_000, "nonce": bytes(16)}
    made = SpecDraft(parameters=parameters, **{**fields, **draft})
    if isinstance(owners, int):
        owners = deal(parameters.slots, [peer_key(number) for number in range(owners)])
    commitments = {
        owner: links(made.seed, parameters, owner, 0)[0] for owner in owners if owner is not None
    }
    return ChainSpec.of(made, [owner and (owner, commitments[owner]) for owner in owners])


def genesis_header(spec: ChainSpec) -> Header:
    """Height 0, as far as the rules look at it."""
    fields = dict.fromkeys(HeaderFields._fields, 0) | {
        "chain": spec.id,
        "parent": spec.id,
        "parent_certificate": None,
        "time_ms": spec.genesis_time_ms,
        "reveal": None,
        "randomness": genesis_randomness(spec.seed),
        "next_table": spec.genesis_table().hash,
        "skipped": (),
        "main_ref": None,
    }
    roots = [name for name in HeaderFields._fields if name.endswith("_root")]
    return Header.of(HeaderFields(**{**fields, **dict.fromkeys(roots, ZERO)}))


class MiniChain:
    """The tip of a chain and the tools to extend it."""

    def __init__(self, spec: ChainSpec | None = None) -> None:
        self.spec = spec or make_spec()
        self.parameters = self.spec.parameters
        self.state = MemoryState(transition.genesis(self.spec))
        self.headers = [genesis_header(self.spec)]
        self.certificates: list[Certificate | None] = [None]
        self.tables: list[Table] = [self.spec.genesis_table()]  # of the height after each header

    @property
    def tip(self) -> Header:
        return self.headers[-1]

    @property
    def height(self) -> int:
        return self.tip.height

    @property
    def view(self) -> transition.View:
        return transition.view(self.spec, self.state, self.height)

    @property
    def salt(self) -> Hash:
        """Of the claims that the next block may hold."""
        salt = self.view.salt_next
        assert salt is not None
        return salt

    # ---- blocks -----------------------------------------------------------------------------

    def block(
        self,
        *,
        facts: Iterable[Fact] = (),
        messages: int = 1,
        round: int = 0,
        rank: int = 0,
        elapsed_ms: int = 1000,
        **fields: Any,
    ) -> Block:
        """A block on the tip, valid unless the arguments say otherwise; `fields` of the header."""
        view, before = self.view, self.tip.fields
        peer, slot = view.ranking(before.randomness, round)[rank]
        number = view.height - self.parameters.first_height(view.epoch) + 1
        reveal = links(self.spec.seed, self.parameters, peer, view.epoch)[number]
        reveal = reveal if view.ranked else None
        certificate = self.certificates[-1]
        body = Body.of(
            parent_certificate=certificate.raw if certificate else b"",
            facts=tuple([fact.raw for fact in facts]),
            chain_inputs=(),
            messages=tuple([Id(content_id(b"%d" % i)) for i in range(messages)]),
        )
        made: dict[str, Any] = {
            "chain": self.spec.id,
            "height": view.height,
            "round": round,
            "epoch": view.epoch,
            "parent": self.tip.id,
            "parent_certificate": certificate.id if certificate else None,
            "proposer_slot": slot,
            "rank": rank,
            "time_ms": before.time_ms + elapsed_ms,
            "reveal": reveal,
            "randomness": next_randomness(before.randomness, reveal),
            "next_table": view.table.hash,
            "inputs_root": merkle.root(body.input_leaves),
            "outputs_root": ZERO,
            "receipts_root": ZERO,
            "state_root": ZERO,
            "facts_root": merkle.root(body.facts),
            "gas_used": 0,
            "skipped": (),
            "main_ref": None,
        }
        return Block(Header.of(HeaderFields(**{**made, **fields})), body)

    def check(self, block: Block) -> None:
        """`check_header` on the tip."""
        transition.check_header(self.spec, self.tip, self.view, block)

    def changes(self, block: Block, state: State | None = None) -> transition.Changes:
        """What the block does to the state."""
        return transition.apply(
            self.spec,
            state or self.state,
            block.header.fields,
            certificate=block.body.certificate(),
            facts=transition.decode_facts(block.body.facts),
        )

    def commit(self, block: Block, signers: Iterable[Peer] | None = None) -> Header:
        """Check, apply, certify by `signers` (all owners); the header with its true next table."""
        self.check(block)
        changes = self.changes(block)
        following = transition.table_after(self.state, changes)
        header = Header.of(block.header.fields._replace(next_table=following.hash))
        table = self.view.table
        self.state.apply(changes)
        self.headers.append(header)
        self.tables.append(following)
        signers = table.weights if signers is None else signers
        certificate = self.certify(header, signers) if self.spec.kind.votes else None
        self.certificates.append(certificate)
        return header

    def advance(self, *facts: Fact, signers: Iterable[Peer] | None = None, **how: Any) -> Header:
        """Commit one more block."""
        return self.commit(self.block(facts=facts, **how), signers)

    def advance_to(self, height: int, **how: Any) -> None:
        """Commit blocks until the tip has that height."""
        while self.height < height:
            self.advance(**how)

    def renewing(self, peers: Iterable[Peer] | None = None) -> list[Renew]:
        """Renewals of all owners for the next epoch."""
        view = self.view
        return [self.renew(peer) for peer in (view.table.weights if peers is None else peers)]

    # ---- votes ------------------------------------------------------------------------------

    def accept(self, peer: Peer, header: Header, **fields: Any) -> Vote:
        """A peer's accept for a block, or another vote by `fields`."""
        made = {
            "phase": ACCEPT,
            "chain": self.spec.id,
            "epoch": header.fields.epoch,
            "height": header.height,
            "round_": header.round,
            "block": header.id,
        }
        named = {**made, **fields}
        unsigned = vote_unsigned(named.pop("phase"), **named, peer=peer)
        unsigned_vote = Vote.decode(append_signature(unsigned, bytes(64)))
        signature = keyed_signature(peer, unsigned_vote.signed_bytes)
        return Vote.decode(append_signature(unsigned, signature))

    def certify(self, header: Header, signers: Iterable[Peer]) -> Certificate:
        """The certificate of these signers."""
        return Certificate.of([self.accept(peer, header) for peer in signers])

    # ---- facts ------------------------------------------------------------------------------

    def commitment(self, peer: Peer, epoch: int) -> Hash:
        return links(self.spec.seed, self.parameters, peer, epoch)[0]

    def renew(
        self, peer: Peer, *, epoch: int | None = None, commitment: Hash | None = None
    ) -> Renew:
        """A renewal for the next epoch unless said otherwise."""
        epoch = self.view.epoch + 1 if epoch is None else epoch
        commitment = commitment or self.commitment(peer, epoch)
        unsigned = renew_unsigned(chain=self.spec.id, epoch=epoch, peer=peer, commitment=commitment)
        signature = keyed_signature(peer, coverage(RENEW, self.spec.id, unsigned))
        return Renew.decode(append_signature(unsigned, signature))

    def claim(
        self,
        peer: Peer,
        nonce: bytes,
        *,
        epoch: int | None = None,
        commitment: Hash | None = None,
        chain: bytes | None = None,
    ) -> SlotClaim:
        """A claim for the next epoch unless said otherwise."""
        epoch = self.view.epoch + 1 if epoch is None else epoch
        chain = self.spec.id if chain is None else chain
        commitment = commitment or self.commitment(peer, epoch)
        unsigned = claim_unsigned(
            chain=chain, epoch=epoch, peer=peer, nonce=nonce, commitment=commitment
        )
        signature = keyed_signature(peer, coverage(CLAIM, chain, unsigned))
        return SlotClaim.decode(append_signature(unsigned, signature))

    def mine(
        self,
        peer: Peer,
        *,
        slot: int | None = None,
        commitment: Hash | None = None,
        count: int = 512,
    ) -> list[tuple[claims.Found, SlotClaim]]:
        """Claims a peer finds for the next epoch (of one slot), the lowest on the hill first."""
        found = claims.mine(
            self.spec,
            salt=self.salt,
            peer=peer,
            commitment=commitment or self.commitment(peer, self.view.epoch + 1),
            nonce_prefix=bytes(8),
            start=0,
            count=count,
        )
        wanted = sorted((f for f in found if slot in (None, f.slot)), key=lambda f: f.hill)
        return [(f, self.claim(peer, f.nonce, commitment=commitment)) for f in wanted]

    def late(self, peer: Peer, header: Header, **fields: Any) -> LateAccept:
        return LateAccept.of(self.accept(peer, header, **fields))

    def double_vote(self, peer: Peer, header: Header, **fields: Any) -> Evidence:
        """Two accepts of a peer for two blocks in the place of `header`."""
        other = BlockId(content_id(b"another block"))
        one = self.accept(peer, header, **fields)
        return Evidence.of(one, self.accept(peer, header, **{**fields, "block": other}))

    def double_proposal(self, one: Block, other: Block, peer: Peer) -> DoubleProposal:
        signed = [
            Proposal.of(block, peer, keyed_signature(peer, proposal_coverage(block.header)))
            for block in (one, other)
        ]
        return DoubleProposal.of(*signed)


def refuse(chain: MiniChain, rule: str, *facts: Fact) -> InvalidBlock:
    """Assert that a block with these facts breaks `rule`, and nothing else about it does."""
    block = chain.block(facts=facts)
    chain.check(block)
    with pytest.raises(InvalidBlock) as caught:
        chain.changes(block)
    assert caught.value.rule == rule
    return caught.value
