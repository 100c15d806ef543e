"""Targets of what a node reads back from its own disk, beside the files of `fuzz_node`."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from consensus.errors import ConsensusError
from consensus.ids import ChainId, Height, Id, Peer, content_id
from node import folder, signer
from node.core import NodeCore
from node.errors import SignRecordCorrupt, SignRecordOther, SpecUnusable, StoreCorrupt, StoreError
from node.execution.genesis import genesis
from node.store import lmdb
from node.store.chain import ChainData
from node.store.memory import MemoryStore
from node.store.ports import KEY_BYTES_MAX
from perper_core import delivery
from perper_core.errors import Corrupt
from tests.consensus.builders_chain import make_spec
from tests.consensus.builders_keys import peer_key
from tests.fuzz.fuzz_consensus import vectors
from tests.fuzz.fuzz_core import Play
from tests.fuzz.fuzz_target import Target

KEY = b"B" + bytes(8)
PLACE = Path("chain")
CHAIN = ChainId(Id(content_id(b"a chain")))


# ---- the chain's store --------------------------------------------------------------------------


def _rows(raw: bytes) -> dict[bytes, bytes]:
    """Rows framed by lengths: u16 of the key, u32 of the value, both bounded by what is there."""
    rows, at = {}, 0
    while at + 6 <= len(raw):
        key_size = int.from_bytes(raw[at : at + 2], "big")
        size = int.from_bytes(raw[at + 2 : at + 6], "big")
        key = raw[at + 6 : at + 6 + key_size]
        at += 6 + key_size + size
        if 0 < len(key) <= KEY_BYTES_MAX:
            rows[key] = raw[at - size : at]
    return rows


def _framed(rows: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(
        len(key).to_bytes(2, "big") + len(value).to_bytes(4, "big") + key + value
        for key, value in rows
    )


def _store(raw: bytes) -> Any:
    """A chain's data over these rows, asked everything that a start asks."""
    store = MemoryStore()
    store.write(_rows(raw), durable=True)
    spec = make_spec()
    chain = ChainData(store, chain=spec.id, spec=spec.raw)
    chain.tip()
    found = [chain.block(Height(height)) for height in range(3)]
    chain.candidates()
    for block in found:
        if block is not None:
            chain.height_of(block.id)
            chain.receipts(block.height)
    return found


@cache
def _stores() -> tuple[bytes, ...]:
    store, spec = MemoryStore(), make_spec()
    chain = ChainData(store, chain=spec.id, spec=spec.raw)
    empty = _framed(store.scan(b""))
    made = genesis(spec)
    chain.commit_genesis(made.header.raw, made.changes, ())
    header, body = next(iter(vectors("header")())), next(iter(vectors("body")()))
    with_genesis = _framed(store.scan(b""))
    chain.save_candidate(header=header, body=body, bodies={})
    return empty, with_genesis, _framed(store.scan(b""))


def _row(raw: bytes) -> bytes:
    return lmdb._checked(KEY, raw, PLACE)


# ---- files --------------------------------------------------------------------------------------


def _spec(raw: bytes) -> Any:
    with TemporaryDirectory() as place:
        path = Path(place) / folder.SPEC_FILE
        path.write_bytes(raw)
        return folder.read_spec(path)


def _endpoints(raw: bytes) -> Any:
    with TemporaryDirectory() as place:
        (Path(place) / folder.ENDPOINTS_FILE).write_bytes(raw)
        return folder.read_endpoints(Path(place))


def _signer(raw: bytes) -> Any:
    return signer._decoded(raw, CHAIN, Peer(peer_key(1)), "sign.db")


def _signers() -> Iterable[bytes]:
    signed = (signer._Signed(1, 0, 1, bytes(32), bytes(64)),)
    for peer in (1, 2):
        yield signer._STATE.encode((CHAIN, peer_key(peer), (1, 0, 1), b"record", signed))


# ---- the machine --------------------------------------------------------------------------------


@cache
def _machines() -> tuple[bytes, ...]:
    found = []
    for size in (3, 60):
        play = Play(bytes(range(size)) * 2)
        play.run()
        found.append(play.core.snapshot())
    return tuple(found)


TARGETS = [
    Target(
        "chain_store",
        _store,
        (StoreError,),
        lambda: _stores(),
    ),
    Target("store_row", _row, (StoreCorrupt,), lambda: [lmdb._record(KEY, b"value")[1]]),
    Target("spec_file", _spec, (SpecUnusable,), vectors("spec")),
    Target(
        "endpoints",
        _endpoints,
        (),
        lambda: [b'{"api": "http://127.0.0.1:1", "fabric": null}', b"[" * 2000],
    ),
    Target("signer_state", _signer, (SignRecordCorrupt, SignRecordOther), _signers),
    Target(
        "listener_position",
        delivery._decode,
        (Corrupt,),
        lambda: [delivery._encode(7)],
        write=delivery._encode,
    ),
    Target("core_snapshot", NodeCore.restore, (ConsensusError,), lambda: _machines(), inner=True),
]
