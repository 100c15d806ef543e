"""What a testnet is made of: validators, accounts, and the spec of their chain.

Knows no process and no folder. Dice are handed in; with a seed, keys are the same every time.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from consensus import proposers
from consensus.errors import ParameterError, SpecError
from consensus.ids import Account, Peer
from consensus.parameters import Parameters
from consensus.spec import ChainSpec, SpecDraft
from consensus.tables import deal
from node.errors import SpecUnusable, UsageError
from node.execution.registry import demo_agents
from node.keystore import SECRET_BYTES, public_of
from testnet.limits import BALANCE, GENESIS_AGO_MS, VALIDATORS_DEFAULT, VALIDATORS_MAX

ACCOUNTS: Final = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
SEED_MAX: Final = 2**64 - 1
_HINT: Final = "choose another -n, --slots or --epoch-blocks"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")  # it is the name of the chain too

Dice = Callable[[int], bytes]


class Named(NamedTuple):
    """A secret (32-byte Ed25519 seed) and the name that it goes by."""

    name: str
    secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TestnetSpec:
    """What `testnet up` was asked for. Raises UsageError, SpecUnusable when it cannot be."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    name: str
    validators: int = VALIDATORS_DEFAULT
    parameters: Parameters
    seed: int | None = None  # reproducible keys; without one they come from the dice

    def __post_init__(self) -> None:
        check_name(self.name)
        if not 1 <= self.validators <= VALIDATORS_MAX:
            raise UsageError(f"1 ≤ {self.validators} validators ≤ {VALIDATORS_MAX} does not hold")
        slots = self.parameters.slots
        if self.validators > slots:
            raise SpecUnusable(
                f"{self.validators} validators ≤ {slots} slots does not hold", hint=_HINT
            )
        if self.seed is not None and not 0 <= self.seed <= SEED_MAX:
            raise UsageError(f"0 ≤ seed {self.seed} ≤ {SEED_MAX} does not hold")


class Genesis(NamedTuple):
    """A chain that can start, and every secret of it."""

    spec: ChainSpec
    validators: tuple[Named, ...]  # n1, n2, …
    accounts: tuple[Named, ...]


def check_name(name: str) -> str:
    """The name of a testnet. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a testnet",
            hint="use lower-case letters, digits and '-', a letter first, at most 32",
        )
    return name


def local_parameters(slots: int | None = None, epoch_blocks: int | None = None) -> Parameters:
    """The preset `local`, with other slots or epochs. Raises SpecUnusable naming the inequality.

    Claims of a short epoch close in its last quarter, as late as the protocol allows.
    """
    preset = Parameters.local()
    chosen = {"slots": slots or preset.slots, "epoch_blocks": epoch_blocks or preset.epoch_blocks}
    chosen["claim_close"] = max(1, min(preset.claim_close, chosen["epoch_blocks"] // 4))
    try:
        return Parameters.local(**chosen)
    except ParameterError as error:
        numbers = ", ".join([f"{name} {n}" for name, n in chosen.items()])
        cause = f"parameters: {error}; with {numbers}, facts_max {preset.facts_max}"
        raise SpecUnusable(cause, hint=_HINT) from error


def make(wanted: TestnetSpec, *, clock_ms: int, dice: Dice) -> Genesis:
    """Keys, evenly dealt slots with their commitments, funded accounts and the sample agents."""
    secrets = dice if wanted.seed is None else seeded(wanted.seed)
    validators = tuple(
        [Named(f"n{i + 1}", secrets(SECRET_BYTES)) for i in range(wanted.validators)]
    )
    accounts = tuple([Named(name, secrets(SECRET_BYTES)) for name in ACCOUNTS])
    parameters = wanted.parameters
    draft = SpecDraft(
        name=wanted.name,
        parameters=parameters,
        genesis_time_ms=clock_ms - GENESIS_AGO_MS,
        nonce=dice(16),
        genesis_agents=demo_agents(),
        genesis_balances=[(Account(public_of(one.secret)), BALANCE) for one in accounts],
    )
    links = parameters.epoch_blocks + 1
    owners = {}
    for one in validators:
        peer = Peer(public_of(one.secret))
        start = proposers.hash_chain_seed(one.secret, draft.seed, 0)
        owners[peer] = proposers.hash_chain(start, draft.seed, peer, links)[0]
    dealt = deal(parameters.slots, list(owners))
    try:
        spec = ChainSpec.of(draft, [(owner, owners[owner]) for owner in dealt])
    except SpecError as error:
        raise SpecUnusable(str(error)) from error
    return Genesis(spec, validators, accounts)


def seeded(seed: int) -> Dice:
    """Secrets that a seed decides, one after the other. For testnets only: a seed is guessable."""
    count = 0

    def draw(length: int) -> bytes:
        nonlocal count
        count += 1
        text = f"apocryph testnet {seed} {count}".encode()
        return hashlib.shake_256(text).digest(length)

    return draw
