"""Records of peers as bytes: as they are, spoiled in one place, spoiled and signed again."""

from random import Random

from consensus.block import Proposal, proposal_coverage
from consensus.certificates import Aggregate, Vote, append_signature, vote_unsigned
from consensus.effects import BODIES, CERT, FACTS, MESSAGES, POLL, PROPOSALS, TIP, VOTES, Ask
from consensus.encoding import encode
from consensus.errors import EncodingError, SignatureInvalid
from consensus.events import (
    AskFailed,
    CertificateReceived,
    Event,
    FactsReceived,
    MessagesReceived,
    ProposalReceived,
    VotesReceived,
)
from consensus.facts import Fact
from consensus.signatures import Verifier
from consensus.wire import Batch
from node.agents.screening import Screening
from node.speech import (
    REPLY_BYTES_MAX,
    REQUEST_BYTES_MAX,
    Heard,
    asked,
    certificate_checks,
    hear,
    read_reply,
)
from tests.consensus.builders_keys import KeyedVerifier, keyed_signature
from tests.fuzz.fuzz_events import PEERS, Draws, Speaker
from tests.fuzz.fuzz_mutation import mutated

TOKEN = 1
KEYS = KeyedVerifier()


def heard_of(draws: Draws, peers: Speaker) -> Heard | None:
    """What a peer says, read from bytes; null where the bytes are refused."""
    makers = [peers.vote, peers.vote, peers.proposal, peers.fact, peers.posted]
    said = told(draws.of(makers)())
    if said is None:
        return None
    topic, raw = said
    if draws.below(3):
        raw = mutated(Random(draws.below(256)), [raw], REQUEST_BYTES_MAX)
        if draws.below(2):
            raw = signed_again(topic, raw)
    try:
        return hear(topic, raw, TOKEN, draws.of(PEERS))
    except EncodingError:
        return None


def told(event: Event) -> tuple[str, bytes] | None:
    """(topic, record) of an event that came by gossip."""
    match event:
        case VotesReceived(votes=((_, vote), *_)):
            return VOTES, vote.raw
        case ProposalReceived(proposal=proposal):
            return PROPOSALS, proposal.raw
        case FactsReceived(facts=((_, fact), *_)):
            return FACTS, fact.raw
        case MessagesReceived(messages=messages):
            return MESSAGES, Batch.encode([message.raw for message in messages])
        case _:
            return None


def signed_again(topic: str, raw: bytes) -> bytes:
    """The record signed by whom it names, where it is one at all: a stranger's or owner's own lie.

    Facts and messages stay as they are.
    """
    try:
        found = _read(topic, raw)
    except EncodingError:
        return raw
    if isinstance(found, Vote):
        unsigned = vote_unsigned(
            found.phase,
            chain=found.chain,
            epoch=found.epoch,
            height=found.height,
            round_=found.round,
            block=found.block,
            peer=found.peer,
        )
        return append_signature(unsigned, keyed_signature(found.peer, found.signed_bytes))
    if isinstance(found, Proposal):
        covered = proposal_coverage(found.block.header)
        return Proposal.of(found.block, found.peer, keyed_signature(found.peer, covered)).raw
    return raw


# ---- queries ------------------------------------------------------------------------------------


def replied(draws: Draws, peers: Speaker, ask: Ask, verifier: Verifier) -> list[Event]:
    """What the bytes of a reply are read as, to an ask of this core; often spoiled."""
    raw = _spoiled(draws, _reply(draws, peers, ask.proto))
    try:
        return read_reply(ask.proto, raw, ask.ask, ask.peer, verifier)
    except (EncodingError, SignatureInvalid):
        return [AskFailed(ask.ask, ask.peer)]


def asked_of(draws: Draws, peers: Speaker, screening: Screening) -> Event | None:
    """A poll or a pushed certificate from its bytes; null where it is turned away."""
    chain, peer, proto = peers.chain.spec.id, draws.of(PEERS), draws.of([POLL, CERT])
    raw = encode(["poll", 1, chain, peers.height()])
    if proto == CERT:
        made = peers.certified()
        raw = encode(["push", 1, b"" if made is None else made.raw])
    try:
        event = asked(proto, _spoiled(draws, raw), TOKEN, peer, chain)
    except EncodingError:
        return None
    if not isinstance(event, CertificateReceived):
        return event
    if screening.certificate(event.certificate):
        return None
    checks = certificate_checks(event.certificate)
    return event if all(KEYS.verify(*check) for check in checks) else None


def _reply(draws: Draws, peers: Speaker, proto: str) -> bytes:
    made = peers.certified() if draws.below(3) else None
    certificate = b"" if made is None else made.raw
    if proto == TIP:
        return encode(["tip", 1, peers.height()])
    if proto == BODIES:
        return encode(["bodies", 1, [message.raw for message in peers.known]])
    if proto == POLL and draws.below(4) == 1:
        return encode(["past", 1, certificate])
    if proto == POLL:
        return encode(["answer", 1, peers.height(), draws.of([0, 0, 1]), peers.named()])
    proposal = peers.proposed()
    block, bodies = proposal.block, [message.raw for message in peers.known]
    signed = draws.of([None, [proposal.peer, proposal.signature]])
    return encode(["block", 1, block.header.raw, block.body.raw, certificate, signed, bodies])


def _spoiled(draws: Draws, raw: bytes) -> bytes:
    if draws.below(3):
        return raw
    return mutated(Random(draws.below(256)), [raw], REPLY_BYTES_MAX)


def _read(topic: str, raw: bytes) -> Vote | Proposal | Fact | Aggregate | None:
    if topic == VOTES:
        return Vote.decode(raw)
    return Proposal.decode(raw) if topic == PROPOSALS else None
