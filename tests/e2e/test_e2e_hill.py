"""Slots are mined: by epoch 3 at least one has another owner than at genesis, and no height is
lost on the way."""

import pytest

from tests.e2e.cluster import Cluster

pytestmark = pytest.mark.slow

EPOCH_BLOCKS = 128  # the shortest that the parameters allow
SLOTS = 40
EPOCHS = 3


@pytest.fixture(scope="module")
def hill(tmp_path_factory):
    home = tmp_path_factory.mktemp("e2e")
    with Cluster(home, "-n", 4, "--slots", SLOTS, "--epoch-blocks", EPOCH_BLOCKS) as cluster:
        cluster.play(delay_ms=0)
        yield cluster


def owners(cluster: Cluster, node: str) -> dict[int, str]:
    """The owner of each slot in the table that is in force."""
    table = cluster.get("/v1/slots", node)
    found = {slot: peer for peer, slots in table["owners"].items() for slot in slots}
    assert len(found) + len(table["vacant"]) == table["count"] == SLOTS
    return found


def test_a_slot_changes_its_owner_by_a_mined_claim(hill):
    dealt = {
        slot: hill.about["nodes"][slot % 4]["peer"]  # genesis deals them in turn
        for slot in range(SLOTS)
    }
    assert owners(hill, "n1") == dealt
    moved: dict[int, str] = {}
    for epoch in range(1, EPOCHS + 1):
        hill.above(epoch * EPOCH_BLOCKS)
        now = owners(hill, "n1")
        moved = {slot: peer for slot, peer in now.items() if dealt[slot] != peer}
        if moved:
            break
    assert moved, f"every slot still has its first owner at height {hill.height()}"
    # by claims: each node hashed and found some, blocks hold facts, and everybody is a validator
    assert set(moved.values()) <= {node["peer"] for node in hill.about["nodes"]}
    top = hill.height()
    facts = sum(block["facts"] for block in blocks(hill, top))
    assert facts > 0, "the owner changed without any fact in a block"


def blocks(cluster: Cluster, top: int) -> list[dict]:
    """All blocks from 1 to `top`, in their order."""
    found: list[dict] = []
    before = top + 1
    while before > 1:
        page = cluster.get(f"/v1/blocks?before={before}&limit=100")["blocks"]
        found += [block for block in page if block["height"] >= 1]
        before = page[-1]["height"]
    return found[::-1]


def test_no_height_is_lost_across_the_epochs(hill):
    """Every height once, in order, each on its parent; and its epoch is the one of its height."""
    top = hill.above(EPOCH_BLOCKS + 1)
    found = blocks(hill, top)
    assert [block["height"] for block in found] == list(range(1, top + 1))
    assert [block["epoch"] for block in found] == [
        (height - 1) // EPOCH_BLOCKS for height in range(1, top + 1)
    ]
    for height in (EPOCH_BLOCKS, EPOCH_BLOCKS + 1):
        parent = hill.get(f"/v1/blocks/{height}")["parent"]
        assert parent == found[height - 2]["block"]


def test_all_nodes_have_the_new_table_and_certify_under_it(hill):
    hill.everywhere(EPOCH_BLOCKS + 2)
    # `status` follows certificates from the spec alone, through the tables of all epochs
    rows = hill.ok("testnet", "status")["nodes"]
    assert all(row["certificates_verified"] > 0 for row in rows), rows
    assert sum(row["slots"] for row in rows) == SLOTS, rows
    tables = {hill.get(f"/v1/blocks/{EPOCH_BLOCKS}", name)["next_table"] for name in hill.nodes}
    assert len(tables) == 1
    assert tables != {hill.get(f"/v1/blocks/{EPOCH_BLOCKS - 1}")["next_table"]}
