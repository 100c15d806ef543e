"""What peers say to each other: gossip records and queries, bytes to judged events and back.

Pure. The gossip agent and the simulator speak through it, so both speak alike. Inward, data loses
doubt here: bytes → bounded, decoded, signed by whom it says → event. Formats: docs/wire.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from consensus import wire
from consensus.block import (
    BODY_BYTES_MAX,
    HEADER_BYTES_MAX,
    Block,
    Body,
    Header,
    Proposal,
)
from consensus.certificates import (
    CERTIFICATE_BYTES_MAX,
    VOTE_BYTES_MAX,
    Aggregate,
    Certificate,
    Vote,
    signatures_valid,
)
from consensus.effects import BLOCK, BODIES, CERT, FACTS, MESSAGES, POLL, PROPOSALS, TIP, VOTES
from consensus.encoding import (
    ID,
    KEY,
    SIGNATURE,
    UINT,
    Schema,
    blob,
    list_of,
    optional,
    row,
)
from consensus.errors import EncodingError, SignatureInvalid
from consensus.events import (
    AnswerReceived,
    AskFailed,
    CertificateReceived,
    Event,
    FactsReceived,
    Fetched,
    MessagesReceived,
    Missing,
    PollReceived,
    ProposalReceived,
    TipReceived,
    VotesReceived,
)
from consensus.facts import (
    DoubleProposal,
    Evidence,
    Fact,
    LateAccept,
    Renew,
    SlotClaim,
    decode_fact,
)
from consensus.ids import BlockId, Height, MessageId, Peer, Signature
from consensus.messages import MESSAGE_BYTES_MAX, Message
from consensus.signatures import Verifier
from consensus.transition import signed_items

Check = tuple[bytes, bytes, bytes]  # key, signed bytes, signature

REPLY_BODIES_BYTES_MAX = 2 * 1024 * 1024  # message bodies that travel in one reply
REPLY_BODIES_MAX = 4_096
REPLY_BYTES_MAX = 4 * 1024 * 1024
REQUEST_BYTES_MAX = 192 * 1024  # ids of 4,096 bodies

TOPICS = (VOTES, FACTS, PROPOSALS, MESSAGES)
PROTOS = (POLL, BLOCK, CERT, BODIES, TIP)
TOPIC_BYTES_MAX = {
    VOTES: VOTE_BYTES_MAX,
    FACTS: CERTIFICATE_BYTES_MAX,
    MESSAGES: wire.BATCH_BYTES_MAX,
    PROPOSALS: wire.BATCH_BYTES_MAX,  # a larger one is fetched by the id that polls name
}
REPLIES_MAX = {
    POLL: CERTIFICATE_BYTES_MAX + 64,
    BLOCK: REPLY_BYTES_MAX,
    CERT: 64,
    BODIES: REPLY_BYTES_MAX,
    TIP: 64,
}

_ASKS = {
    POLL: Schema("poll", 1, [ID, UINT], max_bytes=128),
    BLOCK: Schema("block", 1, [UINT, optional(ID)], max_bytes=128),
    BODIES: Schema("bodies", 1, [list_of(ID, REPLY_BODIES_MAX)], max_bytes=REQUEST_BYTES_MAX),
    TIP: Schema("tip", 1, [], max_bytes=16),
    CERT: Schema("push", 1, [blob(CERTIFICATE_BYTES_MAX)], max_bytes=CERTIFICATE_BYTES_MAX + 64),
}
_ANSWER = Schema("answer", 1, [UINT, UINT, optional(ID)], max_bytes=128)
_PAST = Schema("past", 1, [blob(CERTIFICATE_BYTES_MAX)], max_bytes=CERTIFICATE_BYTES_MAX + 64)
_TIP = Schema("tip", 1, [UINT], max_bytes=32)
_MESSAGE_LIST = list_of(blob(MESSAGE_BYTES_MAX), REPLY_BODIES_MAX)
_BODIES = Schema("bodies", 1, [_MESSAGE_LIST], max_bytes=REPLY_BYTES_MAX)
_BLOCK = Schema(
    "block",
    1,
    [
        blob(HEADER_BYTES_MAX),
        blob(BODY_BYTES_MAX),
        blob(CERTIFICATE_BYTES_MAX),
        optional(row(KEY, SIGNATURE)),
        _MESSAGE_LIST,
    ],
    max_bytes=REPLY_BYTES_MAX,
)
NONE = Schema("none", 1, [], max_bytes=16).encode(())


@dataclass(frozen=True, slots=True)
class Held:
    """A block as a peer can hand it out: certified, or a candidate with its proposer's word."""

    block: Block
    certificate: bytes
    proposer: tuple[Peer, Signature] | None


class Library(Protocol):
    """What a peer can look up to answer others."""

    def tip(self) -> int:
        """The newest certified height."""
        ...

    def certified(self, height: int) -> Held | None: ...

    def candidate(self, block: BlockId) -> Held | None:
        """A candidate of the height being decided."""
        ...

    def bodies(self, ids: Sequence[MessageId]) -> list[bytes]:
        """Those message bodies that are here."""
        ...


# ---- gossip -------------------------------------------------------------------------------------


def batches(records: Iterable[bytes]) -> list[bytes]:
    """Payloads of the messages topic: as many messages in each as fit."""
    payloads: list[bytes] = []
    waiting: list[bytes] = []
    size = 0
    for record in records:
        if waiting and (
            size + len(record) > wire.BATCH_BYTES_MAX - 1024 or len(waiting) == wire.BATCH_ITEMS_MAX
        ):
            payloads.append(wire.Batch.encode(waiting))
            waiting, size = [], 0
        waiting.append(record)
        size += len(record) + 5
    if waiting:
        payloads.append(wire.Batch.encode(waiting))
    return payloads


@dataclass(frozen=True, slots=True)
class Heard:
    """Decoded gossip: the event it would be, and the signatures that must hold before it is one."""

    event: Event
    signed: tuple[Check, ...]  # (key, signed bytes, signature)


def hear(topic: str, data: bytes, token: int, source: Peer | None) -> Heard:
    """Gossip of one topic, bounded and decoded. Raises EncodingError."""
    match wire.decode_record(data, wire.TOPICS[topic]):
        case Vote() as vote:
            check = (vote.peer, vote.signed_bytes, vote.signature)
            return Heard(VotesReceived(((token, vote),)), (check,))
        case wire.Batch() as batch:
            checks = tuple([message_check(message) for message in batch.messages])
            return Heard(MessagesReceived(token, batch.messages, source), checks)
        case Proposal() as proposal:
            return _hear_proposal(proposal, token, source)
        case (
            Aggregate()
            | SlotClaim()
            | Renew()
            | LateAccept()
            | Evidence()
            | DoubleProposal() as fact
        ):
            return Heard(FactsReceived(((token, fact),)), tuple(_fact_checks(fact)))
        case _:
            raise EncodingError(f"{topic}: not a record of this topic")


def message_check(message: Message) -> Check:
    """(key, signed bytes, signature) of an account's message."""
    return message.sender, message.signed_bytes, message.signature


def _fact_checks(fact: Fact | Aggregate) -> list[Check]:
    if isinstance(fact, Aggregate):
        return [(vote.peer, vote.signed_bytes, vote.signature) for vote in fact.votes()]
    return list(signed_items([fact]))


def _hear_proposal(proposal: Proposal, token: int, source: Peer | None) -> Heard:
    own: Check = (proposal.peer, proposal.signed_bytes, proposal.signature)
    checks = (own, *block_checks(proposal.block))
    return Heard(ProposalReceived(token, proposal, source), checks)


def block_checks(block: Block) -> list[Check]:
    """The signatures inside a block: parent's certificate and facts. Raises EncodingError."""
    checks: list[Check] = []
    certificate = block.body.certificate()
    if certificate is not None:
        checks += certificate_checks(certificate)
    facts = [decode_fact(raw) for raw in block.body.facts]
    return [*checks, *signed_items(facts)]


def certificate_checks(certificate: Certificate) -> list[Check]:
    """(key, signed bytes, signature) of each accept in it."""
    return [(vote.peer, vote.signed_bytes, vote.signature) for vote in certificate.votes()]


# ---- queries, answering -------------------------------------------------------------------------


def asked_of_library(proto: str, data: bytes) -> tuple[Any, ...]:
    """The fields of a query that `answer` takes: ids of bodies; height and block id. Raises
    EncodingError."""
    return tuple(_ASKS[proto].decode(data))


def answer(library: Library, proto: str, data: bytes) -> bytes:
    """The reply to a query that needs no engine. Raises EncodingError."""
    fields = _ASKS[proto].decode(data)
    if proto == TIP:
        return _TIP.encode((library.tip(),))
    if proto == BODIES:
        return _BODIES.encode((_bounded(library.bodies(fields[0])),))
    assert proto == BLOCK, "polls and pushes are for the engine"
    height, block = fields
    held = library.certified(height) if block is None else library.candidate(block)
    if held is None and block is not None:  # decided meanwhile
        held = library.certified(height)
        held = held if held is not None and held.block.id == block else None
    if held is None:
        return NONE
    messages = _bounded(library.bodies(held.block.body.messages))
    block_ = held.block
    return _BLOCK.encode(
        (block_.header.raw, block_.body.raw, held.certificate, held.proposer, messages)
    )


def answer_past(library: Library, data: bytes, chain: bytes) -> bytes | None:
    """The reply to a poll for a height that is committed here, however long ago (§6): its
    certificate, or without votes its block. Null: the engine answers. Raises EncodingError."""
    named, height = _ASKS[POLL].decode(data)
    if named != chain:
        raise EncodingError("poll: of another chain")
    held = library.certified(height) if 1 <= height <= library.tip() else None
    if held is None:
        return None
    if held.certificate:
        return _PAST.encode((held.certificate,))
    return _ANSWER.encode((height, 0, held.block.id))


def _bounded(bodies: Sequence[bytes]) -> list[bytes]:
    kept, size = [], 0
    for raw in bodies:
        size += len(raw) + 5
        if size > REPLY_BODIES_BYTES_MAX:
            break
        kept.append(raw)
    return kept


def asked(proto: str, data: bytes, query: int, peer: Peer, chain: bytes) -> Event:
    """The event of a query that the engine answers: poll, pushed certificate. Raises EncodingError.

    A pushed certificate is not judged here: see `certificate_checks`.
    """
    fields = _ASKS[proto].decode(data)
    if proto == POLL:
        if fields[0] != chain:
            raise EncodingError("poll: of another chain")
        return PollReceived(query, peer, Height(fields[1]))
    assert proto == CERT, "others are answered by `answer`"
    return CertificateReceived(Certificate.decode(fields[0]), peer)


# ---- queries, reading the reply -----------------------------------------------------------------


def read_reply(proto: str, raw: bytes, ask: int, peer: Peer, verifier: Verifier) -> list[Event]:
    """The events of a reply. Raises EncodingError or SignatureInvalid: the peer is to blame."""
    if raw == NONE:
        return [Missing(ask, peer)]
    if proto == TIP:
        return [TipReceived(peer, Height(_TIP.decode(raw)[0]))]
    if proto == BODIES:
        messages = _judged_messages(_BODIES.decode(raw)[0], verifier)
        return [Fetched(ask, peer, None, None, None, messages)]
    if proto == POLL:
        return _read_answer(raw, ask, peer, verifier)
    if proto == BLOCK:
        return [_read_block(raw, ask, peer, verifier)]
    return []


def _read_answer(raw: bytes, ask: int, peer: Peer, verifier: Verifier) -> list[Event]:
    if raw[1:6] == b"\x64past":
        certificate_raw = _PAST.decode(raw)[0]
        if not certificate_raw:
            return [AskFailed(ask, peer)]
        certificate = judged_certificate(certificate_raw, verifier)
        return [CertificateReceived(certificate, peer), AskFailed(ask, peer)]
    height, round_, block = _ANSWER.decode(raw)
    return [AnswerReceived(ask, peer, height, round_, block)]


def judged_certificate(raw: bytes, verifier: Verifier) -> Certificate:
    """Raises EncodingError or SignatureInvalid; weight is for whoever knows the table."""
    certificate = Certificate.decode(raw)
    if not signatures_valid(certificate, verifier):
        raise SignatureInvalid("a signature of the certificate does not verify")
    return certificate


def _judged_messages(raws: Sequence[bytes], verifier: Verifier) -> tuple[Message, ...]:
    messages = tuple([Message.decode(raw) for raw in raws])
    _require(verifier, [message_check(message) for message in messages])
    return messages


def _read_block(raw: bytes, ask: int, peer: Peer, verifier: Verifier) -> Event:
    header_raw, body_raw, certificate_raw, proposer, bodies = _BLOCK.decode(raw)
    block = Block(Header.decode(header_raw), Body.decode(body_raw))
    certificate = judged_certificate(certificate_raw, verifier) if certificate_raw else None
    proposal = None
    if proposer is not None:
        proposal = Proposal.of(block, *proposer)
        _require(verifier, [(proposal.peer, proposal.signed_bytes, proposal.signature)])
    _require(verifier, block_checks(block))
    messages = _judged_messages(bodies, verifier)
    return Fetched(ask, peer, block, proposal, certificate, messages)


def _require(verifier: Verifier, checks: Sequence[Check]) -> None:
    if not all(verifier.verify(*check) for check in checks):
        raise SignatureInvalid("a signature does not verify")
