"""Inputs that the chain itself makes: reminders due and waiting sends (execution §6, protocol §9).

A pure rule of the parent's state, the block's time, height and gas: no proposer may drop, add or
reorder one, so `body.chain_inputs` must equal `due(…)` exactly (from round 4 some may be skipped).
"""

from collections.abc import Iterator
from typing import NamedTuple

from consensus.encoding import H
from consensus.messages import Queued
from consensus.state import State
from node.execution.keys import OUTBOX, REMINDERS, U64, outbox_agent, reminder_time
from node.execution.limits import (
    OUTBOX_PAGE,
    OUTBOXES_MAX,
    REMINDER_SHARE,
    REMINDERS_MAX,
    REMINDERS_SCANNED_MAX,
    SEND_SHARE,
    SENDS_MAX,
)
from node.execution.prices import MESSAGE_GAS

_LAST = b"\xff" * U64


class Waiting(NamedTuple):
    """A queued item and the state key that it leaves when it runs."""

    key: bytes
    item: Queued


def due(state: State, *, height: int, time_ms: int, gas: int) -> tuple[Waiting, ...]:
    """The chain-made inputs of the block: reminders, then sends; `gas` is gas(h, R)."""
    reminders = _due_reminders(state, time_ms, gas // REMINDER_SHARE // MESSAGE_GAS)
    sends = _due_sends(state, height, gas // SEND_SHARE // MESSAGE_GAS)
    return (*reminders, *sends)


def next_due_ms(state: State) -> int | None:
    """From when a block has a chain-made input: 0 where a send waits, null where nothing does."""
    if state.scan(OUTBOX, limit=OUTBOX_PAGE):  # pages: an overlay may have removed many
        return 0
    first = state.scan(REMINDERS, limit=OUTBOX_PAGE)
    return reminder_time(first[0][0]) if first else None


def _due_reminders(state: State, time_ms: int, count: int) -> list[Waiting]:
    """At most `count`, round robin over agents, each agent's in (deadline, id) order.

    In the block those chosen stand in (deadline, id) order.
    """
    by_agent: dict[bytes, list[Waiting]] = {}
    for key, raw in state.scan(REMINDERS, limit=REMINDERS_SCANNED_MAX):
        if reminder_time(key) > time_ms:
            break
        item = Queued.decode(raw)
        by_agent.setdefault(item.to, []).append(Waiting(key, item))
    lines = [iter(items) for items in by_agent.values()]
    chosen = _round_robin(lines, min(count, REMINDERS_MAX))
    chosen.sort()
    return chosen


def _due_sends(state: State, height: int, count: int) -> list[Waiting]:
    """At most `count`, round robin over senders, each sender's in the order it sent them.

    The first sender of a block is drawn by its height, so that no place in the order of keys is
    better than another.
    """
    start = H("outbox", height)
    lines: list[Iterator[Waiting]] = []
    for agent in _senders(state, start):
        lines.append(_outbox(state, agent))
    return _round_robin(lines, min(count, SENDS_MAX))


def _senders(state: State, start: bytes) -> list[bytes]:
    """Agents whose outbox is not empty, from `start` on and round; at most OUTBOXES_MAX."""
    found: list[bytes] = []
    for after, end in ((OUTBOX + start, None), (OUTBOX, start)):
        while len(found) < OUTBOXES_MAX:
            pairs = state.scan(OUTBOX, after, 1)
            agent = outbox_agent(pairs[0][0]) if pairs else None
            if agent is None or (end is not None and agent >= end):
                break
            found.append(agent)
            after = OUTBOX + agent + _LAST
    return found


def _outbox(state: State, agent: bytes) -> Iterator[Waiting]:
    prefix = OUTBOX + agent
    after = b""
    while pairs := state.scan(prefix, after, OUTBOX_PAGE):
        for key, raw in pairs:
            yield Waiting(key, Queued.decode(raw))
        after = pairs[-1][0]


def _round_robin(lines: list[Iterator[Waiting]], count: int) -> list[Waiting]:
    chosen: list[Waiting] = []
    while lines and len(chosen) < count:
        still: list[Iterator[Waiting]] = []
        for line in lines:
            item = next(line, None)
            if item is None:
                continue
            if len(chosen) == count:
                break
            chosen.append(item)
            still.append(line)
        lines = still
    return chosen
