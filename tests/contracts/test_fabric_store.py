"""The store port's suite (contract 1, 2), on memory, lmdb and the weak store without faults."""

from pathlib import Path
from typing import Any

import pytest

from perper_core.records import CHUNK, HEAD, STATE
from perper_core.stores.lmdb import LmdbStore
from perper_core.stores.memory import MemoryStore
from perper_core.stores.ports import Outcome, Removal, Store, Write, version_of
from tests.contracts.weak_store import CALM, WeakCluster


def record(version: int, text: bytes = b"") -> bytes:
    return version.to_bytes(8, "big") + text


async def check_absent_is_none(store: Store) -> None:
    assert await store.get_many([HEAD + b"a", CHUNK + b"b"]) == [None, None]


async def check_create_only_if_absent(store: Store) -> None:
    key = HEAD + b"a"
    assert await store.cas_many([Write(key, None, record(5, b"x"))]) == [Outcome.OK]
    assert await store.cas_many([Write(key, None, record(9, b"y"))]) == [Outcome.CONFLICT]
    assert await store.get_many([key]) == [record(5, b"x")]


async def check_replace_only_the_expected_version(store: Store) -> None:
    key = HEAD + b"a"
    await store.cas_many([Write(key, None, record(5))])
    assert await store.cas_many([Write(key, 4, record(6))]) == [Outcome.CONFLICT]
    assert await store.cas_many([Write(key, 5, record(6, b"z"))]) == [Outcome.OK]
    assert await store.get_many([key]) == [record(6, b"z")]
    other = HEAD + b"b"
    assert await store.cas_many([Write(other, 5, record(6))]) == [Outcome.CONFLICT]
    assert await store.get_many([other]) == [None]


async def check_each_write_alone(store: Store) -> None:
    a, b, c = HEAD + b"a", CHUNK + b"b", STATE + b"c"
    await store.cas_many([Write(b, None, record(1))])
    writes = [Write(a, None, record(1)), Write(b, None, record(2)), Write(c, None, record(3))]
    assert await store.cas_many(writes) == [Outcome.OK, Outcome.CONFLICT, Outcome.OK]
    assert await store.get_many([c, b, a]) == [record(3), record(1), record(1)]


async def check_remove(store: Store) -> None:
    a, b = HEAD + b"a", HEAD + b"b"
    await store.cas_many([Write(a, None, record(5)), Write(b, None, record(7))])
    assert await store.remove_many([Removal(a, 4), Removal(b, 7)]) == [
        Outcome.CONFLICT,
        Outcome.OK,
    ]
    assert await store.get_many([a, b]) == [record(5), None]
    assert (
        await store.remove_many([Removal(a, None), Removal(b, None), Removal(b, 3)])
        == [Outcome.OK] * 3
    )
    assert await store.get_many([a]) == [None]
    assert await store.scan(HEAD, b"", 10) == []


async def check_scan_in_order_of_keys(store: Store) -> None:
    names = [b"", b"a", b"ab", b"b", b"ba", b"\xff"]
    keys = [HEAD + name for name in names]
    await store.cas_many([Write(key, None, record(1, key)) for key in reversed(keys)])
    await store.cas_many([Write(STATE + b"a", None, record(1)), Write(CHUNK, None, record(1))])
    found = await store.scan(HEAD, b"", 10)
    assert found == [(key, record(1, key)) for key in keys]
    assert [key for key, _ in await store.scan(HEAD, HEAD + b"a", 2)] == keys[2:4]
    assert [key for key, _ in await store.scan(HEAD + b"a", b"", 10)] == keys[1:3]
    assert [key for key, _ in await store.scan(HEAD + b"a", HEAD + b"a", 10)] == [keys[2]]
    assert [key for key, _ in await store.scan(HEAD, HEAD + b"aa", 1)] == [keys[2]]
    assert await store.scan(HEAD, HEAD + b"\xff", 10) == []


async def check_watch_hints(store: Store) -> None:
    hints: list[str] = []
    unwatch = store.watch(HEAD + b"a", lambda: hints.append("a"))
    await store.cas_many([Write(HEAD + b"b", None, record(1))])
    assert hints == []
    await store.cas_many([Write(HEAD + b"ab", None, record(1))])
    assert hints == ["a"]
    await store.remove_many([Removal(HEAD + b"ab", None)])
    assert hints == ["a", "a"]
    unwatch()
    await store.cas_many([Write(HEAD + b"ab", None, record(1))])
    assert hints == ["a", "a"]


async def check_large_and_many(store: Store) -> None:
    writes = [
        Write(CHUNK + n.to_bytes(4, "big"), None, record(n + 1, bytes([n % 251]) * (n * 97)))
        for n in range(1024)
    ]
    assert await store.cas_many(writes) == [Outcome.OK] * 1024
    found = await store.get_many([write.key for write in writes])
    assert found == [write.raw for write in writes]
    assert [version_of(raw) for raw in found if raw is not None] == list(range(1, 1025))


CHECKS = [
    check_absent_is_none,
    check_create_only_if_absent,
    check_replace_only_the_expected_version,
    check_each_write_alone,
    check_remove,
    check_scan_in_order_of_keys,
    check_watch_hints,
    check_large_and_many,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", ["memory", "lmdb", "weak"])
async def test_store(kind: str, check: Any, tmp_path: Path) -> None:
    store: Store
    match kind:
        case "memory":
            store = MemoryStore()
        case "lmdb":
            store = LmdbStore(tmp_path)
        case _:
            store = WeakCluster().store(CALM)
    try:
        await check(store)
    finally:
        await store.close()


class IgnoresVersions(MemoryStore):
    async def cas_many(self, writes: Any) -> list[Outcome]:
        for key, _, raw in writes:
            found = self._records.get(key)
            await super().cas_many([Write(key, None if found is None else version_of(found), raw)])
        return [Outcome.OK] * len(writes)


class AllOrNothing(MemoryStore):
    async def cas_many(self, writes: Any) -> list[Outcome]:
        for key, expected, _ in writes:
            found = self._records.get(key)
            if (None if found is None else version_of(found)) != expected:
                return [Outcome.CONFLICT] * len(writes)
        return await super().cas_many(writes)


class RemovesAnything(MemoryStore):
    async def remove_many(self, removals: Any) -> list[Outcome]:
        return await super().remove_many([Removal(key, None) for key, _ in removals])


class ScansInclusive(MemoryStore):
    async def scan(self, index: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return await super().scan(index, after[:-1] if after else after, limit)


class NeverHints(MemoryStore):
    def watch(self, prefix: bytes, hint: Any) -> Any:
        return lambda: None


@pytest.mark.parametrize(
    "broken", [IgnoresVersions, AllOrNothing, RemovesAnything, ScansInclusive, NeverHints]
)
async def test_the_suite_fails_a_broken_store(broken: type[MemoryStore]) -> None:
    failed = []
    for check in CHECKS:
        try:
            await check(broken())
        except AssertionError:
            failed.append(check.__name__)
    assert failed
