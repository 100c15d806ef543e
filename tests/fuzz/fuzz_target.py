"""A fuzz target: something that takes bytes from elsewhere, and what must hold of it.

Only its own errors may come out; what is taken is written back the same; nothing takes long.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from traceback import extract_tb
from typing import Any, NamedTuple

from tests.fuzz.fuzz_mutation import mutated

CORPUS = Path(__file__).parent / "corpus"
CORPUS_FILE_BYTES_MAX = 8 * 1024
INPUT_BYTES_MAX = 64 * 1024
SLOW_S = 1.0  # CPU for one input of at most INPUT_BYTES_MAX
SLOW_TRIES = 2
SHRINKS_MAX = 400
BURST = 100
FRESH_SHARE = 0.5


def _nothing() -> None: ...


class Broken(Exception):
    """A property that does not hold of an input."""


@dataclass(frozen=True, slots=True)
class Target:
    """`read` turns bytes into anything or raises one of `errors`; `write` gives the bytes back.

    `bound`: from so many bytes on everything is refused before it is decoded, null where there is
    none. `check`: more that must hold of what was read. `prepare`: makes one input of another, so
    that mutation reaches behind a checksum.
    """

    name: str
    read: Callable[[bytes], Any]
    errors: tuple[type[Exception], ...]
    seeds: Callable[[], Iterable[bytes]]
    write: Callable[[Any], bytes] | None = None
    bound: int | None = None
    check: Callable[[bytes, Any], None] | None = None
    prepare: Callable[[bytes], bytes] = bytes
    slow_s: float = SLOW_S
    burst: int = BURST  # inputs of a short run
    fresh: Callable[[Random], bytes] | None = None  # half of the inputs, where it is given
    release: Callable[[], None] = _nothing  # what `read` holds open between inputs
    inner: bool = False  # of a form that changes with the code: valid inputs are made, not kept

    @property
    def folder(self) -> Path:
        return CORPUS / self.name

    def corpus(self) -> list[bytes]:
        """What is kept, in the order of names; and made, where that is not kept."""
        kept = [path.read_bytes() for path in sorted(self.folder.glob("*"))]
        return [*kept, *self.seeds()] if self.inner else kept

    def run(self, raw: bytes) -> bool:
        """Whether the bytes were taken. Raises Broken, or whatever else came out."""
        started = time.process_time()
        try:
            value = self.read(raw)
        except self.errors:
            return False
        finally:
            self._check_time(raw, time.process_time() - started)
        if self.bound is not None and len(raw) > self.bound:
            raise Broken(f"{len(raw)} bytes were taken, of {self.bound}")
        if self.write is not None and (again := self.write(value)) != raw:
            raise Broken(f"taken, but written as {again[:80].hex()}…")
        if self.check is not None:
            self.check(raw, value)
        return True

    def _check_time(self, raw: bytes, spent_s: float) -> None:
        """Broken if it is slow each time: a machine with other work may be slow once."""
        for _ in range(SLOW_TRIES):
            if spent_s <= self.slow_s:
                return
            started = time.process_time()
            with suppress(*self.errors):
                self.read(raw)
            spent_s = min(spent_s, time.process_time() - started)
        if spent_s > self.slow_s:
            raise Broken(f"{len(raw)} bytes took {spent_s:.2f} s")

    def inputs(self, random: Random, count: int) -> Iterable[bytes]:
        """Mutated inputs, drawn from the corpus."""
        corpus = self.corpus()
        assert corpus, f"{self.name} has no corpus: python -m tests.fuzz --renew"
        for _ in range(count):
            if self.fresh is not None and random.random() < FRESH_SHARE:
                yield self.fresh(random)
            else:
                yield self.prepare(mutated(random, corpus, INPUT_BYTES_MAX))


class Failure(NamedTuple):
    """`place`: type of the error and where it came from, the same for one defect."""

    place: str
    text: str


def failure(target: Target, raw: bytes) -> Failure | None:
    """What is wrong with an input, null: nothing."""
    try:
        target.run(raw)
    except Exception as error:
        last = extract_tb(error.__traceback__)[-1]
        kind = type(error).__name__
        return Failure(f"{kind} {Path(last.filename).name}:{last.lineno}", f"{kind}: {error}")
    return None


def shrunk(target: Target, raw: bytes) -> bytes:
    """A smaller input that fails in the same place."""
    found = failure(target, raw)
    assert found is not None, "an input that fails"
    tries, step = 0, max(1, len(raw) // 2)
    while step and tries < SHRINKS_MAX:
        place = 0
        while place < len(raw) and tries < SHRINKS_MAX:
            smaller = raw[:place] + raw[place + step :]
            tries += 1
            again = failure(target, smaller)
            if again is not None and again.place == found.place:
                raw = smaller
            else:
                place += step
        step //= 2
    return raw


def keep(target: Target, raw: bytes, prefix: str) -> Path:
    """Put an input into the corpus, under a name made from its bytes."""
    target.folder.mkdir(parents=True, exist_ok=True)
    path = target.folder / f"{prefix}-{sha256(raw).hexdigest()[:10]}"
    path.write_bytes(raw)
    return path


def renew(target: Target) -> int:
    """Write the target's valid inputs into its corpus; what failed once stays."""
    for path in target.folder.glob("seed-*"):
        path.unlink()
    made = () if target.inner else target.seeds()
    seeds: Sequence[bytes] = [raw for raw in made if len(raw) <= CORPUS_FILE_BYTES_MAX]
    for raw in seeds:
        keep(target, raw, "seed")
    return len(seeds)
