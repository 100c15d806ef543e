"""Which inputs the chain itself makes: ADR 0005, from a dictionary of all keys."""

from typing import Any, NamedTuple

from tests.naive.naive_cbor import decode, hashed

MESSAGE_GAS = 124


class Queued(NamedTuple):
    id: bytes
    deadline_ms: int
    agent: bytes  # whose turn it is: the receiver of a reminder, the sender of a send


def _round_robin(lines: list[list[Queued]], count: int) -> list[Queued]:
    """One of each line, then a second of each, …; `count` in all."""
    longest = max([len(line) for line in lines], default=0)
    turns = [line[place] for place in range(longest) for line in lines if place < len(line)]
    return turns[: max(0, count)]


def _grouped(items: list[Queued]) -> list[list[Queued]]:
    agents = list(dict.fromkeys(item.agent for item in items))
    return [[item for item in items if item.agent == agent] for agent in agents]


def _item(raw: bytes) -> list[Any]:
    """[id, kind, from, to, …]."""
    items: list[Any] = decode(raw)[2:]
    return items


def due(values: dict[bytes, bytes], *, height: int, time_ms: int, gas: int) -> list[bytes]:
    """The ids of the chain-made inputs of a block, in order."""
    reminders, sends = [], []
    for name in sorted(values):
        if name.startswith(b"r/"):
            fields = _item(values[name])
            reminders.append(Queued(fields[0], int.from_bytes(name[2:10], "big"), fields[3]))
        elif name.startswith(b"o/"):
            fields = _item(values[name])
            sends.append(Queued(fields[0], 0, name[2:34]))
    ripe = sorted(
        [each for each in reminders if each.deadline_ms <= time_ms],
        key=lambda each: (each.deadline_ms, each.id),
    )
    chosen = _round_robin(_grouped(ripe), gas // 4 // MESSAGE_GAS)
    chosen.sort(key=lambda each: (each.deadline_ms, each.id))
    first = hashed("outbox", height)
    lines = _grouped(sends)
    lines = [line for line in lines if line[0].agent > first] + [
        line for line in lines if line[0].agent <= first
    ]
    chosen += _round_robin(lines, gas // 2 // MESSAGE_GAS)
    return [each.id for each in chosen]
