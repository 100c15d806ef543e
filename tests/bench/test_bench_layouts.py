"""The layouts that the state map's figure compares: the same roots as trees built from nothing."""

import random
from binascii import hexlify
from hashlib import sha256

import pytest

from bench.layouts.binary import Binary
from bench.layouts.wide import Wide

Entries = dict[bytes, bytes]


def leaf(key_hash: bytes, value: bytes) -> bytes:
    return sha256(
        b"\x83\x64leaf\x58\x20" + key_hash + b"\x58\x20" + sha256(value).digest()
    ).digest()


def binary_root(entries: Entries) -> bytes:
    rows = sorted((sha256(key).digest(), value) for key, value in entries.items())

    def digest(rows: list[tuple[bytes, bytes]], bit: int) -> bytes:
        if len(rows) == 1:
            return b"\x58\x20" + leaf(*rows[0])
        sides: tuple[list[tuple[bytes, bytes]], ...] = ([], [])
        for row in rows:
            sides[row[0][bit // 8] >> (7 - bit % 8) & 1].append(row)
        if not all(sides):
            return digest(rows, bit + 1)
        number = bytes([bit]) if bit < 24 else bytes([0x18, bit])
        left, right = (digest(side, bit + 1) for side in sides)
        return b"\x58\x20" + sha256(b"\x84\x64node" + number + left + right).digest()

    return sha256(digest(rows, 0)).digest()


def wide_root(entries: Entries, fanout: int) -> bytes:
    def path(key_hash: bytes) -> list[int]:
        return list(key_hash) if fanout == 256 else [int(c, 16) for c in hexlify(key_hash).decode()]

    head = b"\x91" if fanout == 16 else b"\x99\x01\x01"

    def node(rows: list[tuple[bytes, bytes]], depth: int) -> bytes:
        parts = [head + b"\x64node"]
        for place in range(fanout):
            here = [row for row in rows if path(row[0])[depth] == place]
            if not here:
                parts.append(b"\xf6")
            elif len(here) == 1:
                parts.append(b"\x58\x20" + leaf(*here[0]))
            else:
                parts.append(b"\x58\x20" + node(here, depth + 1))
        return sha256(b"".join(parts)).digest()

    return node([(sha256(key).digest(), value) for key, value in entries.items()], 0)


@pytest.mark.parametrize("layout", ["binary", "16", "256"])
def test_a_layout_has_the_root_of_its_entries(layout: str) -> None:
    dice = random.Random(layout)
    tree = Binary() if layout == "binary" else Wide(int(layout))
    pool = [b"key %d" % number for number in range(150)]
    entries: Entries = {}
    for _ in range(12):
        changes = {dice.choice(pool): dice.randbytes(3) for _ in range(dice.choice((1, 2, 40)))}
        entries |= changes
        expected = binary_root(entries) if layout == "binary" else wide_root(entries, int(layout))
        assert tree.update(changes) == expected


def test_a_wider_tree_has_the_longer_proof() -> None:
    pool = {b"key %d" % number: b"" for number in range(2_000)}
    sizes = []
    for tree in (Binary(), Wide(16), Wide(256)):
        tree.update(pool)
        sizes.append(tree.proof_bytes(b"key 7"))
    assert 64 < sizes[0] < sizes[1] < sizes[2]
