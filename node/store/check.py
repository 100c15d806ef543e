"""Is a data file of lmdb safe to open? Judged on its bytes, before lmdb maps and trusts them.

`lmdb.verify` walks every page (structure, order, counters, free list); this page adds what it
leaves open: what the meta pages say of the databases, and that they are neighbours, so that no
flipped bit brings an old one back.
Knows nothing of records: their checksums are compared by `lmdb.LmdbStore.check_records`.
"""

import struct
from pathlib import Path
from typing import Final

from node.errors import StoreCorrupt

DATA_FILE: Final = "data.mdb"
_PAGE_HEAD_BYTES: Final = 16
# magic, version, address, map size; per database its flags; last page, transaction number
_META: Final = struct.Struct("=IIQQ4xH42x4xH42xQQ")
_FREE_LIST_FLAGS: Final = 0x08  # integer keys
_RECORDS_FLAGS: Final = 0
_PAGE_SIZE_OFFSET: Final = 24  # of the free list's record, whose pad field holds the page size
_FIRST_FINDINGS: Final = 3


def check_file(folder: Path) -> None:
    """Raises StoreCorrupt, naming the first findings. A file of no bytes is a fresh one."""
    from lmdb import verify  # walks in Python, 200 MB/s; imported only where a file is checked

    path = folder / DATA_FILE
    if path.stat().st_size == 0:
        return
    try:
        findings: list[str] = verify.verify(str(folder))  # type: ignore[no-untyped-call]
    except (verify.VerifyError, struct.error, IndexError, ValueError, OverflowError) as error:
        raise StoreCorrupt(f"{path}: {error}") from error
    findings = findings or _check_metas(path)
    if findings:
        raise StoreCorrupt(f"{path}: " + "; ".join(findings[:_FIRST_FINDINGS]))


def _check_metas(path: Path) -> list[str]:
    with path.open("rb") as file:
        first = file.read(_PAGE_HEAD_BYTES + _META.size)
        (page_bytes,) = struct.unpack_from("=I", first, _PAGE_HEAD_BYTES + _PAGE_SIZE_OFFSET)
        file.seek(page_bytes)
        second = file.read(_PAGE_HEAD_BYTES + _META.size)
    metas = [_META.unpack_from(raw, _PAGE_HEAD_BYTES) for raw in (first, second)]
    if any(meta[4:6] != (_FREE_LIST_FLAGS, _RECORDS_FLAGS) for meta in metas):
        return ["a meta page describes a database of another kind"]
    older, newer = sorted([meta[-1] for meta in metas])
    # Every commit writes the meta page that is two behind: the numbers are always neighbours.
    if newer and newer - older != 1:
        return [f"meta pages of transactions {older} and {newer} are no neighbours"]
    return []
