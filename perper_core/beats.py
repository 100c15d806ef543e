"""Beats: the session of this server, and the sessions of others as it sees them (contract 14, 15).

Only for stores that other servers may write, too. One write per LEASE_BEAT_S, whatever the number
of streams.
"""

import asyncio
from collections.abc import Callable

from perper_core.access import Access
from perper_core.errors import FabricError
from perper_core.leases import Sighting, decode_session, encode_session, gone, may_write, seen
from perper_core.limits import LEASE_BEAT_S
from perper_core.records import session_key

CLOSED = (1 << 64) - 1
"""Counter of a session that ended in order: nobody has to wait for its ttl."""


class Beats:
    """One counter that rises while this server lives."""

    def __init__(self, access: Access, clock: Callable[[], float]) -> None:
        self._access = access
        self._clock = clock
        self._confirmed_s = clock()
        self._sightings: dict[bytes, Sighting] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.beat()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LEASE_BEAT_S)
            await self.beat()

    async def beat(self) -> None:
        """Raise the counter; the lease counts from before the attempt."""
        began_s = self._clock()
        try:
            await self._set(lambda before: before + 1)
        except FabricError:
            return  # not confirmed: `may_write` will say so in time
        self._confirmed_s = began_s

    async def _set(self, counter: Callable[[int], int]) -> None:
        await self._access.change(
            session_key(self._access.writer),
            lambda _, body: encode_session(counter(0 if body is None else decode_session(body))),
            repeat=True,
        )

    def may_write(self) -> bool:
        """Whether this server's lease holds (contract 15)."""
        return may_write(self._confirmed_s, self._clock())

    async def lives(self, owner: bytes) -> bool:
        """Whether another server's session is to be respected. The first look never says no,
        unless it ended in order."""
        found = await self._access.load(session_key(owner))
        counter = None if found is None else decode_session(found[1])
        if counter == CLOSED:
            return False
        now_s = self._clock()
        sighting = self._sightings[owner] = seen(self._sightings.get(owner), counter, now_s)
        if gone(sighting, now_s):
            del self._sightings[owner]
            return False
        return True

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        try:
            await self._set(lambda _: CLOSED)
        except FabricError:
            return  # the others wait for the ttl
