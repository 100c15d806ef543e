"""A process that writes numbered batches to an lmdb store until it is killed or the disk is full.

`python store_writer.py FOLDER FIRST [LIMIT_BYTES]` prints the number of each durable batch.
"""

import resource
import sys
from pathlib import Path

KEYS = 40
VALUE_BYTES = 2000


def batch(number: int) -> dict[bytes, bytes | None]:
    """What batch `number` writes: some keys set, some removed, and the number."""
    items: dict[bytes, bytes | None] = {}
    for i in range(KEYS):
        key = f"key{(number * 7 + i * 3) % 100:03}".encode()
        items[key] = None if (number + i) % 5 == 0 else b"%d " % number * (VALUE_BYTES // 8)
    items[b"number"] = b"%d" % number
    return items


def is_durable(number: int) -> bool:
    return number % 3 == 0


def after(number: int) -> dict[bytes, bytes]:
    """All there is after batches 0..number."""
    state: dict[bytes, bytes] = {}
    for n in range(number + 1):
        for key, value in batch(n).items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
    return state


def main() -> None:
    from node.errors import NodeError
    from node.store.lmdb import LmdbStore

    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    store = LmdbStore(folder, map_bytes=1 << 20)
    if len(sys.argv) > 3:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), hard))
    while True:
        grown = {b"grown%06d" % number: b"g" * 9000} if len(sys.argv) > 3 else {}
        try:
            store.write({**batch(number), **grown}, durable=is_durable(number))
        except NodeError as error:
            print(f"{error.code} {error.exit.value}", flush=True)
            break
        if is_durable(number):
            print(number, flush=True)
        number += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # room again: the same store goes on
    assert store.get(b"number") == b"%d" % (number - 1), "a batch that waited was lost"
    store.write({b"room": b"again"}, durable=True)
    print(number - 1, flush=True)
    store.close()


if __name__ == "__main__":
    main()
