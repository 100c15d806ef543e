"""The closed set of records that peers speak, each with its bound (protocol §2, §11).

A record says by its first item what it is; whatever is not in the set, is longer than its type may
be, or is not wanted in that place is refused before any of it is decoded. Judges form only: neither
signatures, nor whether a record is early, late or of another chain.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from consensus.block import (
    BODY_BYTES_MAX,
    FACT_BYTES_MAX,
    HEADER_BYTES_MAX,
    PROPOSAL_BYTES_MAX,
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
)
from consensus.encoding import Schema, blob, list_of
from consensus.errors import EncodingError
from consensus.facts import DoubleProposal, Evidence, LateAccept, Renew, SlotClaim
from consensus.messages import MESSAGE_BYTES_MAX, Message, decoded

BATCH_BYTES_MAX = 256 * 1024
BATCH_ITEMS_MAX = 1024

_BATCH = Schema(
    "batch", 1, [list_of(blob(MESSAGE_BYTES_MAX), BATCH_ITEMS_MAX)], max_bytes=BATCH_BYTES_MAX
)


class Batch(NamedTuple):
    """Messages that travel together: one payload of the messages topic."""

    messages: tuple[Message, ...]

    @classmethod
    def decode(cls, raw: bytes) -> "Batch":
        """Raises EncodingError, also when one of the messages is not well-formed."""
        return cls(tuple([decoded(item) for item in _BATCH.decode(raw)[0]]))

    @staticmethod
    def encode(messages: Sequence[bytes]) -> bytes:
        """Canonical bytes of a batch of messages as received."""
        return _BATCH.encode((messages,))


Record = (
    Vote
    | Batch
    | Message
    | Proposal
    | Certificate
    | Aggregate
    | SlotClaim
    | Renew
    | LateAccept
    | Evidence
    | DoubleProposal
    | Header
    | Body
)


class Spoken(NamedTuple):
    """One type of record: its tag and version, its bound, what decodes it."""

    tag: str
    version: int
    bytes_max: int
    decode: Callable[[bytes], Record]


_TYPES = (
    Spoken("confirm", 1, VOTE_BYTES_MAX, Vote.decode),
    Spoken("accept", 1, VOTE_BYTES_MAX, Vote.decode),
    Spoken("message", 1, MESSAGE_BYTES_MAX, Message.decode),
    Spoken("batch", 1, BATCH_BYTES_MAX, Batch.decode),
    Spoken("proposal", 1, PROPOSAL_BYTES_MAX, Proposal.decode),
    Spoken("certificate", 1, CERTIFICATE_BYTES_MAX, Certificate.decode),
    Spoken("aggregate", 1, CERTIFICATE_BYTES_MAX, Aggregate.decode),
    Spoken("claim", 1, FACT_BYTES_MAX, SlotClaim.decode),
    Spoken("renew", 1, FACT_BYTES_MAX, Renew.decode),
    Spoken("late", 1, FACT_BYTES_MAX, LateAccept.decode),
    Spoken("evidence", 1, FACT_BYTES_MAX, Evidence.decode),
    Spoken("double", 1, FACT_BYTES_MAX, DoubleProposal.decode),
    Spoken("header", 1, HEADER_BYTES_MAX, Header.decode),
    Spoken("body", 1, BODY_BYTES_MAX, Body.decode),
)
SPOKEN: Mapping[str, Spoken] = {spoken.tag: spoken for spoken in _TYPES}

VOTES = ("confirm", "accept")
FACTS = ("claim", "renew", "late", "evidence", "double", "aggregate")
PROPOSALS = ("proposal",)
MESSAGES = ("batch",)
# What each topic of a chain carries (wire: apx/<chain>/…); anything else there is wrong in itself.
TOPICS: Mapping[str, tuple[str, ...]] = {
    "votes": VOTES,
    "facts": FACTS,
    "proposals": PROPOSALS,
    "messages": MESSAGES,
}

_SHORT_TEXT = 0x60  # head of text of less than 24 bytes; every tag is that short
_SHORT_LIST = range(0x80, 0x98)  # head of a list of less than 24 items; every record is that short
_TAG_BYTES_MAX = max(len(spoken.tag) for spoken in _TYPES)


def tag_of(raw: bytes) -> str:
    """The tag that canonical bytes begin with. Raises EncodingError; looks at a few bytes only."""
    if len(raw) < 2 or raw[0] not in _SHORT_LIST:
        raise EncodingError("wire: not a record")
    length = raw[1] - _SHORT_TEXT
    if not 0 < length <= _TAG_BYTES_MAX:
        raise EncodingError("wire: not a record")
    tag = raw[2 : 2 + length]
    if not tag.isascii():
        raise EncodingError("wire: not a record")
    return tag.decode()


def spoken_type(raw: bytes, among: tuple[str, ...]) -> Spoken:
    """What `raw` says it is, if that is one of the tags `among` and not too long for it.

    Raises EncodingError. Nothing behind the version is looked at.
    """
    tag = tag_of(raw)
    spoken = SPOKEN.get(tag)
    if spoken is None or tag not in among:
        raise EncodingError(f"wire: {tag!r} is not spoken here")
    if len(raw) > spoken.bytes_max:
        raise EncodingError(f"{tag}: {len(raw)} bytes, at most {spoken.bytes_max}")
    at = 2 + len(tag)
    if raw[at : at + 1] != bytes((spoken.version,)):
        raise EncodingError(f"{tag}: only version {spoken.version} is spoken")
    return spoken


def decode_record(raw: bytes, among: tuple[str, ...]) -> Record:
    """The record that `raw` is the canonical bytes of, one of the tags `among`. EncodingError."""
    return spoken_type(raw, among).decode(raw)
