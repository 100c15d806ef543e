"""The client load of the figure `transfers`: signed token transfers, as many as get finalized.

Closed loop: at most OUTSTANDING messages are on their way, so the pool is never empty and never
refuses. Knows a gateway by its port; neither processes nor the command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Protocol

from bench.figures import Failed

OUTSTANDING = 4_096  # one full block (wire: messages a block)
OUTSTANDING_PER_SENDER = 1_024  # the pool refuses more (wire: Sizes)
MESSAGES_PER_POST = 512  # the API's bound
POLL_SECONDS = 0.02
STALL_SECONDS = 10.0  # no new height for so long: the network does not finalize


class Gateway(Protocol):
    """What the load asks of a node's API; errors are Failed."""

    async def height(self) -> int:
        """The last certified height."""
        ...

    async def messages_of(self, height: int) -> Sequence[str]:
        """The ids of the account messages in a block."""
        ...

    async def post(self, messages: Sequence[bytes]) -> None:
        """Hand over at most MESSAGES_PER_POST signed messages; Failed if one is refused."""
        ...


@dataclass(frozen=True, slots=True)
class Signed:
    id: str
    raw: bytes


Signer = Callable[[int, int], list[Signed]]  # (how many, height now) -> fresh messages


@dataclass(frozen=True, slots=True)
class Finalized:
    """`per_s`: between the first and the last block with messages of ours. Latency: from signing
    to hearing of the block, seconds."""

    per_s: float
    latency_p50_s: float
    latency_p99_s: float
    messages: int
    blocks: int
    last_height: int
    last_id: str


@dataclass(slots=True)
class _Book:
    """What is on its way and what has arrived."""

    height: int  # of the last block looked at
    sent: dict[str, float] = field(default_factory=dict)  # id -> when it was signed
    heard: list[tuple[int, float, int]] = field(default_factory=list)  # height, when, ours
    latencies: list[float] = field(default_factory=list)
    last_id: str = ""

    def record_block(self, ids: Sequence[str], now: float) -> None:
        """The ids in the block after the last one."""
        self.height += 1
        ours = 0
        for message in ids:
            sent_at = self.sent.pop(message, None)
            if sent_at is not None:
                ours += 1
                self.latencies.append(now - sent_at)
                self.last_id = message
        if ours:
            self.heard.append((self.height, now, ours))

    def result(self) -> Finalized:
        if len(self.heard) < 2:
            raise Failed(f"messages were finalized in {len(self.heard)} blocks: too few to count")
        # The first block only starts the clock: when its messages began to come is not known.
        elapsed = self.heard[-1][1] - self.heard[0][1]
        counted = sum(ours for _, _, ours in self.heard[1:])
        p50, p99 = percentiles(self.latencies)
        return Finalized(
            per_s=counted / elapsed,
            latency_p50_s=p50,
            latency_p99_s=p99,
            messages=counted,
            blocks=len(self.heard) - 1,
            last_height=self.heard[-1][0],
            last_id=self.last_id,
        )


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The 50th and the 99th; Failed for fewer than two values."""
    if len(values) < 2:
        raise Failed(f"{len(values)} samples are no distribution")
    cuts = quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


async def drive(
    gateway: Gateway,
    sign: Signer,
    *,
    seconds: float,
    outstanding: int = OUTSTANDING,
    clock: Callable[[], float],
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Finalized:
    """Send for so many seconds, count what is in blocks by then."""
    book = _Book(await gateway.height())
    try:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(_send(gateway, sign, book, outstanding, clock, pause))
            await _watch(gateway, book, clock() + seconds, clock, pause)
            sending.cancel()
    except* Failed as group:
        raise Failed("; ".join(str(error) for error in group.exceptions)) from group
    return book.result()


async def _send(
    gateway: Gateway,
    sign: Signer,
    book: _Book,
    outstanding: int,
    clock: Callable[[], float],
    pause: Callable[[float], Awaitable[None]],
) -> None:
    while True:
        if outstanding - len(book.sent) < MESSAGES_PER_POST:
            await pause(POLL_SECONDS)
            continue
        batch = sign(MESSAGES_PER_POST, book.height)
        book.sent.update(dict.fromkeys([one.id for one in batch], clock()))
        await gateway.post([one.raw for one in batch])


async def _watch(
    gateway: Gateway,
    book: _Book,
    until: float,
    clock: Callable[[], float],
    pause: Callable[[float], Awaitable[None]],
) -> None:
    progress = clock()
    while (now := clock()) < until:
        tip = await gateway.height()
        if tip > book.height:
            progress = now
        elif now - progress > STALL_SECONDS:
            raise Failed(f"no block after height {tip} for {STALL_SECONDS:g} s")
        while book.height < tip:
            ids = await gateway.messages_of(book.height + 1)
            book.record_block(ids, clock())
        await pause(POLL_SECONDS)
