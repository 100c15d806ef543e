"""The states from which the healed rounds begin: whatever the model of agreement reaches."""

from tests.model.healed import Habits, Healed
from tests.model.rules import Rules
from tests.model.search import Search
from tests.model.slots import CONFIRM, Lock, Shape


def starts(shape: Shape, habits: Habits) -> list[Healed]:
    """Every reachable set of locks with every quorum of confirms that can be shown.

    Each slot knows the quorum behind its lock and no more; the adversary may show the rest. States
    with a certificate are left out: there is nothing left to decide.
    """
    search = Search(shape, dense=True, traced=False)
    rules: Rules = search.rules
    found = []
    for numbers in search.reachable():
        slots = [search.table.slots[number] for number in numbers]
        shown = rules.shown_by_slots(slots)
        if rules.certified(shown):
            continue
        proven = tuple(
            Lock(value, round_)
            for i, (round_, phase, value) in enumerate(shape.places())
            if phase == CONFIRM and shown.quorum >> i & 1
        )
        locks = tuple(slot.lock for slot in slots)
        valids = locks if habits.valid_durable else (None,) * len(locks)
        found.append(Healed(shape.rounds, locks, valids, proven))
    return found
