"""Between the exchange and what carries its frames: links and carriers.

An adapter brings a `Carrier` (it makes links) and `Link`s (they move frames); everything above them
(gossip, queries, content, blame) is `exchange.Exchange`, the same for every adapter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from network.errors import RemoteError
from network.peers import Book, Conduct
from network.ports import Class, Health, LinkIdentity, PeerId, Topic


class Link(Protocol):
    """One authenticated link. Sizes in bytes; times in monotonic seconds."""

    @property
    def peer(self) -> PeerId: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def outbound(self) -> bool: ...
    @property
    def wire(self) -> int: ...
    @property
    def instance(self) -> bytes: ...
    @property
    def chains(self) -> tuple[bytes, ...]: ...
    @property
    def since(self) -> float: ...
    @property
    def rtt_ms(self) -> float | None: ...
    @property
    def sent_bytes(self) -> int: ...
    @property
    def received_bytes(self) -> int: ...
    @property
    def closed(self) -> asyncio.Future[None]:
        """Done when the link is gone."""
        ...

    def queued_bytes(self) -> tuple[int, ...]:
        """Per class, not yet handed to the wire."""
        ...

    def take_stream(self) -> int:
        """A stream number for a query of ours."""
        ...

    def send(self, frame: bytes, cls: Class, stream: int, expires: float) -> bool:
        """Queue a frame; stream 0 for frames that belong to no query. False: queue full."""
        ...

    def cancel(self, stream: int) -> None:
        """Drop what is queued on `stream` and tell the peer to forget it."""

    def finish(self, cause: str) -> None:
        """Close once the queue is empty."""

    def close(self, cause: str) -> None:
        """Close now, with a goodbye if there is room for it."""


class Switch(Protocol):
    """What a carrier tells its exchange. Calls come on the loop's thread."""

    @property
    def book(self) -> Book: ...
    @property
    def conduct(self) -> Conduct: ...
    @property
    def topics(self) -> list[Topic]: ...
    def linked(self) -> list[PeerId]: ...
    def link_up(self, link: Link, topics: Sequence[Topic]) -> None: ...
    def link_down(self, link: Link, cause: str) -> None: ...
    def frame_bound(self, link: Link, stream: int, head: bytes) -> int:
        """Most bytes of a frame that starts with `head`; 0: read past it. `RemoteError`."""
        ...

    def on_frame(self, link: Link, cls: Class, stream: int, frame: bytes) -> None: ...
    def on_oversize(self, link: Link, stream: int) -> None:
        """A frame grew beyond its bound; the link is about to be closed for it."""

    def on_reset(self, link: Link, stream: int) -> None: ...
    def on_malformed(self, link: Link, error: RemoteError) -> None: ...
    def health(self, event: Health) -> None: ...


class Carrier(Protocol):
    """Makes links to the peers of the book and takes those that come in."""

    @property
    def name(self) -> str: ...
    async def start(self, identity: LinkIdentity, switch: Switch) -> None: ...
    async def close(self) -> None:
        """Stop dialling and listening, cut what is left. Links are told to finish before."""

    def wake(self) -> None:
        """The book has changed: look for peers to dial."""
