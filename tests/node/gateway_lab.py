"""One real validator that owns all slots, in this process, and accounts that can pay."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from consensus import proposers
from consensus.encoding import Value
from consensus.ids import Account, Peer
from consensus.messages import Message, Reference
from consensus.parameters import Parameters
from consensus.spec import ChainSpec, SpecDraft, agent_id
from consensus.tables import deal
from node.execution.registry import demo_agents
from node.keystore import ACCOUNT, LoadedKey, public_of
from node.validator import NodeOptions, Validator
from node.wallet import AccountSigner, Terms

SECRET = bytes((7,)) * 32
BALANCE = 10**12


def account(number: int) -> AccountSigner:
    """A funded account; 0 is alice, 1 bob."""
    secret = bytes((number + 1, *[1] * 31))
    return AccountSigner(LoadedKey(f"a{number}", secret, public_of(secret), ACCOUNT, True))


ALICE, BOB = account(0), account(1)


def lab_spec(*, accounts: int = 4, nonce: bytes = bytes(16), trust_ms: int = 0) -> ChainSpec:
    """A chain whose one peer owns all slots."""
    parameters = Parameters.local(slots=60, epoch_blocks=16, claim_close=4, trust_ms=trust_ms)
    peer = Peer(public_of(SECRET))
    balances = tuple([(Account(account(n).account), BALANCE) for n in range(accounts)])
    draft = SpecDraft(
        name="lab",
        parameters=parameters,
        genesis_time_ms=time.time_ns() // 1_000_000 - 1_000,
        nonce=nonce,
        genesis_agents=demo_agents(),
        genesis_balances=balances,
    )
    seed = proposers.hash_chain_seed(SECRET, draft.seed, 0)
    chain = proposers.hash_chain(seed, draft.seed, peer, parameters.epoch_blocks + 1)
    return ChainSpec.of(draft, [(owner, chain[0]) for owner in deal(parameters.slots, [peer])])


@asynccontextmanager
async def running(
    folder: Path, spec: ChainSpec | None = None, *, host: str = "127.0.0.1", token: str = ""
) -> AsyncIterator[Validator]:
    """The validator with its gateway on a free port."""
    options = NodeOptions(
        folder=folder,
        spec=spec or lab_spec(),
        secret=SECRET,
        api_host=host,
        api_token=token,
        mining=False,
        journal="off",
        name="n1",
    )
    validator = Validator(options)
    try:
        await validator.start()
        yield validator
    finally:
        await validator.stop()


def message(
    validator: Validator,
    agent: str,
    kind: str,
    fields: dict[str, Value],
    *,
    by: AccountSigner = ALICE,
    expires: int | None = None,
    gas: int = 1_000,
    pay: int = 0,
) -> Message:
    """Signed for the validator's chain."""
    chain = validator.chain_id
    height = validator.chain.height + 200 if expires is None else expires
    return by.build(
        chain, Reference(chain, agent_id(agent), None), kind, fields, Terms(height, gas, pay)
    )


def transfer(validator: Validator, amount: int = 5, *, by: AccountSigner = ALICE) -> Message:
    """To bob."""
    return message(
        validator, "token", "Transfer", {"to": bytes(BOB.account), "amount": amount}, by=by
    )
