"""Which node a client command speaks to: `--net NAME` of a testnet, or `--api URL`; and whose keys.

Reads testnet.json as the testnet's driver writes it. Knows no request.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
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

    def client(self, timeout_s: float = 30.0) -> "Client":
        from node.client import Client

        return Client(self.api, token=os.environ.get(TOKEN_VARIABLE, ""), timeout_s=timeout_s)

    def wallet(self, password: Callable[[str], str] | None = None) -> "Wallet":
        """The testnet's accounts first, then the user's keystore."""
        from node.config import keys_folder, testnet_accounts
        from node.keystore import Keystore
        from node.wallet import Wallet

        accounts = testnet_accounts(self.name) if self.about else None
        return Wallet(
            keystore=Keystore(keys_folder()), testnet_accounts=accounts, password=password
        )

    def fabric(self, node: str) -> str:
        """The fabric's address of one node of the testnet, the first without a name."""
        from node.errors import NotFound, suggestion

        self.api  # noqa: B018  says what is missing
        nodes = {str(one["name"]): one for one in self.about.get("nodes", ())}
        found = nodes.get(node) if node else next(iter(nodes.values()), None)
        if found is None or not found.get("fabric"):
            near = suggestion(node, tuple(nodes))
            raise NotFound(f"testnet {self.name!r} has no node {node!r} that runs{near}")
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
    except ValueError:
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
    @click.option("--api", default="", metavar="URL", help="a node's API instead of a testnet's")
    @wraps(command)
    def call(*args: Any, net_name: str, api: str, **rest: Any) -> Any:
        return command(*args, net=read_net(net_name, api), **rest)

    return call
