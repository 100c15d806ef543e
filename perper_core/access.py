"""Access: load a record, step its model, compare-and-set, again on conflict (bounded). The only
writer of metadata.

What contract 2 asks of everybody who writes is here: a nonce per write, and after `unknown` or
`conflict` a second look, where the own nonce means that the write won. Knows no model.
"""

from collections.abc import Callable, Sequence

from perper_core.errors import Conflict, OutcomeUnknown
from perper_core.limits import CONFLICT_RETRIES_MAX, GET_MANY_MAX, UNKNOWN_RETRIES_MAX
from perper_core.records import Stamp, opened, sealed
from perper_core.stores.ports import Outcome, Removal, Store, Write

WRITER_BYTES = 8
_VERSION_MASK = (1 << 62) - 1


class Access:
    """A store with the nonces of one writer."""

    def __init__(self, store: Store, writer: bytes, dice: Callable[[int], bytes]) -> None:
        assert len(writer) == WRITER_BYTES, "a writer's id has 8 bytes"
        self.store = store
        self.writer = writer
        self._dice = dice
        self._writes = 0

    def nonce(self) -> bytes:
        """A name for one write."""
        self._writes += 1
        return self.writer + self._writes.to_bytes(8, "big")

    def first_version(self) -> int:
        """Where the versions of a new record start: somewhere, so that a removed one does not come
        back."""
        return (int.from_bytes(self._dice(8), "big") & _VERSION_MASK) + 1

    def stamp(self, before: int | None) -> Stamp:
        """Stamp of the record that follows version `before`."""
        return Stamp(self.first_version() if before is None else before + 1, self.nonce())

    async def load(self, key: bytes) -> tuple[Stamp, bytes] | None:
        """Stamp and body of a record."""
        (raw,) = await self.store.get_many([key])
        return None if raw is None else opened(raw)

    async def write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Which of the writes took effect. UNKNOWN: it may have, and somebody wrote after it, or
        the store gave no answer within its retries."""
        settled = [Outcome.UNKNOWN] * len(writes)
        doubted = [False] * len(writes)
        open_ = list(range(len(writes)))
        for _ in range(UNKNOWN_RETRIES_MAX):
            outcomes = await self.store.cas_many([writes[index] for index in open_])
            look = []
            for index, outcome in zip(open_, outcomes, strict=True):
                doubted[index] |= outcome is Outcome.UNKNOWN
                if outcome is Outcome.OK:
                    settled[index] = Outcome.OK
                else:
                    look.append(index)
            if not look:
                return settled
            found = await self.store.get_many([writes[index].key for index in look])
            open_ = []
            for index, raw in zip(look, found, strict=True):
                if raw is not None and opened(raw)[0] == opened(writes[index].raw)[0]:
                    settled[index] = Outcome.OK  # contract 2: own nonce = ok
                elif not doubted[index]:
                    settled[index] = Outcome.CONFLICT
                elif self._unchanged(writes[index], raw):
                    open_.append(index)  # nothing happened yet: the same write again
            if not open_:
                break
        return settled

    @staticmethod
    def _unchanged(write: Write, found: bytes | None) -> bool:
        version = None if found is None else opened(found)[0].version
        return version == write.expected

    async def remove(self, removals: Sequence[Removal]) -> list[bool]:
        """Which of them are gone. Repeating a removal does no harm, so unknown ones are
        repeated."""
        gone = [False] * len(removals)
        open_ = list(range(len(removals)))
        for _ in range(UNKNOWN_RETRIES_MAX):
            outcomes = await self.store.remove_many([removals[index] for index in open_])
            again = []
            for index, outcome in zip(open_, outcomes, strict=True):
                gone[index] = outcome is Outcome.OK
                if outcome is Outcome.UNKNOWN:
                    again.append(index)
            open_ = again
            if not open_:
                return gone
        raise OutcomeUnknown("the store does not answer", id="remove")

    async def remove_all(self, keys: Sequence[bytes]) -> None:
        """Delete keys, whatever their version, in bounded portions."""
        for start in range(0, len(keys), GET_MANY_MAX):
            await self.remove([Removal(key, None) for key in keys[start : start + GET_MANY_MAX]])

    async def change(
        self,
        key: bytes,
        turn: Callable[[Stamp | None, bytes | None], bytes | None],
        *,
        repeat: bool = False,
    ) -> Stamp | None:
        """Load, `turn` (stamp, body) into the new body, compare-and-set; again after a conflict. A
        turn that returns None, or the same object, changes nothing. Returns the stamp now there.

        `repeat`: turning again after an unknown outcome does no harm; else OutcomeUnknown."""
        for _ in range(CONFLICT_RETRIES_MAX):
            found = await self.load(key)
            stamp, body = found if found is not None else (None, None)
            after = turn(stamp, body)
            if after is None or after is body:
                return stamp
            expected = None if stamp is None else stamp.version
            next_stamp = self.stamp(expected)
            (outcome,) = await self.write([Write(key, expected, sealed(next_stamp, after))])
            if outcome is Outcome.OK:
                return next_stamp
            if outcome is Outcome.UNKNOWN and not repeat:
                raise OutcomeUnknown("the store does not answer", id=next_stamp.nonce.hex())
        raise Conflict("too many others write the same record", retries=CONFLICT_RETRIES_MAX)
