"""Dialler: whom to dial when, with backoff and jitter, for every carrier that dials.

It turns the address book into calls of `dial`; how a link is made is the carrier's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from network.carrier import Link, Switch
from network.errors import TransportError
from network.limits import DIAL_SECOND_PARTY_S, DIALS_AT_ONCE_MAX, LINKS_OUTBOUND_MAX
from network.peers import Entry, Standing
from network.ports import Draw, PeerAddress, PeerId

Dial = Callable[[PeerAddress], Awaitable[None]]
"""Makes a link, or raises `TransportError` or `OSError`."""


class Dialler:
    """Lives from `__init__` to `stop`, on the running loop."""

    def __init__(self, own: PeerId, switch: Switch, draw: Draw, dial: Dial) -> None:
        self._own = own
        self._switch = switch
        self._draw = draw
        self._dial = dial
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[PeerId, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._stopped = False

    def wake(self) -> None:
        """Look at the book again, soon."""
        if self._soon is None and not self._stopped:
            self._soon = self._loop.call_soon(self._turn)

    def lost(self, link: Link) -> None:
        """A link that was up is gone."""
        now = self._loop.time()
        self._switch.book.lost(link.peer, now, now - link.since, self._draw)
        self.wake()

    async def stop(self) -> None:
        self._stopped = True
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _turn(self) -> None:
        self._soon = None
        book, now = self._switch.book, self._loop.time()
        for entry in book.due(now, self._switch.linked()):
            peer = entry.address.peer
            if peer == self._own:
                book.forget(peer)
            elif len(self._tasks) >= DIALS_AT_ONCE_MAX:
                break
            elif self._may_dial(entry, now):
                entry.dialling = True
                self._tasks[peer] = self._loop.create_task(self._one(entry.address))
        self._arm()

    def _may_dial(self, entry: Entry, now: float) -> bool:
        peer = entry.address.peer
        if self._switch.conduct.standing(peer, now) is Standing.BANNED:
            self._switch.book.failed(peer, now, self._draw)
            return False
        if not entry.keep and len(self._switch.linked()) >= LINKS_OUTBOUND_MAX:
            self._switch.book.failed(peer, now, self._draw)
            return False
        if self._own > peer and not entry.yielded:
            # Both know each other: give the smaller id its time, or each pair links twice.
            entry.yielded = True
            self._switch.book.delay(peer, now + DIAL_SECOND_PARTY_S)
            return False
        return True

    async def _one(self, address: PeerAddress) -> None:
        book = self._switch.book
        try:
            await self._dial(address)
            book.delay(address.peer, 0.0)
        except (TransportError, OSError, UnicodeError):  # the last: no name of a host
            book.failed(address.peer, self._loop.time(), self._draw)
        finally:
            del self._tasks[address.peer]
            self.wake()

    def _arm(self) -> None:
        due = self._switch.book.next_due(self._switch.linked())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None and not self._stopped and len(self._tasks) < DIALS_AT_ONCE_MAX:
            self._timer = self._loop.call_at(due, self.wake)
