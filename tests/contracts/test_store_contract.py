"""The rules of the ChainStore port, on every adapter."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.store.lmdb import LmdbStore
from node.store.memory import MemoryStore
from node.store.ports import KEY_BYTES_MAX, ChainStore

ADAPTERS: dict[str, Callable[[Path], ChainStore]] = {
    "memory": lambda folder: MemoryStore(),
    "lmdb": lambda folder: LmdbStore(folder / "chain"),
}


@pytest.fixture(params=sorted(ADAPTERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChainStore]:
    made = ADAPTERS[request.param](tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_written_is_read(store: ChainStore, durable: bool) -> None:
    store.write({b"a": b"1", b"b": b"", b"c": b"x" * 70_000}, durable=durable)
    assert store.get(b"a") == b"1"
    assert store.get(b"b") == b""
    assert store.get_many([b"c", b"nothing", b"a"]) == [b"x" * 70_000, None, b"1"]
    assert store.get(b"nothing") is None


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_later_batches_win_and_none_removes(
    store: ChainStore, *, first: bool, second: bool
) -> None:
    store.write({b"a": b"1", b"b": b"1", b"c": b"1"}, durable=first)
    store.write({b"a": b"2", b"b": None, b"absent": None}, durable=second)
    assert store.get_many([b"a", b"b", b"c", b"absent"]) == [b"2", None, b"1", None]
    assert store.scan(b"") == [(b"a", b"2"), (b"c", b"1")]


def test_a_removed_key_can_come_back(store: ChainStore) -> None:
    for value in (b"1", None, b"2"):
        store.write({b"k": value}, durable=True)
    assert store.scan(b"k") == [(b"k", b"2")]


@pytest.mark.parametrize("durable", [True, False])
def test_scan_is_ordered_and_bounded_by_prefix_after_and_limit(
    store: ChainStore, durable: bool
) -> None:
    keys = [b"\x00", b"a", b"p", b"p\x00", b"p\x00\x00", b"pa", b"pz", b"p\xff", b"p\xff\xff", b"q"]
    store.write({key: b"v" + key for key in reversed(keys)}, durable=durable)
    under = [key for key in keys if key.startswith(b"p")]
    assert [key for key, _ in store.scan(b"p")] == under
    assert [key for key, _ in store.scan(b"")] == keys
    assert store.scan(b"p", after=b"p", limit=2) == [
        (b"p\x00", b"vp\x00"),
        (b"p\x00\x00", b"vp\x00\x00"),
    ]
    assert [key for key, _ in store.scan(b"p", after=b"pb")] == [b"pz", b"p\xff", b"p\xff\xff"]
    assert [key for key, _ in store.scan(b"p\xff")] == [b"p\xff", b"p\xff\xff"]
    assert store.scan(b"p", after=b"q") == []
    assert store.scan(b"p", limit=0) == []
    assert [key for key, _ in store.scan(b"p", after=b"a")] == under


def test_pages_of_a_scan_meet_without_gap(store: ChainStore) -> None:
    keys = [bytes((i,)) * 3 for i in range(50)]
    store.write(dict.fromkeys(keys[::2], b"committed"), durable=True)
    store.write(dict.fromkeys(keys[1::2], b"waiting"), durable=False)
    seen: list[bytes] = []
    while page := store.scan(b"", after=seen[-1] if seen else b"", limit=7):
        seen += [key for key, _ in page]
    assert seen == keys


def test_the_longest_key_is_kept_and_a_longer_one_is_a_bug(store: ChainStore) -> None:
    longest = b"k" * KEY_BYTES_MAX
    store.write({longest: b"v"}, durable=True)
    assert store.get(longest) == b"v"
    for wrong in (b"", longest + b"k"):
        with pytest.raises(AssertionError):
            store.write({wrong: b"v"}, durable=True)


def test_closing_twice_is_closing_once(store: ChainStore) -> None:
    store.write({b"a": b"1"}, durable=False)
    store.close()
    store.close()


BATCHES = st.lists(
    st.tuples(
        st.booleans(),
        st.dictionaries(
            st.binary(min_size=1, max_size=3), st.none() | st.binary(max_size=4), max_size=6
        ),
    ),
    max_size=12,
)


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=BATCHES, prefix=st.binary(max_size=2), after=st.binary(max_size=3))
def test_it_is_a_sorted_dictionary(
    adapter: str,
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[tuple[bool, dict[bytes, bytes | None]]],
    prefix: bytes,
    after: bytes,
) -> None:
    store = ADAPTERS[adapter](tmp_path_factory.mktemp("store"))
    naive: dict[bytes, bytes] = {}
    try:
        for durable, batch in batches:
            store.write(batch, durable=durable)
            for key, value in batch.items():
                naive.pop(key, None) if value is None else naive.update({key: value})
            wanted = [p for p in sorted(naive.items()) if p[0].startswith(prefix) and p[0] > after]
            assert store.scan(prefix, after) == wanted
            assert store.scan(prefix, after, 2) == wanted[:2]
            assert store.get_many(list(batch)) == [naive.get(key) for key in batch]
    finally:
        store.close()
