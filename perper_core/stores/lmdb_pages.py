"""The pages of an lmdb file (format version 1), checked before lmdb maps them.

lmdb trusts its file: a flipped byte in a page can end the process or lose records silently. So at
open the tree is walked here: page numbers and kinds, node bounds, order of keys, ranges of
children, counts of the database record, the free list (no live page in it), meta pages
(consecutive transactions), and each record's checksum. Knows nothing of records beyond their
checksum. Reads only.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from perper_core.errors import Corrupt
from perper_core.limits import LMDB_VERIFY_PAGES_MAX

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_PAGE = struct.Struct("<QHHHH")
_META = struct.Struct("<IIQQ")
_DB = struct.Struct("<IHHQQQQQ")
_TAIL = struct.Struct("<QQ")
_NODE = struct.Struct("<HHHH")
_U64 = struct.Struct("<Q")
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 1, 2, 4, 8
_BIG = 1
_NO_PAGE = (1 << 64) - 1
_FREE_FLAGS, _MAIN_FLAGS = 0x08, 0
_DEPTH_MAX = 32


class _Database(NamedTuple):
    """A database record of a meta page."""

    page_bytes: int
    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int


class _Meta(NamedTuple):
    free: _Database
    main: _Database
    last_page: int
    txn: int


def check_pages(path: Path, stamp_key: bytes) -> None:
    """Raises Corrupt naming the page. A missing or empty file is none; beyond
    LMDB_VERIFY_PAGES_MAX pages only the meta pages are checked, and records when they are read."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _File(data, path).check(stamp_key)


class _File:
    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data = data
        self._path = path
        self._page_bytes = 0
        self._last_page = 0
        self._seen: set[int] = set()

    def _corrupt(self, what: str, page: int) -> Corrupt:
        return Corrupt(f"the store's file is damaged: {what}", path=str(self._path), page=page)

    def check(self, stamp_key: bytes) -> None:
        meta = self._newest_meta()
        if meta is None:
            return
        self._last_page = meta.last_page
        if meta.last_page > LMDB_VERIFY_PAGES_MAX:
            return
        stamp = None
        for page, key, value in self._walk(meta.main):
            if crc32(value[4:], crc32(key)).to_bytes(4, "big") != value[:4]:
                raise self._corrupt("a record's checksum does not fit", page)
            if key == stamp_key:
                stamp = int.from_bytes(value[4:], "big")
        if meta.txn and stamp is not None and stamp != meta.txn:
            raise self._corrupt("the meta page is not the newest", 0)
        self._check_free(meta)

    # ------------------------------------------------------------------ meta pages

    def _newest_meta(self) -> _Meta | None:
        """None: a format that lmdb itself has to judge."""
        if len(self._data) < _PAGE.size + _META.size + _DB.size:
            raise self._corrupt("it ends early", 0)
        magic, version, _, _ = _META.unpack_from(self._data, _PAGE.size)
        if magic != _MAGIC:
            raise self._corrupt("no meta page", 0)
        if version != _VERSION:
            return None
        (self._page_bytes,) = struct.unpack_from("<I", self._data, _PAGE.size + _META.size)
        if self._page_bytes not in (4096, 8192, 16384, 32768) or len(self._data) < (
            2 * self._page_bytes
        ):
            raise self._corrupt("an impossible page size", 0)
        metas = [self._meta(number) for number in (0, 1)]
        newer, older = sorted(metas, key=lambda meta: -meta.txn)
        if newer.txn and (newer.txn - older.txn != 1 or metas[newer.txn & 1] is not newer):
            raise self._corrupt("the meta pages do not follow each other", 0)
        return newer

    def _meta(self, number: int) -> _Meta:
        at = number * self._page_bytes
        page, _, flags, _, _ = _PAGE.unpack_from(self._data, at)
        at += _PAGE.size
        magic, version, _, _ = _META.unpack_from(self._data, at)
        at += _META.size
        free = _Database(*_DB.unpack_from(self._data, at))
        main = _Database(*_DB.unpack_from(self._data, at + _DB.size))
        last_page, txn = _TAIL.unpack_from(self._data, at + 2 * _DB.size)
        if (
            page != number
            or flags != _META_PAGE
            or (magic, version) != (_MAGIC, _VERSION)
            or free.page_bytes != self._page_bytes
            or (free.flags, main.flags) != (_FREE_FLAGS, _MAIN_FLAGS)
        ):
            raise self._corrupt("a meta page", number)
        return _Meta(free, main, last_page, txn)

    # ------------------------------------------------------------------ trees

    def _walk(self, db: _Database) -> Iterator[tuple[int, bytes, bytes]]:
        """(page, key, value) of every record, in order; raises Corrupt where the tree does not fit
        its database record."""
        counted = [0, 0, 0, 0]  # branch, leaf, overflow pages; entries
        if db.root != _NO_PAGE:
            if not 1 <= db.depth <= _DEPTH_MAX:
                raise self._corrupt("an impossible depth", db.root)
            yield from self._walk_page(db, db.root, 1, None, None, counted)
        if counted != [db.branch_pages, db.leaf_pages, db.overflow_pages, db.entries]:
            raise self._corrupt("the counts of a tree", min(db.root, self._last_page))

    def _walk_page(
        self,
        db: _Database,
        number: int,
        level: int,
        low: bytes | None,
        high: bytes | None,
        counted: list[int],
    ) -> Iterator[tuple[int, bytes, bytes]]:
        leaf = level == db.depth
        at, nodes = self._nodes(number, _LEAF if leaf else _BRANCH)
        counted[1 if leaf else 0] += 1
        children: list[tuple[int, bytes | None]] = []
        integers = bool(db.flags & _FREE_FLAGS)
        before = low
        for index, node in enumerate(nodes):
            key, value, child = self._node(number, at, node, leaf, counted)
            order = key[::-1] if integers else key
            if leaf or index:
                first = index == 0  # a child's first key may equal its separator
                if before is not None and (order < before or (order == before and not first)):
                    raise self._corrupt("the order of keys", number)
                if high is not None and order >= high:
                    raise self._corrupt("a key beyond its page's range", number)
                before = order
            if leaf:
                counted[3] += 1
                yield number, key, value
            else:
                children.append((child, order if index else low))
        for index, (child, child_low) in enumerate(children):
            child_high = children[index + 1][1] if index + 1 < len(children) else high
            yield from self._walk_page(db, child, level + 1, child_low, child_high, counted)

    def _take(self, number: int) -> int:
        """Start of a page in the file, which is used by nobody else."""
        at = number * self._page_bytes
        if not 2 <= number <= self._last_page or at + self._page_bytes > len(self._data):
            raise self._corrupt("a page number out of range", number)
        if number in self._seen:
            raise self._corrupt("a page used twice", number)
        self._seen.add(number)
        return at

    def _nodes(self, number: int, kind: int) -> tuple[int, tuple[int, ...]]:
        """Start of a tree's page and the offsets of its nodes."""
        at = self._take(number)
        page, _, flags, lower, upper = _PAGE.unpack_from(self._data, at)
        if page != number or flags != kind:
            raise self._corrupt("a page of another kind or number", number)
        if not _PAGE.size <= lower <= upper <= self._page_bytes or lower % 2:
            raise self._corrupt("a page's bounds", number)
        count = (lower - _PAGE.size) // 2
        nodes = struct.unpack_from(f"<{count}H", self._data, at + _PAGE.size)
        if (min(nodes) if nodes else self._page_bytes) != upper or any(
            node > self._page_bytes - _NODE.size for node in nodes
        ):
            raise self._corrupt("a node out of its page", number)
        return at, nodes

    def _node(
        self, number: int, at: int, node: int, leaf: bool, counted: list[int]
    ) -> tuple[bytes, bytes, int]:
        """Key, and value or child page, of a node."""
        low, high, flags, key_bytes = _NODE.unpack_from(self._data, at + node)
        start = at + node + _NODE.size
        end = start + key_bytes
        if end > at + self._page_bytes:
            raise self._corrupt("a key out of its page", number)
        key = self._data[start:end]
        if not leaf:
            return key, b"", low | high << 16 | flags << 32
        size = low | high << 16
        if flags & ~_BIG:
            raise self._corrupt("a record of another kind", number)
        if not flags & _BIG:
            if end + size > at + self._page_bytes:
                raise self._corrupt("a record out of its page", number)
            return key, self._data[end : end + size], 0
        return key, self._overflow(_U64.unpack_from(self._data, end)[0], size, counted), 0

    def _overflow(self, number: int, size: int, counted: list[int]) -> bytes:
        """A record on pages of its own."""
        at = self._take(number)
        page, _, flags = struct.unpack_from("<QHH", self._data, at)
        (pages,) = struct.unpack_from("<I", self._data, at + 12)
        needed = (_PAGE.size + size - 1) // self._page_bytes + 1
        if page != number or flags != _OVERFLOW or pages != needed:
            raise self._corrupt("an overflow page", number)
        for other in range(number + 1, number + pages):
            self._take(other)
        counted[2] += pages
        return self._data[at + _PAGE.size : at + _PAGE.size + size]

    def _check_free(self, meta: _Meta) -> None:
        """Free pages are in nobody's use, and with the used ones they are all (else lmdb would
        hand out live ones)."""
        free: list[int] = []
        for page, _, value in self._walk(meta.free):
            if len(value) < _U64.size:
                raise self._corrupt("the free list", page)
            (count,) = _U64.unpack_from(value)
            if _U64.size * (count + 1) > len(value):
                raise self._corrupt("the free list", page)
            free += struct.unpack_from(f"<{count}Q", value, _U64.size)
        numbers = set(free)
        if free and not 2 <= min(free) <= max(free) <= self._last_page:
            raise self._corrupt("the free list names a page out of range", max(free))
        if len(numbers) != len(free) or numbers & self._seen:
            raise self._corrupt("the free list names a used page", 0)
        if meta.txn and len(numbers) + len(self._seen) + 2 != meta.last_page + 1:
            raise self._corrupt("pages are missing from the free list", meta.last_page)
