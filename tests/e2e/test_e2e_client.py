"""What a user of a running testnet does: send, ask, watch, look up, prove; and all that is refused.

By the commands, then by both clients of the package; proofs are checked where there is nothing.
"""

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest

from consensus.ids import Agent
from consensus.messages import MESSAGE_BYTES_MAX, Reference
from node.client import AsyncClient, Client
from node.errors import MessageInvalid, NotFound, Rejected, Unreachable
from node.wallet import Terms, Wallet
from tests.e2e.cluster import COMMAND, Cluster, environment, http, run

pytestmark = pytest.mark.slow

NO_NETWORK = ("unshare", "--net", "--map-root-user")
EXIT_NEGATIVE, EXIT_USAGE, EXIT_REJECTED, EXIT_UNREACHABLE = 1, 2, 5, 4
FLIPS = 40
GENESIS_BALANCE = 10**12


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("e2e"), "-n", 4, "--slots", 40) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def sent(net):
    """A transfer of 5 from alice to bob, included."""
    return net.send("token", "Transfer", "to=@bob", "amount=5", "--as", "alice")


# ---- what works ----------------------------------------------------------------------------------


def test_send_waits_for_its_receipt(net, sent):
    assert sent["state"] == "included" and sent["height"] >= 1 and sent["gas"] > 0
    assert 0 < sent["finality_ms"] < 30_000
    assert sent["receipt"]["status"] == "ok"
    assert sent["receipt"]["events"][0]["type"] == "Paid"
    for name in net.nodes:
        net.above(sent["height"] - 1, name)
        assert net.get(f"/v1/blocks/{sent['height']}", name)["block"] == sent["block"]


def test_query_tells_the_balance_and_tx_the_message(net, sent):
    answer = net.ok("query", "token", "balance", "owner=@bob")
    assert answer["value"] == GENESIS_BALANCE + 5
    assert answer["height"] >= sent["height"]
    found = net.ok("tx", sent["id"])
    assert (found["state"], found["height"]) == ("included", sent["height"])
    assert found["message"]["type"] == "Transfer"
    assert found["message"]["sender"] == net.about["accounts"]["alice"]
    assert found["receipt"] == sent["receipt"]
    assert sent["id"] in net.ok("block", sent["height"])["messages"]


def test_watch_shows_each_thing_once_and_resumes_at_its_cursor(net, sent):
    start = f"{sent['height'] - 1}.999"
    answer = net.command("watch", "--after", start, "--count", 2)
    assert answer.code == 0, answer
    block, receipt = [json.loads(line) for line in answer.out.splitlines()]
    assert (block["type"], block["data"]["height"]) == ("block", sent["height"])
    assert (receipt["type"], receipt["data"]["message"]) == ("receipt", sent["id"])
    again = net.command("watch", "--after", block["cursor"], "--count", 1)
    assert json.loads(again.out) == receipt
    assert not answer.err and not again.err


def test_watch_shows_what_comes_while_it_runs(net, sent):
    words = [*COMMAND, "watch", "token", "--net", net.name, "--json", "--count", "1"]
    words += ["--after", f"{net.height()}.999"]
    watch = subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=environment(net.home), cwd=net.home
    )
    try:
        later = net.send("token", "Transfer", "to=@carol", "amount=7")
        line = json.loads(watch.communicate(timeout=30)[0])
    finally:
        watch.kill()
        watch.communicate()
    assert line["type"] == "event" and line["data"]["message"] == later["id"]
    assert line["data"]["data"]["amount"] == 7


# ---- proofs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proof(net, sent):
    """The file that `apocryph proof ID > p.json` leaves."""
    answer = run(net.home, "proof", sent["id"], "--net", net.name)
    assert answer.code == 0, answer
    return answer.out.encode()


def verify(folder: Path, chain: str, before: tuple[str, ...] = ()):
    words = ("light", "verify", "p.json", "--chain", chain, "--json")
    return run(folder, *words, cwd=folder, before=before)


def can_leave_the_network() -> bool:
    return subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False).returncode == 0


def test_a_proof_is_verified_where_there_is_nothing(net, sent, proof, tmp_path):
    (tmp_path / "p.json").write_bytes(proof)
    answer = verify(tmp_path, net.about["chain"], NO_NETWORK if can_leave_the_network() else ())
    assert answer.code == 0, answer
    assert answer.data["receipt"] == sent["receipt"]
    assert (answer.data["height"], answer.data["block"]) == (sent["height"], sent["block"])
    assert answer.data["signatures"] >= 3
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"], "it left something behind"


def test_a_proof_of_another_chain_is_refused(net, sent, proof, tmp_path):
    (tmp_path / "p.json").write_bytes(proof)
    answer = verify(tmp_path, sent["block"])
    assert answer.code == EXIT_NEGATIVE, answer
    assert check_of(answer.told) == "chain id"


def test_any_flipped_bit_of_the_file_is_refused_and_says_which_check(
    net, proof, tmp_path, monkeypatch, capsys
):
    from apocryph.__main__ import main

    monkeypatch.chdir(tmp_path)
    checks = set()
    for nth in range(FLIPS):
        place = (len(proof) - 1) * nth // (FLIPS - 1)
        flipped = bytearray(proof)
        flipped[place] ^= 1 << nth % 8
        (tmp_path / "p.json").write_bytes(flipped)
        words = ["light", "verify", "p.json", "--chain", net.about["chain"], "--json"]
        assert main(words) == EXIT_NEGATIVE, place
        checks.add(check_of(json.loads(capsys.readouterr().out)))
    assert "file form" in checks


def test_any_flipped_bit_of_the_proof_is_refused_and_says_which_check(net, sent):
    from consensus import proofs
    from consensus.errors import InvalidProof
    from consensus.ids import ChainId, id_from_text
    from node.verifier import SodiumVerifier

    chain = ChainId(id_from_text(net.about["chain"]))
    with Client(net.about["api"]) as client:
        raw = client.proof(sent["id"])
    verifier, checks = SodiumVerifier(), set()
    try:
        proofs.verify(raw, chain, verifier=verifier, clock_ms=2**45)
        # the end of the file holds header, certificate, path and value; the spec is long
        tail = len(raw) - len(raw) // 3
        places = [tail * n // 10 for n in range(10)]
        places += [tail + (len(raw) - 1 - tail) * n // (FLIPS - 1) for n in range(FLIPS)]
        for nth, place in enumerate(places):
            flipped = bytearray(raw)
            flipped[place] ^= 1 << nth % 8
            with pytest.raises(InvalidProof) as caught:
                proofs.verify(bytes(flipped), chain, verifier=verifier, clock_ms=2**45)
            checks.add(caught.value.check)
    finally:
        verifier.close()
    assert len(checks) >= 3, checks


def check_of(told: dict) -> str:
    """The check that a refusal names: `CHECK: why`."""
    (error,) = told["errors"]
    assert error["code"] == "proof" and error["hint"], error
    check, mark, why = error["message"].partition(": ")
    assert mark and why, error
    return check


# ---- what is refused -----------------------------------------------------------------------------

T = ("send", "token", "Transfer", "to=@bob")
ONE = (*T, "amount=1")
REFUSED = {
    "agent": (EXIT_USAGE, "message_invalid", "tokn", ("send", "tokn", "Transfer")),
    "type": (EXIT_USAGE, "message_invalid", "Transfr", ("send", "token", "Transfr")),
    "field": (EXIT_USAGE, "message_invalid", "amont", (*T, "amont=5")),
    "missing": (EXIT_USAGE, "message_invalid", "amount", T),
    "form": (EXIT_USAGE, "message_invalid", "whole", (*T, "amount=x")),
    "account": (EXIT_USAGE, "account_unknown", "bobb", (*T[:3], "to=@bobb", "amount=5")),
    "no value": (EXIT_USAGE, "usage", "FIELD=VALUE", (*T, "amount")),
    "view": (EXIT_USAGE, "message_invalid", "view", ("query", "token", "balanc", "owner=@bob")),
    "funds": (EXIT_REJECTED, "rejected", "NoFunds", (*T, f"amount={10**15}", "--wait")),
    "pay": (EXIT_REJECTED, "rejected", "NoFunds: ", (*ONE, "--pay", 10**15)),
    "expired": (EXIT_REJECTED, "rejected", "Expired: ", (*ONE, "--expires", 1)),
    "gas": (EXIT_REJECTED, "rejected", "TooLittleGas: ", (*ONE, "--gas", 1)),
}


@pytest.mark.parametrize(("code", "name", "cause", "words"), REFUSED.values(), ids=list(REFUSED))
def test_refused_with_code_cause_and_hint(net, sent, code, name, cause, words):
    answer = net.command(*words)
    assert answer.code == code, answer
    assert answer.told["ok"] is False and answer.error["code"] == name
    assert cause in answer.error["message"]
    assert answer.error["hint"]
    reason, mark, _ = cause.partition(": ")
    if mark:  # of the pool, by the name that `explain` knows
        assert answer.data["reason"] == reason
    explained = run(net.home, "explain", reason if mark else name)
    assert explained.code == 0 and explained.out.strip()


def test_what_is_too_big_is_refused(net):
    """At the command, by the client, and by the node itself."""
    answer = net.command("send", "token", "Transfer", "to=@bob", f"amount={'9' * 100_000}")
    assert answer.code == EXIT_USAGE, answer
    assert "whole number" in answer.error["message"] and answer.error["hint"]
    assert len(answer.error["message"]) < 500, "it repeats what it was given"
    alice = wallet(net).unlock("alice")
    with Client(net.about["api"]) as client, pytest.raises(MessageInvalid):
        client.build(alice, "counter", "Add", {"by": 1, "x": bytes(MESSAGE_BYTES_MAX)})
    huge = base64.b64encode(bytes(MESSAGE_BYTES_MAX + 1)).decode()
    status, body = http(net.about["api"] + "/v1/messages", {"messages": [huge]})
    assert status in (400, 413, 422), body
    assert body["errors"][0]["code"] and body["errors"][0]["message"]


def test_refused_text_for_people_has_no_traceback(net):
    answer = run(net.home, "send", "token", "Transfr", "--net", net.name)
    assert answer.code == EXIT_USAGE and not answer.out
    assert re.match(r"error\[message_invalid\]: .*\nhint: .*\n", answer.err)


# ---- the clients of the package ------------------------------------------------------------------


def wallet(net: Cluster) -> Wallet:
    return Wallet(testnet_accounts=net.folder / "accounts")


def test_client_sends_asks_proves_and_refuses(net):
    alice, dave = wallet(net).unlock("alice"), wallet(net).account("@dave")
    with Client(net.about["api"]) as client:
        fields = {"to": bytes(dave), "amount": 11}
        message = client.build(alice, "token", "Transfer", fields)
        sent = client.send(message, wait=True)
        assert sent.tx["receipt"]["status"] == "ok" and sent.finality_ms > 0
        owner = {"owner": net.about["accounts"]["dave"]}
        assert client.query("token", "balance", owner)["value"] == GENESIS_BALANCE + 11
        assert client.tx(sent.text)["state"] == "included"
        assert len(client.proof(sent.text)) > 1_000
        events = client.events(after=f"{sent.tx['height'] - 1}.999", types=["event"])
        assert next(events).data["message"] == sent.text
        events.close()
        # a message that is included is not included again, however often it is handed in
        again = client.send(message, wait=True)
        assert again.tx["height"] == sent.tx["height"]
        assert client.query("token", "balance", owner)["value"] == GENESIS_BALANCE + 11
        with pytest.raises(Rejected) as caught:
            client.query("tokn", "balance", owner)
        assert caught.value.reason == "UnknownAgent"
        with pytest.raises(MessageInvalid):
            client.query("token", "balance", {"ownr": owner["owner"]})
        with pytest.raises(NotFound):
            client.block(10**9)


REASONS = [
    ("NoFunds", lambda height: Terms(height + 100, 1_000, 10**15)),
    ("Expired", lambda height: Terms(max(0, height - 1), 1_000)),
    ("ExpiresTooLate", lambda height: Terms(height + 10**6, 1_000)),
    ("TooLittleGas", lambda height: Terms(height + 100, 1)),
]


async def test_async_client_sends_and_names_the_reason_of_each_refusal(net, sent):
    alice, erin = wallet(net).unlock("alice"), wallet(net).account("@erin")
    async with AsyncClient(net.about["api"]) as client:
        fields = {"to": bytes(erin), "amount": 13}
        message = await client.build(alice, "token", "Transfer", fields)
        done = await client.send(message, wait=True)
        assert done.tx["receipt"]["status"] == "ok"
        height = (await client.status())["height"]
        token = (await client.agent_ids())["token"]
        for reason, terms in REASONS:
            to = Reference(message.chain, token, None)
            bad = alice.build(message.chain, to, "Transfer", fields, terms(height))
            with pytest.raises(Rejected) as caught:
                await client.submit([bad])
            assert caught.value.reason == reason, caught.value
            assert caught.value.hint
        nobody = Reference(message.chain, Agent(bytes(32)), None)
        bad = alice.build(message.chain, nobody, "Transfer", fields, Terms(height + 100, 1_000))
        with pytest.raises(Rejected) as caught:
            await client.submit([bad])
        assert caught.value.reason == "UnknownAgent"
        # nothing of it happened
        owner = {"owner": net.about["accounts"]["erin"]}
        found = await client.query("token", "balance", owner)
        assert found["value"] == GENESIS_BALANCE + 13


# ---- after the end -------------------------------------------------------------------------------


def test_when_the_net_is_down_proofs_hold_and_requests_say_so(net, sent, proof, tmp_path):
    """Ordered last: it stops the testnet."""
    net.down()
    (tmp_path / "p.json").write_bytes(proof)
    answer = net.command("light", "verify", tmp_path / "p.json")  # trusts its testnet.json
    assert answer.code == 0 and answer.data["receipt"] == sent["receipt"]
    answer = net.command("query", "token", "balance", "owner=@bob")
    assert answer.code == EXIT_UNREACHABLE, answer
    assert answer.error["code"] == "unreachable" and answer.error["hint"]
    with Client(net.about["api"]) as client, pytest.raises(Unreachable):
        client.status()
