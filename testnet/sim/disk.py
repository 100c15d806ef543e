"""The simulated disk of a node: a chain store and the file of its sign record.

What is synced survives a crash; of what was under way, all, nothing or (of a file) some sectors may
be there. A bit that flips is found by a checksum, as the real store's and file's are (lmdb's own
crash tests run on processes). Knows neither chains nor signatures.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from consensus.block import Block
from consensus.certificates import Certificate
from consensus.messages import Message
from consensus.state import SCAN_ITEMS_MAX, MemoryState, Pair
from node.errors import StoreCorrupt, StoreFull
from node.store.ports import Items

SECTOR_BYTES: Final = 512
# Block, its certificate (a Certificate; null in a chain without votes), messages.
Committed = tuple[Block, Any, tuple[Message, ...]]


class Crash(BaseException):
    """The machine stops in the middle of a write."""


class SimStore:
    """A ChainStore in memory. A batch is there as a whole or not at all, as lmdb promises."""

    def __init__(self) -> None:
        self._tables: dict[int, MemoryState] = {}  # by the first byte of a key: small sorted lists
        self.rotten: dict[bytes, None] = {}  # keys whose bytes are not what was written
        self.full = False
        self.written_bytes = 0

    def open(self) -> None:
        """Every record against its checksum, as the real store does. Raises StoreCorrupt."""
        self._refuse(list(self.rotten))

    def get(self, key: bytes) -> bytes | None:
        if self.rotten:
            self._refuse((key,))
        table = self._tables.get(key[0])
        return None if table is None else table.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = SCAN_ITEMS_MAX) -> list[Pair]:
        assert prefix, "chain data scans one table"
        table = self._tables.get(prefix[0])
        pairs = [] if table is None else table.scan(prefix, after, limit)
        if self.rotten:
            self._refuse([key for key, _ in pairs])
        return pairs

    def write(self, items: Items, *, durable: bool) -> None:
        if self.full:
            raise StoreFull("no space left on the simulated device")
        tables: dict[int, dict[bytes, bytes | None]] = {}
        for key, raw in items.items():
            tables.setdefault(key[0], {})[key] = raw
            self.written_bytes += len(key) + len(raw or b"")
        for first, changes in tables.items():
            self._tables.setdefault(first, MemoryState()).apply(changes)
        if self.rotten:
            for key in items:
                self.rotten.pop(key, None)

    def close(self) -> None:
        return None

    # ---- faults ---------------------------------------------------------------------------------

    def flip(self, place: int) -> None:
        """One bit of record number `place`, modulo their number."""
        pairs = [pair for first in sorted(self._tables) for pair in self._tables[first].items()]
        if pairs:
            self.rotten[pairs[place % len(pairs)][0]] = None

    def copy(self) -> "SimStore":
        """The same bytes on another machine."""
        other = SimStore()
        for first, table in self._tables.items():
            other._tables[first] = MemoryState(dict(table.items()))
        other.rotten = dict(self.rotten)
        return other

    def _refuse(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            if key in self.rotten:
                raise StoreCorrupt(f"the record {key[:40].hex()} has another sum")


class SimFile:
    """One file (node.signfile.Disk). Between syncs a crash may tear it, sector by sector."""

    def __init__(self) -> None:
        self.durable: bytes | None = None
        self.full = False
        self._cached: list[tuple[int, bytes]] = []
        self._left: int | None = None  # operations until the machine stops

    def read(self) -> bytes | None:
        return self._with(self._cached)

    def replace(self, data: bytes) -> None:
        self._operation()
        self.durable, self._cached = data, []

    def write(self, offset: int, data: bytes) -> None:
        if self.full:
            raise OSError(28, "no space left on the simulated device")
        self._cached.append((offset, data))
        self._operation()

    def sync(self) -> None:
        self._operation()
        self.durable, self._cached = self._with(self._cached), []

    def close(self) -> None:
        return None

    # ---- faults ---------------------------------------------------------------------------------

    def stop_after(self, operations: int | None) -> None:
        """The machine stops in the operation that follows so many more: it raises Crash."""
        self._left = operations

    def crash(self, below: Callable[[int], int]) -> None:
        """The power is gone: each sector that was not synced is old or new. `below`: throws."""
        self._left = None
        sectors = []
        for offset, data in self._cached:
            for start in range(0, len(data), SECTOR_BYTES):
                if below(2):
                    sectors.append((offset + start, data[start : start + SECTOR_BYTES]))
        self.durable, self._cached = self._with(sectors), []

    def flip(self, place: int) -> None:
        """One bit at that place, modulo the size."""
        if self.durable:
            raw = bytearray(self.durable)
            raw[place % len(raw)] ^= 1 << place % 8
            self.durable = bytes(raw)

    def copy(self) -> "SimFile":
        other = SimFile()
        other.durable = self.durable
        return other

    def _operation(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise Crash

    def _with(self, writes: Sequence[tuple[int, bytes]]) -> bytes | None:
        if self.durable is None or not writes:
            return self.durable
        raw = bytearray(self.durable)
        for offset, data in writes:
            raw[offset : offset + len(data)] = data
        return bytes(raw)


class Disk:
    """All of a node that survives a crash. `chain`: the committed blocks, decoded, by height."""

    def __init__(self) -> None:
        self.store = SimStore()
        self.signs = SimFile()
        self.chain: list[Committed] = []

    def add(
        self, block: Block, certificate: Certificate | None, messages: tuple[Message, ...]
    ) -> None:
        """A height is durable."""
        assert block.height == len(self.chain) + 1, "heights are committed in order"
        self.chain.append((block, certificate, messages))

    def set_full(self, full: bool) -> None:
        """No room for any write, or room again."""
        self.store.full = self.signs.full = full

    def wipe_chain(self) -> None:
        """A new folder for the chain, the same sign.db: what the store's error says to do."""
        self.store = SimStore()
        self.chain = []

    def copy(self) -> "Disk":
        """As a backup, or a copied folder, has it."""
        other = Disk()
        other.store, other.signs = self.store.copy(), self.signs.copy()
        other.chain = list(self.chain)
        return other
