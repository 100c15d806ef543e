"""How long one message takes to be final on an idle network."""

from __future__ import annotations

from bench.figures import Figure, Goal, Measurement
from bench.testnets import Testnet

VALIDATORS = 4
MESSAGES = 40
PEER_TRANSACTIONS = 12  # its idle blocks are a second apart


def finality() -> Measurement:
    from bench.transfer_client import one_by_one

    with Testnet(VALIDATORS) as net:
        return one_by_one(net, MESSAGES)


def cometbft() -> Measurement:
    from bench.peers.cometbft.measure import run_idle

    result = run_idle(VALIDATORS, PEER_TRANSACTIONS)
    return Measurement(result.latency_p50_s, {"p99_s": result.latency_p99_s})


FIGURES = (
    Figure(
        name="finality",
        what=f"finality of one message on an idle net of {VALIDATORS}, p50 (goal p99 ≤ 1 s)",
        unit="s",
        goal=Goal(0.5, "less"),
        run=finality,
        peer=cometbft,
        peer_name="CometBFT 1.0.1, default",
    ),
)
