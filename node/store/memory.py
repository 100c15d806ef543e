"""A ChainStore in memory: for tests, simulations and nodes that forget. Nothing survives it."""

from collections.abc import Sequence

from consensus.state import SCAN_ITEMS_MAX, MemoryState, Pair
from node.store.ports import KEY_BYTES_MAX, Items


class MemoryStore:
    """Durable as long as the object lives."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = MemoryState()

    def get(self, key: bytes) -> bytes | None:
        return self._state.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        get = self._state.get
        return [get(key) for key in keys]

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = SCAN_ITEMS_MAX) -> list[Pair]:
        return self._state.scan(prefix, after, limit)

    def write(self, items: Items, *, durable: bool) -> None:
        assert all(0 < len(key) <= KEY_BYTES_MAX for key in items), "a key of no or too many bytes"
        self._state.apply(items)

    def close(self) -> None:
        return None
