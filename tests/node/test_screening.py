"""Certificates shown unasked: what is worth its signatures (protocol §10, §11)."""

from consensus.block import Header
from consensus.certificates import Certificate, Vote
from consensus.events import CertificateReceived
from consensus.ids import Peer
from consensus.messages import Message
from node.agents import screening
from node.agents.screening import Screening
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_keys import peer_key
from tests.node.builders_core import Bench


def nobody_pays(message: Message) -> bool:
    return False


def knows_own(vote: Vote) -> bool:
    return False


def grown() -> MiniChain:
    chain = MiniChain(make_spec(4))
    chain.advance_to(8)
    return chain


def twin(chain: MiniChain, height: int) -> Header:
    return Header.of(chain.headers[height].fields._replace(gas_used=1))


def signed(chain: MiniChain, header: Header, signers: int = 3) -> Certificate:
    return chain.certify(header, [peer_key(number) for number in range(signers)])


def test_another_block_at_a_recent_height_is_worth_its_signatures() -> None:
    """A fork that nobody looks at would never be seen (protocol §10)."""
    chain = grown()
    bench = Bench(chain=chain)  # deciding height 9, the first of an epoch
    desk = Screening(bench.core, nobody_pays, knows_own)
    fork = signed(chain, twin(chain, 8))
    assert desk.certificate(fork) == ""
    bench.send(CertificateReceived(fork, Peer(peer_key(2))))
    assert bench.core.engine.machine.halted
    assert desk.certificate(signed(chain, chain.headers[8])) == screening.LATE
    assert desk.certificate(signed(chain, twin(chain, 8), signers=2)) == screening.WEIGHT
    assert desk.certificate(signed(chain, twin(chain, 7))) == screening.LATE, "not remembered"


def test_the_height_being_decided_is_as_before() -> None:
    chain = MiniChain(make_spec(4))
    bench = Bench(chain=chain)
    desk = Screening(bench.core, nobody_pays, knows_own)
    one, two = (chain.block(rank=rank).header for rank in (0, 1))
    assert desk.certificate(signed(chain, one)) == ""
    bench.send(CertificateReceived(signed(chain, one), None))
    assert desk.certificate(signed(chain, one)) == screening.KNOWN
    assert desk.certificate(signed(chain, two)) == "", "a second block of one height"


def test_a_chain_without_votes_hears_of_none() -> None:
    parameters = small(beta=30, settle_base_ms=4_000)
    chain = MiniChain(make_spec(4, parameters, consensus="probabilistic"))
    desk = Screening(Bench(chain=chain).core, nobody_pays, knows_own)
    block = chain.block().header
    assert desk.certificate(signed(chain, block)) == screening.PLACE
    assert desk._vote(chain.accept(peer_key(1), block)) == screening.PLACE
