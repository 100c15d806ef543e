"""Real nodes of the other kinds of chain, of a continued one, and of one that saw a fork."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apocryph.__main__ import main
from consensus import proofs, proposers
from consensus.effects import Halt
from consensus.ids import Checkpoint, Height, Peer, checkpoint_text, id_text
from consensus.parameters import Parameters
from consensus.spec import ChainSpec, SpecDraft
from consensus.tables import deal
from node import continuing
from node.codes import Exit
from node.errors import ChainForked, NotProvable, TrustTooOld
from node.execution.keys import read_balance
from node.following import FORK_FILE, Trust
from node.keystore import public_of
from node.validator import NodeOptions, Validator
from node.verifier import SodiumVerifier
from tests.node.gateway_lab import ALICE, BOB, SECRET, lab_spec, running, transfer
from tests.node.process_lab import ended, write_node
from tests.node.test_client_api import connected

OTHER = bytes((9,)) * 32


def owned(draft: SpecDraft, secret: bytes = SECRET) -> ChainSpec:
    """All slots to one peer."""
    peer = Peer(public_of(secret))
    seed = proposers.hash_chain_seed(secret, draft.seed, 0)
    chain = proposers.hash_chain(seed, draft.seed, peer, draft.parameters.epoch_blocks + 1)
    return ChainSpec.of(draft, [(peer, chain[0]) for _ in deal(draft.parameters.slots, [peer])])


def spec_of(consensus: str, **parameters: int) -> ChainSpec:
    lab = lab_spec()
    draft = SpecDraft(
        name=consensus,
        parameters=Parameters.local(slots=60, epoch_blocks=16, claim_close=4, **parameters),
        genesis_time_ms=lab.genesis_time_ms,
        nonce=bytes(16),
        genesis_agents=lab.genesis_agents,
        genesis_balances=lab.genesis_balances,
        consensus=consensus,
    )
    return owned(draft)


async def test_a_solo_node_certifies_its_own_blocks(tmp_path: Path) -> None:
    async with running(tmp_path, spec_of("solo")) as node, connected(node) as client:
        one = transfer(node)
        await client.send(one, wait=True)
        raw = await client.proof(id_text(one.id))
        verifier = SodiumVerifier()
        assert proofs.verify(raw, node.chain_id, verifier=verifier).height == 1
        verifier.close()
        assert node.status()["signatures"] == 1


async def test_a_probabilistic_node_decides_and_says_what_it_cannot_prove(tmp_path: Path) -> None:
    spec = spec_of("probabilistic", beta=30, settle_base_ms=4_000)
    async with running(tmp_path, spec) as node, connected(node) as client:
        one = transfer(node)
        await client.send(one, wait=True)
        shown = await client.block(1)
        assert shown["certificate"] is None and shown["messages"] == [id_text(one.id)]
        with pytest.raises(NotProvable, match="makes no certificates"):
            await client.proof(id_text(one.id))
        assert node.status()["signatures"] == 0
    async with running(tmp_path, spec) as node, connected(node) as client:
        await client.send(transfer(node), wait=True)
        assert node.chain.height == 2


# ---- continues ----------------------------------------------------------------------------------


async def test_a_node_starts_on_the_state_of_a_chain_that_stopped(tmp_path: Path) -> None:
    old = tmp_path / "old"
    async with running(old) as node, connected(node) as client:
        await client.send(transfer(node, 77), wait=True)
        bob = read_balance(node.chain.state, BOB.account)
    verifier = SodiumVerifier()
    stopped = continuing.read_stopped(old, verifier)
    verifier.close()
    made = continuing.draft(stopped, genesis_time_ms=time.time_ns() // 1_000_000, nonce=bytes(16))
    spec = owned(made, OTHER)
    options = options_of(tmp_path / "new", spec, OTHER)
    for given in (replace(options, continues=old), options):  # its state is read once
        validator = Validator(given)
        try:
            await validator.start()
            assert read_balance(validator.chain.state, BOB.account) == bob
            assert read_balance(validator.chain.state, ALICE.account) is not None
        finally:
            await validator.stop()


def options_of(folder: Path, spec: ChainSpec, secret: bytes = SECRET) -> NodeOptions:
    return NodeOptions(folder=folder, spec=spec, secret=secret, mining=False, journal="off")


@pytest.mark.slow  # scrypt, and two node processes
async def test_init_takes_the_folder_that_is_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    async with running(old) as node, connected(node) as client:
        await client.send(transfer(node), wait=True)
    verifier = SodiumVerifier()
    stopped = continuing.read_stopped(old, verifier)
    verifier.close()
    made = continuing.draft(stopped, genesis_time_ms=time.time_ns() // 1_000_000, nonce=bytes(16))
    spec, password = tmp_path / "spec.cbor", tmp_path / "password"
    spec.write_bytes(owned(made).raw)
    password.write_text("long enough\n")
    password.chmod(0o600)
    words = ["node", "init", str(new), "--spec", str(spec), "--password-file", str(password)]

    def said(*flags: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*words, *flags, "--json"])
        return code, json.loads(capsys.readouterr().out)

    code, told = said()
    assert (code, told["errors"][0]["code"]) == (Exit.CONFIG, "spec")
    assert "node.continues" in told["errors"][0]["hint"] and not new.exists()
    code, told = said("--continues", str(old), "--checkpoint", "x")
    assert code == Exit.USAGE and not new.exists()
    code, told = said("--continues", str(old))
    assert code == Exit.OK, told
    from node.config import load

    assert load(new, environ={}).node.continues == str(old)
    spec.write_bytes(lab_spec().raw)
    words[2] = str(tmp_path / "third")
    assert said("--continues", str(old))[0] == Exit.USAGE


# ---- trust and forks ----------------------------------------------------------------------------


async def test_who_owns_nothing_does_not_start_from_an_old_genesis(tmp_path: Path) -> None:
    spec = lab_spec(trust_ms=1)
    for secret, checkpoint, starts in (
        (SECRET, None, True),  # an owner
        (OTHER, None, False),
        (OTHER, Checkpoint(Height(7), spec.id), True),  # judged when it is reached
    ):
        name = f"{secret[0]}{checkpoint is None}"
        options = replace(options_of(tmp_path / name, spec, secret), checkpoint=checkpoint)
        validator = Validator(options)
        try:
            if starts:
                await validator.start()
            else:
                with pytest.raises(TrustTooOld, match="genesis is older than trust_ms"):
                    await validator.start()
        finally:
            await validator.stop()


async def test_a_node_that_sees_a_fork_stops_and_keeps_both(tmp_path: Path) -> None:
    async with running(tmp_path) as node, connected(node) as client:
        await client.send(transfer(node), wait=True)
        block, raw = node.core.engine.machine.tip.header.id, b"certificate"
        node.runtime._perform(Halt(Height(1), block, "two certified blocks", (raw, raw), True))
        with pytest.raises(ChainForked, match="two certified blocks"):
            await node.run()
        assert node.status()["halted"] and not node.ready[0]
    assert json.loads((tmp_path / FORK_FILE).read_text())["block"] == id_text(block)
    again = Validator(options_of(tmp_path, node.spec))
    try:
        with pytest.raises(ChainForked, match="seen before"):
            await again.start()
    finally:
        await again.stop()


@pytest.mark.slow  # three node processes
def test_the_process_ends_with_exit_7_and_a_hint(tmp_path: Path) -> None:
    spec = lab_spec()
    folder = write_node(tmp_path / "n1", spec)
    block = spec.id
    halt = Halt(Height(1), block, "two certified blocks", (b"one", b"two"), True)
    Trust(spec, folder, None).keep_fork(halt)
    words = ("node", "run", str(folder), "--testnet-keys", "--json")
    done = ended(tmp_path, *words)
    (error,) = json.loads(done.stdout)["errors"]
    assert (done.returncode, error["code"]) == (Exit.SAFETY, "forked")
    assert "checkpoint" in error["hint"] and "delete" not in error["hint"]
    wrong = checkpoint_text(Checkpoint(Height(0), block))
    (folder / FORK_FILE).unlink()
    write_node(folder, spec, node__checkpoint=wrong)
    done = ended(tmp_path, *words)
    (error,) = json.loads(done.stdout)["errors"]
    assert (done.returncode, error["code"]) == (Exit.SAFETY, "checkpoint")


@pytest.mark.slow  # a node, and a proof
async def test_a_light_client_needs_a_checkpoint_when_genesis_is_old(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from node.prooffile import file_text

    async with running(tmp_path, lab_spec(trust_ms=1_500)) as node, connected(node) as client:
        one = transfer(node)
        await client.send(one, wait=True)
        chain, block = id_text(node.chain_id), node.chain.block(1)
        file = tmp_path / "p.json"
        file.write_text(file_text(await client.proof(id_text(one.id))))
    assert block is not None
    words = ["light", "verify", str(file), "--chain", chain, "--json"]

    def said(*flags: str) -> tuple[int, Any]:
        capsys.readouterr()
        return main([*words, *flags]), json.loads(capsys.readouterr().out)

    while said()[0] == Exit.OK:  # until genesis is too old
        pass
    code, told = said()
    assert (code, told["errors"][0]["code"]) == (Exit.SAFETY, "trust")
    assert "--checkpoint" in told["errors"][0]["hint"]
    other = checkpoint_text(Checkpoint(Height(1), node.chain_id))
    code, told = said("--checkpoint", other)
    assert (code, told["errors"][0]["code"]) == (Exit.SAFETY, "checkpoint")
    code, told = said("--checkpoint", "1:bafy")
    assert code == Exit.USAGE
