"""A wallet: accounts by name, from the keystore and from a testnet; messages built and signed.

Knows the bytes of messages, no network and no agent's types. Dice are the system's unless given.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from nacl.bindings import crypto_sign

from consensus.encoding import Value
from consensus.errors import EncodingError, TextError
from consensus.ids import (
    ACCOUNT_TYPE,
    HASH_BYTES,
    SIGNATURE_BYTES,
    Account,
    Agent,
    ChainId,
    Hash,
    MessageId,
    account_text,
    hash_from_text,
    hash_text,
    id_from_text,
    id_text,
    key_from_text,
)
from consensus.messages import Draft, Message, Reference, encode_data
from node.errors import AccountUnknown, KeyFileError, KeyKind, MessageInvalid, suggestion
from node.keystore import ACCOUNT, KeyEntry, Keystore, LoadedKey, entry_of, load

ACCOUNTS_MAX: Final = 10_000  # files looked at in one folder
NONCE_BYTES: Final = 16
NAMES_SHOWN: Final = 8
SENDER_OF_TESTNETS: Final = "alice"
EXPIRES_AFTER_BLOCKS: Final = 200  # of expiry_max_blocks 256: room for a node that is behind


_AS: Final = "choose one: --as NAME"
_NEW: Final = "`apocryph key new NAME` makes an account; tokens come from another one"


class Terms(NamedTuple):
    """What a message costs and how long it may wait."""

    expires_height: int
    gas_max: int
    pay: int = 0
    after: MessageId | None = None


class AccountSigner:
    """An unlocked account. `sign` makes wire bytes; it keeps no count, nonces are random."""

    def __init__(self, key: LoadedKey, *, dice: Callable[[int], bytes] = os.urandom) -> None:
        self.name = key.name
        self.account = Account(key.public)
        self._secret = key.secret + key.public  # the form libsodium signs with
        self._dice = dice

    def build(
        self, chain: ChainId, to: Reference, type_name: str, fields: dict[str, Value], terms: Terms
    ) -> Message:
        """A signed message. Raises MessageInvalid for what has no form or exceeds a bound."""
        try:
            data = encode_data(type_name, fields)
            draft = Draft(chain, self.account, to, data, self._dice(NONCE_BYTES), *terms)
            return Message.decode(self.sign(draft))
        except EncodingError as error:
            raise MessageInvalid(str(error)) from error

    def sign(self, draft: Draft) -> bytes:
        """The wire bytes of a draft of this account. Raises EncodingError."""
        assert draft.sender == self.account, "a draft of another account"
        return draft.signed(crypto_sign(draft.to_sign(), self._secret)[:SIGNATURE_BYTES])


class Wallet:
    """Accounts by name: those of a testnet's folder first, then the keystore's.

    `password(name)` is asked when an encrypted key is unlocked.
    """

    def __init__(
        self,
        *,
        keystore: Keystore | None = None,
        testnet_accounts: Path | None = None,
        password: Callable[[str], str] | None = None,
    ) -> None:
        self._keystore = keystore
        self._testnet_accounts = testnet_accounts
        self._password = password

    def entries(self) -> dict[str, KeyEntry]:
        """Accounts by name. Raises KeyFileError and its kind for a file that cannot be used."""
        found: dict[str, KeyEntry] = {}
        for entry in self._entries():
            if entry.kind == ACCOUNT:
                found.setdefault(entry.name, entry)
        return found

    def _entries(self) -> Iterator[KeyEntry]:
        folder = self._testnet_accounts
        if folder is not None and folder.is_dir():
            files = sorted(folder.glob("*.json"))
            if len(files) > ACCOUNTS_MAX:
                raise KeyFileError(f"{folder} has more than {ACCOUNTS_MAX} files")
            yield from [entry_of(path) for path in files]
        if self._keystore is not None:
            yield from self._keystore.entries()

    def account(self, text: str) -> Account:
        """The account that `@name` or `apx1…` means. Raises AccountUnknown."""
        if not text.startswith("@"):
            try:
                return Account(key_from_text(text, ACCOUNT_TYPE))
            except TextError as error:
                raise AccountUnknown(
                    f"{text!r} is neither @name nor an account: {error}"
                ) from error
        return Account(self._entry(text[1:]).public)

    def unlock(self, name: str) -> AccountSigner:
        """The account of a name or @name, ready to sign. Raises AccountUnknown, KeyFileError."""
        entry = self._entry(name.removeprefix("@"))
        ask = self._password
        password = None if ask is None else lambda: ask(entry.name)
        return AccountSigner(load(entry.path, password, allow_testnet=True))

    def default(self) -> str:
        """Who sends when nobody is named: alice in a testnet, else the only account there is.

        Raises AccountUnknown where there is none, or more than one.
        """
        entries = self.entries()
        folder = self._testnet_accounts
        ours = entries.get(SENDER_OF_TESTNETS)
        if ours is not None and folder is not None and ours.path.parent == folder:
            return SENDER_OF_TESTNETS
        if len(entries) == 1:
            return next(iter(entries))
        if not entries:
            raise AccountUnknown("there is no account to send from", hint=_NEW)
        names = ", ".join(list(entries)[:NAMES_SHOWN])
        raise AccountUnknown(f"who sends? There are {len(entries)} accounts: {names}", hint=_AS)

    def _entry(self, name: str) -> KeyEntry:
        entries = self.entries()
        entry = entries.get(name)
        if entry is None and any(each.name == name for each in self._entries()):
            raise KeyKind(f"{name!r} is the key of a node (a peer); accounts send messages")
        if entry is None:
            near = suggestion(name, tuple(entries))
            raise AccountUnknown(f"there is no account @{name}{near}")
        return entry

    def name_of(self, account: bytes) -> str:
        """`@name` of an account of this wallet, else its text."""
        for name, entry in self.entries().items():
            if entry.public == account:
                return f"@{name}"
        return account_text(account)


def reference(text: str, *, chain: ChainId, agents: Mapping[str, Agent]) -> Reference:
    """The Reference that `[chain/]agent[#capability]` means (wire: Text).

    `chain` is the default; `agents`: names of that chain. Raises MessageInvalid.
    """
    rest, mark, capability = text.partition("#")
    chain_text, slash, agent_text = rest.rpartition("/")
    try:
        where = ChainId(id_from_text(chain_text)) if slash else chain
        if agent_text in agents and where == chain:
            agent = agents[agent_text]
        else:
            agent = Agent(hash_from_text(agent_text))
        right = Hash(hash_from_text(capability)) if mark else None
    except TextError as error:
        near = suggestion(agent_text, tuple(agents))
        raise MessageInvalid(f"no agent {text!r}{near}") from error
    assert len(agent) == HASH_BYTES
    return Reference(where, agent, right)


def reference_text(to: Reference, *, chain: ChainId, agents: Mapping[str, Agent]) -> str:
    """The shortest text that `reference` reads back."""
    names = {agent: name for name, agent in agents.items()}
    agent = names.get(to.agent) if to.chain == chain else None
    text = agent or hash_text(to.agent)
    if to.chain != chain:
        text = f"{id_text(to.chain)}/{text}"
    return f"{text}#{hash_text(to.capability)}" if to.capability else text
