"""The client commands against a real node: answers, exit codes, the one envelope."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.ids import id_of_hash, id_text, peer_text
from node import telling
from node.errors import Exit
from node.hold import Horizon
from node.joining import read_join
from node.keystore import ACCOUNT, write_plain
from node.validator import Validator
from tests.apocryph.cli_lab import NET, Commands, node_in_thread, write_testnet
from tests.node.gateway_lab import BALANCE

UNKNOWN = id_text(id_of_hash(bytes(32)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def node(home: Path) -> Iterator[Validator]:
    with node_in_thread(home / "n1") as validator:
        write_testnet(home, validator)
        yield validator


@pytest.fixture
def apocryph(
    home: Path,
    node: Validator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Commands:
    monkeypatch.setenv("APOCRYPH_HOME", str(home))
    monkeypatch.setenv("APOCRYPH_NET", NET)
    return Commands(capsys)


def balance(apocryph: Commands, name: str) -> int:
    return int(apocryph.json("query", "token", "balance", f"owner=@{name}").data["value"])


def test_send_with_wait_tells_height_gas_and_finality(apocryph: Commands) -> None:
    before = balance(apocryph, "bob")
    said = apocryph.json(
        "send", "token", "Transfer", "to=@bob", "amount=5", "--as", "alice", "--wait"
    )
    data = said.data
    assert data["receipt"]["status"] == "ok"
    assert data["height"] == data["receipt"]["height"] >= 1
    assert data["gas"] == 124
    assert isinstance(data["finality_ms"], int)
    assert balance(apocryph, "bob") == before + 5
    tx = apocryph.json("tx", data["id"]).data
    assert (tx["state"], tx["receipt"]) == ("included", data["receipt"])
    block = apocryph.json("block", str(data["height"])).data
    assert data["id"] in block["messages"]
    assert apocryph.json("block", block["block"]).data == block


def test_without_wait_only_the_id_is_told(apocryph: Commands) -> None:
    said = apocryph("send", "counter", "Add", "by=2", "--as", "bob")
    assert said.code == Exit.OK
    message = said.out.strip()
    assert apocryph.json("tx", message, "--wait", "10").data["state"] == "included"


def test_text_for_people_names_accounts(apocryph: Commands) -> None:
    said = apocryph("send", "token", "Transfer", "to=@carol", "amount=1", "--wait")
    lines = said.out.splitlines()
    assert lines[1].startswith("ok at height ")
    assert lines[2] == "event token Paid to=@carol amount=1 sender=@alice"
    told = apocryph("tx", lines[0]).out
    assert "from @alice to token: Transfer to=@carol amount=1" in told
    assert apocryph("query", "token").out.splitlines() == [
        "send   Transfer to=Address amount=int",
        "query  balance owner=Address -> int",
    ]


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("token", "Transfr", "to=@bob", "amount=5"), "did you mean Transfer"),
        (("tokn", "Transfer", "to=@bob", "amount=5"), "did you mean token"),
        (("token", "Transfer", "to=@bbo", "amount=5"), "did you mean bob"),
        (("token", "Transfer", "to=@bob", "amout=5"), "did you mean amount"),
        (("token", "Transfer", "to=@bob", "amount=x"), "expected a whole number"),
        (("token", "Transfer", "to=bob", "amount=5"), "expected an address"),
        (("token", "Transfer", "to=@bob"), "lacks amount"),
        (("token", "Transfer", "to=@bob", "amount"), "expected FIELD=VALUE"),
        (("token", "Transfer", "to=@bob", "to=@bob"), "given twice"),
        (("token", "Transfer", "to=@bob", "amount=5", "--as", "nobody"), "no account @nobody"),
        (("token", "Transfer", "to=@bob", "amount=0"), "amount: 0 is less than 1"),
        (("token", "Transfer", "to=@bob", "amount=-5"), "amount: -5 is less than 1"),
        (("token", "Transfer", "to=@bob", f"amount={-(2**70)}"), "is less than 1"),
        (("token",), "MSG"),
        (("token", "Transfer", "--nope"), "nope"),
    ],
)
def test_a_message_that_cannot_be_built_is_exit_2(
    apocryph: Commands, arguments: tuple[str, ...], cause: str
) -> None:
    said = apocryph.json("send", *arguments)
    assert said.code == Exit.USAGE
    assert cause in said.error["message"]
    assert said.error["hint"]
    text = apocryph("send", *arguments)
    assert (text.code, text.out) == (Exit.USAGE, "")
    assert text.err.startswith("error[")


def test_a_rejected_message_is_exit_5_with_its_receipt(apocryph: Commands) -> None:
    poor = ("token", "Transfer", "to=@bob", f"amount={BALANCE * 3}", "--as", "dave")
    said = apocryph.json("send", *poor, "--wait")
    assert said.code == Exit.REJECTED
    assert "NoFunds" in said.error["message"]
    told = said.envelope["data"]
    assert told["receipt"]["code"] == "NoFunds"
    assert apocryph.json("tx", told["id"]).data["receipt"]["status"] == "rejected"


@pytest.mark.parametrize(
    ("flags", "reason", "cause"),
    [
        (("--gas", "5"), "TooLittleGas", "gas_max 5 is less"),
        (("--gas", str(BALANCE * 5)), "NoFunds", "gas_max and pay need more"),
        (("--expires", "99999"), "ExpiresTooLate", "further away"),
    ],
)
def test_what_the_pool_refuses_is_exit_5(
    apocryph: Commands, flags: tuple[str, ...], reason: str, cause: str
) -> None:
    said = apocryph.json("send", "counter", "Add", "by=1", *flags)
    assert said.code == Exit.REJECTED
    assert said.error["message"].startswith(f"{reason}: ")
    assert cause in said.error["message"]
    assert said.envelope["data"]["reason"] == reason
    assert said.envelope["data"]["id"].startswith("b")


def test_an_unknown_outcome_is_exit_6_with_the_id(
    apocryph: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.client import AsyncClient

    async def pending(self: AsyncClient, message: str, *, wait_s: float = 0) -> dict[str, str]:
        return {"state": "pending"}

    monkeypatch.setattr(AsyncClient, "tx", pending)
    said = apocryph.json("send", "counter", "Add", "--wait", "--timeout", "0.05")
    assert said.code == Exit.TIMEOUT
    message = said.envelope["data"]["id"]
    assert message in said.error["hint"]
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("token", "balanc", "owner=@bob"), "did you mean balance"),
        (("token", "balance", "owner=@nope"), "no account"),
        (("token", "balance", "ownr=@bob"), "did you mean owner"),
        (("token", "balance"), "owner: missing"),
        (("nobody", "balance"), "no agent"),
    ],
)
def test_a_question_that_cannot_be_asked_is_exit_2(
    apocryph: Commands, arguments: tuple[str, ...], cause: str
) -> None:
    said = apocryph.json("query", *arguments)
    assert said.code == Exit.USAGE
    assert cause in said.error["message"]


@pytest.mark.parametrize(
    "arguments", [("tx", UNKNOWN), ("block", "999999"), ("proof", UNKNOWN), ("explain", "nope")]
)
def test_what_is_not_there_is_a_negative_answer(
    apocryph: Commands, arguments: tuple[str, ...]
) -> None:
    said = apocryph.json(*arguments)
    assert (said.code, said.error["code"]) == (Exit.NEGATIVE, "not_found")


@pytest.mark.parametrize(
    "arguments", [("block",), ("tx", UNKNOWN), ("watch",), ("query", "token"), ("send", "a", "B")]
)
def test_nobody_there_is_exit_4(apocryph: Commands, arguments: tuple[str, ...]) -> None:
    said = apocryph.json(*arguments, "--api", "http://127.0.0.1:1")
    assert (said.code, said.error["code"]) == (Exit.UNREACHABLE, "unreachable")
    assert said.error["retryable"]


def test_the_net_is_chosen_before_or_after_the_command(
    apocryph: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APOCRYPH_NET", "elsewhere")
    said = apocryph.json("block")
    assert said.code == Exit.NEGATIVE
    assert "no testnet 'elsewhere'" in said.error["message"]
    assert apocryph.json("block", "--net", NET).code == Exit.OK
    assert apocryph.json("--net", NET, "block").code == Exit.OK
    monkeypatch.delenv("APOCRYPH_NET")
    assert "no testnet 'default'" in apocryph.json("block").error["message"]
    assert "did you mean lab" in apocryph.json("block", "--net", "labb").error["message"]
    assert apocryph.json("block", "--net", "../lab").code == Exit.USAGE


def test_watch_tells_what_happened_with_cursors(apocryph: Commands) -> None:
    before = apocryph.json("block").data["height"]
    for _ in range(2):
        assert apocryph("send", "counter", "Add", "by=1", "--wait").code == Exit.OK
    last, one, two = f"{before}.9999", before + 1, before + 2
    said = apocryph("watch", "--after", last, "--count", "4", "--json")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["type"] for line in lines] == ["block", "receipt", "event", "block"]
    cursors = [f"{one}.0", f"{one}.1", f"{one}.2", f"{two}.0"]
    assert [line["cursor"] for line in lines] == cursors
    said = apocryph("watch", "counter", "--after", last, "--count", "1")
    assert "event counter Changed value=" in said.out
    rest = apocryph("watch", "--after", cursors[1], "--count", "1", "--json")
    assert json.loads(rest.out) == lines[2]


def test_a_proof_is_verified_in_an_empty_folder(
    apocryph: Commands, node: Validator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = apocryph.json("send", "token", "Transfer", "to=@bob", "amount=2", "--wait").data
    text = apocryph("proof", sent["id"]).out
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    file = empty / "p.json"
    file.write_text(text)
    shown = apocryph.json("light", "verify", "p.json").data  # the chain of the user's own testnet
    assert shown["receipt"]["message"] == sent["id"]
    monkeypatch.setenv("APOCRYPH_HOME", str(empty))
    monkeypatch.delenv("APOCRYPH_NET")
    chain = id_text(node.chain_id)
    assert apocryph.json("light", "verify", "p.json", "--chain", chain).data == shown
    said = apocryph.json("light", "verify", "p.json")  # no id from anywhere: never from the file
    assert (said.code, said.error["code"]) == (Exit.NEGATIVE, "not_found")
    said = apocryph.json("light", "verify", "p.json", "--chain", UNKNOWN)
    assert (said.code, said.error["code"]) == (Exit.NEGATIVE, "proof")
    assert said.error["message"].startswith("chain id")
    file.write_text(text.replace("a", "b", 1))
    said = apocryph.json("light", "verify", "p.json", "--chain", chain)
    assert said.code == Exit.NEGATIVE


def test_proofs_of_balances_and_messages(apocryph: Commands, tmp_path: Path) -> None:
    sent = apocryph.json("send", "counter", "Add", "by=4", "--wait").data
    file = tmp_path / "p.json"
    file.write_text(apocryph("proof", "@bob").out)
    shown = apocryph.json("light", "verify", str(file)).data
    assert (shown["of"], shown["balance"]) == ("balance", balance(apocryph, "bob"))
    file.write_text(apocryph("proof", sent["id"], "--of", "message").out)
    shown = apocryph.json("light", "verify", str(file)).data
    assert shown["message"]["fields"] == {"by": 4}
    enveloped = apocryph.json("proof", sent["id"])
    assert enveloped.data["bytes"] > 1_000
    file.write_text(enveloped.out)
    assert "valid: receipt" in apocryph("light", "verify", str(file)).out


# ---- another chain, a node that is behind --------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("block",), ("tx", UNKNOWN), ("proof", UNKNOWN), ("query", "token"), ("agent", "list"),
        ("chain", "show"), ("watch", "--count", "1"), ("fabric", "ls"),
        ("send", "token", "Transfer", "to=@bob", "amount=5"),
    ],
)  # fmt: skip
def test_an_address_that_answers_for_another_chain_is_refused(
    apocryph: Commands, home: Path, node: Validator, arguments: tuple[str, ...]
) -> None:
    about = home / "testnets" / NET / "testnet.json"
    stale = home / "testnets" / "stale"
    stale.mkdir(exist_ok=True)
    other = {**json.loads(about.read_text()), "name": "stale", "chain": UNKNOWN}
    (stale / "testnet.json").write_text(json.dumps(other))
    height = node.chain.height
    said = apocryph.json(*arguments, "--net", "stale")
    assert (said.error["code"], said.code) == ("wrong_chain", Exit.SAFETY)
    assert id_text(node.chain_id) in said.error["message"] and UNKNOWN in said.error["message"]
    assert "--net stale" in said.error["hint"]
    assert node.chain.height == height
    if arguments[0] == "block":  # what is reached by its address is what was asked for
        assert apocryph.json("block", "--net", "stale", "--api", node.gateway.url).code == Exit.OK
    if arguments[0] == "send":  # but a testnet's accounts are of its own chain
        write_plain(stale / "accounts" / "alice.json", bytes(32), name="alice", kind=ACCOUNT)
        said = apocryph.json(*arguments, "--net", "stale", "--api", node.gateway.url)
        assert "there is no account" in said.error["message"]


def test_a_node_that_is_behind_is_warned_of(
    apocryph: Commands, node: Validator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert apocryph.json("block").envelope["warnings"] == []
    height = node.chain.height
    monkeypatch.setattr(telling, "horizon", lambda _: Horizon(height, height + 40, True))
    (warning,) = apocryph.json("block").envelope["warnings"]
    assert f"catching up, height {height} of {height + 40}" in warning
    assert "warning: " in apocryph("block").err


# ---- what is there -------------------------------------------------------------------------------


def test_agents_are_listed_by_both_commands(apocryph: Commands) -> None:
    data = apocryph.json("agent", "list").data
    assert {one["agent"]: one["code"] for one in data["agents"]} == {
        "token": "native:token/1",
        "counter": "native:counter/1",
        "ping": "native:pingpong/1",
        "pong": "native:pingpong/1",
    }
    assert apocryph.json("query").data["agents"] == data["agents"]
    assert apocryph("agent", "list").out.splitlines()[0] == "agent\tcode\tid"


def test_what_chain_show_writes_makes_a_node(
    apocryph: Commands, node: Validator, tmp_path: Path
) -> None:
    apocryph("send", "counter", "Add", "by=1", "--wait")
    file = tmp_path / "chain.json"
    data = apocryph.json("chain", "show", "--out", str(file)).data
    peer = peer_text(node.peer)
    assert data["peers"] == [f"{peer}@127.0.0.1:2"]  # as testnet.json says
    height, _, block = data["checkpoint"].partition(":")
    assert apocryph.json("block", height).data["block"] == block
    joined = read_join(file)
    assert (joined.spec.id, joined.checkpoint) == (node.chain_id, data["checkpoint"])
    assert joined.peers == tuple(data["peers"])
    listen = "{}:{}".format(*(node.carrier.listening or ("", 0)))
    own = apocryph.json("chain", "show", "--api", node.gateway.url).data["peers"]
    assert own == [f"{peer}@{listen}"]
    far = apocryph.json("chain", "show", "--api", node.gateway.url, "--host", "node.example").data
    assert far["peers"] == [f"{peer}@node.example:{listen.rpartition(':')[2]}"]


def test_the_fabric_answers_in_the_one_envelope(apocryph: Commands) -> None:
    for arguments in [("ls",), ("tail", "blocks")]:
        said = apocryph.json("fabric", *arguments)  # nothing listens where testnet.json says
        assert (said.error["code"], said.code) == ("unreachable", Exit.UNREACHABLE)
        text = apocryph("fabric", *arguments)
        assert text.err.startswith("error[unreachable]: no fabric answers at 127.0.0.1:1")
    said = apocryph.json("fabric", "tail", "blocks", "--from", "first")
    assert (said.error["code"], said.code) == ("usage", Exit.USAGE)
    said = apocryph.json("fabric", "ls", "--node", "n2")
    assert (said.error["code"], said.code) == ("not_found", Exit.NEGATIVE)
    said = apocryph.json("fabric", "ls", "--net", "nope")
    assert (said.error["code"], said.code) == ("not_found", Exit.NEGATIVE)
    assert "--address" in said.error["hint"]
