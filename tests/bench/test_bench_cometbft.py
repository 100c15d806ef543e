"""The peer CometBFT: what is read from its transactions, and a run of the real thing."""

import os

import pytest

from bench.figures import Failed
from bench.network_life import children_of
from bench.peers.cometbft.measure import made_at, run

# message Payload { 1 connections 1, 2 rate 1000, 3 size 250, 4 time {1 seconds, 2 nanos}, 5 id }
PAYLOAD = "080110e80718fa01" + "220b" + "0880a2aec906" + "1080cab5ee01" + "2a02abcd"


def test_the_time_of_making_is_read_from_a_transaction() -> None:
    length = len("0880a2aec906" + "1080cab5ee01") // 2
    payload = PAYLOAD.replace("220b", f"22{length:02x}")
    assert made_at(b"a=" + payload.encode()) == pytest.approx(1_764_462_848.5)


def test_a_transaction_of_another_shape_is_a_failure() -> None:
    with pytest.raises(Failed, match="wire type 5"):
        made_at(b"a=0d01000000")


@pytest.mark.integration
def test_a_network_commits_and_leaves_no_process() -> None:
    before = children_of(os.getpid())
    result = run(validators=2, seconds=8)
    assert result.validators == 2
    assert result.tx_per_s > 100
    assert 0 < result.latency_p50_s <= result.latency_p99_s
    assert children_of(os.getpid()) == before
