"""The state map and Merkle lists from docs/wire.md §5-§6: everything is rebuilt each time."""

from collections.abc import Iterable, Mapping, Sequence

from tests.naive.naive_cbor import Bad, hashed, sha

# ---- lists (wire §5) ----------------------------------------------------------------------------


def _largest_power_below(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def _tree(leaves: Sequence[bytes]) -> bytes | None:
    if not leaves:
        return None
    if len(leaves) == 1:
        return hashed("leaf", leaves[0])
    cut = _largest_power_below(len(leaves))
    return hashed("node", _tree(leaves[:cut]), _tree(leaves[cut:]))


def list_root(leaves: Iterable[bytes]) -> bytes:
    every = list(leaves)
    return hashed("root", len(every), _tree(every))


def list_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Siblings from the leaf up."""
    if len(leaves) == 1:
        return []
    cut = _largest_power_below(len(leaves))
    left, right = leaves[:cut], leaves[cut:]
    if index < cut:
        below, beside = list_path(left, index), _tree(right)
    else:
        below, beside = list_path(right, index - cut), _tree(left)
    assert beside is not None
    return [*below, beside]


def _climb(leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes:
    if count == 1:
        if path:
            raise Bad("path too long")
        return hashed("leaf", leaf)
    if not path:
        raise Bad("path too short")
    cut = _largest_power_below(count)
    if index < cut:
        return hashed("node", _climb(leaf, index, cut, path[:-1]), path[-1])
    return hashed("node", path[-1], _climb(leaf, index - cut, count - cut, path[:-1]))


def list_proves(root: bytes, leaf: bytes, *, index: int, count: int, path: Sequence[bytes]) -> bool:
    """Whether the leaf is at `index` of the `count` leaves under `root`."""
    if not 0 <= index < count:
        return False
    try:
        return hashed("root", count, _climb(leaf, index, count, path)) == root
    except Bad:
        return False


# ---- the state map (wire §6) --------------------------------------------------------------------


def _nibble(digest: bytes, level: int) -> int:
    byte = digest[level // 2]
    return byte // 16 if level % 2 == 0 else byte % 16


def _body(entries: list[tuple[bytes, bytes]], level: int) -> bytes:
    """The body of the node over these (key hash, value hash), which stand `level` levels down."""
    bitmap, hashes = 0, b""
    for child in range(16):
        under = [entry for entry in entries if _nibble(entry[0], level) == child]
        if not under:
            continue
        bitmap |= 1 << child
        if len(under) == 1:
            hashes += hashed("leaf", *under[0])
        else:
            hashes += hashed("node", _body(under, level + 1))
    return bitmap.to_bytes(2, "big") + hashes


def _entries(values: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return [(sha(key), sha(value)) for key, value in values.items()]


def map_root(values: Mapping[bytes, bytes]) -> bytes:
    """The root of a map with these entries."""
    return hashed("node", _body(_entries(values), 0))


def map_path(
    values: Mapping[bytes, bytes], key: bytes
) -> tuple[list[bytes], tuple[bytes, bytes] | None]:
    """(bodies from the root down, the entry in an absent key's place)."""
    wanted, under, bodies = sha(key), _entries(values), []
    for level in range(64):
        bodies.append(_body(under, level))
        under = [entry for entry in under if _nibble(entry[0], level) == _nibble(wanted, level)]
        if len(under) < 2:
            break
    other = under[0] if under and under[0][0] != wanted else None
    return bodies, other


def map_proves(
    root: bytes,
    key: bytes,
    value: bytes | None,
    *,
    bodies: Sequence[bytes],
    other: tuple[bytes, bytes] | None,
) -> bool:
    """Whether the path shows that `key` has `value` (None: is absent) under `root`."""
    wanted, expected = sha(key), root
    for level, body in enumerate(bodies):
        if level >= 64 or hashed("node", body) != expected or len(body) < 2:
            return False
        bitmap = int.from_bytes(body[:2], "big")
        present = [child for child in range(16) if bitmap >> child & 1]
        if len(body) != 2 + 32 * len(present):
            return False
        child = _nibble(wanted, level)
        last = level == len(bodies) - 1
        if child not in present:
            return last and value is None and other is None
        place = 2 + 32 * present.index(child)
        expected = body[place : place + 32]
    if not bodies:
        return False
    if value is not None:
        return other is None and expected == hashed("leaf", wanted, sha(value))
    return (
        other is not None
        and other[0] != wanted
        and all(_nibble(other[0], level) == _nibble(wanted, level) for level in range(len(bodies)))
        and expected == hashed("leaf", *other)
    )
