"""One record of each type with real Ed25519 signatures, all from fixed seeds."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from nacl.signing import SigningKey

from consensus.block import Block, Body, Header, HeaderFields, Proposal, proposal_coverage
from consensus.certificates import Aggregate, Certificate, Vote, append_signature, vote_unsigned
from consensus.facts import (
    DoubleProposal,
    Evidence,
    LateAccept,
    Renew,
    SlotClaim,
    claim_unsigned,
    renew_unsigned,
)
from consensus.ids import ID_PREFIX, content_id
from consensus.messages import AgentEvent, Draft, Message, Queued, Receipt, Reference, encode_data
from consensus.signatures import ACCEPT, CLAIM, CONFIRM, RENEW, coverage


def digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def identifier(name: str) -> bytes:
    return ID_PREFIX + digest(name)


def signer(name: str) -> SigningKey:
    return SigningKey(digest(f"key of {name}"))


def public(key: SigningKey) -> bytes:
    return bytes(key.verify_key)


def sign(key: SigningKey, covered: bytes) -> bytes:
    return key.sign(covered).signature


CHAIN = identifier("chain")
ALICE, BOB = signer("alice"), signer("bob")
PEERS = sorted((signer(f"peer {number}") for number in range(4)), key=public)
TOKEN = digest("agent token")


class Sample(NamedTuple):
    """A record, and what its signature covers where it has one: (key, covered, signature)."""

    tag: str
    name: str
    raw: bytes
    id: bytes | None = None
    signatures: tuple[tuple[bytes, bytes, bytes], ...] = ()


def message(nonce: bytes = bytes(16), pay: int = 0, after: bytes | None = None) -> Message:
    draft = Draft(
        chain=CHAIN,
        sender=public(ALICE),
        to=Reference(CHAIN, TOKEN, digest("capability") if pay else None),
        data=encode_data("Transfer", {"to": public(BOB), "amount": 5}),
        nonce=nonce,
        expires_height=300,
        gas_max=1000,
        pay=pay,
        after=after,
    )
    return Message.decode(draft.signed(sign(ALICE, draft.to_sign())))


def header(round_: int = 0, reveal: bytes | None = digest("reveal"), **changes: object) -> Header:
    fields = HeaderFields(
        chain=CHAIN,
        height=42,
        round=round_,
        epoch=0,
        parent=identifier("parent"),
        parent_certificate=identifier("parent certificate"),
        proposer_slot=7,
        rank=0,
        time_ms=1_700_000_042_000,
        reveal=reveal,
        randomness=digest("randomness"),
        next_table=digest("next table"),
        inputs_root=digest("inputs"),
        outputs_root=digest("outputs"),
        receipts_root=digest("receipts"),
        state_root=digest("state"),
        facts_root=digest("facts"),
        gas_used=124,
        skipped=(),
        main_ref=None,
    )
    return Header.of(fields._replace(**changes))


def body() -> Body:
    return Body.of(
        parent_certificate=certificate().raw,
        facts=(claim().raw, renew().raw),
        chain_inputs=(identifier("chain-made input"),),
        messages=(message().id,),
    )


def proposal(round_: int = 0, reveal: bytes | None = digest("reveal")) -> Proposal:
    block = Block(header(round_, reveal), body())
    return Proposal.of(block, public(PEERS[0]), sign(PEERS[0], proposal_coverage(block.header)))


def vote(phase: str, peer: SigningKey, block: bytes | None) -> Vote:
    unsigned = vote_unsigned(
        phase, chain=CHAIN, epoch=0, height=42, round_=1, block=block, peer=public(peer)
    )
    return Vote.decode(append_signature(unsigned, sign(peer, coverage(phase, CHAIN, unsigned))))


def votes(phase: str, peers: Sequence[SigningKey]) -> list[Vote]:
    return [vote(phase, peer, identifier("block")) for peer in peers]


def certificate() -> Certificate:
    return Certificate.of(votes(ACCEPT, PEERS[:3]))


def aggregate() -> Aggregate:
    return Aggregate.of(votes(CONFIRM, PEERS[1:]))


def claim() -> SlotClaim:
    unsigned = claim_unsigned(
        chain=CHAIN,
        epoch=1,
        peer=public(PEERS[0]),
        nonce=bytes(range(16)),
        commitment=digest("commitment"),
    )
    signature = sign(PEERS[0], coverage(CLAIM, CHAIN, unsigned))
    return SlotClaim.decode(append_signature(unsigned, signature))


def renew() -> Renew:
    unsigned = renew_unsigned(
        chain=CHAIN, epoch=1, peer=public(PEERS[1]), commitment=digest("commitment")
    )
    return Renew.decode(
        append_signature(unsigned, sign(PEERS[1], coverage(RENEW, CHAIN, unsigned)))
    )


def receipt() -> Receipt:
    event = AgentEvent(TOKEN, "Paid", encode_data("Paid", {"amount": 5}))
    return Receipt(message().id, 42, 1, "ok", "", b"", 124, (event,), (identifier("sent"),))


def queued() -> Queued:
    data = encode_data("Ping", {"count": 3})
    return Queued(identifier("source"), "send", digest("ping"), digest("pong"), data, 1000, 0)


def samples() -> list[Sample]:
    """Each type of record once or more."""
    return [*_of_accounts(), *_of_blocks(), *_of_votes(), *_of_facts()]


def _of_accounts() -> list[Sample]:
    found = []
    cases = {"plain": message(), "full": message(bytes(range(16)), 7, message().id)}
    for name, item in cases.items():
        signed = ((item.sender, item.signed_bytes, item.signature),)
        found.append(Sample("message", name, item.raw, item.id, signed))
    refused = Receipt(message().id, 42, 2, "rejected", "NoFunds", b"\x05", 124, (), ())
    return [
        *found,
        Sample("receipt", "ok", receipt().encode()),
        Sample("receipt", "rejected", refused.encode()),
        Sample("queued", "send", queued().encode()),
    ]


def _of_blocks() -> list[Sample]:
    first = header(reveal=None, height=1, parent_certificate=None)
    late = header(round_=4, skipped=(message().id,), main_ref=9)
    empty = Body.of(parent_certificate=b"", facts=(), chain_inputs=(), messages=())
    item = proposal()
    return [
        Sample("header", "plain", header().raw, header().id),
        Sample("header", "first height, no reveal", first.raw, first.id),
        Sample("header", "late round with skipped", late.raw, late.id),
        Sample("body", "plain", body().raw, content_id(body().raw)),
        Sample("body", "empty", empty.raw, content_id(empty.raw)),
        Sample(
            "proposal",
            "plain",
            item.raw,
            item.id,
            ((item.peer, item.signed_bytes, item.signature),),
        ),
    ]


def _of_votes() -> list[Sample]:
    found = []
    for phase in (CONFIRM, ACCEPT):
        for name, block in (("block", identifier("block")), ("nil", None)):
            item = vote(phase, PEERS[2], block)
            signed = ((item.peer, item.signed_bytes, item.signature),)
            found.append(Sample(phase, name, item.raw, None, signed))
    for tag, quorum, phase in (
        ("certificate", certificate(), ACCEPT),
        ("aggregate", aggregate(), CONFIRM),
    ):
        signed = tuple(
            (item.peer, item.signed_bytes, item.signature)
            for item in votes(
                phase, [key for key in PEERS if public(key) in dict(quorum.signatures)]
            )
        )
        found.append(Sample(tag, "three of four", quorum.raw, quorum.id, signed))
    return found


def _of_facts() -> list[Sample]:
    mine, kept = claim(), renew()
    evidence = Evidence.of(vote(ACCEPT, PEERS[3], None), vote(ACCEPT, PEERS[3], identifier("b")))
    double = DoubleProposal.of(proposal(), proposal(reveal=None))
    late = LateAccept.of(vote(ACCEPT, PEERS[3], identifier("block")))
    return [
        Sample(
            "claim", "plain", mine.raw, mine.id, ((mine.peer, mine.signed_bytes, mine.signature),)
        ),
        Sample(
            "renew", "plain", kept.raw, kept.id, ((kept.peer, kept.signed_bytes, kept.signature),)
        ),
        Sample(
            "evidence",
            "two accepts",
            evidence.raw,
            evidence.id,
            tuple((v.peer, v.signed_bytes, v.signature) for v in (evidence.first, evidence.second)),
        ),
        Sample(
            "double",
            "two proposals",
            double.raw,
            double.id,
            tuple((double.peer, covered, signature) for covered, signature in double.signed),
        ),
        Sample(
            "late",
            "accept",
            late.raw,
            late.id,
            ((late.vote.peer, late.vote.signed_bytes, late.vote.signature),),
        ),
    ]
