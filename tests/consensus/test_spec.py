"""ChainSpec: its record, its id and seed, and what may not start a chain (protocol §3)."""

import hashlib

import dag_cbor
import pytest

from consensus.block import Header
from consensus.encoding import H
from consensus.errors import EncodingError, ParameterError, SpecError
from consensus.ids import ID_PREFIX
from consensus.parameters import Parameters
from consensus.spec import ChainSpec, Continues, SpecDraft, agent_id
from tests.consensus.builders_chain import genesis_header, make_spec, small
from tests.consensus.builders_keys import account_key, peer_key
from tests.consensus.builders_proofs import certificate_for

ONE = bytes(range(32))
AGENTS = (("token", "native:token/1", b"\xa0"), ("counter", "native:counter/1", b"\xa0"))
BALANCES = ((account_key(0), 1000), (account_key(1), 5))


def draft(**fields):
    made = {"name": "test", "parameters": small(slots=2), "genesis_time_ms": 7, "nonce": bytes(16)}
    return SpecDraft(**{**made, **fields})


def owned(count=2, commitment=ONE):
    return [(peer_key(0), commitment)] * count


def test_the_record_is_the_list_of_the_page():
    parameters = small(slots=2)
    spec = ChainSpec.of(draft(genesis_agents=AGENTS, genesis_balances=BALANCES), owned())
    naive = [
        "spec",
        1,
        "test",
        None,
        "snowball",
        parameters.encode(),
        7,
        [[peer_key(0), ONE], [peer_key(0), ONE]],
        [list(agent) for agent in AGENTS],
        [list(balance) for balance in BALANCES],
        None,
        bytes(16),
    ]
    assert spec.raw == dag_cbor.encode(naive)
    assert spec.id == ID_PREFIX + hashlib.sha256(spec.raw).digest()
    naive[7] = []
    assert spec.seed == ID_PREFIX + hashlib.sha256(dag_cbor.encode(naive)).digest()
    assert ChainSpec.decode(spec.raw) == spec


def test_the_seed_is_known_before_the_slots_and_binds_all_else():
    seed = draft().seed
    assert ChainSpec.of(draft(), owned()).seed == seed
    assert ChainSpec.of(draft(), owned(commitment=bytes(32))).seed == seed
    for other in ({"name": "other"}, {"genesis_time_ms": 8}, {"nonce": bytes(15) + b"1"}):
        assert draft(**other).seed != seed
    assert draft(parameters=small(slots=2, beta=9)).seed != seed
    assert draft(genesis_balances=BALANCES).seed != seed


def test_the_id_binds_the_slots():
    first = ChainSpec.of(draft(), owned())
    assert first.id != ChainSpec.of(draft(), owned(commitment=bytes(32))).id
    assert first.id != ChainSpec.of(draft(), [owned()[0], None]).id


def test_slots_may_be_vacant_but_not_all():
    spec = ChainSpec.of(draft(), [None, owned()[0]])
    assert spec.genesis_table().owners == (None, peer_key(0))
    with pytest.raises(SpecError, match="at least one slot needs an owner"):
        ChainSpec.of(draft(), [None, None])


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"consensus": "probabilistic"}, "30 ≤ beta 8 does not hold"),
        ({"consensus": "poa"}, "'poa' is unknown; the kinds are snowball, solo, probabilistic"),
        ({"name": ""}, "name"),
        ({"name": "Test"}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "1st"}, "name"),
        ({"genesis_agents": (*AGENTS, AGENTS[0])}, "agent 'token' is named twice"),
        ({"genesis_agents": (("to#ken", "native:token/1", b""),)}, "agent 'to#ken'"),
        ({"genesis_balances": (*BALANCES, BALANCES[0])}, "an account is named twice"),
        ({"genesis_balances": ((account_key(0), 2**64 - 1), (account_key(1), 1))}, "the sum"),
    ],
)
def test_what_cannot_start_a_chain(fields, cause):
    with pytest.raises(SpecError, match=cause):
        ChainSpec.of(draft(**fields), owned())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_item_per_slot(count):
    with pytest.raises(SpecError, match=f"{count} given, slots is 2"):
        ChainSpec.of(draft(), owned(count))


def test_a_peer_has_one_commitment():
    slots = [(peer_key(0), ONE), (peer_key(0), bytes(32))]
    with pytest.raises(SpecError, match="two commitments"):
        ChainSpec.of(draft(), slots)


def continued(height=7, chain=None, certificate=None):
    header = make_header(height=height)
    made = certificate or certificate_for(header, [peer_key(0)]).raw
    return Continues(chain or header.fields.chain, 7, bytes(32), made)


def make_header(height):
    spec = make_spec(1)
    return Header.of(genesis_header(spec).fields._replace(chain=spec.id, height=height))


def test_a_chain_may_continue_another():
    spec = ChainSpec.of(draft(continues=continued()), owned())
    assert spec.continues == continued()
    assert dag_cbor.decode(spec.raw)[10] == list(continued())
    assert ChainSpec.decode(spec.raw) == spec
    assert draft(continues=continued()).seed != draft().seed


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"continues": continued(height=8)}, "not of that chain and height"),
        ({"continues": continued(chain=ID_PREFIX + bytes(32))}, "not of that chain and height"),
        ({"continues": continued(certificate=b"\x80")}, "continues: "),
        ({"continues": continued(), "genesis_balances": BALANCES}, "genesis_balances is empty"),
    ],
)
def test_what_is_continued_is_named_consistently(fields, cause):
    with pytest.raises(SpecError, match=cause):
        ChainSpec.of(draft(**fields), owned())


def test_a_certificate_of_nobody_continues_nothing():
    nobody = dag_cbor.decode(continued().certificate)
    nobody[7] = []
    with pytest.raises(SpecError, match="not of that chain and height"):
        ChainSpec.of(draft(continues=continued(certificate=dag_cbor.encode(nobody))), owned())


def test_a_solo_chain_has_one_owner():
    spec = ChainSpec.of(draft(consensus="solo"), owned())
    assert not spec.kind.polls and spec.kind.votes and not spec.kind.hill
    two = [owned()[0], (peer_key(1), ONE)]
    with pytest.raises(SpecError, match="2 owners ≤ 1 does not hold"):
        ChainSpec.of(draft(consensus="solo"), two)


def test_a_probabilistic_chain_has_a_beta_of_thirty():
    parameters = small(slots=2, beta=30, settle_base_ms=4_000)
    spec = ChainSpec.of(draft(consensus="probabilistic", parameters=parameters), owned())
    assert spec.kind.polls and not spec.kind.votes and not spec.kind.yields
    fewer = small(slots=2, beta=29, settle_base_ms=4_000)
    with pytest.raises(SpecError, match="30 ≤ beta 29 does not hold"):
        ChainSpec.of(draft(consensus="probabilistic", parameters=fewer), owned())


def test_parameters_inside_are_validated():
    values = dag_cbor.decode(ChainSpec.of(draft(), owned()).raw)
    values[5] = small(slots=2).encode().replace(b"\x02\x14\x0b\x0f", b"\x02\x14\x0a\x0f")
    with pytest.raises(ParameterError, match="k/2 < alpha_preference"):
        ChainSpec.decode(dag_cbor.encode(values))


@pytest.mark.parametrize(
    ("index", "value"), [(0, "spek"), (1, 2), (2, "n" * 33), (6, -1), (11, bytes(15)), (7, [[ONE]])]
)
def test_what_is_no_spec_is_refused(index, value):
    values = dag_cbor.decode(ChainSpec.of(draft(), owned()).raw)
    values[index] = value
    with pytest.raises(EncodingError):
        ChainSpec.decode(dag_cbor.encode(values))


def test_agents_are_found_by_name():
    spec = ChainSpec.of(draft(genesis_agents=AGENTS), owned())
    assert spec.agent_named("token") == agent_id("token") == H("agent", "token")
    assert spec.agent_named("nobody") is None


def test_a_public_spec_stays_within_its_bound():
    spec = make_spec([peer_key(number) for number in range(600)], Parameters.public())
    assert len(spec.raw) < 64 * 1024
    assert len(spec.genesis_table().weights) == 600
