"""How many token transfers one validator executes in a second: `execute` of whole blocks.

Counted: phases, receipts, roots, the state map's update. Not counted: decoding messages and
verifying their signatures (`ed25519`), which happen before, once, whatever block they end up in.
"""

from __future__ import annotations

import random
import time
from statistics import median
from typing import TYPE_CHECKING

from bench.figures import Figure, Goal, Measurement

if TYPE_CHECKING:
    from consensus.messages import Message
    from consensus.spec import ChainSpec
    from node.execution.ports import Parent, Place

ACCOUNTS = 10_000
TRANSFERS = 1_000  # in a block
RUNS = 7
_SEED = 1


def _chain() -> tuple[ChainSpec, Parent, Place]:
    """A chain of one owner, and the place of its first block."""
    from consensus.encoding import H
    from consensus.ids import Account, Epoch, Hash, Height, Peer, Round
    from consensus.parameters import Parameters
    from consensus.proposers import hash_chain
    from consensus.spec import ChainSpec, SpecDraft
    from node.execution.genesis import genesis_parent
    from node.execution.ports import Place
    from node.execution.registry import demo_agents

    parameters = Parameters.local(slots=1)
    accounts = [Account(H("account", number)) for number in range(ACCOUNTS)]
    draft = SpecDraft(
        name="bench",
        parameters=parameters,
        genesis_time_ms=1,
        nonce=bytes(16),
        genesis_agents=demo_agents(),
        genesis_balances=[(account, 10**9) for account in accounts],
    )
    peer = Peer(H("peer"))
    links = hash_chain(bytes(32), draft.seed, peer, parameters.epoch_blocks + 1)
    spec = ChainSpec.of(draft, [(peer, links[0])])
    parent = genesis_parent(spec)
    place = Place(
        height=Height(1),
        round=Round(0),
        epoch=Epoch(0),
        parent=parent.header.id,
        parent_certificate=b"",
        proposer_slot=parent.view.table.occupied[0],
        rank=0,
        time_ms=2,
        reveal=Hash(links[1]),
    )
    return spec, parent, place


def _transfers(spec: ChainSpec) -> list[Message]:
    from consensus.ids import Height
    from consensus.messages import Draft, Message, Reference, encode_data
    from consensus.spec import agent_id

    dice = random.Random(_SEED)
    accounts = [balance.account for balance in spec.genesis_balances]
    token = Reference(spec.id, agent_id("token"), None)
    messages = []
    for number in range(TRANSFERS):
        data = encode_data("Transfer", {"to": dice.choice(accounts), "amount": 1 + number})
        sender, nonce = dice.choice(accounts), number.to_bytes(16, "big")
        draft = Draft(spec.id, sender, token, data, nonce, Height(100), 1000)
        messages.append(Message.decode(draft.signed(bytes(64))))
    return messages


def transfers_per_s(*, fast: bool = True) -> float:
    """Median over several executions of one block on one parent; `fast` false: the long way."""
    from node.execution.block import build, execute

    spec, parent, place = _chain()
    messages = _transfers(spec)
    built = build(spec, parent, place, messages)
    assert built.block is not None and len(built.block.body.messages) == TRANSFERS
    rates = []
    for _ in range(RUNS):
        start = time.perf_counter()
        execute(spec, parent, built.block, messages, fast=fast)
        rates.append(TRANSFERS / (time.perf_counter() - start))
    return median(rates)


def measure() -> Measurement:
    return Measurement(transfers_per_s(), {"without_short_way": transfers_per_s(fast=False)})


FIGURES = (
    Figure(
        name="execution",
        what=f"token transfers executed by one validator, blocks of {TRANSFERS:,}",
        unit="transfers/s",
        goal=Goal(5_000, "more"),
        run=measure,
    ),
)
