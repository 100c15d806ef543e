"""Declarations of agents, messages and records, and what is refused at once (execution §1, §2)."""

import pytest

from node.sdk.agent import Agent, on, view
from node.sdk.context import Context, Means, Place, Reject, Stopped, rejection
from node.sdk.fields import Address, AgentError, FieldError, Reference
from node.sdk.shapes import BadField, message, record, shape_of


@record
class Bid:
    who: Address
    amount: int


@message
class Offer:
    bids: list[Bid] = []
    note: str = ""


@message
class Close:
    pass


class Auction(Agent):
    seller: Address
    best: int = 0
    bids: list[Bid] = []

    def init(self, ctx: Context, seller: Address, seconds: int = 10) -> None:
        self.seller = seller

    @on(Offer)
    def offer(self, ctx: Context, m: Offer) -> None:
        self.bids = m.bids

    @view
    def minimum(self, step: int = 1) -> int:
        return self.best + step


def test_a_form():
    assert Auction.form.describe() == {
        "fields": {"seller": "Address", "best": "int", "bids": "list[Bid]"},
        "init": {"seller": "Address", "seconds": "int"},
        "messages": {"Offer": {"bids": "list[Bid]", "note": "str"}},
        "views": {"minimum": {"arguments": {"step": "int"}, "returns": "int"}},
    }


def test_messages_take_names_only():
    assert Offer(note="x") == Offer(note="x", bids=[])
    with pytest.raises(TypeError):
        Offer([], "x")


def test_defaults_are_copied():
    one, other = Auction(), Auction()
    one.bids.append(Bid(who=Address(bytes(32)), amount=1))
    assert other.bids == []
    first = Offer()
    first.bids.append(Bid(who=Address(bytes(32)), amount=1))
    assert Offer().bids == []


def test_stores_are_checked_and_copied():
    auction = Auction()
    bids = [Bid(who=Address(bytes(32)), amount=1)]
    auction.bids = bids
    bids[0].amount = 99
    assert auction.bids[0].amount == 1
    with pytest.raises(FieldError):
        auction.best = "1"
    with pytest.raises(FieldError):
        auction.bids = [1]
    with pytest.raises(AttributeError):
        auction.other = 1


def test_a_message_and_its_map():
    shape = shape_of(Offer)
    bid = Bid(who=Address(bytes(32)), amount=1)
    values = {"bids": [[bytes(32), 1]], "note": ""}
    assert shape.to_map(Offer(bids=[bid])) == values
    assert shape.from_map(values) == Offer(bids=[bid])
    assert shape.from_map({}) == Offer()


@pytest.mark.parametrize(
    ("values", "field"),
    [({"x": 1}, "x"), ({"note": 1}, "note"), ({"bids": [[bytes(32)]]}, "bids")],
)
def test_a_map_that_is_no_message(values, field):
    with pytest.raises(BadField) as caught:
        shape_of(Offer).from_map(values)
    assert caught.value.field == field


def refused_classes():
    def two_handlers():
        class Twice(Agent):
            @on(Close)
            def one(self, ctx: Context, m: Close) -> None: ...
            @on(Close)
            def two(self, ctx: Context, m: Close) -> None: ...

    def handler_without_context():
        class Bare(Agent):
            @on(Close)
            def close(self, m: Close) -> None: ...

    def handler_of_no_message():
        on(int)

    def view_without_return():
        class Mute(Agent):
            @view
            def nothing(self): ...

    def view_without_types():
        class Loose(Agent):
            @view
            def double(self, number) -> int:
                return 2 * number

    def init_with_star():
        class Star(Agent):
            def init(self, ctx: Context, *names: str) -> None: ...

    def float_field():
        class Rate(Agent):
            rate: float = 0.5

    def wrong_default():
        class Wrong(Agent):
            count: int = True

    def private_field():
        class Hidden(Agent):
            _count: int = 0

    def inheritance():
        class Better(Auction):
            pass

    def message_that_inherits():
        @message
        class Longer(Offer):
            pass

    def message_with_bare_list():
        @message
        class Many:
            items: list

    def message_in_message():
        @message
        class Outer:
            inner: Offer

    def record_of_itself():
        @record
        class Node:
            children: list["Node"]

    def too_many_fields():
        message(type("Wide", (), {"__annotations__": {f"f{n}": int for n in range(65)}}))

    def name_outside_ascii():
        message(type("Naïve", (), {}))

    return [case for name, case in locals().items() if callable(case)]


@pytest.mark.parametrize("case", refused_classes(), ids=lambda case: case.__name__)
def test_a_declaration_outside_the_language(case):
    with pytest.raises(AgentError):
        case()


# ---- context ------------------------------------------------------------------------------------


def context(gas=1000, balance=0, room=10):
    place = Place(bytes(36), bytes(32), bytes(36), bytes(32), 7, 99)
    return Context(place, Means(gas, balance, 124, room))


def test_what_a_context_knows():
    ctx = context()
    assert (ctx.height, ctx.time_ms, ctx.gas_min) == (7, 99, 124)
    assert ctx.sender == Address(bytes(32))
    assert ctx.self_reference() == Reference(Address(bytes(32)), bytes(36))


def test_what_is_queued_is_paid_for():
    ctx = context(gas=400, balance=300)
    to = Reference(Address(b"t" * 32))
    first = ctx.send(to, Close())
    second = ctx.send(to, Close(), gas=130, pay=10, payer="self")
    assert first != second
    assert (ctx.gas, ctx.balance) == (276, 160)
    own = [effect.own for effect in ctx.effects]
    assert own == [0, 140]
    with pytest.raises(Reject) as caught:
        ctx.send(to, Close(), pay=161)
    assert caught.value.code == "NoFunds"
    with pytest.raises(Stopped) as stopped:
        ctx.send(to, Close(), gas=277)
    assert stopped.value.code == ""
    assert len(ctx.effects) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda ctx: ctx.send("somebody", Close()),
        lambda ctx: ctx.send(Reference(Address(bytes(32))), Close(), pay=0.5),
        lambda ctx: ctx.send(Reference(Address(bytes(32))), Close(), gas=True),
        lambda ctx: ctx.remind(at_ms=-1, message=Close()),
        lambda ctx: ctx.remind(at_ms=2**64, message=Close()),
        lambda ctx: ctx.remind(at_ms="soon", message=Close()),
        lambda ctx: ctx.cancel(b"short"),
    ],
)
def test_arguments_that_are_none(call):
    with pytest.raises(Stopped):
        call(context())


def test_only_messages_are_sent_and_published():
    with pytest.raises(AgentError):
        context().publish({"type": "Close"})
    with pytest.raises(AgentError):
        context().send(Reference(Address(bytes(32))), "Close")


@pytest.mark.parametrize(
    ("reject", "found"),
    [
        (Reject("Closed"), ("Closed", b"")),
        (Reject("Low", minimum=1), ("Low", b"\xa1gminimum\x01")),
        (Reject(""), None),
        (Reject("x" * 65), None),
        (Reject("é"), None),
        (Reject(5), None),
        (Reject("Low", by=0.5), None),
        (Reject("Low", text="x" * 256), None),
    ],
)
def test_what_a_receipt_can_hold_of_a_refusal(reject, found):
    assert rejection(reject) == found
