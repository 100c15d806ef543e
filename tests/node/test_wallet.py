"""Accounts by name, messages built and signed, references."""

from pathlib import Path

import pytest

from consensus.encoding import H
from consensus.ids import Agent, ChainId, account_text, content_id, hash_text, id_text, peer_text
from consensus.messages import Message, Reference, decode_data
from node.errors import AccountUnknown, Exit, KeyKind, KeyPasswordWrong, MessageInvalid
from node.keystore import ACCOUNT, PEER, Keystore, public_of, write_plain
from node.verifier import verify_once
from node.wallet import Terms, Wallet, reference, reference_text

CHAIN = ChainId(content_id(b"chain"))
OTHER = ChainId(content_id(b"other"))
TOKEN = Agent(H("agent", "token"))
AGENTS = {"token": TOKEN}
PASSWORD = "correct horse"
ALICE, BOB = bytes((1,)) * 32, bytes((2,)) * 32


@pytest.fixture
def wallet(tmp_path: Path) -> Wallet:
    accounts = tmp_path / "accounts"
    write_plain(accounts / "alice.json", ALICE, name="alice", kind=ACCOUNT)
    write_plain(accounts / "n1.json", bytes((9,)) * 32, name="n1", kind=PEER)
    keystore = Keystore(tmp_path / "keys", scrypt_n=2**4)
    keystore.add("bob", BOB, PASSWORD)
    keystore.add("alice", bytes((3,)) * 32, PASSWORD)  # hidden by the testnet's
    return Wallet(keystore=keystore, testnet_accounts=accounts, password=lambda name: PASSWORD)


def test_accounts_of_the_testnet_come_before_the_keystores(wallet: Wallet) -> None:
    assert sorted(wallet.entries()) == ["alice", "bob"]
    assert wallet.account("@alice") == public_of(ALICE)
    assert wallet.account("@bob") == public_of(BOB)
    assert wallet.account(account_text(public_of(BOB))) == public_of(BOB)
    assert wallet.name_of(public_of(BOB)) == "@bob"
    assert wallet.name_of(bytes(32)) == account_text(bytes(32))
    assert Wallet().entries() == {}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("@allice", r"did you mean alice\?"),
        ("bob", "neither"),
        ("", "neither"),
        (peer_text(bytes(32)), "a peer where an account is wanted"),
        (account_text(bytes(32))[:-1] + "b", "neither"),
    ],
)
def test_an_unknown_account_is_a_usage_error(wallet: Wallet, text: str, cause: str) -> None:
    with pytest.raises(AccountUnknown, match=cause) as caught:
        wallet.account(text)
    assert caught.value.exit == Exit.USAGE


@pytest.mark.parametrize("name", ["n1", "@n1"])
def test_a_peers_key_sends_nothing_and_says_so(wallet: Wallet, name: str) -> None:
    with pytest.raises(KeyKind, match=r"'n1' is the key of a node \(a peer\)") as caught:
        wallet.unlock(name)
    assert caught.value.exit == Exit.CONFIG


def test_who_sends_when_nobody_is_named(wallet: Wallet, tmp_path: Path) -> None:
    assert wallet.default() == "alice"  # of the testnet
    keys = Keystore(tmp_path / "keys", scrypt_n=2**4)
    keys.add("home", bytes((4,)) * 32, PASSWORD, kind=PEER)
    with pytest.raises(AccountUnknown, match="2 accounts: alice, bob") as caught:
        Wallet(keystore=keys).default()
    assert caught.value.hint == "choose one: --as NAME"
    (tmp_path / "keys" / "alice.json").unlink()
    assert Wallet(keystore=keys).default() == "bob"  # the only account; home is a peer's
    with pytest.raises(AccountUnknown, match="no account to send from"):
        Wallet().default()


@pytest.mark.parametrize("name", ["alice", "@bob"])
def test_a_message_is_built_and_signed(wallet: Wallet, name: str) -> None:
    signer = wallet.unlock(name)
    to = Reference(CHAIN, TOKEN, None)
    fields = {"to": wallet.account("@bob"), "amount": 5}
    message = signer.build(CHAIN, to, "Transfer", fields, Terms(300, 1000, pay=2))
    again = Message.decode(message.raw)
    assert verify_once(again.sender, again.signed_bytes, again.signature)
    assert again.sender == wallet.account(f"@{signer.name}")
    assert decode_data(again.data) == ("Transfer", fields)
    assert (again.to, again.expires_height, again.gas_max, again.pay) == (to, 300, 1000, 2)
    other = signer.build(CHAIN, to, "Transfer", fields, Terms(300, 1000, pay=2))
    assert other.nonce != again.nonce and other.id != again.id


def test_dice_may_be_given(wallet: Wallet) -> None:
    signer = wallet.unlock("alice")
    signer._dice = bytes
    message = signer.build(CHAIN, Reference(CHAIN, TOKEN, None), "M", {}, Terms(1, 1))
    assert message.nonce == bytes(16)


@pytest.mark.parametrize("fields", [{"x": 1.5}, {"x": b"b" * 9000}, {"x": 2**64}])
def test_what_has_no_canonical_form_or_is_too_big_is_refused(
    wallet: Wallet, fields: dict[str, object]
) -> None:
    signer = wallet.unlock("alice")
    with pytest.raises(MessageInvalid) as caught:
        signer.build(CHAIN, Reference(CHAIN, TOKEN, None), "M", fields, Terms(1, 1))
    assert caught.value.exit == Exit.USAGE


def test_an_encrypted_account_asks_for_its_password(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path, scrypt_n=2**4)
    keystore.add("bob", BOB, PASSWORD)
    asked: list[str] = []

    def wrong(name: str) -> str:
        asked.append(name)
        return "wrong password"

    with pytest.raises(KeyPasswordWrong):
        Wallet(keystore=keystore, password=wrong).unlock("@bob")
    assert asked == ["bob"]
    with pytest.raises(KeyPasswordWrong, match="no password was given"):
        Wallet(keystore=keystore).unlock("bob")


CAPABILITY = H("capability")
REFERENCES = [
    ("token", Reference(CHAIN, TOKEN, None)),
    (f"token#{hash_text(CAPABILITY)}", Reference(CHAIN, TOKEN, CAPABILITY)),
    (hash_text(H("x")), Reference(CHAIN, Agent(H("x")), None)),
    (f"{id_text(OTHER)}/{hash_text(TOKEN)}", Reference(OTHER, TOKEN, None)),
]


@pytest.mark.parametrize(("text", "to"), REFERENCES)
def test_references_read_and_write(text: str, to: Reference) -> None:
    assert reference(text, chain=CHAIN, agents=AGENTS) == to
    assert reference_text(to, chain=CHAIN, agents=AGENTS) == text


def test_a_full_reference_to_this_chain_is_the_same_as_a_short_one() -> None:
    text = f"{id_text(CHAIN)}/token"
    assert reference(text, chain=CHAIN, agents=AGENTS) == Reference(CHAIN, TOKEN, None)


@pytest.mark.parametrize(
    "text", ["", "tokn", "token#", "token#zz", "nochain/token", "a/b/c", "TOKEN", "token#token"]
)
def test_a_reference_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(MessageInvalid, match="no agent"):
        reference(text, chain=CHAIN, agents=AGENTS)
