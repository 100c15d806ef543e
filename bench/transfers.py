"""How many signed token transfers four validators on this machine finalize in a second.

The client that signs and sends is a process of its own and counts against the machine too.
"""

from __future__ import annotations

from bench.figures import Figure, Goal, Measurement
from bench.testnets import Testnet

VALIDATORS = 4
SECONDS = 15


def transfers() -> Measurement:
    from bench.transfer_client import under_load

    with Testnet(VALIDATORS) as net:
        return under_load(net, SECONDS)


def cometbft() -> Measurement:
    from bench.peers.cometbft.measure import run

    result = run(VALIDATORS, SECONDS)
    return Measurement(
        result.tx_per_s,
        {
            "latency_p50_s": result.latency_p50_s,
            "latency_p99_s": result.latency_p99_s,
            "blocks": result.blocks,
            "transactions": "unsigned, 250 bytes",
        },
    )


FIGURES = (
    Figure(
        name="transfers",
        what=f"signed token transfers finalized per second, {VALIDATORS} validators, "
        "client load included",
        unit="transfers/s",
        goal=Goal(900, "more"),
        run=transfers,
        peer=cometbft,
        peer_name="CometBFT 1.0.1, default",
    ),
)
