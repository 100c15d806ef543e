"""Ping and pong live in the state of the chain and keep each other going, with nobody sending."""

from typing import Any

import pytest

from tests.e2e.cluster import Cluster

pytestmark = pytest.mark.slow

DELAY_MS = 700  # another than the demo's
HITS = 4


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    home = tmp_path_factory.mktemp("e2e")
    with Cluster(home, "-n", 4, "--slots", 40, "--demo", "pingpong") as cluster:
        yield cluster


def hits(cluster: Cluster, after: int, count: int) -> list[tuple[int, str, int]]:
    """The hits of the game that began at a height: (height, who hit, the hit's number)."""
    found: list[tuple[int, str, int]] = []
    cursor = after
    while len(found) < count:
        first, cursor = cursor + 1, cluster.above(cursor)
        for height in range(first, cursor + 1):
            found += [(height, *told) for told in hits_of(cluster, height)]
        # Until the ball of the new game is over the net, that of the game before is still played.
        while found and found[0][2] != 2:
            del found[0]
    return found[:count]


def receipts_of(cluster: Cluster, height: int) -> dict[str, Any]:
    """Receipts of the inputs that the chain made, by the id of the input."""
    inputs = cluster.get(f"/v1/blocks/{height}")["chain_inputs"]
    found = {one: cluster.get(f"/v1/tx/{one}")["receipt"] for one in inputs}
    assert all(receipt["status"] == "ok" for receipt in found.values()), found
    return found


def hits_of(cluster: Cluster, height: int) -> list[tuple[str, int]]:
    receipts = receipts_of(cluster, height).values()
    events = [event for receipt in receipts for event in receipt["events"]]
    return [(one["agent"], one["data"]["number"]) for one in events if one["type"] == "Hit"]


def test_both_agents_live_in_state_on_every_node(demo):
    demo.above(4)
    for name in demo.nodes:
        found = demo.get("/v1/agents", name)
        assert {"ping", "pong"} <= {agent["agent"] for agent in found["agents"]}
        for agent in ("ping", "pong"):
            about = demo.get(f"/v1/agents/{agent}", name)
            assert about["code"] == "native:pingpong/1"
            assert int(about["balance"]) > 0, "it pays for itself"


def test_what_they_count_grows_while_nobody_sends(demo):
    before = {name: demo.ok("query", name, "hit_count") for name in ("ping", "pong")}
    demo.above(demo.height() + 5)
    for name, answer in before.items():
        now = demo.ok("query", name, "hit_count")
        assert now["value"] > answer["value"], name
        assert now["height"] > answer["height"]


def test_blocks_after_the_first_message_hold_inputs_of_the_chain_only(demo):
    top = demo.above(9)
    blocks = demo.get(f"/v1/blocks?before={top + 1}&limit=100")["blocks"]
    with_messages = [block["height"] for block in blocks if block["messages"]]
    assert with_messages == [1], "alice's Start, and nobody's after it"
    later = [block for block in blocks if block["height"] > 1]
    assert len(later) == top - 1 and all(block["chain_inputs"] >= 1 for block in later)


def test_they_take_turns_and_every_hit_waits_for_its_delay(demo):
    """Ordered last: its game ends that of the demo, by the only message that it needs."""
    before = demo.height()
    start = demo.play(DELAY_MS)
    assert start > before
    found = hits(demo, start, HITS)
    numbers = [number for _, _, number in found]
    assert numbers == list(range(2, HITS + 2)), "no hit is lost or done twice"
    assert [agent for _, agent, _ in found] == ["pong", "ping"] * (HITS // 2)
    for height, _, _ in found:
        # the ball was sent in one block and taken in the next, which set the reminder
        taken = demo.get(f"/v1/blocks/{taken_at(demo, height)}")["time_ms"]
        assert demo.get(f"/v1/blocks/{height}")["time_ms"] - taken >= DELAY_MS
    assert all(not demo.get(f"/v1/blocks/{height}")["messages"] for height, _, _ in found)


def taken_at(cluster: Cluster, height: int) -> int:
    """The height at which the reminder of a hit was set: the input that names it as its effect."""
    (swing,) = [one for one, told in receipts_of(cluster, height).items() if told["events"]]
    for earlier in range(height - 1, 0, -1):
        for receipt in receipts_of(cluster, earlier).values():
            if swing in receipt["effects"]:
                return earlier
    raise AssertionError(f"nobody asked for the hit at height {height}")
