"""`python -m tests.docs.generate [--check]`: renews the generated parts of docs/consensus.md.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. What it holds comes from the
code: tables of `consensus/`, its syntax trees, and real engines that are put through their states.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from consensus.kinds import KINDS
from consensus.parameters import INEQUALITIES, Parameters
from consensus.signatures import CONFIRM as CONFIRM_KIND
from consensus.signing import ACCEPT, CONFIRM, PROPOSE, SignRecord
from consensus.votes import Votes
from tests.consensus.builders_chain import make_spec
from tests.consensus.builders_keys import peer_key
from tests.docs import calls, rounds, walks
from tests.docs.ancestors import ANCESTORS
from tests.docs.daggers import DAGGERS
from tests.docs.rounds import ACCEPTED, DECIDED, NEXT, POLLING, WAITING, Edge
from tests.model.clauses import WEAKENED
from tests.model.report import HEALINGS, Configuration
from tests.planted.faults import FAULTS

PAGE = Path(__file__).parents[2] / "docs" / "consensus.md"
OWNERS_SHOWN = (1, 2, 3, 4, 5, 7, 10, 13, 20, 60, 600)
ROUNDS_SHOWN = range(6)
# Reachable states of the model: found by running it; `test_consensus_page` runs it again.
EXPLORED: tuple[tuple[Configuration, int], ...] = (
    (Configuration(4, 1, 2), 912),
    (Configuration(5, 1, 2), 2_295),
    (Configuration(4, 1, 3), 50_189),
    (Configuration(4, 1, 3, values=3, dense=True), 27_500),
    (Configuration(4, 1, 4, dense=True), 195_988),
    (Configuration(5, 1, 3, dense=True), 36_359),
    (Configuration(7, 2, 2, dense=True), 7_002),
    (Configuration(5, 1, 3, full=True), 270_311),
    (Configuration(4, 1, 4, full=True), 2_728_473),
)
_PART = re.compile(r"<!-- generated: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in lines)


def mermaid(lines: Sequence[str]) -> str:
    return "\n".join(["```mermaid", *lines, "```"])


# ---- chain, parameters --------------------------------------------------------------------------


def kinds() -> str:
    def said(flag: bool) -> str:
        return "yes" if flag else "no"

    rows = [
        (
            f"`{kind.name}`",
            said(kind.polls),
            said(kind.votes),
            said(kind.yields),
            said(kind.hill),
            kind.owners_max or "no bound",
            kind.beta_min,
        )
        for kind in KINDS.values()
    ]
    head = ("kind", "polls", "votes", "yields", "hill", "owners at most", "beta at least")
    return table(head, rows)


def timers() -> str:
    """Of the public preset, in milliseconds."""
    public = Parameters.public()
    rows = [
        (
            round_,
            public.window_ms(round_),
            public.settle_timeout_ms(round_),
            public.vote_timeout_ms(round_),
            f"{public.gas(1, round_):,}",
        )
        for round_ in ROUNDS_SHOWN
    ]
    return table(("round", "window", "settle_timeout", "vote_timeout", "gas of a block"), rows)


def thresholds() -> str:
    """What is asked for where so many slots are occupied: polls and votes."""
    public = Parameters.public()
    rows = []
    for occupied in OWNERS_SHOWN:
        limits = public.thresholds(occupied)
        votes = Votes({peer_key(0): occupied}, occupied)
        quorum = next(weight for weight in range(occupied + 1) if votes.is_quorum(weight))
        rows.append((occupied, *limits, quorum, occupied - quorum))
    head = ("occupied", "k", "alpha_preference", "alpha_confidence", "quorum", "may be mute")
    return table(head, rows)


def inequalities() -> str:
    return "\n".join(f"- {text}" for text, _ in INEQUALITIES)


def _cited(text: str) -> str:
    """Docstrings of `consensus` may leave out whose sections they cite: the protocol's."""
    return re.sub(r"(?<![a-z] )§", "protocol §", text)


# ---- the machine --------------------------------------------------------------------------------


def rules() -> str:
    rows = [
        (number, f"`{rule.place}`", _cited(rule.text), ", ".join(rule.effects) or "—")
        for number, rule in enumerate(calls.rules(), 1)
    ]
    return table(("", "rule", "what it does", "may order"), rows)


def intakes() -> str:
    rows = [
        (
            intake.event,
            _cited(intake.text) or "—",
            ", ".join(f"`{place}`" for place in intake.places) or "—",
            ", ".join(intake.effects) or "—",
        )
        for intake in calls.intakes()
    ]
    return table(("event", "what it says", "taken in by", "may order at once"), rows)


def height() -> str:
    """One height at an owner that does not propose, as it was written down."""
    lines = ["sequenceDiagram", "    participant Peers", "    participant Engine"]
    lines.append("    participant Host as Host (disk, executor, signer)")
    for line in walks.height_story():
        times = f" ×{line.times}" if line.times > 1 else ""
        lines.append(f"    {line.sender}->>{line.receiver}: {line.text}{times}")
    return mermaid(lines)


def _id(state: str) -> str:
    return state.replace(" ", "_")


def _everywhere(edges: Sequence[Edge]) -> list[tuple[str, str]]:
    """(cause, state after) of what leads there from every state."""
    states = {edge.before for edge in edges}
    ways: dict[tuple[str, str], set[str]] = {}
    for edge in edges:
        ways.setdefault((edge.cause, edge.after), set()).add(edge.before)
    return [way for way, before in ways.items() if before == states]


def _after(edge: Edge) -> str:
    """The state after it, with the confirm that was signed on the way to an accept."""
    words = [value for phase, value in edge.signs if phase == CONFIRM_KIND]
    if words and edge.before.split()[0] in (WAITING, POLLING) and edge.after.startswith(ACCEPTED):
        return f"confirms {words[0]}, {edge.after}"
    return edge.after


def round_diagram() -> str:
    """States of round 0; what leads somewhere from everywhere is drawn once."""
    edges = rounds.round_edges()
    common = _everywhere(edges)
    states = list(dict.fromkeys([edge.before for edge in edges]))
    lines = ["stateDiagram-v2", "    [*] --> one", '    state "one round" as one {']
    lines.append(f"        [*] --> {_id(WAITING)}")
    for state in states:
        if " " in state:
            lines.append(f'        state "{state}" as {_id(state)}')
    outside = [f"    one --> {_id(NEXT)}: {cause}" for cause, after in common if after == NEXT]
    drawn: dict[tuple[str, str], list[str]] = {}
    for edge in edges:
        if (edge.cause, edge.after) not in common and edge.before != edge.after:
            through = _after(edge).removesuffix(edge.after).removesuffix(", ")
            cause = f"{edge.cause} ({through} first)" if through else edge.cause
            drawn.setdefault((edge.before, edge.after), []).append(cause)
    for (before, after), causes in drawn.items():
        arrow = f"{_id(before)} --> {_id(after)}: {' / '.join(causes)}"
        if after in (DECIDED, NEXT):
            outside.append(f"    {arrow}")
        else:
            lines.append(f"        {arrow}")
    lines.append("    }")
    outside.insert(0, f'    state "{NEXT}" as {_id(NEXT)}')
    return mermaid([*lines, *outside, f"    {DECIDED} --> [*]"])


def _walked(edges: Sequence[Edge]) -> str:
    """Inputs down, states across."""
    states = list(dict.fromkeys([edge.before for edge in edges]))
    causes = list(dict.fromkeys([edge.cause for edge in edges]))
    ends = {(edge.before, edge.cause): edge for edge in edges}
    rows = []
    for cause in causes:
        row = [cause]
        for state in states:
            edge = ends.get((state, cause))
            row.append("" if edge is None else "stays" if edge.after == state else _after(edge))
        rows.append(row)
    return table(("", *states), rows)


def round_table() -> str:
    return _walked(rounds.round_edges())


def later_table() -> str:
    """What a later round has else than round 0, where nothing is locked: whole rows."""
    zero = {(edge.before, edge.cause): edge for edge in rounds.round_edges()}
    edges = rounds.later_edges()
    other = [e.cause for e in edges if zero[e.before, e.cause][:3] != e[:3]]
    return _walked([edge for edge in edges if edge.cause in other])


def locked_table() -> str:
    return _walked(rounds.locked_edges())


def proposals() -> str:
    lines = ["stateDiagram-v2", "    direction LR"]
    for edge in walks.proposal_edges():
        before = "[*]" if edge.before == "new" else edge.before
        orders = f" ({', '.join(edge.orders)})" if edge.orders else ""
        lines.append(f"    {before} --> {edge.after}: {edge.cause}{orders}")
    return mermaid(lines)


def lock() -> str:
    rows: dict[str, list[str]] = {}
    for freedom in walks.lock_table():
        rows.setdefault(freedom.shown, []).append(freedom.confirms)
    head = ("quorum of confirms that it was shown", "settled on A", "settled on B")
    return table(head, [(shown, *confirms) for shown, confirms in rows.items()])


def places() -> str:
    """Where a peer may still sign, asked of the sign record."""
    names = {PROPOSE: "propose", CONFIRM: "confirm", ACCEPT: "accept"}
    ladder = [(round_, phase) for round_ in (1, 2) for phase in names]
    record = SignRecord.fresh(make_spec(4).id, peer_key(0))
    rows = []
    for round_, phase in ladder:
        stands = record.with_own(1, round_, phase, b"")
        free = [stands.allows(1, *place) for place in ladder]
        rows.append((f"{names[phase]}, round {round_}", *["yes" if each else "" for each in free]))
    head = ("newest signed", *[f"{names[phase]} {round_}" for round_, phase in ladder])
    return table(head, rows)


# ---- what is shown ------------------------------------------------------------------------------


def daggers() -> str:
    rows = [
        (
            f"protocol §{each.section}",
            each.rule,
            each.without,
            f"`{each.place}`",
            f"`tests/{each.test}`",
        )
        for each in DAGGERS
    ]
    return table(("", "rule", "without it", "where", "the test that fails without it"), rows)


def ancestors() -> str:
    rows = []
    for each in ANCESTORS:
        back = [f"`{fault.name}`" for fault in FAULTS if each.name in fault.ancestors]
        rows.append((each.name, each.text, ", ".join(back) or "nothing here to plant it in"))
    return table(("", "what it was", "planted again as"), rows)


def weakened() -> str:
    rows = [
        (
            each.name,
            f"{each.slots} / {each.byzantine} / {each.rounds}",
            "two certificates" if each.seek == ("agreement",) else each.seek[0],
        )
        for each in WEAKENED
        if each.violates
    ]
    return table(("clause weakened", "slots / Byzantine / rounds", "what the model finds"), rows)


def harmless() -> str:
    rows = [
        (each.name, f"{each.slots} / {each.byzantine} / {each.rounds}", each.why)
        for each in WEAKENED
        if not each.violates
    ]
    return table(("weakened", "slots / Byzantine / rounds", "why agreement holds"), rows)


def explored() -> str:
    rows = [
        (
            each.slots,
            each.byzantine,
            each.rounds,
            each.values,
            "dense" if each.dense else "all",
            f"{states:,}",
        )
        for each, states in EXPLORED
    ]
    head = ("slots", "Byzantine", "rounds", "blocks", "runs", "reachable states")
    return table(head, rows)


def healings() -> str:
    rows = [
        (each.name, "a certificate is certain" if each.decides else "there is an endless play")
        for each in HEALINGS
    ]
    return table(("after the network healed", "the model finds"), rows)


PARTS: Mapping[str, Callable[[], str]] = {
    part.__name__: part
    for part in (
        kinds,
        timers,
        thresholds,
        inequalities,
        rules,
        intakes,
        height,
        round_diagram,
        round_table,
        later_table,
        locked_table,
        proposals,
        lock,
        places,
        daggers,
        ancestors,
        explored,
        weakened,
        harmless,
        healings,
    )
}


def renewed(text: str) -> str:
    """The page with every part as the code gives it now. Raises KeyError for an unknown part."""

    def part(found: re.Match[str]) -> str:
        name = found[1]
        return f"<!-- generated: {name} -->\n{PARTS[name]()}\n<!-- end -->"

    return _PART.sub(part, text)


def named(text: str) -> list[str]:
    """The parts that a page has, in order."""
    return [found[1] for found in _PART.finditer(text)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if stale")
    chosen = parser.parse_args()
    text = PAGE.read_text()
    fresh = renewed(text)
    if chosen.check:
        return 0 if fresh == text else 1
    PAGE.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
