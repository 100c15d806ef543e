"""The numbers of a chain and the inequalities between them (protocol §3). Knows no chain, no state.

All whole numbers; units are in the names. A `Parameters` that exists satisfies every inequality.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from consensus.block import BODY_BYTES_MAX, FACT_BYTES_MAX, FACTS_LIMIT, INPUTS_LIMIT
from consensus.certificates import CERTIFICATE_BYTES_MAX, OWNERS_MAX
from consensus.encoding import UINT, UINT_MAX, Schema, list_of, text
from consensus.errors import ParameterError
from consensus.ids import ID_BYTES, Epoch, Height

DAY_MS = 24 * 3600 * 1000
SLOTS_LIMIT = 65_535
HILL_BITS = 192  # a height on the hill has 24 bytes
MESSAGES_LIMIT = 4096
WINDOW_MARGIN_MS = 500  # of a window, beside two executions of a full block
TIERS = ("native",)  # tiers of execution that this version has
PARAMETERS_BYTES_MAX = 1024
_ID_ROW_BYTES = ID_BYTES + 2  # an id in a list


class Thresholds(NamedTuple):
    """k and both alphas as they are where fewer than k slots are occupied (protocol §3)."""

    k: int
    alpha_preference: int
    alpha_confidence: int


def effective(k: int, alpha: int, occupied: int) -> tuple[int, int]:
    """(k', alpha') for `occupied` ≥ 1 slots: k' = min(k, occupied), alpha' = ⌈alpha·k'/k⌉, at least
    ⌊k'/2⌋ + 1."""
    drawn = min(k, occupied)
    return drawn, max(-(-alpha * drawn // k), drawn // 2 + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What every peer of a chain agrees on, the numbers of protocol §3 by their names there.

    Raises ParameterError, which names each failing inequality. Timeouts grow with the round:
    `base + step · round`. Zero means off for heartbeat_s, trust_ms and hill_nonces (no bound).
    """

    slots: int
    k: int
    alpha_preference: int
    alpha_confidence: int
    beta: int
    concurrent_polls: int
    poll_timeout_ms: int
    epoch_blocks: int
    claim_close: int
    turnover_max: int
    turnover_interval_ms: int
    difficulty_bits_min: int
    window_base_ms: int
    window_step_ms: int
    settle_base_ms: int
    settle_step_ms: int
    vote_base_ms: int
    vote_step_ms: int
    heartbeat_s: int
    trust_ms: int
    evidence_ms: int
    block_gas_max: int
    gas_floor: int
    block_bytes_max: int  # of a body
    block_messages_max: int
    facts_max: int  # per block
    expiry_max_blocks: int
    vm: int
    hill_nonces: int  # tries of a well-behaved miner per epoch
    worst_ns_per_gas: int  # the dearest program on the slowest machine that may own slots
    execution_tiers: tuple[str, ...]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "execution_tiers":
                _check_tiers(value)
            elif type(value) is not int or not 0 <= value <= UINT_MAX:
                raise ParameterError(f"{field.name} is a whole number from 0 to 2^64 - 1")
        failing = [text for text, holds in INEQUALITIES if not holds(self)]
        if failing:
            raise ParameterError("does not hold: " + "; ".join(failing))

    # ---- presets --------------------------------------------------------------------------------

    @classmethod
    def public(cls, **overrides: Any) -> "Parameters":
        """The defaults of a public chain; `turnover_max` follows `slots`."""
        return cls._preset(_PUBLIC, overrides)

    @classmethod
    def local(cls, **overrides: Any) -> "Parameters":
        """The defaults of a testnet on one machine; `turnover_max` follows `slots`."""
        return cls._preset(_PUBLIC | _LOCAL, overrides)

    @classmethod
    def _preset(cls, preset: dict[str, Any], overrides: dict[str, Any]) -> "Parameters":
        values = preset | overrides
        if type(values["slots"]) is int:
            values.setdefault("turnover_max", max(1, values["slots"] // 16))
        return cls.from_value(values)

    def replace(self, **overrides: Any) -> "Parameters":
        """The same with some values changed. Raises ParameterError, for unknown names too."""
        _check_names(overrides)
        return replace(self, **overrides)

    # ---- forms ----------------------------------------------------------------------------------

    def to_value(self) -> dict[str, Any]:
        """Name → number, for people, files and JSON."""
        value: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return value | {"execution_tiers": list(self.execution_tiers)}

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> "Parameters":
        """The inverse of `to_value`; all names, none unknown. Raises ParameterError."""
        _check_names(value)
        missing = [field.name for field in fields(cls) if field.name not in value]
        if missing:
            raise ParameterError(f"missing {', '.join(missing)}")
        tiers = value["execution_tiers"]
        if not isinstance(tiers, list | tuple):
            raise ParameterError("execution_tiers is a list of names")
        return cls(**{**value, "execution_tiers": tuple(tiers)})

    def encode(self) -> bytes:
        """The canonical record: fields in the order above."""
        return _PARAMETERS.encode([getattr(self, field.name) for field in fields(self)])

    @classmethod
    def decode(cls, raw: bytes) -> "Parameters":
        """Raises EncodingError, ParameterError."""
        names = [field.name for field in fields(cls)]
        return cls(**dict(zip(names, _PARAMETERS.decode(raw), strict=True)))

    # ---- of a round -----------------------------------------------------------------------------

    def window_ms(self, round_: int) -> int:
        """How long a rank's turn lasts before the next may propose too (protocol §5)."""
        return self.window_base_ms + self.window_step_ms * round_

    def settle_timeout_ms(self, round_: int) -> int:
        """From the first executed candidate until a peer settles without Snowball (protocol §6)."""
        return self.settle_base_ms + self.settle_step_ms * round_

    def vote_timeout_ms(self, round_: int) -> int:
        """After votes of any value reach a quorum (protocol §7)."""
        return self.vote_base_ms + self.vote_step_ms * round_

    def gas(self, height: int, round_: int) -> int:
        """gas(h, R): what a block may use. Halves from round 2 on, down to the floor (§8)."""
        del height  # the same at all heights of this version
        return max(self.block_gas_max >> max(0, round_ - 1), self.gas_floor)

    def thresholds(self, occupied: int) -> Thresholds:
        """k and the alphas for a table with `occupied` ≥ 1 slots (protocol §3)."""
        k, preference = effective(self.k, self.alpha_preference, occupied)
        return Thresholds(k, preference, effective(self.k, self.alpha_confidence, occupied)[1])

    # ---- of an epoch ----------------------------------------------------------------------------

    def epoch(self, height: int) -> Epoch:
        """epoch(h) = (h − 1) // epoch_blocks, for h ≥ 1 (protocol §4)."""
        assert height >= 1, "genesis belongs to no epoch"
        return Epoch((height - 1) // self.epoch_blocks)

    def first_height(self, epoch: int) -> Height:
        """The first height of an epoch."""
        return Height(epoch * self.epoch_blocks + 1)

    def last_height(self, epoch: int) -> Height:
        """The last height of an epoch: the one whose state fixes the next table."""
        return Height((epoch + 1) * self.epoch_blocks)

    def is_last(self, height: int) -> bool:
        """Whether `height` ends its epoch."""
        return height >= 1 and height % self.epoch_blocks == 0

    def claims_open(self, height: int) -> bool:
        """Whether a block at `height` may hold claims and renewals: not in the last `claim_close`
        blocks of an epoch (protocol §4)."""
        return height <= self.last_height(self.epoch(height)) - self.claim_close


def _check_names(value: Mapping[str, Any]) -> None:
    known = {field.name for field in fields(Parameters)}
    unknown = sorted(name for name in value if name not in known)
    if unknown:
        raise ParameterError(f"unknown: {', '.join(unknown)}")


def _check_tiers(tiers: object) -> None:
    if type(tiers) is not tuple or not tiers or any(tier not in TIERS for tier in tiers):
        raise ParameterError(f"execution_tiers: one or more of {', '.join(TIERS)}")
    if len(tiers) != len(dict.fromkeys(tiers)):
        raise ParameterError("execution_tiers: one is named twice")


def _worst_ns(parameters: Parameters, blocks: int) -> int:
    return blocks * parameters.block_gas_max * parameters.worst_ns_per_gas


def _polls_ms(parameters: Parameters) -> int:
    batches = -(-2 * parameters.beta // max(1, parameters.concurrent_polls))
    return batches * parameters.poll_timeout_ms


def _body_bytes(p: Parameters) -> int:
    inputs = p.block_messages_max + INPUTS_LIMIT // 2
    return CERTIFICATE_BYTES_MAX + p.facts_max * (FACT_BYTES_MAX + 3) + inputs * _ID_ROW_BYTES


# Each inequality of protocol §3 as it is shown to a user, and its test. Durations compare in ns
# where gas is involved, so that nothing is rounded.
INEQUALITIES: tuple[tuple[str, Callable[[Parameters], bool]], ...] = (
    ("1 ≤ slots", lambda p: p.slots >= 1),
    (f"slots ≤ {SLOTS_LIMIT:,}", lambda p: p.slots <= SLOTS_LIMIT),
    (f"slots ≤ {OWNERS_MAX:,} (a certificate holds them all)", lambda p: p.slots <= OWNERS_MAX),
    ("k/2 < alpha_preference", lambda p: p.k < 2 * p.alpha_preference),
    ("alpha_preference ≤ alpha_confidence", lambda p: p.alpha_preference <= p.alpha_confidence),
    ("alpha_confidence ≤ k", lambda p: p.alpha_confidence <= p.k),
    ("0 < concurrent_polls", lambda p: p.concurrent_polls > 0),
    ("concurrent_polls ≤ beta", lambda p: p.concurrent_polls <= p.beta),
    ("0 < poll_timeout_ms", lambda p: p.poll_timeout_ms > 0),
    (
        "⌈2·beta/concurrent_polls⌉·poll_timeout_ms ≤ settle_base_ms",
        lambda p: _polls_ms(p) <= p.settle_base_ms,
    ),
    (
        f"2·block_gas_max·worst_ns_per_gas + {WINDOW_MARGIN_MS} ms ≤ window_base_ms",
        lambda p: _worst_ns(p, 2) + WINDOW_MARGIN_MS * 10**6 <= p.window_base_ms * 10**6,
    ),
    (
        "3·block_gas_max·worst_ns_per_gas ≤ settle_base_ms/2",
        lambda p: 2 * _worst_ns(p, 3) <= p.settle_base_ms * 10**6,
    ),
    ("0 < vote_base_ms", lambda p: p.vote_base_ms > 0),
    ("1 ≤ claim_close", lambda p: p.claim_close >= 1),
    ("4·claim_close ≤ epoch_blocks", lambda p: 4 * p.claim_close <= p.epoch_blocks),
    (
        "4·slots ≤ facts_max·(epoch_blocks − claim_close)",
        lambda p: 4 * p.slots <= p.facts_max * (p.epoch_blocks - p.claim_close),
    ),
    (f"facts_max ≤ {FACTS_LIMIT}", lambda p: p.facts_max <= FACTS_LIMIT),
    ("1 ≤ turnover_max", lambda p: p.turnover_max >= 1),
    ("turnover_max ≤ slots", lambda p: p.turnover_max <= p.slots),
    ("1 ≤ turnover_interval_ms", lambda p: p.turnover_interval_ms >= 1),
    (f"difficulty_bits_min ≤ {HILL_BITS}", lambda p: p.difficulty_bits_min <= HILL_BITS),
    ("1 ≤ gas_floor", lambda p: p.gas_floor >= 1),
    ("gas_floor ≤ block_gas_max", lambda p: p.gas_floor <= p.block_gas_max),
    ("1 ≤ block_messages_max", lambda p: p.block_messages_max >= 1),
    (
        f"block_messages_max ≤ {MESSAGES_LIMIT:,}",
        lambda p: p.block_messages_max <= MESSAGES_LIMIT,
    ),
    (f"block_bytes_max ≤ {BODY_BYTES_MAX:,}", lambda p: p.block_bytes_max <= BODY_BYTES_MAX),
    (
        "certificate + facts + input ids ≤ block_bytes_max",
        lambda p: _body_bytes(p) <= p.block_bytes_max,
    ),
    ("1 ≤ expiry_max_blocks", lambda p: p.expiry_max_blocks >= 1),
    ("1 ≤ vm", lambda p: p.vm >= 1),
    ("1 ≤ worst_ns_per_gas", lambda p: p.worst_ns_per_gas >= 1),
    ("1 ≤ evidence_ms", lambda p: p.evidence_ms >= 1),
)

_PUBLIC: dict[str, Any] = {
    "slots": 600,
    "k": 20,
    "alpha_preference": 11,
    "alpha_confidence": 15,
    "beta": 8,
    "concurrent_polls": 4,
    "poll_timeout_ms": 600,
    "epoch_blocks": 2048,
    "claim_close": 32,
    "turnover_interval_ms": 60_000,
    "difficulty_bits_min": 24,
    "window_base_ms": 1000,
    "window_step_ms": 500,
    "settle_base_ms": 3000,
    "settle_step_ms": 1000,
    "vote_base_ms": 1000,
    "vote_step_ms": 500,
    "heartbeat_s": 30,
    "trust_ms": 14 * DAY_MS,
    "evidence_ms": 7 * DAY_MS,
    "block_gas_max": 400_000,
    "gas_floor": 50_000,
    "block_bytes_max": BODY_BYTES_MAX,
    "block_messages_max": MESSAGES_LIMIT,
    "facts_max": FACTS_LIMIT,
    "expiry_max_blocks": 256,
    "vm": 1,
    "hill_nonces": 0,
    "worst_ns_per_gas": 500,  # execution §9: at most 0.5 s per 10^6 gas
    "execution_tiers": ("native",),
}
_LOCAL: dict[str, Any] = {
    "poll_timeout_ms": 250,
    "epoch_blocks": 256,
    "turnover_interval_ms": 1,
    "difficulty_bits_min": 8,
    "heartbeat_s": 0,
    "trust_ms": 0,
    "hill_nonces": 4096,
}

_PARAMETERS = Schema(
    "parameters",
    1,
    [UINT] * 30 + [list_of(text(16), len(TIERS))],
    max_bytes=PARAMETERS_BYTES_MAX,
)
