"""Going on from a chain that stopped for good: its last state, read from a node's folder (§10).

Judges block, certificate and state together before anything is built on them. Knows no new chain
but by its specification; who owns it, its founders decide.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from consensus.block import Header
from consensus.certificates import Certificate, signatures_valid
from consensus.errors import ConsensusError, ContinuesMismatch
from consensus.leaves import view
from consensus.light import check_provable
from consensus.parameters import Parameters
from consensus.signatures import Verifier
from consensus.spec import ChainSpec, Continues, SpecDraft
from consensus.validity import check_certificate
from node.errors import NotFound, SpecUnusable
from node.execution.genesis import Snapshot, continues
from node.store.chain import ChainData, chain_of
from node.store.lmdb import LmdbStore

STORE: Final = "chain"  # in a node's folder


class Stopped(NamedTuple):
    """Where a chain stands in a node's folder: its specification, newest block, whole state."""

    spec: ChainSpec
    snapshot: Snapshot
    continues: Continues


def read_stopped(folder: Path, verifier: Verifier) -> Stopped:
    """The newest certified state of the node in `folder`, which need not run.

    Raises NotFound where no chain is there, SpecUnusable for one that cannot be continued.
    """
    if not (folder / STORE).is_dir():
        raise NotFound(f"{folder} holds no chain", hint="name the folder of a node of that chain")
    store = LmdbStore(folder / STORE, read_only=True)
    try:
        found = chain_of(store)
        if found is None:
            raise NotFound(f"{folder} holds no chain")
        spec = ChainSpec.decode(found[1])
        return read_chain(ChainData(store, chain=spec.id, spec=spec.raw), spec, verifier)
    except ConsensusError as error:
        raise SpecUnusable(f"{folder}: {error}") from error
    finally:
        store.close()


def read_chain(chain: ChainData, spec: ChainSpec, verifier: Verifier) -> Stopped:
    """The same from open chain data. Raises InvalidCertificate, ContinuesMismatch, NotProvable."""
    check_provable(spec)
    tip = chain.tip()
    if tip is None or not tip.certificate:
        raise ContinuesMismatch("no block of that chain is certified: nothing to continue")
    header, certificate = Header.decode(tip.header), Certificate.decode(tip.certificate)
    table = view(spec, chain.state, header.height).table_of(header.fields.epoch)
    assert table is not None, "the tip is of this epoch or the one before"
    check_certificate(spec, table, header, certificate)
    if not signatures_valid(certificate, verifier):
        raise ContinuesMismatch("an accept in the certificate does not verify")
    snapshot = Snapshot.of(header, chain.state.items())
    return Stopped(spec, snapshot, continues(snapshot, certificate))


def draft(
    stopped: Stopped,
    *,
    genesis_time_ms: int,
    nonce: bytes,
    name: str = "",
    parameters: Parameters | None = None,
    new_agents: Sequence[tuple[str, str, bytes]] = (),
) -> SpecDraft:
    """A specification that goes on from there, but for its slots: those are the founders' to deal.

    The agents' names come along; an agent that the state has is not made again.
    """
    old = stopped.spec
    return SpecDraft(
        name=name or old.name,
        parameters=parameters or old.parameters,
        genesis_time_ms=genesis_time_ms,
        nonce=nonce,
        genesis_agents=(*old.genesis_agents, *new_agents),
        main_chain=old.main_chain,
        consensus=old.consensus,
        continues=stopped.continues,
    )


def snapshot_for(spec: ChainSpec, folder: Path | None, verifier: Verifier) -> Snapshot | None:
    """The state that `spec` continues with, null where it continues none. Raises SpecUnusable,
    NotFound."""
    if spec.continues is None:
        return None
    if folder is None:
        raise SpecUnusable(
            f"the chain {spec.name} continues another: its state is needed",
            hint="set node.continues to the folder of a node of the chain that stopped",
        )
    stopped = read_stopped(folder, verifier)
    if (stopped.continues.chain, stopped.continues.height) != spec.continues[:2]:
        raise SpecUnusable(
            f"{folder} stands at height {stopped.continues.height} of another chain or height than"
            f" the specification continues ({spec.continues.height})"
        )
    return stopped.snapshot
