"""Changes of bytes for fuzzing: bits, lengths, splices, and of CBOR items as items.

Everything is drawn from one `Random`, so a seed repeats a run.
"""

from collections.abc import Callable, Sequence
from random import Random

GROWTH_MAX = 4096  # bytes that one change may add
CHANGES_MAX = 4
NUMBERS = [0, 1, 23, 24, 127, 128, 255, 256, 65535, 65536, 2**31, 2**32, 2**53, 2**63, 2**64 - 1]
WORDS = [
    *[b"\xf6", b"\xf5", b"\x80", b"\xa0", b"\x40", b"\x60", b"\xff", b"\x9f", b"\x5f", b"\xd8\x2a"],
    *[b"\xfb" + bytes(8), b"\xf9\x7e\x00", b"\x1b" + b"\xff" * 8, b"\x9b" + b"\x7f" * 8],
    *[b"\x5b" + b"\x7f" * 8, b"\x81" * 40, b"\x9f" * 200, b"\x01\x71\x12\x20" + bytes(32)],
    *[b"null", b"true", b"[]", b"{}", b'"', b"\\u0000", b"1e999", b"NaN", b"-", b"0x", b"=", b"\n"],
    *["\u0065\u0301".encode(), b"\xed\xa0\x80", b"\xc0\x80", b"[" * 60, b"9" * 400, b"\x00"],
]
_Change = Callable[[Random, bytearray, Sequence[bytes]], None]


def head(major: int, number: int, *, size: int | None = None) -> bytes:
    """A CBOR head; with `size` in so many bytes, shortest or not."""
    if size is None:
        size = next(each for each in (0, 1, 2, 4, 8) if number < (24 if not each else 256**each))
    if size == 0:
        return bytes([major << 5 | number & 31])
    code = {1: 24, 2: 25, 4: 26, 8: 27}[size]
    return bytes([major << 5 | code]) + int(number % 256**size).to_bytes(size, "big")


def items(raw: bytes, limit: int = 400) -> list[tuple[int, int, int]]:
    """(start, end of the head, end) of CBOR items, as far as the bytes look like CBOR.

    Byte strings are looked into as well: records lie in records.
    """
    found: list[tuple[int, int, int]] = []

    def walk(at: int, stop: int, depth: int) -> int:
        if at >= stop or len(found) >= limit or depth > 12:
            raise ValueError
        major, low = raw[at] >> 5, raw[at] & 31
        size = {24: 1, 25: 2, 26: 4, 27: 8}.get(low, 0)
        if low > 27 or at + 1 + size > stop:
            raise ValueError
        number = int.from_bytes(raw[at + 1 : at + 1 + size], "big") if size else low
        place, end = len(found), at + 1 + size
        found.append((at, end, end))
        start = end
        if major in (2, 3):
            end += number
            if end > stop:
                raise ValueError
            if major == 2 and number > 8 and raw[start] >> 5 == 4:
                _try(start, end, depth)
        elif major in (4, 5):
            for _ in range(number * (2 if major == 5 else 1)):
                end = walk(end, stop, depth + 1)
        found[place] = (at, start, end)
        return end

    def _try(start: int, stop: int, depth: int) -> None:
        kept = len(found)
        try:
            walk(start, stop, depth + 1)
        except ValueError:
            del found[kept:]

    _try(0, len(raw), 0)
    return found


# ---- single changes -----------------------------------------------------------------------------


def _flip(random: Random, raw: bytearray, others: Sequence[bytes]) -> None:
    if raw:
        raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)


def _set(random: Random, raw: bytearray, others: Sequence[bytes]) -> None:
    if raw:
        raw[random.randrange(len(raw))] = random.choice([0, 1, 0x7F, 0x80, 0xFF, 0x20, 0x5F])


def _cut(random: Random, raw: bytearray, others: Sequence[bytes]) -> None:
    start = random.randint(0, len(raw))
    del raw[start : start + random.choice([1, 2, 4, 8, 32, len(raw)])]


def _insert(random: Random, raw: bytearray, others: Sequence[bytes]) -> None:
    piece = random.choice([random.randbytes(random.randint(1, 9)), random.choice(WORDS)])
    place = random.randint(0, len(raw))
    raw[place:place] = piece


def _number(random: Random, raw: bytearray, others: Sequence[bytes]) -> None:
    """A field of 1, 2, 4 or 8 bytes as a length would be."""
    size = random.choice([1, 2, 4, 8])
    if len(raw) >= size:
        place = random.randint(0, len(raw) - size)
        value = random.choice([*NUMBERS, len(raw), len(raw) + 1, len(raw) - 1]) % 256**size
        raw[place : place + size] = value.to_bytes(size, random.choice(["big", "little"]))


def _repeat(random: Random, raw: bytearray, others: Sequence[bytes]) -> None:
    start = random.randint(0, len(raw))
    piece = bytes(raw[start : start + random.choice([1, 8, 64])])
    raw[start:start] = piece * min(random.choice([1, 2, 40]), GROWTH_MAX // max(1, len(piece)))


def _splice(random: Random, raw: bytearray, others: Sequence[bytes]) -> None:
    other = random.choice(others) if others else b""
    start = random.randint(0, len(other))
    piece = other[start : start + random.choice([4, 36, 200, len(other)])][:GROWTH_MAX]
    place = random.randint(0, len(raw))
    raw[place : place + random.choice([0, len(piece)])] = piece


def _told(raw: bytearray, start: int, body: int) -> int:
    """The number in a head."""
    return int.from_bytes(raw[start + 1 : body], "big") if body - start > 1 else raw[start] & 31


def _item(random: Random, raw: bytearray, others: Sequence[bytes]) -> None:
    """One CBOR item: gone, doubled, another, another number, another length, not the shortest."""
    found = items(bytes(raw))
    if not found:
        return _insert(random, raw, others)
    start, body, end = random.choice(found)
    major = raw[start] >> 5
    number = random.choice(NUMBERS)
    what = random.randrange(7)
    if what == 0:
        del raw[start:end]
    elif what == 1:
        raw[start:start] = raw[start:end][:GROWTH_MAX]
    elif what == 2:
        source = bytes(random.choice(others)) if others else bytes(raw)
        pieces = items(source)
        if pieces:
            first, _, last = random.choice(pieces)
            raw[start:end] = source[first:last][:GROWTH_MAX]
    elif what == 3:
        raw[start:end] = head(random.choice([0, 1]), number)
    elif what == 4:
        raw[start:body] = head(major, number)
    elif what == 5:
        small = (
            int.from_bytes(raw[start + 1 : body], "big") if body - start > 1 else raw[start] & 31
        )
        raw[start:body] = head(major, small, size=random.choice([1, 2, 4, 8]))
    else:
        raw[start:end] = random.choice(WORDS)
    return None


def _length(random: Random, raw: bytearray, others: Sequence[bytes]) -> None:
    """A list or string with one more or one less, its head right: another canonical shape."""
    found = [each for each in items(bytes(raw)) if raw[each[0]] >> 5 in (2, 3, 4)]
    if not found:
        return _repeat(random, raw, others)
    start, body, end = random.choice(found)
    major = raw[start] >> 5
    if major == 4:
        inner, top = items(bytes(raw[start:end]))[1:], _told(raw, start, body)
        if not inner or random.random() < 0.5:
            raw[start:end] = head(4, top + 1) + raw[body:end] + random.choice(WORDS)
        else:
            first = inner[0]
            raw[start:end] = head(4, max(0, top - 1)) + raw[start + first[2] : end]
    else:
        data = bytes(raw[body:end])
        data = data[:-1] if data and random.random() < 0.5 else data + random.randbytes(1)
        raw[start:end] = head(major, len(data)) + data
    return None


_CHANGES: list[_Change] = [
    *[_flip, _set, _cut, _insert, _number, _repeat, _splice],
    *[_item] * 6,
    *[_length] * 3,
]


def mutated(random: Random, corpus: Sequence[bytes], bound: int) -> bytes:
    """One input of the corpus after a few changes; at most `bound` bytes."""
    raw = bytearray(random.choice(corpus))
    for _ in range(random.randint(1, CHANGES_MAX)):
        random.choice(_CHANGES)(random, raw, corpus)
    return bytes(raw[:bound])
