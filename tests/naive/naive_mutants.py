"""Single changes of a valid block: of one header field, of one part of the body.

Each comes twice: as it is, and with every derived field made right again, so that the rule behind
the change is judged and not only a root.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from consensus.facts import Fact
from consensus.messages import Message
from tests.naive.naive_cbor import decode, encode, hashed, id_of, id_of_hash
from tests.naive.naive_chain import Lab, Shown, Step
from tests.naive.naive_records import Body, Header, body_of, header_of, record

ZERO = bytes(32)
OTHER_ID = id_of_hash(hashed("another"))


class Mutant(NamedTuple):
    name: str
    shown: Shown


def _near(number: int) -> list[int]:
    return [each for each in (number - 1, number + 1, 0, 1, 2**63, 2**64 - 1) if each >= 0]


def _header_changes(header: Header) -> Iterator[tuple[str, Any]]:
    """(field, another value)."""
    for name in ("height", "epoch", "proposer_slot", "rank", "time_ms", "gas_used"):
        for number in _near(getattr(header, name)):
            yield name, number
    for number in (1, 2, 3, 4, 5, 65_535, 65_536, 2**64 - 1):
        yield "round", number
    for name in ("chain", "parent"):
        yield name, OTHER_ID
    yield "parent_certificate", None
    yield "parent_certificate", OTHER_ID
    roots = [each for each in Header._fields if each.endswith("_root")]
    for name in ("reveal", "randomness", "next_table", *roots):
        yield name, ZERO
    yield "reveal", None
    yield "reveal", hashed("link", header.reveal)
    yield "main_ref", 0
    yield "main_ref", 7
    yield "skipped", [OTHER_ID]


def header_mutants(lab: Lab, step: Step) -> Iterator[Mutant]:
    header, body = header_of(step.block.header.raw), body_of(step.block.body.raw)
    for name, value in _header_changes(header):
        changed = header._replace(**{name: value})
        if changed == header:
            continue
        told = f"{name} = {value!r:.40}"
        yield Mutant(told, Shown(changed.raw(), body.raw(), step.messages))
        whole = lab.complete(step, changed, body, step.messages)
        yield Mutant(f"{told}, completed", whole)


def skipping(lab: Lab, step: Step) -> Iterator[Mutant]:
    """Rounds around the first that may skip, with each input skipped, all, twice, in disorder."""
    header, body = header_of(step.block.header.raw), body_of(step.block.body.raw)
    inputs = body.chain_inputs + body.messages
    for round_ in (0, 3, 4, 6):
        place = _proposer(lab, step, header, round_)
        if place is None:
            continue
        for skipped in ([], inputs, inputs[:1], inputs[::-1], inputs[:1] * 2, [OTHER_ID]):
            changed = place._replace(skipped=skipped)
            whole = lab.complete(step, changed, body, step.messages)
            yield Mutant(f"round {round_} skips {len(skipped)}", whole)
        empty = Body(body.parent_certificate, body.facts, [], [])
        yield Mutant(f"round {round_} empty", lab.complete(step, place, empty, ()))


def _proposer(lab: Lab, step: Step, header: Header, round_: int) -> Header | None:
    """The header for another round, by the same peer if it is ranked there too."""
    view = step.parent.view
    before = step.parent.header.fields.randomness
    owner = view.table.owners[header.proposer_slot]
    for rank, (peer, slot) in enumerate(view.ranking(before, round_)):
        if peer == owner:
            return header._replace(round=round_, rank=rank, proposer_slot=slot)
    return None


def _swap(items: Sequence[Any]) -> list[Any]:
    return [*items[1:], *items[:1]]


def body_mutants(
    lab: Lab, step: Step, *, others: Sequence[Message], facts: Sequence[Fact]
) -> Iterator[Mutant]:
    """`others`: messages that may not, or may, be in it; `facts` the same."""
    header, body = header_of(step.block.header.raw), body_of(step.block.body.raw)
    known = {bytes(message.id): message for message in (*others, *step.messages)}

    def made(name: str, changed: Body) -> Iterator[Mutant]:
        messages = [known[each] for each in changed.messages if each in known]
        if len(messages) < len(changed.messages):
            return  # bodies that nobody has are never judged
        yield Mutant(name, Shown(header.raw(), changed.raw(), tuple(messages)))
        yield Mutant(f"{name}, completed", lab.complete(step, header, changed, messages))

    for name in ("messages", "facts", "chain_inputs"):
        items = getattr(body, name)

        def with_items(changed: list[bytes], name: str = name) -> Body:
            fields: Any = {name: changed}
            return body._replace(**fields)

        yield from made(f"no {name}", with_items([]))
        yield from made(f"{name} turned", with_items(_swap(items)))
        yield from made(f"{name} doubled", with_items([*items, *items[:1]]))
        yield from made(f"{name} cut", with_items(items[1:]))
    for message in others:
        more = [*body.messages, bytes(message.id)]
        yield from made("a message more", body._replace(messages=more))
    for fact in facts:
        yield from made("a fact more", body._replace(facts=[*body.facts, fact.raw]))
        yield from made("a fact before", body._replace(facts=[fact.raw, *body.facts]))
    for raw in (b"", b"\x80", body.facts[0][:-1] if body.facts else b"\xf6"):
        yield from made("no fact", body._replace(facts=[*body.facts, raw]))
    moved = body._replace(chain_inputs=[*body.chain_inputs, *body.messages[:1]])
    yield from made("the border moved", moved._replace(messages=body.messages[1:]))
    for name, certificate in _certificates(body.parent_certificate):
        yield from made(name, body._replace(parent_certificate=certificate))


def _certificates(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """The parent's certificate, changed in one place; signatures are not made again."""
    yield "certificate empty", b""
    if not raw:
        yield "certificate of genesis", record("certificate", OTHER_ID, 0, 1, 0, OTHER_ID, [])
        return
    fields = decode(raw)
    signatures = fields[7]

    def changed(place: int, value: Any) -> bytes:
        return encode([*fields[:place], value, *fields[place + 1 :]])

    yield "certificate cut short", raw[:-1]
    yield "certificate of another chain", changed(2, OTHER_ID)
    yield "certificate of another epoch", changed(3, fields[3] + 1)
    yield "certificate of another height", changed(4, fields[4] + 1)
    yield "certificate of another round", changed(5, fields[5] + 1)
    yield "certificate of another block", changed(6, id_of(b""))
    for count in range(len(signatures)):
        yield f"certificate of {count} signers", changed(7, signatures[:count])
        yield (
            f"certificate without {count}",
            changed(7, signatures[:count] + signatures[count + 1 :]),
        )
    yield "signers turned", changed(7, _swap(signatures))
    yield "a signer twice", changed(7, [*signatures, signatures[-1]])
    stranger = [b"\xff" * 32, signatures[0][1]]
    yield "a stranger signs", changed(7, [*signatures, stranger])
    forged = [signatures[0][0], bytes(64)]
    yield "a forged signature", changed(7, [forged, *signatures[1:]])
