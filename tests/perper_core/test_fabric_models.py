"""The pure models: heads, chunks, tails, executions, leases."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perper_core import executions, leases, streams
from perper_core.chunks import Chunk, decode_chunk, encode_chunk, locator_of, locators_of
from perper_core.errors import (
    ERRORS,
    AlreadyFinished,
    Conflict,
    Corrupt,
    FabricError,
    Invalid,
    StaleToken,
    Truncated,
    error_named,
)
from perper_core.executions import Cancel, Fail, Finish, Release, Reserve, Retry
from perper_core.failures import decode_failure, encode_failure, error_of, failure_of
from perper_core.heads import decode_head, encode_head, encode_options
from perper_core.limits import BACKOFF_MAX_MS, LEASE_TTL_S, LOCATOR_STRIDE, TAIL_BYTES_MAX
from perper_core.ports import (
    ExecutionOptions,
    ExecutionState,
    Failure,
    Gate,
    Kind,
    Producer,
    StreamOptions,
)
from perper_core.records import Stamp, sealed
from perper_core.streams import Append, ChunkMark, Head, Session, Trim, expired
from perper_core.tail import Tail

STAMP = Stamp(7, b"n" * 16)
I64 = st.integers(-(1 << 63), (1 << 63) - 1)
U64 = st.integers(0, (1 << 64) - 1)


# ------------------------------------------------------------------ heads and chunks

OPTIONS = st.builds(
    StreamOptions,
    kind=st.sampled_from(Kind),
    gate=st.sampled_from(Gate),
    keep_items=st.integers(0, 1 << 40),
    hold_s=st.floats(0, 1e6),
    producer=st.text("ab-", max_size=8),
)
FAILURES = st.builds(
    Failure,
    st.text("abc", min_size=1),
    st.text("abc"),
    st.lists(st.tuples(st.text("xyz"), I64 | st.text("abc"))).map(tuple),
    st.booleans(),
)
HEADS = st.builds(
    Head,
    uid=st.binary(min_size=8, max_size=8),
    options=OPTIONS,
    epoch=U64,
    owner=st.binary(min_size=8, max_size=8),
    committed=U64,
    trimmed=U64,
    swept=U64,
    bytes_total=U64,
    bytes_trimmed=U64,
    last_key=st.none() | I64,
    last_field=st.none() | I64,
    key_floor=st.none() | I64,
    state=st.integers(0, 2),
    failure=st.none() | FAILURES,
    producers=st.lists(
        st.tuples(st.text("pqé", min_size=1, max_size=9), st.builds(Session, U64, U64)), max_size=4
    ).map(tuple),
)


@given(HEADS)
def test_head_round_trip(head: Head) -> None:
    assert decode_head(encode_head(head, encode_options(head.options))) == head


@given(HEADS, st.data())
def test_damaged_head_is_refused(head: Head, data: st.DataObject) -> None:
    raw = encode_head(head, encode_options(head.options))
    with pytest.raises(Corrupt):
        decode_head(raw[: data.draw(st.integers(0, 60))])


@given(
    st.integers(1, 1 << 40),
    st.lists(st.binary(max_size=9), min_size=1, max_size=9),
    st.booleans(),
    st.none() | I64,
)
def test_chunk_round_trip(first: int, raws: list[bytes], keyed: bool, field: int | None) -> None:
    keys = list(range(-3, len(raws) - 3)) if keyed else None
    chunk = Chunk(first, raws, keys, sum(map(len, raws)), field)
    again = decode_chunk(encode_chunk(STAMP, 5, chunk))
    assert (again.first, list(again.raws), again.bytes, again.field_max) == (
        first,
        raws,
        chunk.bytes,
        field,
    )
    assert (None if again.keys is None else list(again.keys)) == keys


def test_damaged_chunk_is_refused() -> None:
    raw = encode_chunk(STAMP, 5, Chunk(1, [b"abc", b"de"], [1, 2], 5, 3))
    for cut in range(25, len(raw)):
        with pytest.raises(Corrupt):
            decode_chunk(raw[:cut])


def test_every_stride_has_one_locator() -> None:
    dice, first, located = Random(4), 1, {}
    for _ in range(500):
        last = first + dice.randint(0, 700)
        for number in locators_of(first, last):
            assert number not in located
            located[number] = (first, last)
        first = last + 1
    for offset in range(1, first, 37):
        number = locator_of(offset)
        if number:
            start, end = located[number]
            assert start <= number * LOCATOR_STRIDE <= end
            assert start <= offset


def test_tail_is_bounded_and_finds() -> None:
    tail, size = Tail(), TAIL_BYTES_MAX // 4
    for n in range(10):
        tail.add(Chunk(1 + 3 * n, [b"", b"", b""], None, size, None))
    assert tail.find(18) is None
    found = [tail.find(offset) for offset in range(19, 31)]
    assert [chunk.first for chunk in found if chunk is not None] == [
        first for first in (19, 22, 25, 28) for _ in range(3)
    ]
    assert tail.find(31) is None
    tail.trim(23)
    assert tail.find(21) is None
    assert tail.find(24) is not None
    tail.add(Chunk(99, [b""], None, 0, None))  # a gap: what was before is not consecutive
    assert tail.find(28) is None


# ------------------------------------------------------------------ the stream's steps


def test_appends_against_a_naive_model() -> None:  # contract 4, 7
    dice = Random(11)
    head, items, sessions = Head(b"u" * 8, StreamOptions()), 0, dict[str, int]()
    for _ in range(500):
        session = dice.choice(["a", "b", "c"])
        sequence = sessions.get(session, 0) + dice.choice([0, 1, 1, 2])
        count = dice.randint(1, 5)
        command = Append(count, 10 * count, None, None, Producer(session, max(sequence, 1)))
        try:
            done = streams.step(head, command)
        except Conflict:
            assert sequence > sessions[session] + 1
            continue
        if isinstance(done.reply, streams.Duplicate):
            assert sequence <= sessions.get(session, 0)
            assert done.record is head
            continue
        sessions[session] = max(sequence, 1)
        assert done.reply == streams.Committed(items + 1, items + count)
        assert done.effects == (done.reply,)
        items += count
        head = done.record
        assert (head.committed, head.bytes_total) == (items, 10 * items)


def test_trim_remembers_what_cannot_be_compared() -> None:
    head = Head(b"u" * 8, StreamOptions(), committed=10, bytes_total=100, last_key=9)
    done = streams.step(head, Trim(4, 40, 3))
    assert (done.record.trimmed, done.record.bytes_kept, done.record.key_floor) == (4, 60, 3)
    assert streams.step(done.record, Trim(4, 0, None)).record is done.record


def test_retention_keeps_the_newest_and_what_is_asked() -> None:
    options = StreamOptions(keep_field=256)
    head = Head(b"u" * 8, options, committed=900, last_field=300)
    mark = ChunkMark(1, 3, 30, None, 44)
    assert expired(head, mark, options)
    assert not expired(head, mark._replace(field_max=45), options)
    assert not expired(head, mark._replace(field_max=None), options)
    assert not expired(head, mark._replace(last=900), options)
    assert not expired(head, mark, StreamOptions())


def test_owner_change_raises_the_epoch() -> None:
    head = Head(b"u" * 8, StreamOptions(), epoch=4)
    after = streams.step(head, streams.TakeOver(b"o" * 8)).record
    assert (after.epoch, after.owner) == (5, b"o" * 8)


# ------------------------------------------------------------------ executions


def new(**options: int) -> executions.Execution:
    return executions.created(
        "i",
        "d",
        b"n",
        parent="",
        detached=False,
        options=ExecutionOptions(**options),  # type: ignore[arg-type]
    )


def test_random_lives_against_the_rules() -> None:  # contract 10, 13, 16, 22
    """Whatever happens in whatever order: tokens rise, one outcome is recorded and stays."""
    dice = Random(3)
    for _ in range(300):
        record, outcome = new(attempts_max=4), None
        for _ in range(40):
            token = dice.randint(0, record.token + 1)
            command: executions.Command = dice.choice(
                [
                    Reserve(dice.choice(["g", "h"]), dice.choice([b"w", b"v"])),
                    Finish(token, dice.choice([b"t", b"f"])),
                    Fail(token, Failure("E", "", retry=dice.random() < 0.5), 0.5),
                    Release(token, dice.random() < 0.5, 0.5),
                    Cancel("why"),
                ]
            )
            held = {lease.token for lease in record.leases}
            try:
                done = executions.step(record, command)
            except (StaleToken, AlreadyFinished, Conflict):
                continue
            after = done.record
            assert after.token >= record.token
            assert (after.state is ExecutionState.RESERVED) == bool(after.leases)
            if isinstance(command, Finish | Fail) and after is not record:
                assert command.token in held
            if outcome is not None:
                assert after is record, "an outcome was changed"
            if not after.open and outcome is None:
                outcome = after.state
                assert executions.Concluded() in done.effects
            assert executions.decode_execution(executions.encode_execution(after)) == after
            record = after


def test_attempts_end() -> None:  # contract 22
    record = new(attempts_max=2)
    for attempt in (1, 2):
        record = executions.step(record, Reserve("g", b"w")).record
        assert record.attempts == attempt
        record = executions.step(record, Release(record.token, True, 0.0)).record
    assert record.state is ExecutionState.DEAD
    again = executions.step(record, Retry()).record
    assert (again.state, again.attempts, again.token) == (ExecutionState.CREATED, 0, 2)


def test_pauses_double_within_bounds() -> None:  # contract 22
    record = new(attempts_max=100, backoff_ms=100)
    pauses = [executions.pause_ms(replace(record, attempts=n), 0.999999) for n in range(1, 60)]
    assert pauses[:4] == [99, 199, 399, 799]
    assert max(pauses) <= BACKOFF_MAX_MS
    assert executions.pause_ms(replace(record, attempts=1), 0.0) == 50


def test_damaged_execution_is_refused() -> None:
    raw = executions.encode_execution(new())
    for cut in range(len(raw) - 1):
        with pytest.raises(Corrupt):
            executions.decode_execution(raw[:cut])


def test_options_are_checked() -> None:
    for options in ({"attempts_max": 0}, {"backoff_ms": -1}, {"delay_ms": -1}):
        with pytest.raises(Invalid):
            new(**options)


# ------------------------------------------------------------------ leases, errors


def test_lease_needs_a_silent_ttl() -> None:  # contract 14
    sighting = leases.seen(None, 5, 100.0)
    assert not leases.gone(sighting, 100.0 + LEASE_TTL_S - 0.1)
    assert leases.gone(leases.seen(sighting, 5, 109.0), 100.0 + LEASE_TTL_S)
    assert not leases.gone(leases.seen(sighting, 6, 109.0), 118.0)
    assert leases.may_write(100.0, 109.9)
    assert not leases.may_write(100.0, 110.0)


def test_closed_set_of_errors() -> None:  # contract 25
    assert set(ERRORS) == {
        "Conflict",
        "NotFound",
        "KeyExists",
        "StaleToken",
        "AlreadyFinished",
        "Cancelled",
        "Truncated",
        "GapTimeout",
        "ProducerLost",
        "Exhausted",
        "OutcomeUnknown",
        "TooLarge",
        "Denied",
        "Failed",
        "Invalid",
        "Corrupt",
    }
    assert {kind.__name__ for kind in FabricError.__subclasses__()} >= set(ERRORS)


@pytest.mark.parametrize("code", ERRORS)
def test_errors_travel(code: str) -> None:
    needed: dict[str, int | str] = {"first": 3, "id": "x", "type": "T", "retry_ms": 5, "extra": "e"}
    error = error_named(code, "text", needed)
    again = error_of(decode_failure(encode_failure(failure_of(error))))
    assert (type(again), again.message, again.details) == (type(error), "text", error.details)
    assert again.code == code


def test_unknown_or_unfit_errors_become_failed() -> None:
    assert error_named("Whatever", "m", {}).code == "Failed"
    assert error_named("Truncated", "m", {}).code == "Failed"
    truncated = error_named("Truncated", "m", {"first": 9})
    assert isinstance(truncated, Truncated)
    assert truncated.first == 9


def test_record_of_another_schema() -> None:
    raw = bytearray(sealed(STAMP, b"body"))
    raw[8] = 2
    with pytest.raises(Corrupt):
        decode_chunk(bytes(raw))
