"""All targets by name."""

from tests.fuzz import (
    fuzz_consensus,
    fuzz_core,
    fuzz_fabric,
    fuzz_http,
    fuzz_network,
    fuzz_node,
    fuzz_sessions,
    fuzz_stored,
    fuzz_words,
)
from tests.fuzz.fuzz_target import Target

EVERY = (
    *fuzz_consensus.TARGETS,
    *fuzz_node.TARGETS,
    *fuzz_network.TARGETS,
    *fuzz_fabric.TARGETS,
    *fuzz_stored.TARGETS,
    *fuzz_words.TARGETS,
    *fuzz_sessions.TARGETS,
    *fuzz_http.TARGETS,
    *fuzz_core.TARGETS,
)
TARGETS: dict[str, Target] = {each.name: each for each in EVERY}
assert len(TARGETS) == len(EVERY), "two targets of one name"
