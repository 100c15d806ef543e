"""What leaves a link next: classes, content's tenth, turns of flows, cutting into chunks."""

from __future__ import annotations

import pytest

from network.limits import (
    CHUNK_PAYLOAD_MAX,
    LINK_QUEUE_BYTES,
    LINK_QUEUE_ITEMS,
    RECORD_PLAIN_MAX,
)
from network.mesh.chunks import FIRST, LAST, RESET, WHOLE, Assembler, read_chunk
from network.mesh.scheduler import Scheduler
from network.ports import Class
from network.queries import StreamIds

EVER = float("inf")
Chunk = tuple[Class, int, int, bytes]


def make() -> Scheduler:
    return Scheduler(StreamIds(dialler=True))


def chunks(record: bytes) -> list[Chunk]:
    found: list[Chunk] = []
    at = 0
    while at < len(record):
        cls, stream, flags, start, at = read_chunk(record, at)
        found.append((Class(cls), stream, flags, record[start:at]))
    return found


def drain(scheduler: Scheduler, now: float = 0.0) -> list[Chunk]:
    found: list[Chunk] = []
    while record := scheduler.take(now):
        assert len(record) <= RECORD_PLAIN_MAX
        found += chunks(record)
    assert len(scheduler) == 0 and sum(scheduler.queued_bytes()) == 0
    return found


def assembled(found: list[Chunk]) -> list[bytes]:
    """Frames in the order in which their last chunks came."""
    assembler = Assembler(lambda stream, head: 1 << 30)
    frames: list[bytes] = []
    for cls, stream, flags, payload in found:
        if flags == WHOLE:
            frames.append(payload)
        elif flags == RESET:
            assembler.reset(stream)
        else:
            frame = assembler.add(cls, stream, flags, payload)
            if frame is not None:
                frames.append(frame)
    return frames


def test_small_frames_share_a_record_in_the_order_of_classes() -> None:
    scheduler = make()
    for cls in reversed(Class):
        for number in range(3):
            scheduler.push(b"%d%d" % (cls, number), cls, 0, EVER)
    record = scheduler.take(0.0)
    assert [(chunk[0], chunk[3]) for chunk in chunks(record)] == [
        (cls, b"%d%d" % (cls, number)) for cls in Class for number in range(3)
    ]
    assert scheduler.take(0.0) == b""


def test_a_poll_overtakes_a_long_frame_that_has_begun() -> None:
    scheduler = make()
    body = bytes(1_000_000)
    scheduler.push(body, Class.MESSAGE, 8, EVER)
    assert chunks(scheduler.take(0.0))[0][:3] == (Class.MESSAGE, 8, FIRST)
    scheduler.push(b"poll", Class.POLL, 5, EVER)
    second = chunks(scheduler.take(0.0))
    assert second[0] == (Class.POLL, 5, WHOLE, b"poll")
    assert second[1][:3] == (Class.MESSAGE, 8, 0)
    rest = drain(scheduler)
    assert rest[-1][:3] == (Class.MESSAGE, 8, LAST)
    assert sum(len(chunk[3]) for chunk in rest) == 1_000_000 - CHUNK_PAYLOAD_MAX - len(second[1][3])


def test_content_keeps_a_tenth_and_no_more_than_that_while_others_wait() -> None:
    scheduler = make()
    for number in range(20):
        scheduler.push(bytes(200_000), Class.CONTENT, 2 * number + 2, EVER)
        scheduler.push(bytes(200_000), Class.MESSAGE, 2 * number + 1, EVER)
    sent = {Class.MESSAGE: 0, Class.CONTENT: 0}
    while sent[Class.MESSAGE] + sent[Class.CONTENT] < 3_000_000:
        for cls, _, _, payload in chunks(scheduler.take(0.0)):
            sent[cls] += len(payload)
    share = sent[Class.CONTENT] / sum(sent.values())
    assert 0.09 < share < 0.12


def test_flows_of_a_class_take_turns() -> None:
    scheduler = make()
    scheduler.push(bytes(400_000), Class.CONTENT, 2, EVER)
    scheduler.push(bytes(100_000), Class.CONTENT, 4, EVER)
    scheduler.push(b"small", Class.CONTENT, 6, EVER)
    ends = [stream for _, stream, flags, _ in drain(scheduler) if flags & LAST]
    assert ends == [6, 4, 2]


def test_gossip_of_a_class_keeps_its_order() -> None:
    scheduler = make()
    frames = [bytes([number]) * (40_000 if number % 3 == 0 else 900) for number in range(30)]
    for frame in frames:
        scheduler.push(frame, Class.MESSAGE, 0, EVER)
    assert assembled(drain(scheduler)) == frames


def test_small_frames_without_a_stream_are_never_cut() -> None:
    scheduler = make()
    for _ in range(40):
        scheduler.push(bytes(3_000), Class.MESSAGE, 0, EVER)
    assert all(flags == WHOLE for _, _, flags, _ in drain(scheduler))


@pytest.mark.parametrize("cls", list(Class))
def test_each_class_has_its_bounds(cls: Class) -> None:
    scheduler = make()
    assert scheduler.push(bytes(LINK_QUEUE_BYTES[cls] + 1), cls, 0, EVER)  # one of any size
    assert not scheduler.push(b"", cls, 0, EVER)
    other = Class((cls + 1) % len(Class))
    assert scheduler.push(b"other", other, 0, EVER)
    scheduler = make()
    pushed = 0
    while scheduler.push(b"", cls, 0, EVER):
        pushed += 1
    assert pushed == LINK_QUEUE_ITEMS[cls]


def test_expired_frames_do_not_leave_and_begun_ones_are_reset() -> None:
    scheduler = make()
    scheduler.push(b"late", Class.VOTE, 0, 1.0)
    scheduler.push(bytes(50_000), Class.VOTE, 2, 2.0)
    assert [chunk[1] for chunk in chunks(scheduler.take(1.0))] == [2]
    scheduler.push(b"fresh", Class.VOTE, 0, 9.0)
    rest = drain(scheduler, 2.0)
    assert (Class.VOTE, 2, RESET, b"") in rest
    assert [chunk[3] for chunk in rest if chunk[2] == WHOLE] == [b"fresh"]
    assert scheduler.expired == 2


def test_cancel_resets_only_what_has_begun_to_leave() -> None:
    scheduler = make()
    scheduler.push(b"unsent", Class.POLL, 1, EVER)
    scheduler.cancel(1)
    assert drain(scheduler) == []
    scheduler.push(b"sent", Class.POLL, 3, EVER)
    drain(scheduler)
    scheduler.cancel(3)
    assert drain(scheduler) == [(Class.VOTE, 3, RESET, b"")]
    scheduler.push(bytes(50_000), Class.POLL, 5, EVER)
    scheduler.take(0.0)
    scheduler.cancel(5)
    assert drain(scheduler) == [(Class.VOTE, 5, RESET, b"")]
