"""A forged header chain fed to a light client: refused at each step, by the check that is meant."""

import pytest

from consensus import light
from consensus.errors import InvalidProof
from consensus.light import Certified
from consensus.tables import Table
from testnet.sim.adversaries.forged_chain import ForgedChain
from testnet.sim.cluster import small_parameters
from tests.sim.adversary_stage import Stage

EPOCH = 16


def forged() -> tuple[Stage, ForgedChain, Certified, Table]:
    """A chain that has passed epoch 0, its true end, and the true next table."""
    stage = Stage(
        ["forged_chain"], seed=3, parameters=small_parameters(epoch_blocks=EPOCH), hill_nonces=32
    )
    stage.climb(EPOCH + 1, within_s=200)
    stage.judge()
    forger = stage.adversaries[0]
    assert isinstance(forger, ForgedChain)
    block, certificate, _ = stage.honest[0].disk.chain[EPOCH - 1]
    line = stage.honest[0].line
    assert line is not None
    return stage, forger, Certified(block.header, certificate), line.tip.view.table


@pytest.mark.slow
def test_a_light_client_believes_no_chain_that_the_table_did_not_certify() -> None:
    stage, forger, end, table = forged()
    spec, keys, genesis = stage.cluster.spec, stage.cluster.keys, stage.cluster.spec.genesis_table()
    true = light.skip(spec, genesis, end, next_table=table.raw, verifier=keys)
    assert true == table, "the true end leads to the true table"
    offers = forger.forgeries(end, table.raw)
    for offer in offers:
        with pytest.raises(InvalidProof) as refused:
            light.skip(spec, genesis, offer.end, next_table=offer.table, verifier=keys)
        assert refused.value.check == offer.refused, offer.name
    assert forger.lies >= len(offers) - 2
    # Without certificates every forged step holds: headers alone chain to the forged table.
    false = offers[0].end.header
    assert light.check_next_table(spec, genesis, false, forger.table.raw) == forger.table


@pytest.mark.slow
def test_a_follower_believes_none_of_it_either() -> None:
    stage, forger, end, table = forged()
    spec, keys = stage.cluster.spec, stage.cluster.keys
    tip = light.start(spec, 0)
    chain = stage.honest[0].disk.chain
    for block, certificate, _ in chain[: EPOCH - 1]:
        step = Certified(block.header, certificate)
        tip = light.follow(spec, tip, step, next_table=None, verifier=keys)
    for offer in forger.forgeries(end, table.raw):
        with pytest.raises(InvalidProof):
            light.follow(spec, tip, offer.end, next_table=offer.table, verifier=keys)
    after = light.follow(spec, tip, end, next_table=table.raw, verifier=keys)
    assert (after.height, after.table) == (EPOCH, table)
