"""The data of one chain in a ChainStore: blocks, bodies, receipts, state, and where each lies.

One height is one transaction; a candidate is durable before it is confirmed (protocol §7). The
tree of the state map is not kept: it is built from the state when a node starts. Knows no validity
rules.

Keys (docs/wire.md, Store):
    S ‖ state key             value of the committed state
    B ‖ u64 height            ["stored_block", 1, header, body, certificate]; genesis: no body
    I ‖ block id              u64 height
    M ‖ message id            message as received
    R ‖ u64 height            ["stored_receipts", 1, [receipt, …]]
    T ‖ input id              u64 height ‖ u32 index of its receipt
    C ‖ u64 height ‖ block id ["stored_candidate", 1, header, body]
    E ‖ u64 height            the leaf of the table where a block changed it: links of proofs
    m/chain  m/spec  m/format  m/height
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from consensus.block import BODY_BYTES_MAX, HEADER_BYTES_MAX, INPUTS_LIMIT, Block, Body, Header
from consensus.certificates import CERTIFICATE_BYTES_MAX
from consensus.encoding import Schema, blob, list_of
from consensus.errors import EncodingError
from consensus.ids import BlockId, ChainId, Height, Id, MessageId, content_id, id_text
from consensus.leaves import TABLE_KEY
from consensus.messages import Receipt
from consensus.state import SCAN_ITEMS_MAX, Pair
from node.errors import StoreCorrupt, StoreFormat, StoreOtherChain
from node.store.ports import KEY_BYTES_MAX, ChainStore

FORMAT: Final = 1
STATE, BLOCK, BY_ID, MESSAGE = b"S", b"B", b"I", b"M"
RECEIPTS, INPUT, CANDIDATE, TABLE = b"R", b"T", b"C", b"E"
META_CHAIN, META_SPEC = b"m/chain", b"m/spec"
META_FORMAT, META_HEIGHT = b"m/format", b"m/height"
STATE_KEY_BYTES_MAX: Final = KEY_BYTES_MAX - len(STATE)
RECEIPT_BYTES_MAX: Final = 1024 * 1024
CANDIDATES_MAX: Final = 4096  # one a round while a height stands still: months

_BLOCK = Schema(
    "stored_block",
    1,
    [blob(HEADER_BYTES_MAX), blob(BODY_BYTES_MAX), blob(CERTIFICATE_BYTES_MAX)],
    max_bytes=2 * (HEADER_BYTES_MAX + BODY_BYTES_MAX),
)
_CANDIDATE = Schema(
    "stored_candidate",
    1,
    [blob(HEADER_BYTES_MAX), blob(BODY_BYTES_MAX)],
    max_bytes=2 * (HEADER_BYTES_MAX + BODY_BYTES_MAX),
)
_RECEIPTS = Schema(
    "stored_receipts",
    1,
    [list_of(blob(RECEIPT_BYTES_MAX), INPUTS_LIMIT)],
    max_bytes=1 << 30,
)
# A receipt begins with its list head, tag and version, then the head of the id.
_RECEIPT_START: Final = b"\x8b\x67receipt\x01\x58\x24"
_ID_END: Final = len(_RECEIPT_START) + 36


class StoredBlock(NamedTuple):
    """A committed block as received; `body` and `certificate` are empty at genesis."""

    height: Height
    id: BlockId
    header: bytes
    body: bytes
    certificate: bytes


class StoredCandidate(NamedTuple):
    """A proposal's block that was made durable before a vote for it."""

    height: Height
    id: BlockId
    header: bytes
    body: bytes


class CommittedState:
    """The state after the newest committed block, as a `State` (consensus/state.py)."""

    __slots__ = ("_store",)

    def __init__(self, store: ChainStore) -> None:
        self._store = store

    def get(self, key: bytes) -> bytes | None:
        return self._store.get(STATE + key)

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = SCAN_ITEMS_MAX) -> list[Pair]:
        pairs = self._store.scan(STATE + prefix, STATE + after, limit)
        return [(key[1:], value) for key, value in pairs]

    def items(self) -> Iterator[Pair]:
        """All pairs in key order, read page by page: to build the state map when a node starts."""
        after = b""
        while page := self._store.scan(STATE, after, SCAN_ITEMS_MAX):
            yield from [(key[1:], value) for key, value in page]
            after = page[-1][0]


class ChainData:
    """Reads from any thread; `commit` and `save_candidate` from the one writer thread.

    Raises StoreOtherChain when the store holds another chain, StoreFormat when another version
    wrote it. A new store is given `chain` and `spec` (canonical bytes of the ChainSpec).
    """

    def __init__(self, store: ChainStore, *, chain: ChainId, spec: bytes) -> None:
        self.store = store
        self.state = CommittedState(store)
        self.spec = _opened(store, chain, spec)
        marker = store.get(META_HEIGHT)
        self._height = -1 if marker is None else int.from_bytes(marker, "big")
        self._candidates = {
            (found.height, found.id): frozenset(_stored_body(found.body).messages)
            for found in self.candidates()
        }

    # ---- writing ------------------------------------------------------------------------------

    def save_candidate(self, *, header: bytes, body: bytes, bodies: Mapping[bytes, bytes]) -> None:
        """Make a candidate of a coming height and its message bodies durable (protocol §7).

        `bodies`: message id → raw of those among its messages that are not stored yet. Idempotent.
        """
        height, block = _place_of(header)
        assert height > self._height, "a candidate for a committed height"
        ids = frozenset(Body.decode(body).messages)
        assert len(self._candidates) < CANDIDATES_MAX, "more candidates than rounds can have"
        items: dict[bytes, bytes | None] = {MESSAGE + key: raw for key, raw in bodies.items()}
        items[_candidate_key(height, block)] = _CANDIDATE.encode((header, body))
        self.store.write(items, durable=True)
        self._candidates[height, block] = ids

    def commit(
        self,
        *,
        height: int,
        header: bytes,
        body: bytes,
        certificate: bytes,
        bodies: Mapping[bytes, bytes],
        changes: Mapping[bytes, bytes | None],
        receipts: Sequence[bytes],
    ) -> None:
        """One height in one durable transaction: block, certificate, state, receipts, marker.

        `changes`: state key → value, None removes. `receipts` in the order of the block's inputs.
        A height that is committed already is left as it is (the same block: asserted).
        """
        block = BlockId(content_id(header))
        if height <= self._height:
            assert self.height_of(block) == height, "another block at a committed height"
            return
        assert height == self._height + 1, "a height without its parent"
        saved = self._candidates.get((Height(height), block), frozenset())
        items: dict[bytes, bytes | None] = {STATE + key: raw for key, raw in changes.items()}
        items.update(self._without_losers(height, block))
        items.update([(MESSAGE + key, raw) for key, raw in bodies.items() if key not in saved])
        place = height.to_bytes(8, "big")
        for index, raw in enumerate(receipts):
            items[INPUT + _input_of(raw)] = place + index.to_bytes(4, "big")
        items[BLOCK + place] = _BLOCK.encode((header, body, certificate))
        items[BY_ID + block] = place
        items[RECEIPTS + place] = _RECEIPTS.encode((receipts,))
        items[META_HEIGHT] = place
        table = changes.get(TABLE_KEY)
        if table is not None:
            items[TABLE + place] = table
        self.store.write(items, durable=True)
        self._height = height
        for key in [key for key in self._candidates if key[0] <= height]:
            del self._candidates[key]

    def commit_genesis(
        self, header: bytes, changes: Mapping[bytes, bytes | None], receipts: Sequence[bytes]
    ) -> None:
        """Height 0, which has neither body nor certificate."""
        self.commit(
            height=0,
            header=header,
            body=b"",
            certificate=b"",
            bodies={},
            changes=changes,
            receipts=receipts,
        )

    def _without_losers(self, height: int, winner: BlockId) -> dict[bytes, bytes | None]:
        """Removes candidates up to `height`, and bodies that only the losers among them need."""
        items: dict[bytes, bytes | None] = {}
        needed: set[MessageId] = set()
        lost: set[MessageId] = set()
        for (at, block), ids in self._candidates.items():
            if at > height or block == winner:
                needed |= ids
            else:
                lost |= ids
            if at <= height:
                items[_candidate_key(at, block)] = None
        for message in sorted(lost - needed):
            if self.store.get(INPUT + message) is None:
                items[MESSAGE + message] = None
        return items

    # ---- reading ------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """The newest committed height; -1 before genesis is committed."""
        return self._height

    def tip(self) -> StoredBlock | None:
        """The newest committed block, None before genesis is committed."""
        return self.block(self._height) if self._height >= 0 else None

    def block(self, height: int) -> StoredBlock | None:
        """The committed block of a height."""
        if height < 0:
            return None
        raw = self.store.get(BLOCK + height.to_bytes(8, "big"))
        if raw is None:
            return None
        header, body, certificate = _decoded(_BLOCK, raw)
        return StoredBlock(Height(height), BlockId(content_id(header)), header, body, certificate)

    def height_of(self, block: bytes) -> int | None:
        """The height of a committed block by its id."""
        raw = self.store.get(BY_ID + block)
        return None if raw is None else int.from_bytes(raw, "big")

    def receipts(self, height: int) -> tuple[bytes, ...] | None:
        """The receipts of a height in the order of its inputs."""
        raw = self.store.get(RECEIPTS + height.to_bytes(8, "big")) if height >= 0 else None
        if raw is None:
            return None
        found: tuple[bytes, ...] = _decoded(_RECEIPTS, raw)[0]
        return found

    def table_after(self, height: int) -> bytes | None:
        """The leaf of the table that the block of `height` set: at genesis and the last blocks of
        epochs, None at all others. A proof needs it for every epoch before its own."""
        return self.store.get(TABLE + height.to_bytes(8, "big")) if height >= 0 else None

    def find(self, message: bytes) -> tuple[int, int] | None:
        """(height, index of the receipt) of an included message or chain-made input."""
        raw = self.store.get(INPUT + message)
        return (
            None
            if raw is None
            else (int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:], "big"))
        )

    def messages(self, ids: Sequence[bytes]) -> list[bytes | None]:
        """Bodies of messages as received, of committed blocks and of candidates."""
        return self.store.get_many([MESSAGE + key for key in ids])

    def candidate(self, height: int, block: bytes) -> Block | None:
        """A candidate of a coming height that was made durable."""
        raw = self.store.get(_candidate_key(height, block)) if height >= 0 else None
        if raw is None:
            return None
        header, body = _decoded(_CANDIDATE, raw)
        return Block(Header.decode(header), _stored_body(body))

    def candidates(self) -> list[StoredCandidate]:
        """Candidates of coming heights that were made durable, lowest height first."""
        found = []
        for key, raw in self.store.scan(CANDIDATE, limit=CANDIDATES_MAX):
            header, body = _decoded(_CANDIDATE, raw)
            height = Height(int.from_bytes(key[1:9], "big"))
            found.append(StoredCandidate(height, BlockId(key[9:]), header, body))
        return found


def _opened(store: ChainStore, chain: ChainId, spec: bytes) -> bytes:
    """The spec in the store, written first where there is none."""
    found_format, found_chain, found_spec = store.get_many([META_FORMAT, META_CHAIN, META_SPEC])
    if found_format is None and found_chain is None:
        head = {META_FORMAT: bytes((FORMAT,)), META_CHAIN: chain, META_SPEC: spec}
        store.write(head, durable=True)
        return spec
    if found_format != bytes((FORMAT,)):
        raise StoreFormat(f"the store has format {(found_format or b'').hex()}, not {FORMAT:02x}")
    if found_chain != chain or found_spec is None:
        other = id_text(found_chain) if found_chain else "no chain"
        raise StoreOtherChain(f"the store holds {other}, not {id_text(chain)}")
    return found_spec


def chain_of(store: ChainStore) -> tuple[ChainId, bytes] | None:
    """(chain id, spec) of what a store holds, None for an empty one."""
    chain, spec = store.get_many([META_CHAIN, META_SPEC])
    return None if chain is None or spec is None else (ChainId(Id(chain)), spec)


def _candidate_key(height: int, block: bytes) -> bytes:
    return CANDIDATE + height.to_bytes(8, "big") + block


def _place_of(header: bytes) -> tuple[Height, BlockId]:
    decoded = Header.decode(header)
    return decoded.height, decoded.id


def _input_of(receipt: bytes) -> bytes:
    """The id of the input that a receipt speaks of, without decoding the rest."""
    if receipt.startswith(_RECEIPT_START):
        return receipt[len(_RECEIPT_START) : _ID_END]
    return Receipt.decode(receipt).message


def _stored_body(raw: bytes) -> Body:
    try:
        return Body.decode(raw)
    except EncodingError as error:
        raise StoreCorrupt(f"a stored body has another form: {error}") from error


def _decoded(schema: Schema, raw: bytes) -> Any:
    # The record's checksum held, so a wrong form means that other code wrote it.
    try:
        return schema.decode(raw)
    except EncodingError as error:
        raise StoreCorrupt(f"a stored record has another form: {error}") from error
