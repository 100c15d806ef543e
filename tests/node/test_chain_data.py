"""Chain data on a store: one height one transaction, candidates, and what a restart finds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consensus.block import Body, Header, HeaderFields
from consensus.ids import (
    ID_BYTES,
    BlockId,
    ChainId,
    Epoch,
    Hash,
    Height,
    Id,
    MessageId,
    Round,
    Slot,
    content_id,
)
from consensus.messages import Receipt
from node.errors import Exit, StoreCorrupt, StoreFormat, StoreOtherChain
from node.store.chain import BLOCK, META_FORMAT, ChainData, chain_of
from node.store.lmdb import LmdbStore
from node.store.memory import MemoryStore
from node.store.ports import ChainStore, Items

SPEC = b"the spec"
CHAIN = ChainId(content_id(SPEC))
ZERO = Hash(bytes(32))


def message(name: str) -> MessageId:
    return MessageId(content_id(name.encode()))


def header(height: int, salt: int = 0) -> Header:
    return Header.of(
        HeaderFields(
            CHAIN,
            Height(height),
            Round(0),
            Epoch(0),
            BlockId(content_id(b"parent")),
            None,
            Slot(0),
            0,
            1000 + salt,
            None,
            *([ZERO] * 7),
            0,
            (),
            None,
        )
    )


def body(*ids: MessageId) -> Body:
    return Body.of(parent_certificate=b"", facts=(), chain_inputs=(), messages=ids)


def receipt(of: Id, index: int, height: int = 1) -> bytes:
    return Receipt(of, height, index, "ok", "", b"", 124, (), ()).encode()


def raws(*names: str) -> dict[bytes, bytes]:
    return {message(name): b"raw " + name.encode() for name in names}


@pytest.fixture(params=["memory", "lmdb"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], ChainData]]:
    """Opens the chain's data, again and again."""
    held: list[ChainStore] = [MemoryStore()]

    def open_() -> ChainData:
        if request.param == "lmdb":
            held[0].close()
            held[0] = LmdbStore(tmp_path)
        return ChainData(held[0], chain=CHAIN, spec=SPEC)

    yield open_
    held[0].close()


def commit_genesis(data: ChainData) -> Header:
    genesis = header(0)
    data.commit(
        height=0,
        header=genesis.raw,
        body=b"",
        certificate=b"",
        bodies={},
        changes={b"a/1": b"100", b"c/table": b"table"},
        receipts=(),
    )
    return genesis


def test_an_empty_store_has_a_chain_but_no_height(reopened: Callable[[], ChainData]) -> None:
    data = reopened()
    assert (data.height, data.tip(), data.candidates()) == (-1, None, [])
    assert data.spec == SPEC
    assert chain_of(data.store) == (CHAIN, SPEC)
    assert chain_of(MemoryStore()) is None


def test_a_committed_height_is_all_there_after_reopening(
    reopened: Callable[[], ChainData],
) -> None:
    data = reopened()
    commit_genesis(data)
    one, inside = header(1), body(message("x"), message("y"))
    receipts = (receipt(message("x"), 0), receipt(message("y"), 1))
    data.commit(
        height=1,
        header=one.raw,
        body=inside.raw,
        certificate=b"certificate",
        bodies=raws("x", "y"),
        changes={b"a/1": b"90", b"a/2": b"10", b"c/table": None},
        receipts=receipts,
    )
    data = reopened()
    tip = data.tip()
    assert tip is not None
    assert data.height == 1
    assert tip == (1, one.id, one.raw, inside.raw, b"certificate")
    assert data.block(0) == (0, header(0).id, header(0).raw, b"", b"")
    assert data.block(2) is None and data.block(-1) is None
    assert data.height_of(one.id) == 1
    assert data.height_of(header(5).id) is None
    assert data.receipts(1) == receipts and data.receipts(0) == () and data.receipts(2) is None
    assert data.find(message("y")) == (1, 1)
    assert data.find(message("z")) is None
    assert data.messages([message("y"), message("z")]) == [b"raw y", None]
    assert data.state.get(b"a/1") == b"90" and data.state.get(b"c/table") is None
    assert data.state.scan(b"a/") == [(b"a/1", b"90"), (b"a/2", b"10")]
    assert data.state.scan(b"a/", after=b"a/1", limit=1) == [(b"a/2", b"10")]
    assert list(data.state.items()) == [(b"a/1", b"90"), (b"a/2", b"10")]


def test_tables_stay_where_a_block_set_them(reopened: Callable[[], ChainData]) -> None:
    data = reopened()
    commit_genesis(data)
    for height, changes in ((1, {b"a/1": b"90"}), (2, {b"c/table": b"next"}), (3, {})):
        data.commit(
            height=height,
            header=header(height).raw,
            body=body().raw,
            certificate=b"c",
            bodies={},
            changes=changes,
            receipts=(),
        )
    data = reopened()
    assert [data.table_after(height) for height in range(-1, 5)] == [
        None,
        b"table",
        None,
        b"next",
        None,
        None,
    ]


def test_all_of_a_large_state_is_iterated(reopened: Callable[[], ChainData]) -> None:
    data = reopened()
    state = {b"g/%05d" % i: b"v%d" % i for i in range(3000)}
    data.commit(
        height=0,
        header=header(0).raw,
        body=b"",
        certificate=b"",
        bodies={},
        changes=state,
        receipts=(),
    )
    assert dict(data.state.items()) == state


def test_a_height_is_committed_once(reopened: Callable[[], ChainData]) -> None:
    data = reopened()
    genesis = commit_genesis(data)
    nothing: dict[bytes, bytes] = {}
    same = {"body": b"", "certificate": b"", "bodies": nothing, "changes": {b"a/1": b"wrong"}}
    data.commit(height=0, header=genesis.raw, receipts=(), **same)  # type: ignore[arg-type]
    assert data.state.get(b"a/1") == b"100"
    with pytest.raises(AssertionError, match="another block"):
        data.commit(height=0, header=header(0, 7).raw, receipts=(), **same)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="without its parent"):
        data.commit(height=2, header=header(2).raw, receipts=(), **same)  # type: ignore[arg-type]


def test_candidates_survive_and_losers_go_with_what_only_they_need(
    reopened: Callable[[], ChainData],
) -> None:
    data = reopened()
    commit_genesis(data)
    winner, loser, later = header(1, 1), header(1, 2), header(2, 3)
    of_winner, of_loser = (
        body(message("both"), message("won")),
        body(message("both"), message("lost")),
    )
    of_later = body(message("lost too"), message("late"))
    of_loser = body(*of_loser.messages, message("lost too"))
    data.save_candidate(header=winner.raw, body=of_winner.raw, bodies=raws("both", "won"))
    data.save_candidate(header=loser.raw, body=of_loser.raw, bodies=raws("lost", "lost too"))
    data.save_candidate(header=later.raw, body=of_later.raw, bodies=raws("late"))

    data = reopened()
    assert {found.id for found in data.candidates()} == {winner.id, loser.id, later.id}
    data.commit(
        height=1,
        header=winner.raw,
        body=of_winner.raw,
        certificate=b"c",
        bodies={},
        changes={},
        receipts=(receipt(message("both"), 0), receipt(message("won"), 1)),
    )
    data = reopened()
    assert data.candidates() == [(2, later.id, later.raw, of_later.raw)]
    kept = raws("both", "won", "lost too", "late")
    assert data.messages(list(kept)) == list(kept.values())
    assert data.messages([message("lost")]) == [None]


def test_a_body_of_an_included_message_stays_though_a_loser_lists_it(
    reopened: Callable[[], ChainData],
) -> None:
    data = reopened()
    commit_genesis(data)
    one, two, loser = header(1), header(2), header(2, 9)
    data.commit(
        height=1,
        header=one.raw,
        body=body(message("x")).raw,
        certificate=b"c",
        bodies=raws("x"),
        changes={},
        receipts=(receipt(message("x"), 0),),
    )
    data.save_candidate(header=loser.raw, body=body(message("x")).raw, bodies={})
    data.commit(
        height=2,
        header=two.raw,
        body=body().raw,
        certificate=b"c",
        bodies={},
        changes={},
        receipts=(),
    )
    assert data.messages([message("x")]) == [b"raw x"]


def test_another_chains_data_is_refused_and_unchanged(reopened: Callable[[], ChainData]) -> None:
    data = reopened()
    commit_genesis(data)
    with pytest.raises(StoreOtherChain, match="the store holds b") as caught:
        ChainData(data.store, chain=ChainId(content_id(b"other")), spec=b"other")
    assert caught.value.exit == Exit.CONFIG
    assert chain_of(data.store) == (CHAIN, SPEC)


def test_another_format_is_refused(reopened: Callable[[], ChainData]) -> None:
    data = reopened()
    data.store.write({META_FORMAT: b"\x02"}, durable=True)
    with pytest.raises(StoreFormat, match="format 02"):
        ChainData(data.store, chain=CHAIN, spec=SPEC)


def test_a_record_of_another_form_is_corrupt() -> None:
    data = ChainData(MemoryStore(), chain=CHAIN, spec=SPEC)
    commit_genesis(data)
    data.store.write({BLOCK + bytes(8): b"\x81\x00"}, durable=True)
    with pytest.raises(StoreCorrupt, match="another form"):
        data.block(0)


class CountingStore(MemoryStore):
    """Counts writes, to show that a height is one transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bool] = []

    def write(self, items: Items, *, durable: bool) -> None:
        self.writes.append(durable)
        super().write(items, durable=durable)


def test_one_height_is_one_durable_transaction() -> None:
    store = CountingStore()
    data = ChainData(store, chain=CHAIN, spec=SPEC)
    store.writes.clear()
    commit_genesis(data)
    data.save_candidate(header=header(1).raw, body=body(message("x")).raw, bodies=raws("x"))
    assert store.writes == [True, True]


def test_the_id_of_a_receipt_is_read_without_decoding() -> None:
    found = receipt(message("x"), 3)
    assert len(message("x")) == ID_BYTES
    data = ChainData(MemoryStore(), chain=CHAIN, spec=SPEC)
    data.commit(
        height=0,
        header=header(0).raw,
        body=b"",
        certificate=b"",
        bodies={},
        changes={},
        receipts=(receipt(message("w"), 0), found),
    )
    assert data.find(message("x")) == (0, 1)
    assert Receipt.decode(found).message == message("x")
