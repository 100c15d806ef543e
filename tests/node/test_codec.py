"""Events, effects and machines as canonical bytes: round trips, a closed set, no other bytes."""

from dataclasses import fields, is_dataclass
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import effects, events
from consensus.dice import Dice
from consensus.errors import EncodingError
from consensus.ids import Height, Now, Round
from consensus.polls import Poll, PollGroup
from consensus.snowball import Snowball
from node import codec
from tests.consensus.builders_engine import Desk
from tests.consensus.builders_keys import peer_key
from tests.sim.trace import traced


def again(value: Any) -> Any:
    raw = codec.to_bytes(value)
    back = codec.from_bytes(raw)
    assert codec.to_bytes(back) == raw
    return back


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=8)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.binary(max_size=4) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_values_come_back_with_their_types(value: Any) -> None:
    try:
        raw = codec.to_bytes(value)
    except EncodingError:  # text that is not NFC
        return
    back = codec.from_bytes(raw)
    assert back == value and type(back) is type(value)


def test_the_order_of_a_dict_survives() -> None:
    value = {b"z": 1, b"a": 2, (b"k", 3): [None, (True,)]}
    assert list(again(value).items()) == list(value.items())


def test_every_event_and_effect_of_a_run_comes_back() -> None:
    """Of a simulated run, so that the kinds that nodes meet are all there."""
    _, scene = traced(7, seconds=6.0)
    met: dict[str, int] = {}
    for host in scene.hosts:
        assert host.records is not None
        for step in host.records:
            assert again(step.event) == step.event
            assert again(step.effects) == step.effects
            for value in (step.event, *step.effects):
                met[type(value).__name__] = met.get(type(value).__name__, 0) + 1
    wanted = {"VotesReceived", "AnswerReceived", "BlockExecuted", "BlockBuilt", "Committed", "Woke"}
    wanted |= {"Sign", "Persist", "Commit", "Execute", "Build", "Gossip", "Ask", "Reply", "Verdict"}
    assert wanted <= set(met)


@pytest.mark.parametrize("union", [events.Event, effects.Effect], ids=["events", "effects"])
def test_every_kind_of_event_and_effect_has_a_form(union: Any) -> None:
    for kind in get_args(union):
        assert is_dataclass(kind)
        assert kind.__name__ in codec._CLASSES, kind
        assert codec._FIELDS[kind] == tuple(field.name for field in fields(kind))


@pytest.mark.parametrize(
    "value",
    [
        events.Woke(),
        events.PollReceived(3, peer_key(1), Height(4)),
        events.AnswerReceived(3, peer_key(1), Height(4), Round(0), None),
        effects.WakeAt(5),
        effects.Verdict(((1, "accept", b"key", ""),)),
        Snowball(11, 15, 8, counts={}),
        PollGroup([Poll({peer_key(1): 2}, 2)], {4: peer_key(1)}, 0, 9, asked_again=True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_single_values(value: Any) -> None:
    assert again(value) == value


def test_dice_go_on_where_they_were() -> None:
    dice = Dice(bytes(32))
    dice.uint(1_000)
    copy = again(dice)
    assert [copy.uint(1_000) for _ in range(9)] == [dice.uint(1_000) for _ in range(9)]


def test_a_machine_in_mid_poll_comes_back_but_for_spec_and_pool() -> None:
    desk = Desk(2 if Desk(2).my_rank() else 3)
    desk.propose(0)
    desk.confirms(desk.others()[:1], None, 3)
    machine = again(desk.machine)
    assert machine.standing == desk.machine.standing
    assert machine.record == desk.machine.record
    assert not hasattr(machine, "pool") and not hasattr(machine, "spec")


def test_a_class_that_is_not_of_the_closed_set_has_no_form() -> None:
    for value in (object(), {1, 2}, 1.5, Now):
        with pytest.raises(AssertionError, match="no form"):
            codec.to_bytes(value)


@pytest.mark.parametrize(
    "value",
    [
        ["x"],
        ["o", "NoSuchClass"],
        ["r", "NoSuchRecord", b""],
        ["o", "WakeAt"],
        ["o", "WakeAt", 1, 2],
        [],
    ],
    ids=repr,
)
def test_unknown_forms_are_refused(value: list[Any]) -> None:
    from consensus.encoding import encode

    with pytest.raises(EncodingError):
        codec.from_bytes(encode(value))


@given(st.binary(max_size=40))
def test_any_bytes_give_a_value_or_an_encoding_error(raw: bytes) -> None:
    try:
        codec.from_bytes(raw)
    except EncodingError:
        pass
