"""When a rule may move without an event: the times that a machine wants to be woken at.

Questions over the state only; `engine` asks them after each event.
"""

from consensus import building, polling, voting
from consensus.encoding import ROUND_MAX
from consensus.ids import Now
from consensus.standing import HELD, VALID, Machine, heartbeat_due_ms


def next_wake_ms(machine: Machine, now: Now) -> int | None:
    """The earliest monotonic time at which a rule may move without an event."""
    if machine.halted or machine.standing.committing:
        return None
    times = [*_vote_times(machine), *_clock_times(machine, now), *_poll_times(machine)]
    ahead = [time for time in times if time > now.monotonic_ms]
    return min(ahead, default=None)


def _poll_times(machine: Machine) -> list[int]:
    standing = machine.standing
    times = []
    if standing.group is not None:
        times.append(standing.group.deadline_ms)
        if not standing.group.asked_again:
            times.append(polling.again_ms(machine, standing.group))
    elif standing.snowball is not None and not standing.settled:
        times.append(standing.next_group_ms)
    entered = standing.clock_ms
    led = machine.record.valid_at(standing.height) is not None and standing.round >= 1
    if led and entered is not None and not standing.settled:
        times.append(entered + machine.spec.parameters.poll_timeout_ms)
        times.append(polling.lead_deadline_ms(machine, entered))
    deadline = polling.settle_deadline_ms(machine)
    if deadline is not None and not standing.settled:
        times.append(deadline)
    return times


def _vote_times(machine: Machine) -> list[int]:
    standing = machine.standing
    timeout = machine.spec.parameters.vote_timeout_ms(standing.round)
    accepts_ms = standing.accepts_ms if standing.round < ROUND_MAX else None
    starts = (standing.confirms_ms, accepts_ms)
    times = [start + timeout for start in starts if start is not None]
    if any(own.height == standing.height for own in machine.record.own):
        times.append(voting.resend_ms(machine))
    times += _fetch_times(machine)
    waiting = [c for c in standing.candidates.values() if c.bodies_asked_ms >= 0]
    pause = 2 * machine.spec.parameters.poll_timeout_ms
    times += [c.bodies_asked_ms + pause for c in waiting if c.status == HELD]
    return times


def _fetch_times(machine: Machine) -> list[int]:
    """When a block that is certified or confirmed, and not here, may be asked for again."""
    standing, pause = machine.standing, machine.spec.parameters.poll_timeout_ms
    wanted = [
        (block, voting.confirmers(machine, at, block)) for at, block in voting.proven(machine)
    ]
    if standing.certificate is not None:
        peers = [peer for peer, _ in standing.certificate.signatures]
        wanted.append((standing.certificate.block, peers))
    return [
        machine.fetched_ms[peer] + pause
        for block, peers in wanted
        if block not in standing.candidates
        for peer in peers
        if peer in machine.fetched_ms
    ]


def _clock_times(machine: Machine, now: Now) -> list[int]:
    """Own turn, opening of proposals, reminders and heartbeat, all as monotonic times."""
    standing = machine.standing
    ahead = now.monotonic_ms - now.clock_ms
    times = [
        time + ahead for time in (machine.tip.due_ms, heartbeat_due_ms(machine)) if time is not None
    ]
    turn = building.own_turn_ms(machine)
    if turn is not None and not standing.building:
        times.append(turn)
    window = machine.spec.parameters.window_ms(standing.round)
    for candidate in standing.candidates.values():
        if candidate.round == standing.round and candidate.status in (HELD, VALID):
            times.append(candidate.time_ms + ahead)
            if standing.clock_ms is not None:
                times.append(standing.clock_ms + candidate.rank * window)
    return times
