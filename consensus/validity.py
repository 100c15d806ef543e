"""Which blocks are valid, as far as that needs no execution (protocol §5, §8).

Knows the parent's header and the view of its state. Judges no signature, and of the roots only
those of inputs and facts: state, outputs, receipts and the next table are execution's.
"""

from consensus import merkle
from consensus.block import Block, Header
from consensus.certificates import Certificate, check_weight
from consensus.encoding import ROUND_MAX
from consensus.errors import EncodingError, InvalidBlock, InvalidCertificate
from consensus.ids import content_id
from consensus.leaves import View
from consensus.proposers import check_reveal, next_randomness
from consensus.spec import ChainSpec
from consensus.tables import Table

SKIP_ROUND_MIN = 4  # from this round on a header may list skipped inputs (execution §5)


def check_header(spec: ChainSpec, parent: Header, view: View, block: Block) -> None:
    """Raises InvalidBlock with the rule that `block`, a child of `parent`, breaks.

    `view` is of the parent's state. Cheap checks come first.
    """
    _check_place(spec, parent, view, block)
    _check_body(spec, block)
    _check_skipped(block)
    _check_emptiness(spec, parent, block)
    _check_proposer(spec, parent, view, block)
    _check_parent_certificate(spec, parent, view, block)


def _check_place(spec: ChainSpec, parent: Header, view: View, block: Block) -> None:
    fields, before = block.header.fields, parent.fields
    assert view.height == before.height + 1, "the view is of another state"
    _require("chain", fields.chain == spec.id)
    _require("height", fields.height == view.height)
    _require("parent", fields.parent == parent.id)
    _require("epoch", fields.epoch == view.epoch)
    # Without votes no round ever fails.
    _require("round", fields.round <= (ROUND_MAX if spec.kind.votes else 0))
    _require("time", fields.time_ms > before.time_ms)
    # Foreign certificates are no facts of this version, so nothing can move main_ref (protocol §8).
    _require("main_ref", fields.main_ref == before.main_ref)


def _check_body(spec: ChainSpec, block: Block) -> None:
    fields, body, parameters = block.header.fields, block.body, spec.parameters
    _require("body bytes", len(body.raw) <= parameters.block_bytes_max)
    _require("messages max", len(body.messages) <= parameters.block_messages_max)
    _require("facts max", len(body.facts) <= parameters.facts_max)
    _require("inputs once", len(dict.fromkeys(body.inputs)) == len(body.inputs))
    _require("gas", fields.gas_used <= parameters.gas(fields.height, fields.round))
    _require("facts_root", fields.facts_root == merkle.root(body.facts))
    _require("inputs_root", fields.inputs_root == merkle.root(body.input_leaves))


def _check_skipped(block: Block) -> None:
    """Skipped ids are inputs of the block, in its order, each once (execution §5)."""
    fields = block.header.fields
    if not fields.skipped:
        return
    _require("skipped round", fields.round >= SKIP_ROUND_MIN)
    inputs = iter(block.body.inputs)
    _require("skipped inputs", all(skipped in inputs for skipped in fields.skipped))


def _check_emptiness(spec: ChainSpec, parent: Header, block: Block) -> None:
    """An empty block needs a failed round or a heartbeat; facts ride along (protocol §5)."""
    fields, heartbeat_s = block.header.fields, spec.parameters.heartbeat_s
    if block.body.inputs or fields.round >= 1:
        return
    beat_ms = parent.fields.time_ms + 1000 * heartbeat_s
    _require("empty", heartbeat_s > 0 and fields.time_ms >= beat_ms)


def _check_proposer(spec: ChainSpec, parent: Header, view: View, block: Block) -> None:
    fields, randomness = block.header.fields, parent.fields.randomness
    _require("randomness", fields.randomness == next_randomness(randomness, fields.reveal))
    ranking = view.ranking(randomness, fields.round)
    _require("rank", fields.rank < len(ranking))
    peer, slot = ranking[fields.rank]
    _require("proposer_slot", fields.proposer_slot == slot)
    if not view.ranked:
        _require("reveal", fields.reveal is None)
        return
    if fields.reveal is None:
        raise InvalidBlock("reveal", "missing")
    number = fields.height - spec.parameters.first_height(view.epoch) + 1
    check_reveal(view.chains[peer], fields.reveal, number, spec_seed=spec.seed, peer=peer)


def _check_parent_certificate(spec: ChainSpec, parent: Header, view: View, block: Block) -> None:
    """Null at height 1 and without votes; else of the parent, under its epoch's table (§4)."""
    named, raw = block.header.fields.parent_certificate, block.body.parent_certificate
    if view.height == 1 or not spec.kind.votes:
        _require("parent_certificate", named is None and not raw)
        return
    _require("parent_certificate", named == content_id(raw))
    table = view.table_of(spec.parameters.epoch(parent.height))
    assert table is not None, "the parent is of this epoch or the one before"
    try:
        check_certificate(spec, table, parent, Certificate.decode(raw))
    except (EncodingError, InvalidCertificate) as error:
        raise InvalidBlock("parent_certificate", str(error)) from error


def check_certificate(
    spec: ChainSpec, table: Table, header: Header, certificate: Certificate
) -> None:
    """Raises InvalidCertificate unless it certifies `header` with a quorum of `table`.

    `table` is that of the header's epoch. The signatures are the caller's to verify. The round may
    differ from the header's, which names the proposal's (protocol §7).
    """
    _certified("chain", certificate.chain == spec.id)
    _certified("height", certificate.height == header.height)
    _certified("block", certificate.block == header.id)
    epoch = spec.parameters.epoch(header.height)
    _certified("epoch", certificate.epoch == epoch and table.epoch == epoch)
    check_weight(certificate, table.weights)


def _certified(what: str, holds: bool) -> None:
    if not holds:
        raise InvalidCertificate(f"of another {what}")


def _require(rule: str, holds: bool) -> None:
    if not holds:
        raise InvalidBlock(rule)
