"""Flips single bits of an lmdb file and opens it: `python store_flips.py FOLDER SEED COUNT`.

Prints one line per flip, `CLASS RESULT`, where the result is a typed error or `fine`; wrong data is
an assertion. A crash of the interpreter shows as a missing line and a signal.
"""

import random
import struct
import sys
from pathlib import Path

from node.errors import StoreCorrupt
from node.store.lmdb import LmdbStore

PAGE = 4096
META_BYTES = 16 + 136
CLASSES = {8: "meta", 1: "branch", 2: "leaf", 4: "overflow"}


def fill(folder: Path, dice: random.Random) -> dict[bytes, bytes]:
    expected: dict[bytes, bytes] = {}
    store = LmdbStore(folder)
    for round_ in range(24):
        batch: dict[bytes, bytes | None] = {}
        for _ in range(60):
            size = 5000 if round_ % 6 == 0 else 60
            batch[dice.randbytes(20)] = dice.randbytes(size)
        for key in dice.sample(sorted(expected), min(len(expected), 10)):
            batch[key] = None
        store.write(batch, durable=True)
        for key, value in batch.items():
            if value is None:
                del expected[key]
            else:
                expected[key] = value
    store.close()
    return expected


def pages(raw: bytes) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {name: [] for name in CLASSES.values()}
    for page in range(len(raw) // PAGE):
        number, flags = struct.unpack_from("=Q2xH", raw, page * PAGE)
        if number == page and flags in CLASSES:  # others continue an overflow
            found[CLASSES[flags]].append(page)
    return found


def outcome(folder: Path, expected: dict[bytes, bytes]) -> str:
    try:
        store = LmdbStore(folder)
    except StoreCorrupt as error:
        return error.code
    try:
        assert dict(store.scan(b"", limit=10**6)) == expected, "wrong data"
        assert store.get_many(list(expected)) == list(expected.values()), "wrong data"
        store.write({b"new": b"x" * 5000, next(iter(expected)): None}, durable=True)
        return "fine"
    finally:
        store.close()


def main() -> None:
    folder, dice, count = Path(sys.argv[1]), random.Random(int(sys.argv[2])), int(sys.argv[3])
    expected = fill(folder, dice)
    data = folder / "data.mdb"
    raw = data.read_bytes()
    for name, numbers in pages(raw).items():
        for _ in range(count):
            within = META_BYTES if name == "meta" else dice.choice((16, 200, PAGE))
            place = dice.choice(numbers) * PAGE + dice.randrange(within)
            flipped = bytearray(raw)
            flipped[place] ^= 1 << dice.randrange(8)
            data.write_bytes(flipped)
            (folder / "lock.mdb").unlink(missing_ok=True)
            print(name, outcome(folder, expected), flush=True)


if __name__ == "__main__":
    main()
