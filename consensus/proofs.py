"""Proof files: what one block of a chain says, checkable with the chain's id alone (protocol §10).

A proof is canonical bytes of [spec, epoch headers with certificates, header, certificate, path,
value] (wire: Proof file). Whoever holds the chain id needs neither a node nor a network: the spec
hashes to the id and gives Table_0; the last header of each epoch, certified by its table, names the
hash of the next table, whose bytes stand beside it; the table of the block's epoch certifies its
header; the path leads from one of the header's roots to the value.

Knows no files and no clock; the steps between tables are `light`'s. Each check that fails names
itself: `InvalidProof.check`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from consensus import merkle
from consensus.block import HEADER_BYTES_MAX, Header
from consensus.certificates import CERTIFICATE_BYTES_MAX, Certificate
from consensus.encoding import HASH, UINT, Schema, blob, list_of, optional, row
from consensus.errors import CheckpointMissed, ConsensusError, EncodingError, InvalidProof
from consensus.ids import BlockId, Checkpoint, Hash, Height, Id, content_id
from consensus.light import (
    Certified,
    check_certified,
    check_checkpoint,
    check_trust,
    skip,
    start,
)
from consensus.messages import MESSAGE_BYTES_MAX, RECEIPT_BYTES_MAX, Message, Receipt
from consensus.signatures import Verifier
from consensus.spec import SPEC_BYTES_MAX, ChainSpec
from consensus.stateproof import (
    BODY_BYTES_MAX,
    NIBBLES,
    STATE_VALUE_BYTES_MAX,
    Proof,
    verify_proof,
)
from consensus.tables import TABLE_BYTES_MAX, Table

PROOF_BYTES_MAX = 64 * 1024 * 1024
EPOCHS_LIMIT = 65_536  # epochs that one proof may span
STATE_KEY_BYTES_MAX = 510
PATH_BYTES_MAX = 64 * 1024
VALUE_BYTES_MAX = max(STATE_VALUE_BYTES_MAX, RECEIPT_BYTES_MAX, MESSAGE_BYTES_MAX)

_LINK = row(blob(HEADER_BYTES_MAX), blob(CERTIFICATE_BYTES_MAX), blob(TABLE_BYTES_MAX))
_PROOF = Schema(
    "proof",
    1,
    [
        blob(SPEC_BYTES_MAX),  # spec
        list_of(_LINK, EPOCHS_LIMIT),  # epochs: last header, its certificate, the next table
        blob(HEADER_BYTES_MAX),  # header
        blob(CERTIFICATE_BYTES_MAX),  # certificate
        blob(PATH_BYTES_MAX),  # path
        optional(blob(VALUE_BYTES_MAX)),  # value; null: the state has no such key
    ],
    max_bytes=PROOF_BYTES_MAX,
)
_STATE_PATH = Schema(
    "state_path",
    1,
    [
        blob(STATE_KEY_BYTES_MAX),  # key
        list_of(blob(BODY_BYTES_MAX), NIBBLES),  # node bodies from the root down
        optional(row(HASH, HASH)),  # the entry in the place of an absent key
    ],
    max_bytes=PATH_BYTES_MAX,
)
_LIST_PATH = [UINT, UINT, list_of(HASH, merkle.PATH_MAX)]  # index, count, hashes from the leaf up
_MESSAGE_PATH = Schema("message_path", 1, _LIST_PATH, max_bytes=PATH_BYTES_MAX)
_RECEIPT_PATH = Schema("receipt_path", 1, _LIST_PATH, max_bytes=PATH_BYTES_MAX)

Anything = TypeVar("Anything")


class EpochLink(NamedTuple):
    """The bytes that lead from one table to the next: the epoch's last header with its
    certificate, and the table of the next epoch."""

    header: bytes
    certificate: bytes
    table: bytes


@dataclass(frozen=True, slots=True)
class StateEntry:
    """After the block, the state had `value` under `key`, or nothing (null)."""

    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Included:
    """The block has this message as its input number `index`, chain-made inputs counted."""

    message: Message
    index: int


@dataclass(frozen=True, slots=True)
class Receipted:
    """The block gave this receipt, its number `receipt.index`."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Proved:
    """What a proof shows, and by which block of which chain."""

    spec: ChainSpec
    header: Header
    certificate: Certificate
    table: Table
    subject: StateEntry | Included | Receipted

    @property
    def height(self) -> Height:
        return self.header.height

    @property
    def block(self) -> BlockId:
        return self.header.id


# ---- building -----------------------------------------------------------------------------------


class Path(NamedTuple):
    """The last two items of a proof."""

    path: bytes
    value: bytes | None


def state_path(key: bytes, proof: Proof) -> Path:
    """The path of a key that is there, or is not."""
    return Path(_STATE_PATH.encode((key, proof.bodies, proof.other)), proof.value)


def message_path(inputs: Sequence[Id], message: Message) -> Path:
    """The path of a message among a block's inputs. ValueError when it is none of them."""
    index = list(inputs).index(Id(message.id))
    hashes = merkle.prove(inputs, index)
    return Path(_MESSAGE_PATH.encode((index, len(inputs), hashes)), message.raw)


def receipt_path(receipts: Sequence[bytes], index: int) -> Path:
    """The path of a block's receipt number `index`. IndexError when there is none."""
    hashes = merkle.prove(receipts, index)
    return Path(_RECEIPT_PATH.encode((index, len(receipts), hashes)), receipts[index])


def build(
    spec: ChainSpec,
    links: Sequence[EpochLink],
    header: Header,
    certificate: Certificate,
    path: Path,
) -> bytes:
    """The bytes of a proof. `links`: one for each epoch before the header's, in order.

    Raises EncodingError where it would exceed its bound. Judges nothing: `verify` does.
    """
    fields = (spec.raw, list(links), header.raw, certificate.raw, path.path, path.value)
    raw = _PROOF.encode(fields)
    if len(raw) > PROOF_BYTES_MAX:
        raise EncodingError(f"proof of {len(raw)} bytes, at most {PROOF_BYTES_MAX}")
    return raw


# ---- verifying ----------------------------------------------------------------------------------


def verify(
    raw: bytes,
    chain_id: bytes,
    *,
    verifier: Verifier,
    clock_ms: int | None = None,
    checkpoint: Checkpoint | None = None,
) -> Proved:
    """What the proof shows about chain `chain_id`. Raises InvalidProof.

    `clock_ms`: the reader's time. With it, a chain whose genesis is older than its `trust_ms` is
    refused, because keys of old tables can rewrite history for free (protocol §10); unless one of
    the proof's headers is the `checkpoint`, a block that is not older and that the reader trusts.
    """
    form = _decode("proof", _PROOF.decode, raw)
    spec_raw, links, header_raw, certificate_raw, path, value = form
    if content_id(spec_raw) != chain_id:
        raise InvalidProof("chain id", "the proof is of another chain")
    spec = _decode("spec", ChainSpec.decode, spec_raw)
    if clock_ms is not None and checkpoint is None:
        start(spec, clock_ms)
    table = spec.genesis_table()
    for link in links:
        table = _next_table(spec, table, EpochLink(*link), verifier)
    header = _decode("header", Header.decode, header_raw)
    certificate = _decode("certificate", Certificate.decode, certificate_raw)
    check_certified(spec, table, Certified(header, certificate), verifier)
    if checkpoint is not None:
        _check_passes(spec, checkpoint, [*[link[0] for link in links], header_raw], clock_ms)
    subject = _subject(header, path, value, verifier)
    return Proved(spec, header, certificate, table, subject)


def _check_passes(
    spec: ChainSpec, checkpoint: Checkpoint, headers: Sequence[bytes], clock_ms: int | None
) -> None:
    """Whether one of the headers is the checkpoint: what follows it is of tables that it names."""
    for header in [Header.decode(raw) for raw in headers]:
        if header.height == checkpoint.height:
            check_checkpoint(checkpoint, header)
            if clock_ms is not None:
                check_trust(spec, header.fields.time_ms, clock_ms, "the checkpoint")
            return
    cause = "not in the proof: use the last block of an epoch before it, or the proof's own"
    raise CheckpointMissed(f"height {checkpoint.height} is {cause}")


def _decode(check: str, decoder: Callable[[bytes], Anything], raw: bytes) -> Anything:
    try:
        return decoder(raw)
    except ConsensusError as error:
        raise InvalidProof(f"{check} form", str(error)) from error


def _next_table(spec: ChainSpec, table: Table, link: EpochLink, verifier: Verifier) -> Table:
    """Table_{e+1} from Table_e (protocol §4 ‡); a failing check names the epoch that ends."""
    header = _decode("epoch header", Header.decode, link.header)
    certificate = _decode("epoch certificate", Certificate.decode, link.certificate)
    block = Certified(header, certificate)
    try:
        return skip(spec, table, block, next_table=link.table, verifier=verifier)
    except InvalidProof as error:
        raise InvalidProof(f"epoch {table.epoch} {error.check}", str(error)) from error


def _subject(
    header: Header, path: bytes, value: bytes | None, verifier: Verifier
) -> StateEntry | Included | Receipted:
    """What the path shows; each of the three kinds of path leads to one root of the header."""
    for schema, read in _PATHS:
        if path[1 : 2 + len(schema.tag)] == bytes((0x60 | len(schema.tag),)) + schema.tag.encode():
            return read(header, _decode("path", schema.decode, path), value, verifier)
    raise InvalidProof("path form", "of no known kind")


Fields = tuple[object, ...]


def _read_state(header: Header, fields: Fields, value: bytes | None, _: Verifier) -> StateEntry:
    key, bodies, other = fields
    assert isinstance(key, bytes) and isinstance(bodies, tuple), "checked by the schema"
    assert other is None or isinstance(other, tuple), "checked by the schema"
    if value is not None and other is not None:
        raise InvalidProof("value", "a value, and another entry in its place")
    proof = Proof(bodies, other, value)
    return StateEntry(key, verify_proof(header.fields.state_root, key, proof))


def _read_list(root: Hash, fields: Fields, leaf: bytes) -> int:
    index, count, hashes = fields
    assert isinstance(index, int) and isinstance(count, int), "checked by the schema"
    assert isinstance(hashes, tuple), "checked by the schema"
    merkle.verify(root, leaf, index, count, hashes)
    return index


def _read_message(
    header: Header, fields: Fields, value: bytes | None, verifier: Verifier
) -> Included:
    message = _decode("message", Message.decode, b"" if value is None else value)
    index = _read_list(header.fields.inputs_root, fields, message.id)
    # The id leaves the signature out, so the path alone does not vouch for it.
    if not verifier.verify(message.sender, message.signed_bytes, message.signature):
        raise InvalidProof("message signature", "does not verify")
    return Included(message, index)


def _read_receipt(header: Header, fields: Fields, value: bytes | None, _: Verifier) -> Receipted:
    leaf = b"" if value is None else value
    index = _read_list(header.fields.receipts_root, fields, leaf)
    receipt = _decode("receipt", Receipt.decode, leaf)
    if (receipt.height, receipt.index) != (header.height, index):
        raise InvalidProof("receipt", "says another height or index")
    return Receipted(receipt)


_Reader = Callable[[Header, Fields, bytes | None, Verifier], StateEntry | Included | Receipted]
_PATHS: tuple[tuple[Schema, _Reader], ...] = (
    (_STATE_PATH, _read_state),
    (_MESSAGE_PATH, _read_message),
    (_RECEIPT_PATH, _read_receipt),
)
