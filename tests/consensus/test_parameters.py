"""Every name and inequality of protocol §3, and the functions of round, table and epoch."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import EncodingError, ParameterError
from consensus.parameters import INEQUALITIES, Parameters, effective

LOCAL = Parameters.local()
PUBLIC = Parameters.public()


def test_presets_are_those_of_the_page():
    same = {
        "slots": 600,
        "k": 20,
        "alpha_preference": 11,
        "alpha_confidence": 15,
        "beta": 8,
        "concurrent_polls": 4,
        "claim_close": 32,
        "turnover_max": 37,
        "window_base_ms": 1000,
        "window_step_ms": 500,
        "settle_base_ms": 3000,
        "settle_step_ms": 1000,
        "vote_base_ms": 1000,
        "vote_step_ms": 500,
        "evidence_ms": 7 * 86_400_000,
        "block_gas_max": 400_000,
        "gas_floor": 50_000,
        "block_bytes_max": 1024 * 1024,
        "block_messages_max": 4096,
        "facts_max": 64,
        "expiry_max_blocks": 256,
        "vm": 1,
    }
    differ = {
        "poll_timeout_ms": (600, 250),
        "epoch_blocks": (2048, 256),
        "turnover_interval_ms": (60_000, 1),
        "difficulty_bits_min": (24, 8),
        "heartbeat_s": (30, 0),
        "trust_ms": (14 * 86_400_000, 0),
        "hill_nonces": (0, 4096),
    }
    for name, value in same.items():
        assert (getattr(PUBLIC, name), getattr(LOCAL, name)) == (value, value), name
    for name, values in differ.items():
        assert (getattr(PUBLIC, name), getattr(LOCAL, name)) == values, name


BROKEN = [
    ({"slots": 0, "turnover_max": 0}, "1 ≤ slots"),
    ({"slots": 65_536}, "slots ≤ 65,535"),
    ({"slots": 1025}, "slots ≤ 1,024"),
    ({"alpha_preference": 10}, "k/2 < alpha_preference"),
    ({"k": 21, "alpha_preference": 10}, "k/2 < alpha_preference"),
    ({"alpha_preference": 16}, "alpha_preference ≤ alpha_confidence"),
    ({"alpha_confidence": 21}, "alpha_confidence ≤ k"),
    ({"concurrent_polls": 0}, "0 < concurrent_polls"),
    ({"concurrent_polls": 9}, "concurrent_polls ≤ beta"),
    ({"beta": 3}, "concurrent_polls ≤ beta"),
    ({"poll_timeout_ms": 0}, "0 < poll_timeout_ms"),
    ({"poll_timeout_ms": 751}, "⌈2·beta/concurrent_polls⌉·poll_timeout_ms ≤ settle_base_ms"),
    # ⌈18 / 4⌉ = 5 batches of 601 ms
    (
        {"beta": 9, "poll_timeout_ms": 601},
        "⌈2·beta/concurrent_polls⌉·poll_timeout_ms ≤ settle_base_ms",
    ),
    ({"window_base_ms": 899}, "2·block_gas_max·worst_ns_per_gas + 500 ms ≤ window_base_ms"),
    (
        {"block_gas_max": 1_000_001, "window_base_ms": 9999},
        "3·block_gas_max·worst_ns_per_gas ≤ settle_base_ms/2",
    ),
    ({"vote_base_ms": 0}, "0 < vote_base_ms"),
    ({"claim_close": 0}, "1 ≤ claim_close"),
    ({"claim_close": 65}, "4·claim_close ≤ epoch_blocks"),
    ({"facts_max": 10}, "4·slots ≤ facts_max·(epoch_blocks − claim_close)"),
    ({"epoch_blocks": 128, "facts_max": 24}, "4·slots ≤ facts_max·(epoch_blocks − claim_close)"),
    ({"facts_max": 65}, "facts_max ≤ 64"),
    ({"turnover_max": 0}, "1 ≤ turnover_max"),
    ({"turnover_max": 601}, "turnover_max ≤ slots"),
    ({"turnover_interval_ms": 0}, "1 ≤ turnover_interval_ms"),
    ({"difficulty_bits_min": 193}, "difficulty_bits_min ≤ 192"),
    ({"gas_floor": 0}, "1 ≤ gas_floor"),
    ({"gas_floor": 400_001}, "gas_floor ≤ block_gas_max"),
    ({"block_messages_max": 0}, "1 ≤ block_messages_max"),
    ({"block_messages_max": 4097}, "block_messages_max ≤ 4,096"),
    ({"block_bytes_max": 1024 * 1024 + 1}, "block_bytes_max ≤ 1,048,576"),
    ({"block_bytes_max": 300_000}, "certificate + facts + input ids ≤ block_bytes_max"),
    ({"expiry_max_blocks": 0}, "1 ≤ expiry_max_blocks"),
    ({"vm": 0}, "1 ≤ vm"),
    ({"worst_ns_per_gas": 0}, "1 ≤ worst_ns_per_gas"),
    ({"evidence_ms": 0}, "1 ≤ evidence_ms"),
]


@pytest.mark.parametrize(("overrides", "inequality"), BROKEN)
def test_a_failing_inequality_is_named(overrides, inequality):
    with pytest.raises(ParameterError) as caught:
        Parameters.local(**overrides)
    assert inequality in str(caught.value)


def test_every_inequality_has_a_case():
    tried = [inequality for _, inequality in BROKEN]
    for text, _ in INEQUALITIES:
        assert any(text.startswith(inequality) for inequality in tried), text


@pytest.mark.parametrize(
    "overrides",
    [
        {"alpha_preference": 15},
        {"alpha_confidence": 20},
        {"concurrent_polls": 8},
        {"poll_timeout_ms": 750},
        {"window_base_ms": 900},
        {"claim_close": 64},
        {"facts_max": 11},
        {"turnover_max": 600},
        {"difficulty_bits_min": 192},
        {"gas_floor": 400_000},
        {"slots": 1, "turnover_max": 1},
        {"slots": 1024},
    ],
)
def test_the_last_value_that_holds_is_accepted(overrides):
    assert Parameters.local(**overrides).to_value().items() >= overrides.items()


def test_all_failing_inequalities_are_named_at_once():
    with pytest.raises(ParameterError, match=r"facts_max ≤ 64.*1 ≤ vm"):
        Parameters.local(facts_max=65, vm=0)


@pytest.mark.parametrize("value", [True, 1.0, "8", None, -1, 2**64])
def test_only_whole_numbers_of_64_bits(value):
    with pytest.raises(ParameterError, match="beta is a whole number"):
        Parameters.local(beta=value)


@pytest.mark.parametrize("tiers", [(), ("wasm",), ("native", "native"), "native"])
def test_execution_tiers_are_a_closed_set(tiers):
    with pytest.raises(ParameterError, match="execution_tiers"):
        Parameters.local(execution_tiers=tiers)


def test_names_are_a_closed_set():
    with pytest.raises(ParameterError, match="unknown: betta"):
        LOCAL.replace(betta=8)
    with pytest.raises(ParameterError, match="unknown: betta"):
        Parameters.from_value({**LOCAL.to_value(), "betta": 8})
    value = LOCAL.to_value()
    del value["beta"]
    with pytest.raises(ParameterError, match="missing beta"):
        Parameters.from_value(value)


def test_turnover_follows_slots_unless_given():
    assert Parameters.local(slots=64).turnover_max == 4
    assert Parameters.local(slots=4).turnover_max == 1
    assert Parameters.local(slots=64, turnover_max=9).turnover_max == 9


@pytest.mark.parametrize("parameters", [LOCAL, PUBLIC, LOCAL.replace(slots=60)])
def test_both_forms_return_the_same(parameters):
    assert Parameters.from_value(parameters.to_value()) == parameters
    assert Parameters.decode(parameters.encode()) == parameters


def test_decoding_refuses_what_construction_refuses():
    raw = LOCAL.encode()
    with pytest.raises(EncodingError):
        Parameters.decode(raw[:-1])
    broken = raw.replace(b"parameters\x01\x19\x02\x58\x14", b"parameters\x01\x19\x02\x58\x16")
    assert broken != raw  # k = 22
    with pytest.raises(ParameterError, match="k/2 < alpha_preference"):
        Parameters.decode(broken)


@pytest.mark.parametrize(
    ("round_", "window", "settle", "vote"), [(0, 1000, 3000, 1000), (3, 2500, 6000, 2500)]
)
def test_timeouts_grow_with_the_round(round_, window, settle, vote):
    timeouts = (LOCAL.window_ms, LOCAL.settle_timeout_ms, LOCAL.vote_timeout_ms)
    assert [timeout(round_) for timeout in timeouts] == [window, settle, vote]


@pytest.mark.parametrize(
    ("round_", "gas"),
    [
        (0, 400_000),
        (1, 400_000),
        (2, 200_000),
        (3, 100_000),
        (4, 50_000),
        (5, 50_000),
        (10**6, 50_000),
    ],
)
def test_gas_halves_from_round_two_on_down_to_the_floor(round_, gas):
    assert LOCAL.gas(7, round_) == gas


@given(st.integers(1, 60), st.data())
def test_thresholds_of_few_slots(k, data):
    alpha = data.draw(st.integers(k // 2 + 1, k))
    occupied = data.draw(st.integers(1, 80))
    drawn, scaled = effective(k, alpha, occupied)
    assert drawn == min(k, occupied)
    assert scaled == max(ceil(Fraction(alpha * drawn, k)), drawn // 2 + 1)
    assert drawn / 2 < scaled <= drawn


@pytest.mark.parametrize(
    ("occupied", "expected"),
    [
        (600, (20, 11, 15)),
        (20, (20, 11, 15)),
        (4, (4, 3, 3)),
        (2, (2, 2, 2)),
        (1, (1, 1, 1)),
        (7, (7, 4, 6)),
    ],
)
def test_thresholds_of_the_defaults(occupied, expected):
    assert LOCAL.thresholds(occupied) == expected


@pytest.mark.parametrize(
    ("height", "epoch", "last", "is_open"),
    [
        (1, 0, False, True),
        (224, 0, False, True),
        (225, 0, False, False),
        (256, 0, True, False),
        (257, 1, False, True),
        (512, 1, True, False),
    ],
)
def test_epochs(height, epoch, last, is_open):
    assert LOCAL.epoch(height) == epoch
    assert LOCAL.is_last(height) == last
    assert LOCAL.claims_open(height) == is_open


@given(st.integers(4, 5000), st.integers(1, 10**9))
def test_heights_of_an_epoch(epoch_blocks, height):
    parameters = PUBLIC.replace(slots=1, turnover_max=1, claim_close=1, epoch_blocks=epoch_blocks)
    epoch = parameters.epoch(height)
    assert epoch == (height - 1) // epoch_blocks
    first, last = parameters.first_height(epoch), parameters.last_height(epoch)
    assert first <= height <= last == first + epoch_blocks - 1
    assert parameters.is_last(height) == (height == last)
