"""Polls of one round: drawing, asking, answering, settling (protocol §6)."""

from consensus import voting
from consensus.block import Block
from consensus.effects import CERT, POLL, Ask, Reply
from consensus.encoding import encode
from consensus.errors import ConsensusError
from consensus.events import AnswerReceived, AskFailed, PollReceived
from consensus.ids import BlockId, Now, Peer
from consensus.polls import PollGroup, draw_poll
from consensus.proposing import check_block, fetch_block, is_candidate, starting_preference
from consensus.signatures import CONFIRM as CONFIRM_KIND
from consensus.snowball import Snowball
from consensus.standing import POLL_PAUSE_DIVISOR, POLL_ROUNDS_MAX, VALID, Candidate, Machine


def preference(machine: Machine, now: Now) -> BlockId | None:
    """What this peer answers with at the height being decided, null if nothing."""
    standing = machine.standing
    valid = machine.record.valid_at(standing.height)
    if valid is not None and is_candidate(machine, valid.block, now):
        return valid.block
    if standing.settled:
        return standing.value
    if standing.snowball is not None:
        return standing.snowball.preference
    start = starting_preference(machine, now)
    return None if start is None else start.block.id


# ---- settling -----------------------------------------------------------------------------------


def advance_settling(machine: Machine, now: Now) -> None:
    """Settle on the valid value, else by polls, else by time.

    Without votes a peer without slots settles too: its own polls are all that it can follow by.
    """
    standing, kind = machine.standing, machine.spec.kind
    if standing.settled or (kind.votes and not machine.weight):
        return
    valid = machine.record.valid_at(standing.height)
    if valid is not None and is_candidate(machine, valid.block, now):
        # protocol §6 ‡: the valid value comes first, also in mid-poll; after round 0 the round's
        # leader says which, where several are held (ADR 0016)
        led = led_value(machine, valid.block, now)
        if led is not None:
            settle(machine, led)
        return
    if not kind.polls:  # nobody to ask: the first preference stands
        start = starting_preference(machine, now)
        if start is not None:
            settle(machine, start.block.id)
    for _ in range(POLL_ROUNDS_MAX if kind.polls else 0):
        if not advance_polls(machine, now):
            break
    if not standing.settled:
        settle_by_time(machine, now)


def led_value(machine: Machine, own: BlockId, now: Now) -> BlockId | None:
    """What to settle on by a peer whose valid value is `own`; null: wait.

    Whoever holds back the confirm that completes a quorum chooses who sees it, and when; so peers
    may hold different valid values for ever. From round 1 on they go by what the round's first
    owner confirms, if their lock allows it, and wait one window for that.
    """
    standing, parameters = machine.standing, machine.spec.parameters
    if standing.round == 0 or standing.clock_ms is None or not standing.ranks:
        return own
    leader = standing.ranks[0][0]
    if leader == machine.peer:  # first hear what the others were shown
        ready = standing.clock_ms + parameters.poll_timeout_ms
        return own if now.monotonic_ms >= ready else None
    tally = standing.votes.tallies.get((standing.round, CONFIRM_KIND))
    said = None if tally is None else tally.votes.get(leader)
    if said is not None and said.block is not None:
        candidate = standing.candidates.get(said.block)
        executed = candidate is not None and candidate.status == VALID
        if executed and voting.lock_allows(machine, said.block):
            return said.block
    late = now.monotonic_ms >= lead_deadline_ms(machine, standing.clock_ms)
    return own if late or (said is not None and said.block is None) else None


def lead_deadline_ms(machine: Machine, entered_ms: int) -> int:
    """Until when the round's first owner is waited for."""
    return entered_ms + machine.spec.parameters.window_ms(machine.standing.round)


def settle(machine: Machine, value: BlockId | None) -> None:
    standing = machine.standing
    standing.settled, standing.value, standing.group = True, value, None


def settle_by_time(machine: Machine, now: Now) -> None:
    """Snowball must never cost liveness that the certificate has ‡."""
    standing = machine.standing
    deadline = settle_deadline_ms(machine)
    if deadline is None or now.monotonic_ms < deadline:
        return
    held = preference(machine, now)
    candidate = None if held is None else standing.candidates.get(held)
    settle(machine, held if candidate is not None and candidate.status == VALID else None)


def settle_deadline_ms(machine: Machine) -> int | None:
    """When this round is settled without polls."""
    standing, parameters = machine.standing, machine.spec.parameters
    timeout = parameters.settle_timeout_ms(standing.round)
    if not machine.spec.kind.yields:
        return None
    if standing.executed_ms is not None:
        return standing.executed_ms + timeout
    if standing.round >= 1 and standing.clock_ms is not None:
        return standing.clock_ms + 4 * parameters.window_ms(standing.round) + timeout
    return None


# ---- polls --------------------------------------------------------------------------------------


def advance_polls(machine: Machine, now: Now) -> bool:
    """Open a group, or apply what is finished; whether anything moved."""
    standing = machine.standing
    if standing.settled:
        return False
    if not standing.polling and not begin_polls(machine, now):
        return False
    if standing.group is None:
        if now.monotonic_ms < standing.next_group_ms:
            return False
        open_group(machine, now)
        return True
    return apply_finished(machine, standing.group, now)


def begin_polls(machine: Machine, now: Now) -> bool:
    """The first poll waits for a starting preference; whether polls may go on.

    Without votes, a peer that is told of a decision asks around without one: told alone, it prefers
    nothing.
    """
    standing = machine.standing
    start = starting_preference(machine, now)
    told = any(c.told and c.status == VALID for c in standing.candidates.values())
    if start is None and not told:
        return False
    if standing.snowball is None:
        standing.snowball = Snowball(
            standing.alpha_preference,
            standing.alpha_confidence,
            machine.spec.parameters.beta,
            yields=machine.spec.kind.yields,
        )
    if start is not None:
        standing.snowball.preference = start.block.id
    return True


def apply_finished(machine: Machine, group: PollGroup, now: Now) -> bool:
    standing = machine.standing
    assert standing.snowball is not None
    if now.monotonic_ms >= group.deadline_ms:
        group.expire()
    finished = group.take_finished(standing.alpha_preference, standing.alpha_confidence)
    for poll in finished:
        standing.snowball.record_poll(poll.weights)
        if standing.snowball.settled is not None:
            settle(machine, standing.snowball.settled)
            return True
    if not group.polls:
        standing.group = None
        if standing.snowball.streak == 0:  # peers may still be executing: do not spin
            divisor = POLL_PAUSE_DIVISOR if standing.polling else 1
            pause = machine.spec.parameters.poll_timeout_ms // divisor
            standing.next_group_ms = now.monotonic_ms + pause
    return bool(finished)


def open_group(machine: Machine, now: Now) -> None:
    """Draw up to concurrent_polls polls; one query per owner serves them all."""
    standing, parameters = machine.standing, machine.spec.parameters
    polls = []
    for _ in range(parameters.concurrent_polls):
        places = machine.dice.sample(len(standing.occupied), standing.k)
        polls.append(draw_poll(standing.owners, [standing.occupied[place] for place in places]))
    group = PollGroup(polls, {}, now.monotonic_ms, now.monotonic_ms + parameters.poll_timeout_ms)
    standing.group = group
    drawn = sorted({peer for poll in polls for peer in poll.drawn})
    data = poll_bytes(machine)
    for peer in drawn:
        if peer == machine.peer:  # own slots answer too
            own = preference(machine, now)
            for poll in polls:
                poll.record_answer(peer, own)
        else:
            ask_preference(machine, group, peer, data)


def poll_bytes(machine: Machine) -> bytes:
    """What owners are asked at the height being decided."""
    return encode(["poll", 1, machine.spec.id, machine.standing.height])


def ask_preference(machine: Machine, group: PollGroup, peer: Peer, data: bytes) -> None:
    ask = machine.next_ask()
    group.asks[ask] = peer
    machine.out.append(Ask(ask, peer, POLL, data, group.deadline_ms))


def advance_lost_asks(machine: Machine, now: Now) -> None:
    """A lost query is asked again within poll_timeout."""
    group = machine.standing.group
    if group is None or group.asked_again or now.monotonic_ms < again_ms(machine, group):
        return
    group.asked_again = True
    data = poll_bytes(machine)
    for peer in sorted(set(group.asks.values())):
        ask_preference(machine, group, peer, data)


def again_ms(machine: Machine, group: PollGroup) -> int:
    return group.opened_ms + machine.spec.parameters.poll_timeout_ms // 2


# ---- answers ------------------------------------------------------------------------------------


def take_answer(machine: Machine, event: AnswerReceived, now: Now) -> bool:
    """Count it if its value is a candidate in this round; fetch what is unknown.

    Returns whether a rule may move by it: by a block that is news, or a poll that is certain now.
    """
    standing, group, news = machine.standing, machine.standing.group, False
    machine.preference_asks.pop(event.ask, None)
    counted: BlockId | None = None
    if event.height == standing.height and event.block is not None:
        candidate = standing.candidates.get(event.block)
        if candidate is None:
            fetch_block(machine, event.block, event.peer, now)
            news = True
        else:
            news, candidate.named = not candidate.named, True
            if is_candidate(machine, event.block, now):
                counted = event.block
    if group is None:
        return news
    group.record_answer(event.ask, event.peer, counted)
    return news or group.moves(standing.alpha_preference, standing.alpha_confidence)


def take_told(machine: Machine, block: Block, source: Peer) -> None:
    """Without votes: a block that a peer says is decided here. Our own polls judge it.

    It counts in them whatever its turn and time, it is never preferred because it was told; one of
    each peer, so that nobody makes us execute without end.
    """
    candidates = machine.standing.candidates
    known = candidates.get(block.id)
    if known is not None:
        known.told = known.named = True
        return
    if any(c.told and c.source == source for c in candidates.values()):
        return
    try:
        check_block(machine, block)
    except ConsensusError:
        return
    rank = block.header.fields.rank
    candidates[block.id] = Candidate(block, None, rank, named=True, told=True, source=source)


def take_silence(machine: Machine, event: AskFailed) -> None:
    machine.preference_asks.pop(event.ask, None)
    if machine.standing.group is not None:
        machine.standing.group.record_silence(event.ask)


def take_poll(machine: Machine, event: PollReceived, now: Now) -> None:
    """Answer a slot owner: preference at this height, certificate of a past one."""
    standing = machine.standing
    if event.height < standing.height and not machine.spec.kind.votes:
        decided = machine.decided.get(event.height)
        machine.out.append(Reply(event.query, encode(["answer", 1, event.height, 0, decided])))
        return
    if event.height < standing.height:
        certificate = machine.recent.get(event.height)
        raw = b"" if certificate is None else certificate.raw
        machine.out.append(Reply(event.query, encode(["past", 1, raw])))
        return
    held = None
    if event.height == standing.height and event.peer in standing.votes.weights:
        held = preference(machine, now)  # queries only from slot owners; others learn nothing
    answer = ["answer", 1, standing.height, standing.round, held]
    machine.out.append(Reply(event.query, encode(answer)))
    asker = event.peer in standing.votes.weights
    if event.height == standing.height and asker and not standing.candidates:
        ask_back(machine, event.peer, now)


def ask_back(machine: Machine, peer: Peer, now: Now) -> None:
    """Somebody decides a height of which we hold nothing: learn what it prefers."""
    standing, timeout = machine.standing, machine.spec.parameters.poll_timeout_ms
    if standing.asked_back_ms < 0:
        standing.asked_back_ms = now.monotonic_ms  # gossip may just be slower than the poll
        return
    if now.monotonic_ms < standing.asked_back_ms + timeout:
        return
    standing.asked_back_ms = now.monotonic_ms
    ask = machine.next_ask()
    machine.preference_asks[ask] = peer
    machine.out.append(Ask(ask, peer, POLL, poll_bytes(machine), now.monotonic_ms + timeout))


def push_certificate(machine: Machine, peer: Peer, height: int, now: Now) -> None:
    """Whoever is voted at for a past height answers with its certificate, at a bounded rate."""
    here = height == machine.standing.height
    certificate = machine.standing.certificate if here else machine.recent.get(height)
    pause = machine.spec.parameters.vote_timeout_ms(0)
    last = machine.pushed_ms.get(peer)
    table, previous = machine.tip.view.table, machine.tip.view.previous
    owner = peer in table.weights or (previous is not None and peer in previous.weights)
    if certificate is None or peer == machine.peer or not owner:
        return
    if last is not None and now.monotonic_ms < last + pause:
        return
    machine.pushed_ms[peer] = now.monotonic_ms
    data = encode(["push", 1, certificate.raw])
    deadline = now.monotonic_ms + pause
    machine.out.append(Ask(machine.next_ask(), peer, CERT, data, deadline))
