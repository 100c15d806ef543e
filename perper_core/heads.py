"""Heads and options of streams as bytes (pure). The head is written once per append: a fixed part,
no values.

Body: the fields of `_FIXED` | options (a value) | failure (a value, if any) | producers: u8 size,
u64 sequence, u64 last, name. Big-endian.
"""

import struct

from perper_core.errors import Corrupt, FabricError
from perper_core.failures import decode_failure, encode_failure
from perper_core.ports import Gate, Kind, StreamOptions
from perper_core.streams import Head, Session
from perper_core.values import decode_value, encode_value

_FIXED = struct.Struct(">Q8s8sQQQQQqqqBBII")
_PRODUCER = struct.Struct(">BQQ")
_HAS_KEY, _HAS_FIELD, _HAS_KEY_FLOOR = 1, 2, 4


def encode_options(options: StreamOptions) -> bytes:
    return encode_value(
        [
            options.kind.value,
            options.gate.value,
            options.keep_items,
            options.keep_bytes,
            options.keep_field,
            options.quota_bytes,
            options.window_items,
            options.window_bytes,
            float(options.hold_s),
            options.hold_bytes,
            options.producer,
        ]
    )


def decode_options(raw: bytes) -> StreamOptions:
    match decode_value(raw):
        case [
            str(kind),
            str(gate),
            int(items),
            int(size),
            int(span),
            int(quota),
            int(window),
            int(window_bytes),
            float(hold_s),
            int(hold),
            str(producer),
        ]:
            bounds = (items, size, span, quota, window, window_bytes, hold_s, hold, producer)
            return StreamOptions(Kind(kind), Gate(gate), *bounds)
        case _:
            raise Corrupt("a stream's options")


def encode_head(head: Head, options_raw: bytes) -> bytes:
    """Body of the head's record; the caller keeps the encoded options, they never change."""
    flags = (
        (_HAS_KEY if head.last_key is not None else 0)
        | (_HAS_FIELD if head.last_field is not None else 0)
        | (_HAS_KEY_FLOOR if head.key_floor is not None else 0)
    )
    failure = b"" if head.failure is None else encode_failure(head.failure)
    fixed = _FIXED.pack(
        head.epoch,
        head.owner,
        head.uid,
        head.committed,
        head.trimmed,
        head.swept,
        head.bytes_total,
        head.bytes_trimmed,
        head.last_key or 0,
        head.last_field or 0,
        head.key_floor or 0,
        head.state,
        flags,
        len(options_raw),
        len(failure),
    )
    if not head.producers:
        return fixed + options_raw + failure
    parts = [fixed, options_raw, failure]
    for session, (sequence, last) in head.producers:
        name = session.encode()
        parts.append(_PRODUCER.pack(len(name), sequence, last) + name)
    return b"".join(parts)


def decode_head(body: bytes) -> Head:
    """Raises Corrupt."""
    try:
        (epoch, owner, uid, committed, trimmed, swept, total, gone, key, field, floor) = (
            _FIXED.unpack_from(body)[:11]
        )
        state, flags, options_size, failure_size = _FIXED.unpack_from(body)[11:]
        at = _FIXED.size
        options = decode_options(body[at : at + options_size])
        at += options_size
        failure = decode_failure(body[at : at + failure_size]) if failure_size else None
        at += failure_size
        producers = []
        while at < len(body):
            size, sequence, last = _PRODUCER.unpack_from(body, at)
            at += _PRODUCER.size
            producers.append((body[at : at + size].decode(), Session(sequence, last)))
            at += size
    except (struct.error, ValueError, FabricError) as error:
        raise Corrupt("a stream's head does not decode") from error
    return Head(
        uid,
        options,
        epoch,
        owner,
        committed,
        trimmed,
        swept,
        total,
        gone,
        key if flags & _HAS_KEY else None,
        field if flags & _HAS_FIELD else None,
        floor if flags & _HAS_KEY_FLOOR else None,
        state,
        failure,
        tuple(producers),
    )
