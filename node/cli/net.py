"""Which node a client command speaks to: `--net NAME` of a testnet, or `--api URL`; and whose keys.

Reads testnet.json as the testnet's driver writes it; a testnet's address is believed only when its
chain answers there. Knows no other request.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from node.cli.output import Output
    from node.client import Client
    from node.wallet import Wallet

ABOUT: Final = "testnet.json"
ABOUT_BYTES_MAX: Final = 4 * 1024 * 1024
TOKEN_VARIABLE: Final = "APOCRYPH_TOKEN"
NET_DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Net:
    """Where to ask. `about`: what testnet.json says; empty without a testnet of that name."""

    name: str
    api_given: str
    about: Mapping[str, Any]

    @property
    def api(self) -> str:
        """The URL. Raises NotFound where neither a testnet nor --api names one."""
        from node.errors import NotFound, suggestion

        if self.api_given:
            return self.api_given if "://" in self.api_given else f"http://{self.api_given}"
        if not self.about:
            near = suggestion(self.name, testnet_names())
            raise NotFound(
                f"there is no testnet {self.name!r}{near}",
                hint="`apocryph testnet up` makes one; or pass --api URL",
            )
        return str(self.about["api"])

    @contextmanager
    def client(self, output: "Output", timeout_s: float = 30.0) -> "Iterator[Client]":
        """A client of the node. Warns when the node is behind.

        Raises WrongChain where another chain answers than the testnet's; what is reached with
        --api is what was asked for.
        """
        from node.cli.words import behind_text
        from node.client import Client

        token = os.environ.get(TOKEN_VARIABLE, "")
        with Client(self.api, token=token, timeout_s=timeout_s) as client:
            status = self._status(client)
            self._check_chain(status)
            if status.get("catching_up"):
                told = behind_text(status)
                output.warn(f"{client.url} is behind: catching up, height {told}")
            yield client

    def _status(self, client: "Client") -> Mapping[str, Any]:
        from node.errors import Unreachable

        try:
            return client.status()
        except Unreachable as error:
            if self.api_given:
                raise
            hint = f"if it is stopped: apocryph testnet up --net {self.name}"
            raise Unreachable(f"the testnet {self.name!r}: {error}", hint=hint) from error

    def _check_chain(self, status: Mapping[str, Any]) -> None:
        from node.errors import WrongChain

        wanted, found = self.about.get("chain"), status.get("chain")
        if self.api_given or not wanted or wanted == found:
            return
        raise WrongChain(
            f"{self.api} answers for the chain {status.get('chain_name')!r}, {found}; the testnet "
            f"{self.name!r} has {wanted}",
            hint=f"`apocryph testnet up --net {self.name}` starts it, with --port for a free port",
        )

    def wallet(self, password: Callable[[str], str] | None = None, *, chain: str = "") -> "Wallet":
        """The testnet's accounts first, then the user's keystore.

        `chain`: the one that is spoken to, where --api may have led to another than the testnet's;
        there its accounts have nothing.
        """
        from node.config import keys_folder, testnet_accounts
        from node.keystore import Keystore
        from node.wallet import Wallet

        ours = self.about and chain in ("", self.about.get("chain"))
        accounts = testnet_accounts(self.name) if ours else None
        return Wallet(
            keystore=Keystore(keys_folder()), testnet_accounts=accounts, password=password
        )

    def fabric(self, node: str) -> str:
        """The fabric's address of one node of the testnet, the first without a name.

        Raises NotFound, Unreachable, WrongChain: a fabric does not say whose it is, its node does.
        """
        from node.client import Client
        from node.errors import NotFound, suggestion

        if not self.about:
            near = suggestion(self.name, testnet_names())
            raise NotFound(
                f"there is no testnet {self.name!r}{near}",
                hint="`apocryph testnet ls` lists them; --address HOST:PORT is for other nodes",
            )
        nodes = {str(one["name"]): one for one in self.about.get("nodes", ())}
        found = nodes.get(node) if node else next(iter(nodes.values()), None)
        if found is None or not found.get("fabric"):
            near = suggestion(node, tuple(nodes))
            raise NotFound(f"testnet {self.name!r} has no node {node!r} that runs{near}")
        with Client(str(found["api"])) as client:
            self._check_chain(self._status(client))
        return str(found["fabric"])


def read_net(name: str, api: str = "") -> Net:
    """The net of a name; its testnet need not exist. Raises ConfigFileError."""
    from node.config import testnets_folder
    from node.errors import ConfigFileError, UsageError

    if not name or Path(name).name != name or name.startswith("."):
        raise UsageError(f"{name!r} is no name of a testnet")
    path = testnets_folder() / name / ABOUT
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Net(name, api, {})
    try:
        about = json.loads(raw) if len(raw) <= ABOUT_BYTES_MAX else None
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict) or not isinstance(about.get("api"), str):
        raise ConfigFileError(f"{path} is not what `apocryph testnet up` writes")
    return Net(name, api, about)


def testnet_names() -> tuple[str, ...]:
    """The testnets of this user."""
    from node.config import testnets_folder

    folder = testnets_folder()
    if not folder.is_dir():
        return ()
    return tuple(sorted(one.parent.name for one in folder.glob(f"*/{ABOUT}")))


def net_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command `--net` and `--api`, and calls it with `net=Net(…)`."""

    @click.option(
        "--net",
        "net_name",
        envvar="APOCRYPH_NET",
        default=NET_DEFAULT,
        metavar="NAME",
        help="which testnet",
    )
    @click.option(
        "--api",
        default="",
        show_default=False,
        metavar="URL",
        help="a node's API instead of a testnet's",
    )
    @wraps(command)
    def call(*args: Any, net_name: str, api: str, **rest: Any) -> Any:
        return command(*args, net=read_net(net_name, api), **rest)

    return call
