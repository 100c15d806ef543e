"""With APOCRYPH_TRACE=fabric, one block is seen passing the fabric of every node."""

from collections import Counter

import pytest

from tests.e2e.cluster import Cluster, until

pytestmark = pytest.mark.slow

TRIES = 5
QUORUM = 3  # of four owners with as many slots each
BUILD, EXECUTE = "call executor.Build", "call executor.Execute"
BLOCKS, VOTES = "append blocks", "append votes"
Counts = dict[str, Counter[str]]


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    home = tmp_path_factory.mktemp("e2e")
    with Cluster(home, "-n", 4, "--slots", 40, APOCRYPH_TRACE="fabric") as cluster:
        yield cluster


def counts(cluster: Cluster) -> Counts:
    """What each node's log shows: calls, and items appended to streams."""
    found: Counts = {}
    for name in cluster.nodes:
        found[name] = Counter()
        log = (cluster.folder / name / "node.log").read_text()
        for line in log.splitlines():
            match line.split():
                case ["trace", "call", delegate, *_]:
                    found[name][f"call {delegate}"] += 1
                case ["trace", "append", stream, items]:
                    found[name][f"append {stream}"] += int(items)
    return found


def proposer(cluster: Cluster, height: int) -> tuple[str, bool]:
    """Who proposed the block of a height, and whether nobody else had a turn before."""
    block = cluster.get(f"/v1/blocks/{height}")
    owners = cluster.get("/v1/slots")["owners"]
    (peer,) = [peer for peer, slots in owners.items() if block["proposer_slot"] in slots]
    (name,) = [node["name"] for node in cluster.about["nodes"] if node["peer"] == peer]
    return name, block["rank"] == block["round"] == 0


def one_block(cluster: Cluster) -> tuple[int, Counts]:
    """What passes the fabrics while one transfer is decided on a net where nothing else is."""
    before = counts(cluster)
    height = cluster.send("token", "Transfer", "to=@bob", "amount=1")["height"]
    cluster.everywhere(height)

    def passed() -> Counts | None:
        now = counts(cluster)
        found = {name: now[name] - before[name] for name in cluster.nodes}
        whole = all(c[BLOCKS] and c[VOTES] >= 2 * QUORUM for c in found.values())
        return found if whole else None

    return height, until(passed, "a block and its votes in the log of every node")


def test_a_block_passes_the_fabric_of_every_node(traced):
    assert traced.height() == 0, "nothing was decided yet"
    calm = False
    for expected in range(1, TRIES + 1):
        height, found = one_block(traced)
        assert height == expected, "one transfer is one block"
        builder, calm = proposer(traced, height)
        for name, passed in found.items():
            assert passed[BLOCKS] == 1, (name, passed)
            assert passed["append receipts"] == 1, (name, passed)
            assert passed[BUILD] + passed[EXECUTE] >= 1, (name, passed)
        assert found[builder][BUILD] == 1, found
        # On a laden machine a second candidate may come of age meanwhile; then look at another.
        calm = calm and sum(passed[BUILD] for passed in found.values()) == 1
        if calm:
            break
    assert calm, f"none of {TRIES} heights had one candidate"
    for name, passed in found.items():
        assert passed[EXECUTE] == (name != builder), (name, builder, passed)


def test_without_the_variable_nothing_is_traced(tmp_path):
    with Cluster(tmp_path, "-n", 1, "--until", "height=1") as cluster:
        assert not sum(counts(cluster)["n1"].values())
