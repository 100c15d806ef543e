"""A run of the model told in words, for a reader who has protocol §7 beside it."""

from collections.abc import Iterator, Sequence

from tests.model.rules import CRASH, Move, Rules, Shown
from tests.model.search import Found, Step
from tests.model.slots import ACCEPT, CONFIRM, Slot


def value_name(value: int) -> str:
    return chr(ord("A") + value)


def told(found: Found) -> list[str]:
    """The run to the violation, one line a step; the last line says what is broken."""
    if not found.trace:
        return []
    rules = Rules(found.shape, found.clauses)
    cluster: Sequence[Slot] = [Slot()] * found.shape.honest
    lines = []
    for number, step in enumerate(found.trace, 1):
        lines.append(f"{number:2}. {_step(rules, step, cluster)}")
        cluster = step.after
    return [*lines, "    " + _end(rules, found, cluster)]


def _shown(rules: Rules, cluster: Sequence[Slot]) -> Shown:
    return rules.shown_by_slots(cluster)


def _step(rules: Rules, step: Step, cluster: Sequence[Slot]) -> str:
    who, move, before = f"slot {step.slot + 1}", step.move, cluster[step.slot]
    if move.kind == CRASH:
        return f"{who} crashes and restarts with {_record(step.after[step.slot])}"
    phase = ACCEPT if move.kind.startswith("accept") else CONFIRM
    text = f"{who} {_verb(phase)} {value_name(move.value)} in round {move.round}"
    if phase == CONFIRM:
        text += _why_confirm(rules, move, before, _shown(rules, cluster))
    else:
        text += (
            f", shown the confirms of {_signers(rules, move.round, CONFIRM, move.value, cluster)}"
        )
        lock = step.after[step.slot].lock
        held = lock is not None and lock == (move.value, move.round)
        text += "; locks it" if held else "; not locked on it"
    if move.kind.endswith("crash"):
        text += "; it crashes before its record is durable"
    return text


def _verb(phase: int) -> str:
    return "confirms" if phase == CONFIRM else "accepts"


def _why_confirm(rules: Rules, move: Move, slot: Slot, shown: Shown) -> str:
    lock = slot.lock
    if lock is None:
        return ""
    held = f" (locked on {value_name(lock.value)} since round {lock.round}"
    if lock.value == move.value:
        return held + ")"
    rounds = [
        r
        for r in range(rules.shape.rounds)
        if shown.quorum & rules.shape.bit(r, CONFIRM, move.value)
    ]
    quorums = ", ".join(str(r) for r in rounds)
    return held + (f"; shown a quorum of round {quorums})" if rounds else ")")


def _record(slot: Slot) -> str:
    lock = slot.lock
    if not slot.place:
        place = "no vote remembered"
    else:
        round_, phase = divmod(slot.place - 1, 2)
        place = f"its newest vote in round {round_} ({'accept' if phase else 'confirm'})"
    return place + (f", locked on {value_name(lock.value)}" if lock else ", no lock")


def _signers(rules: Rules, round_: int, phase: int, value: int, cluster: Sequence[Slot]) -> str:
    """Who signed that, of the rounds that the clauses count together."""
    clauses = rules.clauses
    tally = clauses.confirm_tally if phase == CONFIRM else clauses.accept_tally
    if phase == CONFIRM and clauses.proof == "quorum of any earlier round's confirms":
        tally = "this and earlier rounds"
    first = {"one round": round_, "this and the last round": max(0, round_ - 1)}.get(tally, 0)
    parts = []
    for i, slot in enumerate(cluster, 1):
        rounds = [
            r for r in range(first, round_ + 1) if slot.votes & rules.shape.bit(r, phase, value)
        ]
        if rounds:
            parts.append(f"{i}" + ("" if first == round_ else f" (round {rounds[-1]})"))
    parts += ["the Byzantine"] if rules.shape.byzantine == 1 else []
    parts += [f"{rules.shape.byzantine} Byzantine"] if rules.shape.byzantine > 1 else []
    return ", ".join(parts)


def _end(rules: Rules, found: Found, cluster: Sequence[Slot]) -> str:
    if found.broken != "agreement":
        return f"broken: {found.broken}"
    parts: Iterator[str] = (
        f"{value_name(value)} in round {round_} ({_signers(rules, round_, ACCEPT, value, cluster)})"
        for round_, value in rules.certified(_shown(rules, cluster))
    )
    return "two certificates at one height: " + " and ".join(parts)
