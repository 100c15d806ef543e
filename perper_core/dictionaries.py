"""Dictionaries: the states of the fabric, one record per key (contract 21)."""

from perper_core.access import Access
from perper_core.errors import Conflict, OutcomeUnknown
from perper_core.limits import CONFLICT_RETRIES_MAX
from perper_core.ports import StateEntry
from perper_core.records import Stamp, opened, sealed, state_index, state_key
from perper_core.states import Entry, Put, Remove, step
from perper_core.stores.ports import Outcome, Removal, Write
from perper_core.values import Value, decode_value, encode_value


class Dictionaries:
    """State entries over one store."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def get(self, state: str, key: str) -> StateEntry | None:
        """See the port."""
        entry = await self._load(state_key(state, key))
        if entry is None:
            return None
        return StateEntry(key, decode_value(entry.value), entry.version)

    async def put(self, state: str, key: str, value: Value, version: int) -> int:
        """See the port."""
        raw, at = encode_value(value), state_key(state, key)
        for _ in range(CONFLICT_RETRIES_MAX):
            entry = await self._load(at)
            after = step(entry, Put(raw, version, self._access.first_version())).record
            assert after is not None, "a put leaves an entry"
            expected = None if entry is None else entry.version
            stamp = Stamp(after.version, self._access.nonce())
            (outcome,) = await self._access.write([Write(at, expected, sealed(stamp, after.value))])
            if outcome is Outcome.OK:
                return after.version
            if outcome is Outcome.UNKNOWN:
                raise OutcomeUnknown("the store does not answer", id=stamp.nonce.hex())
        raise Conflict("too many others write the same key", state=state, key=key)

    async def remove(self, state: str, key: str, version: int) -> bool:
        """See the port."""
        at = state_key(state, key)
        for _ in range(CONFLICT_RETRIES_MAX):
            entry = await self._load(at)
            done = step(entry, Remove(version))
            if entry is None:
                return False
            (gone,) = await self._access.remove([Removal(at, done.reply)])
            if gone:
                return True
        raise Conflict("too many others write the same key", state=state, key=key)

    async def page(self, state: str, after: str, limit: int) -> list[StateEntry]:
        """See the port."""
        index = state_index(state)
        found = await self._access.store.scan(index, index + after.encode(), limit)
        entries = []
        for at, raw in found:
            stamp, value = opened(raw)
            name = at[len(index) :].decode()
            entries.append(StateEntry(name, decode_value(value), stamp.version))
        return entries

    async def _load(self, at: bytes) -> Entry | None:
        found = await self._access.load(at)
        return None if found is None else Entry(found[0].version, found[1])
