"""The bounded sink: which item goes when one too many comes."""

from __future__ import annotations

import asyncio

import pytest

from network.inbox import Inbox
from network.limits import INBOX_CLASS_BYTES, INBOX_EVENTS_MAX, INBOX_LINK_ITEMS
from network.ports import Class, Dropped, Gossip, Health, LinkDown, Origin

ANN, BOB = b"a" * 32, b"b" * 32


def gossip(cls: Class, data: bytes, link: bytes = ANN, author: bytes | None = None) -> Gossip:
    return Gossip(0, "t", data, Origin(link, author), 0.0, cls)


async def everything(inbox: Inbox) -> list[bytes]:
    batch = await inbox.take(most=1_000_000)
    return [event.data for event in batch if isinstance(event, Gossip)]


async def test_strict_order_of_classes_and_links_in_turn() -> None:
    inbox = Inbox()
    for cls in reversed(Class):
        for number in range(2):
            for link in (ANN, BOB):
                inbox.put(gossip(cls, b"%d%s%d" % (cls, link[:1], number), link))
    inbox.put(LinkDown(ANN, ""))
    first = await inbox.take(most=3)
    assert isinstance(first[0], LinkDown)
    assert [event.data for event in first[1:] if isinstance(event, Gossip)] == [
        b"0a0", b"0b0", b"0a1",
    ]  # fmt: skip
    rest = await everything(inbox)
    assert rest[0] == b"0b1" and rest[-1] == b"4b1" and len(rest) == 17


@pytest.mark.parametrize(
    ("cls", "kept"),
    [
        (Class.VOTE, "newest"),
        (Class.POLL, "oldest"),
        (Class.PROPOSAL, "oldest"),
        (Class.MESSAGE, "newest"),
        (Class.CONTENT, "newest"),
    ],
)
async def test_what_is_dropped_when_a_link_sends_too_much(cls: Class, kept: str) -> None:
    inbox = Inbox()
    bound = INBOX_LINK_ITEMS[cls]
    for number in range(bound + 5):
        inbox.put(gossip(cls, b"%d" % number))
    inbox.put(gossip(cls, b"other link", BOB))
    batch = await inbox.take(most=1_000_000)
    data = [event.data for event in batch if isinstance(event, Gossip)]
    first = 5 if kept == "newest" else 0
    assert sorted(data) == sorted([b"%d" % (first + n) for n in range(bound)] + [b"other link"])
    assert [event for event in batch if isinstance(event, Dropped)] == [
        Dropped(cls, 5, "inbox full")
    ]
    assert inbox.dropped_total[cls] == 5


async def test_votes_are_bounded_per_author_where_it_is_proven() -> None:
    inbox = Inbox()
    bound = INBOX_LINK_ITEMS[Class.VOTE]
    inbox.put(gossip(Class.VOTE, b"bob's", ANN, author=BOB))
    for number in range(bound + 1):
        inbox.put(gossip(Class.VOTE, b"%d" % number, ANN, author=ANN))
    data = await everything(inbox)
    assert b"bob's" in data and b"0" not in data and b"%d" % bound in data


async def test_all_links_together_are_bounded_and_the_fattest_pays() -> None:
    inbox = Inbox()
    piece = bytes(1_000_000)
    inbox.put(gossip(Class.MESSAGE, b"small", BOB))
    for link in range(10):
        for _ in range(8):
            inbox.put(gossip(Class.MESSAGE, piece, link.to_bytes(32, "big")))
    data = await everything(inbox)
    assert sum(map(len, data)) <= INBOX_CLASS_BYTES
    assert sum(map(len, data)) > INBOX_CLASS_BYTES - len(piece) and b"small" in data


async def test_other_events_are_bounded() -> None:
    inbox = Inbox()
    for number in range(INBOX_EVENTS_MAX + 1):
        inbox.put(Health("mesh", "up", str(number)))
    batch = await inbox.take()
    assert len(batch) == INBOX_EVENTS_MAX and batch[0] == Health("mesh", "up", "1")


async def test_a_waiting_reader_wakes_and_a_cancelled_one_loses_nothing() -> None:
    inbox = Inbox()
    reader = asyncio.create_task(inbox.take())
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    reader = asyncio.create_task(inbox.take())
    await asyncio.sleep(0)
    inbox.put(gossip(Class.VOTE, b"vote"))
    inbox.put(gossip(Class.VOTE, b"more"))
    assert len(await reader) == 2
