"""The client load against a network that exists in memory only, on a clock that we advance."""

import asyncio
from collections.abc import Sequence

import pytest

from bench.figures import Failed
from bench.load import MESSAGES_PER_POST, OUTSTANDING, STALL_SECONDS, Signed, drive, percentiles

BLOCK_SECONDS = 0.5


class Net:
    """Certifies a block of at most `block_messages` every BLOCK_SECONDS of its own clock."""

    def __init__(self, block_messages: int, *, halted: bool = False, refuses: bool = False) -> None:
        self.now = 0.0
        self.blocks: list[list[str]] = [[]]
        self.pool: list[str] = []
        self.pool_most = 0
        self.signed = 0
        self.heights_signed_for: list[int] = []
        self._block_messages = block_messages
        self._halted = halted
        self._refuses = refuses

    def clock(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.now += seconds
        if not self._halted and self.now >= BLOCK_SECONDS * len(self.blocks):
            self.blocks.append(self.pool[: self._block_messages])
            del self.pool[: self._block_messages]
        await asyncio.sleep(0)

    def sign(self, count: int, height: int) -> list[Signed]:
        self.heights_signed_for.append(height)
        numbers = range(self.signed, self.signed + count)
        self.signed += count
        return [Signed(f"id{number}", b"%d" % number) for number in numbers]

    async def height(self) -> int:
        return len(self.blocks) - 1

    async def messages_of(self, height: int) -> Sequence[str]:
        return ["somebody else's", *self.blocks[height]]

    async def post(self, messages: Sequence[bytes]) -> None:
        assert len(messages) <= MESSAGES_PER_POST
        if self._refuses:
            raise Failed("the pool is full")
        self.pool += [f"id{raw.decode()}" for raw in messages]
        self.pool_most = max(self.pool_most, len(self.pool))
        await self.pause(0.01)


async def test_what_is_counted_is_what_blocks_hold_after_the_first() -> None:
    net = Net(block_messages=1_000)
    result = await drive(net, net.sign, seconds=10, clock=net.clock, pause=net.pause)
    ours = [block for block in net.blocks[: result.last_height + 1] if block]
    assert result.blocks == len(ours) - 1 >= 15
    assert result.messages == sum(len(block) for block in ours[1:])
    assert result.per_s == pytest.approx(1_000 / BLOCK_SECONDS, rel=0.1)
    assert net.blocks[result.last_height][-1] == result.last_id


async def test_no_more_than_the_bound_is_ever_on_its_way() -> None:
    net = Net(block_messages=100)
    await drive(net, net.sign, seconds=10, clock=net.clock, pause=net.pause)
    assert OUTSTANDING - MESSAGES_PER_POST < net.pool_most <= OUTSTANDING


async def test_latency_runs_from_signing_to_the_block() -> None:
    fast = Net(block_messages=OUTSTANDING)
    result = await drive(fast, fast.sign, seconds=10, clock=fast.clock, pause=fast.pause)
    assert 0 < result.latency_p50_s <= BLOCK_SECONDS + 0.1
    # A pool of four blocks is worked off in order: a message waits for four blocks.
    slow = Net(block_messages=OUTSTANDING // 4)
    result = await drive(slow, slow.sign, seconds=20, clock=slow.clock, pause=slow.pause)
    assert 3 * BLOCK_SECONDS <= result.latency_p50_s <= 5 * BLOCK_SECONDS
    assert result.latency_p99_s >= result.latency_p50_s


async def test_messages_are_signed_for_the_height_that_was_seen() -> None:
    net = Net(block_messages=1_000)
    await drive(net, net.sign, seconds=5, clock=net.clock, pause=net.pause)
    assert net.heights_signed_for == sorted(net.heights_signed_for)
    assert net.heights_signed_for[-1] >= 8


async def test_a_network_that_stands_still_is_a_failure() -> None:
    net = Net(block_messages=1_000, halted=True)
    with pytest.raises(Failed, match="no block after height 0"):
        await drive(net, net.sign, seconds=STALL_SECONDS * 2, clock=net.clock, pause=net.pause)


async def test_too_few_blocks_give_no_figure() -> None:
    net = Net(block_messages=1_000)
    with pytest.raises(Failed, match="too few"):
        await drive(net, net.sign, seconds=BLOCK_SECONDS, clock=net.clock, pause=net.pause)


async def test_a_refused_message_is_a_failure() -> None:
    net = Net(block_messages=1_000, refuses=True)
    with pytest.raises(Failed, match="the pool is full"):
        await drive(net, net.sign, seconds=10, clock=net.clock, pause=net.pause)


def test_percentiles_need_samples() -> None:
    assert percentiles([float(number) for number in range(101)]) == (50.0, 99.0)
    with pytest.raises(Failed, match="1 samples"):
        percentiles([1.0])
