"""Dice that every run can throw again: sha256 of a seed and a counter (layout: dice).

Whatever in a pure module needs chance takes a `Dice` as an argument. The seed decides how secret
the throws are: a validator's comes from its operating system, a simulation's from its seed number.
Knows nothing of polls or proposers.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import TypeVar

from consensus.encoding import HASH, UINT, H, Schema, encode, head

Item = TypeVar("Item")

SEED_BYTES = 32
DICE_BYTES_MAX = 128
UINT_LIMIT = 2**64  # a throw is one word of 64 bits
_WORD_BYTES = 8
_BLOCK_WORDS = 4  # a sha256 holds four words

_STATE = Schema("dice", 1, [HASH, UINT], max_bytes=DICE_BYTES_MAX)


class Dice:
    """A stream of unbiased throws. Its state is (seed, words thrown), so a copy goes on alike.

    Word n of the stream is the big-endian 8 bytes at 8·(n mod 4) of H("dice", seed, n // 4).
    """

    __slots__ = ("_block", "_prefix", "_seed", "_thrown")

    def __init__(self, seed: bytes, *, thrown: int = 0) -> None:
        """`seed`: 32 bytes. `thrown`: words of the stream already used."""
        assert len(seed) == SEED_BYTES, "a dice seed has 32 bytes"
        self._seed = bytes(seed)
        self._thrown = thrown
        # H("dice", seed, n) without encoding all of it again: n comes last.
        self._prefix = encode(["dice", self._seed, 0])[:-1]
        self._block = self._block_of(thrown // _BLOCK_WORDS)

    def _block_of(self, number: int) -> bytes:
        return sha256(self._prefix + head(0, number)).digest()

    @classmethod
    def restore(cls, raw: bytes) -> "Dice":
        """The dice whose `snapshot` is `raw`. Raises EncodingError."""
        seed, thrown = _STATE.decode(raw)
        return cls(seed, thrown=thrown)

    def snapshot(self) -> bytes:
        """Canonical bytes of the state; contains the seed, so it is as secret as the seed."""
        return _STATE.encode((self._seed, self._thrown))

    def copy(self) -> "Dice":
        """Dice that will throw what these would."""
        return Dice(self._seed, thrown=self._thrown)

    def child(self, name: str) -> "Dice":
        """Dice of their own stream, decided by this seed and the name alone; throws nothing."""
        return Dice(H("dice child", self._seed, name))

    def _word(self) -> int:
        place = self._thrown % _BLOCK_WORDS
        if place == 0:
            self._block = self._block_of(self._thrown // _BLOCK_WORDS)
        self._thrown += 1
        start = place * _WORD_BYTES
        return int.from_bytes(self._block[start : start + _WORD_BYTES], "big")

    def uint(self, below: int) -> int:
        """A whole number in [0, below), each equally likely; 1 ≤ below ≤ 2^64."""
        assert 0 < below <= UINT_LIMIT, "dice: impossible range"
        limit = UINT_LIMIT - UINT_LIMIT % below  # words above it would favour the small numbers
        # The chance of one more turn is under 1/2 for any `below`, so the loop ends at once.
        while (word := self._word()) >= limit:
            pass
        return word % below

    def sample(self, below: int, count: int) -> tuple[int, ...]:
        """`count` different whole numbers of [0, below), in the order drawn; count ≤ below."""
        assert 0 <= count <= below, "dice: more draws than numbers"
        moved: dict[int, int] = {}  # Fisher-Yates, with only the touched places stored
        drawn = []
        for place in range(count):
            other = place + self.uint(below - place)
            drawn.append(moved.get(other, other))
            moved[other] = moved.get(place, place)
        return tuple(drawn)

    def shuffle(self, items: Sequence[Item]) -> list[Item]:
        """The items in a random order, each order equally likely; the argument is left alone."""
        return [items[index] for index in self.sample(len(items), len(items))]

    def raw(self, length: int) -> bytes:
        """`length` random bytes, for nonces and seeds of others."""
        words = -(-length // _WORD_BYTES)
        return b"".join([self._word().to_bytes(_WORD_BYTES, "big") for _ in range(words)])[:length]
